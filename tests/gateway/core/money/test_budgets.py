"""How a limit looks, and how a refusal reads."""

import pytest

from gateway.core.money.budgets import (
    PACING_SECONDS,
    Exhausted,
    Hold,
    LimitView,
    amount_text,
    format_minute,
    limit_text,
    of,
    refusal_headers,
    reset_last,
)
from gateway.core.money.limits import METERS, Amounts, LimitRow, Meter, Series
from gateway.core.money.windows import HOUR_MS, MINUTE_MS

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
MIDNIGHT = 1_795_392_000_000
UNIFIED = "anthropic-ratelimit-unified-"


def exhausted(
    row: LimitRow | None = None,
    *,
    used: int = 800_000_000,
    held: int = 150_000_000,
    resets_at_ms: int | None = MIDNIGHT,
) -> Exhausted:
    row = row or LimitRow("user:bob", 10**9, "daily")
    needed = 300_000_000 if row.meter == "cost" else 1
    return Exhausted(LimitView(row.series(row.account), row, used, held, resets_at_ms), needed)


def pacing(meter: Meter = "requests", window: str = "rolling 5m", resets_at_ms: int | None = None) -> Exhausted:
    return exhausted(LimitRow("user:bob", 9, window, meter), used=9, held=0, resets_at_ms=resets_at_ms)


def test_message_names_account_window_amounts_reset_and_next_step() -> None:
    message = exhausted().message
    said = ("daily limit of $1.00 of user:bob", "$0.80 spent", "$0.15 held", "may cost $0.30", "2026-11-23 00:00 UTC")
    for part in (*said, "operator"):
        assert part in message
    assert "\n" not in message and message == str(exhausted())


def test_message_of_a_limit_that_never_resets_says_so() -> None:
    message = exhausted(LimitRow("org", 10**9), resets_at_ms=None).message
    assert "does not reset" in message and "operator" in message


def test_message_says_when_waiting_for_running_requests_would_do() -> None:
    assert "running requests" not in exhausted().message
    assert "running requests" in exhausted(LimitRow("user:bob", 1_100_000_000, "daily")).message


def test_message_of_a_quota_counts_what_it_limits() -> None:
    row = LimitRow("team:a", 50, "weekly", "output_tokens", models=("opus-*",), backends=("bedrock",))
    message = exhausted(row, used=45, held=4).message
    assert "the weekly limit of 50 output_tokens for opus-*, bedrock of team:a" in message
    assert "45 output_tokens spent" in message and "4 output_tokens held" in message and "$" not in message


def test_message_of_a_rolling_limit_tells_when_it_frees_up() -> None:
    row = LimitRow("user:bob", 10**9, "rolling 5h")
    assert "frees up from 2026-11-23 00:00 UTC" in exhausted(row).message
    assert "frees up as running requests end" in exhausted(row, used=0, resets_at_ms=None).message


def test_message_of_too_many_at_once_asks_to_wait_for_one_to_end() -> None:
    message = exhausted(LimitRow("session:s", 3, meter="active_requests"), used=0, held=3, resets_at_ms=None).message
    assert "3 active_requests of session:s has 3 running" in message
    assert "operator" not in message and "total" not in message


@pytest.mark.parametrize(
    ("passed", "paces"),
    [
        (pacing(), True),
        (pacing("total_tokens", "rolling 1h"), True),
        (pacing("active_requests", "total"), True),
        (pacing("requests", "rolling 61m"), False),
        (pacing("requests", "hourly"), False),
        (exhausted(LimitRow("org", 5, "rolling 5m")), False),
    ],
)
def test_only_counts_over_an_hour_or_less_and_concurrency_pace(passed: Exhausted, paces: bool) -> None:
    assert passed.paces is paces
    assert ("x-should-retry" in refusal_headers(passed, NOW)) is not paces


def test_headers_of_a_daily_limit_are_those_of_a_blocked_spend_limit() -> None:
    assert refusal_headers(exhausted(), NOW) == {
        f"{UNIFIED}status": "rejected",
        f"{UNIFIED}reset": "1795392000",
        f"{UNIFIED}overage-reset": "1795392000",
        f"{UNIFIED}overage-utilization": "1.25",
        f"{UNIFIED}overage-surpassed-threshold": "1",
        f"{UNIFIED}overage-period": "daily",
        f"{UNIFIED}overage-disabled-reason": "org_spend_cap_reached",
        "retry-after": "36000",
        "x-should-retry": "false",
    }


