"""The whole demo in its own process: it keeps its promises, says so as JSON, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.commands.demo.play import Options, run_demo
from gateway.commands.output import CommandFailed

ROOT = Path(__file__).resolve().parents[4]
EXIT_INTERRUPTED = 130


def start_demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`folder` takes the place of the machine's temporary folder."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "gateway", "demo", *arguments]
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    )


def hear_interrupts() -> None:
    """Undo what a parent in the background leaves to its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_demo_at_full_speed_keeps_every_promise_and_leaves_nothing(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, "--pace", "fast", "--json")
    said, told = demo.communicate(timeout=120)
    ending = json.loads(said)
    assert (demo.returncode, ending["ok"], ending["broken"]) == (0, True, []), told
    assert [scene["figures"]["denied"] for scene in ending["scenes"]] == [0, 1, 5, 47, 2]
    budget = ending["scenes"][3]["figures"]
    assert (budget["requests"], budget["allowed"], budget["cap_nanousd"]) == (50, 3, 1_000_000_000)
    assert 900_000_000 <= budget["spent_nanousd"] <= budget["peak_nanousd"] <= budget["cap_nanousd"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_demo_stops_its_gateway_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = start_demo(tmp_path)
    assert demo.stdout is not None
    lines = iter(demo.stdout.readline, "")
    ready = next(found for line in lines if (found := re.search(r"ready after .* at (http://\S+),", line)))
    next(line for line in lines if line.startswith("Scene 1"))
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == EXIT_INTERRUPTED
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", urlsplit(ready[1]).port or 0)) != 0


def test_real_client_without_the_client_says_how_to_have_it() -> None:
    with pytest.raises(CommandFailed, match="scripts/demo --claude, which fetches it") as failed:
        run_demo(Options(pace="fast", claude=True, as_json=False), {})
    assert failed.value.exit_code == 2
