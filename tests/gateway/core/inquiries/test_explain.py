"""The sentence that says what stops a next request first."""

from typing import Any

import pytest

from gateway.core.fuses.fuse import FuseBox, FuseLimits
from gateway.core.inquiries.explain import sentence
from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow, Series
from gateway.core.money.standing import by_bite

MIDNIGHT = 1_795_392_000_000
DOLLAR = 10**9
CENT = 10**7


def view(
    account: str = "user:alice", used: int = 0, held: int = 0, resets_at_ms: int | None = MIDNIGHT, **row: Any
) -> LimitView:
    limit = LimitRow(**{"account": account, "max": DOLLAR, "window": "daily", **row})
    return LimitView(limit.series(account), limit, used, held, resets_at_ms)


def said(*views: LimitView) -> str:
    return sentence(by_bite(views), [], None)


@pytest.mark.parametrize(
    ("limit", "whole"),
    [
        (
            view(used=30 * CENT, held=10 * CENT),
            "the daily limit of $1.00 of user:alice bites first: $0.60 left, $0.30 spent and $0.10 held by running "
            "requests; it resets at 2026-11-23 00:00 UTC",
        ),
        (
            view("org", 30 * CENT, window="total", resets_at_ms=None),
            "the total limit of $1.00 of org bites first: $0.70 left, $0.30 spent and $0.00 held by running requests; "
            "it does not reset",
        ),
        (
            view(used=28, held=2, meter="requests", max=100),
            "the daily limit of 100 requests of user:alice bites first: 70 left, 28 used and 2 held by running "
            "requests; it resets at 2026-11-23 00:00 UTC",
        ),
        (
            view(used=9, window="rolling 5h", meter="output_tokens", max=10),
            "the rolling 5h limit of 10 output_tokens of user:alice bites first: 1 left, 9 used and 0 held by running "
            "requests; it begins to free up at 2026-11-23 00:00 UTC",
        ),
        (
            view(window="rolling 5h", resets_at_ms=None),
            "the rolling 5h limit of $1.00 of user:alice bites first: $1.00 left, $0.00 spent and $0.00 held by "
            "running requests; what is used comes back after 5h",
        ),
        (
            view(held=3, meter="active_requests", max=5, window="total", resets_at_ms=None),
            "the limit of 5 active_requests of user:alice bites first: 2 left, 3 running; each request that ends makes "
            "room for one",
        ),
    ],
)
def test_sentence_says_what_is_left_of_the_first_limit_and_until_when(limit: LimitView, whole: str) -> None:
    assert said(limit) == whole


@pytest.mark.parametrize(
    ("limit", "refused"),
    [
        (view(used=DOLLAR), "requests are refused until it resets at 2026-11-23 00:00 UTC"),
        (
            view(used=90 * CENT, held=10 * CENT),
            "until running requests give back what they hold, or it resets at 2026-11-23 00:00 UTC",
        ),
        (view(used=2 * DOLLAR, window="total", resets_at_ms=None), "are refused until an operator raises it"),
        (
            view(used=0, held=DOLLAR, window="total", resets_at_ms=None),
            "until running requests give back what they hold, or an operator raises it",
        ),
        (
            view(used=5, window="rolling 5m", meter="requests", max=5),
            "0 held by running requests; requests are refused until it begins to free up at 2026-11-23 00:00 UTC",
        ),
        (
            view(held=5, window="rolling 5m", meter="requests", max=5, resets_at_ms=None),
            "requests are refused until running requests give back what they hold",
        ),
        (
            view(held=5, window="total", meter="active_requests", max=5, resets_at_ms=None),
            "5 active_requests of user:alice is used up: 5 running; requests are refused until one of them ends",
        ),
    ],
)
def test_sentence_of_a_limit_that_is_used_up_says_until_when_requests_are_refused(
    limit: LimitView, refused: str
) -> None:
    assert "is used up: " in said(limit) and "bites first" not in said(limit)
    assert said(limit).endswith(refused)


def test_limit_of_zero_is_not_said_to_open_again_by_itself() -> None:
    text = (
        "the daily limit of $0.00 of user:alice lets nothing through: requests are refused until an operator raises it"
    )
    assert said(view(max=0)) == text


def test_limit_of_some_models_is_told_with_what_other_requests_meet() -> None:
    opus = view(used=DOLLAR, models=("claude-opus-*",), backends=("bedrock",))
    assert said(opus, view("org", 40 * CENT)) == (
        "the daily limit of $1.00 for claude-opus-*, bedrock of user:alice is used up: $1.00 spent and $0.00 held by "
        "running requests; requests that it covers are refused until it resets at 2026-11-23 00:00 UTC; of the limits "
        "for every model and backend, the daily limit of $1.00 of org is first, which has $0.60 left"
    )
    assert said(opus).endswith("no limit holds for every model and backend")
    assert said(view(used=10 * CENT), opus._replace(used=0)).count("the daily limit") == 1


def test_account_nobody_has_yet_is_called_new() -> None:
    row = LimitRow("org", DOLLAR, "daily", per="session")
    text = said(LimitView(Series("session", "cost", "daily"), row, 0, 0, MIDNIGHT))
    assert "the daily limit of $1.00 of a new session bites first: $1.00 left" in text


def test_sentence_says_when_nothing_refuses_the_request() -> None:
    assert said() == "no limit applies to this request: what it uses is counted, and never refused"
    assert said(view(used=2 * DOLLAR, on_reach="warn")).startswith("every limit on this request only warns: ")


def test_sentence_is_of_the_fuse_that_refuses_before_any_limit() -> None:
    box = FuseBox(FuseLimits(agent={"requests": 3}))
    limits = [view("org", window="total")]
    assert "bites first" in sentence(limits, box.readings("agent", "s1/main", {"requests": 2}), None)
    assert "blows the requests fuse" in sentence(limits, box.readings("agent", "s1/main", {"requests": 3}), None)
    box.check("agent", "s1/main", {"requests": 4}, MIDNIGHT)
    text = sentence(limits, [], box.blown("agent", "s1/main"))
    assert "has blown: requests came to 4, its limit is 3" in text
