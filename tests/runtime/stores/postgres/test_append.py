"""One batch of appends: what is added, what is not, and what is found out about the rest."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from runtime.core.model import RunId
from runtime.ports import Entry, Lease, RunStore, StoreAway
from runtime.stores.postgres.append import Addition, commit, settle_base
from runtime.stores.postgres.connections import Connection, connect
from tests.runtime.stores.homes import RUN, PostgresHome, begin, entry_of, event, run_row, texts

OTHER = RunId("wf_bbbbbb")


@pytest.fixture
async def home() -> AsyncGenerator[PostgresHome]:
    home = PostgresHome()
    yield home
    await home.close()


@pytest.fixture
async def store(home: PostgresHome) -> RunStore:
    """With two runs of one line each."""
    store = await home.open()
    await begin(store, run_row(), "a")
    await begin(store, run_row(OTHER), "a")
    return store


@pytest.fixture
async def connection(home: PostgresHome, store: RunStore) -> AsyncGenerator[Connection]:
    connection = await connect(home.url(), "test")
    yield connection
    await connection.close()


def addition(run: RunId, base: int, *lines: str, fence: int = 1) -> Addition:
    added = Addition(Lease(run, "p1", fence), base)
    added.include(entry_of(*lines))
    return added


async def test_batch_adds_where_lease_and_base_are_right(connection: Connection, store: RunStore) -> None:
    assert await commit(connection, [addition(RUN, 1, "b", "c"), addition(OTHER, 0, "b")]) == {RUN}
    assert await commit(connection, [addition(RUN, 3, "d", fence=2), addition(OTHER, 1)]) == {OTHER}
    assert (await texts(store), await texts(store, OTHER)) == (["a", "b", "c"], ["a"])


async def test_batch_adds_nothing_under_a_lease_that_was_let_go(connection: Connection, store: RunStore) -> None:
    await connection.execute("UPDATE leases SET owner = NULL WHERE run = $1", RUN)
    assert await commit(connection, [addition(RUN, 1, "b"), addition(OTHER, 1, "b")]) == {OTHER}
    assert (await texts(store), await texts(store, OTHER)) == (["a"], ["a", "b"])


async def test_entries_of_one_run_become_one_addition_with_the_last_row(
    connection: Connection, store: RunStore
) -> None:
    added = addition(RUN, 1, "b")
    added.include(Entry(lines=(b"c",), events=[event(1)], row=run_row(state="paused")))
    added.include(Entry(lines=(b"d",), events=[event(2)]))
    assert await commit(connection, [added]) == {RUN}
    assert await texts(store) == ["a", "b", "c", "d"]
    assert await store.events(RUN, after=0, types=(), most=9) == [event(1), event(2)]
    assert await store.find(RUN) == run_row(state="paused")


@pytest.mark.parametrize(
    ("base", "lines", "left"),
    [(-1, ["a", "b"], ["a", "b"]), (0, ["a", "b"], ["b"]), (0, ["b"], ["b"]), (1, ["a"], ["a"]), (0, ["a"], [])],
    ids=["unknown", "begins alike", "differs", "as known", "all there"],
)
async def test_base_is_found_out_and_what_is_there_left_out(
    connection: Connection, base: int, lines: list[str], left: list[str]
) -> None:
    added = addition(RUN, base, *lines)
    assert await settle_base(connection, added)
    assert (added.base, [line.decode() for line in added.lines]) == (1, left)


@pytest.mark.parametrize(
    "added", [addition(RUN, 1, fence=2), addition(RunId("wf_unknown"), 1)], ids=["other fence", "unknown"]
)
async def test_base_of_a_run_that_is_not_held_is_not_found_out(connection: Connection, added: Addition) -> None:
    assert not await settle_base(connection, added)


async def test_everybody_who_waits_is_told_with_an_error_of_their_own() -> None:
    loop = asyncio.get_running_loop()
    added = addition(RUN, 0)
    added.waiting += [loop.create_future() for _ in range(3)]
    added.waiting[0].cancel()
    added.tell(StoreAway("away"))
    _, one, other = added.waiting
    assert one.exception() is not other.exception() and str(one.exception()) == "away"
