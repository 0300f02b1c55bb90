"""What is measured: mock upstream, bare pass-through, gateway. Starts and stops their processes; measures nothing."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.bodies import BEDROCK_MODEL
from tests.e2e.gateway import ROOT, build_config, running_gateway

PLENTY_USD = 100_000_000
PLENTY = 1_000_000_000


@dataclass(frozen=True, slots=True)
class System:
    """One thing to send load to, and the process whose CPU and memory it costs."""

    name: str
    port: int
    pid: int


def build_bench_config(upstream_url: str, directory: Path) -> dict[str, Any]:
    """Everything on, and no limit that the load could reach."""
    budgets = [
        {"account": "org", "window": "monthly", "limit_usd": PLENTY_USD, "strict": True},
        {"account": "user", "window": "daily", "limit_usd": PLENTY_USD},
        {"account": "session", "window": "total", "limit_usd": PLENTY_USD},
    ]
    meters = {"requests": PLENTY, "tool_calls": PLENTY, "cost_usd": PLENTY_USD, "identical_tool_calls": PLENTY}
    fuses = {"agent": {**meters, "consecutive_errors": 15}, "session": {"agents": 200, "depth": 4, "requests": PLENTY}}
    config = build_config(upstream_url, directory)
    bedrock = {"id": "bedrock", "backend": "bedrock", "region": "us-east-1", "bearer": "fake-bedrock-bearer-0123456789"}
    upstreams = [*config["upstreams"], {**bedrock, "base_url": upstream_url}]
    routes = [{"models": [BEDROCK_MODEL], "upstreams": ["bedrock"]}, *config["routes"]]
    return config | {"upstreams": upstreams, "routes": routes, "budgets": budgets, "fuses": fuses}


@contextlib.asynccontextmanager
async def running_module(module: str, *arguments: str) -> AsyncIterator[int]:
    """Runs a module of the bench until the block ends; yields its process id once it listens on its first argument."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, cwd=ROOT)
    try:
        await wait_until_listening(int(arguments[0]))
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def wait_until_listening(port: int) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.025)
    raise RuntimeError(f"nothing listens on port {port}")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, no two the same."""
    with contextlib.ExitStack() as bound:
        probes = [bound.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.asynccontextmanager
async def running_systems(directory: Path) -> AsyncIterator[list[System]]:
    """All three at once, so that rounds can be interleaved."""
    mock_port, pass_port = free_ports(2)
    upstream_url = f"http://127.0.0.1:{mock_port}"
    config = build_bench_config(upstream_url, directory)
    async with (
        running_module("tests.bench.mock", str(mock_port)) as mock_pid,
        running_module("tests.bench.passthrough", str(pass_port), upstream_url) as pass_pid,
        running_gateway(config, directory) as gateway,
    ):
        port = urlsplit(gateway.base_url).port
        assert port is not None
        yield [
            System("direct", mock_port, mock_pid),
            System("pass-through", pass_port, pass_pid),
            System("ringfence", port, gateway.pid),
        ]
