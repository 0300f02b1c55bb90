"""Arguments of `ringfence runs` and of `ringfence workflows draft`. Not what these commands do."""

import argparse
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.commands.arguments import add, client_of, connected
from gateway.commands.output import EXIT_DONE, EXIT_USAGE, CommandFailed

if TYPE_CHECKING:
    from gateway.commands.arguments import Group
    from gateway.commands.run_start import Wanted

RUNS_SHOWN = 20
MODES = ("lineage", "prefix", "none")


def add_run_commands(commands: "Group") -> None:
    """The group `runs`."""
    summary = "start, watch and control runs of workflow scripts"
    group = commands.add_parser("runs", help=summary).add_subparsers(required=True, metavar="COMMAND")
    _add_starting(group)
    _add_reading(group)
    _add_controls(group)
    _add_agent_controls(group)


def add_draft_command(workflows: "Group") -> None:
    """`workflows draft`."""
    draft = connected(add(workflows, "draft", "have a model write a workflow script for a task", _draft))
    draft.add_argument("task", help="what the workflow shall do, in words")
    draft.add_argument("--output", type=Path, default=None, metavar="FILE", help="a new file for it; default: stdout")
    folder = "folder of the gateway's machine that it is for; the model is told of it, and does not see it"
    draft.add_argument("--workspace", type=Path, default=None, metavar="DIR", help=folder)
    draft.add_argument("--model", default=None, help="the model that writes it; default: that of the configuration")


def _add_starting(group: "Group") -> None:
    start = connected(add(group, "start", "start a workflow script, after showing what it may do and cost", _start))
    _wanted(start)
    start.add_argument("--yes", action="store_true", help="do not ask; you approve it, whatever it holds")
    after = start.add_mutually_exclusive_group()
    summary = "wait for its end; the exit code tells how it ended"
    after.add_argument("--wait", action="store_true", help=summary)
    after.add_argument("--watch", action="store_true", help="the same, with the live view")
    _wanted(connected(add(group, "dry-run", "show what a script would do and cost; starts nothing", _dry_run)))
    plan = connected(add(group, "resume-plan", "show what a resume would take over and what it would pay", _plan))
    plan.add_argument("run_id", metavar="RUN")
    plan.add_argument("--script", type=Path, default=None, metavar="FILE", help="an edited script; default: the same")
    plan.add_argument("--args", default=None, metavar="JSON|@FILE", help="default: those of the earlier run")
    plan.add_argument("--mode", choices=MODES, default=None, help="what counts as unchanged; default: lineage")


def _wanted(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, default=None, metavar="FILE")
    parser.add_argument("--name", default=None, help="a saved workflow instead of a file")
    parser.add_argument("--args", default=None, metavar="JSON|@FILE", help="what the script gets as args")
    folder = "folder of the gateway's machine in which the agents' tools work; default: none, and no such tools"
    parser.add_argument("--workspace", type=Path, default=None, metavar="DIR", help=folder)
    parser.add_argument("--session", default=None, metavar="ID", help="the session it belongs to")
    parser.add_argument("--model", default=None, help="for calls that name none")
    parser.add_argument("--max-agents", type=_count, default=None, metavar="N")
    parser.add_argument("--max-cost", type=_dollars, default=None, metavar="USD", help="reaching it pauses the run")
    parser.add_argument(
        "--budget-tokens", type=_count, default=None, metavar="N", help="what the script sees as budget"
    )
    parser.add_argument("--resume-from", default=None, metavar="RUN", help="take over what that run has finished")
    parser.add_argument("--mode", choices=MODES, default=None, help="what counts as unchanged; default: lineage")


