"""`ringfence runs watch`: a run live on the terminal, and the keys that control it. What is shown is `watch_screen.py`.

The terminal is given back as it was however the view ends; the run goes on. Without a terminal: lines, `run_wait.py`.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import termios
from collections.abc import Generator
from typing import Any

import msgspec
from rich.console import Console, Group
from rich.live import Live

from gateway.commands.client import GatewayClient, GatewayRefused
from gateway.commands.output import EXIT_DONE, CommandFailed, plain, print_rich
from gateway.commands.run_feed import RunFeed
from gateway.commands.run_rows import AgentRow, RunRow
from gateway.commands.run_wait import goes_on, wait_for_run
from gateway.commands.run_words import describe_run, event_line, exit_code_of, phase_table
from gateway.commands.watch_screen import Order, Screen, draw

REFRESH_SECONDS = 0.5
"""Shortest time between two looks at the run."""
TICK_SECONDS = 1.0
NOTICE_TICKS = 4
"""How long what was said of a key stands in place of the keys."""
ORDERS_MAX = 8
"""Keys that wait for the gateway; more are dropped."""
INPUT_BYTES = 64
ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

_key = re.compile(rb"\x1b[\[O][ -?]*[@-~]|.", re.DOTALL)


def watch_run(client: GatewayClient, run: str) -> int:
    """Until the run has ended or the person leaves; the exit code tells how it ended."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or Console().is_dumb_terminal:
        return wait_for_run(client, run, as_json=False)
    try:
        return asyncio.run(_watch(client, run, sys.stdin.fileno()))
    except KeyboardInterrupt:
        print_rich(plain(goes_on(run)))
        raise


async def _watch(client: GatewayClient, run: str, keyboard: int) -> int:
    ended: list[signal.Signals] = []
    async with RunFeed(client, run) as feed:
        with quiet_keyboard(keyboard), Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
            view = View(feed, live, keyboard)
            loop = asyncio.get_running_loop()
            for number in ENDING_SIGNALS:
                loop.add_signal_handler(number, lambda number=number: (ended.append(number), view.leave()))
            try:
                await view.run()
            finally:
                for number in ENDING_SIGNALS:
                    loop.remove_signal_handler(number)
        record = view.screen.run
        if record is None or record.is_open:
            print_rich(plain(goes_on(run)))
            return 128 + ended[0] if ended else EXIT_DONE
        failed = await feed.failures() if record.degraded else None
    print_rich(*map(plain, describe_run(record, failed)))
    if record.phases:
        print_rich(phase_table(record.phases))
    return exit_code_of(record)


class View:
    """Keeps the screen up to date, and passes orders on."""

    def __init__(self, feed: RunFeed, live: Live, keyboard: int) -> None:
        self.screen = Screen()
        self._feed = feed
        self._live = live
        self._keyboard = keyboard
        self._stale = asyncio.Event()
        """Something has changed since the run was read."""
        self._record_known = False
        """What has changed of the run came with the events; its agents alone are to be read."""
        self._over = asyncio.Event()
        self._orders: asyncio.Queue[Order] = asyncio.Queue(ORDERS_MAX)
        self._read_at = 0.0

    def leave(self) -> None:
        """End the view."""
        self._over.set()

    async def run(self) -> None:
        """Until the run has ended or the person leaves. Raises CommandFailed."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._keyboard, self._typed)
        failures: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as group:
                parts = (self._listen(), self._refresh(), self._obey(), self._tick())
                tasks = [group.create_task(part) for part in parts]
                await self._over.wait()
                for task in tasks:
                    task.cancel()
        except* CommandFailed as failed:
            failures += failed.exceptions
        finally:
            loop.remove_reader(self._keyboard)
        if failures:
            raise failures[0]

    async def _listen(self) -> None:
        self._stale.set()
        async for event in self._feed.events():
            if event.seq is not None:
                self.screen.notes.append(event_line(event.type, event.fields))
            self._record_known = event.type == "progress" and self._take(event.fields.get("run"))
            self._stale.set()
        self._record_known = False
        await self._read()
        self.leave()

    def _take(self, record: Any) -> bool:
        """A snapshot from among the events."""
        try:
            self.screen.run = msgspec.convert(record, RunRow)
        except msgspec.ValidationError:
            return False
        self._read_at = asyncio.get_running_loop().time()
        return True

    async def _refresh(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._read()
            except CommandFailed as failed:
                self.screen.notice = _said(failed)
                self._stale.set()
            self._draw()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _read(self) -> None:
        if not self._record_known:
            self.screen.run = await self._feed.record(RunRow)
            self._read_at = asyncio.get_running_loop().time()
        self.screen.agents = await self._feed.agents(AgentRow)

    async def _obey(self) -> None:
        while True:
            order = await self._orders.get()
            try:
                await self._feed.order(order.path, order.body)
                self.screen.notice = order.said
            except CommandFailed as failed:
                self.screen.notice = _said(failed)
            self._stale.set()
            self._draw()

    async def _tick(self) -> None:
        notice, ticks = "", 0
        while True:
            ticks = ticks + 1 if self.screen.notice == notice else 0
            notice = self.screen.notice
            if ticks >= NOTICE_TICKS:
                self.screen.notice = ""
            self._draw()
            await asyncio.sleep(TICK_SECONDS)

    def _typed(self) -> None:
        try:
            typed = os.read(self._keyboard, INPUT_BYTES)
        except OSError:  # the terminal is gone
            typed = b""
        for key in keys_of(typed):
            order = self.screen.press(key)
            if order is not None:
                with contextlib.suppress(asyncio.QueueFull):
                    self._orders.put_nowait(order)
        if self.screen.quitting or not typed:
            self.leave()
        self._draw()

    def _draw(self) -> None:
        self.screen.connected = self._feed.connected or self.screen.run is None
        size = self._live.console.size
        since_ms = round(1000 * (asyncio.get_running_loop().time() - self._read_at))
        self._live.update(Group(*draw(self.screen, size.width, size.height, since_ms=since_ms)), refresh=True)


def _said(failed: CommandFailed) -> str:
    """What the gateway said, without what everybody at the screen knows."""
    return str(failed.error.get("message") or failed.message) if isinstance(failed, GatewayRefused) else failed.message


def keys_of(typed: bytes) -> list[str]:
    """Keys by name; what is none of ours is `""`."""
    return [
        ARROWS.get(found) or (found.decode() if found.isascii() and len(found) == 1 else "")
        for found in _key.findall(typed)
    ]


@contextlib.contextmanager
def quiet_keyboard(keyboard: int) -> Generator[None]:
    """Keys come at once and are not shown, and none of them suspends the program in this state."""
    before = termios.tcgetattr(keyboard)
    changed = termios.tcgetattr(keyboard)
    changed[3] &= ~(termios.ICANON | termios.ECHO)
    changed[6][termios.VSUSP] = b"\0"
    try:
        termios.tcsetattr(keyboard, termios.TCSANOW, changed)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
