"""Forgetting while others write: no blob goes that somebody begins to refer to."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from runtime.core.model import RunId
from runtime.ports import Entry, RunStore
from runtime.stores.postgres.append import BLOBS_LOCK
from runtime.stores.postgres.changes import PURGE_RUNS_MAX, purge
from runtime.stores.postgres.connections import connect
from tests.runtime.stores.homes import NOW, PostgresHome, begin, entry_of, run_row
from tests.support.postgres import until

SHA = "ef" * 32
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
async def home() -> AsyncGenerator[PostgresHome]:
    home = PostgresHome()
    yield home
    await home.close()


async def end(store: RunStore, run: str, *entries: Entry) -> None:
    lease = await begin(store, run_row(run), "a")
    for entry in entries:
        await store.append(lease, entry)
    await store.append(lease, Entry(row=run_row(run, state="completed")))


async def test_blob_that_is_referred_to_while_its_run_is_forgotten_stays(home: PostgresHome) -> None:
    store = await home.open()
    await end(store, "wf_old000", Entry(blobs=((SHA, b"kept"),)))
    lease = await begin(store, run_row("wf_young1"), "a")
    other = await connect(home.url(), "test")
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock_shared($1)", BLOBS_LOCK)
        forgetting = asyncio.ensure_future(store.purge(NOW + 1))
        await until(lambda: home.psql(LOCKS) == "1")
        await other.execute("INSERT INTO blob_refs VALUES ($1, $2)", SHA, lease.run)
    await other.close()
    assert await forgetting == 1
    assert (await store.find(RunId("wf_old000")), await store.blob(SHA)) == (None, b"kept")


async def test_append_that_brings_a_blob_waits_until_it_is_decided_what_is_dropped(home: PostgresHome) -> None:
    store = await home.open()
    lease = await begin(store, run_row("wf_young1"), "a")
    other = await connect(home.url(), "test")
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", BLOBS_LOCK)
        bringing = asyncio.ensure_future(store.append(lease, Entry(blobs=((SHA, b"new"),))))
        await until(lambda: home.psql(LOCKS) == "1")
        assert not bringing.done()
    await other.close()
    await bringing
    assert await store.blob(SHA) == b"new"


async def test_gateways_that_forget_at_once_count_each_run_once(home: PostgresHome) -> None:
    stores = [await home.open() for _ in range(3)]
    for number in range(4 * PURGE_RUNS_MAX):
        await end(stores[0], f"wf_old{number:03}", Entry(blobs=((f"{number % 7:064x}", b"x"),)))
    assert sum(await asyncio.gather(*(store.purge(NOW + 1) for store in stores))) == 4 * PURGE_RUNS_MAX
    assert home.psql("SELECT count(*) FROM ringfence_run.blobs") == "0"


async def test_runs_are_forgotten_in_small_portions(home: PostgresHome) -> None:
    store = await home.open()
    for number in range(PURGE_RUNS_MAX + 1):
        await end(store, f"wf_old{number:03}", entry_of("b"))
    connection = await connect(home.url(), "test")
    assert [await purge(connection, NOW + 1) for _ in range(3)] == [PURGE_RUNS_MAX, 1, 0]
    await connection.close()
    tables = ("runs", "leases", "lines", "events", "starts", "outcomes", "blobs", "blob_refs")
    assert {home.psql(f"SELECT count(*) FROM ringfence_run.{table}") for table in tables} == {"0"}


async def test_old_row_that_is_being_changed_is_left_for_the_next_time(home: PostgresHome) -> None:
    store = await home.open()
    await end(store, "wf_old000")
    other = await connect(home.url(), "test")
    async with other.transaction():
        await other.execute("UPDATE runs SET updated_ms = $1", NOW + 9)
        assert await store.purge(NOW + 1) == 0
    await other.close()
    row = msgspec.structs.replace(run_row("wf_old000", state="completed"))
    assert await store.find(RunId("wf_old000")) == row