def _add_reading(group: "Group") -> None:
    listed = connected(add(group, "list", "list runs, newest first", _list))
    listed.add_argument("--session", default=None, metavar="ID")
    listed.add_argument("--state", default=None, metavar="STATE,...", help="such as running,paused")
    listed.add_argument("--before", default=None, metavar="RUN", help="those that began before it")
    listed.add_argument("--limit", type=_count, default=RUNS_SHOWN, help=f"how many; default: {RUNS_SHOWN}")
    show = _of_run(group, "show", "show one run with its phases and agents", _show)
    show.add_argument("--agent", type=_index, default=None, metavar="INDEX", help="one of its agents in full")
    _of_run(group, "watch", "follow a run live; keys: p x r s f q", _watch)
    _of_run(group, "result", "print what the script returned, as JSON", _result)
    journal = _of_run(group, "journal", "print the run's journal, one JSON object a line", _journal)
    journal.add_argument("--after", type=_index, default=0, metavar="N", help="leave out the first N lines")


def _add_controls(group: "Group") -> None:
    pause = _of_run(group, "pause", "start no more agents until it is resumed", partial(_control, "pause"))
    freeze = "running agents stop too, after the model request in flight"
    pause.add_argument("--freeze", dest="mode", action="store_const", const="freeze", default=None, help=freeze)
    resume = _of_run(group, "resume", "let a paused run go on", partial(_control, "resume"))
    resume.add_argument("--max-cost", dest="maxCostUsd", type=_dollars, default=None, metavar="USD", help="a new cap")
    _of_run(group, "stop", "end it; what is finished can be taken over by a resume", partial(_control, "stop"))
    approve = _of_run(group, "approve", "let a run begin that waits for a person", _approve)
    always = "also later runs of this script, under its name, in this project"
    approve.add_argument("--yes", action="store_true", help="do not show the card, and do not ask")
    approve.add_argument("--always", dest="scope", action="store_const", const="always", default=None, help=always)
    _of_run(group, "deny", "refuse a run that waits for a person", partial(_control, "deny"))
    for name in ("pause", "resume", "stop", "approve", "deny"):
        group.choices[name].add_argument("--why", default=None, help="recorded with your name")
    save = _of_run(group, "save", "save the run's script under a name", partial(_control, "save"))
    save.add_argument("--name", default=None, help="default: the one in the script")
    save.add_argument("--replace", action="store_const", const=True, default=None, help="also if there is one already")


def _add_agent_controls(group: "Group") -> None:
    summaries = {
        "stop": "end one agent; its call gives null",
        "skip": "the same, with the reason 'skipped'",
        "restart": "begin a running agent anew",
    }
    for verb, summary in summaries.items():
        _of_agent(group, f"{verb}-agent", summary, partial(_control_agent, verb))
    message = _of_agent(group, "message", "tell a running agent something", partial(_control_agent, "message"))
    message.add_argument("text")


