"""Limits that hold for all replicas: the configuration's and the operators', under one version number. No sums.

Every batch names the version that it was planned with and holds a lock, shared, that a change takes alone: so when a
change returns, no replica goes by the limits before it any more. Of replicas whose configurations differ, as while a
new one is rolled out, the one that was started last tells the limits for all.
"""

import msgspec

from gateway.core.money.limits import LimitRow, Limits
from gateway.core.money.stored_limits import AuditedChange, Author, LimitChange, StoredLimit, together
from gateway.stores.postgres.lines import Connection

_rows = msgspec.json.Decoder(tuple[LimitRow, ...])
_limit = msgspec.json.Decoder(StoredLimit)
_change = msgspec.json.Decoder(AuditedChange)

_ALONE = "SELECT pg_advisory_xact_lock(21063, 1)"
_NEXT = "UPDATE ringfence.limits_version SET version = version + 1"


async def configure(connection: Connection, limits: Limits) -> None:
    """From now on these are the limits of the configuration."""
    configured = msgspec.json.encode(limits.rows).decode()
    async with connection.transaction():
        await connection.execute(_ALONE)
        await connection.execute(f"{_NEXT}, configured = $1 WHERE configured <> $1", configured)
        await _guard_anew(connection)


async def load(connection: Connection) -> tuple[int, Limits]:
    """The version, and what holds by it."""
    row = await connection.fetchrow(
        "SELECT version, configured, ARRAY(SELECT record FROM ringfence.limits ORDER BY number) AS stored "
        "FROM ringfence.limits_version"
    )
    configured = Limits(_rows.decode(row["configured"] or "[]"))
    return row["version"], together(configured, [_limit.decode(record) for record in row["stored"]])


async def read_version(connection: Connection) -> int:
    """A number that grows with each change."""
    return await connection.fetchval("SELECT version FROM ringfence.limits_version")


async def read(connection: Connection) -> list[StoredLimit]:
    """Limits that operators set, in the order of creation."""
    rows = await connection.fetch("SELECT record FROM ringfence.limits ORDER BY number")
    return [_limit.decode(row["record"]) for row in rows]


async def change(connection: Connection, which: str, made: LimitChange, author: Author) -> StoredLimit | None:
    """Replace the limit whose id or slot is `which`, or make it, or (when nothing is to be left) delete it.

    What `made` raises passes on, and nothing is changed.
    """
    async with connection.transaction():
        await connection.execute(_ALONE)
        record = await connection.fetchval("SELECT record FROM ringfence.limits WHERE $1 IN (id, slot)", which)
        before = None if record is None else _limit.decode(record)
        after = made(before)
        if before is not None or after is not None:
            await _write(connection, before, after)
            await _record(connection, AuditedChange(0, author, _target(before, after), _of(before), _of(after)))
            await connection.execute(_NEXT)
            await _guard_anew(connection)
    return after


async def read_audit(connection: Connection, after: int, most: int) -> list[AuditedChange]:
    """Up to `most` changes whose number is greater than `after`, oldest first."""
    rows = await connection.fetch(
        "SELECT number, record FROM ringfence.limit_audit WHERE number > $1 ORDER BY number LIMIT $2", after, most
    )
    return [msgspec.structs.replace(_change.decode(row["record"]), number=row["number"]) for row in rows]


async def _guard_anew(connection: Connection) -> None:
    """Open holds that a strict limit guards now cost their worst case if they expire. That one went frees nothing."""
    _, limits = await load(connection)
    query = "SELECT id, accounts, model, backends FROM ringfence.holds WHERE state = 'open' AND NOT is_strict"
    ids = [
        row["id"]
        for row in await connection.fetch(query)
        if any(
            limit.strict and limit.guards
            for _, limit in limits.applied(tuple(row["accounts"]), row["model"], tuple(row["backends"]))
        )
    ]
    if ids:
        await connection.execute("UPDATE ringfence.holds SET is_strict = true WHERE id = ANY ($1)", ids)


async def _write(connection: Connection, before: StoredLimit | None, after: StoredLimit | None) -> None:
    if after is None:
        assert before is not None
        await connection.execute("DELETE FROM ringfence.limits WHERE id = $1", before.id)
        return
    row = (after.id, after.slot, msgspec.json.encode(after).decode())
    if before is not None:
        query = "UPDATE ringfence.limits SET id = $1, slot = $2, record = $3 WHERE id = $4"
        await connection.execute(query, *row, before.id)
        return
    number = "(SELECT coalesce(max(number), 0) + 1 FROM ringfence.limits)"
    await connection.execute(f"INSERT INTO ringfence.limits VALUES ({number}, $1, $2, $3)", *row)


async def _record(connection: Connection, changed: AuditedChange) -> None:
    number = "(SELECT coalesce(max(number), 0) + 1 FROM ringfence.limit_audit)"
    record = msgspec.json.encode(changed).decode()
    await connection.execute(f"INSERT INTO ringfence.limit_audit VALUES ({number}, $1)", record)


def _target(before: StoredLimit | None, after: StoredLimit | None) -> str:
    target = after or before
    assert target is not None
    return target.id


def _of(limit: StoredLimit | None) -> dict[str, object] | None:
    return None if limit is None else limit.document
