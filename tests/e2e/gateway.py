"""Starts `ringfence serve` in its own process on free ports, and stops it again. Knows the documented config only."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    port, metrics_port = free_ports(2)
    return {
        "listen": {"host": "127.0.0.1", "port": port},
        "metrics": {"host": "127.0.0.1", "port": metrics_port},
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


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, no two the same."""
    with contextlib.ExitStack() as bound:
        probes = [bound.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


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
            stdout=stream,
            stderr=stream,
        )
    listen, metrics = config["listen"], config["metrics"]
    try:
        await wait_until_ready(process, listen["port"], log)
        yield Gateway(
            base_url=f"http://127.0.0.1:{listen['port']}",
            metrics_url=f"http://127.0.0.1:{metrics['port']}/metrics",
            directory=directory,
            pid=process.pid,
        )
    finally:
        await stop(process)


async def wait_until_ready(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Returns once `/healthz` answers 200."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_SECONDS_MAX
    while process.returncode is None and loop.time() < deadline:
        with contextlib.suppress(OSError):
            if await health(port):
                return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the gateway did not get ready (exit code {process.returncode}):\n{log.read_text()[-4000:]}")


async def health(port: int) -> bool:
    """Whether `/healthz` answers 200 now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def stop(process: asyncio.subprocess.Process) -> None:
    """Asks the gateway to end, and ends it when it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()
