"""Credentials in the database: created and revoked by the command while gateways run. Hashes only; no checking."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from gateway.stores.credentials import CredentialRow, CredentialTaken
from gateway.stores.postgres.lines import Connection, Failed, StoreInvalid, UniqueViolation, connect, explain
from gateway.stores.postgres.schema import migrate

_tags = msgspec.json.Decoder(dict[str, str])

_COUNT = "UPDATE ringfence.changes SET count = count + 1 WHERE name = 'credentials'"


class PostgresCredentials:
    """The table, through a short connection of its own for each call. All raise `StoreInvalid`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def list(self) -> list[CredentialRow]:
        """Every credential, revoked ones too, oldest first."""
        async with self._connected() as connection:
            return await read_credentials(connection)

    async def insert(self, row: CredentialRow) -> None:
        """Add a credential.

        Raises:
            CredentialTaken: the id or the secret is another's.
        """
        tags = msgspec.json.encode(row.tags).decode()
        values = (row.id, row.user, row.team, row.hash, row.created_ms, row.revoked_ms, row.operator, tags)
        query = "INSERT INTO ringfence.credentials VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        async with self._connected() as connection:
            try:
                async with connection.transaction():
                    await connection.execute(query, *values)
                    await connection.execute(_COUNT)
            except UniqueViolation:
                raise CredentialTaken(f"credential {row.id!r} exists already: choose another id") from None

    async def revoke(self, id: str, now_ms: int) -> bool:
        """Make a credential invalid from now on; False when there is no valid one with this id."""
        query = "UPDATE ringfence.credentials SET revoked_ms = $1 WHERE id = $2 AND revoked_ms IS NULL"
        async with self._connected() as connection, connection.transaction():
            found = await connection.execute(query, now_ms, id)
            await connection.execute(_COUNT)
        return found == "UPDATE 1"

    async def version(self) -> int:
        """A number that grows with each change."""
        async with self._connected() as connection:
            return await read_version(connection)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection]:
        await migrate(self._url)
        try:
            connection = await connect(self._url, "credentials")
            try:
                yield connection
            finally:
                await connection.close()
        except Failed as error:
            raise StoreInvalid(self._url, explain(error)) from error


async def read_credentials(connection: Connection) -> list[CredentialRow]:
    """Every credential, oldest first."""
    query = (
        'SELECT id, "user", team, hash, created_ms, revoked_ms, operator, tags FROM ringfence.credentials '
        "ORDER BY created_ms, id"
    )
    return [CredentialRow(*tuple(row)[:7], tags=_tags.decode(row["tags"])) for row in await connection.fetch(query)]


async def read_version(connection: Connection) -> int:
    """How often credentials have changed."""
    return await connection.fetchval("SELECT count FROM ringfence.changes WHERE name = 'credentials'")
