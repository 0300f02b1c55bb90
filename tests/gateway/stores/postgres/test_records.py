"""Shared records between gateways: each hears of what the others write, once, in order, and of nothing too early."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.errors import Reason, Refused
from gateway.ports import SharedRecord
from gateway.stores.postgres import PostgresStore, open_postgres
from gateway.stores.postgres.lines import Line
from gateway.stores.postgres.records import QUEUED_MAX, Records
from tests.support.postgres import postgres_server, until
from tests.support.proxy import proxied

NOW = 1_795_356_000_000
SAVE = "SELECT * FROM ringfence.save_records($1, 0, $2, $3, $4)"
Stores = tuple[PostgresStore, PostgresStore]


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


def config(database: str, port: int | None = None) -> StoreConfig:
    return StoreConfig(postgres_server().url(database, port=port))


@pytest.fixture
async def stores(database: str) -> AsyncGenerator[Stores]:
    """Two gateways that have loaded what there is."""
    both = [await open_postgres(config(database), Limits(), Calendar(), NOW) for _ in range(2)]
    for store in both:
        await store.load_records()
    yield both[0], both[1]
    for store in both:
        await store.close()


async def heard(store: PostgresStore) -> list[SharedRecord]:
    """The next that it hears of."""
    async with asyncio.timeout(30):
        while not (records := await store.changed_records()):
            await asyncio.sleep(0)
    return records


async def test_saved_record_is_heard_of_elsewhere_without_being_asked_for_and_not_at_home(stores: Stores) -> None:
    here, there = stores
    here.save_record("fuse", "f", b"1")
    assert await heard(there) == [SharedRecord("fuse", "f", b"1")]
    assert await there.changed_records() == await here.changed_records() == []


async def test_changes_of_several_gateways_make_one_order_and_removals_are_heard_of(stores: Stores) -> None:
    here, there = stores

    def add(before: bytes | None) -> bytes:
        return str(int(before or b"0") + 1).encode()

    changes = [stores[n % 2].change_record("approval", "p", add) for n in range(12)]
    assert sorted(int(each or b"") for each in await asyncio.gather(*changes)) == list(range(1, 13))
    assert await there.change_record("approval", "p", lambda before: None) is None
    assert await here.changed_records() == [SharedRecord("approval", "p", None)]
    assert await here.change_record("approval", "p", add) == b"1"


async def test_change_that_another_gateway_overtakes_is_made_anew_from_what_stands_then(
    stores: Stores, database: str
) -> None:
    seen: list[bytes | None] = []

    def change(before: bytes | None) -> bytes:
        seen.append(before)
        if len(seen) == 1:
            values = "'other', 0, '{control}', '{c}', '{overtaken}'"
            postgres_server().psql(database, f"SELECT ringfence.save_records({values})")
        return b"changed"

    assert await stores[0].change_record("control", "c", change) == b"changed"
    assert seen == [None, b"overtaken"]


async def test_record_that_is_replaced_before_it_was_heard_of_is_told_all_the_same(stores: Stores) -> None:
    here, there = stores
    here.save_record("fuse", "f", b'"blown"')
    await here.flush()
    there.save_record("fuse", "f", b'"warned"')
    await there.flush()
    assert await there.changed_records() == [SharedRecord("fuse", "f", b'"blown"')]
    assert await here.changed_records() == [SharedRecord("fuse", "f", b'"warned"')]
    there.save_record("fuse", "f", b'"blown"')
    await there.flush()
    assert (await there.changed_records(), await there.load_records()) == ([], [SharedRecord("fuse", "f", b'"blown"')])


async def test_record_that_is_committed_late_is_missed_by_nobody(stores: Stores, database: str) -> None:
    here, there = stores
    line = Line(postgres_server().url(database), "slow")
    async with line.use() as connection:
        async with connection.transaction():
            await connection.fetch(SAVE, "slow", ["control"], ["first"], ["1"])
            here.save_record("control", "second", b"2")
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
            await until(lambda: postgres_server().psql(database, query) == "1")
            assert await there.changed_records() == []
        await here.flush()
    assert [record.id for record in await there.changed_records()] == ["first", "second"]
    await line.close()


async def test_gateway_that_is_cut_off_says_later_what_it_saved_and_hears_what_it_missed(database: str) -> None:
    async with proxied(postgres_server().port) as proxy:
        near = await open_postgres(config(database), Limits(), Calendar(), NOW)
        cut = await open_postgres(config(database, proxy.port), Limits(), Calendar(), NOW)
        proxy.cut()
        for text in (b"1", b"2"):
            cut.save_record("fuse", "f", text)
        with pytest.raises(Refused) as refused:
            await cut.change_record("control", "c", lambda before: b"1")
        assert refused.value.reason is Reason.STORE_UNAVAILABLE
        near.save_record("fuse", "g", b"3")
        await near.flush()
        assert await cut.changed_records() == []
        proxy.restore()
        assert await heard(near) == [SharedRecord("fuse", "f", b"2")]
        assert await heard(cut) == [SharedRecord("fuse", "g", b"3")]
        assert await cut.change_record("control", "c", lambda before: before or b"1") == b"1"
        await cut.close()
        await near.close()


async def test_record_that_the_database_does_not_take_is_no_hindrance_to_others(stores: Stores) -> None:
    here, _ = stores
    for id in ("a", "b\0", "c\ud800", "d"):
        here.save_record("control", id, b"1")
    here.save_record("control", "e", b"\xff")
    await here.flush()
    assert [record.id for record in await here.load_records()] == ["a", "d"]
    with pytest.raises(Refused):
        await here.change_record("control", "b\0", lambda before: b"1")
    assert await here.change_record("control", "d", lambda before: b"2") == b"2"


async def test_what_waits_for_the_database_is_bounded(database: str) -> None:
    records = Records(Line(postgres_server().url(database), "test"), "me", lambda: True)
    for number in range(QUEUED_MAX + 2):
        records.save_record("fuse", str(number), b"1")
    assert len(records) == QUEUED_MAX


async def test_mark_of_a_removed_record_is_forgotten_after_a_week_and_the_rest_stays(
    stores: Stores, database: str
) -> None:
    for id in ("kept", "gone", "gone lately"):
        await stores[0].change_record("script", id, lambda before: b"1")
    for id in ("gone", "gone lately"):
        await stores[0].change_record("script", id, lambda before: None)
    week = "UPDATE ringfence.shared_records SET written = now() - interval '8 days' WHERE id <> 'gone lately'"
    postgres_server().psql(database, f"{week}; SELECT ringfence.forget(0, 10)")
    left = postgres_server().psql(database, "SELECT id FROM ringfence.shared_records ORDER BY id").splitlines()
    assert left == ["gone lately", "kept"]
