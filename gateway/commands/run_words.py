"""Words and tables in which people see runs, phases, agents. What models and scripts wrote goes through `plain`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from gateway.commands.output import (
    EXIT_DEGRADED,
    EXIT_DONE,
    EXIT_RUN_FAILED,
    EXIT_RUN_STOPPED,
    PIPED_COLUMNS,
    moment,
    plain,
    table,
)
from gateway.commands.run_rows import STOPPED_STATES, AgentRow, Failures, PauseRow, PhaseRow, RunRow, Spent
from gateway.core.money.pricing import NANOUSD_PER_USD

EVENT_PREFIX = "workflow_run."
EVENT_WORDS = ("index", "label", "name", "state", "reason", "budget", "percent", "concurrency", "text", "message")
"""Members of an event that say something to people."""
LEAST_CELLS = 8
"""Of a column of a table that may take several lines."""
NOT_PRESENT = {
    "silent": "the gateway that drives it is not heard of; if it is gone, another one takes the run up within seconds",
    "none": "no gateway drives it just now; the first one that looks takes it up",
}
"""Of a driver, in words."""
SUMS = frozenset({"planned", "total", "empty"})
"""Among counts by state or end, what is none."""
LARGE_WARNING = "large_workflow:"
"""Begins the warning that says the same as the record's `size_warning`."""


def exit_code_of(run: RunRow) -> int:
    """What the ended run means to a script that started it."""
    if run.state in ("stopped", "denied"):
        return EXIT_RUN_STOPPED
    if run.state == "failed":
        return EXIT_RUN_FAILED
    return EXIT_DEGRADED if run.degraded else EXIT_DONE


def describe_run(run: RunRow, failed: Failures | None = None) -> list[str]:
    """A run in lines, from what it is to what can be done next."""
    new, replayed = run.usage.new, run.usage.replayed
    counted = run.agents if run.is_open else run.outcome
    census = ", ".join(f"{count} {what}" for what, count in counted.items() if count and what not in SUMS)
    cap = run.budget.cost.cap_nanousd
    capped = f" of at most {dollars(cap)}" if cap is not None else ""
    lines = [
        f"{run.id}  {run.name}: {run.description}".rstrip(": "),
        f"  state     {run.status.text or run.state}",
        f"  started   {moment(run.created_ms)} by {run.user or '-'}, session {run.session or '-'}",
        f"  took      {duration(run.elapsed_ms)}, {count_text(new.total_tokens)} tokens, {money(new)}{capped}",
        f"  agents    {run.outcome.get('planned', run.agents.get('total', 0))}{f': {census}' if census else ''}",
    ]
    if run.driver in NOT_PRESENT:
        lines.append(f"  driver    {NOT_PRESENT[run.driver]}")
    if run.resumed_from is not None:
        lines.append(f"  resumes   {run.resumed_from}: {count_text(replayed.total_tokens)} tokens taken over")
    if run.approval is not None:
        lines.append(f"  waits     for a person: {run.approval.reason}".rstrip(": "))
    lines += [f"  paused    {pause_text(pause)}" for pause in run.pauses]
    if run.failure is not None:
        lines.append(f"  failure   {run.failure.type} ({run.failure.detail}): {run.failure.message}")
    lines += _failed_lines(run, failed or Failures())
    lines += [f"  warning   {warning}" for warning in _warnings_of(run)]
    return lines + [f"  next      {step}" for step in next_steps(run)]


def next_steps(run: RunRow) -> list[str]:
    """What a person can do with it as it stands."""
    if run.state == "pending_approval":
        by_policy = run.approval is not None and run.approval.by == "policy"
        return ["ringfence approvals list" if by_policy else f"ringfence runs approve {run.id}"]
    reasons = {pause.reason for pause in run.pauses}
    if run.state == "paused" and reasons <= {"budget", "quota"}:
        its_own = run.budget.cost.is_spent and "budget" in reasons
        return [f"ringfence runs resume {run.id} --max-cost USD" if its_own else "it goes on by itself when it may"]
    if run.state == "paused":
        return [f"ringfence runs resume {run.id}"]
    steps = [f"ringfence runs result {run.id}"] if run.state == "completed" else []
    if run.resume_hint is not None and exit_code_of(run) != EXIT_DONE:
        steps.append(f"ringfence runs resume-plan {run.id}")
    return steps


def _failed_lines(run: RunRow, failed: Failures) -> list[str]:
    lines = [f"  failed    {failure}" for failure in failed.failures]
    if failed.failures:
        more = f"and {failed.failures_left} more; " if failed.failures_left else ""
        lines.append(f"            {more}in full: ringfence runs show {run.id} --agent INDEX")
    return lines


def _warnings_of(run: RunRow) -> list[str]:
    """Each once."""
    large = [run.size_warning] if run.size_warning else []
    return [*(warning for warning in run.warnings if not (large and warning.startswith(LARGE_WARNING))), *large]


def _standing(run: RunRow) -> str:
    """Its state, and whether nobody sees to it."""
    return f"{run.status.text or run.state}{f' (driver: {run.driver})' if run.driver in NOT_PRESENT else ''}"


