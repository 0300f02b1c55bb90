"""Opening the store of runs on Postgres: its schema is there then, however often and by whomever it is opened."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.tasks import Tasks
from runtime.stores import StoreInvalid
from runtime.stores.postgres import PostgresRunStore, open_postgres
from tests.runtime.stores.homes import RUN, begin, run_row
from tests.support.postgres import PASSWORD, postgres_server


@pytest.fixture
async def tasks() -> AsyncGenerator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.close(1.0)


async def test_database_that_is_opened_first_takes_runs(tasks: Tasks) -> None:
    server = postgres_server()
    store = await open_postgres(server.url(server.fresh()), spawn=tasks.spawn)
    await begin(store, run_row(), "a")
    row = await store.find(RUN)
    assert row is not None and row.id == RUN
    await store.close()


async def test_w153_database_that_is_opened_again_has_kept_its_runs(tasks: Tasks) -> None:
    server = postgres_server()
    url = server.url(server.fresh())
    first = await open_postgres(url, spawn=tasks.spawn)
    await begin(first, run_row(), "a")
    await first.close()
    again = await open_postgres(url, spawn=tasks.spawn)
    assert [text for _, text in await again.lines(RUN)] == [b"a"]
    await again.close()


async def test_database_that_many_open_at_once_is_migrated_once(tasks: Tasks) -> None:
    server = postgres_server()
    url = server.url(server.fresh())
    stores = await asyncio.gather(*(open_postgres(url, spawn=tasks.spawn) for _ in range(4)))
    assert all(isinstance(store, PostgresRunStore) for store in stores)
    await asyncio.gather(*(store.close() for store in stores))


async def test_database_that_is_not_there_is_told_without_its_secret(tasks: Tasks) -> None:
    with pytest.raises(StoreInvalid) as invalid:
        await open_postgres(f"postgresql://u:{PASSWORD}@127.0.0.1:9/nowhere", spawn=tasks.spawn)
    assert PASSWORD not in str(invalid.value)
