"""Pairs of reserve and settle on one hot account: how many a second each store makes last, and at what CPU.

    scripts/bench --ledger [--quick] [--json]

64 clients in one process or in several, all of one organisation, team and user, each with its own session and agent; a
strict limit on the organisation, another on the user. Requests are not sent anywhere: what the rest of the gateway
costs is in the other cells. Each run ends with a check that every replica counts the same sum and that nothing is held.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.measure import CLOCK_TICKS_PER_SECOND, Figures, cpu_seconds
from tests.e2e.gateway import ROOT
from tests.support.postgres import PostgresServer, postgres_server

CLIENTS = 64
ROUNDS, SECONDS = 5, 4.0
QUICK_SECONDS = 1.0
KINDS = (("memory", 1), ("sqlite", 1), ("postgres", 1), ("postgres", 3))
"""Stores, and in how many processes."""
COLUMNS = ("store", "processes", "pairs/s", "p50 ms", "p99 ms", "CPU us/pair", "server CPU us/pair")


async def measure_ledger(*, quick: bool) -> list[Figures]:
    """For each kind the medians of its rounds. Rounds visit the kinds in turn."""
    runs: dict[tuple[str, int], list[Figures]] = {kind: [] for kind in KINDS}
    server = postgres_server("fsync=on")
    for number in range(1 if quick else ROUNDS):
        for kind in KINDS:
            print(f"  {kind[0]}, processes: {kind[1]}, round {number + 1}", file=sys.stderr)
            runs[kind].append(await _measure(kind, server, QUICK_SECONDS if quick else SECONDS))
    return [{"store": store, "processes": processes, **_medians(found)} for (store, processes), found in runs.items()]


async def _measure(kind: tuple[str, int], server: PostgresServer, seconds: float) -> Figures:
    """One run on an empty store."""
    store, processes = kind
    with tempfile.TemporaryDirectory(prefix="ringfence-ledger-") as folder:
        urls = {"memory": "", "sqlite": f"sqlite:///{folder}/ledger.db"}
        url = urls[store] if store in urls else server.url(server.fresh())
        working = [await _start(url, CLIENTS // processes, seconds) for _ in range(processes)]
        try:
            await _told(working)
            before = _server_cpu_seconds(server)
            figures = [json.loads(line) for line in await _told(working)]
            server_cpu = _server_cpu_seconds(server) - before
            sums = [json.loads(line) for line in await _told(working)]
            await _told(working)
        finally:
            for process in working:
                assert process.stdin is not None
                process.stdin.close()
                await process.wait()
    _check(figures, sums)
    pairs = sum(each["pairs"] for each in figures)
    return {
        "pairs_per_second": sum(each["pairs_per_second"] for each in figures),
        "p50_ms": statistics.median(each["p50_ms"] for each in figures),
        "p99_ms": max(each["p99_ms"] for each in figures),
        "cpu_us": sum(each["cpu_us"] * each["pairs"] for each in figures) / pairs,
        "server_cpu_us": server_cpu * 1e6 / pairs if store == "postgres" else 0.0,
    }


async def _start(url: str, clients: int, seconds: float) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.hot"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"url": url, "clients": clients, "seconds": seconds}).encode())
    return process


async def _told(working: Sequence[asyncio.subprocess.Process]) -> list[bytes]:
    """Send them all on together; what each says then."""
    for process in working:
        assert process.stdin is not None
        process.stdin.write(b"\n")
    return [await process.stdout.readline() for process in working if process.stdout is not None]


def _check(figures: Sequence[dict[str, Any]], sums: Sequence[dict[str, int]]) -> None:
    """Raises RuntimeError when a store lost or invented money: then no figure of it means anything."""
    spent = sum(each["spent_nanousd"] for each in figures)
    counted = {each["used_nanousd"] for each in sums}
    if len(counted) != 1 or any(each["held_nanousd"] for each in figures) or counted != {spent}:
        raise RuntimeError(f"the ledger is wrong: {spent} spent, {counted} counted")


def _server_cpu_seconds(server: PostgresServer) -> float:
    """Of the postmaster, of the backends that run and of those that have ended."""
    postmaster = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / CLOCK_TICKS_PER_SECOND
    running = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return ended + sum(cpu_seconds(int(pid)) for pid in (postmaster, *running))


def _medians(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def print_ledger(rows: Sequence[Figures]) -> None:
    """One row per store and number of processes."""
    widths = (10, 11, 9, 8, 8, 13, 0)

    def line(texts: Sequence[str]) -> str:
        return "".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()

    print(line(COLUMNS))
    for row in rows:
        server = f"{row['server_cpu_us']:.0f}" if row["server_cpu_us"] else "-"
        texts = (
            f"{row['pairs_per_second']:.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['cpu_us']:.1f}",
        )
        print(line((row["store"], str(row["processes"]), *texts, server)))
