"""Limits that operators set, in the SQLite file: each change and its audit record in one transaction."""

from pathlib import Path

import msgspec

from gateway.core.money.stored_limits import AuditedChange, Author, LimitChange, StoredLimit
from gateway.stores.batch import transaction
from gateway.stores.database import connect

_limit = msgspec.json.Decoder(StoredLimit)
_change = msgspec.json.Decoder(AuditedChange)


class LimitRows:
    """The tables of limits, on a connection of their own."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)

    def read(self) -> list[StoredLimit]:
        """In the order of creation."""
        return [_limit.decode(row) for (row,) in self._connection.execute("SELECT record FROM limits ORDER BY number")]

    def change(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        """Replace the limit whose id or slot is `which`, or make it, or (when nothing is to be left) delete it."""
        with transaction(self._connection):
            row = self._connection.execute("SELECT record FROM limits WHERE ? IN (id, slot)", (which,)).fetchone()
            before = None if row is None else _limit.decode(row[0])
            after = change(before)
            if before is not None or after is not None:
                self._write(before, after)
                self._record(before, after, author)
        return after

    def read_audit(self, after: int, most: int) -> list[AuditedChange]:
        """Up to `most` changes whose number is greater than `after`, oldest first."""
        query = "SELECT number, record FROM limit_audit WHERE number > ? ORDER BY number LIMIT ?"
        rows = self._connection.execute(query, (after, most)).fetchall()
        return [msgspec.structs.replace(_change.decode(record), number=number) for number, record in rows]

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _write(self, before: StoredLimit | None, after: StoredLimit | None) -> None:
        if after is None:
            assert before is not None
            self._connection.execute("DELETE FROM limits WHERE id = ?", (before.id,))
        elif before is None:
            row = (after.id, after.slot, msgspec.json.encode(after))
            self._connection.execute("INSERT INTO limits (id, slot, record) VALUES (?, ?, ?)", row)
        else:
            row = (after.id, after.slot, msgspec.json.encode(after), before.id)
            self._connection.execute("UPDATE limits SET id = ?, slot = ?, record = ? WHERE id = ?", row)

    def _record(self, before: StoredLimit | None, after: StoredLimit | None, author: Author) -> None:
        target = after or before
        assert target is not None
        change = AuditedChange(
            number=0,
            author=author,
            target=target.id,
            before=None if before is None else before.document,
            after=None if after is None else after.document,
        )
        self._connection.execute("INSERT INTO limit_audit (record) VALUES (?)", (msgspec.json.encode(change),))
