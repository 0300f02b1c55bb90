"""What a gateway answers from memory: as last known, its own settlements included before they are committed."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Expired, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.core.money.windows import DAY_MS, Calendar
from gateway.stores.postgres import PostgresStore, open_postgres
from gateway.stores.postgres.ledger import EXPIRE_MAX
from tests.support.postgres import postgres_server

NOW = 1_795_356_000_000
LIMITS = Limits((LimitRow("org", 10**6, "daily"), LimitRow("org", 100, per="session", strict=True)))


@pytest.fixture
async def store() -> AsyncGenerator[PostgresStore]:
    server = postgres_server()
    store = await open_postgres(StoreConfig(server.url(server.fresh())), LIMITS, Calendar(), NOW)
    yield store
    await store.close()


def hold(id: str, *accounts: str) -> Hold:
    return Hold(id, accounts or ("org",), "m", ("b",), Amounts(30), Amounts(10), NOW, NOW + 60_000)


async def test_own_settlement_is_known_at_once(store: PostgresStore) -> None:
    await store.reserve(hold("h", "org", "session:s"))
    assert [(view.used, view.held) for view in store.views(NOW)] == [(0, 10), (0, 30)]
    store.settle("h", Amounts(7, active_requests=0), "b", NOW)
    assert [(view.used, view.held) for view in store.views(NOW)] == [(7, 0), (7, 0)]
    assert (store.spent("org"), store.spent("session:s"), store.spent("nobody")) == (7, 7, 0)
    assert [(view.used, view.held) for view in store.views(NOW + DAY_MS)] == [(0, 0), (7, 0)]


async def test_what_is_out_of_range_is_refused_before_it_is_sent(store: PostgresStore) -> None:
    await store.reserve(hold("h"))
    twice = Hold("i", ("org", "org"), "m", ("b",), Amounts(), Amounts(), NOW, NOW)
    negative = Hold("i", ("org",), "m", ("b",), Amounts(-1), Amounts(), NOW, NOW)
    for wrong, told in ((hold("h"), "open already"), (twice, "twice"), (negative, "not from 0")):
        with pytest.raises(ValueError, match=told):
            await store.reserve(wrong)
    with pytest.raises(ValueError, match="negative"):
        store.settle("h", Amounts(-1), "b", NOW)
    store.settle("h", Amounts(5), "b", NOW)
    await store.flush()
    with pytest.raises(ValueError, match="exists already"):
        await other(store, "h")


async def other(store: PostgresStore, id: str) -> None:
    """The id of a hold that expired and is still kept."""
    await store.reserve(hold(f"{id}2"))
    await store.expire(NOW + 60_000)
    await store.reserve(hold(f"{id}2"))


async def test_more_overdue_holds_than_fit_in_one_go_expire_over_several(store: PostgresStore) -> None:
    await asyncio.gather(*(store.reserve(hold(f"h{n}")) for n in range(EXPIRE_MAX + 5)))
    told: list[Expired] = []
    for left in (5, 0):
        told += await store.expire(NOW + 60_000)
        await store.flush()  # what a busy database ended after it had been waited for is told by the next
        assert store.open_holds()[0] == left
    told += await store.expire(NOW + 61_000)
    assert len({each.id for each in told}) == len(told) == EXPIRE_MAX + 5
    assert (store.held_total(), store.open_holds()) == (0, (0, None))
