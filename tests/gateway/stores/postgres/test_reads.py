"""What is read beside the batches: sums of series that nobody counts yet, and what is overdue."""

from collections.abc import AsyncGenerator

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import DAY_MS, Calendar
from gateway.stores.postgres import PostgresStore, open_postgres, reads
from gateway.stores.postgres.lines import Line
from tests.support.postgres import postgres_server

NOW = 1_795_356_000_000
LIMITS = Limits((LimitRow("org", 10**12, "rolling 1h", id="rolling"),))


@pytest.fixture
async def url() -> str:
    server = postgres_server()
    return server.url(server.fresh())


@pytest.fixture
async def store(url: str) -> AsyncGenerator[PostgresStore]:
    store = await open_postgres(StoreConfig(url), LIMITS, Calendar(), NOW)
    yield store
    await store.close()


@pytest.fixture
async def line(url: str) -> AsyncGenerator[Line]:
    line = Line(url, "test")
    yield line
    await line.close()


def hold(id: str, model: str = "opus-5", *backends: str, now: int = NOW) -> Hold:
    backends = backends or ("b1",)
    return Hold(id, ("org",), model, backends, Amounts(30, 1, 5, 9), Amounts(10), now, now + 60_000)


async def test_series_that_nobody_counts_is_summed_from_usage(store: PostgresStore) -> None:
    for n, (model, backend) in enumerate((("opus-5", "b1"), ("opus-5", "b2"), ("sonnet-5", "b1"))):
        await store.reserve(hold(f"h{n}", model, "b1", "b2"))
        store.settle(f"h{n}", Amounts(10**n, 1, 7, 8, 0), backend, NOW)
    await store.reserve(hold("unknown", "opus-5", "b1", "b2"))
    await store.expire(NOW + 60_000)
    asked = [
        Series("org", models=("opus-*",)),
        Series("org", backends=("b1",)),
        Series("org", "requests", "daily", ("opus-*",), ("b2",)),
        Series("org", "output_tokens", "daily"),
        Series("team:unheard-of"),
    ]
    before = await store.used(asked, NOW + 60_000)
    await store.flush()
    assert before == await store.used(asked, NOW + 60_000) == [1 + 10 + 10, 1 + 100 + 10, 2, 21, 0]
    assert await store.used([asked[3], Series("org")], NOW + DAY_MS) == [0, 121]


async def test_rolling_window_is_read_as_it_will_stand(store: PostgresStore, line: Line) -> None:
    await store.reserve(hold("h"))
    store.settle("h", Amounts(7, active_requests=0), "b1", NOW)
    await store.flush()
    rolling = Series("org", window="rolling 1h")
    async with line.use() as connection:
        found = [(await reads.sums(connection, [rolling], Calendar(), NOW + at))[0] for at in (0, 3_659_999, 3_660_000)]
    assert [each.used for each in found] == [7, 7, 0]
    assert [each.ends_ms for each in found] == [NOW + 3_660_000, NOW + 3_660_000, None]


async def test_holds_are_overdue_by_their_deadline_or_their_owner(store: PostgresStore, line: Line) -> None:
    for n in range(3):
        await store.reserve(hold(f"h{n}", now=NOW + n))
    async with line.use() as connection:
        due = await reads.overdue(connection, NOW + 60_001, 30.0, 10)
        assert sorted(each.id for each in due) == ["h0", "h1"]
        assert (due[0].worst, due[0].expected) == (Amounts(30, 1, 5, 9), Amounts(10))
        await connection.execute("UPDATE ringfence.owners SET heartbeat = heartbeat - interval '31 s'")
        assert len(await reads.overdue(connection, NOW, 30.0, 10)) == 3
        assert len(await reads.overdue(connection, NOW, 30.0, 2)) == 2
    await store.reserve(hold("h3"))
    async with line.use() as connection:
        assert await reads.overdue(connection, NOW, 30.0, 10) == []
