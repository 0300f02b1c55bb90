"""The table of what is done about a request that was not answered."""

import pytest

from runtime.agents.endings import AttemptOver
from runtime.agents.refusals import (
    DELAY_SECONDS_MAX,
    FIRST_DELAY_SECONDS,
    Again,
    Blocked,
    Refusal,
    advise,
    delay_seconds,
    effort_below,
)
from runtime.ports import Limited

NOW_MS = 1_000_000
NO_RETRY = {"x-should-retry": "false"}
FUSE = "requests of agent s/a came to 3, of 3 allowed"
STOP = "agent a was stopped by olga (it blew a fuse); it stays stopped until it is released"


def refused(status: int | None, kind: str = "", message: str = "no", **headers: str) -> Refusal:
    return Refusal(status, kind, message, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("refusal", "null"),
    [
        (refused(451, "permission_error", **NO_RETRY), "permission"),
        (refused(403, "permission_error"), "permission"),
        (refused(None, "permission_error"), "permission"),
        (refused(429, "rate_limit_error", FUSE, x_ringfence_reason="fuse_blown", **NO_RETRY), "limit"),
        (refused(429, "rate_limit_error", STOP, x_ringfence_reason="stopped", **NO_RETRY), "stopped"),
        (refused(400, "invalid_request_error"), "api_error"),
        (refused(401, "authentication_error", **NO_RETRY), "api_error"),
        (refused(404, "not_found_error"), "api_error"),
        (refused(413, "request_too_large"), "api_error"),
        (refused(500, "api_error", **NO_RETRY), "api_error"),
        (refused(429, "rate_limit_error", **NO_RETRY), "api_error"),
        (refused(None, "invalid_request_error"), "api_error"),
    ],
    ids=[
        "451",
        "403",
        "in-stream",
        "fuse",
        "stop",
        "400",
        "401",
        "404",
        "413",
        "500-final",
        "429-final",
        "in-stream-400",
    ],
)
def test_w54_final_refusal_has_its_reason(refusal: Refusal, null: str) -> None:
    advice = advise(refusal, NOW_MS)
    assert isinstance(advice, AttemptOver) and advice.null == null
    assert refusal.message in advice.detail and not advice.transient


@pytest.mark.parametrize(
    ("refusal", "after"),
    [
        (refused(None), None),
        (refused(None, "api_error"), None),
        (refused(None, "timeout_error"), None),
        (refused(500, "api_error"), None),
        (refused(502, "api_error", retry_after="2"), 2.0),
        (refused(504, "timeout_error", retry_after="1.5"), 1.5),
        (refused(408), None),
        (refused(409), None),
        (refused(400, "invalid_request_error", x_should_retry="true"), None),
        (refused(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), None),
        (refused(502, "api_error", x_ringfence_reason="upstream_unreachable", **NO_RETRY), None),
    ],
    ids=[
        "transport",
        "in-stream",
        "in-stream-late",
        "500",
        "502",
        "504",
        "408",
        "409",
        "asked-for",
        "503-date",
        "every-upstream",
    ],
)
def test_w56_passing_trouble_is_tried_again(refusal: Refusal, after: float | None) -> None:
    assert advise(refusal, NOW_MS) == Again(after)


@pytest.mark.parametrize(
    ("refusal", "after"),
    [
        (refused(429, "rate_limit_error", retry_after="7"), 7.0),
        (refused(429, "rate_limit_error"), None),
        (refused(529, "overloaded_error", retry_after="5"), 5.0),
        (refused(None, "overloaded_error"), None),
        (refused(None, "rate_limit_error"), None),
        (refused(429, "rate_limit_error", x_ringfence_reason="upstream_refused", **NO_RETRY, retry_after="7"), 7.0),
        (refused(429, "rate_limit_error", x_ringfence_reason="rate_limited", retry_after="2"), 2.0),
    ],
    ids=["429", "429-bare", "529", "in-stream-529", "in-stream-429", "429-of-every-upstream", "429-of-the-gateway"],
)
def test_w96_burst_is_told_to_the_run_and_tried_again(refusal: Refusal, after: float | None) -> None:
    until_ms = None if after is None else NOW_MS + round(after * 1000)
    assert advise(refusal, NOW_MS) == Blocked(Limited("throttled", "no", until_ms), after)


@pytest.mark.parametrize(
    ("refusal", "until_ms"),
    [
        (refused(429, "billing_error", x_should_retry="false"), None),
        (refused(429, "billing_error", retry_after="60"), NOW_MS + 60_000),
        (refused(402, ""), None),
        (refused(None, "billing_error"), None),
    ],
    ids=["never-resets", "resets", "402", "in-stream"],
)
def test_w118_spending_limit_waits_for_the_run(refusal: Refusal, until_ms: int | None) -> None:
    assert advise(refusal, NOW_MS) == Blocked(Limited("budget", "no", until_ms))


def test_agent_that_a_person_holds_asks_again_and_no_burst_is_told() -> None:
    refusal = refused(429, "rate_limit_error", x_ringfence_reason="held", retry_after="30")
    assert advise(refusal, NOW_MS) == Blocked(Limited("held", "no", NOW_MS + 30_000), 30.0)


def test_w118_spending_limit_of_the_gateway_is_no_quota_of_the_provider() -> None:
    unified = {"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": "2000"}
    assert advise(Refusal(429, "billing_error", "no", unified), NOW_MS) == Blocked(Limited("budget", "no", 2_000_000))


def test_w126_account_limit_names_when_it_is_reset() -> None:
    unified = {"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": "2000"}
    refusal = Refusal(429, "rate_limit_error", "usage limit", {**unified, **NO_RETRY, "retry-after": "9"})
    assert advise(refusal, NOW_MS) == Blocked(Limited("quota", "usage limit", 2_000_000))


def test_w126_allowed_unified_limit_is_a_burst() -> None:
    refusal = Refusal(429, "rate_limit_error", "slow down", {"anthropic-ratelimit-unified-status": "allowed"})
    assert advise(refusal, NOW_MS) == Blocked(Limited("throttled", "slow down"))


def test_w56_delays_grow_up_to_a_bound_and_are_spread() -> None:
    delays = [delay_seconds(tries, None, 0.0) for tries in (1, 2, 3, 50)]
    assert delays == [FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS, 4 * FIRST_DELAY_SECONDS, DELAY_SECONDS_MAX]
    assert delay_seconds(1, None, 1.0) == 0.75 * FIRST_DELAY_SECONDS


def test_w56_retry_after_is_never_undercut() -> None:
    assert delay_seconds(1, 40.0, 0.0) == 40.0 and 40.0 < delay_seconds(1, 40.0, 1.0) <= 41.0


@pytest.mark.parametrize(
    ("effort", "lower"),
    [("max", ("xhigh",)), ("xhigh", ("high",)), ("high", (None,)), ("low", (None,)), (None, None)],
    ids=["max", "xhigh", "high", "low", "none"],
)
def test_w47_effort_that_is_not_supported_steps_down(effort: str | None, lower: tuple[str | None] | None) -> None:
    assert effort_below(refused(400, "invalid_request_error", "effort is not supported"), effort) == lower


def test_w47_other_faults_leave_the_effort_alone() -> None:
    assert effort_below(refused(400, "invalid_request_error", "messages: empty"), "high") is None
    assert effort_below(refused(500, "api_error", "effort"), "high") is None
