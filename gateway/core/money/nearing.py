"""What an agent is told when money for its own work runs low, so that it can finish instead of being cut.

Only limits of its session, run or of itself: what a whole team has left is nothing that one agent should act on.
"""

from collections.abc import Iterable

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import kind_of
from gateway.core.money.pricing import format_usd

OWN_KINDS = frozenset({"session", "run", "agent"})
FINISH = "finish up: complete what is begun, start nothing new, and say what is left undone"


def nearing(views: Iterable[LimitView]) -> list[str]:
    """One sentence for each such limit on cost whose highest reached threshold is told; the same until the next one."""
    return [text for view in views if (text := _sentence(view)) is not None]


def _sentence(view: LimitView) -> str | None:
    row = view.row
    if row is None or not row.max or row.meter != "cost" or kind_of(view.series.account) not in OWN_KINDS:
        return None
    reached = max((percent for percent in row.warn_at if view.used * 100 >= percent * row.max), default=None)
    if reached is None:
        return None
    owner, window = kind_of(view.series.account), "" if row.window == "total" else f"{row.window} "
    return f"{reached} % of this {owner}'s {window}budget of {format_usd(row.max)} is used; {FINISH}."
