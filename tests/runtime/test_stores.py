"""Which store a URL means, and what is said when it means none."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.tasks import Tasks
from runtime.stores import MemoryRunStore, SqliteRunStore, StoreInvalid, open_run_store, runs_path
from runtime.stores.postgres import PostgresRunStore
from tests.support.postgres import PASSWORD, postgres_server


@pytest.fixture
async def tasks() -> AsyncGenerator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.close(1.0)


@pytest.mark.parametrize("url", ["memory:", "sqlite://", "sqlite:///:memory:"])
async def test_url_of_memory_opens_a_store_in_memory(tasks: Tasks, url: str) -> None:
    assert isinstance(await open_run_store(url, spawn=tasks.spawn), MemoryRunStore)


async def test_url_of_a_file_opens_a_file_of_its_own_beside_it(tasks: Tasks, tmp_path: Path) -> None:
    store = await open_run_store(f"sqlite:///{tmp_path}/ringfence.db", spawn=tasks.spawn)
    await store.close()
    assert isinstance(store, SqliteRunStore)
    assert (tmp_path / "ringfence-runs.db").exists() and not (tmp_path / "ringfence.db").exists()


async def test_url_of_postgres_opens_tables_in_that_database(tasks: Tasks) -> None:
    server = postgres_server()
    database = server.fresh()
    store = await open_run_store(server.url(database), spawn=tasks.spawn)
    await store.close()
    assert isinstance(store, PostgresRunStore)
    assert server.psql(database, "SELECT count(*) FROM ringfence_run.runs") == "0"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///ringfence.db", "ringfence-runs.db"),
        ("sqlite:////var/lib/ledger.sqlite", "/var/lib/ledger-runs.sqlite"),
        ("sqlite:///folder/ledger", "folder/ledger-runs.db"),
    ],
)
def test_file_of_runs_is_named_after_the_ledgers(url: str, path: str) -> None:
    assert runs_path(url) == Path(path)


@pytest.mark.parametrize("url", ["mysql://host/x", "sqlite:///", "", f"redis://u:{PASSWORD}@host"])
async def test_url_of_no_known_kind_is_refused_without_its_secret(tasks: Tasks, url: str) -> None:
    with pytest.raises(StoreInvalid, match="sqlite:///") as invalid:
        await open_run_store(url, spawn=tasks.spawn)
    assert not re.search(PASSWORD, str(invalid.value))


async def test_postgres_that_is_not_there_is_told_with_the_next_step(tasks: Tasks) -> None:
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:9/nowhere"
    with pytest.raises(
        StoreInvalid, match="127.0.0.1:9/nowhere: cannot be reached.*check that the server runs"
    ) as invalid:
        await open_run_store(url, spawn=tasks.spawn)
    assert PASSWORD not in str(invalid.value)
