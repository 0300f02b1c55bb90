"""A run as people and the API see it, folded from the lines of its journal (W87 to W93, W123, W174, W192). It decides
nothing, and shows results only as previews: values are read from the journal (`report.py`).

What agents have used so far comes in between by `progressed`, and is replaced by what the line of their end says; so
the fold of an ended run from the store is what was shown live.
"""

from collections.abc import Iterator
from typing import Any, assert_never

import msgspec

from runtime.core.aside import put_aside, ref_of
from runtime.core.display import one_line, visible
from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    HeldLine,
    IssuedLine,
    Line,
    LogLine,
    MessageLine,
    NestedLine,
    PhaseLine,
    RefusedLine,
    ResultLine,
    RunLine,
    StartedLine,
    StateLine,
    StoppedLine,
    TimerLine,
    WarningLine,
    is_lifted,
)
from runtime.core.limits import DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX
from runtime.core.model import OPEN_STATES, AgentState, CallIndex, Failure, Outcome, RunSpec, RunState, Usage
from runtime.core.sizes import large_warning
from runtime.core.views.counts import OPEN_CALLS, Counts, Sum
from runtime.core.views.phases import PhaseBook, workflow_run_id
from runtime.core.views.projection import project_tokens
from runtime.core.views.rows import Row, build_row, phase_row
from runtime.core.views.standing import MANAGED_RESULT, MANAGED_STATUS, TASK_STATUS, headline, resume_hint

WARNINGS_MAX = 100
"""Kept; more are counted."""
WARNING_CHARS_MAX = 1_000
PAGE_MAX = 1_000