def pause_text(pause: PauseRow) -> str:
    """Why, by whom, until when."""
    why = f"by {pause.by}" if pause.reason == "person" and pause.by else pause.reason
    until = f" until {moment(pause.until_ms)}" if pause.until_ms is not None else ""
    return f"{why}{until}{f': {pause.message}' if pause.message else ''}"


def run_table(runs: Sequence[RunRow], width: int = PIPED_COLUMNS) -> Table:
    """Runs one a line. A narrow terminal gets fewer columns, not broken words."""
    users = {run.user for run in runs}
    cells = {
        "id": [run.id for run in runs],
        "name": [run.name for run in runs],
        "state": [_standing(run) for run in runs],
        "user": [run.user for run in runs] if width >= 110 or len(users) > 1 else None,
        "created": [_began(run.created_ms, width) for run in runs] if width >= 64 else None,
        ">took": [duration(run.elapsed_ms) for run in runs] if width >= 56 else None,
        ">agents": [run.outcome.get("planned", run.agents.get("total", 0)) for run in runs] if width >= 90 else None,
        ">tokens": [count_text(run.usage.new.total_tokens) for run in runs] if width >= 100 else None,
        ">cost": [money(run.usage.new) for run in runs] if width >= 48 else None,
    }
    return _columns("Runs", cells, folded=("name", "state"))


def _began(created_ms: int | None, width: int) -> str:
    """Without year and seconds where room is scarce."""
    return moment(created_ms) if width >= 110 else moment(created_ms)[5:16] or "-"


def _columns(title: str, cells: Mapping[str, Sequence[object] | None], *, folded: Sequence[str]) -> Table:
    """Columns that are None are left out; only the `folded` ones may take several lines."""
    shown = {heading: column for heading, column in cells.items() if column is not None}
    rows = table(title, *shown)
    for heading, column in zip(shown, rows.columns, strict=True):
        column.no_wrap = heading not in folded
        column.min_width = LEAST_CELLS if heading in folded else None
    for row in zip(*shown.values(), strict=True):
        rows.add_row(*map(plain, row))
    return rows


def phase_table(phases: Sequence[PhaseRow]) -> Table:
    """Phases one a line."""
    rows = table("Phases", "phase", "agents", ">tokens", ">cost", ">took")
    for phase in phases:
        texts = (phase_name(phase), progress_text(phase), count_text(phase.tokens), money(phase))
        rows.add_row(*map(plain, (*texts, duration(phase.elapsed_ms))))
    return rows


def agent_table(agents: Sequence[AgentRow], width: int = PIPED_COLUMNS) -> Table:
    """Agents one a line; as with runs, fewer columns on a narrow terminal."""
    phases = {agent.phase for agent in agents}
    cells = {
        ">#": [agent.index for agent in agents],
        "label": [agent.label for agent in agents],
        "phase": [agent.phase for agent in agents] if width >= 90 or (width >= 64 and len(phases) > 1) else None,
        "state": [agent.state for agent in agents],
        "model": [(agent.model or "-").removeprefix("claude-") for agent in agents] if width >= 80 else None,
        ">tokens": [count_text(agent.tokens) for agent in agents] if width >= 100 else None,
        ">cost": [money(agent) for agent in agents] if width >= 56 else None,
        ">calls": [agent.tool_calls for agent in agents] if width >= 110 else None,
        ">took": [duration(agent.elapsed_ms) for agent in agents],
        "why": [agent.reason or "" for agent in agents] if any(agent.reason for agent in agents) else None,
    }
    return _columns("Agents", cells, folded=("label", "phase", "why"))


def phase_name(phase: PhaseRow) -> str:
    """With the nested workflow it belongs to."""
    return phase.title if phase.workflow is None else f"{phase.workflow}: {phase.title}"


def progress_text(phase: PhaseRow) -> str:
    """`3/5 done, 1 failed, 1 running`; `-` of a phase without agents."""
    if not phase.total:
        return "-"
    done = phase.agents.get("done", 0) + phase.agents.get("cached", 0)
    counts = {
        "failed": phase.agents.get("error", 0),
        "stopped": stopped_of(phase.agents),
        "running": phase.agents.get("running", 0),
    }
    return f"{done}/{phase.total} done" + "".join(f", {count} {what}" for what, count in counts.items() if count)


def stopped_of(agents: dict[str, int]) -> int:
    """How many of them a person or the end of the run has stopped: that is no failure of theirs."""
    return sum(agents.get(state, 0) for state in STOPPED_STATES)


def money(spent: Spent | PhaseRow | AgentRow) -> str:
    """Dollars; with a `+` when something in it has no known price."""
    return dollars(spent.cost_nanousd) + ("" if spent.cost_complete else "+")


def dollars(nanousd: int) -> str:
    """Rounded for people: cents, below a dollar hundredths of them."""
    return f"${nanousd / NANOUSD_PER_USD:.{2 if nanousd >= NANOUSD_PER_USD else 4}f}"


def several(count: int, thing: str) -> str:
    """`1 agent`, `2 agents`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def count_text(count: int) -> str:
    """`950`, `12.3k`, `4.5M`."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def duration(elapsed_ms: int) -> str:
    """`0.4s`, `12s`, `3m05s`, `1h02m`."""
    if 0 < elapsed_ms < 1000:
        return f"{elapsed_ms // 100 / 10:.1f}s"
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
