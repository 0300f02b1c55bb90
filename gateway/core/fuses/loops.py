"""Loops, error streaks and standstill, counted in the history that a request carries. Stateless: it is the evidence.

    meter                     counts, from the newest backwards
    identical_tool_calls      calls in a row of one tool with one input
    similar_tool_calls        calls in a row that differ in nothing that matters (`likeness.py`), as do their results;
                              one that wrote a file with success counts for itself
    alternating_tool_calls    calls in a row that go round in a cycle of two to four calls, not all the same
    consecutive_errors        results in a row that are errors
    rounds_without_progress   rounds that failed as a whole, or repeat the calls and results of one of the four before

A history that repeats nothing costs the reading of its last five rounds. What is done about a loop is `fuse.py`'s.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from gateway.core.fuses.history import CALLS_MAX, Call, History, Result
from gateway.core.wire.body import Message

CYCLE_CALLS_MAX = 4
"""Longest cycle, in calls; and with how many rounds before it a round is compared."""
WRITING_TOOLS = frozenset({"Edit", "MultiEdit", "NotebookEdit", "Write"})
"""Claude Code's tools whose success is a change: to number a list line by line is work, however alike the calls are."""

STREAK_METERS = (
    "identical_tool_calls",
    "similar_tool_calls",
    "alternating_tool_calls",
    "consecutive_errors",
    "rounds_without_progress",
)

T = TypeVar("T")


class Streaks(msgspec.Struct, frozen=True):
    """How the latest part of a conversation repeats itself."""

    identical_tool_calls: int
    consecutive_errors: int
    newest: tuple[str, Any] | None = None
    """Name and input of the newest tool call."""
    similar_tool_calls: int = 0
    rounds_without_progress: int = 0
    cycles: tuple[int, ...] = (0,) * (CYCLE_CALLS_MAX - 1)
    """For cycles of two calls and more: how many calls, up to the newest, are the same as the one so many before."""
    asked: tuple[Call, ...] = ()
    """Calls that were asked for since the history ended, the newest first."""
    history: History | None = None

    @property
    def alternating_tool_calls(self) -> int:
        """A cycle counts once it has been gone through twice."""
        return max((length + matches for length, matches in self._closed()), default=0) if any(self.cycles) else 0

    @property
    def cycle(self) -> int:
        """How many calls the longest cycle has; 0: there is none."""
        return max(self._closed(), key=lambda each: sum(each), default=(0, 0))[0]

    def meters(self) -> dict[str, int]:
        """By the names that fuses use."""
        return {
            "identical_tool_calls": self.identical_tool_calls,
            "similar_tool_calls": self.similar_tool_calls,
            "alternating_tool_calls": self.alternating_tool_calls,
            "consecutive_errors": self.consecutive_errors,
            "rounds_without_progress": self.rounds_without_progress,
        }

    def calls(self) -> Iterator[Call]:
        """All calls, the newest first."""
        yield from self.asked
        if self.history is not None:
            yield from self.history.calls()

    def extended(self, tool: str, tool_input: Any) -> "Streaks":
        """The streaks with one more tool call asked for."""
        call = Call.asked(tool, tool_input)
        before = list(islice(self.calls(), CYCLE_CALLS_MAX))
        return Streaks(
            identical_tool_calls=self.identical_tool_calls + 1 if (tool, tool_input) == self.newest else 1,
            consecutive_errors=self.consecutive_errors,
            newest=(tool, tool_input),
            similar_tool_calls=self.similar_tool_calls + 1 if before and call.is_like(before[0]) else 1,
            rounds_without_progress=self.rounds_without_progress,
            cycles=tuple(
                matches + 1 if len(before) >= length and call.same(before[length - 1]) else 0
                for length, matches in enumerate(self.cycles, start=2)
            ),
            asked=(call, *self.asked)[:CALLS_MAX],
            history=self.history,
        )

    def _closed(self) -> Iterator[tuple[int, int]]:
        """Length of each cycle gone through twice, and its matches. One of calls that are all the same is none."""
        for length, matches in enumerate(self.cycles, start=2):
            if matches >= length and length + matches > self.identical_tool_calls:
                yield length, matches


def streaks(latest_first: Iterable[Message]) -> Streaks:
    """Count every streak of a conversation, given its messages from the last to the first."""
    history = History(latest_first)
    newest = history.round(0)
    if newest is None:
        return Streaks(0, 0, history=history)
    if not newest.calls:
        return Streaks(0, _errors(history), rounds_without_progress=_standstill(history), history=history)
    call = newest.calls[0]
    latest = list(islice(history.calls(), CYCLE_CALLS_MAX + 1))
    return Streaks(
        identical_tool_calls=_row(history.calls(), call.same),
        consecutive_errors=_errors(history),
        newest=(call.name, call.input),
        similar_tool_calls=_similar(history, call),
        rounds_without_progress=_standstill(history),
        cycles=tuple(
            _matches(history, length) if length < len(latest) and call.same(latest[length]) else 0
            for length in range(2, CYCLE_CALLS_MAX + 1)
        ),
        history=history,
    )


def _row(values: Iterable[T], fits: Callable[[T], bool]) -> int:
    count = 0
    for value in values:
        if not fits(value):
            break
        count += 1
    return count


def _matches(history: History, length: int) -> int:
    pairs = zip(islice(history.calls(), length, None), history.calls(), strict=False)
    return _row(pairs, lambda pair: pair[0].same(pair[1]))


def _errors(history: History) -> int:
    results = (result for each in history.rounds() for _, result in each.results.latest_first())
    return _row(islice(results, CALLS_MAX), lambda result: result.is_error)


def _similar(history: History, newest: Call) -> int:
    """The newest calls may not have returned yet; the others are held to the newest result that there is."""
    known: Result | None = None
    count = 0
    for call in history.calls():
        if not call.is_like(newest):
            break
        result = call.result
        if result is not None and known is not None and not result.is_like(known):
            break
        count += 1
        if result is not None and not result.is_error and call.name in WRITING_TOOLS:
            break
        known = known or result
    return count


def _standstill(history: History) -> int:
    """A round is judged by those before it, so four more are read than are counted."""

    def stands_still(index: int) -> bool:
        this = history.round(index)
        if this is None or this.results.failed:
            return this is not None
        before = (history.round(index + back) for back in range(1, CYCLE_CALLS_MAX + 1))
        return any(other is not None and this.repeats(other) for other in before)

    return _row(range(CALLS_MAX), stands_still)
