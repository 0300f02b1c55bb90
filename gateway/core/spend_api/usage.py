"""What Claude Code shows its user of spend and limits: the body of `GET /api/oauth/usage`. Only the user's own limits.

Amounts are numbers of cents and shares whole percents, because that is what the client reads; both are for people.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gateway.core.money.budgets import LimitView
from gateway.core.money.windows import Window
from gateway.core.spend_api.amounts import CURRENCY, NANOUSD_PER_CENT
from gateway.core.spend_api.limits import format_moment, user_series
from gateway.core.spend_api.settings import PERIODS

FULL_PERCENT = 100


class _Limit(NamedTuple):
    period: Window
    max: int
    percent: int
    severity: str
    resets_at_ms: int


def usage_body(user: str, views: Iterable[LimitView], spent_nanousd: Mapping[Window, int]) -> dict[str, Any]:
    """The answer for `user`: `views` are the limits of all the user's accounts, `spent_nanousd` is by period."""
    series = {user_series(user, period) for period in PERIODS}
    limits = [
        limit
        for view in views
        if view.series in series and (limit := _limit(view, spent_nanousd[view.series.window])) is not None
    ]
    limits.sort(key=lambda limit: PERIODS.index(limit.period))
    most = {limit.period: limit for limit in limits}
    fullest = max(limits, key=lambda limit: (limit.percent, limit.resets_at_ms), default=None)
    monthly = _spend(most.get("monthly"), spent_nanousd["monthly"])
    others = {period: _spend(most.get(period), spent_nanousd[period]) for period in ("daily", "weekly")}
    return {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": monthly.pop("limit"),
            **monthly,
            "currency": CURRENCY,
            **others,
        },
        "limits": [
            {
                "kind": "spend",
                "group": limit.period,
                "percent": limit.percent,
                "resets_at": format_moment(limit.resets_at_ms),
                "severity": limit.severity,
                "is_active": limit is fullest,
            }
            for limit in limits
        ],
    }


def _limit(view: LimitView, spent_nanousd: int) -> _Limit | None:
    row, resets_at_ms = view.row, view.resets_at_ms
    if row is None or row.max is None or not row.guards or resets_at_ms is None:
        return None
    percent = spent_nanousd * 100 // row.max if row.max else FULL_PERCENT
    passed = [each for each in row.warn_at if percent >= each]
    severity = "warning" if passed else "normal"
    if percent >= FULL_PERCENT or (len(passed) > 1 and len(passed) == len(row.warn_at)):
        severity = "critical"
    return _Limit(view.series.window, row.max, percent, severity, resets_at_ms)


def _spend(limit: _Limit | None, spent_nanousd: int) -> dict[str, Any]:
    return {
        "limit": None if limit is None else _cents(limit.max),
        "used_credits": _cents(spent_nanousd),
        "utilization": None if limit is None else limit.percent,
    }


def _cents(nanousd: int) -> int | float:
    return nanousd // NANOUSD_PER_CENT if nanousd % NANOUSD_PER_CENT == 0 else nanousd / NANOUSD_PER_CENT
