"""Tells a run as numbered events (W179, W180, W182, W119), line by line of its journal. Live progress is no event:
see `taskstream.py`. The numbers are given by whoever stores them.

`created` comes first and `status_ended` last, once; what a run did not end well for is told right before. A phase is
started by `phase()` or by a call in it, and ended when another one has begun since and nothing of it is open.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from runtime.core.display import clip, label_of, one_line, visible
from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    HeldLine,
    IssuedLine,
    Line,
    LogLine,
    PhaseLine,
    RefusedLine,
    ResultLine,
    StartedLine,
    StateLine,
    StoppedLine,
    WarningLine,
    is_lifted,
)
from runtime.core.limits import DESCRIPTION_CHARS_MAX, LOG_CHARS_MAX, NAME_CHARS_MAX
from runtime.core.model import Failure, RunSpec
from runtime.core.views.counts import OPEN_CALLS, Counts
from runtime.core.views.phases import Phase, workflow_run_id
from runtime.core.views.standing import MANAGED_RESULT

GOVERNED = "concurrency_changed"
"""A warning that has an event of its own (W96)."""
BUDGET_PERCENTS = (50, 80, 100)
ERROR_CHARS_MAX = 4_096
MESSAGE_CHARS_MAX = 1_000

_Settled = ResultLine | ErrorLine | RefusedLine | StoppedLine


class Event(msgspec.Struct, frozen=True):
    """One event without its number."""

    id: str
    type: str
    at_ms: int
    epoch: str
    fields: Mapping[str, Any]

    def numbered(self, seq: int) -> msgspec.Raw:
        """As it is stored and sent."""
        head = {"id": self.id, "type": self.type, "seq": seq, "epoch": self.epoch, "at_ms": self.at_ms}
        processed_at = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        return msgspec.Raw(msgspec.json.encode({**head, "processed_at": processed_at, **self.fields}))


@dataclass(slots=True)
class _Running:
    """A phase that was started and not ended."""

    phase: Phase
    event: str
    """Id of the event that told of it."""
    past: bool = False
    """Another phase was started after anything was last begun in this one."""


@dataclass(slots=True)
class _Meter:
    """What a budget has been told to have reached."""

    name: str
    total: int
    told: int = 0

    def reached(self, spent: int) -> list[int]:
        """The marks that are passed now for the first time."""
        marks = [mark for mark in BUDGET_PERCENTS if mark > self.told and spent * 100 >= mark * self.total]
        self.told = max([self.told, *marks])
        return marks


@dataclass(slots=True)
class _Told:
    """Events of the line that is being told."""

    at_ms: int
    events: list[Event] = field(default_factory=list[Event])


class Narrator:
    """Feed it every line, in order; each gives the events that follow from it. The same lines give the same events.

    `epoch` names the host instance that tells them. `counts` are of the same lines, each fed to them before; what they
    have of running attempts is not told.
    """

    def __init__(self, spec: RunSpec, epoch: str, counts: Counts) -> None:
        self._spec = spec
        self._epoch = epoch
        self._run = workflow_run_id(spec.id)
        self._book = counts.book
        self._counts = counts
        self._running: dict[str, _Running] = {}
        self._current: dict[int, str] = {}
        """Phase that `phase()` named last, of the script (0) and of each nested workflow."""
        self._labels: dict[int, str] = {}
        self._cost = _Meter("cost", spec.max_cost_nanousd or 0)
        self._cost_nanousd = 0
        """Of ended attempts."""
        self._tokens = _Meter("tokens", spec.budget_tokens or 0)
        self._lines = 0
        self._created = False
        self._ended = False

    def feed(self, line: Line) -> list[Event]:
        """What the next line of the journal tells. Nothing follows the end."""
        if self._ended:
            return []
        self._lines += 1
        told = _Told(line.at_ms)
        self._create(told)
        if isinstance(line, EndedLine):
            self._end(told, line)
            return told.events
        self._tell(told, line)
        return told.events

    def _tell(self, told: _Told, line: Line) -> None:
        match line:
            case StateLine():
                self._change(told, line)
            case IssuedLine():
                self._issue(told, line)
            case StartedLine():
                kind = "agent_started" if line.attempt == 1 else "agent_retry"
                self._add(
                    told,
                    kind,
                    index=line.index,
                    label=self._labels[line.index],
                    attempt=line.attempt,
                    agent_id=line.agent_id,
                )
            case ResultLine() | ErrorLine() | RefusedLine() | StoppedLine():
                self._settle(told, line)
            case PhaseLine():
                phase = self._book.find(line.nested, line.title)
                self._current[line.nested] = phase.id
                self._start_phase(told, phase)
            case LogLine():
                self._add(told, "log", text=visible(clip(line.text, LOG_CHARS_MAX)), dropped=line.dropped)
            case HeldLine():
                self._add(told, "agent_held", index=line.index, label=self._labels[line.index])
            case WarningLine():
                kind = line.code if line.code == GOVERNED else "warning"
                self._add(told, kind, code=line.code, message=visible(clip(line.message, ERROR_CHARS_MAX)))
            case _:
                pass

    def _create(self, told: _Told) -> None:
        if self._created:
            return
        self._created = True
        details = _details(self._spec)
        self._add(
            told,
            "created",
            run_id=self._spec.id,
            name=one_line(self._spec.name, NAME_CHARS_MAX),
            description=one_line(self._spec.description, DESCRIPTION_CHARS_MAX),
            phases=[
                {"id": phase.id, "name": phase.title, "description": details.get(phase.title, "")}
                for phase in self._book.phases
            ],
        )
        if self._spec.resume_plan:
            self._add(told, "resume_plan", resumed_from=self._spec.resumed_from, plan=self._spec.resume_plan)

    def _change(self, told: _Told, line: StateLine) -> None:
        """An end is told when its own line comes."""
        if is_lifted(line):
            return
        if line.before == "pending_approval":
            self._add(told, "approval_decided", approved=line.after == "queued", by=line.by)
        if line.max_cost_nanousd is not None:
            self._cost = _Meter("cost", line.max_cost_nanousd)
        if line.after == "running":
            self._add(told, "status_running", reason=line.reason, by=line.by)
        elif line.after in ("paused", "queued", "pending_approval"):
            if line.reason == "budget":
                self._mark(told, self._cost, self._cost.total)
            if line.after == "pending_approval" or line.reason in ("approval", "threshold"):
                self._add(told, "approval_required", message=visible(line.message))
            self._add(
                told,
                "status_idle",
                reason=line.reason or line.after,
                by=line.by,
                until_ms=line.until_ms,
                message=visible(line.message),
            )

    def _issue(self, told: _Told, line: IssuedLine) -> None:
        phase = self._counts.calls[line.index].group.phase
        self._labels[line.index] = label_of(line.prompt, line.options)
        if line.phase is not None:
            self._start_phase(told, phase)
        self._add(
            told,
            "agent_queued",
            index=line.index,
            label=self._labels[line.index],
            workflow_run_phase_id=None if line.phase is None else phase.id,
        )

    def _settle(self, told: _Told, line: _Settled) -> None:
        call = self._counts.calls[line.index]
        if not (isinstance(line, RefusedLine) or (isinstance(line, ResultLine) and line.cached)):
            self._cost_nanousd += line.usage.cost_nanousd or 0
        if call.state in OPEN_CALLS:
            return
        self._add(
            told,
            "agent_settled",
            index=line.index,
            label=self._labels[line.index],
            state=call.state,
            reason=_reason_of(line),
            message=visible(clip(_detail_of(line), MESSAGE_CHARS_MAX)),
            tokens=call.tokens,
            cost_nanousd=call.cost_nanousd,
            schema_attempts=line.schema_attempts if isinstance(line, ResultLine) else 0,
        )
        self._mark(told, self._tokens, self._counts.spent_tokens)
        self._mark(told, self._cost, self._cost_nanousd)
        running = self._running.get(call.group.phase.id)
        if running is not None:
            self._end_if_done(told, running)

    def _start_phase(self, told: _Told, phase: Phase) -> None:
        running = self._running.get(phase.id)
        if running is not None:
            running.past = False
            return
        self._add(told, "phase_started", workflow_run_phase_id=phase.id, name=phase.title, workflow=phase.workflow)
        started = _Running(phase, told.events[-1].id)
        for other in list(self._running.values()):
            other.past = True
            self._end_if_done(told, other)
        self._running[phase.id] = started

    def _end_if_done(self, told: _Told, running: _Running) -> None:
        group = self._counts.groups.get(running.phase.id)
        is_open = group is not None and group.open > 0
        if running.past and not is_open and running.phase.id not in self._current.values():
            self._end_phase(told, running)

    def _end_phase(self, told: _Told, running: _Running) -> None:
        del self._running[running.phase.id]
        self._add(
            told,
            "phase_ended",
            workflow_run_phase_id=running.phase.id,
            name=running.phase.title,
            phase_started_id=running.event,
        )

    def _end(self, told: _Told, line: EndedLine) -> None:
        for running in list(self._running.values()):
            self._end_phase(told, running)
        if line.failure is not None:
            self._add(told, "error", error=_error(line.failure))
        self._add(
            told,
            "status_ended",
            result=_result(line),
            state=line.state,
            degraded=line.outcome.degraded,
            outcome=msgspec.structs.asdict(line.outcome),
            by=line.by,
            message=visible(line.message),
        )
        self._ended = True

    def _mark(self, told: _Told, meter: _Meter, spent: int) -> None:
        """Half, most and all of a budget (W119)."""
        for percent in meter.reached(spent) if meter.total else ():
            self._add(told, "budget", budget=meter.name, percent=percent, spent=spent, total=meter.total)

    def _add(self, told: _Told, kind: str, **fields: Any) -> None:
        # The same line tells the same ids, whoever folds it.
        id = f"{self._run.replace('wrun_', 'wrev_', 1)}-{self._lines}-{len(told.events)}"
        body = {"workflow_run_id": self._run, **fields}
        told.events.append(Event(id, f"workflow_run.{kind}", told.at_ms, self._epoch, body))


def refused_start(error_type: str, message: str, at_ms: int, *, epoch: str) -> Event:
    """The only event of a run that never came to be (W04, W11)."""
    fields = {
        "workflow_run_id": None,
        "error": {"type": error_type, "message": visible(clip(message, ERROR_CHARS_MAX))},
    }
    return Event(f"wrev_refused-{at_ms}", "workflow_run.error", at_ms, epoch, fields)


def _result(line: EndedLine) -> dict[str, Any]:
    """An error with the same reason as the event before it."""
    kind = MANAGED_RESULT.get(line.state, "error")
    failure = {} if line.failure is None else {"error": _error(line.failure)}
    return {"type": kind, **failure}


def _details(spec: RunSpec) -> dict[str, str]:
    """What `meta` says of each phase."""
    try:
        meta = msgspec.json.decode(spec.meta, type=_Meta)
    except msgspec.MsgspecError:
        return {}
    return {
        one_line(phase.title, NAME_CHARS_MAX): one_line(phase.detail or "", DESCRIPTION_CHARS_MAX)
        for phase in meta.phases
    }


class _MetaPhase(msgspec.Struct):
    title: str
    detail: str | None = None


class _Meta(msgspec.Struct):
    phases: list[_MetaPhase] = []


def _reason_of(line: _Settled) -> str | None:
    match line:
        case ResultLine():
            return None
        case ErrorLine() | RefusedLine():
            return line.thrown.code if line.thrown is not None else line.null
        case StoppedLine():
            return line.reason


def _detail_of(line: _Settled) -> str:
    """One sentence on why it gave nothing, and what to do."""
    match line:
        case ErrorLine() if line.thrown is None:
            return line.detail
        case ErrorLine() | RefusedLine():
            return "" if line.thrown is None else line.thrown.message
        case ResultLine() | StoppedLine():
            return ""


def _error(failure: Failure) -> dict[str, str]:
    message = visible(clip(failure.message, ERROR_CHARS_MAX))
    return {"type": failure.type, "detail": failure.detail, "message": message}
