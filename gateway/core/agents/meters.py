"""What is counted of agents, sessions, runs and people: sums, who is at work, how fast agents come, what they touch.

Time is an argument. Which meters a fuse or a policy compares with what is not here.
"""

from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Generic, TypeVar

from gateway.core.decisions.decision import ToolClass, ToolFacts

IDLE_SECONDS = 300
"""An agent that owes a tool result counts as active for this long."""
PACE_MAX = 4_096
"""Events remembered for a rate; more within its window count as so many."""
FILES_MAX = 2_000
"""Different files remembered per session and per run, and as many written ones; more count as so many."""
HOSTS_MAX = 500
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True)
class Used:
    """Running sums."""

    requests: int = 0
    tool_calls: int = 0
    denials: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cost_nanousd: int = 0
    stream_ms: int = 0

    @property
    def amounts(self) -> tuple[int, ...]:
        """All sums, in one order."""
        return _amounts(self)

    def add(self, other: "Used", sign: int = 1) -> None:
        """Count what somebody else counted too; `sign` -1 takes it back."""
        self.requests += sign * other.requests
        self.tool_calls += sign * other.tool_calls
        self.denials += sign * other.denials
        self.output_tokens += sign * other.output_tokens
        self.total_tokens += sign * other.total_tokens
        self.cost_nanousd += sign * other.cost_nanousd
        self.stream_ms += sign * other.stream_ms

    def meters(self, elsewhere: "Used", seconds: int, depth: int) -> dict[str, int]:
        """By the names that policies and fuses use, with what other gateways counted."""
        return {
            "requests": self.requests + elsewhere.requests,
            "tool_calls": self.tool_calls + elsewhere.tool_calls,
            "denials": self.denials + elsewhere.denials,
            "output_tokens": self.output_tokens + elsewhere.output_tokens,
            "total_tokens": self.total_tokens + elsewhere.total_tokens,
            "cost": self.cost_nanousd + elsewhere.cost_nanousd,
            "seconds": seconds,
            "depth": depth,
            "stream_seconds": (self.stream_ms + elsewhere.stream_ms) // 1000,
        }


_amounts: Callable[[Used], tuple[int, ...]] = attrgetter(*Used.__dataclass_fields__)


class Crew(Generic[T]):
    """Who is at work: with a request in flight, or owing a tool result since lately. Counting costs no walk."""

    def __init__(self) -> None:
        self._busy: set[T] = set()
        self._owing: OrderedDict[T, int] = OrderedDict()

    def begin(self, member: T) -> None:
        """A request of this member is in flight."""
        self._owing.pop(member, None)
        self._busy.add(member)

    def end(self, member: T, now_ms: int, *, owes: bool) -> None:
        """None is any more."""
        self._busy.discard(member)
        self._owing.pop(member, None)
        if owes:
            self._owing[member] = now_ms

    def hear(self, member: T, since_ms: int, *, active: bool) -> None:
        """What another gateway tells of a member; one with a request in flight here is not asked about."""
        if member not in self._busy:
            self.end(member, since_ms, owes=active)

    def count(self, now_ms: int) -> int:
        """How many there are."""
        self._dismiss(now_ms)
        return len(self._busy) + len(self._owing)

    def members(self, now_ms: int) -> Iterator[T]:
        """All of them."""
        self._dismiss(now_ms)
        yield from self._busy
        yield from self._owing

    def _dismiss(self, now_ms: int) -> None:
        while self._owing and now_ms - next(iter(self._owing.values())) >= IDLE_SECONDS * 1000:
            self._owing.popitem(last=False)


class Pace:
    """How many of something came within the last while."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._times: deque[int] = deque()

    def note(self, at_ms: int) -> None:
        """One came; what another gateway tells may be older than what was noted before."""
        if len(self._times) >= PACE_MAX:
            self._times.popleft()
        if self._times and at_ms < self._times[-1]:
            insort(self._times, at_ms)
        else:
            self._times.append(at_ms)

    def take_back(self, at_ms: int) -> None:
        """One that was noted did not come after all."""
        if at_ms in self._times:
            self._times.remove(at_ms)

    def count(self, now_ms: int) -> int:
        """How many came within the window."""
        while self._times and now_ms - self._times[0] >= self._window_ms:
            self._times.popleft()
        return len(self._times)


@dataclass(slots=True)
class Reach:
    """What tool calls that were released name: the blast radius. A call that is released may still not be run."""

    classes: set[ToolClass] = field(default_factory=set[ToolClass])
    files: set[str] = field(default_factory=set[str])
    written: set[str] = field(default_factory=set[str])
    hosts: set[str] = field(default_factory=set[str])

    def touch(self, facts: ToolFacts, tool_class: ToolClass) -> None:
        """Note what one released call names."""
        self.classes.add(tool_class)
        for use in facts.paths:
            _note(self.files, use.path, FILES_MAX)
            if use.access == "write":
                _note(self.written, use.path, FILES_MAX)
        for host in facts.hosts:
            _note(self.hosts, host, HOSTS_MAX)

    def blast(self) -> dict[str, int]:
        """How much it is."""
        return {
            "tool_classes": len(self.classes),
            "files": len(self.files),
            "written_files": len(self.written),
            "hosts": len(self.hosts),
        }


def _note(seen: set[str], name: str, most: int) -> None:
    if len(seen) < most:
        seen.add(name)
