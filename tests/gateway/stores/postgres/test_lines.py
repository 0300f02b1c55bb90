"""Connections: cut after any doubt, made anew when used, and errors in words that hold no secret."""

import asyncio

import pytest

from gateway.errors import Refused
from gateway.stores.postgres.lines import Away, Line, PostgresError, asking, explain, is_about_content, shown
from tests.support.postgres import PASSWORD, postgres_server
from tests.support.proxy import proxied


async def test_line_is_made_anew_after_a_cut() -> None:
    server = postgres_server()
    async with proxied(server.port) as proxy:
        line = Line(server.url("postgres", port=proxy.port), "test")
        async with line.use() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        proxy.cut()
        with pytest.raises(Away):
            async with line.use() as connection:
                await connection.fetchval("SELECT 1")
        with pytest.raises(Refused, match="cannot be reached"):
            async with asking(line):
                raise AssertionError("nobody gets here")
        proxy.restore()
        async with line.use() as again:
            assert again is not connection and await again.fetchval("SELECT 2") == 2
        await line.close()


async def test_line_is_cut_when_its_user_is_cancelled() -> None:
    line = Line(postgres_server().url("postgres"), "test")

    async def sleeps() -> None:
        async with line.use() as connection:
            await connection.fetchval("SELECT pg_sleep(1)")

    waits = asyncio.ensure_future(sleeps())
    async with line.use() as connection:
        await connection.fetchval("SELECT 1")
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    async with line.use() as again:
        assert await again.fetchval("SELECT 1") == 1
    await line.close()


async def test_statement_that_takes_too_long_is_ended_by_the_server() -> None:
    line = Line(postgres_server().url("postgres"), "test")
    with pytest.raises(PostgresError) as late:
        async with line.use() as connection:
            await connection.execute("SET statement_timeout = 20")
            await connection.fetchval("SELECT pg_sleep(10)")
    assert "in time" in explain(late.value)
    assert not is_about_content(late.value)
    await line.close()


async def test_what_the_server_does_not_take_is_told_from_what_is_wrong_with_it() -> None:
    line = Line(postgres_server().url("postgres"), "test")
    async with line.use() as connection:
        for query, is_content in (("SELECT 1/0", True), ("SELECT nothing", False)):
            with pytest.raises(PostgresError) as wrong:
                await connection.fetchval(query)
            assert is_about_content(wrong.value) is is_content
    assert is_about_content(ValueError()) and not is_about_content(OSError())
    await line.close()


def test_url_is_shown_without_user_and_password() -> None:
    assert (
        shown(f"postgresql://alice:{PASSWORD}@db.example:5433/money?sslkey=x") == "postgresql://db.example:5433/money"
    )
    assert shown("postgresql:///money") == "postgresql://localhost/money"
