"""What a batch of appends is made of, and the statements that commit one. Who waits for it is in `lane.py`.

`base` is how many lines the journal has before these. It is part of the question, so that a statement which arrives
again, or late on a connection that was given up, changes nothing.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runtime.core.model import RunId
from runtime.ports import Entry, EventRow, Lease, RunRow, StoreAway
from runtime.stores.postgres.connections import Connection
from runtime.stores.rows import encode_row, references

BLOBS_LOCK = 21066
"""Shared by who refers to blobs, alone by who drops those that nobody refers to."""

_APPEND = """
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS a (run, fence, base, more)
), held AS (
    UPDATE leases SET lines = leases.lines + asked.more FROM asked
    WHERE leases.run = asked.run AND leases.fence = asked.fence AND leases.lines = asked.base AND owner IS NOT NULL
    RETURNING leases.run
), written AS (
    INSERT INTO lines SELECT w.* FROM unnest($5::text[], $6::bigint[], $7::bytea[]) AS w (run, number, content)
    WHERE w.run IN (SELECT run FROM held)
), told AS (
    INSERT INTO events
    SELECT t.* FROM unnest($8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::bytea[])
        AS t (run, seq, type, at_ms, content)
    WHERE t.run IN (SELECT run FROM held) ON CONFLICT DO NOTHING
), shown AS (
    UPDATE runs SET state = s.state, updated_ms = s.updated_ms, content = s.content
    FROM unnest($13::text[], $14::text[], $15::bigint[], $16::bytea[]) AS s (run, state, updated_ms, content)
    WHERE runs.id = s.run AND s.run IN (SELECT run FROM held)
)
SELECT run FROM held
"""
_LINES = "SELECT content FROM lines WHERE run = $1 AND number > $2 AND number <= $3 ORDER BY number"
_BLOBS = "INSERT INTO blobs SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING"
_REFERENCES = "INSERT INTO blob_refs SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING"


@dataclass(slots=True)
class Addition:
    """What one batch adds to one run's journal, under one lease. `base` -1: not known, and like no journal's."""

    lease: Lease
    base: int
    waiting: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    lines: list[bytes] = field(default_factory=list[bytes])
    events: list[EventRow] = field(default_factory=list[EventRow])
    row: RunRow | None = None
    blobs: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    references: set[str] = field(default_factory=set[str])

    @property
    def run(self) -> RunId:
        return self.lease.run

    def include(self, entry: Entry) -> None:
        """One more entry."""
        self.lines += entry.lines
        self.events += entry.events
        self.row = entry.row or self.row
        self.blobs += entry.blobs
        self.references.update(references(entry))

    def tell(self, error: Exception | None = None) -> None:
        """Those who wait, and still do."""
        for future in self.waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(type(error)(*error.args) if isinstance(error, StoreAway) else error)


async def commit(connection: Connection, additions: Sequence[Addition]) -> set[RunId]:
    """Add what can be added, of different runs; which these were. The others' lease or base is not as they say."""
    statement = _append_values(additions)
    if not any(each.references for each in additions):
        return {row["run"] for row in await connection.fetch(_APPEND, *statement)}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", BLOBS_LOCK)
        done = {row["run"] for row in await connection.fetch(_APPEND, *statement)}
        await write_blobs(connection, [each for each in additions if each.run in done])
    return done


async def write_blobs(connection: Connection, additions: Iterable[Addition]) -> None:
    """Within a transaction that shares `BLOBS_LOCK`."""
    blobs = [blob for each in additions for blob in each.blobs]
    await connection.execute(_BLOBS, [sha256 for sha256, _ in blobs], [content for _, content in blobs])
    named = [(sha256, each.run) for each in additions for sha256 in sorted(each.references)]
    await connection.execute(_REFERENCES, [sha256 for sha256, _ in named], [run for _, run in named])


async def settle_base(connection: Connection, addition: Addition) -> bool:
    """Find out what the journal has. False: the lease is lost.

    What is there beyond a known base was written under this lease by an append whose end was never heard of. When it
    is said again now, it is left out.
    """
    row = await connection.fetchrow("SELECT owner, fence, lines FROM leases WHERE run = $1", addition.run)
    if row is None or row["owner"] is None or row["fence"] != addition.lease.fence:
        return False
    found: int = row["lines"]
    if found > addition.base >= 0:
        rows = await connection.fetch(_LINES, addition.run, addition.base, found)
        written = [bytes(each["content"]) for each in rows]
        if addition.lines[: len(written)] == written:
            del addition.lines[: len(written)]
    addition.base = found
    return True


def _append_values(additions: Sequence[Addition]) -> tuple[Sequence[object], ...]:
    lines = [(each.run, each.base + 1 + place, line) for each in additions for place, line in enumerate(each.lines)]
    events = [(each.run, event) for each in additions for event in each.events]
    rows = [(each.run, each.row) for each in additions if each.row is not None]
    return (
        [each.run for each in additions],
        [each.lease.fence for each in additions],
        [each.base for each in additions],
        [len(each.lines) for each in additions],
        [run for run, _, _ in lines],
        [number for _, number, _ in lines],
        [line for _, _, line in lines],
        [run for run, _ in events],
        [event.seq for _, event in events],
        [event.type for _, event in events],
        [event.at_ms for _, event in events],
        [bytes(event.text) for _, event in events],
        [run for run, _ in rows],
        [row.state for _, row in rows],
        [row.updated_ms for _, row in rows],
        [encode_row(row) for _, row in rows],
    )
