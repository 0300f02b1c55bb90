"""Journals of runs: how many settled calls a second each store makes last, and how long one append takes.

    python -m tests.bench.journal [--quick] [--json]

A settled call is three lines (issued, started, result) with an event each; with a result comes the run's row. `alone`
is one run that says one line at a time; `turns` is one run that says all lines of a turn at once, for 16 calls;
`many` is 50 runs that each say one line at a time. Each run of the bench ends with a check that every line is there.
Postgres runs on the same cores, with `fsync` on.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.tasks import Tasks
from runtime.core.journal import IssuedLine, ResultLine, StartedLine, encode_line
from runtime.core.model import AgentId, CallIndex, CallOptions, Owner, RunId, Scope, Tokens, Usage
from runtime.ports import Entry, EventRow, Lease, RunRow, RunStore
from runtime.stores import open_run_store
from tests.support.postgres import PostgresServer, postgres_server

ROUNDS, SECONDS = 5, 3.0
QUICK_SECONDS = 1.0
STORES = ("memory", "sqlite", "postgres")
AGENTS_AT_ONCE = 16
RUNS_AT_ONCE = 50
PROMPT = "Read the file and say in three sentences what it does, which names it exports and who calls them. " * 6
ANSWER = {"summary": "It opens the file, migrates it and hands out connections. " * 6, "exports": ["a", "b"] * 10}
RECORD_BYTES = 4_096
COLUMNS = ("store", "cell", "calls/s", "appends/s", "append p50 ms", "p99 ms", "CPU us/call")

Figures = dict[str, Any]


@dataclass(slots=True)
class Journal:
    """One run that is being written."""

    store: RunStore
    lease: Lease
    row: RunRow
    calls: int = 0
    seq: int = 0
    lines: int = 0
    latencies_ms: list[float] = field(default_factory=list[float])

    async def append(self, *lines: bytes, row: bool = False) -> None:
        events = [self._event() for _ in lines]
        began = time.perf_counter()
        await self.store.append(self.lease, Entry(lines=lines, events=events, row=self.row if row else None))
        self.latencies_ms.append(1000 * (time.perf_counter() - began))
        self.lines += len(lines)

    async def settle(self, calls: int) -> None:
        """So many calls, all lines of a turn at once."""
        first = self.calls
        self.calls += calls
        indexes = range(first, self.calls)
        await self.append(*(issued(index) for index in indexes), *(started(index) for index in indexes))
        await self.append(*(result(index) for index in indexes), row=True)

    async def settle_one(self) -> None:
        """One call, one line at a time."""
        index = self.calls
        self.calls += 1
        await self.append(issued(index))
        await self.append(started(index))
        await self.append(result(index), row=True)

    def _event(self) -> EventRow:
        self.seq += 1
        text = b'{"type":"agent_settled","seq":%d,"label":"%s"}' % (self.seq, b"x" * 200)
        return EventRow(seq=self.seq, type="agent_settled", at_ms=self.seq, text=msgspec.Raw(text))


def issued(index: int) -> bytes:
    options = CallOptions(label=f"file {index}", model="claude-haiku-4-5")
    place = Scope(f"/0.{index}")
    return encode_line(
        IssuedLine(at_ms=1, id=index, index=CallIndex(index), key="0" * 64, scope=place, prompt=PROMPT, options=options)
    )


def started(index: int) -> bytes:
    return encode_line(StartedLine(at_ms=2, index=CallIndex(index), attempt=1, agent_id=AgentId(f"agent-{index}")))


def result(index: int) -> bytes:
    return encode_line(
        ResultLine(
            at_ms=3,
            index=CallIndex(index),
            key="0" * 64,
            scope=Scope(f"/0.{index}"),
            seq=index,
            spent=index,
            value=msgspec.Raw(msgspec.json.encode(ANSWER)),
            attempt=1,
            usage=Usage(tokens=Tokens(input=900, output=120), cost_nanousd=1_500_000, requests=1),
            model="claude-haiku-4-5",
        )
    )


async def _alone(journals: Sequence[Journal], over: Callable[[], bool]) -> None:
    while not over():
        await journals[0].settle_one()


async def _turns(journals: Sequence[Journal], over: Callable[[], bool]) -> None:
    while not over():
        await journals[0].settle(AGENTS_AT_ONCE)


async def _many(journals: Sequence[Journal], over: Callable[[], bool]) -> None:
    async def one(journal: Journal) -> None:
        while not over():
            await journal.settle_one()

    await asyncio.gather(*(one(journal) for journal in journals))


CELLS = {"alone": _alone, "turns": _turns, "many": _many}


async def measure_journal(*, quick: bool) -> list[Figures]:
    """For each store and cell the medians of its rounds. Rounds visit all in turn."""
    kinds = [(store, cell) for store in STORES for cell in CELLS]
    runs: dict[tuple[str, str], list[Figures]] = {kind: [] for kind in kinds}
    server = postgres_server("fsync=on")
    for number in range(1 if quick else ROUNDS):
        for store, cell in kinds:
            print(f"  {store}, {cell}, round {number + 1}", file=sys.stderr)
            async with _opened(store, server) as opened:
                runs[store, cell].append(await _measure(opened, cell, QUICK_SECONDS if quick else SECONDS))
    return [{"store": store, "cell": cell, **_medians(found)} for (store, cell), found in runs.items()]


@asynccontextmanager
async def _opened(kind: str, server: PostgresServer) -> AsyncGenerator[RunStore]:
    """An empty store."""
    tasks = Tasks()
    with tempfile.TemporaryDirectory(prefix="ringfence-journal-") as folder:
        urls = {"memory": "memory:", "sqlite": f"sqlite:///{folder}/ledger.db"}
        store = await open_run_store(urls.get(kind) or server.url(server.fresh()), spawn=tasks.spawn)
        try:
            yield store
        finally:
            await store.close()
            await tasks.close(1.0)


async def _measure(store: RunStore, cell: str, seconds: float) -> Figures:
    journals = [await _begin(store, number) for number in range(RUNS_AT_ONCE)]
    began, cpu = time.perf_counter(), time.process_time()
    await CELLS[cell](journals, lambda: time.perf_counter() - began > seconds)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    for journal in journals:
        if len(await store.lines(journal.lease.run)) != journal.lines:
            raise RuntimeError(f"the journal of {journal.lease.run} is not what was written")
    calls = sum(journal.calls for journal in journals)
    latencies = sorted(latency for journal in journals for latency in journal.latencies_ms)
    return {
        "calls_per_second": calls / took,
        "appends_per_second": len(latencies) / took,
        "p50_ms": statistics.median(latencies),
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "cpu_us": 1e6 * cpu / calls,
    }


async def _begin(store: RunStore, number: int) -> Journal:
    run = RunId(f"wf_bench{number:02}")
    row = RunRow(
        id=run,
        owner=Owner(user="alice", credential="alice-laptop"),
        session="s1",
        name="bench",
        state="running",
        created_ms=number,
        updated_ms=number,
        script_sha256="0" * 64,
        record=msgspec.Raw(msgspec.json.encode({"agents": "x" * RECORD_BYTES})),
    )
    return Journal(store, await store.create(row, Entry(), owner="bench", idempotency=None, now_ms=number), row)


def _medians(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def print_journal(rows: Sequence[Figures]) -> None:
    """One row per store and cell."""
    widths = (10, 8, 10, 11, 15, 9, 0)

    def line(texts: Sequence[str]) -> str:
        return "".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()

    print(line(COLUMNS))
    for row in rows:
        rates = (f"{row['calls_per_second']:.0f}", f"{row['appends_per_second']:.0f}")
        print(
            line(
                (
                    row["store"],
                    row["cell"],
                    *rates,
                    f"{row['p50_ms']:.2f}",
                    f"{row['p99_ms']:.2f}",
                    f"{row['cpu_us']:.0f}",
                )
            )
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.journal", description="Measure journals of runs.")
    parser.add_argument("--quick", action="store_true", help="one short round: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    figures = asyncio.run(measure_journal(quick=arguments.quick))
    if arguments.json:
        print(json.dumps({"quick": arguments.quick, "journal": figures}, indent=2))
    else:
        print_journal(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
