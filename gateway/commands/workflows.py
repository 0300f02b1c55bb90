"""`ringfence workflows`: the card of a script, and the registry of approved ones. A script is read, never run."""

from hashlib import sha256
from pathlib import Path

import msgspec

from gateway.commands.client import GatewayClient, path_part
from gateway.commands.output import EXIT_DONE, EXIT_FAILED, CommandFailed, moment, plain, print_json, print_rich, table
from gateway.commands.run_words import several
from gateway.core.decisions.decision import CallSite, ScriptProfile
from gateway.core.oversight.scripts import is_sha256
from gateway.ports import ScriptProfiler

SCRIPT_BYTES_MAX = 1024 * 1024
UNKNOWN = "\ufffd"


class ScriptRow(msgspec.Struct):
    """One script of the registry."""

    sha256: str
    state: str
    at_ms: int
    name: str | None = None
    by: str | None = None
    why: str = ""
    profile: ScriptProfile | None = None


class Scripts(msgspec.Struct):
    """Answer of `/scripts`."""

    scripts: list[ScriptRow]


class Card(msgspec.Struct):
    """What `workflows profile --json` prints."""

    sha256: str
    profile: ScriptProfile


def profile_script(path: Path, profile: ScriptProfiler, *, as_json: bool) -> int:
    """Print the card of a script; the exit code tells whether it is valid."""
    text = read_script(path)
    card = Card(sha256(text.encode()).hexdigest(), profile(text))
    if as_json:
        print_json(card)
    else:
        print_card(card.profile, card.sha256)
    return EXIT_DONE if card.profile.valid else EXIT_FAILED


def list_scripts(client: GatewayClient, *, as_json: bool) -> None:
    """Scripts that are approved, wait to be, or were."""
    answer = client.read("/scripts", Scripts)
    if as_json:
        print_json(answer)
        return
    rows = table("Scripts", "sha256", "name", "state", "agents", "by", "at", "why")
    for row in answer.scripts:
        most = "-" if row.profile is None else _most(row.profile)
        texts = (row.sha256, row.name or "-", row.state, most, row.by or "-", moment(row.at_ms), row.why)
        rows.add_row(*map(plain, texts))
    print_rich(rows if answer.scripts else "No script was approved or asked for.")


def approve_script(client: GatewayClient, which: str, why: str, *, as_json: bool) -> None:
    """Approve a script for good: a file, or the hash of one that was asked for."""
    is_hash = is_sha256(which) and not Path(which).exists()
    body = {"sha256": which, "why": why} if is_hash else {"script": read_script(Path(which)), "why": why}
    row = client.send("/scripts", body, ScriptRow)
    _say(row, as_json=as_json)


def revoke_script(client: GatewayClient, which: str, why: str, *, as_json: bool) -> None:
    """Approve it no more."""
    row = client.send(f"/scripts/{path_part(which)}/revoke", {"why": why}, ScriptRow)
    _say(row, as_json=as_json)


def print_card(profile: ScriptProfile, digest: str | None) -> None:
    """What can be told of a script without running it, as people read it."""
    name = profile.name or "(no name)"
    nested = f", and {several(profile.nested_workflows, 'nested workflow')}" if profile.nested_workflows else ""
    lines = [
        f"workflow {name}: {profile.description or '(no description)'}",
        f"  sha256    {digest or '-'}",
        f"  valid     {'yes' if profile.valid else 'no'}",
        f"  agents    {_most(profile)}, from {several(profile.agent_calls, 'call site')}{nested}",
        *(f"  phase     {each.title}{_aside(each.detail)}{_aside(each.model)}" for each in profile.planned),
        *_listed("models", profile.models),
        *_listed("types", profile.agent_types),
        *_listed("isolation", profile.isolations),
        *_listed("efforts", profile.efforts),
        *(f"  line {site.line:<4} agent{_options(site)}" for site in profile.sites),
        *(f"  line {each.line:<4} {each.call} of {_width(each.width)}" for each in profile.widths),
        *(f"  line {each.line:<4} no visible bound: {each.what}" for each in profile.unbounded),
        *(f"  problem   {problem}" for problem in profile.problems),
    ]
    print_rich(*map(plain, lines))


def _say(row: ScriptRow, *, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        print_rich(plain(f"script {row.sha256} ({row.name or 'no name'}) is {row.state}, by {row.by}"))


def read_script(path: Path) -> str:
    """The text exactly as it is: its hash is what is approved. Raises CommandFailed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror or error}); name a script's file, or the hash of one"
        raise CommandFailed(problem) from None
    if len(content) > SCRIPT_BYTES_MAX:
        raise CommandFailed(f"{path} is larger than {SCRIPT_BYTES_MAX} bytes; is it a workflow script?")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandFailed(f"{path} is not UTF-8 text; is it a workflow script?") from None


def _most(profile: ScriptProfile) -> str:
    return "no visible bound" if profile.fan_out is None else f"at most {profile.fan_out}"


def _width(width: int | None) -> str:
    return "unknown width" if width is None else str(width)


def _aside(text: str | None) -> str:
    return f" ({text})" if text else ""


def _listed(name: str, values: tuple[str, ...]) -> list[str]:
    return [f"  {name:<9} {', '.join(values)}"] if values else []


def _options(site: CallSite) -> str:
    given = {
        "label": site.label,
        "phase": site.phase,
        "model": site.model,
        "type": site.agent_type,
        "isolation": site.isolation,
        "effort": site.effort,
    }
    texts = [f"{name} {value.replace(UNKNOWN, '?')}" for name, value in given.items() if value is not None]
    texts += ["schema"] if site.schema else []
    texts += ["further options that cannot be seen"] if site.more else []
    return f" ({', '.join(texts)})" if texts else ""
