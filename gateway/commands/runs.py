"""`ringfence runs`: runs of a running gateway shown and changed, one question or order each. Decides nothing.

Starting is `run_start.py`, waiting `run_wait.py`, the live view `watch.py`.
"""

import shlex
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands.client import GatewayClient, path_part
from gateway.commands.output import (
    EXIT_DONE,
    EXIT_FAILED,
    CommandFailed,
    columns_shown,
    json_writer,
    plain,
    print_json,
    print_rich,
)
from gateway.commands.run_card import Card, print_card, print_text
from gateway.commands.run_rows import WORKING_STATES, AgentRow, Failures, RunRow
from gateway.commands.run_start import RUNS, Wanted, body_of
from gateway.commands.run_words import agent_table, count_text, describe_run, dollars, phase_table, run_table
from gateway.contract import ADMIN_PREFIX, DRAFT_PATH

MISSES = {
    "changed_prompt": "it asks for something else",
    "args_changed": "it asks for something else, as args do",
    "new": "it was not there",
    "failed": "it gave no value",
    "unfinished": "it was not finished",
    "steered": "a person told it something",
    "worktree_gone": "its worktree is gone",
    "never": "it says cache: 'never'",
    "child_changed": "its nested workflow changed",
    "after_miss": "it comes after one that runs again",
}
"""Why a call is not taken over."""
DRAFT_SECONDS = 900.0
"""A model writes and repairs a script meanwhile."""
AGENTS_SHOWN = 200


class Runs(msgspec.Struct, frozen=True):
    """Answer of `/runs`."""

    runs: list[dict[str, Any]]
    next: str | None = None


class Agents(msgspec.Struct, frozen=True):
    """Answer of `/runs/{id}/agents`."""

    agents: list[dict[str, Any]]
    next: int | None = None


class Used(msgspec.Struct, frozen=True):
    """Usage of calls."""

    tokens: dict[str, int] = {}
    cost_nanousd: int | None = 0
    cost_complete: bool = True


