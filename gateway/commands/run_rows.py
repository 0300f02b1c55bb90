"""Runs, phases and agents as the gateway shows them, read back, and the words and tables in which people see them.

What models and scripts wrote goes through `plain`. Asks nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.table import Table

from gateway.commands.output import (
    EXIT_DEGRADED,
    EXIT_DONE,
    EXIT_RUN_FAILED,
    EXIT_RUN_STOPPED,
    moment,
    plain,
    table,
)
from gateway.core.pricing import NANOUSD_PER_DOLLAR

OPEN_STATES = frozenset({"pending_approval", "queued", "running", "paused"})
EVENT_PREFIX = "workflow_run."
EVENT_WORDS = ("index", "label", "name", "state", "reason", "budget", "percent", "concurrency", "text", "message")
"""Members of an event that say something to people."""
FAILED_STATES = frozenset({"error", "stopped", "skipped"})


class Status(msgspec.Struct, frozen=True):
    """The words of others for the state."""

    text: str = ""


class PhaseRow(msgspec.Struct, frozen=True):
    """One phase."""

    title: str
    agents: dict[str, int] = {}
    """By state."""
    total: int = 0
    tokens: int = 0
    cost_nanousd: int = 0
    cost_complete: bool = True
    elapsed_ms: int = 0
    workflow: str | None = None


class Spent(msgspec.Struct, frozen=True):
    """Tokens and money."""

    total_tokens: int = 0
    cost_nanousd: int = 0
    cost_complete: bool = True
    tool_calls: int = 0


class UsageRow(msgspec.Struct, frozen=True):
    """What this run paid for, and what it took over from the one it resumes."""

    new: Spent = Spent()
    replayed: Spent = Spent()


class PauseRow(msgspec.Struct, frozen=True):
    """Why it is paused."""

    reason: str
    by: str | None = None
    until_ms: int | None = None
    message: str = ""


class FailureRow(msgspec.Struct, frozen=True):
    """Why it failed."""

    type: str
    detail: str
    message: str


class RunRow(msgspec.Struct, frozen=True):
    """One run."""

    id: str
    name: str
    state: str
    status: Status = Status()
    description: str = ""
    session: str = ""
    user: str = ""
    created_ms: int | None = None
    elapsed_ms: int = 0
    phases: list[PhaseRow] = []
    agents: dict[str, int] = {}
    outcome: dict[str, int] = {}
    degraded: bool = False
    usage: UsageRow = UsageRow()
    size_warning: str | None = None
    warnings: list[str] = []
    pauses: list[PauseRow] = []
    failure: FailureRow | None = None
    resumed_from: str | None = None
    resume_hint: str | None = None

    @property
    def is_open(self) -> bool:
        """Not ended."""
        return self.state in OPEN_STATES


class AgentRow(msgspec.Struct, frozen=True):
    """One call of `agent()`."""

    index: int
    state: str
    label: str = ""
    phase: str = ""
    model: str | None = None
    tokens: int = 0
    cost_nanousd: int = 0
    cost_complete: bool = True
    tool_calls: int = 0
    elapsed_ms: int = 0
    attempts: int = 0
    reason: str | None = None


def exit_code_of(run: RunRow) -> int:
    """What the ended run means to a script that started it."""
    if run.state in ("stopped", "denied"):
        return EXIT_RUN_STOPPED
    if run.state == "failed":
        return EXIT_RUN_FAILED
    return EXIT_DEGRADED if run.degraded else EXIT_DONE


def describe_run(run: RunRow) -> list[str]:
    """A run in lines."""
    new, replayed = run.usage.new, run.usage.replayed
    census = ", ".join(f"{count} {what}" for what, count in run.outcome.items() if count and what != "planned")
    lines = [
        f"{run.id}  {run.name}: {run.description}".rstrip(": "),
        f"  state     {run.status.text or run.state}",
        f"  started   {moment(run.created_ms)} by {run.user or '-'}, session {run.session or '-'}",
        f"  took      {duration(run.elapsed_ms)}, {count_text(new.total_tokens)} tokens, {money(new)}",
        f"  agents    {run.outcome.get('planned', run.agents.get('total', 0))}{f': {census}' if census else ''}",
    ]
    if run.resumed_from is not None:
        lines.append(f"  resumes   {run.resumed_from}: {count_text(replayed.total_tokens)} tokens taken over")
    lines += [f"  paused    {pause_text(pause)}" for pause in run.pauses]
    if run.failure is not None:
        lines.append(f"  failure   {run.failure.type} ({run.failure.detail}): {run.failure.message}")
    lines += [f"  warning   {warning}" for warning in (*run.warnings, *filter(None, [run.size_warning]))]
    if run.resume_hint is not None and exit_code_of(run) != EXIT_DONE:
        lines.append(f"  resume    ringfence runs resume-plan {run.id}")
    return lines


def pause_text(pause: PauseRow) -> str:
    """Why, by whom, until when."""
    by = f" by {pause.by}" if pause.by else ""
    until = f" until {moment(pause.until_ms)}" if pause.until_ms is not None else ""
    return f"{pause.reason}{by}{until}{f': {pause.message}' if pause.message else ''}"


def run_table(runs: Sequence[RunRow]) -> Table:
    """Runs one a line."""
    rows = table("Runs", "id", "name", "state", "user", "created", ">took", ">agents", ">tokens", ">cost")
    for run in runs:
        texts = (run.id, run.name, run.status.text or run.state, run.user, moment(run.created_ms))
        agents = run.outcome.get("planned", run.agents.get("total", 0))
        rest = (duration(run.elapsed_ms), agents, count_text(run.usage.new.total_tokens), money(run.usage.new))
        rows.add_row(*map(plain, (*texts, *rest)))
    return rows


def phase_table(phases: Sequence[PhaseRow]) -> Table:
    """Phases one a line."""
    rows = table("Phases", "phase", "agents", ">tokens", ">cost", ">took")
    for phase in phases:
        texts = (phase_name(phase), progress_text(phase), count_text(phase.tokens), money(phase))
        rows.add_row(*map(plain, (*texts, duration(phase.elapsed_ms))))
    return rows


def agent_table(agents: Sequence[AgentRow]) -> Table:
    """Agents one a line."""
    rows = table("Agents", ">#", "label", "phase", "state", "model", ">tokens", ">cost", ">calls", ">took", "why")
    for agent in agents:
        texts = (agent.index, agent.label, agent.phase, agent.state, agent.model or "-", count_text(agent.tokens))
        rest = (money(agent), agent.tool_calls, duration(agent.elapsed_ms), agent.reason or "")
        rows.add_row(*map(plain, (*texts, *rest)))
    return rows


def phase_name(phase: PhaseRow) -> str:
    """With the nested workflow it belongs to."""
    return phase.title if phase.workflow is None else f"{phase.workflow}: {phase.title}"


def progress_text(phase: PhaseRow) -> str:
    """`3/5 done, 1 failed, 1 running`."""
    done = phase.agents.get("done", 0) + phase.agents.get("cached", 0)
    failed = sum(phase.agents.get(state, 0) for state in FAILED_STATES)
    running = phase.agents.get("running", 0)
    more = (f", {failed} failed" if failed else "") + (f", {running} running" if running else "")
    return f"{done}/{phase.total} done{more}"


def money(spent: Spent | PhaseRow | AgentRow) -> str:
    """Dollars; with a `+` when something in it has no known price."""
    return dollars(spent.cost_nanousd) + ("" if spent.cost_complete else "+")


def dollars(nanousd: int) -> str:
    """Rounded for people: cents, below a dollar hundredths of them."""
    return f"${nanousd / NANOUSD_PER_DOLLAR:.{2 if nanousd >= NANOUSD_PER_DOLLAR else 4}f}"


def count_text(count: int) -> str:
    """`950`, `12.3k`, `4.5M`."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def duration(elapsed_ms: int) -> str:
    """`12s`, `3m05s`, `1h02m`."""
    seconds = elapsed_ms // 1000
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    return f"{seconds // 3600}h{seconds // 60 % 60:02}m"


def event_line(type: str, fields: dict[str, Any]) -> str:
    """One event in words."""
    error: dict[str, Any] = fields.get("error") or {}
    said = fields | error
    words = (f"  {said[name]}" for name in EVENT_WORDS if said.get(name) not in (None, ""))
    return type.removeprefix(EVENT_PREFIX) + "".join(words)
