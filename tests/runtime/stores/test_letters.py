"""What is asked of a run by way of a process that does not drive it: who gets it, how often, and until when."""

import asyncio

from runtime.core.model import RunId
from runtime.ports import Letter, RunStore
from runtime.stores.rows import FIRST_LEASE_MS
from tests.runtime.stores.homes import RUN, TTL_MS, Home, begin, run_row

OTHER = RunId("wf_bbbbbb")


async def texts_for(store: RunStore, owner: str, now_ms: int, *, ttl_ms: int = TTL_MS) -> list[bytes]:
    return [letter.text for letter in await store.take(owner, now_ms, ttl_ms=ttl_ms)]


async def test_letters_come_to_whoever_drives_the_run_in_their_order_and_once(home: Home) -> None:
    driver, other = await home.open(), await home.open()
    await begin(driver)
    ids = [await other.post(RUN, text, home.now_ms) for text in (b"pause", b"\x00resume", b"stop")]
    assert ids == sorted(set(ids))
    assert await driver.take("p1", home.now_ms, ttl_ms=TTL_MS) == [
        Letter(id, RUN, text) for id, text in zip(ids, (b"pause", b"\x00resume", b"stop"), strict=True)
    ]
    assert await texts_for(driver, "p1", home.now_ms) == []


async def test_letter_to_a_run_of_somebody_else_is_left_for_them(home: Home) -> None:
    mine, theirs = await home.open(), await home.open()
    await begin(mine, run_row(RUN), owner="p1")
    await begin(theirs, run_row(OTHER), owner="p2")
    await mine.post(OTHER, b"stop", home.now_ms)
    assert await texts_for(mine, "p1", home.now_ms) == []
    assert await texts_for(theirs, "p2", home.now_ms) == [b"stop"]


async def test_letter_goes_to_the_new_driver_and_not_to_the_old_one(home: Home) -> None:
    old, new = await home.open(), await home.open()
    await begin(old, owner="p1")
    home.pass_ms(FIRST_LEASE_MS)
    assert await new.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS) is not None
    await old.post(RUN, b"pause", home.now_ms)
    assert await texts_for(old, "p1", home.now_ms) == []
    assert await texts_for(new, "p2", home.now_ms) == [b"pause"]


async def test_letter_that_waited_too_long_is_dropped(home: Home) -> None:
    store = await home.open()
    lease = await begin(store, owner="p1")
    await store.release(lease)
    await store.post(RUN, b"stop", home.now_ms)
    home.pass_ms(60_000)
    await store.acquire(RUN, "p2", home.now_ms, ttl_ms=TTL_MS)
    assert await texts_for(store, "p2", home.now_ms, ttl_ms=-1) == []
    assert await texts_for(store, "p2", home.now_ms) == []


async def test_letter_taken_by_many_at_once_is_had_by_one(home: Home) -> None:
    stores = [await home.open() for _ in range(4)]
    await begin(stores[0], owner="p1")
    await stores[0].post(RUN, b"pause", home.now_ms)
    taken = await asyncio.gather(*(texts_for(store, "p1", home.now_ms) for store in stores))
    assert sum(taken, []) == [b"pause"]


async def test_letters_are_forgotten_with_their_run(home: Home) -> None:
    store = await home.open()
    await begin(store, run_row(state="completed"), owner="p1")
    await store.post(RUN, b"stop", home.now_ms)
    assert await store.purge(home.now_ms + 1) == 1
    await begin(store, owner="p1")
    assert await texts_for(store, "p1", home.now_ms) == []
