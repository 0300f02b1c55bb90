"""Housekeeping: folding, dropping what is idle, keeping old usage by day, and that no sum changes by any of it."""

from collections.abc import AsyncGenerator

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import DAY_MS, HOUR_MS, QUARTER_MS, Calendar
from gateway.stores.postgres import PostgresStore, open_postgres
from gateway.stores.postgres.house import CORRECTABLE_MS, IDLE_MS, KEPT_MS, House
from gateway.stores.postgres.lines import Line
from tests.support.postgres import postgres_server

NOW = 1_795_356_000_000
SESSION, ORG = Series("session:s"), Series("org")
LIMITS = Limits((LimitRow("org", 10**9, "rolling 5h", per="session"), LimitRow("org", 10**9, "daily")))


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


@pytest.fixture
async def store(database: str) -> AsyncGenerator[PostgresStore]:
    store = await open_postgres(StoreConfig(postgres_server().url(database)), LIMITS, Calendar(), NOW)
    yield store
    await store.close()


async def tidy(database: str, now_ms: int) -> None:
    line = Line(postgres_server().url(database), "test")
    house = House(line, lambda: (0, 0), lambda: now_ms)
    await house.fold()
    await house.tidy()
    await line.close()


def hold(id: str, now: int = NOW) -> Hold:
    return Hold(id, ("org", "session:s"), "m", ("b",), Amounts(30), Amounts(10), now, now + 60_000)


def count(database: str, what: str) -> int:
    return int(postgres_server().psql(database, f"SELECT count(*) FROM ringfence.{what}"))


async def test_ended_holds_become_usage_by_quarter_hour(store: PostgresStore, database: str) -> None:
    for n, at in enumerate((NOW, NOW + QUARTER_MS, NOW + QUARTER_MS + 1)):
        await store.reserve(hold(f"h{n}", at))
        store.settle(f"h{n}", Amounts(n + 1, 1, 10, 20, 0), "b", at)
    await store.flush()
    query = "SELECT quarter_ms, cost, requests, output_tokens, total_tokens FROM ringfence.usage WHERE account = 'org'"
    rows = sorted(postgres_server().psql(database, query).splitlines())
    assert rows == [f"{NOW}|1|1|10|20", f"{NOW + QUARTER_MS}|5|2|20|40"]
    assert count(database, "holds") == 0


async def test_idle_session_is_dropped_and_comes_back_with_what_it_used(store: PostgresStore, database: str) -> None:
    await store.reserve(hold("h"))
    store.settle("h", Amounts(7, 1, 0, 0, 0), "b", NOW)
    await store.flush()
    await tidy(database, NOW + IDLE_MS)
    assert count(database, "counters WHERE account = 'session:s'") == 2
    await tidy(database, NOW + IDLE_MS + 1)
    assert count(database, "counters WHERE account = 'session:s'") == 0
    later = NOW + 2 * HOUR_MS
    assert await store.used([SESSION], later) == [7]
    views = await store.reserve(hold("i", later))
    assert {view.series.window: view.used for view in views} == {"rolling 5h": 7, "daily": 7}


async def test_session_that_holds_something_is_not_dropped(store: PostgresStore, database: str) -> None:
    await store.reserve(hold("h"))
    await tidy(database, NOW + DAY_MS)
    assert count(database, "counters WHERE account = 'session:s'") == 2
    store.release("h")
    await store.flush()
    assert (await store.standing(("org", "session:s"), NOW))[0].held == 0


async def test_expired_hold_can_be_corrected_until_it_is_forgotten(store: PostgresStore, database: str) -> None:
    await store.reserve(hold("h"))
    await store.expire(NOW + 60_000)
    await tidy(database, NOW + 60_000 + CORRECTABLE_MS)
    assert count(database, "holds") == 1
    await tidy(database, NOW + 60_000 + CORRECTABLE_MS + 1)
    assert count(database, "holds") == 0
    store.settle("h", Amounts(1, 1, 0, 0, 0), "b", NOW + DAY_MS)
    await store.flush()
    assert await store.used([ORG], NOW) == [10]


async def test_usage_of_long_ago_is_kept_by_day_with_the_same_sum(store: PostgresStore, database: str) -> None:
    for n in range(5):
        at = NOW + n * HOUR_MS
        await store.reserve(hold(f"h{n}", at))
        store.settle(f"h{n}", Amounts(10**n, 1, 0, 0, 0), "b", at)
    await store.flush()
    await tidy(database, NOW + KEPT_MS + 2 * HOUR_MS)
    rows = postgres_server().psql(database, "SELECT quarter_ms FROM ringfence.usage WHERE account = 'org'").splitlines()
    assert sorted(map(int, rows)) == [NOW // DAY_MS * DAY_MS, *(NOW + n * HOUR_MS for n in (2, 3, 4))]
    assert await store.used([ORG, Series("org", "requests")], NOW) == [11_111, 5]