@pytest.mark.parametrize("account", ["org", "team:a", "group:g", "tag:project=x"])
def test_headers_name_a_shared_pool_for_what_several_people_share(account: str) -> None:
    assert refusal_headers(exhausted(LimitRow(account, 1, "daily")), NOW)[f"{UNIFIED}overage-scope"] == "group_pool"
    assert f"{UNIFIED}overage-scope" not in refusal_headers(exhausted(LimitRow("user:bob", 1, "daily")), NOW)


def test_headers_of_a_limit_that_never_resets_name_no_time() -> None:
    headers = refusal_headers(exhausted(LimitRow("session:s", 1), resets_at_ms=None), NOW)
    assert not {"retry-after", f"{UNIFIED}reset", f"{UNIFIED}overage-reset"} & headers.keys()
    assert f"{UNIFIED}overage-period" not in headers and headers["x-should-retry"] == "false"


def test_headers_name_only_periods_that_clients_know() -> None:
    periods = {
        window: refusal_headers(exhausted(LimitRow("org", 1, window)), NOW).get(f"{UNIFIED}overage-period")
        for window in ("hourly", "daily", "weekly", "monthly", "rolling 5h")
    }
    assert periods == {"hourly": None, "daily": "daily", "weekly": "weekly", "monthly": "monthly", "rolling 5h": None}


def test_headers_round_seconds_up_and_a_zero_limit_is_fully_used() -> None:
    headers = refusal_headers(exhausted(LimitRow("user:bob", 0, "daily")), MIDNIGHT - 1)
    assert headers["retry-after"] == "1"
    assert headers[f"{UNIFIED}overage-utilization"] == "1"


def test_headers_of_what_paces_say_only_when_to_come_again() -> None:
    assert refusal_headers(pacing(resets_at_ms=NOW + MINUTE_MS + 1), NOW) == {"retry-after": "61"}
    assert refusal_headers(pacing(), NOW) == {"retry-after": str(PACING_SECONDS)}


def test_limit_that_resets_last_is_named() -> None:
    hour, day = (exhausted(LimitRow("org", 1, "rolling 5h"), resets_at_ms=NOW + hours * HOUR_MS) for hours in (1, 24))
    never = exhausted(LimitRow("org", 1), resets_at_ms=None)
    assert reset_last([hour, day]) is reset_last([day, hour]) is day
    assert reset_last([day, never, hour]) is never


@pytest.mark.parametrize("brief", [pacing(), exhausted(LimitRow("org", 1, "rolling 5h"), used=0, resets_at_ms=None)])
def test_limit_that_frees_up_as_requests_end_is_not_named_before_one_that_must_be_waited_for(brief: Exhausted) -> None:
    day = exhausted()
    assert reset_last([brief, day]) is reset_last([day, brief]) is day


@pytest.mark.parametrize(
    ("most", "used", "held", "left", "percent"),
    [(100, 60, 15, 25, 75), (100, 60, 60, 0, 120), (0, 0, 0, 0, 100), (1_000, 999, 0, 1, 99)],
)
def test_view_tells_what_is_left_and_how_full_it_is(most: int, used: int, held: int, left: int, percent: int) -> None:
    view = LimitView(Series("org"), LimitRow("org", most), used, held, None)
    assert (view.left, view.percent) == (left, percent)


def test_view_without_a_limit_has_nothing_left_to_tell() -> None:
    view = LimitView(Series("org"), None, 5, 0, None)
    assert view.left is None and view.percent == 0


def test_hold_on_several_backends_is_by_one_of_them() -> None:
    hold = Hold("h", ("org",), "m", ("anthropic", "bedrock"), Amounts(), Amounts(), NOW, NOW)
    assert hold.backend == "anthropic,bedrock"
    assert Hold("h", ("org",), "m", ("vertex",), Amounts(), Amounts(), NOW, NOW).backend == "vertex"


def test_amounts_of_cost_are_dollars_and_others_say_what_they_count() -> None:
    assert amount_text("cost", 1_500_000_000) == "$1.50" and amount_text("requests", 3) == "3 requests"
    assert limit_text(LimitRow("org", 2, meter="active_requests")) == "the limit of 2 active_requests"
    assert [of(Amounts(1, 2, 3, 4, 5), meter) for meter in METERS] == [1, 2, 3, 4, 5]
    assert format_minute(MIDNIGHT + 59_999) == "2026-11-23 00:00 UTC"
