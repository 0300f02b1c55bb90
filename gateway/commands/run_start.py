"""`ringfence runs start`: the card, the question, the launch. What comes after it is `run_wait.py`'s and `watch.py`'s.

Consent is given for the script that was shown: its hash goes with the launch, and another script is refused.
"""

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands.client import GatewayClient, GatewayRefused, path_part
from gateway.commands.output import (
    EXIT_DONE,
    EXIT_RUN_FAILED,
    EXIT_RUN_STOPPED,
    EXIT_USAGE,
    CommandFailed,
    plain,
    print_json,
    print_json_line,
    print_rich,
)
from gateway.commands.run_card import Card, choose, print_card
from gateway.commands.run_rows import RunRow
from gateway.commands.run_words import next_steps
from gateway.commands.workflows import read_script
from gateway.contract import ADMIN_PREFIX, RUNS_PATH

CHECK_SECONDS = 60.0
"""A check rehearses the script."""
POLICY_STATUS = 451
RUNS = RUNS_PATH.removeprefix(ADMIN_PREFIX)
NEAR_CHARS = 20
ARGS_HINT = """write an object or a list, such as '{"root": "src"}', a text with quotes of its own, '"src"', or @FILE"""
NOBODY_TO_ASK = (
    "somebody has to approve this script, and there is no terminal to ask at: "
    "look at it with `ringfence runs dry-run`, then start it with --yes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to start, and with which limits."""

    file: Path | None = None
    name: str | None = None
    args: str | None = None
    workspace: Path | None = None
    session: str | None = None
    model: str | None = None
    max_agents: int | None = None
    max_cost_usd: float | None = None
    budget_tokens: int | None = None
    resume_from: str | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Who sits at the terminal, if anybody."""

    ask: Callable[[str], str] | None
    """Shows a question and returns the line that was typed."""
    environ: Mapping[str, str]
    yes: bool = False
    """They have said so beforehand."""


class Launch(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of a start."""

    run_id: str
    status: str = ""
    state: str | None = None
    workflow_name: str = ""
    summary: str = ""
    approval: str | None = None
    warning: str | None = None


def body_of(wanted: Wanted) -> dict[str, Any]:
    """What the gateway is asked. Raises CommandFailed."""
    if wanted.file is None and wanted.name is None and wanted.resume_from is None:
        raise CommandFailed("name a script's FILE, --name of a saved one, or --resume-from an earlier run", EXIT_USAGE)
    if wanted.file is not None and wanted.name is not None:
        raise CommandFailed("name a FILE or --name, not both", EXIT_USAGE)
    body = {
        "script": read_script(wanted.file) if wanted.file is not None else None,
        "name": wanted.name,
        "session": wanted.session,
        "workspace": str(wanted.workspace.absolute()) if wanted.workspace is not None else None,
        "model": wanted.model,
        "maxAgents": wanted.max_agents,
        "maxCostUsd": wanted.max_cost_usd,
        "budgetTokens": wanted.budget_tokens,
        "resumeFromRunId": wanted.resume_from,
        "resumeMode": wanted.mode,
    }
    given = {name: value for name, value in body.items() if value is not None}
    return given if wanted.args is None else given | {"args": read_args(wanted.args)}


def read_args(text: str) -> Any:
    """JSON, or `@file` that holds some. Raises CommandFailed."""
    source = text
    try:
        if text.startswith("@"):
            source = Path(text[1:]).read_text(encoding="utf-8-sig")
        return json.loads(source)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + NEAR_CHARS]
        where = f"line {error.lineno}, column {error.colno}: {f'not {rest!r}' if rest else 'it ends too soon'}"
        raise CommandFailed(f"{_given(text)} is no JSON ({where}); {ARGS_HINT}", EXIT_USAGE) from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{_given(text)} is no text in UTF-8", EXIT_USAGE) from None
    except (RecursionError, ValueError):
        text = f"{_given(text)} is nested too deeply, or has a number of too many digits"
        raise CommandFailed(text, EXIT_USAGE) from None
    except OSError as error:
        raise CommandFailed(f"{_given(text)} cannot be read: {error.strerror}", EXIT_USAGE) from None


def _given(text: str) -> str:
    return f"--args: {text[1:]}" if text.startswith("@") else "--args"


