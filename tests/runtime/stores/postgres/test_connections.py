"""Connections: few, made when needed, cut when they fail, and what is said then."""

import asyncio
import re
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from runtime.ports import LeaseLost, StoreAway
from runtime.stores.postgres.connections import TRIES, Connection, Connections, explain, shown
from tests.support.postgres import PASSWORD, postgres_server
from tests.support.proxy import Proxy, proxied


@pytest.fixture
async def proxy() -> AsyncGenerator[Proxy]:
    async with proxied(postgres_server().port) as proxy:
        yield proxy


@pytest.fixture
async def connections(proxy: Proxy) -> AsyncGenerator[Connections]:
    connections = Connections(postgres_server().url(postgres_server().fresh(), port=proxy.port), "test", 2)
    yield connections
    await connections.close()


async def pid(connections: Connections) -> int:
    async with connections.use() as connection:
        return await connection.fetchval("SELECT pg_backend_pid()")


async def test_connection_is_used_again_and_no_more_are_made_than_allowed(connections: Connections) -> None:
    first = await pid(connections)
    assert await pid(connections) == first
    used = await asyncio.gather(*(pid(connections) for _ in range(10)))
    assert first in used and len(set(used)) == 2


async def test_connection_that_is_cut_is_away_and_made_anew_by_itself(connections: Connections, proxy: Proxy) -> None:
    before = await pid(connections)
    proxy.cut()
    for _ in range(2):
        with pytest.raises(StoreAway, match="cannot be reached") as away:
            await pid(connections)
        assert PASSWORD not in str(away.value)
    proxy.restore()
    assert await pid(connections) != before


async def test_user_who_leaves_in_the_middle_cuts_the_connection(connections: Connections) -> None:
    before = await pid(connections)
    begun = asyncio.Event()

    async def wait() -> None:
        async with connections.use() as connection:
            begun.set()
            await connection.execute("SELECT pg_sleep(30)")

    waiting = asyncio.ensure_future(wait())
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pid(connections) != before


async def test_error_of_what_was_said_leaves_the_connection_standing(connections: Connections) -> None:
    before = await pid(connections)
    for statement, error in (("SELECT 1 / 0", asyncpg.DivisionByZeroError), ("SELECT $1::int", asyncpg.DataError)):
        with pytest.raises(error):
            async with connections.use() as connection:
                await connection.fetchval(statement, *(["x"] if "$1" in statement else []))
    with pytest.raises(LeaseLost):
        async with connections.use():
            raise LeaseLost("wf_aaaaaa")
    assert await pid(connections) == before


async def test_transaction_that_was_in_the_way_of_another_is_repeated(connections: Connections) -> None:
    tries = 0

    async def work(connection: Connection) -> str:
        nonlocal tries
        tries += 1
        if tries < TRIES:
            await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40P01'; END $$")
        return "done"

    assert await connections.transact(work) == "done" and tries == TRIES


async def test_transaction_that_is_always_in_the_way_is_away(connections: Connections) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$")

    with pytest.raises(StoreAway, match="too much demand"):
        await connections.transact(work)


async def test_closed_connections_are_not_used_again(connections: Connections) -> None:
    await pid(connections)
    await connections.close()
    with pytest.raises(StoreAway, match="is closed"):
        await pid(connections)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError(), "did not answer in time"),
        (asyncpg.QueryCanceledError("canceling"), "did not answer in time"),
        (asyncpg.DiskFullError("no space"), "free some space"),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), "name the primary"),
        (asyncpg.TooManyConnectionsError("too many"), "raise max_connections"),
        (ConnectionResetError(), r"cannot be reached \(ConnectionResetError\)"),
        (asyncpg.UndefinedTableError("no such table"), "see the server's log"),
        (RuntimeError("secret"), r"failed \(RuntimeError\)$"),
    ],
    ids=["time", "canceled", "disk", "standby", "connections", "reset", "table", "unknown"],
)
def test_error_is_told_with_the_next_step(error: Exception, told: str) -> None:
    assert re.search(told, explain(error))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://user:secret@db.example/runs?sslmode=require", "postgresql://db.example/runs"),
        ("postgres://user@db.example:6432/runs", "postgresql://db.example:6432/runs"),
        ("postgresql://u:secret@h:port/x", "of store.url"),
    ],
    ids=["plain", "port", "bad port"],
)
def test_url_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert shown(url) == text
