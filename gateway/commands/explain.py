"""`ringfence limits explain`: which limits and fuses a next request meets, shown to people. Decides nothing."""

from collections.abc import Mapping

from rich.console import RenderableType
from rich.table import Table

from gateway.commands.client import GatewayClient
from gateway.commands.output import moment, plain, print_json, print_rich, table
from gateway.core.explain import Explanation, Standing, Subject
from gateway.core.fuse import FuseReading, amount_text
from gateway.core.pricing import format_usd

QUESTIONS: Mapping[str, str] = {
    "user": "whose request; default: the credential's or the session's user",
    "team": "default: the user's",
    "credential": "default: the user's, when there is one",
    "session": "default: a new one",
    "agent": "as SESSION/AGENT; default: the session's main agent",
}
"""What may be told of the request, by the name of its option, and what it means."""


def explain_limits(client: GatewayClient, asked: Mapping[str, str | None], *, as_json: bool) -> None:
    """Every limit and fuse that the next request meets, and one sentence about the first to bite."""
    answer = client.read("/limits/explain", Explanation, **asked)
    if as_json:
        print_json(answer)
        return
    parts: list[RenderableType] = [plain(f"{_who(answer.subject)}: {answer.sentence}")]
    if answer.limits:
        parts += ["", _limits(answer.limits)]
    if answer.fuses:
        parts += ["", _fuses(answer.fuses)]
    print_rich(*parts, *(plain(f"note: {note}") for note in answer.notes))


def _who(subject: Subject) -> str:
    named = {
        "user": subject.user,
        "team": subject.team,
        "credential": subject.credential,
        "session": subject.session,
        "agent": subject.agent,
    }
    return ", ".join(f"{kind} {name}" for kind, name in named.items() if name is not None) or "anybody"


def _limits(limits: tuple[Standing, ...]) -> Table:
    title = "Limits, the least left first"
    rows = table(title, "account", "window", ">limit", ">spent", ">held", ">left", "strict", "resets", "from")
    for row in limits:
        new = " (a new one)" if row.account != "org" and ":" not in row.account else ""
        amounts = (row.limit_nanousd, row.spent_nanousd, row.held_nanousd, row.left_nanousd)
        rows.add_row(
            plain(row.account + new),
            plain(row.window),
            *(format_usd(amount) for amount in amounts),
            "yes" if row.strict else "no",
            moment(row.resets_at_ms),
            plain(_origin(row)),
        )
    return rows


def _origin(row: Standing) -> str:
    """The entry as `ringfence check` names it too."""
    entry = "not the configuration" if row.entry is None else f"budgets[{row.entry}]"
    return f"{entry}, default of each {row.entry_account}" if row.default else f"{entry}, {row.entry_account}"


def _fuses(fuses: tuple[FuseReading, ...]) -> Table:
    rows = table("Fuses", "holder", "scope", "meter", "state", ">value", ">limit", "id")
    for row in fuses:
        value = "-" if row.value is None else amount_text(row.meter, row.value)
        limit = amount_text(row.meter, row.limit)
        rows.add_row(*(plain(text) for text in (row.holder, row.scope, row.meter, row.state, value, limit, row.id)))
    return rows
