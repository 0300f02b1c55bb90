"""Arithmetic of what several gateways counted of one agent. No tables, and no tree.

What a gateway was told of an agent at first, the seed, is part of what it reports afterwards: it is taken off before it
is stored under the gateway's own name, and off what the others counted since.
"""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from gateway.core.agents.lineage import SESSIONS_MAX, AgentRecord

SEEDED_SESSIONS_MAX = 2 * SESSIONS_MAX
"""Sessions whose seeds are kept, the last touched ones: more than any tree remembers."""

COUNTED = ("requests", "tool_calls", "denials", "output_tokens", "total_tokens", "cost_nanousd", "stream_ms")
"""Fields that are added up."""
MARKS = ("admitted", "first_token")
"""Fields that are true of the agent when one gateway has found them true."""
LEARNT = (
    *("parent", "agent_type", "model", "workspace", "spawned_by", "background", "prompt_sha256", "run", "forked_from"),
    *("routed_model", "notices"),
)
"""Fields that one gateway may know while the one that saw the agent last does not."""

Counts = tuple[int, ...]
"""In the order of `COUNTED`."""
NOTHING: Counts = (0,) * len(COUNTED)


def counts_of(record: AgentRecord) -> Counts:
    """What a record counts."""
    return tuple(getattr(record, name) for name in COUNTED)


def with_counts(record: AgentRecord, counts: Counts) -> AgentRecord:
    """The record with other counts."""
    return msgspec.structs.replace(record, **dict(zip(COUNTED, counts, strict=True)))


def less(record: AgentRecord, counts: Counts) -> AgentRecord:
    """The record without these counts, none below zero."""
    if counts == NOTHING:
        return record
    left = (max(0, one - other) for one, other in zip(counts_of(record), counts, strict=True))
    return with_counts(record, tuple(left))


def total(records: Iterable[AgentRecord]) -> Counts:
    """The counts of several records of one agent."""
    return tuple(sum(each) for each in zip(NOTHING, *map(counts_of, records), strict=True))


def together(records: Iterable[AgentRecord]) -> AgentRecord:
    """One record of several of one agent: as it was seen last, with what only others know, and all counts."""
    rows = sorted(records, key=lambda record: record.last_seen_ms)
    last = rows[-1]
    if len(rows) == 1:
        return last
    known: dict[str, object] = {"first_seen_ms": min(row.first_seen_ms for row in rows)}
    known["resumes"] = max(row.resumes for row in rows)
    known |= {name: any(getattr(row, name) for row in rows) for name in MARKS}
    for name in LEARNT:
        known[name] = next((value for row in reversed(rows) if (value := getattr(row, name)) is not None), None)
    return with_counts(msgspec.structs.replace(last, **known), total(rows))


class Seeds:
    """What this gateway was told at first, by session and agent."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, dict[str, Counts]] = OrderedDict()

    def plant(self, session: str, agent: str, counts: Counts) -> None:
        """It was told this; nothing else any more."""
        seeds = self._sessions.setdefault(session, {})
        if counts == NOTHING:
            seeds.pop(agent, None)
        else:
            seeds[agent] = counts
        self._sessions.move_to_end(session)
        if not seeds:
            del self._sessions[session]
        while len(self._sessions) > SEEDED_SESSIONS_MAX:
            self._sessions.popitem(last=False)

    def of(self, session: str, agent: str) -> Counts:
        """What it was told."""
        seeds = self._sessions.get(session)
        if seeds is None:
            return NOTHING
        self._sessions.move_to_end(session)
        return seeds.get(agent, NOTHING)
