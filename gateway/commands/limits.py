"""Limits as a table, whoever asked for them. Asks nothing itself: `live.py`, `explain.py`."""

from collections.abc import Sequence

from rich.table import Table

from gateway.commands.output import amount, moment, plain, table
from gateway.core.money.standing import Standing
from gateway.core.money.windows import rolling_ms


def limit_table(title: str, limits: Sequence[Standing]) -> Table:
    """One line each; what only some limits have is a column only when one of them has it."""
    partial = any(row.models or row.backends for row in limits)
    columns = ("account", "meter", "window", *(("only",) if partial else ()))
    numbers = (">limit", ">used", ">held", ">left", ">%")
    rows = table(title, *columns, *numbers, "at the limit", "warns at", "resets", "from")
    for row in limits:
        is_new = row.account != "org" and ":" not in row.account
        only = (", ".join((*row.models, *row.backends)) or "-",) if partial else ()
        amounts = (amount(row.meter, each) for each in (row.max, row.used, row.held, row.left))
        texts = (f"{row.account} (a new one)" if is_new else row.account, row.meter, _window(row), *only, *amounts)
        rest = (str(row.percent), _on_reach(row), _warnings(row), _resets(row), _origin(row))
        rows.add_row(*(plain(text) for text in (*texts, *rest)))
    return rows


def _window(row: Standing) -> str:
    return "at once" if row.meter == "active_requests" else row.window


def _on_reach(row: Standing) -> str:
    return f"{row.on_reach}, strict" if row.strict else row.on_reach


def _warnings(row: Standing) -> str:
    return ", ".join(f"{at}% (passed)" if at in row.warned else f"{at}%" for at in row.warn_at) or "-"


def _resets(row: Standing) -> str:
    """A rolling window gives back bit by bit, from that moment on."""
    since = "from " if rolling_ms(row.window) and row.resets_at_ms is not None else ""
    return since + moment(row.resets_at_ms)


def _origin(row: Standing) -> str:
    """The entry as `ringfence check` names it too, or the operators' id, and whose limit it is."""
    return f"{row.id or row.source}, {row.set_on if row.per is None else f'each {row.per} of {row.set_on}'}"
