"""Runs the real Claude Code client once, scrubbed: nothing of this machine's environment, loopback only, a fresh HOME.

Not a judge of what the client does: that is the tests'.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.modes import ANTHROPIC, Mode

RUN_SECONDS_MAX = 150.0

# Quiet and repeatable: no start-up probes, no telemetry, no update, and root may skip permission prompts.
ENVIRONMENT = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "IS_SANDBOX": "1",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run left behind. `result` is the JSON object printed last, empty when there was none."""

    exit_code: int
    result: dict[str, Any]
    stderr: str
    seconds: float

    @property
    def text(self) -> str:
        """The text the client shows as its answer or its error."""
        return str(self.result.get("result", ""))


@dataclass(frozen=True, slots=True)
class ClaudeCode:
    """The client binary, pointed at one gateway with one fake credential. Runs share `home`, so `--resume` works."""

    binary: Path
    base_url: str
    credential: str
    home: Path
    mode: Mode = ANTHROPIC

    def __post_init__(self) -> None:
        if urlsplit(self.base_url).hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"the client may only be pointed at loopback, not {self.base_url}")

    async def run(
        self, prompt: str, *, workspace: Path, args: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> Outcome:
        """Runs `claude -p PROMPT` in `workspace` to its end; past RUN_SECONDS_MAX its process group is killed."""
        self.home.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *(
                "-p",
                prompt,
                "--output-format",
                "json",
                "--dangerously-skip-permissions",
                "--model",
                self.mode.model,
                *args,
            ),
            cwd=workspace,
            env=self.environment() | dict(environment or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            stdout, stderr = await asyncio.wait_for(process.communicate(), RUN_SECONDS_MAX)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode is not None
        return Outcome(process.returncode, last_object(stdout), stderr.decode(), time.monotonic() - started)

    def environment(self) -> dict[str, str]:
        """All that the client sees of the outside."""
        return ENVIRONMENT | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "CLAUDE_CODE_TMPDIR": str(self.home),
            **self.mode.environment(self.base_url, self.credential),
        }


def last_object(stdout: bytes) -> dict[str, Any]:
    """The last line of `stdout` that is a JSON object."""
    for line in reversed(stdout.splitlines()):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return {}
