"""Arguments of the commands about agents at work: `ringfence fuses | sessions | approvals | workflows`."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from gateway.commands.arguments import add, client_of, connected
from gateway.commands.output import EXIT_DONE
from gateway.commands.run_arguments import add_draft_command
from gateway.core.oversight.approvals import Scope, State, Verdict
from gateway.core.oversight.controls import ACTIONS, Action

if TYPE_CHECKING:
    from gateway.commands.arguments import Group

SESSIONS_SHOWN = 20
APPROVALS_SHOWN = 20


def add_agent_commands(commands: "Group") -> None:
    """Add the four groups."""
    _add_fuses(commands)
    _add_sessions(commands)
    _add_approvals(commands)
    _add_workflows(commands)


def _add_fuses(commands: "Group") -> None:
    fuses = commands.add_parser("fuses", help="show and replace fuses").add_subparsers(required=True, metavar="COMMAND")
    connected(add(fuses, "list", "list fuses that warned, blew or were replaced", _show_fuses))
    connected(add(fuses, "show", "show one fuse, with the evidence of a loop", _show_fuse)).add_argument("id")
    replace = connected(add(fuses, "replace", "replace a blown fuse", _replace_fuse))
    replace.add_argument("id")
    replace.add_argument("--reason", required=True, help="recorded with your name")


def _add_sessions(commands: "Group") -> None:
    sessions = connected(add(commands, "sessions", "show sessions as agent trees; stop, hold, release", _show_sessions))
    sessions.add_argument("--limit", type=int, default=SESSIONS_SHOWN, help=f"how many; default: {SESSIONS_SHOWN}")
    within = sessions.add_subparsers(metavar="COMMAND")
    connected(add(within, "show", "show one session", _show_session), within=True).add_argument("session", metavar="ID")
    connected(add(within, "controls", "list what is stopped or held", _show_controls), within=True)
    summaries = {
        "stop": "end its requests now and refuse those to come, until it is released",
        "hold": "let its requests wait, until it is released",
        "release": "let it go on",
    }
    for action in ACTIONS:
        change = connected(add(within, action, summaries[action], partial(_change_control, action)), within=True)
        change.add_argument("session", nargs="?", metavar="ID", default=None)
        change.add_argument("--agent", default=None, help="only this agent of the session, and those it started")
        change.add_argument(
            "--run", dest="workflow_run", metavar="RUN", default=None, help="a run of a workflow script"
        )
        change.add_argument("--user", default=None, help="all sessions of a user")
        change.add_argument("--team", default=None, help="all sessions of a team")
        change.add_argument("--everything", action="store_true", help="everybody's")
        change.add_argument("--reason", required=True, help="shown to the agents' clients, recorded with your name")


def _add_approvals(commands: "Group") -> None:
    summary = "show and decide what waits for a person"
    group = commands.add_parser("approvals", help=summary).add_subparsers(required=True, metavar="COMMAND")
    listed = connected(add(group, "list", "list what waits, or was decided lately", _list_approvals))
    listed.add_argument("--state", choices=get_args(State), default=None)
    listed.add_argument("--limit", type=int, default=APPROVALS_SHOWN, help=f"how many; default: {APPROVALS_SHOWN}")
    connected(add(group, "show", "show one, with its whole script", _show_approval)).add_argument("id")
    approve = _deciding(group, "approve", "let it go on")
    scopes = "once: this one; session: the same in this session; always: the same, for everybody; default: once"
    approve.add_argument("--scope", choices=get_args(Scope), default="once", help=scopes)
    approve.add_argument("--why", default="")
    _deciding(group, "deny", "refuse it; the agent is told why").add_argument("--why", required=True)
    _deciding(group, "revoke", "take back an approval that is remembered").add_argument("--why", default="")


def _deciding(group: "Group", name: Verdict, summary: str) -> argparse.ArgumentParser:
    parser = connected(add(group, name, summary, partial(_decide_approval, name)))
    parser.add_argument("id")
    return parser


def _add_workflows(commands: "Group") -> None:
    summary = "profile workflow scripts, and approve them for good"
    group = commands.add_parser("workflows", help=summary).add_subparsers(required=True, metavar="COMMAND")
    profile = add(group, "profile", "print what can be told of a script without running it", _profile_script)
    profile.add_argument("file", type=Path)
    profile.add_argument("--json", action="store_true", help="print JSON")
    connected(add(group, "list", "list scripts that are approved, wait to be, or were", _list_scripts))
    approve = connected(add(group, "approve", "approve a script for good", _approve_script))
    approve.add_argument("script", metavar="FILE|SHA256")
    approve.add_argument("--why", required=True)
    revoke = connected(add(group, "revoke", "approve a script no more", _revoke_script))
    revoke.add_argument("script", metavar="SHA256")
    revoke.add_argument("--why", default="")
    add_draft_command(group)


def _show_fuses(parsed: argparse.Namespace) -> int:
    from gateway.commands.live import show_fuses

    show_fuses(client_of(parsed), as_json=parsed.json)
    return EXIT_DONE


def _show_fuse(parsed: argparse.Namespace) -> int:
    from gateway.commands.live import show_fuse

    show_fuse(client_of(parsed), parsed.id, as_json=parsed.json)
    return EXIT_DONE


def _replace_fuse(parsed: argparse.Namespace) -> int:
    from gateway.commands.live import replace_fuse

    replace_fuse(client_of(parsed), parsed.id, parsed.reason, as_json=parsed.json)
    return EXIT_DONE


def _show_sessions(parsed: argparse.Namespace) -> int:
    from gateway.commands.live import show_sessions

    show_sessions(client_of(parsed), None, parsed.limit, as_json=parsed.json)
    return EXIT_DONE


def _show_session(parsed: argparse.Namespace) -> int:
    from gateway.commands.live import show_sessions

    show_sessions(client_of(parsed), parsed.session, parsed.limit, as_json=parsed.json)
    return EXIT_DONE


def _show_controls(parsed: argparse.Namespace) -> int:
    from gateway.commands.controls import show_controls

    show_controls(client_of(parsed), as_json=parsed.json)
    return EXIT_DONE


def _change_control(action: Action, parsed: argparse.Namespace) -> int:
    from gateway.commands.controls import Wanted, change_control

    wanted = Wanted(
        session=parsed.session,
        agent=parsed.agent,
        run=parsed.workflow_run,
        user=parsed.user,
        team=parsed.team,
        everything=parsed.everything,
    )
    change_control(client_of(parsed), action, wanted, parsed.reason, as_json=parsed.json)
    return EXIT_DONE


def _list_approvals(parsed: argparse.Namespace) -> int:
    from gateway.commands.approvals import list_approvals

    list_approvals(client_of(parsed), parsed.state, parsed.limit, as_json=parsed.json)
    return EXIT_DONE


def _show_approval(parsed: argparse.Namespace) -> int:
    from gateway.commands.approvals import show_approval

    show_approval(client_of(parsed), parsed.id, as_json=parsed.json)
    return EXIT_DONE


def _decide_approval(verdict: Verdict, parsed: argparse.Namespace) -> int:
    from gateway.commands.approvals import Said, decide_approval

    said = Said(verdict, getattr(parsed, "scope", "once"), parsed.why)
    decide_approval(client_of(parsed), parsed.id, said, as_json=parsed.json)
    return EXIT_DONE


def _profile_script(parsed: argparse.Namespace) -> int:
    from gateway.app import profile_script as profile
    from gateway.commands.workflows import profile_script

    return profile_script(parsed.file, profile, as_json=parsed.json)


def _list_scripts(parsed: argparse.Namespace) -> int:
    from gateway.commands.workflows import list_scripts

    list_scripts(client_of(parsed), as_json=parsed.json)
    return EXIT_DONE


def _approve_script(parsed: argparse.Namespace) -> int:
    from gateway.commands.workflows import approve_script

    approve_script(client_of(parsed), parsed.script, parsed.why, as_json=parsed.json)
    return EXIT_DONE


def _revoke_script(parsed: argparse.Namespace) -> int:
    from gateway.commands.workflows import revoke_script

    revoke_script(client_of(parsed), parsed.script, parsed.why, as_json=parsed.json)
    return EXIT_DONE
