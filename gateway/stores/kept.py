"""What a SQLite file keeps beside money: shared records, sessions and their agents; written with the ledger's batches.

What waits to be written counts as if it were in the file already. No threads, and no rules of lineage or fuses.
"""

import sqlite3
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import AgentRecord, Claimed
from gateway.core.money.windows import DAY_MS
from gateway.ports import RecordKind, SharedRecord

UNSEEN_MS = 30 * DAY_MS
"""Agents and sessions unseen for this long are forgotten; what they spent stays."""

_agent = msgspec.json.Decoder(AgentRecord)

AgentKey = tuple[str, str]
"""Session and agent."""
RecordKey = tuple[RecordKind, str]


class SessionRow(NamedTuple):
    """Whose a session is."""

    credential: str
    user: str
    first_seen_ms: int


class AgentRow(NamedTuple):
    """An agent. Not `saved`: it was claimed, and its spawn may not have been allowed."""

    record: AgentRecord
    saved: bool


@dataclass(slots=True)
class Kept:
    """What is to be written. Releases come first."""

    records: dict[RecordKey, bytes | None] = field(default_factory=dict[RecordKey, bytes | None])
    """None: to be removed."""
    sessions: dict[str, SessionRow] = field(default_factory=dict[str, SessionRow])
    agents: dict[AgentKey, AgentRow] = field(default_factory=dict[AgentKey, AgentRow])
    released: dict[AgentKey, None] = field(default_factory=dict[AgentKey, None])
    unseen_since_ms: int = 0
    """What was last seen before is to be forgotten."""

    def __len__(self) -> int:
        rows = len(self.records) + len(self.sessions) + len(self.agents) + len(self.released)
        return rows + (self.unseen_since_ms > 0)

    def then(self, later: "Kept") -> "Kept":
        """Both, in this order."""
        agents = {key: row for key, row in self.agents.items() if key not in later.released}
        return Kept(
            records=self.records | later.records,
            sessions=later.sessions | self.sessions,
            agents=agents | later.agents,
            released=self.released | later.released,
            unseen_since_ms=max(self.unseen_since_ms, later.unseen_since_ms),
        )

    def save(self, record: AgentRecord) -> None:
        """An agent as it stands now."""
        row = SessionRow(record.credential, record.user, record.first_seen_ms)
        self.sessions.setdefault(record.session, row)
        self.agents[record.session, record.agent] = AgentRow(record, saved=True)

    def release(self, key: AgentKey) -> None:
        """The agent is none."""
        self.agents.pop(key, None)
        self.released[key] = None

    def claim(self, connection: sqlite3.Connection, record: AgentRecord) -> Claimed:
        """What is known of the session and agent, in the file or here; from now on they are known."""
        key = (record.session, record.agent)
        session = _read_session(connection, record.session) or self.sessions.get(record.session)
        if session is None:
            session = SessionRow(record.credential, record.user, record.first_seen_ms)
            self.sessions[record.session] = session
        if session.credential != record.credential:
            return Claimed(session.credential, session.user, self._count_agents(connection, record.session))
        known = self.agents.get(key) or (None if key in self.released else _read_agent(connection, key))
        if known is None:
            self.agents[key] = AgentRow(record, saved=False)
        seen = known.record if known is not None and known.saved else None
        return Claimed(session.credential, session.user, self._count_agents(connection, record.session), seen)

    def record(self, connection: sqlite3.Connection, key: RecordKey) -> bytes | None:
        """A shared record as it stands."""
        if key in self.records:
            return self.records[key]
        row = connection.execute("SELECT text FROM shared_records WHERE kind = ? AND id = ?", key).fetchone()
        return None if row is None else row[0]

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it, in the caller's transaction."""
        if self.records:
            _write_records(connection, self.records)
        if self.released:
            connection.executemany("DELETE FROM agents WHERE session = ? AND agent = ?", list(self.released))
        if self.sessions:
            sessions = [(id, *row) for id, row in self.sessions.items()]
            connection.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", sessions)
        if self.agents:
            agents = [
                (*key, saved, record.last_seen_ms, msgspec.json.encode(record))
                for key, (record, saved) in self.agents.items()
            ]
            connection.executemany("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?, ?)", agents)
        if self.unseen_since_ms > 0:
            forget(connection, self.unseen_since_ms)

    def _count_agents(self, connection: sqlite3.Connection, session: str) -> int:
        """Agents of the session other than main."""
        waiting = {agent for of, agent in self.agents if of == session and agent != MAIN_AGENT}
        others = waiting | {agent for of, agent in self.released if of == session} | {MAIN_AGENT}
        query = "SELECT count(*) FROM agents WHERE session = ? AND agent NOT IN (SELECT value FROM json_each(?))"
        names = msgspec.json.encode(sorted(others)).decode()
        return len(waiting) + connection.execute(query, (session, names)).fetchone()[0]


def read_records(connection: sqlite3.Connection) -> list[SharedRecord]:
    """Every shared record in the file."""
    return [SharedRecord(*row) for row in connection.execute("SELECT kind, id, text FROM shared_records")]


def read_agents(connection: sqlite3.Connection, since_ms: int) -> list[AgentRecord]:
    """Agents last seen at or after `since_ms`, those seen first before the others."""
    query = "SELECT record FROM agents WHERE saved AND last_seen_ms >= ? ORDER BY last_seen_ms"
    return [_agent.decode(record) for (record,) in connection.execute(query, (since_ms,))]


def forget(connection: sqlite3.Connection, unseen_since_ms: int) -> None:
    """Delete agents that were not seen since, and sessions that have none any more."""
    connection.execute("DELETE FROM agents WHERE last_seen_ms < ?", (unseen_since_ms,))
    left = "SELECT 1 FROM agents WHERE agents.session = sessions.id"
    connection.execute(f"DELETE FROM sessions WHERE first_seen_ms < ? AND NOT EXISTS ({left})", (unseen_since_ms,))


def _write_records(connection: sqlite3.Connection, records: dict[RecordKey, bytes | None]) -> None:
    kept = [(*key, text) for key, text in records.items() if text is not None]
    removed = [key for key, text in records.items() if text is None]
    connection.executemany("INSERT OR REPLACE INTO shared_records VALUES (?, ?, ?)", kept)
    connection.executemany("DELETE FROM shared_records WHERE kind = ? AND id = ?", removed)


def _read_session(connection: sqlite3.Connection, id: str) -> SessionRow | None:
    row = connection.execute("SELECT credential, user, first_seen_ms FROM sessions WHERE id = ?", (id,)).fetchone()
    return None if row is None else SessionRow(*row)


def _read_agent(connection: sqlite3.Connection, key: AgentKey) -> AgentRow | None:
    row = connection.execute("SELECT record, saved FROM agents WHERE session = ? AND agent = ?", key).fetchone()
    return None if row is None else AgentRow(_agent.decode(row[0]), bool(row[1]))
