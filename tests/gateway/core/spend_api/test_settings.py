"""What a request to set a limit says, as a limit on an account."""

import json
from typing import Any

import pytest

from gateway.core.money.limits import KINDS, PER_KINDS, WARN_AT, LimitRow
from gateway.core.spend_api.settings import SCOPES, Pool, Setting, read_setting

BACKENDS = ("anthropic", "bedrock")
IDS = {"tag_key": "project=x", "agent": "s/a"}
GROUP = {"type": "rbac_group", "rbac_group_id": "g"}


def read(**fields: Any) -> Setting:
    """A setting of one dollar a day for each member, with `fields` laid over; `...` leaves one out."""
    body = {"scope": {"type": "organization"}, "amount": "100", "period": "daily"} | fields
    return read_setting(json.dumps({name: each for name, each in body.items() if each is not ...}).encode(), BACKENDS)


def complaint(**fields: Any) -> str:
    with pytest.raises(ValueError) as error:
        read(**fields)
    return str(error.value)


SCOPED = [
    ({"type": "user", "user_id": "alice"}, "user:alice", None),
    ({"type": "rbac_group", "rbac_group_id": "a b"}, "group:a b", "user"),
    ({"type": "organization"}, "org", "user"),
    ({"type": "organization_pool"}, "org", None),
    ({"type": "team", "team_id": "x"}, "team:x", None),
    ({"type": "tag", "tag": "project=x=y"}, "tag:project=x=y", None),
    ({"type": "credential", "credential_id": "laptop"}, "credential:laptop", None),
    ({"type": "session", "session_id": "s"}, "session:s", None),
    ({"type": "run", "run_id": "r"}, "run:r", None),
    ({"type": "agent", "agent_id": "s/a"}, "agent:s/a", None),
]


@pytest.mark.parametrize(("scope", "account", "per"), SCOPED)
def test_scope_is_an_account(scope: dict[str, str], account: str, per: str | None) -> None:
    setting = read(scope=scope)
    assert setting.scope == scope and setting.amount == "100"
    assert setting.row == LimitRow(account, 10**9, "daily", per=per, on_reach="clamp", source="api")


def test_agent_may_be_as_long_as_its_two_ids() -> None:
    longest = {"type": "agent", "agent_id": f"{'s' * 256}/{'a' * 255}"}
    assert read(scope=longest).row.account == f"agent:{longest['agent_id']}"
    assert complaint(scope=longest | {"agent_id": longest["agent_id"] + "a"}).endswith("at most 512 character(s)")


def test_every_kind_of_account_has_a_scope() -> None:
    assert {scope.kind for scope in SCOPES.values()} == set(KINDS)
    assert len(SCOPED) == len(SCOPES)


def test_everything_that_can_be_said_reaches_the_limit() -> None:
    setting = read(
        scope={"type": "team", "team_id": "x"},
        amount="007",
        period="rolling 5h",
        per="session",
        meter="output_tokens",
        strict=True,
        on_reach="warn",
        warn_at=[50, 120],
        models=["claude-opus-*", "claude-haiku-*", "claude-opus-*"],
        backends=["bedrock"],
        currency="USD",
        reason="a trial",
    )
    assert setting.row == LimitRow(
        "team:x",
        7,
        "rolling 5h",
        "output_tokens",
        per="session",
        strict=True,
        on_reach="warn",
        warn_at=(50, 120),
        models=("claude-haiku-*", "claude-opus-*"),
        backends=("bedrock",),
        source="api",
    )
    assert (setting.amount, setting.reason, setting.pool) == ("7", "a trial", None)


def test_what_is_not_said_is_a_month_in_dollars() -> None:
    setting = read(period=...)
    assert (setting.row.window, setting.row.meter, setting.row.warn_at) == ("monthly", "cost", WARN_AT)
    assert (setting.row.strict, setting.row.models, setting.reason) == (False, (), None)


def test_null_is_no_limit_where_it_excepts_somebody_from_one() -> None:
    assert read(amount=None).row.max is None
    assert read(scope={"type": "team", "team_id": "x"}, amount=None).row.max is None
    for scope in ({"type": "organization_pool"}, {"type": "tag", "tag": "a=b"}):
        assert complaint(scope=scope, amount=None).startswith("amount: null has no meaning for a pool")
    assert complaint(scope=GROUP, per=None, amount=None).startswith("amount: null")


def test_default_becomes_a_pool_when_per_is_null() -> None:
    assert read(per=None).row == read(scope={"type": "organization_pool"}).row
    assert read(scope=GROUP, per=None, period="daily").row.per is None


@pytest.mark.parametrize(("scope", "kind"), [(scope, SCOPES[scope["type"]].kind) for scope, _, _ in SCOPED])
def test_default_is_always_for_something_narrower(scope: dict[str, str], kind: str) -> None:
    for per in PER_KINDS:
        narrower = KINDS.index(per) > KINDS.index(kind) and (kind, per) != ("session", "run")
        try:
            assert read(scope=scope, per=per).row.per == per
        except ValueError as error:
            assert not narrower and str(error).startswith("per: ")
        else:
            assert narrower


POOLS = [
    ({"amount": "500", "paused": False}, Pool("500", False)),
    ({"amount": "0500"}, Pool("500", False)),
    ({"amount": "500", "paused": True, "currency": "USD"}, Pool("500", True)),
    ({"amount": None, "paused": True}, Pool(None, True)),
    ({"paused": True}, Pool(None, True)),
    (None, None),
]