class View:
    """Feed it every line, in order. A line takes constant time, but the last one, which closes what is open."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.state: RunState = "queued"
        self.book = PhaseBook(spec)
        self.counts = Counts(self.book)
        self.failure: Failure | None = None
        self.ended_ms: int | None = None
        self.warnings: list[str] = []
        self._rows: list[Row] = []
        self._pauses: dict[str, StateLine] = {}
        self._asked: StateLine | None = None
        """Since when it has waited for an approval, and why."""
        self._started_ms: int | None = None
        self._updated_ms = spec.created_ms
        self._cap_nanousd = spec.max_cost_nanousd
        self._warnings_dropped = 0
        self._logs = 0
        self._logs_dropped = 0
        self._end: EndedLine | None = None

    def feed(self, line: Line) -> None:  # noqa: C901  # the table of lines
        """The next line of the journal."""
        self._updated_ms = line.at_ms
        self.counts.feed(line)
        match line:
            case StateLine():
                self._change(line)
            case IssuedLine():
                self._rows.append(build_row(line, self.counts.calls[line.index]))
            case NestedLine():
                self.book.name_workflow(line)
            case HeldLine():
                self.counts.hold(line.index)
            case PhaseLine():
                self.counts.group(self.book.find(line.nested, line.title), line.at_ms)
            case LogLine():
                self._logs += bool(line.text or not line.dropped)
                self._logs_dropped = max(self._logs_dropped, line.dropped)
            case WarningLine():
                self._warn(f"{line.code}: {line.message}")
            case MessageLine():
                self._rows[line.index].messages += 1
            case EndedLine():
                self._close(line)
            case StartedLine() | ResultLine() | ErrorLine() | RefusedLine() | StoppedLine():
                self._rows[line.index].feed(line)
            case RunLine() | TimerLine():
                pass
            case _:
                assert_never(line)

    def progressed(self, index: CallIndex, usage: Usage, tool: str | None = None) -> None:
        """A running attempt got an answer (`usage`: what that request alone took) or used a tool (as it is shown)."""
        if self.counts.calls[index].state != "running":
            return
        self.counts.used_live(index, usage)
        if tool is not None:
            self._rows[index].use(tool)

    def began(self, index: CallIndex) -> None:
        """The first byte of an answer for the running attempt is there."""
        self._rows[index].answering = True

    @property
    def outcome(self) -> Outcome:
        """The census; of an ended run as it was written down."""
        return self.counts.outcome() if self._end is None else self._end.outcome

    @property
    def name(self) -> str:
        """For people."""
        return one_line(self.spec.name, NAME_CHARS_MAX)

    @property
    def description(self) -> str:
        """For people."""
        return one_line(self.spec.description, DESCRIPTION_CHARS_MAX)

    def preview(self, index: int) -> str | None:
        """The beginning of the value of a call, if it gave one."""
        return self._rows[index].preview

    def elapsed_ms(self, now_ms: int) -> int:
        """Since the script was started, pauses included."""
        end_ms = now_ms if self.ended_ms is None else self.ended_ms
        return 0 if self._started_ms is None else max(0, end_ms - self._started_ms)

    def record(self, now_ms: int) -> dict[str, Any]:
        """The run as the API shows it. Never its result (W176), at most where a large one stands. Times in
        milliseconds, money in nano-dollars.
        """
        spec, outcome = self.spec, self.outcome
        return {
            "id": spec.id,
            "workflow_run_id": workflow_run_id(spec.id),
            "name": self.name,
            "description": self.description,
            "title": None if spec.title is None else one_line(spec.title, NAME_CHARS_MAX),
            "state": self.state,
            "status": {
                "claude_code": TASK_STATUS[self.state],
                "managed": MANAGED_STATUS[self.state],
                "result": MANAGED_RESULT.get(self.state),
                "text": headline(self.state, outcome),
            },
            "driver": "present" if self.state in OPEN_STATES else None,
            "session": spec.session,
            "user": spec.owner.user,
            "source": spec.source,
            "created_ms": spec.created_ms,
            "started_ms": self._started_ms,
            "ended_ms": self.ended_ms,
            "updated_ms": self._updated_ms,
            "elapsed_ms": self.elapsed_ms(now_ms),
            "phases": self.phases(now_ms),
            "agents": self._agent_counts(),
            "outcome": msgspec.structs.asdict(outcome),
            "refusals": dict(self.counts.refusals),
            "degraded": outcome.degraded,
            "usage": {"new": usage_row(self.counts.used), "replayed": usage_row(self.counts.replayed)},
            "budget": self._budget(),
            "projection": {"tokens": self.projected_tokens()},
            "size_warning": self.size_warning(),
            "warnings": list(self.warnings),
            "warnings_dropped": self._warnings_dropped,
            "logs": {"lines": self._logs, "dropped": self._logs_dropped},
            "approval": self._approval_row(),
            "pauses": self._pause_rows(),
            "failure": self._failure_row(),
            "result": self._result_row(),
            "script": {"sha256": spec.script_sha256, "path": spec.script_path},
            "model": spec.model,
            "workspace": spec.workspace,
            "resumed_from": spec.resumed_from,
            "resume_mode": spec.resume_mode if spec.resumed_from else None,
            "resume_hint": resume_hint(spec.id, self.state, outcome),
        }

    def phases(self, now_ms: int) -> list[dict[str, Any]]:
        """In order. Declared ones that had nothing to do are not shown when the run has ended (W87)."""
        is_open = self.state in OPEN_STATES
        groups = [group for group in self.counts.groups.values() if is_open or group.first_ms is not None]
        return [phase_row(index, group, now_ms) for index, group in enumerate(groups)]

    def agents(
        self, now_ms: int, *, after: int = -1, most: int = PAGE_MAX, state: AgentState | None = None
    ) -> list[dict[str, Any]]:
        """The calls behind index `after`, in issue order (W91)."""
        rows: list[dict[str, Any]] = []
        for row in self._rows[max(0, after + 1) :]:
            if state is None or row.counted.state == state:
                rows.append(row.brief(now_ms))
            if len(rows) >= min(most, PAGE_MAX):
                break
        return rows

    def rows(self) -> Iterator[Row]:
        """All calls, in issue order."""
        return iter(self._rows)

    def unsuccessful(self) -> Iterator[Row]:
        """Calls that gave no value, in issue order."""
        return (row for row in self._rows if row.counted.state in ("error", "stopped", "skipped"))

    def agent(self, index: int, now_ms: int) -> dict[str, Any] | None:
        """Everything that is kept of one call."""
        return self._rows[index].full(now_ms) if 0 <= index < len(self._rows) else None

    def size_warning(self) -> str | None:
        """More agents or tokens than a run usually takes (W192). Advice only."""
        agents = self.counts.planned - self.counts.refused
        return large_warning(agents, self.projected_tokens(), self.spec.limits)

    def projected_tokens(self) -> int:
        """In the end, as far as the calls are known (W193)."""
        return project_tokens(self.counts.groups.values(), self.counts.used.total_tokens)

    def _change(self, line: StateLine) -> None:
        self.state = line.after
        self._asked = line if line.after == "pending_approval" else None
        if is_lifted(line):
            self._pauses.pop(line.message, None)
        elif line.after == "paused":
            self._pauses[line.reason or "person"] = line
        else:
            self._pauses.clear()
        if line.after == "running" and self._started_ms is None:
            self._started_ms = line.at_ms
        if line.max_cost_nanousd is not None:
            self._cap_nanousd = line.max_cost_nanousd

    def _close(self, line: EndedLine) -> None:
        self._end = line
        self.state = line.state
        self.failure = line.failure
        self.ended_ms = line.at_ms
        self._asked = None
        self._pauses.clear()
        for row in self._rows:
            if row.counted.state in OPEN_CALLS:
                row.close(line.at_ms)
        self.counts.close(line.at_ms)

    def _warn(self, text: str) -> None:
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(visible(text[:WARNING_CHARS_MAX]))
        else:
            self._warnings_dropped += 1

    def _agent_counts(self) -> dict[str, int]:
        return {"total": len(self._rows), "empty": self.counts.empty, **self.counts.by_state()}

    def _budget(self) -> dict[str, Any]:
        """The script's own in output tokens; the operator's cap in money (W117, W118)."""
        return {
            "tokens": {"total": self.spec.budget_tokens, "spent": self.counts.spent_tokens},
            "cost": {"cap_nanousd": self._cap_nanousd, "spent_nanousd": self.counts.used.cost_nanousd},
        }

    def _approval_row(self) -> dict[str, Any] | None:
        """While it waits for one. `by`: whoever a policy wants, or its owner."""
        asked = self._asked
        if asked is None:
            return None
        return {"by": self.spec.approval, "since_ms": asked.at_ms, "reason": visible(asked.message)}

    def _pause_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "reason": reason,
                "by": line.by,
                "since_ms": line.at_ms,
                "until_ms": line.until_ms,
                "message": visible(line.message),
            }
            for reason, line in self._pauses.items()
        ]

    def _failure_row(self) -> dict[str, str] | None:
        failure = self.failure
        if failure is None:
            return None
        return {"type": failure.type, "detail": failure.detail, "message": visible(failure.message)}

    def _result_row(self) -> dict[str, Any] | None:
        end = self._end
        if end is None or end.state != "completed":
            return None
        return {"ref": ref_of(put_aside(end)[0])}


def aged(record: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """A record that was written down a while ago, of a run that sleeps or is driven elsewhere: its times go on."""
    for timed in (record, *record["phases"]):
        if timed["ended_ms"] is None and timed["started_ms"] is not None:
            timed["elapsed_ms"] = max(timed["elapsed_ms"], now_ms - timed["started_ms"])
    return record


def usage_row(used: Sum) -> dict[str, Any]:
    """`cost_complete` False: some of it has no known price, so the cost is higher than shown."""
    return {
        "tokens": {
            "input": used.input,
            "output": used.output,
            "cache_read": used.cache_read,
            "cache_write_5m": used.cache_write_5m,
            "cache_write_1h": used.cache_write_1h,
        },
        "total_tokens": used.total_tokens,
        "cost_nanousd": used.cost_nanousd,
        "cost_complete": not used.unpriced,
        "requests": used.requests,
        "tool_calls": used.tool_calls,
    }
