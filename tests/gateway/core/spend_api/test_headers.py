"""What a success tells of the fullest spend limit."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow
from gateway.core.spend_api.headers import success_headers

CENT = 10_000_000
CASES: list[Any] = json.loads((Path(__file__).parents[3] / "golden/spend_limits/success_headers.json").read_text())
UTILIZATION = "anthropic-ratelimit-unified-overage-utilization"
THRESHOLD = "anthropic-ratelimit-unified-overage-surpassed-threshold"


def view(used: int, most: int | None, resets_at_ms: int | None = 5_999, held: int = 0, **fields: Any) -> LimitView:
    row = LimitRow("org", most, fields.pop("window", "daily"), **fields)
    return LimitView(row.series("org"), row, used, held, resets_at_ms)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_headers_are_the_recorded_ones(case: Any) -> None:
    views = [
        view(each["spent_cents"] * CENT, each["limit_cents"] * CENT, each["resets_at"] * 1000, window=each["period"])
        for each in case["limits"]
    ]
    assert success_headers(views) == case["headers"]


@pytest.mark.parametrize(
    ("used", "share", "threshold"),
    [
        (0, "0.00", None),
        (1, "0.00", None),
        (7_499, "0.74", None),
        (7_500, "0.75", "0.75"),
        (9_499, "0.94", "0.75"),
        (9_500, "0.95", "0.95"),
        (9_999, "0.99", "0.95"),
        (10_000, "1.00", "0.95"),
        (12_700, "1.27", "0.95"),
    ],
)
def test_share_is_rounded_down_and_the_last_threshold_told(used: int, share: str, threshold: str | None) -> None:
    headers = success_headers([view(used, 10_000)])
    assert (headers[UTILIZATION], headers.get(THRESHOLD)) == (share, threshold)
    assert headers["anthropic-ratelimit-unified-reset"] == "5"


@pytest.mark.parametrize(("warn_at", "threshold"), [((50, 80), "0.8"), ((100,), "1"), ((5,), "0.05"), ((), None)])
def test_thresholds_are_those_of_the_limit(warn_at: tuple[int, ...], threshold: str | None) -> None:
    headers = success_headers([view(100, 100, warn_at=warn_at)])
    assert headers.get(THRESHOLD) == threshold
    status = "allowed" if threshold is None else "allowed_warning"
    assert headers["anthropic-ratelimit-unified-overage-status"] == status


@pytest.mark.parametrize(
    "silent",
    [
        view(1, 100, meter="requests"),
        view(1, 100, None, window="total"),
        view(1, None),
        view(1, 100)._replace(row=None),
    ],
)
def test_what_is_no_spend_limit_with_a_reset_tells_nothing(silent: LimitView) -> None:
    assert success_headers([silent]) == {}
    assert success_headers([silent, view(1, 100)])[UTILIZATION] == "0.01"


def test_what_others_hold_does_not_count_and_a_warning_limit_does() -> None:
    assert success_headers([view(10, 100, held=90)])[UTILIZATION] == "0.10"
    assert success_headers([view(130, 100, on_reach="warn")])[UTILIZATION] == "1.30"
    assert success_headers([view(0, 0, on_reach="warn")])[UTILIZATION] == "1.00"


amounts = st.integers(0, 10**18)


@given(st.lists(st.tuples(amounts, st.integers(1, 10**18)), min_size=1, max_size=5))
def test_share_is_the_greatest_of_all(limits: list[tuple[int, int]]) -> None:
    headers = success_headers([view(used, most) for used, most in limits])
    hundredths = int(headers[UTILIZATION].replace(".", ""))
    assert hundredths == max(used * 100 // most for used, most in limits)
