"""Boards of fuses over one store, and an agent whose meters a test sets. No bytes, no policy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.boards.fuseboard import FuseBoard
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode, Person, RunNode, SessionNode, Tree
from gateway.core.agents.workflow_runs import Owner
from gateway.core.decisions.decision import Decision, Query
from gateway.core.fuses.fuse import FuseBox, FuseLimits, FuseRecord, Scope
from gateway.core.fuses.loops import STREAK_METERS, Streaks
from gateway.core.money.budgets import Expired
from gateway.core.money.limits import LimitRow, Series
from gateway.ports import AuditSink, RecordChange, RecordKind, SharedRecord, Telemetry
from tests.support.clock import FakeClock

QUIET = Streaks(0, 0)


@dataclass
class Shelf:
    """Shared records as one store has them, each gateway reading on from where it was."""

    rows: list[SharedRecord] = field(default_factory=list[SharedRecord])

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        self.rows.append(SharedRecord(kind, id, text))

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        raise NotImplementedError

    async def load_records(self) -> list[SharedRecord]:
        return list({row.id: row for row in self.rows}.values())

    async def changed_records(self) -> list[SharedRecord]:
        raise NotImplementedError

    def fuses(self) -> list[FuseRecord]:
        """Everything that was ever written."""
        return [msgspec.json.decode(row.text or b"", type=FuseRecord) for row in self.rows]


@dataclass
class Heard(AuditSink, Telemetry):
    """What was recorded and counted of fuses."""

    fuses: list[FuseRecord] = field(default_factory=list[FuseRecord])
    blown: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def fuse(self, record: FuseRecord) -> None:
        self.fuses.append(record)

    def fuse_blown(self, scope: str, meter: str) -> None:
        self.blown.append((scope, meter))

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None: ...
    def request(self, ctx: RequestContext) -> None: ...
    def expired(self, expired: Expired, at_ms: int) -> None: ...
    def corrected(self, hold_id: str, at_ms: int) -> None: ...
    def request_started(self) -> None: ...
    def request_ended(self, ctx: RequestContext) -> None: ...
    def decided(self, query: Query, decision: Decision, seconds: float) -> None: ...
    def agent_seen(self, via: str) -> None: ...
    def held(self, ctx: RequestContext) -> None: ...
    def limit_refused(self, series: Series) -> None: ...
    def overshot(self, limit: LimitRow, amount: int) -> None: ...
    def hold_expired(self, count: int) -> None: ...


class Gateway:
    """One gateway's fuses, with the main agent of a session and a sub-agent that belongs to a run."""

    def __init__(self, limits: FuseLimits, shelf: Shelf | None = None, clock: FakeClock | None = None) -> None:
        self.shelf, self.clock, self.heard = shelf or Shelf(), clock or FakeClock(), Heard()
        self.read = 0
        self.tree = Tree()
        session = SessionNode("s", "laptop", "alice", "", inferred=False)
        self.main = self.add("main", session)
        self.agent = self.add("a1", self.main.session)
        self.tree.join(self.agent, RunNode("wf_1", Owner("s", "laptop", "alice"), self.clock.now_ms))
        self.board = FuseBoard(FuseBox(limits), self.shelf, self.heard, self.heard, self.clock, self.tree)

    def add(self, name: str, session: SessionNode) -> AgentNode:
        """An agent that is at work: it has had its first token."""
        node = self.tree.add(session, name, None, self.clock.now_ms)
        node.admitted = node.first_token = True
        return node

    def learn(self) -> int:
        """Hear what was written since the last time; how much that was."""
        news = self.shelf.rows[self.read :]
        self.read = len(self.shelf.rows)
        self.board.learn(news)
        return len(news)

    def count(self, scope: Scope, meter: str, value: int) -> Streaks:
        """Let a meter of the sub-agent, its run, session or user stand at `value`; the streaks that say so."""
        if meter in STREAK_METERS:
            return _looping(meter, value)
        node, now = self.agent, self.clock.now_ms
        held = {"agent": node, "session": node.session, "run": node.run, "user": node.session.person}[scope]
        assert held is not None
        if meter in _SHAPES:
            _SHAPES[meter](held, value, now)
        else:
            setattr(held.used, _SUMS.get(meter, meter), value)
        return QUIET


def _looping(meter: str, value: int) -> Streaks:
    if meter == "alternating_tool_calls":
        return msgspec.structs.replace(QUIET, cycles=(max(0, value - 2), 0, 0))
    return msgspec.structs.replace(QUIET, **{meter: value})


def _last(held: Any, value: int, now: int) -> None:
    held.first_seen_ms = now - 1000 * value


def _stream(held: Any, value: int, now: int) -> None:
    held.used.stream_ms = 1000 * value


def _sink(held: Any, value: int, now: int) -> None:
    if isinstance(held, AgentNode):
        held.depth = value
    else:
        (held if isinstance(held, RunNode) else held.branches).deepest = value


def _grow(held: Any, value: int, now: int) -> None:
    held.prompt_tokens_base, held.prompt_tokens = 7, 7 + value


def _multiply(held: Any, value: int, now: int) -> None:
    if isinstance(held, RunNode):
        held.agents = {str(number) for number in range(value)}
    else:
        held.counted = value


def _employ(held: Any, value: int, now: int) -> None:
    for number in range(value):
        held.crew.begin(number)


def _spawn(held: Any, value: int, now: int) -> None:
    pace = held.spawns if isinstance(held, Person) else held.pace
    for _ in range(value - pace.count(now)):
        pace.note(now)


def _open(held: Any, value: int, now: int) -> None:
    for _ in range(value - held.sessions.count(now)):
        held.sessions.note(now)


_SUMS = {"cost": "cost_nanousd"}
_SHAPES: dict[str, Callable[[Any, int, int], None]] = {
    "seconds": _last,
    "stream_seconds": _stream,
    "depth": _sink,
    "context_growth": _grow,
    "agents": _multiply,
    "active_agents": _employ,
    "agents_per_minute": _spawn,
    "sessions_per_hour": _open,
}
