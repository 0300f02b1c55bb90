"""A process that writes journals until it is killed, and says what was acknowledged. For `test_crash.py`; no test here.

Each entry has three lines, an event, the row and, now and then, a blob: all say the number of their entry.
"""

import asyncio
import sys

import msgspec

from gateway.tasks import Tasks
from runtime.core.model import RunId
from runtime.ports import Entry, Lease, RunStore
from runtime.stores import open_run_store
from tests.runtime.stores.homes import NOW, event, run_row

RUNS = tuple(RunId(f"wf_crash{number}") for number in range(8))
LINES = ("issued", "started", "result")
OWNER = "driver"


def entry_of(run: RunId, number: int) -> Entry:
    """The entry that makes a journal `3 * number` lines long."""
    lines = [f"{kind} {number}".encode() for kind in LINES]
    row = msgspec.structs.replace(run_row(run), updated_ms=NOW + number)
    blobs = ((f"{number:064x}", b"%d" % number),) if number % 5 == 0 else ()
    return Entry(lines=lines, events=[event(number)], row=row, blobs=blobs)


async def take(store: RunStore, run: RunId) -> Lease:
    """The run, new or left behind by a process that was killed."""
    if await store.find(run) is None:
        return await store.create(run_row(run), Entry(), owner=OWNER, idempotency=str(run), now_ms=NOW)
    lease = await store.acquire(run, OWNER, NOW, ttl_ms=1_000)
    assert lease is not None
    return lease


async def drive(store: RunStore, run: RunId) -> None:
    """Go on where the journal ends, for ever."""
    lease = await take(store, run)
    number = len(await store.lines(run)) // len(LINES)
    while True:
        number += 1
        await store.append(lease, entry_of(run, number))
        print(run, number, flush=True)


async def main(url: str) -> None:
    store = await open_run_store(url, spawn=Tasks().spawn)
    await asyncio.gather(*(drive(store, run) for run in RUNS))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
