"""Anthropic-shaped upstreams that others wrote, each in a process of its own on loopback. No test lives here.

`fakellm` comes with the development packages; `aimock` is an npm package that scripts/test installs.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BOTH, HELLO, TOO_FAST = "make both calls", "say hello", "you are too fast"
"""What a user says to be answered with text and two calls, with text, and with 429."""
TEXT = "Two calls."
GREETING = "Hello from elsewhere."
REFUSAL = "slow down"
RETRY_SECONDS = 7
CALLS = [{"name": "Bash", "arguments": {"command": "curl http://x"}}, {"name": "Bash", "arguments": {"command": "ls"}}]
STOP_SECONDS_MAX = 10.0


@contextlib.contextmanager
def fakellm(directory: Path) -> Iterator[str]:
    """Its address. It refuses whole messages only, and without a retry-after."""
    rules = [
        {"when": {"messages_contain": TOO_FAST}, "respond": {"status": 429, "error": REFUSAL}},
        {"when": {"messages_contain": BOTH}, "respond": {"content": TEXT, "tool_calls": CALLS}},
        {"when": {"messages_contain": HELLO}, "respond": {"content": GREETING}},
    ]
    named = [{"name": f"rule_{index}", **rule} for index, rule in enumerate(rules)]
    file = directory / "fakellm.yaml"
    file.write_text(json.dumps({"version": 1, "rules": named}))
    command = [sys.executable, "-m", "fakellm.cli", "serve", "--port", "0", "--config", str(file)]
    with running(command, re.compile(r"running on (http://127\.0\.0\.1:\d+)")) as url:
        yield url


@contextlib.contextmanager
def aimock(directory: Path) -> Iterator[str]:
    """Its address. What it received is told at /__aimock/journal."""
    command = os.environ.get("RINGFENCE_AIMOCK")
    if command is None:
        reason = "no aimock: run scripts/test, which installs it, or set RINGFENCE_AIMOCK to its command"
        if os.environ.get("RINGFENCE_REQUIRE_CLIENT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    refusal = {"error": {"message": REFUSAL, "type": "rate_limit_error"}, "status": 429, "retryAfter": RETRY_SECONDS}
    fixtures = [
        {"match": {"userMessage": TOO_FAST}, "response": refusal},
        {"match": {"userMessage": BOTH}, "response": {"content": TEXT, "toolCalls": CALLS}},
        {"match": {"userMessage": HELLO}, "response": {"content": GREETING}},
    ]
    file = directory / "aimock.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    with running([command, "--port", "0", "--fixtures", str(file)], re.compile(r"listening on (http://\S+)")) as url:
        yield url


@contextlib.contextmanager
def running(command: list[str], ready: re.Pattern[str]) -> Iterator[str]:
    """The address in the line that says it listens; stopped when the block ends."""
    environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := ready.search(line):
                yield found[1]
                return
        raise AssertionError(f"{command[0]} ended before it listened:\n{''.join(said)}")
    finally:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS_MAX)


STARTED = {"fakellm": fakellm, "aimock": aimock}
