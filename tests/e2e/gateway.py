"""Starts `ringfence serve` in its own process on free ports, and stops it again. Knows the documented config only."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import READY

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS_MAX = 40.0
STOP_SECONDS_MAX = 15.0
CREDENTIAL = "rf_alice_0123456789abcdefghijklmnopqrstuvwxyz"
UPSTREAM_KEY = "fake-upstream-key-0123456789"
OPERATOR_CREDENTIAL = "rf_operator_0123456789abcdefghijklmnopqrstuvw"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway and where it keeps its files."""

    base_url: str
    metrics_url: str
    directory: Path
    pid: int

    @property
    def audit_path(self) -> Path:
        """One JSON object per line: decisions and requests."""
        return self.directory / "audit.jsonl"


def build_config(upstream_url: str, directory: Path) -> dict[str, Any]:
    """A gateway with everything on: strict and learned budgets, fuses, audit file, packaged policies."""
    any_port = {"host": "127.0.0.1", "port": 0}
    return {
        "listen": any_port,
        "metrics": any_port,
        "store": {"url": f"sqlite:///{directory / 'ringfence.db'}"},
        "audit": {"path": str(directory / "audit.jsonl")},
        "org": {"id": "acme", "teams": [{"id": "platform", "users": ["alice", "olga"]}]},
        "identity": {
            "credentials": [
                {"id": "alice-laptop", "secret": CREDENTIAL, "user": "alice"},
                {"id": "olga-desk", "secret": OPERATOR_CREDENTIAL, "user": "olga", "operator": True},
            ]
        },
        "upstreams": [
            {
                "id": "scripted",
                "backend": "anthropic",
                "base_url": upstream_url,
                "api_key": "fake-upstream-key-0123456789",
            }
        ],
        "routes": [{"models": ["*"], "upstreams": ["scripted"]}],
        "budgets": [
            {"account": "org", "window": "monthly", "limit_usd": 50000, "strict": True},
            {"account": "user", "window": "daily", "limit_usd": 5000},
            {"account": "session", "window": "total", "limit_usd": 2500},
        ],
        "fuses": {"agent": {"requests": 300, "tool_calls": 1000}, "session": {"agents": 200, "depth": 4}},
    }


@contextlib.asynccontextmanager
async def running_gateway(
    config: Mapping[str, Any], directory: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """Serves `config` until the block ends; raises with the gateway's own words when it does not get ready.

    `environment` is added to the little that the gateway sees, such as a cloud's credentials.
    """
    file = directory / "ringfence.yaml"
    file.write_text(json.dumps(config, indent=2))
    log = directory / "gateway.log"
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(file)),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stream,
        )
    try:
        ready = await ready_line(process, log)
        yield Gateway(base_url=ready[1], metrics_url=ready[2], directory=directory, pid=process.pid)
    finally:
        await stop(process)


async def ready_line(process: asyncio.subprocess.Process, log: Path) -> re.Match[str]:
    """What it says once it serves, which names its addresses."""
    assert process.stdout is not None
    line = b""
    with contextlib.suppress(TimeoutError):
        line = await asyncio.wait_for(process.stdout.readline(), READY_SECONDS_MAX)
    if ready := READY.fullmatch(line.decode()):
        return ready
    raise RuntimeError(f"the gateway did not get ready ({line!r}):\n{log.read_text()[-4000:]}")


async def stop(process: asyncio.subprocess.Process) -> None:
    """Asks the gateway to end, and ends it when it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.communicate(), STOP_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        await process.communicate()
