"""What is written to the SQLite file: each function is a job of the writer. What is read is in `queries.py`.

A job that refuses has written nothing, so it can share a transaction with others.
"""

import sqlite3
from collections.abc import Sequence

from runtime.core.model import OPEN_STATES, RunId
from runtime.ports import Entry, Lease, LeaseLost, Letter, RunExists
from runtime.stores.rows import FIRST_LEASE_MS, Beginning, SavedScript, encode_row, references
from runtime.stores.writer import Refusal

PURGE_RUNS_MAX = 20
"""Runs forgotten in one transaction, so that journals do not wait long for it."""

_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))
_MINE = "WHERE run IN (SELECT run FROM leases WHERE owner = ?)"
LETTERS_OF = f"SELECT 1 FROM letters {_MINE} LIMIT 1"
"""Is there a letter to a run of this owner?"""
_OF_RUN = (
    "DELETE FROM letters WHERE run = ?",
    "DELETE FROM lines WHERE run = ?",
    "DELETE FROM events WHERE run = ?",
    "DELETE FROM leases WHERE run = ?",
    "DELETE FROM starts WHERE run = ?",
    "DELETE FROM outcomes WHERE run = ?",
    "DELETE FROM runs WHERE id = ?",
)


def create(connection: sqlite3.Connection, beginning: Beginning) -> Lease:
    """A new run; the same again by the same owner is answered alike."""
    row, entry, owner, idempotency = beginning.row, beginning.entry, beginning.owner, beginning.idempotency
    known = connection.execute("SELECT owner, fence FROM leases WHERE run = ?", (row.id,)).fetchone()
    if known is not None:
        if known != (owner, 1):
            raise Refusal(RunExists(row.id))
        return Lease(row.id, owner, 1)
    if idempotency is not None:
        key = (row.owner.user, idempotency)
        found = connection.execute("SELECT run FROM starts WHERE user = ? AND idempotency = ?", key).fetchone()
        if found is not None:
            raise Refusal(RunExists(RunId(found[0])))
        connection.execute("INSERT INTO starts VALUES (?, ?, ?)", (*key, row.id))
    connection.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.id, row.owner.user, row.session, row.state, row.created_ms, row.updated_ms, encode_row(row), row.name),
    )
    lease = (row.id, owner, beginning.now_ms + FIRST_LEASE_MS, len(entry.lines))
    connection.execute("INSERT INTO leases (run, owner, fence, until_ms, lines) VALUES (?, ?, 1, ?, ?)", lease)
    _write(connection, row.id, entry, first=1)
    return Lease(row.id, owner, 1)


def append(connection: sqlite3.Connection, lease: Lease, entry: Entry) -> None:
    """Lines, events, row and blobs, if the lease still holds."""
    held = connection.execute(
        "UPDATE leases SET lines = lines + ? WHERE run = ? AND fence = ? AND owner IS NOT NULL RETURNING lines",
        (len(entry.lines), lease.run, lease.fence),
    ).fetchall()
    if not held:
        raise Refusal(LeaseLost(lease.run))
    _write(connection, lease.run, entry, first=held[0][0] - len(entry.lines) + 1)
    if entry.row is not None:
        row = entry.row
        connection.execute(
            "UPDATE runs SET state = ?, updated_ms = ?, row = ? WHERE id = ?",
            (row.state, row.updated_ms, encode_row(row), lease.run),
        )


def _write(connection: sqlite3.Connection, run: RunId, entry: Entry, *, first: int) -> None:
    connection.executemany(
        "INSERT INTO lines VALUES (?, ?, ?)", ((run, number, line) for number, line in enumerate(entry.lines, first))
    )
    if entry.events:
        connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            ((run, event.seq, event.type, event.at_ms, bytes(event.text)) for event in entry.events),
        )
    if entry.blobs:
        connection.executemany("INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", entry.blobs)
    connection.executemany(
        "INSERT INTO blob_refs VALUES (?, ?) ON CONFLICT DO NOTHING", ((each, run) for each in references(entry))
    )


