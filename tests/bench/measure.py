"""One measurement: load on one system, its CPU and memory before and after. Medians over interleaved rounds."""

import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.bodies import BEDROCK_MODEL, BEDROCK_PATH, agent_body, bedrock_body, build_request, small_body
from tests.bench.systems import System
from tests.e2e.gateway import CREDENTIAL, ROOT

BODY_CELLS = ("small", "agent", "stream", "tools", "cross", "bedrock")
CONCURRENCIES = (1, 16, 64)
PACED_REQUESTS = 60
MEMORY_REQUESTS = 10_000
CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and how long."""

    systems: Sequence[System]
    quick: bool

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    @property
    def seconds(self) -> float:
        return 0.8 if self.quick else 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator does."""

    cell: str
    concurrency: int
    seconds: float = 600.0
    count: int = 10_000_000


def build_requests(load: Load) -> list[str]:
    """One request text per connection, each with its own session."""
    if load.cell == "bedrock":
        return [build_request(bedrock_body(), "", CREDENTIAL, path=BEDROCK_PATH) for _ in range(load.concurrency)]
    body, answer = {
        "small": (small_body(stream=False), "json"),
        "agent": (agent_body(stream=False), "json"),
        "stream": (small_body(stream=True), "stream"),
        "tools": (small_body(stream=True), "tools"),
        "cross": (small_body(stream=True, model=BEDROCK_MODEL), "stream"),
        "paced": (small_body(stream=True), "paced"),
    }[load.cell]
    return [build_request(body, answer, CREDENTIAL) for _ in range(load.concurrency)]


async def measure(system: System, load: Load) -> Figures:
    """Rates, latencies and CPU milliseconds per request of one run; raises when any answer was not a 200."""
    spec = {"port": system.port, "requests": build_requests(load), "seconds": load.seconds, "count": load.count}
    before = cpu_seconds(system.pid)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.load"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate(json.dumps(spec).encode())
    figures: Figures = json.loads(printed)
    if figures["refused"] or not figures["requests"]:
        raise RuntimeError(f"{system.name} did not answer {load.cell} with a 200:\n{figures['refused']}")
    figures["rps"] = figures["requests"] / figures["seconds"]
    figures["cpu_ms"] = 1000 * (cpu_seconds(system.pid) - before) / figures["requests"]
    return figures


async def measure_cells(bench: Bench, cells: Sequence[str]) -> AsyncIterator[Figures]:
    """For each cell and concurrency, each system's medians. Rounds visit the systems in turn."""
    for cell in cells:
        for concurrency in CONCURRENCIES:
            runs: dict[str, list[Figures]] = {system.name: [] for system in bench.systems}
            load = Load(cell, concurrency, bench.seconds)
            for system in bench.systems:
                await measure(system, Load(cell, concurrency, bench.seconds / 4))
            for number in range(bench.rounds):
                print(f"  {cell}, {concurrency} at once, round {number + 1} of {bench.rounds}", file=sys.stderr)
                for system in bench.systems:
                    runs[system.name].append(await measure(system, load))
            systems = {name: medians(found) for name, found in runs.items()}
            yield {"cell": cell, "concurrency": concurrency, "systems": systems}


def medians(runs: Sequence[Figures]) -> Figures:
    names = ("rps", "p50_ms", "p99_ms", "first_byte_p50_ms", "cpu_ms")
    return {name: statistics.median(run[name] for run in runs) for name in names}


async def measure_paced(bench: Bench) -> Figures:
    """Time to the first byte of a stream that a model would write: how much of it each system adds."""
    runs: dict[str, list[Figures]] = {system.name: [] for system in bench.systems}
    for number in range(bench.rounds):
        print(f"  paced stream, round {number + 1} of {bench.rounds}", file=sys.stderr)
        for system in bench.systems:
            runs[system.name].append(await measure(system, Load("paced", 1, count=PACED_REQUESTS // bench.rounds)))
    return {name: medians(found) for name, found in runs.items()}


async def measure_memory(bench: Bench) -> Figures:
    """Resident memory of each gateway process before and after many requests, once it is warm."""
    count = MEMORY_REQUESTS // 10 if bench.quick else MEMORY_REQUESTS
    figures: Figures = {}
    for system in bench.systems[1:]:
        print(f"  memory of {system.name} over {count} requests", file=sys.stderr)
        await measure(system, Load("stream", 16, count=count // 10))
        before = resident_kib(system.pid)
        await measure(system, Load("stream", 16, count=count))
        figures[system.name] = {"requests": count, "before_kib": before, "after_kib": resident_kib(system.pid)}
    return figures


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_SECOND


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])
