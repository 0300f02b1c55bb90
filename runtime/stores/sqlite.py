"""Runs in a SQLite file of their own, beside the ledger's, so that neither waits for the other.

One thread writes (`writer.py`), others read (`queries.py`). Several processes of one machine may have the file open.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.core.model import RunId, RunState
from runtime.ports import Entry, EventRow, Lease, Letter, RunRow
from runtime.stores import queries, statements
from runtime.stores.database import open_file
from runtime.stores.queries import Readers, one
from runtime.stores.rows import Beginning, SavedScript, Wanted
from runtime.stores.writer import Writer


class SqliteRunStore:
    """Implements `ports.RunStore`. Used on one event loop; `close` it.

    Leases end by the times that callers give: those who share the file share a clock.
    """

    def __init__(self, path: Path) -> None:
        """Blocks. Raises `StoreInvalid`."""
        self._presence = open_file(path)
        self._writer = Writer(path)
        self._readers = Readers(path)

    async def create(self, row: RunRow, entry: Entry, *, owner: str, idempotency: str | None, now_ms: int) -> Lease:
        """A new run; the same again by the same owner is answered alike. Raises `RunExists`."""
        beginning = Beginning(row, entry, owner, idempotency, now_ms)
        return await self._writer.write(lambda connection: statements.create(connection, beginning))

    async def append(self, lease: Lease, entry: Entry) -> None:
        """Durable when it returns. Raises `LeaseLost`."""
        await self._writer.write(lambda connection: statements.append(connection, lease, entry))

    async def acquire(self, run: RunId, owner: str, now_ms: int, *, ttl_ms: int) -> Lease | None:
        """The lease, if it is free."""
        return await self._writer.write(
            lambda connection: statements.acquire(connection, run, owner, now_ms, ttl_ms=ttl_ms)
        )

    async def renew(self, leases: Sequence[Lease], now_ms: int, *, ttl_ms: int) -> Sequence[Lease]:
        """Those that are still held."""
        return await self._writer.write(lambda connection: statements.renew(connection, leases, now_ms, ttl_ms=ttl_ms))

    async def release(self, lease: Lease) -> None:
        """Let others have it."""
        await self._writer.write(lambda connection: statements.release(connection, lease))

    async def held_ms(self, runs: Sequence[RunId], now_ms: int) -> Mapping[RunId, int]:
        """0: nobody's."""
        return await self._readers.read(lambda connection: queries.held_ms(connection, runs, now_ms))

    async def abandoned(self, now_ms: int) -> Sequence[RunRow]:
        """Open runs that nobody drives, oldest first."""
        return await self._readers.read(lambda connection: queries.abandoned(connection, now_ms))

    async def find(self, run: RunId) -> RunRow | None:
        """A run's row."""
        return await self._readers.read(lambda connection: queries.find(connection, run))

    async def rows(
        self, *, user: str | None, session: str | None, states: Sequence[RunState], before: RunId | None, most: int
    ) -> Sequence[RunRow]:
        """Newest first; none after a `before` that is unknown."""
        wanted = Wanted(user, session, states, before, most)
        return await self._readers.read(lambda connection: queries.rows(connection, wanted))

    async def completed(self, user: str, name: str, *, most: int) -> Sequence[RunRow]:
        """Newest first."""
        return await self._readers.read(lambda connection: queries.completed(connection, user, name, most))

    async def open_runs(self, session: str, user: str) -> int:
        """How many."""
        return await self._readers.read(lambda connection: queries.open_runs(connection, session, user))

    async def lines(self, run: RunId, *, after: int = 0, most: int | None = None) -> Sequence[tuple[int, bytes]]:
        """Numbered from 1, in order."""
        return await self._readers.read(lambda connection: queries.lines(connection, run, after, most))

    async def events(self, run: RunId, *, after: int, types: Sequence[str], most: int) -> Sequence[EventRow]:
        """In order."""
        return await self._readers.read(lambda connection: queries.events(connection, run, after, types, most))

    async def blob(self, sha256: str) -> bytes | None:
        """What stands beside the journals under this hash."""
        statement = "SELECT content FROM blobs WHERE sha256 = ?"
        return await self._readers.read(lambda connection: one(connection, statement, sha256))

    async def started(self, user: str, idempotency: str) -> RunId | None:
        """The run of this key."""
        statement = "SELECT run FROM starts WHERE user = ? AND idempotency = ?"
        return await self._readers.read(lambda connection: one(connection, statement, user, idempotency))

    async def outcome(self, run: RunId, key: str) -> bytes | None:
        """What was kept."""
        statement = "SELECT answer FROM outcomes WHERE run = ? AND idempotency = ?"
        return await self._readers.read(lambda connection: one(connection, statement, run, key))

    async def remember_outcome(self, run: RunId, key: str, answer: bytes, now_ms: int) -> bytes:
        """The first one that was kept."""
        return await self._writer.write(
            lambda connection: statements.remember_outcome(connection, run, key, answer, now_ms)
        )

    async def post(self, run: RunId, text: bytes, now_ms: int) -> int:
        """The number of the letter."""
        return await self._writer.write(lambda connection: statements.post(connection, run, text, now_ms))

    async def take(self, owner: str, now_ms: int, *, ttl_ms: int) -> Sequence[Letter]:
        """Letters to the runs of `owner`, each once. There is seldom one, so they are looked for before."""
        if not await self._readers.read(lambda connection: one(connection, statements.LETTERS_OF, owner)):
            return []
        return await self._writer.write(lambda connection: statements.take(connection, owner, now_ms, ttl_ms=ttl_ms))

    async def consent(self, project: str, name: str, sha256: str) -> str | None:
        """Who gave it."""
        statement = "SELECT given_by FROM consents WHERE project = ? AND name = ? AND sha256 = ?"
        return await self._readers.read(lambda connection: one(connection, statement, project, name, sha256))

    async def give_consent(self, project: str, name: str, sha256: str, *, by: str, now_ms: int) -> None:
        """The first one to give it is kept."""
        to = (project, name, sha256)
        await self._writer.write(lambda connection: statements.give_consent(connection, to, by, now_ms))

    async def save_script(self, owner: str, name: str, script: str, *, replace: bool, now_ms: int) -> bool:
        """False: there is another one."""
        saved = SavedScript(owner, name, script, now_ms)
        return await self._writer.write(lambda connection: statements.save_script(connection, saved, replace=replace))

    async def saved_script(self, owner: str, name: str) -> str | None:
        """Its source."""
        statement = "SELECT script FROM scripts WHERE owner = ? AND name = ?"
        return await self._readers.read(lambda connection: one(connection, statement, owner, name))

    async def saved_scripts(self, owner: str) -> Sequence[tuple[str, str, int]]:
        """By name."""
        statement = "SELECT name, sha256, saved_ms FROM scripts WHERE owner = ? ORDER BY name"
        return await self._readers.read(lambda connection: connection.execute(statement, (owner,)).fetchall())

    async def purge(self, ended_before_ms: int) -> int:
        """Forget ended runs and what only they referred to, a few at a time."""
        forgotten = 0
        while some := await self._writer.write(lambda connection: statements.purge(connection, ended_before_ms)):
            forgotten += some
        return forgotten

    async def close(self) -> None:
        """Commit what waits and leave the file."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.close()
        self._presence.close()
