"""One process of the ledger's bench: clients that reserve and settle on one hot account. Started by `ledger.py`.

It talks with its parent line by line, so that several begin together: a spec in, `ready` out, a line in, the figures
out when everything is on disk, another line in, what the organisation has used out.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import Calendar
from gateway.stores import MemoryStore, SqliteStore
from gateway.stores.postgres import open_postgres

PLENTY_NANOUSD = 10**17
LIMITS = Limits((LimitRow("org", PLENTY_NANOUSD, "monthly", strict=True), LimitRow("user:alice", PLENTY_NANOUSD)))
WORST, EXPECTED = Amounts(300_400_000, 1, 15_000, 15_100), Amounts(120_000_000, 1, 6_000, 6_100)
SPENT = Amounts(100_400_000, 1, 5_000, 5_100)
HOUR_MS = 3_600_000


class Client:
    """One that has a session of its own, and everything else in common with the others."""

    def __init__(self, store: Any, number: int) -> None:
        session = f"{os.getpid()}-{number}"
        self._store = store
        self._session = session
        self._accounts = ("org", "team:platform", "user:alice", f"session:{session}", f"agent:{session}/main")
        self._made = count()
        self.latencies_ns: list[int] = []

    async def work(self, until_ns: int) -> None:
        """Pair after pair. A settlement does not wait for the disk; whoever flushes afterwards waits for all."""
        began_ns = time.perf_counter_ns()
        while began_ns < until_ns:
            now_ms = time.time_ns() // 1_000_000
            hold_id = f"{self._session}.{next(self._made)}"
            hold = Hold(
                id=hold_id,
                accounts=self._accounts,
                model="claude-opus-5-5",
                backends=("anthropic",),
                worst=WORST,
                expected=EXPECTED,
                created_ms=now_ms,
                deadline_ms=now_ms + HOUR_MS,
            )
            await self._store.reserve(hold)
            await asyncio.sleep(0)  # where a request would be sent, and all other clients have their turn
            self._store.settle(hold_id, SPENT, "anthropic", now_ms)
            ended_ns = time.perf_counter_ns()
            self.latencies_ns.append(ended_ns - began_ns)
            began_ns = ended_ns


async def open_store(url: str) -> Any:
    """By the URL; an empty one is the store in memory."""
    now_ms = time.time_ns() // 1_000_000
    if not url:
        return MemoryStore(LIMITS, now_ms)
    if url.startswith("sqlite:///"):
        return SqliteStore(Path(url.removeprefix("sqlite:///")), LIMITS, now_ms)
    return await open_postgres(StoreConfig(url=url), LIMITS, Calendar(), now_ms)


async def run(store: Any, working: Sequence[Client], seconds: float) -> dict[str, Any]:
    """The figures of one run, over the time until all of it is on disk."""
    began_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
    until_ns = began_ns + int(seconds * 1e9)
    for client in working:
        client.latencies_ns.clear()
    await asyncio.gather(*(client.work(until_ns) for client in working))
    await store.flush()
    took_ns, cpu_ns = time.perf_counter_ns() - began_ns, time.process_time_ns() - cpu_ns
    latencies_ns = sorted(latency for client in working for latency in client.latencies_ns)
    pairs = len(latencies_ns)
    return {
        "pairs": pairs,
        "pairs_per_second": pairs / took_ns * 1e9,
        "p50_ms": latencies_ns[pairs // 2] / 1e6,
        "p99_ms": latencies_ns[pairs * 99 // 100] / 1e6,
        "cpu_us": cpu_ns / pairs / 1000,
        "spent_nanousd": pairs * SPENT.cost,
        "held_nanousd": store.held_total(),
    }


async def serve() -> None:
    """The conversation with the parent."""
    spec = json.loads(await _line())
    store = await open_store(spec["url"])
    working = [Client(store, number) for number in range(spec["clients"])]
    warm = await run(store, working, spec["seconds"] / 4)
    print("ready", flush=True)
    await _line()
    figures = await run(store, working, spec["seconds"])
    print(json.dumps(figures | {"spent_nanousd": warm["spent_nanousd"] + figures["spent_nanousd"]}), flush=True)
    await _line()
    (used_nanousd,) = await store.used([Series("org")], 0)
    print(json.dumps({"used_nanousd": used_nanousd}), flush=True)
    await _line()
    await store.close()


async def _line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(serve())