@pytest.mark.parametrize(("written", "pool"), POOLS)
def test_pool_of_a_group_is_read(written: Any, pool: Pool | None) -> None:
    assert read(scope=GROUP, period="monthly", pooled_budget=written).pool == pool


BAD_POOLS: list[tuple[dict[str, Any], str]] = [
    ({"pooled_budget": []}, "pooled_budget: Expected object, received array"),
    ({"pooled_budget": {"amount": 5}}, "pooled_budget.amount: Expected string, received number"),
    ({"pooled_budget": {"amount": "x"}}, "pooled_budget.amount: must be a whole-number decimal string of cents"),
    ({"pooled_budget": {"amount": "5", "pause": True}}, "pooled_budget.pause: Unrecognized key"),
    ({"pooled_budget": {"amount": "5", "paused": 1}}, "pooled_budget.paused: Expected boolean, received number"),
    ({"pooled_budget": {}}, "pooled_budget.amount: Required"),
    ({"pooled_budget": {"amount": None}}, "pooled_budget.amount: a pool that is not paused needs an amount"),
    (
        {"pooled_budget": {"amount": "5", "currency": "EUR"}},
        'pooled_budget.currency: Invalid literal value, expected "USD"',
    ),
    ({"scope": {"type": "organization"}}, "pooled_budget: only a per-member limit of scope.type 'rbac_group' has one"),
    ({"per": None}, "pooled_budget: only a per-member limit of scope.type 'rbac_group' has one"),
    ({"period": "weekly"}, "pooled_budget: only a monthly limit on cost has one"),
    ({"meter": "requests"}, "pooled_budget: only a monthly limit on cost has one"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_POOLS)
def test_pool_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    usual = {"scope": GROUP, "period": "monthly", "pooled_budget": {"amount": "5", "paused": False}}
    assert complaint(**(usual | fields)) == words


BAD: list[tuple[dict[str, Any], str]] = [
    ({"ammount": "1"}, "ammount: Unrecognized key"),
    ({"scope": "organization"}, "scope: Expected object, received string"),
    ({"scope": {}}, "scope.type: Invalid discriminator value."),
    ({"scope": {"type": ["user"]}}, "scope.type: Invalid discriminator value."),
    ({"scope": {"type": "user", "user_id": 7}}, "scope.user_id: Expected string, received number"),
    ({"scope": {"type": "user", "user_id": ""}}, "scope.user_id: String must contain at least 1 character(s)"),
    ({"scope": {"type": "user", "user_id": "a\n"}}, "scope.user_id: must be printable"),
    ({"scope": {"type": "user", "user_id": "\ud800"}}, "scope.user_id: must be printable"),
    ({"scope": {"type": "user", "user_id": "a", "team_id": "x"}}, "scope.team_id: Unrecognized key"),
    ({"scope": {"type": "tag", "tag": "project"}}, "scope.tag: must be <name>=<value>"),
    ({"scope": {"type": "tag", "tag": "=x"}}, "scope.tag: must be <name>=<value>"),
    ({"scope": {"type": "agent", "agent_id": "a"}}, "scope.agent_id: must be <session>/<agent>"),
    ({"amount": True}, "amount: Expected string, received boolean"),
    ({"amount": "1" * 13}, "amount: must be at most 100000000000 cents"),
    ({"amount": "x", "meter": "total_tokens"}, "amount: must be a whole-number decimal string of total_tokens"),
    ({"period": None}, "period: Expected 'daily' | 'weekly' | 'monthly'"),
    ({"period": "rolling 99d"}, "period: Invalid enum value. Expected 'daily' | 'weekly' | 'monthly'"),
    ({"period": "rolling <n>m|h|d"}, "period: Invalid enum value."),
    ({"meter": "dollars"}, "meter: Invalid enum value. Expected 'cost' | 'requests'"),
    ({"meter": "active_requests"}, "period: must be 'total' for active_requests"),
    ({"per": "team", "scope": GROUP}, "per: Invalid enum value. Expected 'user' | "),
    ({"per": "user", "scope": {"type": "agent", "agent_id": "s/a"}}, "per: there is nothing within an agent"),
    ({"strict": "yes"}, "strict: Expected boolean, received string"),
    ({"on_reach": "stop"}, "on_reach: Invalid enum value. Expected 'refuse' | 'clamp' | 'warn', received 'stop'"),
    ({"warn_at": [0]}, "warn_at.0: must be a whole number between 1 and 1000"),
    ({"models": [""]}, "models.0: String must contain at least 1 character(s)"),
    ({"backends": ["azure"]}, "backends: Invalid enum value. Expected 'anthropic' | 'bedrock', received 'azure'"),
    ({"reason": ""}, "reason: String must contain at least 1 character(s)"),
    ({"reason": "x" * 501}, "reason: String must contain at most 500 character(s)"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_what_cannot_be_meant_is_refused_with_its_place(fields: dict[str, Any], words: str) -> None:
    assert complaint(**fields).startswith(words)


def test_requests_at_once_have_no_period() -> None:
    assert read(meter="active_requests", period="total").row == read(meter="active_requests", period=...).row
    assert read(meter="active_requests", period=...).row.window == "total"
