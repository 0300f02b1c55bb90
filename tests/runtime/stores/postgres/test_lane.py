"""Appends to Postgres: batches, answers that are lost, statements that arrive late, a database that is away."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from runtime.ports import Entry, LeaseLost, RunStore, StoreAway
from runtime.stores.postgres.connections import NETWORK_SECONDS, STATEMENT_SECONDS
from runtime.stores.rows import FIRST_LEASE_MS
from tests.runtime.stores.homes import NOW, RUN, TTL_MS, PostgresHome, begin, entry_of, event, run_row, texts
from tests.support.postgres import PASSWORD, postgres_server, until
from tests.support.proxy import Proxy, proxied

SHA = "cd" * 32


@pytest.fixture
async def proxy() -> AsyncGenerator[Proxy]:
    async with proxied(postgres_server().port) as proxy:
        yield proxy


@pytest.fixture
async def home(proxy: Proxy) -> AsyncGenerator[PostgresHome]:
    home = PostgresHome()
    home.port = proxy.port
    yield home
    await home.close()


@pytest.fixture
async def store(home: PostgresHome) -> RunStore:
    return await home.open()


@asynccontextmanager
async def locked(home: PostgresHome) -> AsyncGenerator[Any]:
    """Whoever wants to append waits on the server, until the block ends."""
    connection = await asyncpg.connect(postgres_server().url(home.database))
    try:
        async with connection.transaction():
            await connection.execute("SELECT * FROM ringfence_run.leases FOR UPDATE")
            yield connection
    finally:
        await connection.close()


async def appends_wait(home: PostgresHome, count: int) -> None:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    await until(lambda: home.psql(asked) == str(count))


async def lose_the_answer(home: PostgresHome, proxy: Proxy, append: Callable[[], Awaitable[None]]) -> None:
    """The server does what was asked, and nobody hears of it."""
    async with locked(home):
        asked = asyncio.ensure_future(append())
        await appends_wait(home, 1)
        proxy.cut()
        with pytest.raises(StoreAway, match="cannot be reached") as away:
            await asked
        assert PASSWORD not in str(away.value)
    proxy.restore()
    await home.finished()


async def test_append_said_again_after_its_answer_was_lost_is_written_once(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    lease = await begin(store, run_row(), "a")
    entry = Entry(lines=(b"b", b"c"), events=[event(1)], row=run_row(state="paused"), blobs=((SHA, b"x"),))
    await lose_the_answer(home, proxy, lambda: store.append(lease, entry))
    await store.append(lease, entry)
    await store.append(lease, entry_of("d"))
    assert await texts(store) == ["a", "b", "c", "d"]
    assert await store.events(RUN, after=0, types=(), most=9) == [event(1)]
    assert (await store.find(RUN), await store.blob(SHA)) == (run_row(state="paused"), b"x")


async def test_first_append_of_a_run_that_was_taken_over_is_written_once_too(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    await begin(store, run_row(), "a")
    home.pass_ms(FIRST_LEASE_MS)
    other = await home.open()
    lease = await other.acquire(RUN, "p2", NOW, ttl_ms=TTL_MS)
    assert lease is not None
    await lose_the_answer(home, proxy, lambda: other.append(lease, entry_of("b")))
    await other.append(lease, entry_of("b"))
    assert await texts(other) == ["a", "b"]


async def test_append_that_says_more_than_the_lost_one_adds_only_the_rest(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    lease = await begin(store, run_row(), "a")
    await lose_the_answer(home, proxy, lambda: store.append(lease, entry_of("b")))
    await store.append(lease, entry_of("b", "b", "c"))
    assert await texts(store) == ["a", "b", "b", "c"]


async def test_append_of_something_else_comes_after_the_lost_one(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    lease = await begin(store, run_row(), "a")
    await lose_the_answer(home, proxy, lambda: store.append(lease, entry_of("b", "c")))
    await store.append(lease, entry_of("b", "d"))
    assert await texts(store) == ["a", "b", "c", "b", "d"]


async def test_statement_that_arrives_late_does_not_repeat_what_was_said_again(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    lease = await begin(store, run_row(), "a")
    async with locked(home):
        lost = asyncio.ensure_future(store.append(lease, entry_of("b")))
        await appends_wait(home, 1)
        proxy.cut()
        with pytest.raises(StoreAway):
            await lost
        proxy.restore()
        again = asyncio.ensure_future(store.append(lease, entry_of("b", "c")))
        await appends_wait(home, 2)
    await again
    assert await texts(store) == ["a", "b", "c"]


async def test_append_that_never_arrived_is_written_when_said_again(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    lease = await begin(store, run_row(), "a")
    proxy.cut()
    for _ in range(2):
        with pytest.raises(StoreAway, match="cannot be reached"):
            await store.append(lease, entry_of("b"))
    proxy.restore()
    await store.append(lease, entry_of("b"))
    assert await texts(store) == ["a", "b"]


@pytest.mark.waits
async def test_network_that_hangs_is_away_soon_and_comes_back_by_itself(
    home: PostgresHome, proxy: Proxy, store: RunStore
) -> None:
    lease = await begin(store, run_row(), "a")
    await store.append(lease, entry_of("b"))
    proxy.stall()
    async with asyncio.timeout(4 * (STATEMENT_SECONDS + NETWORK_SECONDS)):
        with pytest.raises(StoreAway, match="did not answer in time"):
            await store.append(lease, entry_of("c"))
    proxy.restore()
    await store.append(lease, entry_of("c"))
    assert await texts(store) == ["a", "b", "c"]


async def test_append_while_the_lease_is_being_taken_waits_and_is_lost(home: PostgresHome, store: RunStore) -> None:
    lease = await begin(store, run_row(), "a")
    async with locked(home) as theirs:
        late = asyncio.ensure_future(store.append(lease, Entry(lines=(b"b",), blobs=((SHA, b"x"),))))
        await appends_wait(home, 1)
        await theirs.execute("UPDATE ringfence_run.leases SET owner = 'p2', fence = fence + 1")
    with pytest.raises(LeaseLost):
        await late
    assert (await texts(store), await store.blob(SHA)) == (["a"], None)


async def test_entry_that_cannot_be_kept_does_not_hurt_the_others(home: PostgresHome, store: RunStore) -> None:
    good, bad = [await begin(store, run_row(run), "a") for run in ("wf_good00", "wf_bad000")]
    broken = Entry(lines=(b"b",), events=[event(1, "nul\0nul")])
    told = await asyncio.gather(store.append(bad, broken), store.append(good, entry_of("b")), return_exceptions=True)
    assert isinstance(told[0], Exception) and not isinstance(told[0], StoreAway)
    assert told[1] is None and await texts(store, good.run) == ["a", "b"]
    await store.append(bad, entry_of("c"))
    assert await texts(store, bad.run) == ["a", "c"]


async def test_what_comes_at_once_is_committed_together(home: PostgresHome, store: RunStore) -> None:
    leases = [await begin(store, run_row(f"wf_batch{number:02}")) for number in range(50)]
    before = int(home.psql("SELECT count(DISTINCT xmin::text) FROM ringfence_run.lines"))
    await asyncio.gather(*(store.append(lease, entry_of("a")) for lease in leases for _ in range(4)))
    assert int(home.psql("SELECT count(DISTINCT xmin::text) FROM ringfence_run.lines")) - before == 1


async def test_renewing_while_appending_gets_nobody_stuck(home: PostgresHome, store: RunStore) -> None:
    leases = [await begin(store, run_row(f"wf_renew{number:02}")) for number in range(30)]

    async def append() -> None:
        for _ in range(10):
            await asyncio.gather(*(store.append(lease, entry_of("a")) for lease in leases))

    async def renew() -> None:
        for _ in range(10):
            assert await store.renew(leases[::-1], NOW, ttl_ms=TTL_MS) == leases[::-1]

    await asyncio.gather(append(), renew())
    assert home.psql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == "0"
    assert home.psql("SELECT min(lines), max(lines) FROM ringfence_run.leases") == "10|10"


async def test_lease_that_somebody_else_got_for_us_is_good_for_appends(home: PostgresHome, store: RunStore) -> None:
    lease = await begin(store, run_row(), "a")
    other = await home.open()
    await other.append(lease, entry_of("b"))
    await store.append(lease, entry_of("c"))
    assert await texts(store) == ["a", "b", "c"]


async def test_closing_commits_what_waits_and_takes_nothing_more(home: PostgresHome, store: RunStore) -> None:
    lease = await begin(store)
    asked = [asyncio.ensure_future(store.append(lease, entry_of(str(number)))) for number in range(30)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*asked)
    with pytest.raises(StoreAway, match="is closed"):
        await store.append(lease, entry_of("late"))
    with pytest.raises(StoreAway, match="is closed"):
        await store.find(RUN)
    assert home.psql("SELECT count(*) FROM ringfence_run.lines") == "30"


async def test_lane_that_is_cancelled_tells_those_who_wait(home: PostgresHome, store: RunStore) -> None:
    lease = await begin(store)
    other = await begin(store, run_row("wf_bbbbbb"))
    async with locked(home):
        asked = [asyncio.ensure_future(store.append(lease, entry_of("a")))]
        await appends_wait(home, 1)
        asked.append(asyncio.ensure_future(store.append(other, entry_of("b"))))
        await asyncio.sleep(0)
        await home.tasks.close(0.0)
        told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in told] == [StoreAway, StoreAway]


async def test_caller_who_leaves_takes_nobody_along(home: PostgresHome, store: RunStore) -> None:
    lease = await begin(store)
    async with locked(home):
        leaving = asyncio.ensure_future(store.append(lease, entry_of("a")))
        await appends_wait(home, 1)
        leaving.cancel()
        staying = asyncio.ensure_future(store.append(lease, entry_of("b")))
        await asyncio.sleep(0)
    await staying
    assert await texts(store) == ["a", "b"]
