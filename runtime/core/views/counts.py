"""Counts of a run while its journal grows: calls by state and group, tokens, cost, what is still to come. Sums only.

Every method takes constant time, whatever the run has done before, but `close` and what reads all groups.
"""

from dataclasses import dataclass, field

from runtime.core.journal import ErrorLine, IssuedLine, Line, RefusedLine, ResultLine, StartedLine, StoppedLine
from runtime.core.model import AgentState, Outcome, Usage
from runtime.core.views.phases import Phase, PhaseBook

OPEN_CALLS: frozenset[AgentState] = frozenset({"queued", "held", "running"})
REFUSALS = frozenset({"agent_limit", "budget_exhausted"})
"""Codes of calls that were refused for want of room; others threw for what they asked (W81)."""


@dataclass(slots=True)
class Sum:
    """Usage added up. What has no known price is counted, so that a cost never looks complete when it is not."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cost_nanousd: int = 0
    requests: int = 0
    tool_calls: int = 0
    unpriced: int = 0

    @property
    def total_tokens(self) -> int:
        """All kinds."""
        return self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def add(self, usage: Usage) -> None:
        """Of an attempt, or of a request of one."""
        tokens = usage.tokens
        self.input += tokens.input
        self.output += tokens.output
        self.cache_read += tokens.cache_read
        self.cache_write_5m += tokens.cache_write_5m
        self.cache_write_1h += tokens.cache_write_1h
        self.cost_nanousd += usage.cost_nanousd or 0
        self.requests += usage.requests
        self.tool_calls += usage.tool_calls
        self.unpriced += usage.cost_nanousd is None

    def take_back(self, other: "Sum") -> None:
        """What was added before."""
        self.input -= other.input
        self.output -= other.output
        self.cache_read -= other.cache_read
        self.cache_write_5m -= other.cache_write_5m
        self.cache_write_1h -= other.cache_write_1h
        self.cost_nanousd -= other.cost_nanousd
        self.requests -= other.requests
        self.tool_calls -= other.tool_calls
        self.unpriced -= other.unpriced


@dataclass(slots=True)
class Group:
    """The calls of one phase."""

    phase: Phase
    counts: dict[AgentState, int] = field(default_factory=dict[AgentState, int])
    used: Sum = field(default_factory=Sum)
    """Of ended and running attempts."""
    replayed: Sum = field(default_factory=Sum)
    live_tokens: int = 0
    """Of running attempts."""
    finished: int = 0
    """Calls that gave a value or an error, and how many tokens they took."""
    finished_tokens: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    """When anything happened in it last."""

    @property
    def open(self) -> int:
        """Calls that are not settled."""
        return sum(self.counts.get(state, 0) for state in OPEN_CALLS)

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(slots=True)
class Counted:
    """What is counted of one call."""

    group: Group
    state: AgentState = "queued"
    used: Sum = field(default_factory=Sum)
    """Of its ended attempts, or of the result that was taken over."""
    attempts: int = 0
    live: Sum | None = None
    """Of the running attempt."""

    @property
    def tokens(self) -> int:
        """Of all its attempts so far."""
        return self.used.total_tokens + (self.live.total_tokens if self.live else 0)

    @property
    def cost_nanousd(self) -> int:
        """Of all its attempts so far, at list price."""
        return self.used.cost_nanousd + (self.live.cost_nanousd if self.live else 0)

    @property
    def unpriced(self) -> bool:
        """Some of it has no known price."""
        return bool(self.used.unpriced or (self.live and self.live.unpriced))


class Counts:
    """Fed with every line of a journal. `planned` counts refused calls too: the parts of the census add up to it."""

    def __init__(self, book: PhaseBook) -> None:
        self.book = book
        self.groups: dict[str, Group] = {phase.id: Group(phase) for phase in book.phases}
        self.calls: dict[int, Counted] = {}
        self.used = Sum()
        """Of this run's own attempts: ended ones of whatever end, and running ones (W93)."""
        self.replayed = Sum()
        """Of results that were taken over (W117)."""
        self.spent_tokens = 0
        """As the script's budget counts."""
        self.planned = self.done = self.null = self.threw = self.refused = self.stopped = self.cached = 0
        self.refusals: dict[str, int] = {}
        """Refused calls by reason (W81)."""
        self.empty = 0
        """Of those that gave null: agents that ended without a text."""

    def feed(self, line: Line) -> None:
        """Lines that are not about calls count nothing."""
        match line:
            case IssuedLine():
                group = self.group(self.book.find(line.nested, line.phase), line.at_ms)
                self.calls[line.index] = Counted(group)
                self.planned += 1
                _shift(group, None, "queued")
            case StartedLine():
                call = self.calls[line.index]
                call.attempts = line.attempt
                self._move(call, "running", line.at_ms)
            case ResultLine() | ErrorLine() | StoppedLine() | RefusedLine():
                self._ended(self.calls[line.index], line)
            case _:
                pass

    def group(self, phase: Phase, at_ms: int) -> Group:
        """The counts of a phase that something happens in."""
        group = self.groups.get(phase.id)
        if group is None:
            group = self.groups[phase.id] = Group(phase)
        if group.first_ms is None:
            group.first_ms = at_ms
        group.last_ms = at_ms
        return group

    def used_live(self, index: int, usage: Usage) -> None:
        """A request of a running attempt was answered; what it took counts until the attempt's own line comes."""
        call = self.calls[index]
        call.live = call.live or Sum()
        call.live.add(usage)
        call.group.live_tokens += usage.tokens.total
        self.used.add(usage)
        call.group.used.add(usage)

    def hold(self, index: int) -> None:
        """A queued call has a place and waits for a sibling (W97)."""
        call = self.calls.get(index)
        if call is not None and call.state == "queued":
            self._move(call, "held", None)

    def close(self, at_ms: int) -> None:
        """The run is over: what was open is stopped."""
        for call in self.calls.values():
            if call.state in OPEN_CALLS:
                self._drop_live(call)
                self.stopped += 1
                self._move(call, "stopped", at_ms)

    def outcome(self) -> Outcome:
        """The census (W174)."""
        return Outcome(
            planned=self.planned,
            done=self.done,
            null=self.null,
            threw=self.threw,
            refused=self.refused,
            stopped=self.stopped,
            cached=self.cached,
        )

    def by_state(self) -> dict[AgentState, int]:
        """Calls in each state that has any."""
        counts: dict[AgentState, int] = {}
        for group in self.groups.values():
            for state, count in group.counts.items():
                counts[state] = counts.get(state, 0) + count
        return {state: count for state, count in counts.items() if count}

    def _ended(self, call: Counted, line: ResultLine | ErrorLine | StoppedLine | RefusedLine) -> None:
        """An attempt is over, or the call was refused."""
        self._drop_live(call)
        if not isinstance(line, RefusedLine):
            cached = isinstance(line, ResultLine) and line.cached
            (self.replayed if cached else self.used).add(line.usage)
            (call.group.replayed if cached else call.group.used).add(line.usage)
            call.used.add(line.usage)
        self.spent_tokens = max(self.spent_tokens, line.spent)
        state = self._settled(line)
        if state in ("done", "error", "cached") and not isinstance(line, RefusedLine):
            call.group.finished += 1
            call.group.finished_tokens += call.used.total_tokens
        self._move(call, state, line.at_ms)

    def _settled(self, line: ResultLine | ErrorLine | StoppedLine | RefusedLine) -> AgentState:
        match line:
            case ResultLine():
                self.cached += line.cached
                self.done += not line.cached
                return "cached" if line.cached else "done"
            case ErrorLine(seq=None) | StoppedLine(reason="restarted" | "interrupted"):
                return "queued"
            case ErrorLine():
                self.threw += line.thrown is not None
                self.null += line.thrown is None
                self.empty += line.null == "empty"
                return "error"
            case RefusedLine():
                if line.thrown.code in REFUSALS:
                    self.refused += 1
                    self.refusals[line.thrown.code] = self.refusals.get(line.thrown.code, 0) + 1
                self.threw += line.thrown.code not in REFUSALS
                return "error"
            case StoppedLine():
                self.stopped += 1
                return "skipped" if line.reason == "skipped" else "stopped"

    def _drop_live(self, call: Counted) -> None:
        if call.live is None:
            return
        call.group.live_tokens -= call.live.total_tokens
        self.used.take_back(call.live)
        call.group.used.take_back(call.live)
        call.live = None

    def _move(self, call: Counted, state: AgentState, at_ms: int | None) -> None:
        _shift(call.group, call.state, state)
        call.state = state
        if at_ms is not None:
            call.group.last_ms = at_ms


def _shift(group: Group, before: AgentState | None, after: AgentState) -> None:
    if before is not None:
        group.counts[before] -= 1
    group.counts[after] = group.counts.get(after, 0) + 1