def start_run(client: GatewayClient, wanted: Wanted, person: Person, *, as_json: bool) -> Launch:
    """Ask whoever has to be asked, and start it. Raises CommandFailed."""
    body = body_of(wanted)
    with _telling(wanted, as_json=as_json):
        body = body | {"consent": "once"} if person.yes else _agreed(client, wanted, person, body)
        launch = client.order(RUNS, body, Launch)
    if as_json:
        print_json_line(launch)
        return launch
    state = f" and is {launch.state}" if launch.state else ""
    lines = [f"{launch.run_id} ({launch.workflow_name}) was started{state}: {launch.summary}"]
    lines += [f"warning: {launch.warning}"] if launch.warning else []
    if launch.state == "pending_approval":
        why = f" ({launch.approval})" if launch.approval else ""
        steps = next_steps(client.read(f"{RUNS}/{path_part(launch.run_id)}", RunRow))
        lines.append(": ".join([f"it waits for a person{why}", *steps]))
    print_rich(*map(plain, lines))
    return launch


def approve_run(client: GatewayClient, run: str, body: dict[str, Any], person: Person) -> dict[str, Any]:
    """The order by which a run that waits begins: bound to the script on the card, when there is somebody to show it.

    Raises CommandFailed.
    """
    path = f"{RUNS}/{path_part(run)}"
    waits = client.read(path, RunRow).approval
    if person.ask is None or person.yes or waits is None or waits.by == "policy":
        return body
    patient = GatewayClient(client.url, client.credential, CHECK_SECONDS)
    card = patient.read(f"{path}/card", Card)
    print_card(card)
    choice = choose(card, person.ask, editable=False)
    if choice == "no":
        raise CommandFailed(
            f"not approved, and it still waits; `ringfence runs deny {run}` refuses it", EXIT_RUN_STOPPED
        )
    return {"scope": choice, "scriptSha256": card.consent.script_sha256} | body


def dry_run(client: GatewayClient, wanted: Wanted, *, as_json: bool) -> int:
    """Show the card, start nothing."""
    with _telling(wanted, as_json=as_json):
        card = _check(client, body_of(wanted))
    if as_json:
        print_json(card)
    else:
        print_card(msgspec.convert(card, Card))
    return EXIT_DONE


def _check(client: GatewayClient, body: dict[str, Any]) -> dict[str, Any]:
    patient = GatewayClient(client.url, client.credential, CHECK_SECONDS)
    return patient.send(f"{RUNS}/dry-run", body, dict[str, Any])


def _agreed(client: GatewayClient, wanted: Wanted, person: Person, body: dict[str, Any]) -> dict[str, Any]:
    """The launch of exactly what was shown. An edited script is checked and shown anew (W140)."""
    while True:
        card = msgspec.convert(_check(client, body), Card)
        shown = body | ({"scriptSha256": card.consent.script_sha256} if card.consent.script_sha256 else {})
        if not card.approval.needed:
            return shown
        if person.ask is None:
            raise CommandFailed(NOBODY_TO_ASK, EXIT_RUN_STOPPED)
        print_card(card)
        choice = choose(card, person.ask, editable=wanted.file is not None)
        if choice == "no":
            raise CommandFailed("not started", EXIT_RUN_STOPPED)
        if choice != "edit":
            return shown | {"consent": choice}
        assert wanted.file is not None
        edit(wanted.file, person.environ)
        body = body | {"script": read_script(wanted.file)}


def edit(file: Path, environ: Mapping[str, str]) -> None:
    """Open it in the user's editor. Raises CommandFailed."""
    editor = environ.get("VISUAL") or environ.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), os.fspath(file)], check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise CommandFailed(f"the editor {editor!r} failed ({error}); set EDITOR") from None


@contextlib.contextmanager
def _telling(wanted: Wanted, *, as_json: bool) -> Generator[None]:
    """Refusals of scripts and of runs have exit codes of their own, and scripts a place."""
    try:
        yield
    except GatewayRefused as refused:
        error = refused.error
        if as_json:
            print_json_line({"error": error})
        if error.get("type") == "invalid_script":
            message = str(plain(f"{wanted.file or wanted.name or wanted.resume_from}:{error.get('message')}"))
            raise GatewayRefused(message, refused.status, error, EXIT_RUN_FAILED) from None
        if refused.status == POLICY_STATUS:
            raise GatewayRefused(refused.message, refused.status, error, EXIT_RUN_STOPPED) from None
        raise
