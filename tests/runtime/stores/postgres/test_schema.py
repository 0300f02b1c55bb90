"""The runs' schema: made once, beside the ledger's, and refused when it is newer or another program's."""

import asyncio
from collections.abc import Callable

import pytest

import gateway.stores.postgres.schema
from runtime.stores import StoreInvalid
from runtime.stores.postgres.schema import migrate
from tests.support.postgres import PASSWORD, postgres_server


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


async def test_processes_that_migrate_at_once_make_it_once(database: str) -> None:
    server = postgres_server()
    await asyncio.gather(*(migrate(server.url(database)) for _ in range(4)))
    await migrate(server.url(database))
    assert server.psql(database, "SELECT count(*) FROM ringfence_run.schema_version") == "1"


async def test_schema_stands_beside_the_ledgers(database: str) -> None:
    server = postgres_server()
    await asyncio.gather(migrate(server.url(database)), gateway.stores.postgres.schema.migrate(server.url(database)))
    await gateway.stores.postgres.schema.migrate(server.url(database))
    await migrate(server.url(database))
    assert server.psql(database, "SELECT count(*) FROM ringfence_run.runs") == "0"


async def test_schema_of_a_newer_version_is_refused(database: str) -> None:
    server = postgres_server()
    await migrate(server.url(database))
    server.psql(database, "UPDATE ringfence_run.schema_version SET version = 99")
    with pytest.raises(StoreInvalid, match="newer version.*upgrade"):
        await migrate(server.url(database))


async def test_runs_of_a_schema_of_an_earlier_version_are_found_by_their_names(database: str) -> None:
    server = postgres_server()
    await migrate(server.url(database))
    contents = [b'{"name":"audit","state":"completed"}', b'{"name":"a\\u0000b","state":"completed"}']
    rows = ", ".join(
        f"('wf_{n}', 'alice', 's', 'completed', {n}, {n}, '\\x{each.hex()}')" for n, each in enumerate(contents)
    )
    server.psql(
        database,
        "DROP INDEX ringfence_run.runs_completed; ALTER TABLE ringfence_run.runs DROP COLUMN name; "
        f"INSERT INTO ringfence_run.runs VALUES {rows}; UPDATE ringfence_run.schema_version SET version = 2",
    )
    await migrate(server.url(database))
    names = "SELECT string_agg(quote_literal(name), ' ' ORDER BY id) FROM ringfence_run.runs"
    assert server.psql(database, names) == "'audit' ''"


@pytest.mark.parametrize("theirs", ["runs (x int)", "schema_version (n int)"], ids=["table", "version"])
async def test_schema_of_another_program_is_refused_and_left_alone(database: str, theirs: str) -> None:
    server = postgres_server()
    server.psql(database, f"CREATE SCHEMA ringfence_run; CREATE TABLE ringfence_run.{theirs}")
    with pytest.raises(StoreInvalid, match="another program"):
        await migrate(server.url(database))
    count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'ringfence_run'::regnamespace"
    assert server.psql(database, count) == "1"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda url: url.replace(PASSWORD, "other-secret"), "user or its password"),
        (lambda url: url + "_missing", "create it"),
        (lambda url: "postgresql://u:other-secret@127.0.0.1:9/nowhere", "cannot be reached"),
        (lambda url: "postgresql://u:other-secret@127.0.0.1:port/nowhere", "check store.url"),
    ],
    ids=["password", "database", "server", "port"],
)
async def test_what_cannot_be_opened_is_told_without_its_secret(
    database: str, wrong: Callable[[str], str], told: str
) -> None:
    url = wrong(postgres_server().url(database))
    with pytest.raises(StoreInvalid, match=told) as invalid:
        await migrate(url)
    assert PASSWORD not in str(invalid.value) and "other-secret" not in str(invalid.value)
