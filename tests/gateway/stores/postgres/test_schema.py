"""The schema: made once, refused when it is newer or another program's, and no secret in what is said."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import gateway.stores.postgres.schema
from gateway.config import Store as StoreConfig
from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.errors import GatewayError
from gateway.ports import SharedRecord
from gateway.stores.postgres import open_postgres
from gateway.stores.postgres.schema import migrate
from tests.support.agents import agent_record
from tests.support.postgres import PASSWORD, postgres_server


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


async def test_processes_that_migrate_at_once_make_it_once(database: str) -> None:
    server = postgres_server()
    await asyncio.gather(*(migrate(server.url(database)) for _ in range(4)))
    await migrate(server.url(database))
    assert server.psql(database, "SELECT count(*) FROM ringfence.schema_version") == "1"
    assert server.psql(database, "SELECT count(*) FROM ringfence.limits_version") == "1"


async def test_schema_of_a_newer_version_is_refused(database: str) -> None:
    server = postgres_server()
    await migrate(server.url(database))
    server.psql(database, "UPDATE ringfence.schema_version SET version = 99")
    with pytest.raises(GatewayError, match="newer version.*upgrade"):
        await migrate(server.url(database))


@pytest.mark.parametrize("theirs", ["TABLE ringfence.holds (x int)", "TABLE ringfence.schema_version (n int)"])
async def test_schema_of_another_program_is_refused_and_left_alone(database: str, theirs: str) -> None:
    server = postgres_server()
    server.psql(database, f"CREATE SCHEMA ringfence; CREATE {theirs}")
    with pytest.raises(GatewayError, match="another program"):
        await migrate(server.url(database))
    assert server.psql(database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'ringfence'::regnamespace") == "1"


async def test_tables_of_others_beside_ours_are_no_hindrance(database: str) -> None:
    server = postgres_server()
    server.psql(database, "CREATE TABLE holds (theirs text)")
    await migrate(server.url(database))
    assert server.psql(database, "SELECT count(*) FROM ringfence.holds") == "0"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda url: url.replace(PASSWORD, "other-secret"), "user or its password"),
        (lambda url: url + "_missing", "create it"),
        (lambda url: "postgresql://u:other-secret@127.0.0.1:9/nowhere", "cannot be reached"),
        (lambda url: "postgresql://u:other-secret@127.0.0.1:port/nowhere", "check store.url"),
    ],
)
async def test_what_cannot_be_opened_is_told_without_its_secret(
    database: str, wrong: Callable[[str], str], told: str
) -> None:
    url = wrong(postgres_server().url(database))
    with pytest.raises(GatewayError, match=told) as invalid:
        await migrate(url)
    assert PASSWORD not in invalid.value.message and "other-secret" not in invalid.value.message


FOURTH = "CREATE TABLE ringfence.schema_version (product text NOT NULL, version integer NOT NULL)"


async def test_database_of_the_fourth_version_keeps_its_fuses_and_whose_its_sessions_are(database: str) -> None:
    server = postgres_server()
    old = sorted(Path(gateway.stores.postgres.schema.__file__).with_name("migrations").glob("000[1-4]*.sql"))
    scripts = "; ".join(script.read_text() for script in old)
    server.psql(database, f"CREATE SCHEMA ringfence; SET search_path = ringfence; {FOURTH}; {scripts}")
    server.psql(database, "INSERT INTO ringfence.schema_version VALUES ('ringfence', 4)")
    server.psql(database, "INSERT INTO ringfence.fuses VALUES ('f', '{}')")
    for credential, agent, first in (("late", "a", 9), ("early", "a", 5), ("early", "b", 7)):
        record = msgspec.json.encode(agent_record(agent, "s", credential, first_seen_ms=first, requests=first)).decode()
        row = f"'{credential}', 's', '{agent}', {first}, '{record}'"
        server.psql(database, f"INSERT INTO ringfence.agents VALUES ({row})")
    store = await open_postgres(StoreConfig(server.url(database)), Limits(), Calendar(), 9)
    assert await store.load_records() == [SharedRecord("fuse", "f", b"{}")]
    assert [(each.agent, each.requests) for each in await store.load_agents(0)] == [("a", 5), ("b", 7)]
    claimed = await store.claim_agent(agent_record("c", credential="late"))
    assert (claimed.credential, claimed.user, claimed.agents) == ("early", "alice", 2)
    assert server.psql(database, "SELECT to_regclass('ringfence.fuses')") == ""
    await store.close()