def _of_run(group: "Group", name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser = connected(add(group, name, summary, run))
    parser.add_argument("run_id", metavar="RUN")
    return parser


def _of_agent(group: "Group", name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser = _of_run(group, name, summary, run)
    parser.add_argument("index", type=_index, metavar="INDEX", help="of the agent, as `runs show` lists it")
    return parser


def _count(text: str) -> int:
    return _number(text, least=1)


def _index(text: str) -> int:
    return _number(text, least=0)


def _number(text: str, *, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 15 and int(text) >= least):
        raise argparse.ArgumentTypeError(f"a whole number from {least}, not {text!r}")
    return int(text)


def _dollars(text: str) -> float:
    if re.fullmatch(r"\$?[0-9]{1,9}(\.[0-9]{1,9})?", text) is None or float(text.lstrip("$")) == 0:
        raise argparse.ArgumentTypeError(f"dollars, such as 2.50, not {text!r}")
    return float(text.lstrip("$"))


def _wanted_of(parsed: argparse.Namespace) -> "Wanted":
    from gateway.commands.run_start import Wanted

    return Wanted(
        file=parsed.file,
        name=parsed.name,
        args=parsed.args,
        workspace=parsed.workspace,
        session=parsed.session,
        model=parsed.model,
        max_agents=parsed.max_agents,
        max_cost_usd=parsed.max_cost,
        budget_tokens=parsed.budget_tokens,
        resume_from=parsed.resume_from,
        mode=parsed.mode,
    )


def _start(parsed: argparse.Namespace) -> int:
    from gateway.commands.run_start import Person, start_run
    from gateway.commands.run_wait import wait_for_run
    from gateway.commands.watch import watch_run

    if parsed.watch and parsed.json:
        raise CommandFailed("--watch draws on the terminal; with --json use --wait", EXIT_USAGE)
    client = client_of(parsed)
    person = Person(input if sys.stdin.isatty() else None, os.environ, yes=parsed.yes)
    launch = start_run(client, _wanted_of(parsed), person, as_json=parsed.json)
    if parsed.watch:
        return watch_run(client, launch.run_id)
    return wait_for_run(client, launch.run_id, as_json=parsed.json) if parsed.wait else EXIT_DONE


def _dry_run(parsed: argparse.Namespace) -> int:
    from gateway.commands.run_start import dry_run

    return dry_run(client_of(parsed), _wanted_of(parsed), as_json=parsed.json)


def _plan(parsed: argparse.Namespace) -> int:
    from gateway.commands.run_start import Wanted
    from gateway.commands.runs import plan_resume

    wanted = Wanted(file=parsed.script, args=parsed.args, resume_from=parsed.run_id, mode=parsed.mode)
    plan_resume(client_of(parsed), parsed.run_id, wanted, as_json=parsed.json)
    return EXIT_DONE


def _list(parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import list_runs

    query = {name: getattr(parsed, name) for name in ("session", "state", "before", "limit")}
    list_runs(client_of(parsed), query, as_json=parsed.json)
    return EXIT_DONE


def _show(parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import show_agent, show_run

    if parsed.agent is not None:
        show_agent(client_of(parsed), parsed.run_id, parsed.agent, as_json=parsed.json)
    else:
        show_run(client_of(parsed), parsed.run_id, as_json=parsed.json)
    return EXIT_DONE


def _watch(parsed: argparse.Namespace) -> int:
    from gateway.commands.run_wait import wait_for_run
    from gateway.commands.watch import watch_run

    if parsed.json:
        return wait_for_run(client_of(parsed), parsed.run_id, as_json=True)
    return watch_run(client_of(parsed), parsed.run_id)


def _result(parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import print_result

    print_result(client_of(parsed), parsed.run_id)
    return EXIT_DONE


def _journal(parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import print_journal

    print_journal(client_of(parsed), parsed.run_id, parsed.after)
    return EXIT_DONE


def _control(verb: str, parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import control_run

    control_run(client_of(parsed), parsed.run_id, verb, _order_of(parsed), as_json=parsed.json)
    return EXIT_DONE


def _approve(parsed: argparse.Namespace) -> int:
    from gateway.commands.run_start import Person, approve_run
    from gateway.commands.runs import control_run

    client = client_of(parsed)
    person = Person(input if sys.stdin.isatty() and not parsed.json else None, os.environ, yes=parsed.yes)
    body = approve_run(client, parsed.run_id, _order_of(parsed), person)
    control_run(client, parsed.run_id, "approve", body, as_json=parsed.json)
    return EXIT_DONE


def _order_of(parsed: argparse.Namespace) -> dict[str, Any]:
    names = ("mode", "maxCostUsd", "scope", "why", "name", "replace")
    return {name: value for name in names if (value := getattr(parsed, name, None)) is not None}


def _control_agent(verb: str, parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import control_agent

    body = {"text": parsed.text} if verb == "message" else {}
    control_agent(client_of(parsed), (parsed.run_id, parsed.index), verb, body, as_json=parsed.json)
    return EXIT_DONE


def _draft(parsed: argparse.Namespace) -> int:
    from gateway.commands.runs import draft_workflow

    folder = str(parsed.workspace.absolute()) if parsed.workspace is not None else None
    wanted = {"task": parsed.task, "workspace": folder, "model": parsed.model}
    body = {name: value for name, value in wanted.items() if value is not None}
    return draft_workflow(client_of(parsed), body, parsed.output, as_json=parsed.json)
