"""Runs in the ledger's Postgres database, in a schema of their own, for any number of gateways.

Appends go through `lane.py`, everything else is written by `changes.py`. Leases end by the server's clock, so a host
whose own clock is wrong cannot take a run that another one drives.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from runtime.core.model import OPEN_STATES, RunId, RunState
from runtime.ports import Entry, EventRow, Lease, Letter, RunRow
from runtime.stores.postgres import changes
from runtime.stores.postgres.connections import Connections
from runtime.stores.postgres.lane import Lane
from runtime.stores.rows import Beginning, SavedScript, Spawn, Wanted, decode_row

CONNECTIONS_MAX = 2
"""Beside the one for journals."""

_ABANDONED = (
    "SELECT content FROM runs JOIN leases ON run = id WHERE state = ANY ($1::text[]) "
    "AND (owner IS NULL OR until <= clock_timestamp()) ORDER BY created_ms, id"
)
_HELD = (
    "SELECT run, CASE WHEN owner IS NULL THEN 0 "
    "ELSE greatest(0, ceil(extract(epoch FROM until - clock_timestamp()) * 1000))::bigint END AS left_ms "
    "FROM leases WHERE run = ANY ($1::text[])"
)
_EVENTS = (
    "SELECT seq, type, at_ms, content FROM events WHERE run = $1 AND seq > $2 "
    "AND ($3::text[] = '{}' OR type = ANY ($3::text[])) ORDER BY seq LIMIT $4"
)
_COMPLETED = (
    "SELECT content FROM runs WHERE user_id = $1 AND name = $2 AND state = 'completed' "
    "ORDER BY created_ms DESC, id DESC LIMIT $3"
)
_TAKE = (
    "DELETE FROM letters USING leases WHERE letters.run = leases.run AND leases.owner = $1 "
    "RETURNING id, letters.run, content, posted > clock_timestamp() - $2 * interval '1 millisecond' AS is_fresh"
)


class PostgresRunStore:
    """Implements `ports.RunStore`. Made by `open_postgres`; used on one event loop; `close` it."""

    def __init__(self, url: str, spawn: Spawn) -> None:
        self._journals = Connections(url, "journals", 1)
        self._others = Connections(url, "runs", CONNECTIONS_MAX)
        self._lane = Lane(self._journals, spawn)

    async def create(self, row: RunRow, entry: Entry, *, owner: str, idempotency: str | None, now_ms: int) -> Lease:
        """A new run; the same again by the same owner is answered alike. Raises `RunExists`."""
        beginning = Beginning(row, entry, owner, idempotency, now_ms)
        lease = await self._others.transact(lambda connection: changes.create(connection, beginning))
        self._lane.know(lease, len(entry.lines))
        return lease

    async def append(self, lease: Lease, entry: Entry) -> None:
        """Durable when it returns; after `StoreAway` it may be, and may be said again. Raises `LeaseLost`."""
        await self._lane.append(lease, entry)

    async def acquire(self, run: RunId, owner: str, now_ms: int, *, ttl_ms: int) -> Lease | None:
        """The lease, if it is free."""
        taken = await self._others.transact(lambda connection: changes.acquire(connection, run, owner, ttl_ms=ttl_ms))
        if taken is None:
            return None
        self._lane.know(*taken)
        return taken[0]

    async def renew(self, leases: Sequence[Lease], now_ms: int, *, ttl_ms: int) -> Sequence[Lease]:
        """Those that are still held. Takes turns with appends, which change the same rows."""
        return await self._journals.transact(lambda connection: changes.renew(connection, leases, ttl_ms=ttl_ms))

    async def release(self, lease: Lease) -> None:
        """Let others have it."""
        await self._journals.transact(lambda connection: changes.release(connection, lease))
        self._lane.forget(lease)

    async def held_ms(self, runs: Sequence[RunId], now_ms: int) -> Mapping[RunId, int]:
        """0: nobody's."""
        return {RunId(row["run"]): row["left_ms"] for row in await self._fetch(_HELD, list(runs))}

    async def abandoned(self, now_ms: int) -> Sequence[RunRow]:
        """Open runs that nobody drives, oldest first."""
        return [decode_row(row["content"]) for row in await self._fetch(_ABANDONED, sorted(OPEN_STATES))]

    async def find(self, run: RunId) -> RunRow | None:
        """A run's row."""
        text = await self._value("SELECT content FROM runs WHERE id = $1", run)
        return None if text is None else decode_row(text)

    async def rows(
        self, *, user: str | None, session: str | None, states: Sequence[RunState], before: RunId | None, most: int
    ) -> Sequence[RunRow]:
        """Newest first; none after a `before` that is unknown."""
        statement, values = _listing(Wanted(user, session, states, before, most))
        return [decode_row(row["content"]) for row in await self._fetch(statement, *values)]

    async def completed(self, user: str, name: str, *, most: int) -> Sequence[RunRow]:
        """Newest first."""
        return [decode_row(row["content"]) for row in await self._fetch(_COMPLETED, user, name, most)]

    async def open_runs(self, session: str, user: str) -> int:
        """How many."""
        statement = "SELECT count(*) FROM runs WHERE session = $1 AND user_id = $2 AND state = ANY ($3::text[])"
        return await self._value(statement, session, user, sorted(OPEN_STATES))

    async def lines(self, run: RunId, *, after: int = 0, most: int | None = None) -> Sequence[tuple[int, bytes]]:
        """Numbered from 1, in order."""
        statement = "SELECT number, content FROM lines WHERE run = $1 AND number > $2 ORDER BY number LIMIT $3"
        return [(row["number"], row["content"]) for row in await self._fetch(statement, run, after, most)]

    async def events(self, run: RunId, *, after: int, types: Sequence[str], most: int) -> Sequence[EventRow]:
        """In order."""
        rows = await self._fetch(_EVENTS, run, after, list(types), most)
        return [
            EventRow(seq=row["seq"], type=row["type"], at_ms=row["at_ms"], text=msgspec.Raw(row["content"]))
            for row in rows
        ]

    async def blob(self, sha256: str) -> bytes | None:
        """What stands beside the journals under this hash."""
        return await self._value("SELECT content FROM blobs WHERE sha256 = $1", sha256)

    async def started(self, user: str, idempotency: str) -> RunId | None:
        """The run of this key."""
        return await self._value("SELECT run FROM starts WHERE user_id = $1 AND idempotency = $2", user, idempotency)

    async def outcome(self, run: RunId, key: str) -> bytes | None:
        """What was kept."""
        return await self._value("SELECT answer FROM outcomes WHERE run = $1 AND idempotency = $2", run, key)

    async def remember_outcome(self, run: RunId, key: str, answer: bytes, now_ms: int) -> bytes:
        """The first one that was kept."""
        return await self._others.transact(
            lambda connection: changes.remember_outcome(connection, run, key, answer, now_ms)
        )

    async def post(self, run: RunId, text: bytes, now_ms: int) -> int:
        """The number of the letter."""
        return await self._value("INSERT INTO letters (run, content) VALUES ($1, $2) RETURNING id", run, text)

    async def take(self, owner: str, now_ms: int, *, ttl_ms: int) -> Sequence[Letter]:
        """Letters to the runs of `owner`, each once; when the answer is lost on its way, they are lost with it."""
        taken = sorted(await self._fetch(_TAKE, owner, ttl_ms), key=lambda row: row["id"])
        return [Letter(row["id"], RunId(row["run"]), row["content"]) for row in taken if row["is_fresh"]]

    async def consent(self, project: str, name: str, sha256: str) -> str | None:
        """Who gave it."""
        statement = "SELECT given_by FROM consents WHERE project = $1 AND name = $2 AND sha256 = $3"
        return await self._value(statement, project, name, sha256)

    async def give_consent(self, project: str, name: str, sha256: str, *, by: str, now_ms: int) -> None:
        """The first one to give it is kept."""
        statement = "INSERT INTO consents VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
        async with self._others.use() as connection:
            await connection.execute(statement, project, name, sha256, by, now_ms)

    async def save_script(self, owner: str, name: str, script: str, *, replace: bool, now_ms: int) -> bool:
        """False: there is another one."""
        saved = SavedScript(owner, name, script, now_ms)
        return await self._others.transact(lambda connection: changes.save_script(connection, saved, replace=replace))

    async def saved_script(self, owner: str, name: str) -> str | None:
        """Its source."""
        return await self._value("SELECT script FROM scripts WHERE owner = $1 AND name = $2", owner, name)

    async def saved_scripts(self, owner: str) -> Sequence[tuple[str, str, int]]:
        """By name."""
        statement = 'SELECT name, sha256, saved_ms FROM scripts WHERE owner = $1 ORDER BY name COLLATE "C"'
        return [tuple(row) for row in await self._fetch(statement, owner)]

    async def purge(self, ended_before_ms: int) -> int:
        """Forget ended runs and what only they referred to, a few at a time."""
        forgotten = 0
        while some := await self._others.transact(lambda connection: changes.purge(connection, ended_before_ms)):
            forgotten += some
        return forgotten

    async def close(self) -> None:
        """Commit what waits and take leave."""
        await self._lane.close()
        await self._journals.close()
        await self._others.close()

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        async with self._others.use() as connection:
            return await connection.fetch(statement, *values)

    async def _value(self, statement: str, *values: Any) -> Any:
        async with self._others.use() as connection:
            return await connection.fetchval(statement, *values)


def _listing(wanted: Wanted) -> tuple[str, list[Any]]:
    conditions, values = ["true"], list[Any]()
    for condition, value in (
        ("user_id = $%d", wanted.user),
        ("session = $%d", wanted.session),
        ("state = ANY ($%d::text[])", list(wanted.states) or None),
        ("(created_ms, id) < (SELECT created_ms, id FROM runs WHERE id = $%d)", wanted.before),
    ):
        if value is not None:
            values.append(value)
            conditions.append(condition % len(values))
    values.append(wanted.most)
    where = " AND ".join(conditions)
    return f"SELECT content FROM runs WHERE {where} ORDER BY created_ms DESC, id DESC LIMIT ${len(values)}", values
