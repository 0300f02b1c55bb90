"""The live view in a real terminal: a pseudo terminal of 80 by 24, and the command in a process of its own."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.client import GatewayClient
from gateway.commands.watch import keys_of, watch_run
from gateway.web.run_desk import PauseRun, RestartAgent, SaveRun, StopAgent, StopRun
from tests.support.runs import ALICE, FakeDesk, FakeRun, served_runs

ROOT = Path(__file__).parents[3]
RUN = "wf_000001"
PATIENCE_SECONDS = 30
NORMAL, CURSOR = b"\x1b[?1049l", b"\x1b[?25h"
IN_TERMINAL = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from gateway.__main__ import main; sys.exit(main())"
)
"""The command, with the pseudo terminal as the one that its signals come from."""


class Terminal:
    """A pseudo terminal with a command in it."""

    def __init__(self, *arguments: str, url: str, **environment: str) -> None:
        self.seen = b""
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self._slave)
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        environ |= {"RINGFENCE_URL": url, "RINGFENCE_CREDENTIAL": ALICE} | environment
        command = [sys.executable, "-c", IN_TERMINAL, "runs", *arguments]
        self.process = subprocess.Popen(
            command, stdin=self._slave, stdout=self._slave, stderr=subprocess.PIPE, env=environ, start_new_session=True
        )

    def wait_for(self, text: str | bytes) -> None:
        """Read until it was shown, since the last time."""
        wanted = text if isinstance(text, bytes) else text.encode()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while wanted not in self.seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} did not come; seen: {self.seen[-2000:]!r}"
            self.seen += os.read(self._master, 65_536)
        self.seen = self.seen[self.seen.index(wanted) + len(wanted) :]

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> tuple[int, bytes, bytes]:
        """Exit code, the rest that was shown, and what was complained of."""
        assert self.process.stderr is not None
        complaints, deadline = b"", time.monotonic() + PATIENCE_SECONDS
        streams = [self._master, self.process.stderr.fileno()]
        while len(streams) == 2 or select.select([self._master], [], [], 0)[0]:
            ready, _, _ = select.select(streams, [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"it did not end; seen: {self.seen[-2000:]!r}"
            if self._master in ready:
                self.seen += os.read(self._master, 65_536)
            else:
                piece = os.read(streams[1], 65_536)
                complaints += piece
                streams = streams if piece else streams[:1]
        return self.process.wait(PATIENCE_SECONDS), self.seen, complaints

    @property
    def after(self) -> Any:
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self._master)
        os.close(self._slave)


class Watched:
    """A run, the desk it is on, and a terminal that shows it."""

    def __init__(self, desk: FakeDesk, run: FakeRun, terminal: Terminal) -> None:
        self.desk, self.run, self.terminal = desk, run, terminal


@contextlib.contextmanager
def watched() -> Generator[Watched]:
    desk = FakeDesk()
    run = desk.add(RUN, description="Look at it", elapsed_ms=61_000)
    run.record["phases"] = [{"title": "Scan", "total": 2, "agents": {"running": 2}}]
    run.agents = [{"index": n, "state": "running", "label": f"scan {n}", "phase": "Scan"} for n in range(2)]
    with served_runs(desk) as url:
        terminal = Terminal("watch", RUN, url=url)
        try:
            terminal.wait_for("scan 1")
            yield Watched(desk, run, terminal)
        finally:
            terminal.close()


def test_run_is_shown_until_it_ends_and_the_terminal_is_as_it_was() -> None:
    with watched() as at:
        at.desk.call(at.desk.happen, at.run, "workflow_run.log", text="auditing 3 files")
        at.terminal.wait_for("auditing 3 files")
        at.desk.call(at.desk.end, at.run, "completed", degraded=True)
        code, rest, complaints = at.terminal.end()
        assert (code, complaints) == (3, b"") and at.terminal.after == at.terminal.before
    assert rest.index(NORMAL) < rest.index(b"took ") and CURSOR in rest


def test_keys_control_run_and_agents() -> None:
    with watched() as at:
        at.terminal.type("p")
        at.terminal.wait_for("no more agents start")
        at.terminal.type("s")
        at.terminal.wait_for("saved")
        at.terminal.type("\x1b[Bjr")
        at.terminal.wait_for("begins anew")
        at.terminal.type("x")
        at.terminal.wait_for("stop agent 1 (scan 1)?")
        at.terminal.type("y")
        at.terminal.wait_for("agent 1 is stopped")
        at.terminal.type("kkx")
        at.terminal.wait_for("stop the whole run?")
        at.terminal.type("y")
        code, _, complaints = at.terminal.end()
        assert (code, complaints) == (5, b"") and at.terminal.after == at.terminal.before
    orders = [(RUN, PauseRun()), (RUN, SaveRun()), (f"{RUN}/1", RestartAgent()), (f"{RUN}/1", StopAgent())]
    assert at.desk.asked == [*orders, (RUN, StopRun())]


@pytest.mark.parametrize(
    ("keys", "number", "code"),
    [("q", None, 0), ("\x03", None, 130), ("", signal.SIGTERM, 143), ("", signal.SIGINT, 130)],
    ids=["q", "ctrl-c", "terminate", "interrupt"],
)
def test_whoever_leaves_gets_the_terminal_back_and_the_run_goes_on(keys: str, number: Any, code: int) -> None:
    with watched() as at:
        at.terminal.type(keys)
        if number is not None:
            at.terminal.process.send_signal(number)
        exit_code, rest, complaints = at.terminal.end()
        assert (exit_code, complaints) == (code, b"") and at.terminal.after == at.terminal.before
        assert NORMAL in rest and CURSOR in rest and f"runs watch {RUN}".encode() in rest
        assert at.run.is_open and at.desk.asked == []


def test_order_that_is_refused_is_told_on_the_screen() -> None:
    with watched() as at:
        at.desk.call(at.desk.refuse_orders, "the store is away")
        at.terminal.type("p")
        at.terminal.wait_for("the store is away")
        at.terminal.type("q")
        assert at.terminal.end()[0] == 0 and at.run.record["state"] == "running"


def test_run_that_is_not_there_is_one_message_on_a_clean_terminal() -> None:
    with served_runs(FakeDesk()) as url:
        terminal = Terminal("watch", RUN, url=url)
        try:
            code, rest, complaints = terminal.end()
            assert code == 7 and terminal.after == terminal.before and NORMAL in rest
            assert complaints.startswith(b"ringfence: ") and b"there is no run wf_000001" in complaints
        finally:
            terminal.close()


def test_terminal_that_cannot_write_a_label_shows_the_rest() -> None:
    desk = FakeDesk()
    desk.add(RUN).agents = [{"index": 0, "state": "running", "label": "\u6587\u4ef6 scan", "phase": "\u2026" * 90}]
    with served_runs(desk) as url:
        terminal = Terminal("watch", RUN, url=url, PYTHONIOENCODING="ascii", LC_ALL="C")
        try:
            terminal.wait_for("?? scan")
            terminal.type("q")
            assert terminal.end()[0] == 0
        finally:
            terminal.close()


def test_terminal_that_draws_nothing_gets_lines() -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    desk.happen(run, "workflow_run.log", text="auditing")
    with served_runs(desk) as url:
        terminal = Terminal("watch", RUN, url=url, TERM="dumb")
        try:
            terminal.wait_for("log  auditing")
            desk.call(desk.end, run)
            code, rest, _ = terminal.end()
            assert code == 0 and b"\x1b" not in rest
        finally:
            terminal.close()


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    desk.happen(run, "workflow_run.log", text="auditing")
    desk.end(run)
    with served_runs(desk) as url:
        assert watch_run(GatewayClient(url, ALICE), RUN) == 0
    shown = capsys.readouterr().out
    assert "log  auditing" in shown and "\x1b" not in shown


def test_keys_are_read_also_when_several_come_at_once() -> None:
    assert keys_of(b"j\x1b[A\x1bOBx") == ["j", "up", "down", "x"]
    assert keys_of(b"\x1b[1;5C\xc3\xbcq") == ["", "", "", "q"]
