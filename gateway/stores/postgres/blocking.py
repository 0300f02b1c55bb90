"""Credentials for a command, which runs no event loop. Not for the gateway."""

import asyncio

from gateway.stores.credentials import CredentialRow
from gateway.stores.postgres.credentials import PostgresCredentials


class BlockingCredentials:
    """As `stores.credentials.CredentialRows` in front of a SQLite file."""

    def __init__(self, url: str) -> None:
        self._rows = PostgresCredentials(url)

    def list(self) -> list[CredentialRow]:
        """Every credential, revoked ones too, oldest first."""
        return asyncio.run(self._rows.list())

    def insert(self, row: CredentialRow) -> None:
        """Add a credential. Raises CredentialTaken."""
        asyncio.run(self._rows.insert(row))

    def revoke(self, id: str, now_ms: int) -> bool:
        """Make a credential invalid from now on; False when there is no valid one with this id."""
        return asyncio.run(self._rows.revoke(id, now_ms))
