"""The calls of a run: who waits, who works, in what order they start. Not what becomes of their values: `machine.py`.

queued   accepted, in issue order (W40)
held     has a place, but waits for a sibling to warm their common prompt cache (W97)
running  an attempt is at work
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from runtime.core.limits import Limits
from runtime.core.model import AgentId, AgentState, CallIndex, CallOptions, RunId, Scope, Usage

WORKING: frozenset[AgentState] = frozenset({"held", "running"})


@dataclass(slots=True)
class Call:
    """One `agent()`."""

    index: CallIndex
    id: int
    key: str
    scope: Scope
    prompt: str
    options: CallOptions
    phase: str | None = None
    nested: int = 0
    state: AgentState = "queued"
    attempt: int = 0
    """Of the one that runs, or of the last; 0: none yet."""
    agent_id: AgentId | None = None
    began: bool = False
    """The first byte of the attempt was seen."""
    held_until_ms: int = 0
    live: Usage = field(default_factory=Usage)
    """What the running attempt has used so far."""
    stalls: int = 0
    retries: int = 0
    messages: int = 0
    prefix: bytes = b""
    """What `prefix_of` gave, once it was asked for."""

    @property
    def is_open(self) -> bool:
        """It has not been settled."""
        return self.state == "queued" or self.state in WORKING

    @property
    def steered(self) -> bool:
        """A person told it something."""
        return self.messages > 0


def agent_id_of(run: RunId, index: CallIndex, attempt: int) -> AgentId:
    """The same for the same attempt, wherever the run goes on."""
    return AgentId("a" + sha256(f"{run}/{index}/{attempt}".encode()).hexdigest()[:16])


def prefix_of(call: Call) -> bytes:
    """Calls of one prefix share what a provider caches of their prompts (W97); a folder of its own is named in it."""
    call.prefix = call.prefix or _prefix(call.index, call.options)
    return call.prefix


def _prefix(index: CallIndex, options: CallOptions) -> bytes:
    if options.isolation is not None:
        return str(index).encode()
    shared = (options.model, options.effort, options.agent_type, options.tools)
    return sha256(msgspec.json.encode((shared, options.disallowed_tools, options.schema), order="sorted")).digest()


class Workforce:
    """Gives calls their places. Time is an argument, in Unix milliseconds."""

    def __init__(self, limits: Limits) -> None:
        self.working = 0
        """Calls that have a place."""
        self._limits = limits
        self._queue: list[tuple[int, Call]] = []
        self._leading: dict[bytes, Call] = {}
        """The attempt that warms a prefix."""
        self._followers: dict[bytes, list[Call]] = {}
        self._warm_until_ms: dict[bytes, int] = {}

    def add(self, call: Call) -> None:
        """It waits for a place; one that had waited before keeps its position."""
        call.state = "queued"
        heapq.heappush(self._queue, (call.index, call))

    def next_queued(self) -> Call | None:
        """Who is to start next, if there is a place."""
        while self._queue and self._queue[0][1].state != "queued":
            heapq.heappop(self._queue)
        if not self._queue or self.working >= self._limits.concurrency:
            return None
        return heapq.heappop(self._queue)[1]

    def place(self, call: Call, now_ms: int) -> bool:
        """Give it a place. False: it holds it, but waits for the first of its prefix."""
        self.working += 1
        prefix = prefix_of(call)
        leader = self._leading.get(prefix)
        if leader is not None and self._limits.stagger_ms and self._warm_until_ms.get(prefix, 0) <= now_ms:
            call.state = "held"
            call.held_until_ms = now_ms + self._limits.stagger_ms
            self._followers.setdefault(prefix, []).append(call)
            return False
        call.state = "running"
        self._leading.setdefault(prefix, call)
        return True

    def give_back(self, call: Call) -> None:
        """It was to start and may not now: its place is free again, and it keeps its position."""
        self.working -= 1
        self.add(call)

    def warmed(self, call: Call, now_ms: int) -> list[Call]:
        """The first answer of an attempt begins: those who may start now."""
        prefix = prefix_of(call)
        self._warm_until_ms[prefix] = now_ms + self._limits.cache_ms
        return self._release(prefix, call)

    def leave(self, call: Call) -> list[Call]:
        """It has no place any more (its state is the caller's to set): those who may start now."""
        if call.state in WORKING:
            self.working -= 1
        prefix = prefix_of(call)
        if call.state == "held":
            self._followers.get(prefix, []).remove(call)
            return []
        return self._release(prefix, call)

    def overdue(self, now_ms: int) -> list[Call]:
        """Those who were held as long as may be."""
        free: list[Call] = []
        for prefix, held in self._followers.items():
            due = [call for call in held if call.held_until_ms <= now_ms]
            self._followers[prefix] = [call for call in held if call.held_until_ms > now_ms]
            free.extend(due)
        return self._start(free)

    def next_due_ms(self) -> int | None:
        """When the next one has been held long enough."""
        return min((call.held_until_ms for held in self._followers.values() for call in held), default=None)

    def queued(self) -> Iterator[Call]:
        """In issue order, more or less."""
        return (call for _, call in self._queue if call.state == "queued")

    def _release(self, prefix: bytes, call: Call) -> list[Call]:
        """What one attempt had kept back; a leader that failed keeps nobody waiting either."""
        if self._leading.get(prefix) is not call:
            return []
        del self._leading[prefix]
        return self._start(self._followers.pop(prefix, []))

    def _start(self, calls: list[Call]) -> list[Call]:
        for call in calls:
            call.state = "running"
        return sorted(calls, key=lambda call: call.index)
