"""What a client is told of its user's own spend and limits."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow, Series
from gateway.core.spend_api.usage import usage_body

CENT = 10_000_000
CASES: list[Any] = json.loads((Path(__file__).parents[3] / "golden/spend_limits/usage.json").read_text())
NOTHING = {"daily": 0, "weekly": 0, "monthly": 0}


def view(period: str, cents: int, resets_at: int | None = 1_767_312_000, **fields: Any) -> LimitView:
    row = LimitRow("org", cents * CENT, period, per="user", **fields)
    resets_at_ms = None if resets_at is None else resets_at * 1000
    return LimitView(row.series("user:alice"), row, 0, 0, resets_at_ms)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_body_is_the_recorded_one(case: Any) -> None:
    views = [view(limit["period"], limit["limit_cents"], limit["resets_at"]) for limit in case["limits"]]
    spent = {period: cents * CENT for period, cents in case["spent_cents"].items()}
    assert usage_body("alice", views, spent) == case["reply"]


@pytest.mark.parametrize(
    ("spent", "severity"),
    [(0, "normal"), (74, "normal"), (75, "warning"), (94, "warning"), (95, "critical"), (100, "critical")],
)
def test_severity_follows_the_thresholds_of_the_limit(spent: int, severity: str) -> None:
    body = usage_body("alice", [view("daily", 100)], NOTHING | {"daily": spent * CENT})
    assert [(limit["severity"], limit["percent"]) for limit in body["limits"]] == [(severity, spent)]


def test_one_threshold_warns_until_the_limit_is_reached() -> None:
    severities = [
        usage_body("alice", [view("daily", 100, warn_at=(50,))], NOTHING | {"daily": spent * CENT})["limits"][0]
        for spent in (49, 50, 99, 100)
    ]
    assert [limit["severity"] for limit in severities] == ["normal", "warning", "warning", "critical"]


def test_limit_of_zero_is_full() -> None:
    body = usage_body("alice", [view("daily", 0)], NOTHING)
    assert (body["limits"][0]["percent"], body["extra_usage"]["daily"]["limit"]) == (100, 0)


def test_limits_of_others_and_of_other_meters_are_not_shown() -> None:
    views = [
        view("hourly", 1),
        view("total", 1, None),
        view("daily", 1, on_reach="warn"),
        view("daily", 1, models=("claude-*",)),
        view("daily", 1, meter="requests"),
        view("daily", 1)._replace(series=Series("org", "cost", "daily")),
        view("daily", 1)._replace(row=None),
    ]
    assert usage_body("alice", views, NOTHING)["limits"] == []


def test_fraction_of_a_cent_is_shown() -> None:
    body = usage_body("alice", [], NOTHING | {"monthly": 300_400_000})
    assert body["extra_usage"]["used_credits"] == 30.04