def acquire(connection: sqlite3.Connection, run: RunId, owner: str, now_ms: int, *, ttl_ms: int) -> Lease | None:
    """The lease with a new fence, if it is free."""
    taken = connection.execute(
        "UPDATE leases SET owner = ?, until_ms = ?, fence = fence + 1 "
        "WHERE run = ? AND (owner IS NULL OR until_ms <= ?) RETURNING fence",
        (owner, now_ms + ttl_ms, run, now_ms),
    ).fetchall()
    return Lease(run, owner, taken[0][0]) if taken else None


def renew(connection: sqlite3.Connection, leases: Sequence[Lease], now_ms: int, *, ttl_ms: int) -> list[Lease]:
    """Those that are still held."""
    held: list[Lease] = []
    for lease in leases:
        changed = connection.execute(
            "UPDATE leases SET until_ms = ? WHERE run = ? AND fence = ? AND owner IS NOT NULL",
            (now_ms + ttl_ms, lease.run, lease.fence),
        )
        if changed.rowcount:
            held.append(lease)
    return held


def release(connection: sqlite3.Connection, lease: Lease) -> None:
    """Nobody drives the run, if this lease still held it."""
    connection.execute("UPDATE leases SET owner = NULL WHERE run = ? AND fence = ?", (lease.run, lease.fence))


def remember_outcome(connection: sqlite3.Connection, run: RunId, key: str, answer: bytes, now_ms: int) -> bytes:
    """The first one that was kept."""
    connection.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (run, key, answer, now_ms))
    kept = connection.execute("SELECT answer FROM outcomes WHERE run = ? AND idempotency = ?", (run, key))
    return kept.fetchone()[0]


def post(connection: sqlite3.Connection, run: RunId, text: bytes, now_ms: int) -> int:
    """The number of the letter, which no other one gets."""
    statement = "INSERT INTO letters (run, text, posted_ms) VALUES (?, ?, ?) RETURNING id"
    return connection.execute(statement, (run, text, now_ms)).fetchone()[0]


def take(connection: sqlite3.Connection, owner: str, now_ms: int, *, ttl_ms: int) -> list[Letter]:
    """Letters to the runs of an owner, oldest first; what is too old goes with them."""
    statement = f"DELETE FROM letters {_MINE} RETURNING id, run, text, posted_ms"
    taken = sorted(connection.execute(statement, (owner,)).fetchall())
    return [Letter(id, RunId(run), text) for id, run, text, posted_ms in taken if now_ms - posted_ms <= ttl_ms]


def give_consent(connection: sqlite3.Connection, to: tuple[str, str, str], by: str, now_ms: int) -> None:
    """Project, name and SHA-256 of a script; the first one to give it is kept."""
    connection.execute("INSERT INTO consents VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", (*to, by, now_ms))


def save_script(connection: sqlite3.Connection, saved: SavedScript, *, replace: bool) -> bool:
    """False: there is another one."""
    key, digest = (saved.owner, saved.name), saved.sha256
    known = connection.execute("SELECT sha256 FROM scripts WHERE owner = ? AND name = ?", key).fetchone()
    if known is not None and (known[0] == digest or not replace):
        return known[0] == digest
    values = (*key, saved.script, digest, saved.now_ms)
    connection.execute("INSERT OR REPLACE INTO scripts VALUES (?, ?, ?, ?, ?)", values)
    return True


def purge(connection: sqlite3.Connection, ended_before_ms: int) -> int:
    """Forget some of the runs that ended before, with what only they referred to; how many. 0: there are no more."""
    found = connection.execute(
        f"SELECT id FROM runs WHERE state NOT IN ({_OPEN}) AND updated_ms < ? LIMIT ?",
        (ended_before_ms, PURGE_RUNS_MAX),
    ).fetchall()
    for run in found:
        named = connection.execute("SELECT sha256 FROM blob_refs WHERE run = ?", run).fetchall()
        connection.execute("DELETE FROM blob_refs WHERE run = ?", run)
        connection.executemany(
            "DELETE FROM blobs WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM blob_refs WHERE sha256 = ?1)", named
        )
        for statement in _OF_RUN:
            connection.execute(statement, run)
    return len(found)
