"""What the journal of an interrupted run says: where it stood, and what its script was told, in order. Folds lines."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import msgspec

from runtime.core.journal import (
    ErrorLine,
    IssuedLine,
    Line,
    LogLine,
    MessageLine,
    NestedLine,
    PhaseLine,
    RefusedLine,
    ResultLine,
    StartedLine,
    StateLine,
    StoppedLine,
    TimerLine,
    WarningLine,
    is_lifted,
)
from runtime.core.meters import Spend
from runtime.core.model import PauseReason, RunState, Scope, Thrown, raw_of
from runtime.core.program import Delivery, Program

NO_PAUSE = ("approved", "denied", "started", "resumed", "raised")
NULL = msgspec.Raw(b"null")

Settled = ResultLine | ErrorLine | RefusedLine | StoppedLine


@dataclass(slots=True)
class Recovered:
    """Of a new run: nothing."""

    state: RunState = "queued"
    pauses: dict[PauseReason, int | None] = field(default_factory=dict[PauseReason, int | None])
    calls: dict[int, IssuedLine] = field(default_factory=dict[int, IssuedLine])
    """By operation; each is taken out when the script issues it again."""
    messages: dict[int, int] = field(default_factory=dict[int, int])
    """By index: how many a person has sent. A call that was steered stays so (W136)."""
    settled: dict[int, Settled] = field(default_factory=dict[int, Settled])
    """By index."""
    attempts: dict[int, StartedLine] = field(default_factory=dict[int, StartedLine])
    """The last attempt by index."""
    interrupted: dict[int, StartedLine] = field(default_factory=dict[int, StartedLine])
    """Attempts without an end, by index."""
    issued: dict[int, IssuedLine] = field(default_factory=dict[int, IssuedLine])
    """All of them by index."""
    answered: dict[int, str | None] = field(default_factory=dict[int, str | None])
    """Timers that fired and nested workflows that were looked for, with the hash of the script that was found."""
    deliveries: list[Delivery] = field(default_factory=list[Delivery])
    narrated: int = 0
    """Lines of the script's own (phases, logs, warnings) that are written already."""
    seq: int = 0
    spend: Spend = field(default_factory=Spend)
    told: set[str] = field(default_factory=set[str])
    confirmed: bool = False
    max_cost_nanousd: int | None = None


def recover(lines: Iterable[Line]) -> Recovered:
    """Fold the lines of a journal. Values that stand beside it have been put back into their lines."""
    found = Recovered()
    for line in lines:
        _fold(found, line)
    return found


def delivery_of(line: Settled, id: int, scope: Scope) -> Delivery:
    """What the script is told of a settlement."""
    match line:
        case ResultLine():
            return Delivery(id=id, scope=scope, value=raw_of(line.value), spent=line.spent)
        case ErrorLine():
            if line.thrown is not None:
                return Delivery(id=id, scope=scope, thrown=line.thrown, spent=line.spent)
            return Delivery(id=id, scope=scope, value=NULL, spent=line.spent, reason=line.null)
        case RefusedLine():
            return Delivery(id=id, scope=scope, thrown=line.thrown, spent=line.spent)
        case StoppedLine():
            return Delivery(id=id, scope=scope, value=NULL, spent=line.spent, reason=line.reason)


def nested_delivery(line: NestedLine) -> Delivery:
    """The program of a nested workflow, or why there is none."""
    if line.error is not None:
        thrown = Thrown(code="nested_workflow", message=line.error)
        return Delivery(id=line.id, scope=line.scope, thrown=thrown, spent=line.spent)
    assert line.source is not None and line.body is not None and isinstance(line.meta, msgspec.Raw)
    program = Program(source=line.source, body=line.body, meta=line.meta, args=raw_of(line.args))
    return Delivery(id=line.id, scope=line.scope, program=program, spent=line.spent)


def timer_delivery(line: TimerLine) -> Delivery:
    """The timer fires."""
    return Delivery(id=line.id, scope=line.scope, spent=line.spent)


def _fold(found: Recovered, line: Line) -> None:
    match line:
        case StateLine():
            _fold_state(found, line)
        case IssuedLine():
            found.calls[line.id] = found.issued[line.index] = line
        case StartedLine():
            found.attempts[line.index] = found.interrupted[line.index] = line
        case ResultLine() | ErrorLine() | RefusedLine() | StoppedLine():
            _fold_end(found, line)
        case NestedLine() | TimerLine():
            found.seq = line.seq + 1
            found.answered[line.id] = line.source_sha256 if isinstance(line, NestedLine) else None
            fired = isinstance(line, TimerLine)
            found.deliveries.append(timer_delivery(line) if fired else nested_delivery(line))
        case MessageLine():
            found.messages[line.index] = found.messages.get(line.index, 0) + 1
        case PhaseLine() | LogLine():
            found.narrated += 1
        case WarningLine():
            found.narrated += line.from_script
            found.told |= {line.code, f"{line.code}: {line.message}"}
        case _:
            pass


def _fold_state(found: Recovered, line: StateLine) -> None:
    found.state = line.after
    if is_lifted(line):
        found.pauses.pop(cast(PauseReason, line.message), None)
    elif line.after == "paused":
        found.pauses[pause_of(line)] = line.until_ms
        found.confirmed = found.confirmed or line.reason == "threshold"
    else:
        found.pauses.clear()
    if line.max_cost_nanousd is not None:
        found.max_cost_nanousd = line.max_cost_nanousd


def pause_of(line: StateLine) -> PauseReason:
    """Why the run was paused by this line."""
    return line.reason if line.reason is not None and line.reason not in NO_PAUSE else "person"


def _fold_end(found: Recovered, line: Settled) -> None:
    if not isinstance(line, RefusedLine):
        found.interrupted.pop(line.index, None)
        if isinstance(line, ResultLine) and line.cached:
            found.spend.reused(line.usage)
        else:
            found.spend.add(line.usage)
    if line.seq is None:
        return
    found.seq = line.seq + 1
    found.settled[line.index] = line
    issued = found.issued[line.index]
    found.deliveries.append(delivery_of(line, issued.id, issued.scope))
