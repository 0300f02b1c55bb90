"""The `anthropic-ratelimit-unified-*` headers of a success: how full the fullest spend limit was before the request.

Only what is settled counts as full: what others hold for a moment would make clients warn of what may never be spent.
The headers of a refusal are `budgets.refusal_headers`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gateway.core.money.budgets import LimitView


class _Full(NamedTuple):
    """Spend of a limit; a limit of zero is full."""

    used: int
    most: int
    resets_at_ms: int
    warn_at: tuple[int, ...]


def success_headers(views: Iterable[LimitView]) -> dict[str, str]:
    """Of the limits that apply, as they stood before; none when no limit on cost applies that resets at some time."""
    full = _fullest(views)
    if full is None:
        return {}
    reset = str(full.resets_at_ms // 1000)
    passed = [percent for percent in full.warn_at if full.used * 100 >= percent * full.most]
    status = "allowed_warning" if passed else "allowed"
    headers = {
        "anthropic-ratelimit-unified-status": status,
        "anthropic-ratelimit-unified-reset": reset,
        "anthropic-ratelimit-unified-representative-claim": "overage",
        "anthropic-ratelimit-unified-overage-status": status,
        "anthropic-ratelimit-unified-overage-reset": reset,
        "anthropic-ratelimit-unified-overage-utilization": _share(full.used * 100 // full.most, decimals=2),
    }
    if passed:
        headers["anthropic-ratelimit-unified-overage-surpassed-threshold"] = _share(passed[-1])
    return headers


def _fullest(views: Iterable[LimitView]) -> _Full | None:
    fullest = None
    for view in views:
        row, resets_at_ms = view.row, view.resets_at_ms
        if row is None or row.max is None or row.meter != "cost" or resets_at_ms is None:
            continue
        used, most = (view.used, row.max) if row.max > 0 else (1, 1)
        if fullest is None or used * fullest.most > fullest.used * most:
            fullest = _Full(used, most, resets_at_ms, row.warn_at)
    return fullest


def _share(percent: int, *, decimals: int = 0) -> str:
    """`0.75` of 75, with at least so many decimals; rounded down, so that `1.00` is a limit that is reached."""
    fraction = f"{percent % 100:02d}".rstrip("0").ljust(decimals, "0")
    return f"{percent // 100}.{fraction}" if fraction else str(percent // 100)
