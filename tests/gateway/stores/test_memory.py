"""What every store does the same, and the choice by URL. The SQLite file itself: test_sqlite.py."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.core.money.windows import Calendar
from gateway.errors import GatewayError, Reason
from gateway.stores import MemoryStore, SqliteStore, database_path, open_store

NOW = 1_795_356_000_000
CENT = 10_000_000
LIMITS = Limits(
    (LimitRow("org", 100 * CENT, "daily", strict=True), LimitRow("org", 500 * CENT, per="session")),
)

Store = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = MemoryStore(LIMITS) if request.param == "memory" else SqliteStore(tmp_path / "ledger.db", LIMITS, NOW)
    yield opened
    await opened.close()


def hold(id: str, *accounts: str) -> Hold:
    worst, expected = Amounts(30 * CENT, output_tokens=7), Amounts(10 * CENT)
    return Hold(id, accounts or ("org",), "m", ("b",), worst, expected, NOW, NOW + 60_000)


def spent(nanousd: int) -> Amounts:
    return Amounts(nanousd, active_requests=0)


async def test_fifty_concurrent_holds_of_thirty_cents_under_a_strict_dollar_let_three_through(store: Store) -> None:
    outcomes = await asyncio.gather(*(store.reserve(hold(f"h{i}")) for i in range(50)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, tuple)] == [Exhausted] * 47
    assert store.held_total() == 90 * CENT
    for number in range(50):
        store.settle(f"h{number}", spent(30 * CENT), "b", NOW)
    assert (store.spent("org"), store.held_total()) == (90 * CENT, 0)


async def test_settling_twice_counts_once(store: Store) -> None:
    await store.reserve(hold("h", "org", "user:bob"))
    store.settle("h", spent(7 * CENT), "b", NOW)
    store.settle("h", spent(9 * CENT), "b", NOW)
    store.release("h")
    assert store.spent("org") == store.spent("user:bob") == 7 * CENT


async def test_release_before_settlement_spends_nothing(store: Store) -> None:
    await store.reserve(hold("h"))
    store.release("h")
    store.settle("h", spent(9 * CENT), "b", NOW)
    assert (store.spent("org"), store.held_total()) == (0, 0)


async def test_hold_past_its_deadline_is_spend_and_a_later_settlement_corrects_it_once(store: Store) -> None:
    await store.reserve(hold("h"))
    assert await store.expire(NOW + 59_999) == []
    assert [each.id for each in await store.expire(NOW + 60_000)] == ["h"]
    assert store.spent("org") == 30 * CENT
    for cost in (CENT, 2 * CENT):
        store.settle("h", spent(cost), "b", NOW + 60_001)
    assert store.spent("org") == CENT


async def test_reservation_tells_the_limits_as_they_stood_before(store: Store) -> None:
    await store.reserve(hold("a"))
    store.settle("a", spent(7 * CENT), "b", NOW)
    await store.reserve(hold("b"))
    daily, session = await store.reserve(hold("c", "org", "session:s"))
    assert (daily.used, daily.held, daily.left) == (7 * CENT, 30 * CENT, 63 * CENT)
    assert (session.series.account, session.used, session.held) == ("session:s", 0, 0)


async def test_views_show_what_names_its_account_and_what_was_met(store: Store) -> None:
    assert [view.series.account for view in store.views(NOW)] == ["org"]
    await store.reserve(hold("b", "org", "session:s"))
    assert [(view.series.account, view.held) for view in store.views(NOW)] == [
        ("org", 30 * CENT),
        ("session:s", 10 * CENT),
    ]
    assert store.is_strict(["org"], "m", ["b"])
    assert [view.held for view in await store.standing(("org", "session:t"), NOW)] == [30 * CENT, 0]


async def test_extension_is_held_or_refused_and_leaves_the_hold_as_it_was(store: Store) -> None:
    await store.reserve(hold("h"))
    assert await store.extend("h", Amounts(100 * CENT), Amounts(20 * CENT), NOW)
    with pytest.raises(Exhausted):
        await store.extend("h", Amounts(100 * CENT + 1), Amounts(20 * CENT), NOW)
    assert store.held_total() == 100 * CENT
    store.release("h")
    assert not await store.extend("h", Amounts(1), Amounts(1), NOW)


async def test_limit_set_by_an_operator_counts_from_what_was_spent_before(store: Store) -> None:
    await store.reserve(hold("h", "org", "user:bob"))
    store.settle("h", spent(7 * CENT), "b", NOW)
    row = LimitRow("org", 7 * CENT, "monthly", per="user", models=("m*",), id="spl_1", source="api")
    limit = StoredLimit("spl_1", "users monthly", NOW, NOW, {"amount": "7"}, (row,))
    assert await store.change_limit("spl_1", lambda before: limit, Author("ops", NOW, "upsert")) == limit
    with pytest.raises(Exhausted, match="the monthly limit of"):
        await store.reserve(hold("i", "org", "user:bob"))
    assert await store.used([row.series("user:bob"), Series("user:bob", "requests")], NOW) == [7 * CENT, 1]
    assert [change.after for change in await store.limit_audit(0, 5)] == [{"amount": "7"}]


async def test_url_with_three_slashes_is_relative_and_with_four_absolute(tmp_path: Path) -> None:
    assert database_path("sqlite:///ringfence.db") == Path("ringfence.db")
    assert database_path("sqlite:////var/lib/ringfence.db") == Path("/var/lib/ringfence.db")
    opened = await open_store(StoreConfig(f"sqlite:///{tmp_path}/x.db"), Limits(), Calendar(), NOW)
    await opened.close()
    assert (tmp_path / "x.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "url",
    ["mysql://u@h/db", "sqlite://x.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "x.db", ""],
)
async def test_url_that_names_no_sqlite_file_is_refused(url: str) -> None:
    with pytest.raises(GatewayError, match="store.url") as caught:
        await open_store(StoreConfig(url), Limits(), Calendar(), NOW)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