class Missed(msgspec.Struct, frozen=True):
    """A call that would run again."""

    index: int
    reason: str
    label: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Answer of a resume plan."""

    hits: int
    misses: int
    mode: str = ""
    missed: list[Missed] = []
    saved: Used = Used()
    estimate: Used = Used()
    diff: str = ""


class Draft(msgspec.Struct, frozen=True):
    """Answer of a draft."""

    script: str
    card: dict[str, Any] = {}
    tries: int = 1
    model: str = ""
    usage: Used = Used()


def list_runs(client: GatewayClient, query: dict[str, str | int | None], *, as_json: bool) -> None:
    """The caller's runs, or an operator everybody's, newest first."""
    answer = client.read(RUNS, Runs, **query)
    if as_json:
        print_json(answer)
        return
    runs = [msgspec.convert(row, RunRow) for row in answer.runs]
    print_rich(run_table(runs, columns_shown()) if runs else "No run.")
    if answer.next is not None:
        print_rich(plain(f"there are more: --before {answer.next}"))


def show_run(client: GatewayClient, run: str, *, as_json: bool) -> None:
    """One run with its phases and agents."""
    record = client.read(_path(run), dict[str, Any])
    if as_json:
        print_json(record)
        return
    row = msgspec.convert(record, RunRow)
    page = client.read(_path(run, "agents"), Agents, limit=AGENTS_SHOWN)
    agents = [msgspec.convert(agent, AgentRow) for agent in page.agents]
    failed = client.read(_path(run, "notification"), Failures) if row.degraded and not row.is_open else None
    print_rich(*map(plain, describe_run(row, failed)))
    print_rich(
        *([phase_table(row.phases)] if row.phases else []), *([agent_table(agents, columns_shown())] if agents else [])
    )
    if page.next is not None:
        print_rich(f"only the first {AGENTS_SHOWN} agents are shown; --agent INDEX shows any")


def show_agent(client: GatewayClient, run: str, index: int, *, as_json: bool) -> None:
    """One agent with its prompt and what it gave."""
    agent = client.read(_path(run, "agents", index), dict[str, Any])
    if as_json:
        print_json(agent)
        return
    print_rich(agent_table([msgspec.convert(agent, AgentRow)], columns_shown()))
    shown = agent if agent.get("value") is None else {**agent, "result_preview": None}
    if agent.get("state") not in WORKING_STATES and len(agent.get("past_attempts") or ()) < 2:
        shown = {**shown, "past_attempts": None}
    for name in ("detail", "recent_tools", "past_attempts", "worktree", "result_preview", "prompt", "value"):
        value = shown.get(name)
        if value not in (None, "", []):
            print_rich(f"{name}:")
            print_text(value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode())


def control_run(client: GatewayClient, run: str, verb: str, body: dict[str, Any], *, as_json: bool) -> None:
    """Pause, resume, stop, approve, deny, save."""
    record = client.order(_path(run, verb), body, dict[str, Any])
    if as_json:
        print_json(record)
    elif verb == "save":
        print_rich(plain(f"the script of {run} is saved as {record.get('name')}"))
    else:
        row = msgspec.convert(record, RunRow)
        print_rich(plain(f"{row.id} ({row.name}) is {row.status.text or row.state}"))


def control_agent(
    client: GatewayClient, place: tuple[str, int], verb: str, body: dict[str, Any], *, as_json: bool
) -> None:
    """Stop, skip, restart, message."""
    run, index = place
    agent = client.order(_path(run, "agents", index, verb), body, dict[str, Any])
    if as_json:
        print_json(agent)
        return
    row = msgspec.convert(agent, AgentRow)
    done = "got the message" if verb == "message" else f"is {row.state}"
    print_rich(plain(f"agent {row.index} ({row.label}) of {run} {done}"))


def print_result(client: GatewayClient, run: str) -> None:
    """What the script returned, as JSON; nothing else is on stdout."""
    answer = client.read(_path(run, "result"), dict[str, Any])
    if answer.get("failure"):
        failure = answer["failure"]
        said = str(plain(f"run {run} failed: {failure.get('detail')}: {failure.get('message')}"))
        raise CommandFailed(said, EXIT_FAILED)
    if answer.get("artefact"):
        client.copy(_path(run, "result", "artefact"), json_writer())
        return
    print_json(answer.get("value"))


def print_journal(client: GatewayClient, run: str, after: int) -> None:
    """Its journal, one JSON object a line, as it is kept."""
    client.copy(f"{_path(run, 'journal')}?after={after}", json_writer())


def plan_resume(client: GatewayClient, run: str, wanted: Wanted, *, as_json: bool) -> None:
    """What a resume would take over, and what it would pay again."""
    body = body_of(wanted)
    del body["resumeFromRunId"]
    answer = client.send(_path(run, "resume-plan"), body, dict[str, Any])
    if as_json:
        print_json(answer)
        return
    plan = msgspec.convert(answer, Plan)
    estimate = sum(plan.estimate.tokens.values())
    cost = "price not known" if plan.estimate.cost_nanousd is None else f"about {dollars(plan.estimate.cost_nanousd)}"
    saved = f"{count_text(sum(plan.saved.tokens.values()))} tokens"
    saved += f", {dollars(plan.saved.cost_nanousd)}" if plan.saved.cost_nanousd else ""
    more = plan.misses - len(plan.missed)
    lines = [
        f"{plan.hits} calls are taken over ({saved}), {plan.misses} run again or anew (about "
        f"{count_text(estimate)} tokens, {cost})",
        *(f"  call {each.index:<4} {each.label}: {MISSES.get(each.reason, each.reason)}" for each in plan.missed),
        *([f"  and {more} more"] if plan.missed and more > 0 else []),
    ]
    print_rich(*map(plain, lines))
    if plan.diff:
        print_text(plan.diff)
    print_rich(plain(f"to do it: {_as_planned(run, wanted)}"))


def _as_planned(run: str, wanted: Wanted) -> str:
    """The command that starts what was planned."""
    file = [str(wanted.file)] if wanted.file is not None else []
    args = ["--args", wanted.args] if wanted.args is not None else []
    mode = ["--mode", wanted.mode] if wanted.mode is not None else []
    return shlex.join(["ringfence", "runs", "start", *file, "--resume-from", run, *args, *mode])


def draft_workflow(client: GatewayClient, body: dict[str, Any], file: Path | None, *, as_json: bool) -> int:
    """Have a model write a script: it is printed or put into a file with its card beside it, and never started."""
    patient = GatewayClient(client.url, client.credential, DRAFT_SECONDS)
    answer = patient.send(DRAFT_PATH.removeprefix(ADMIN_PREFIX), body, dict[str, Any])
    draft = msgspec.convert(answer, Draft)
    if file is not None:
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(draft.script)
        except OSError as error:
            raise CommandFailed(f"{file} cannot be written ({error.strerror or error}); name a new file") from None
    if as_json:
        print_json(answer)
        return EXIT_DONE
    if file is None:
        print_text(draft.script)
    print_card(msgspec.convert(draft.card, Card))
    where = file if file is not None else "the file you put it into"
    cost = dollars(draft.usage.cost_nanousd or 0) if draft.usage.cost_complete else "a price that is not known"
    print_rich(plain(f"written by {draft.model or 'a model'} in {draft.tries} tries for {cost}"))
    print_rich(plain(f"look at it, then: ringfence runs start {where}"))
    return EXIT_DONE


def _path(run: str, *parts: str | int) -> str:
    return "/".join((RUNS, path_part(run), *map(str, parts)))
