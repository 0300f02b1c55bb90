"""What is written to Postgres beside appends, each within a transaction of its own. Leases go by the server's clock."""

from collections.abc import Sequence

from runtime.core.model import OPEN_STATES, RunId
from runtime.ports import Lease, RunExists
from runtime.stores.postgres.append import BLOBS_LOCK, Addition, commit
from runtime.stores.postgres.connections import Connection
from runtime.stores.rows import FIRST_LEASE_MS, Beginning, SavedScript, encode_row

PURGE_RUNS_MAX = 5
"""Runs forgotten in one transaction, so that none takes long."""

_RUN = "INSERT INTO runs VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
_START = "INSERT INTO starts VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING run"
_LEASE = (
    "INSERT INTO leases (run, owner, fence, until, lines) "
    "VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond', 0) ON CONFLICT DO NOTHING RETURNING run"
)
_ACQUIRE = (
    "UPDATE leases SET owner = $2, until = clock_timestamp() + $3 * interval '1 millisecond', fence = fence + 1 "
    "WHERE run = $1 AND (owner IS NULL OR until <= clock_timestamp()) RETURNING fence, lines"
)
_RENEW = (
    "UPDATE leases SET until = clock_timestamp() + $3 * interval '1 millisecond' "
    "FROM unnest($1::text[], $2::bigint[]) AS mine (run, fence) "
    "WHERE leases.run = mine.run AND leases.fence = mine.fence AND owner IS NOT NULL RETURNING leases.run"
)
_SCRIPT = (
    "INSERT INTO scripts VALUES ($1, $2, $3, $4, $5) ON CONFLICT (owner, name) DO UPDATE "
    "SET script = excluded.script, sha256 = excluded.sha256, saved_ms = excluded.saved_ms "
    "WHERE $6 AND scripts.sha256 <> excluded.sha256"
)
_ENDED = "SELECT id FROM runs WHERE state <> ALL ($1::text[]) AND updated_ms < $2 LIMIT $3 FOR UPDATE SKIP LOCKED"
_UNREFERENCED = (
    "DELETE FROM blobs WHERE sha256 = ANY ($1::text[]) "
    "AND NOT EXISTS (SELECT FROM blob_refs WHERE blob_refs.sha256 = blobs.sha256)"
)
_OF_RUNS = ("lines", "events", "leases", "starts", "outcomes", "letters")


async def create(connection: Connection, beginning: Beginning) -> Lease:
    """A new run; the same again by the same owner is answered alike. Raises `RunExists`."""
    row, owner = beginning.row, beginning.owner
    if await connection.fetchval(_LEASE, row.id, owner, FIRST_LEASE_MS) is None:
        known = await connection.fetchrow("SELECT owner, fence FROM leases WHERE run = $1", row.id)
        if known is None or (known["owner"], known["fence"]) != (owner, 1):
            raise RunExists(row.id)
        return Lease(row.id, owner, 1)
    if beginning.idempotency is not None:
        key = (row.owner.user, beginning.idempotency)
        if await connection.fetchval(_START, *key, row.id) is None:
            run = await connection.fetchval("SELECT run FROM starts WHERE user_id = $1 AND idempotency = $2", *key)
            raise RunExists(RunId(run))
    whose = (row.id, row.owner.user, row.session)
    await connection.execute(_RUN, *whose, row.state, row.created_ms, row.updated_ms, encode_row(row), row.name)
    lease = Lease(row.id, owner, 1)
    addition = Addition(lease, base=0)
    addition.include(beginning.entry)
    addition.row = None
    await commit(connection, [addition])
    return lease


async def acquire(connection: Connection, run: RunId, owner: str, *, ttl_ms: int) -> tuple[Lease, int] | None:
    """The lease with a new fence, if it is free, and how many lines the journal has."""
    taken = await connection.fetchrow(_ACQUIRE, run, owner, ttl_ms)
    return None if taken is None else (Lease(run, owner, taken["fence"]), taken["lines"])


async def renew(connection: Connection, leases: Sequence[Lease], *, ttl_ms: int) -> list[Lease]:
    """Those that are still held."""
    mine = ([lease.run for lease in leases], [lease.fence for lease in leases])
    held = {row["run"] for row in await connection.fetch(_RENEW, *mine, ttl_ms)}
    return [lease for lease in leases if lease.run in held]


async def release(connection: Connection, lease: Lease) -> None:
    """Nobody drives the run, if this lease still held it."""
    await connection.execute("UPDATE leases SET owner = NULL WHERE run = $1 AND fence = $2", lease.run, lease.fence)


async def remember_outcome(connection: Connection, run: RunId, key: str, answer: bytes, now_ms: int) -> bytes:
    """The first one that was kept."""
    await connection.execute(
        "INSERT INTO outcomes VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", run, key, answer, now_ms
    )
    return await connection.fetchval("SELECT answer FROM outcomes WHERE run = $1 AND idempotency = $2", run, key)


async def save_script(connection: Connection, saved: SavedScript, *, replace: bool) -> bool:
    """False: there is another one."""
    digest = saved.sha256
    await connection.execute(_SCRIPT, saved.owner, saved.name, saved.script, digest, saved.now_ms, replace)
    kept = "SELECT sha256 FROM scripts WHERE owner = $1 AND name = $2"
    return await connection.fetchval(kept, saved.owner, saved.name) == digest


async def purge(connection: Connection, ended_before_ms: int) -> int:
    """Forget some of the runs that ended before, with what only they referred to; how many. 0: there are no more."""
    found = await connection.fetch(_ENDED, sorted(OPEN_STATES), ended_before_ms, PURGE_RUNS_MAX)
    runs = [row["id"] for row in found]
    named = await connection.fetch("DELETE FROM blob_refs WHERE run = ANY ($1::text[]) RETURNING sha256", runs)
    for table in _OF_RUNS:
        await connection.execute(f"DELETE FROM {table} WHERE run = ANY ($1::text[])", runs)
    await connection.execute("DELETE FROM runs WHERE id = ANY ($1::text[])", runs)
    if named:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", BLOBS_LOCK)
        await connection.execute(_UNREFERENCED, [row["sha256"] for row in named])
    return len(runs)
