"""Credentials in the database: created and revoked by the command while a gateway runs. Hashes only; no checking."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.stores.database import connect, explained

_tags = msgspec.json.Decoder(dict[str, str])


class CredentialRow(msgspec.Struct, frozen=True):
    """One credential. `hash` is of the secret; `revoked_ms` None: valid."""

    id: str
    user: str
    team: str | None
    hash: bytes
    created_ms: int
    revoked_ms: int | None = None
    operator: bool = False
    tags: dict[str, str] = {}


class CredentialTaken(ValueError):
    """Another credential has this id or this secret."""


class CredentialRows:
    """The table, through a short connection of its own for each call: needs no owner's lock."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def list(self) -> list[CredentialRow]:
        """Every credential, revoked ones too, oldest first; none when there is no database yet."""
        if not self._path.exists():
            return []
        with self._connected() as connection:
            return read_credentials(connection)

    def insert(self, row: CredentialRow) -> None:
        """Add a credential.

        Raises:
            CredentialTaken: the id or the secret is another's.
        """
        tags = msgspec.json.encode(row.tags)
        values = (row.id, row.user, row.team, row.hash, row.created_ms, row.revoked_ms, row.operator, tags)
        with self._connected() as connection, _changing(connection):
            try:
                connection.execute("INSERT INTO credentials VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            except sqlite3.IntegrityError:
                raise CredentialTaken(f"credential {row.id!r} exists already: choose another id") from None

    def revoke(self, id: str, now_ms: int) -> bool:
        """Make a credential invalid from now on; False when there is no valid one with this id."""
        if not self._path.exists():
            return False
        with self._connected() as connection, _changing(connection):
            query = "UPDATE credentials SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL"
            return connection.execute(query, (now_ms, id)).rowcount == 1

    def version(self) -> int:
        """A number that grows with each change."""
        if not self._path.exists():
            return 0
        with self._connected() as connection:
            return read_version(connection)

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        with closing(connect(self._path)) as connection, explained(self._path):
            yield connection


def read_credentials(connection: sqlite3.Connection) -> list[CredentialRow]:
    """Every credential, oldest first."""
    query = (
        "SELECT id, user, team, hash, created_ms, revoked_ms, operator, tags FROM credentials ORDER BY created_ms, id"
    )
    return [_row(values) for values in connection.execute(query)]


def read_version(connection: sqlite3.Connection) -> int:
    """How often credentials have changed."""
    return connection.execute("SELECT count FROM changes WHERE name = 'credentials'").fetchone()[0]


def _row(values: tuple[Any, ...]) -> CredentialRow:
    id, user, team, digest, created_ms, revoked_ms, operator, tags = values
    return CredentialRow(id, user, team, digest, created_ms, revoked_ms, bool(operator), _tags.decode(tags))


@contextmanager
def _changing(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("UPDATE changes SET count = count + 1 WHERE name = 'credentials'")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
