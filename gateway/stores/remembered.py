"""Shared records, sessions and agents of the gateway that owns a SQLite file. The rows themselves are `kept.py`.

An agent is queued when it is claimed, its meters about once a second: a kill may set meters back by that much, but
never spend. There is no other gateway: nothing is used elsewhere.
"""

import asyncio
import sqlite3
from collections.abc import Sequence

from gateway.core.agents.lineage import AgentRecord, Claimed
from gateway.errors import Refused
from gateway.ports import RecordChange, RecordKind, SharedRecord
from gateway.stores import kept
from gateway.stores.database import explained
from gateway.stores.group import GroupCommit

AGENTS_SECONDS = 1.0
"""How often meters of agents are written: they change with every request, and only their last state counts."""


class RememberedRows:
    """Implements `ports.SharedRecords` and `ports.LineageStore`."""

    def __init__(self, group: GroupCommit, reader: sqlite3.Connection) -> None:
        self._group = group
        self._reader = reader
        self._meters: dict[kept.AgentKey, AgentRecord] = {}
        self._meters_timer: asyncio.TimerHandle | None = None
        self._changing = asyncio.Lock()
        """Nobody changes a record from a state that may not come to be."""
        self._changed: dict[kept.RecordKey, bytes | None] = {}
        """Not told yet."""

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        """Write it with the next batch."""
        self._group.pending.kept.records[kind, id] = text
        self._group.schedule(soon=False)

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        """Replace it by what `change` makes of it; on disk when it returns."""
        key: kept.RecordKey = (kind, id)
        async with self._changing:
            await self._group.idle()
            with self._group.reading():
                before = self._group.pending.kept.record(self._reader, key)
            after = change(before)
            if after != before:
                await self._commit_record(key, after)
        return after

    async def _commit_record(self, key: kept.RecordKey, text: bytes | None) -> None:
        queued = self._group.pending.kept.records
        queued_before = {key: queued[key]} if key in queued else {}
        queued[key] = text
        self._changed[key] = text  # told also when the caller leaves while it is written
        try:
            await self._group.commit()
        except Refused:
            del self._changed[key]
            queued = self._group.pending.kept.records
            if key in queued and queued[key] is text:  # else it was saved anew meanwhile
                del queued[key]
                queued |= queued_before
            raise

    async def load_records(self) -> list[SharedRecord]:
        """All of them."""
        with explained(self._group.path):
            return kept.read_records(self._reader)

    async def changed_records(self) -> list[SharedRecord]:
        """What was changed here, in case whoever changed it has left since."""
        changed, self._changed = self._changed, {}
        return [SharedRecord(*key, text) for key, text in changed.items()]

    async def claim_agent(self, record: AgentRecord) -> Claimed:
        """Tell what is known of its session and of itself; what is new is written soon."""
        await self._group.idle()
        self.write_meters()
        with self._group.reading():
            claimed = self._group.pending.kept.claim(self._reader, record)
        self._group.schedule(soon=False)
        return claimed

    def save_agent(self, record: AgentRecord) -> None:
        """Remember an agent across restarts: a new one at once, its meters as they stand about once a second."""
        self._meters[record.session, record.agent] = record
        if record.requests <= 1:
            self.write_meters()
        elif self._meters_timer is None:
            self._meters_timer = asyncio.get_running_loop().call_later(AGENTS_SECONDS, self.write_meters)

    def release_agent(self, session: str, agent: str) -> None:
        """It is none: its spawn was denied."""
        self._meters.pop((session, agent), None)
        self._group.pending.kept.release((session, agent))
        self._group.schedule(soon=False)

    async def used_elsewhere(self, sessions: Sequence[str]) -> list[AgentRecord]:
        """Nothing."""
        return []

    async def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents last seen at or after `since_ms`, oldest first."""
        with explained(self._group.path):
            return kept.read_agents(self._reader, since_ms)

    def write_meters(self) -> None:
        """Queue the meters that wait for their second to be over."""
        if self._meters_timer is not None:
            self._meters_timer.cancel()
            self._meters_timer = None
        if self._meters:
            for record in self._meters.values():
                self._group.pending.kept.save(record)
            self._meters = {}
            self._group.schedule(soon=False)
