"""`ringfence limits explain`: which limits and fuses a next request meets, shown to people. Decides nothing."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from rich.console import RenderableType
from rich.table import Table

from gateway.commands.client import GatewayClient
from gateway.commands.limits import limit_table
from gateway.commands.output import plain, print_json, print_rich, table
from gateway.core.fuses.fuse import FuseReading, amount_text
from gateway.core.inquiries.explain import Explanation
from gateway.core.inquiries.subject import Subject

QUESTIONS: Mapping[str, str] = {
    "user": "whose request; default: the credential's or the session's user",
    "team": "default: the user's",
    "group": "default: the credential's; for one that is not known, as often as there are groups",
    "tag": "as NAME=VALUE; default: the credential's; one more each time",
    "credential": "default: the user's, when there is one",
    "session": "default: a new one",
    "run": "default: none",
    "agent": "as SESSION/AGENT; default: the session's main agent",
}
"""What may be told of the request, by the name of its option, and what it means."""
REPEATED = ("group", "tag")
"""Those that may be given more than once."""

Answered = str | Sequence[str] | None


def explain_limits(client: GatewayClient, asked: Mapping[str, Answered], *, as_json: bool) -> None:
    """Every limit and fuse that the next request meets, and one sentence about the first to bite."""
    query = urlencode({name: value for name, value in asked.items() if value}, doseq=True)
    answer = client.read(f"/limits/explain?{query}", Explanation)
    if as_json:
        print_json(answer)
        return
    parts: list[RenderableType] = [plain(f"{_who(answer.subject)}: {answer.sentence}")]
    if answer.limits:
        parts += ["", limit_table("Limits, the first to bite first", answer.limits)]
    if answer.fuses:
        parts += ["", _fuses(answer.fuses)]
    print_rich(*parts, *(plain(f"note: {note}") for note in answer.notes))


def _who(subject: Subject) -> str:
    named = [
        ("user", subject.user),
        ("team", subject.team),
        *(("group", group) for group in subject.groups),
        *(("tag", f"{name}={value}") for name, value in subject.tags.items()),
        ("credential", subject.credential),
        ("session", subject.session),
        ("run", subject.run),
        ("agent", subject.agent),
    ]
    return ", ".join(f"{kind} {name}" for kind, name in named if name is not None) or "anybody"


def _fuses(fuses: tuple[FuseReading, ...]) -> Table:
    rows = table("Fuses", "holder", "scope", "meter", "state", ">value", ">limit", "id")
    for row in fuses:
        value = "-" if row.value is None else amount_text(row.meter, row.value)
        limit = amount_text(row.meter, row.limit)
        rows.add_row(*(plain(text) for text in (row.holder, row.scope, row.meter, row.state, value, limit, row.id)))
    return rows
