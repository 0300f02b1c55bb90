"""Limits of operators in Postgres: changed with their record or not at all, and known to the ledger at once."""

from collections.abc import AsyncGenerator

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.core.money.windows import Calendar
from gateway.errors import Refused
from gateway.stores.postgres import PostgresStore, limits, open_postgres
from gateway.stores.postgres.lines import connect
from tests.support.postgres import postgres_server
from tests.support.proxy import proxied

NOW = 1_795_356_000_000
AUTHOR = Author("alice", NOW, "spend_limit.upsert", "because")


@pytest.fixture
def url() -> str:
    server = postgres_server()
    return server.url(server.fresh())


@pytest.fixture
async def store(url: str) -> AsyncGenerator[PostgresStore]:
    store = await open_postgres(StoreConfig(url), Limits(), Calendar(), NOW)
    yield store
    await store.close()


def limit(id: str, most: int, *, strict: bool = False) -> StoredLimit:
    row = LimitRow("org", most, strict=strict, id=id, source="api")
    return StoredLimit(id, f"slot-{id}", NOW, NOW, {"amount": str(most)}, (row,))


def hold(id: str) -> Hold:
    return Hold(id, ("org",), "m", ("b",), Amounts(30), Amounts(10), NOW, NOW + 60_000)


async def test_limits_are_listed_in_the_order_of_creation_and_each_change_is_recorded(store: PostgresStore) -> None:
    for id, most in (("b", 1), ("a", 2), ("b", 3)):
        assert await store.change_limit(f"slot-{id}", lambda _, id=id, most=most: limit(id, most), AUTHOR)
    assert await store.change_limit("a", lambda _: None, AUTHOR) is None
    assert [each.rows[0].max for each in await store.stored_limits()] == [3]
    changes = [(change.number, change.target, change.before, change.after) for change in await store.limit_audit(1, 9)]
    assert changes == [
        (2, "a", None, {"amount": "2"}),
        (3, "b", {"amount": "1"}, {"amount": "3"}),
        (4, "a", {"amount": "2"}, None),
    ]
    assert len(await store.limit_audit(0, 2)) == 2


async def test_change_that_raises_changes_nothing(store: PostgresStore) -> None:
    def fails(_: StoredLimit | None) -> StoredLimit | None:
        raise LookupError("no such user")

    with pytest.raises(LookupError):
        await store.change_limit("a", fails, AUTHOR)
    assert await store.change_limit("nothing", lambda before: before, AUTHOR) is None
    assert (await store.stored_limits(), await store.limit_audit(0, 9)) == ([], [])


async def test_limit_that_is_deleted_and_comes_back_knows_what_was_spent_meanwhile(store: PostgresStore) -> None:
    await store.change_limit("a", lambda _: limit("a", 100), AUTHOR)
    await store.reserve(hold("h1"))
    await store.change_limit("a", lambda _: None, AUTHOR)
    await store.reserve(hold("h2"))
    store.settle("h1", Amounts(60, active_requests=0), "b", NOW)
    await store.flush()
    await store.change_limit("a", lambda _: limit("a", 79), AUTHOR)
    with pytest.raises(Exhausted) as exhausted:
        await store.reserve(hold("h3"))
    assert (exhausted.value.view.used, exhausted.value.view.held) == (60, 10)


async def test_strict_limit_that_comes_makes_open_holds_cost_their_worst_case(store: PostgresStore) -> None:
    await store.reserve(hold("h"))
    assert not store.is_strict(("org",), "m", ("b",))
    await store.change_limit("a", lambda _: limit("a", 100, strict=True), AUTHOR)
    assert store.is_strict(("org",), "m", ("b",))
    (expired,) = await store.expire(NOW + 60_000)
    assert expired.charge.cost == 30


async def test_configuration_that_stays_the_same_is_no_change(store: PostgresStore, url: str) -> None:
    connection = await connect(url, "test")
    before = await limits.read_version(connection)
    await limits.configure(connection, Limits())
    assert await limits.read_version(connection) == before
    await limits.configure(connection, Limits((LimitRow("org", 5),)))
    version, found = await limits.load(connection)
    assert (version > before, found.rows) == (True, (LimitRow("org", 5),))
    await connection.close()


async def test_gateway_that_nobody_asks_learns_of_a_change_too(store: PostgresStore, url: str) -> None:
    idle = await open_postgres(StoreConfig(url), Limits(), Calendar(), NOW)
    await store.change_limit("a", lambda _: limit("a", 100, strict=True), AUTHOR)
    await idle.expire(NOW)
    assert idle.is_strict(("org",), "m", ("b",))
    assert [view.row.id for view in idle.views(NOW) if view.row] == ["a"]
    await idle.close()


async def test_database_that_is_away_is_told_to_people() -> None:
    server = postgres_server()
    async with proxied(server.port) as proxy:
        url = server.url(server.fresh(), port=proxy.port)
        store = await open_postgres(StoreConfig(url), Limits(), Calendar(), NOW)
        proxy.cut()
        with pytest.raises(Refused, match="cannot be reached"):
            await store.stored_limits()
        with pytest.raises(Refused):
            await store.change_limit("a", lambda _: limit("a", 1), AUTHOR)
        proxy.restore()
        assert await store.stored_limits() == []
        await store.close()
