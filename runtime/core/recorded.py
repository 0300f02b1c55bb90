"""A run as its journal tells it, for whoever resumes or rehearses it: its calls and what became of each.

Folded from lines in the order in which they were written; how people see a run is `views/view.py`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    IssuedLine,
    Line,
    NestedLine,
    RefusedLine,
    ResultLine,
    RunLine,
    StartedLine,
    StateLine,
    StoppedLine,
)
from runtime.core.model import CallIndex, PauseReason, RunSpec, RunState, Usage, Worktree


@dataclass(slots=True)
class Past:
    """One call of the run."""

    issued: IssuedLine
    result: ResultLine | None = None
    """It gave a value."""
    failed: bool = False
    """It was null, threw, was refused or was stopped by a person."""
    usage: Usage = Usage()
    """Of all its attempts."""
    started_at: int | None = None
    """Number of the line that tells of its first attempt."""

    @property
    def index(self) -> CallIndex:
        """Its place in the order of issue."""
        return self.issued.index


@dataclass(slots=True)
class Recorded:
    """What a journal holds. `calls` by index, `nested` in the order in which the script asked for them."""

    spec: RunSpec
    state: RunState = "queued"
    paused_for: PauseReason | None = None
    calls: dict[CallIndex, Past] = field(default_factory=dict[CallIndex, Past])
    nested: list[NestedLine] = field(default_factory=list[NestedLine])

    @property
    def completed(self) -> int:
        """Calls that gave a value."""
        return sum(past.result is not None for past in self.calls.values())

    def in_start_order(self) -> list[Past]:
        """A call without a start of its own stands where its index puts it, before the next started one."""
        keys: dict[CallIndex, tuple[float, int]] = {}
        following = math.inf
        for index in sorted(self.calls, reverse=True):
            started_at = self.calls[index].started_at
            if started_at is None:
                keys[index] = (following, 0)
            else:
                keys[index] = (started_at, 1)
                following = min(following, started_at)
        return [self.calls[index] for index in sorted(self.calls, key=lambda index: (*keys[index], index))]

    def worktrees(self) -> list[tuple[CallIndex, Worktree]]:
        """Those that have to be there for the results that were made in them to be replayed (W161)."""
        results = (past.result for past in self.calls.values())
        return [(line.index, line.worktree) for line in results if line is not None and line.worktree is not None]


def fold_journal(lines: Iterable[Line]) -> Recorded:
    """Raises `ValueError` when the first line is not the header of a run."""
    recorded: Recorded | None = None
    for number, line in enumerate(lines):
        if recorded is not None:
            _fold(recorded, line, number)
        elif isinstance(line, RunLine):
            recorded = Recorded(line.spec)
        else:
            raise ValueError("the journal does not begin with the header of a run")
    if recorded is None:
        raise ValueError("the journal is empty")
    recorded.nested.sort(key=lambda line: line.id)
    return recorded


def _fold(recorded: Recorded, line: Line, number: int) -> None:
    match line:
        case IssuedLine():
            recorded.calls[line.index] = Past(line)
        case StartedLine() | ResultLine() | ErrorLine() | RefusedLine() | StoppedLine():
            past = recorded.calls.get(line.index)
            if past is not None:
                _fold_call(past, line, number)
        case NestedLine():
            recorded.nested.append(line)
        case StateLine():
            recorded.state = line.after
            recorded.paused_for = _pause_of(line)
        case EndedLine():
            recorded.state = line.state
        case _:
            pass


def _fold_call(past: Past, line: StartedLine | ResultLine | ErrorLine | RefusedLine | StoppedLine, number: int) -> None:
    match line:
        case StartedLine():
            past.started_at = number if past.started_at is None else past.started_at
        case ResultLine():
            past.result = line
            past.usage += line.usage
        case RefusedLine():
            past.failed = True
        case ErrorLine() | StoppedLine():
            past.usage += line.usage
            past.failed = line.seq is not None


def _pause_of(line: StateLine) -> PauseReason | None:
    if line.after != "paused" or line.reason in (None, "approved", "denied", "started", "resumed", "raised"):
        return None
    return line.reason
