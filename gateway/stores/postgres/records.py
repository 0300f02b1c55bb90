"""Shared records in the database: queued and written as the latest, changed by compare and swap, heard of by version.

A save that meets what another gateway wrote and this one had not heard of replaces it all the same, but this one hears
of it then: so two gateways that saved at once both know both.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, cast

from gateway.errors import Reason, Refused
from gateway.ports import RecordChange, RecordKind, SharedRecord
from gateway.stores.postgres.lines import Connection, Failed, Line, Row, asking, explain, is_about_content

_log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
"""How long a saved record waits for company."""
RETRY_SECONDS = 0.5
"""Before what could not be written is tried again."""
QUEUED_MAX = 50_000
"""Records that wait to be written; past it the one that waits for longest is dropped."""
SWAPS_MAX = 20
"""How often a change is made anew because another gateway was first, before it is refused."""

_SAVE = "SELECT * FROM ringfence.save_records($1, $2, $3, $4, $5)"
_NEWER = "SELECT kind, id, text, version, writer FROM ringfence.shared_records WHERE version > $1 ORDER BY version"
_ONE = "SELECT text, version FROM ringfence.shared_records WHERE kind = $1 AND id = $2"

RecordKey = tuple[RecordKind, str]


class _Standing(NamedTuple):
    """A record as it was read; version 0: there is none."""

    text: bytes | None
    version: int


class Records:
    """Implements `ports.SharedRecords`. `run` is to be kept running as a task."""

    def __init__(self, line: Line, writer: str, away: Callable[[], bool]) -> None:
        self._line = line
        self._writer = writer
        self._away = away
        self._queued: dict[RecordKey, bytes] = {}
        self._heard = 0
        """Version up to which this process has heard of everything."""
        self._replaced: list[SharedRecord] = []
        """Written by other gateways, replaced here, and not told yet."""
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queued)

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        """Write it within about a tenth of a second, or when the database is back."""
        self._queued.pop((kind, id), None)
        self._queued[kind, id] = text
        if len(self._queued) > QUEUED_MAX:
            dropped = next(iter(self._queued))
            del self._queued[dropped]
            _log.error("%s %s is not kept: too many records wait for the database", *dropped)
        self._wake.set()

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        """Replace it by what `change` makes of it, which may be called several times; committed when it returns."""
        async with asking(self._line) as connection:
            await self.write(connection)
            for _ in range(SWAPS_MAX):
                before = _standing(await connection.fetchrow(_ONE, kind, id))
                after = change(before.text)
                if after == before.text or await _swap(connection, (kind, id), before.version, after):
                    return after
        message = f"{kind} {id} changes too fast to be changed: try again"
        raise Refused(Reason.STORE_UNAVAILABLE, message, {"retry-after": "1"})

    async def load_records(self) -> list[SharedRecord]:
        """All of them. Raises `Refused(STORE_UNAVAILABLE)`."""
        async with asking(self._line) as connection:
            rows = await self._newer(connection, 0)
        return [record for row in rows if (record := _record(row)).text is not None]

    async def changed_records(self) -> list[SharedRecord]:
        """What was written since the last call, but for what was saved here; nothing while the database is away."""
        rows: list[Row] = []
        if not self._away():
            try:
                async with self._line.use() as connection:
                    rows = await self._newer(connection, self._heard)
            except Failed as error:
                _log.debug("shared records were not read: the database %s", explain(error))
        told, self._replaced = self._replaced, []
        return told + [_record(row) for row in rows if row["writer"] != self._writer]

    async def run(self) -> None:
        """Write what is saved, for ever."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            try:
                if not self._away():
                    async with self._line.use() as connection:
                        await self.write(connection)
            except Failed as error:
                _log.warning("shared records wait: the database %s", explain(error))
            if self._queued:
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def flush(self) -> None:
        """Write what is queued. Raises what the database raises; then it stays queued."""
        async with self._line.use() as connection:
            await self.write(connection)

    async def write(self, connection: Connection) -> None:
        """As `flush`, on the connection of the line."""
        queued, self._queued = self._queued, {}
        try:
            if queued:
                await self._save(connection, queued)
        except BaseException:
            self._queued = queued | self._queued
            raise

    async def _save(self, connection: Connection, records: dict[RecordKey, bytes]) -> None:
        keys = sorted(records)
        columns = ([kind for kind, _ in keys], [id for _, id in keys])
        try:
            texts = [records[key].decode() for key in keys]
            rows = await connection.fetch(_SAVE, self._writer, self._heard, *columns, texts)
        except (*Failed, ValueError) as error:
            if not is_about_content(error):
                raise
            await self._save_each(connection, records, error)
            return
        self._replaced += [_record(row) for row in rows]

    async def _save_each(self, connection: Connection, records: dict[RecordKey, bytes], error: Exception) -> None:
        """One of them is not taken: the others are."""
        if len(records) > 1:
            for key, text in records.items():
                await self._save(connection, {key: text})
            return
        ((kind, id),) = records
        _log.error("the database does not take %s %r: %s", kind, id, explain(error))

    async def _newer(self, connection: Connection, than: int) -> list[Row]:
        rows: list[Row] = await connection.fetch(_NEWER, than)
        if rows:
            self._heard = max(self._heard, rows[-1]["version"])
        return rows


async def _swap(connection: Connection, key: RecordKey, version: int, text: bytes | None) -> bool:
    arguments = (*key, version, None if text is None else text.decode())
    return await connection.fetchval("SELECT ringfence.swap_record($1, $2, $3, $4)", *arguments)


def _standing(row: Row | None) -> _Standing:
    return _Standing(None, 0) if row is None else _Standing(_bytes(row["text"]), row["version"])


def _record(row: Row) -> SharedRecord:
    return SharedRecord(cast("RecordKind", row["kind"]), row["id"], _bytes(row["text"]))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
