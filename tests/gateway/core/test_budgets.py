"""Which limits hold for an account, and how a refusal reads."""

from gateway.core.budgets import AccountView, Exhausted, LimitRow, Limits, refusal_headers
from gateway.core.windows import Window

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
MIDNIGHT = 1_795_392_000_000


def exhausted(
    account: str = "user:bob", window: Window = "daily", limit: int = 10**9, resets_at_ms: int | None = MIDNIGHT
) -> Exhausted:
    return Exhausted(AccountView(account, window, limit, 800_000_000, 150_000_000, True, resets_at_ms), 300_000_000)


def test_bare_kind_is_a_default_for_each_of_the_kind() -> None:
    limits = Limits([LimitRow("user", "daily", 5, False)])
    assert [row.limit_nanousd for row in limits.for_account("user:bob")] == [5]
    assert limits.for_account("team:bob") == ()


def test_exact_row_overrides_the_default_of_the_same_window_only() -> None:
    rows = [
        LimitRow("user", "daily", 5, False),
        LimitRow("user", "total", 50, False),
        LimitRow("user:bob", "daily", 9, True),
    ]
    limits = Limits(rows)
    assert {(row.window, row.limit_nanousd) for row in limits.for_account("user:bob")} == {("daily", 9), ("total", 50)}
    assert {row.limit_nanousd for row in limits.for_account("user:eve")} == {5, 50}


def test_org_is_one_account() -> None:
    limits = Limits([LimitRow("org", "monthly", 7, True), LimitRow("agent", "total", 1, False)])
    assert [row.limit_nanousd for row in limits.for_account("org")] == [7]
    assert limits.named_accounts() == ("org",)


def test_default_of_agents_holds_for_an_agent_of_any_session() -> None:
    limits = Limits([LimitRow("agent", "total", 1, False)])
    assert [row.limit_nanousd for row in limits.for_account("agent:s:1/a")] == [1]


def test_message_names_account_window_amounts_reset_and_next_step() -> None:
    message = exhausted().message
    for part in (
        "user:bob",
        "daily",
        "$1.00",
        "$0.80 spent",
        "$0.15 held",
        "$0.30",
        "2026-11-23 00:00 UTC",
        "operator",
    ):
        assert part in message
    assert "\n" not in message and message == str(exhausted())


def test_message_of_a_limit_that_never_resets_says_so() -> None:
    message = exhausted(window="total", resets_at_ms=None).message
    assert "does not reset" in message and "operator" in message


def test_message_says_when_waiting_for_running_requests_would_do() -> None:
    assert "running requests" not in exhausted().message
    assert "running requests" in exhausted(limit=1_100_000_000).message


def test_headers_of_a_daily_limit_are_those_of_a_blocked_spend_limit() -> None:
    assert refusal_headers(exhausted(), NOW) == {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": "1795392000",
        "anthropic-ratelimit-unified-overage-reset": "1795392000",
        "anthropic-ratelimit-unified-overage-utilization": "1.25",
        "anthropic-ratelimit-unified-overage-surpassed-threshold": "1",
        "anthropic-ratelimit-unified-overage-period": "daily",
        "anthropic-ratelimit-unified-overage-disabled-reason": "org_spend_cap_reached",
        "retry-after": "36000",
        "x-should-retry": "false",
    }


def test_headers_name_a_shared_pool_only_for_org_and_team() -> None:
    scope = "anthropic-ratelimit-unified-overage-scope"
    assert refusal_headers(exhausted("team:platform"), NOW)[scope] == "group_pool"
    assert scope not in refusal_headers(exhausted("user:bob"), NOW)


def test_headers_without_a_reset_name_no_time() -> None:
    headers = refusal_headers(exhausted("session:s", "total", resets_at_ms=None), NOW)
    assert not {"retry-after", "anthropic-ratelimit-unified-reset"} & headers.keys()
    assert "anthropic-ratelimit-unified-overage-period" not in headers


def test_headers_round_seconds_up_and_a_zero_limit_is_fully_used() -> None:
    headers = refusal_headers(exhausted(limit=0), MIDNIGHT - 1)
    assert headers["retry-after"] == "1"
    assert headers["anthropic-ratelimit-unified-overage-utilization"] == "1"
