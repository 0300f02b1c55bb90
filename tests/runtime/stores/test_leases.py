"""Exactly one process drives a run: who holds it, when it changes hands, and what an older holder can still write."""

import asyncio
from collections import Counter

import msgspec
import pytest

from runtime.core.model import RunId
from runtime.ports import Entry, Lease, LeaseLost, RunStore
from runtime.stores.rows import FIRST_LEASE_MS
from tests.runtime.stores.homes import NOTHING, NOW, RUN, TTL_MS, Home, begin, entry_of, event, run_row, texts

SHA = "ab" * 32


async def ids(store: RunStore, now_ms: int) -> list[str]:
    return [row.id for row in await store.abandoned(now_ms)]


async def test_run_is_its_creators_until_the_first_lease_has_ended(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    await begin(mine)
    home.pass_ms(FIRST_LEASE_MS - 5_000)
    assert await other.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS) is None
    assert await ids(other, home.now_ms) == []
    home.pass_ms(5_000)
    assert await ids(other, home.now_ms) == [RUN]
    assert await other.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS) == Lease(RUN, "p2", 2)


async def test_w127_how_long_a_run_is_still_held_is_known_without_taking_it(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine)
    await mine.renew([lease], home.now_ms, ttl_ms=TTL_MS)
    ids = [RUN, RunId("wf_unknown")]

    async def left_ms() -> int:
        held = await other.held_ms(ids, home.now_ms)
        assert list(held) == [RUN]
        return held[RUN]

    assert TTL_MS - 1_000 < await left_ms() <= TTL_MS
    home.pass_ms(6_000)
    assert TTL_MS - 7_000 < await left_ms() <= TTL_MS - 6_000
    home.pass_ms(6_000)
    assert await left_ms() == 0
    await mine.renew([lease], home.now_ms, ttl_ms=TTL_MS)
    await mine.release(lease)
    assert await left_ms() == 0


async def test_older_holder_writes_nothing_at_all(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine, run_row(), "a")
    home.pass_ms(FIRST_LEASE_MS)
    theirs = await other.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS)
    assert theirs is not None
    late = msgspec.structs.replace(run_row(), state="failed")
    with pytest.raises(LeaseLost):
        await mine.append(lease, Entry(lines=(b"b",), events=[event(1)], row=late, blobs=((SHA, b"late"),)))
    await other.append(theirs, entry_of("c"))
    assert await texts(mine) == ["a", "c"]
    assert (await mine.find(RUN), await mine.events(RUN, after=0, types=(), most=9)) == (run_row(), [])
    assert await mine.blob(SHA) is None


async def test_lease_that_is_renewed_is_not_taken(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine)
    for _ in range(4):
        assert await mine.renew([lease], home.now_ms, ttl_ms=TTL_MS) == [lease]
        home.pass_ms(TTL_MS - 5_000)
        assert await other.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS) is None
    await mine.append(lease, entry_of("a"))


async def test_renewing_tells_which_leases_are_still_held(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    kept, taken, let_go = [await begin(mine, run_row(f"wf_lease{number}")) for number in range(3)]
    home.pass_ms(FIRST_LEASE_MS)
    await other.acquire(taken.run, "p2", home.now_ms, ttl_ms=TTL_MS)
    await mine.release(let_go)
    forgotten = Lease(RunId("wf_unknown"), "p1", 1)
    assert await mine.renew([kept, taken, let_go, forgotten], home.now_ms, ttl_ms=TTL_MS) == [kept]
    assert await mine.renew([], home.now_ms, ttl_ms=TTL_MS) == []


async def test_lease_that_ran_out_is_kept_as_long_as_nobody_takes_it(home: Home) -> None:
    store = await home.open()
    lease = await begin(store)
    home.pass_ms(FIRST_LEASE_MS + 60_000)
    await store.append(lease, entry_of("a"))
    assert await store.renew([lease], home.now_ms, ttl_ms=TTL_MS) == [lease]
    assert await store.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS) is None


async def test_lease_let_go_is_taken_at_once_and_good_for_nothing_more(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine)
    await mine.release(lease)
    with pytest.raises(LeaseLost):
        await mine.append(lease, entry_of("a"))
    assert await ids(other, home.now_ms) == [RUN]
    theirs = await other.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS)
    assert theirs is not None and theirs.fence > lease.fence
    await mine.release(lease)
    await other.append(theirs, entry_of("b"))


async def test_run_taken_back_by_its_former_driver_has_a_new_fence(home: Home) -> None:
    store = await home.open()
    first = await begin(store, run_row(), "a")
    home.pass_ms(FIRST_LEASE_MS)
    again = await store.acquire(RUN, "p1", home.now_ms, ttl_ms=TTL_MS)
    assert again is not None and again == Lease(RUN, "p1", first.fence + 1)
    told = await asyncio.gather(
        store.append(first, entry_of("old")), store.append(again, entry_of("new")), return_exceptions=True
    )
    assert isinstance(told[0], LeaseLost) and told[1] is None
    assert await texts(store) == ["a", "new"]


async def test_ended_run_is_never_abandoned(home: Home) -> None:
    store = await home.open()
    for number, state in enumerate(("completed", "failed", "stopped", "denied")):
        await begin(store, run_row(f"wf_ended{number}", state=state))
    for number, state in enumerate(("pending_approval", "queued", "running", "paused")):
        await begin(store, run_row(f"wf_open0{number}", state=state, at_ms=NOW - number))
    home.pass_ms(FIRST_LEASE_MS)
    assert await ids(store, home.now_ms) == [f"wf_open0{number}" for number in (3, 2, 1, 0)]


async def test_unknown_run_cannot_be_held(home: Home) -> None:
    store = await home.open()
    unknown = RunId("wf_unknown")
    assert await store.acquire(unknown, "p1", home.now_ms, ttl_ms=TTL_MS) is None
    with pytest.raises(LeaseLost):
        await store.append(Lease(unknown, "p1", 1), NOTHING)


async def test_processes_that_reach_for_abandoned_runs_at_once_get_each_once(home: Home) -> None:
    stores = [await home.open() for _ in range(4)]
    runs = [(await begin(stores[0], run_row(f"wf_taken{number}"))).run for number in range(8)]
    home.pass_ms(FIRST_LEASE_MS)
    asked = [
        store.acquire(run, f"p{at}", home.now_ms, ttl_ms=TTL_MS) for run in runs for at, store in enumerate(stores)
    ]
    taken = [lease for lease in await asyncio.gather(*asked) if lease is not None]
    assert Counter(lease.run for lease in taken) == Counter(runs)


async def test_takeover_in_the_middle_of_appends_leaves_no_line_of_the_former_after_the_new_ones(home: Home) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine, run_row(), "old-0")
    acknowledged = ["old-0"]

    async def drive() -> None:
        number = 0
        while True:
            number += 1
            await mine.append(lease, entry_of(f"old-{number}"))
            acknowledged.append(f"old-{number}")
            await asyncio.sleep(0)

    async def take_over() -> None:
        while len(acknowledged) < 20:
            await asyncio.sleep(0)
        home.pass_ms(FIRST_LEASE_MS)
        theirs = await other.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS)
        assert theirs is not None
        for number in range(20):
            await other.append(theirs, entry_of(f"new-{number}"))

    told = await asyncio.gather(drive(), take_over(), return_exceptions=True)
    assert isinstance(told[0], LeaseLost) and told[1] is None
    assert await texts(mine) == [*acknowledged, *(f"new-{number}" for number in range(20))]
