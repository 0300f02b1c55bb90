"""Credentials in Postgres: created and revoked while gateways run."""

import pytest

from gateway.errors import GatewayError
from gateway.stores.credentials import CredentialRow, CredentialTaken
from gateway.stores.postgres.blocking import BlockingCredentials
from gateway.stores.postgres.credentials import PostgresCredentials
from tests.support.postgres import postgres_server

ROW = CredentialRow("alice-laptop", "alice", "platform", b"\1" * 32, 1_000, tags={"project": "x"})


@pytest.fixture
def rows() -> PostgresCredentials:
    server = postgres_server()
    return PostgresCredentials(server.url(server.fresh()))


async def test_credential_is_listed_until_it_is_revoked_and_then_as_revoked(rows: PostgresCredentials) -> None:
    await rows.insert(ROW)
    assert await rows.list() == [ROW]
    before = await rows.version()
    assert await rows.revoke(ROW.id, 2_000) and not await rows.revoke(ROW.id, 3_000)
    (revoked,) = await rows.list()
    assert (revoked.revoked_ms, await rows.version() > before) == (2_000, True)


async def test_id_or_secret_of_another_is_refused(rows: PostgresCredentials) -> None:
    await rows.insert(ROW)
    version = await rows.version()
    for twin in (CredentialRow(ROW.id, "bob", None, b"\2" * 32, 1), CredentialRow("other", "bob", None, ROW.hash, 1)):
        with pytest.raises(CredentialTaken):
            await rows.insert(twin)
    assert (await rows.version(), len(await rows.list())) == (version, 1)


def test_command_without_an_event_loop_does_the_same() -> None:
    server = postgres_server()
    rows = BlockingCredentials(server.url(server.fresh()))
    rows.insert(ROW)
    assert rows.list() == [ROW]
    assert rows.revoke(ROW.id, 2_000) and not rows.revoke(ROW.id, 3_000)


async def test_database_that_is_away_is_told() -> None:
    with pytest.raises(GatewayError, match="cannot be reached"):
        await PostgresCredentials("postgresql://u@127.0.0.1:9/nowhere").list()
