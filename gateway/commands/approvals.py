"""`ringfence approvals`: what waits for a person's word, and the word. Decides nothing itself."""

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from gateway.commands.client import GatewayClient, path_part
from gateway.commands.output import moment, plain, print_json, print_rich, table
from gateway.commands.workflows import print_card
from gateway.core.decisions.decision import ScriptProfile

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Said:
    """What the user of the command says: approve, deny or revoke."""

    verdict: str
    scope: str = "once"
    why: str = ""


class RulingRow(msgspec.Struct):
    """One word on an approval."""

    at_ms: int
    verdict: str
    by: str | None = None
    scope: str = "once"
    why: str = ""
    through: str | None = None


class ApprovalRow(msgspec.Struct):
    """One approval as it is listed."""

    id: str
    kind: str
    title: str
    reason: str
    rules: list[str]
    user: str
    session: str
    agent: str
    decision: str
    asked_at_ms: int
    expires_at_ms: int
    four_eyes: bool
    remember: str
    state: str
    granted: str | None
    decisions: list[RulingRow]
    team: str | None = None
    run: str | None = None
    script_sha256: str | None = None


class ApprovalShown(ApprovalRow):
    """One approval with all that is known of its action."""

    what: dict[str, Any] = {}
    script: str | None = None
    profile: ScriptProfile | None = None


class Approvals(msgspec.Struct):
    """Answer of `/approvals`."""

    approvals: list[ApprovalRow]


def list_approvals(client: GatewayClient, state: str | None, limit: int, *, as_json: bool) -> None:
    """The latest approvals, of one state or of all."""
    answer = client.read("/approvals", Approvals, state=state, limit=limit)
    if as_json:
        print_json(answer)
        return
    rows = table("Approvals", "id", "what", "user", "session", "reason", "state", "asked", "expires", "decided")
    for row in answer.approvals:
        texts = (row.id, row.title, row.user, row.session, row.reason, _state(row))
        rest = (moment(row.asked_at_ms), moment(row.expires_at_ms), _last(row))
        rows.add_row(*(plain(text) for text in (*texts, *rest)))
    nothing = "No approval waits." if state == "waiting" else "No approval was asked for."
    print_rich(rows if answer.approvals else nothing)


def show_approval(client: GatewayClient, id: str, *, as_json: bool) -> None:
    """All that is known of one approval, with the whole script when it is about one."""
    row = client.read(f"/approvals/{path_part(id)}", ApprovalShown)
    if as_json:
        print_json(row)
        return
    eyes = ", by somebody else than " + row.user if row.four_eyes else ""
    lines = [
        f"{row.id}  {row.title}",
        f"{INDENT}state     {_state(row)}",
        f"{INDENT}reason    {row.reason}",
        f"{INDENT}asked     {moment(row.asked_at_ms)} by {row.user}, session {row.session}, agent {row.agent}",
        f"{INDENT}expires   {moment(row.expires_at_ms)}",
        f"{INDENT}may be    approved for '{row.remember}' at most{eyes}",
        f"{INDENT}decision  {row.decision}",
        *(f"{INDENT}said      {_word(each)}" for each in row.decisions),
    ]
    print_rich(*map(plain, lines))
    _print_what(row.what)
    if row.profile is not None:
        print_card(row.profile, row.script_sha256)
    if row.script is not None:
        print_rich("", "script:", *map(plain, row.script.split("\n")))


def decide_approval(client: GatewayClient, id: str, said: Said, *, as_json: bool) -> None:
    """Approve, deny or revoke in the name of the credential's user."""
    row = client.send(f"/approvals/{path_part(id)}", asdict(said), ApprovalShown)
    if as_json:
        print_json(row)
        return
    print_rich(plain(f"{row.id} ({row.title}) is {_state(row)}: {_last(row)}"))


def _print_what(what: dict[str, Any]) -> None:
    """JSON, one member a line; what is cut is said before anything else."""
    if what.get("cut"):
        print_rich(plain(f"{INDENT}NOT ALL of it is shown: it is longer than what is kept for approval"))
    for name, value in what.items():
        if name in ("cut", "profile") or value in (None, [], {}):
            continue
        text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
        first, *more = text.split("\n")
        print_rich(plain(f"{INDENT}{name:<9} {first}"), *(plain(f"{INDENT * 6}{line}") for line in more))


def _state(row: ApprovalRow) -> str:
    return f"{row.state} for '{row.granted}'" if row.granted else row.state


def _last(row: ApprovalRow) -> str:
    return _word(row.decisions[-1]) if row.decisions else "-"


def _word(ruling: RulingRow) -> str:
    who = f" by {ruling.by}" if ruling.by else ""
    through = f" through {ruling.through}" if ruling.through else ""
    why = f": {ruling.why}" if ruling.why else ""
    return f"{ruling.verdict}{who}{through} {moment(ruling.at_ms)}{why}"
