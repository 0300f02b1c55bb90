"""What a rehearsal found, as data: a dry run (W144) and the plan of a resume (W162), and what the live part may cost.

The rehearsing itself is `rehearsal.py`; what a person is asked before a run starts is `card.py`.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from runtime.core.model import ResumeMode, RunId, Tokens, Usage
from runtime.core.recorded import Past, Recorded
from runtime.core.walks import MissReason

MISSED_MAX = 200
"""Most missed calls that are named; all are counted."""
DIFF_LINES_MAX = 400
COMPARED_LINES_MAX = 4_000
"""Of each script."""

Ending = Literal["returned", "threw", "stalled", "calls", "seconds", "sandbox"]
"""How a rehearsal ended. `calls`, `seconds`: it was cut off; `sandbox`: the script broke one of its limits."""


class PhaseCount(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one phase. `title` None: those outside every phase."""

    title: str | None
    calls: int


class FanOutCount(msgspec.Struct, frozen=True, kw_only=True):
    """Groups that were made in one place: `path` is their scope with `*` for the items above them."""

    path: str
    groups: int
    items_max: int
    items: int


class CallCount(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that asked for the same model in the same phase. None: not given."""

    phase: str | None
    model: str | None
    agent_type: str | None
    effort: str | None
    calls: int


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a script did with agents that only pretended."""

    ended: Ending
    message: str = ""
    """Why it did not return."""
    calls: int = 0
    phases: tuple[PhaseCount, ...] = ()
    fan_outs: tuple[FanOutCount, ...] = ()
    models: tuple[CallCount, ...] = ()
    nested: int = 0
    """Nested workflows."""
    warnings: tuple[str, ...] = ()
    terminated: bool = True
    """It came to an end by itself."""


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that would run again."""

    index: int
    label: str
    phase: str | None
    reason: MissReason


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a resume would take over and what it would pay. Counts of hits are exact, those of misses an estimate:

    what follows a live call depends on what its agent will say.
    """

    resumed_from: RunId
    mode: ResumeMode
    hits: int
    misses: int
    reasons: dict[MissReason, int]
    missed: tuple[Missed, ...] = ()
    saved: Usage = Usage()
    """What the hits had taken."""
    estimate: Usage = Usage()
    """Of the live part, from what like calls had taken; without a price if one of them has none."""
    script_changed: bool = False
    args_changed: bool = False
    diff: str = ""
    rehearsal: Rehearsal


class Means:
    """Mean usage of the calls of a run that gave a value, by phase."""

    def __init__(self, recorded: Recorded) -> None:
        done = [past for past in recorded.calls.values() if past.result is not None]
        phases = {past.issued.phase for past in done}
        self._by_phase = {phase: mean_of(past for past in done if past.issued.phase == phase) for phase in phases}
        self._over_all = mean_of(done)

    def of(self, phase: str | None, past: Past | None) -> Usage:
        """What a call may take: what it took before, or else what like calls took."""
        if past is not None and past.result is not None:
            return past.usage
        return self._by_phase.get(phase, self._over_all)


def mean_of(calls: Iterable[Past]) -> Usage:
    """Rounded up; nothing of no calls."""
    usages = [past.usage for past in calls]
    total, count = sum(usages, Usage()), len(usages) or 1
    tokens = Tokens(**{kind: -(-amount // count) for kind, amount in msgspec.structs.asdict(total.tokens).items()})
    cost = None if total.cost_nanousd is None else -(-total.cost_nanousd // count)
    requests, tool_calls = -(-total.requests // count), -(-total.tool_calls // count)
    return Usage(tokens=tokens, cost_nanousd=cost, requests=requests, tool_calls=tool_calls)


def diff_scripts(before: str, after: str) -> str:
    """A unified diff, cut when it is long. Empty: they are the same."""
    if before == after:
        return ""
    old, new = before.splitlines(), after.splitlines()
    lines = list(difflib.unified_diff(old[:COMPARED_LINES_MAX], new[:COMPARED_LINES_MAX], "before", "now", lineterm=""))
    return "\n".join((*lines[:DIFF_LINES_MAX], *_left_out(old, new, len(lines))))


def _left_out(old: Sequence[str], new: Sequence[str], lines: int) -> Sequence[str]:
    if lines > DIFF_LINES_MAX:
        return (f"... {lines - DIFF_LINES_MAX} more lines",)
    if max(len(old), len(new)) > COMPARED_LINES_MAX:
        return (f"... only the first {COMPARED_LINES_MAX} lines were compared",)
    return ()
