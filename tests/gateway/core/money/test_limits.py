"""Which limits hold for a request, and what they count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from tests.support.ledger import applying

BOB = ("org", "team:a", "group:g", "tag:project=x", "user:bob", "credential:laptop", "session:s", "agent:s/main")
SEAT = LimitRow("org", 10, "daily", per="user")


def held(
    *rows: LimitRow, accounts: tuple[str, ...] = BOB, model: str | None = "opus-5"
) -> list[tuple[str, int | None]]:
    """Account and maximum of the limits that hold."""
    applied = Limits(rows).applied(accounts, model, ("anthropic",))
    return [(series.account, row.max) for series, row in applied]


def test_limit_without_per_is_one_pool_and_with_per_each_ones_own() -> None:
    limits = Limits((LimitRow("org", 5, "daily"), SEAT))
    for user in ("user:bob", "user:eve"):
        series = {series for series, _ in limits.applied(("org", user), "opus-5", ("anthropic",))}
        assert series == {Series("org", "cost", "daily"), Series(user, "cost", "daily")}


@pytest.mark.parametrize(
    "stronger",
    [
        LimitRow("user:bob", 99, "daily"),
        LimitRow("team:a", 99, "daily", per="user"),
        LimitRow("group:g", 99, "daily", per="user"),
        LimitRow("tag:project=x", 99, "daily", per="user"),
        LimitRow("org", 99, "daily", per="user", source="api"),
    ],
)
def test_narrower_default_own_limit_and_operators_limit_override_a_seat_default(stronger: LimitRow) -> None:
    assert held(SEAT, stronger) == held(stronger, SEAT) == [("user:bob", 99)]
    assert held(SEAT, stronger, accounts=("org", "user:eve"))[0][0] == "user:eve"


def test_own_limit_of_the_configuration_overrides_a_default_of_operators() -> None:
    assert held(LimitRow("user:bob", 99, "daily"), LimitRow("org", 1, "daily", per="user", source="api")) == [
        ("user:bob", 99)
    ]


def test_users_default_for_sessions_is_before_the_teams_and_that_before_the_orgs() -> None:
    rows = [LimitRow(account, most, per="session") for account, most in (("org", 1), ("team:a", 2), ("user:bob", 3))]
    assert held(*rows) == [("session:s", 3)]
    assert held(*rows[:2]) == [("session:s", 2)]


def test_lower_of_equal_limits_holds() -> None:
    team, group = LimitRow("team:a", 7, "daily", per="user"), LimitRow("group:g", 6, "daily", per="user")
    assert held(team, group) == held(group, team) == [("user:bob", 6)]
    assert held(team, LimitRow("group:g", None, "daily", per="user")) == [("user:bob", 7)]


def test_lower_limit_that_is_not_strict_leaves_the_strict_one_standing() -> None:
    soft, strict = LimitRow("org", 8, "daily"), LimitRow("org", 10, "daily", strict=True)
    assert held(strict, soft) == [("org", 8), ("org", 10)]
    assert held(LimitRow("org", 7, "daily", strict=True), soft) == [("org", 7)]


def test_limit_that_warns_stands_beside_the_one_that_guards() -> None:
    assert held(SEAT, LimitRow("user:bob", 4, "daily", on_reach="warn")) == [("user:bob", 10), ("user:bob", 4)]
    assert not LimitRow("org", 4, on_reach="warn").guards and LimitRow("org", 4, on_reach="clamp").guards


def test_unlimited_overrides_a_wider_default_of_its_window_only() -> None:
    unlimited = LimitRow("user:bob", None, "daily", source="api")
    assert held(SEAT, unlimited) == []
    assert held(SEAT, LimitRow("org", 50, "total", per="user"), unlimited) == [("user:bob", 50)]


@pytest.mark.parametrize(
    "other",
    [
        LimitRow("user:bob", 99, "weekly"),
        LimitRow("user:bob", 99, "daily", meter="requests"),
        LimitRow("user:bob", 99, "daily", models=("opus-*",)),
        LimitRow("user:bob", 99, "daily", backends=("anthropic",)),
    ],
)
def test_limit_of_another_series_overrides_nothing(other: LimitRow) -> None:
    assert held(SEAT, other) == [("user:bob", 10), ("user:bob", 99)]


def test_limit_for_some_models_and_backends_holds_for_these_only() -> None:
    limits = Limits((LimitRow("org", 5, models=("opus-*", "fable-5"), backends=("bedrock", "vertex")),))
    assert len(limits.applied(BOB, "opus-5", ("anthropic", "bedrock"))) == 1
    assert len(limits.applied(BOB, "fable-5", ("vertex",))) == 1
    assert limits.applied(BOB, "sonnet-5", ("bedrock",)) == limits.applied(BOB, "opus-5", ("anthropic",)) == ()
    assert len(limits.applied(BOB, None, ())) == 1


def test_policys_limits_come_on_top_and_override_nothing() -> None:
    limits = Limits((LimitRow("user:bob", 10, "daily"),))
    added = [LimitRow("user:bob", most, "daily", source="policy") for most in (99, 5)]
    added.append(LimitRow("org", 7, "rolling 5h", per="user", source="policy"))
    applied = limits.applied(BOB, "opus-5", ("anthropic",), added)
    assert [(series.account, row.max) for series, row in applied] == [("user:bob", m) for m in (10, 99, 5, 7)]


def test_policys_limit_on_nobody_here_or_without_a_maximum_does_not_hold() -> None:
    added = [LimitRow("user:eve", 5), LimitRow("org", None), LimitRow("org", 5, models=("haiku-*",))]
    assert Limits().applied(BOB, "opus-5", ("anthropic",), added) == ()
    assert Limits().applied(BOB, "haiku-5", ("anthropic",), added)[0].row.max == 5


def test_bare_kind_stands_for_one_that_is_not_known_yet() -> None:
    limits = Limits((LimitRow("org", 3, per="session"), LimitRow("session:s", 9)))
    assert [(series.account, row.max) for series, row in limits.applied(("org", "session"), None, ())] == [
        ("session", 3)
    ]
    assert held(*limits.rows) == [("session:s", 9)]


def test_default_for_agents_holds_for_an_agent_of_any_session() -> None:
    assert held(LimitRow("org", 1, per="agent"), accounts=("org", "agent:s:1/a")) == [("agent:s:1/a", 1)]
    assert held(LimitRow("org", 1, per="agent"), accounts=("org", "user:agent")) == []


def test_pools_are_the_limits_that_name_their_one_account() -> None:
    rows = (LimitRow("org", 5), SEAT, LimitRow("user:bob", 4), LimitRow("user:bob", 3, source="api"))
    assert [(series.account, row.max) for series, row in Limits(rows).pools()] == [("org", 5), ("user:bob", 3)]
    assert Limits((LimitRow("org", None, source="api"), LimitRow("org", 5))).pools() == ()


@pytest.mark.parametrize(
    ("series", "counts"),
    [
        (Series("org"), True),
        (Series("org", models=("opus-*",)), True),
        (Series("org", models=("sonnet-*",)), False),
        (Series("org", backends=("bedrock",)), True),
        (Series("org", backends=("vertex",)), False),
    ],
)
def test_answer_by_one_of_several_backends_counts_for_each_of_them(series: Series, counts: bool) -> None:
    assert series.covers("opus-5", "anthropic,bedrock") is counts
    assert series.may_cover("opus-5", ("anthropic", "bedrock")) is counts


def test_usage_of_an_unknown_model_or_backend_counts_for_every_limit() -> None:
    series = Series("org", models=("opus-*",), backends=("bedrock",))
    assert series.covers("", "") and series.covers("opus-5", "")
    assert not series.covers("sonnet-5", "") and not series.covers("", "anthropic")


def test_amounts_add_and_subtract_meter_by_meter() -> None:
    one, other = Amounts(5, 1, 2, 3, 1), Amounts(7, 1, 0, 9, 0)
    assert one.plus(other) == (12, 2, 2, 12, 1)
    assert one.minus(other) == (-2, 0, 2, -6, 1)


accounts = st.sampled_from(["org", "team:a", "group:g", "tag:project=x", "user:bob", "user:eve", "session:s"])
rows = st.builds(
    LimitRow,
    accounts,
    max=st.none() | st.integers(0, 3),
    window=st.sampled_from(["daily", "total"]),
    meter=st.just("cost"),
    per=st.sampled_from([None, "user", "session"]),
    strict=st.booleans(),
    on_reach=st.sampled_from(["refuse", "clamp", "warn"]),
    warn_at=st.just(()),
    models=st.sampled_from([(), ("opus-*",)]),
    backends=st.sampled_from([(), ("bedrock",), ("anthropic", "bedrock")]),
    id=st.just(""),
    source=st.sampled_from(["config", "api"]),
)


@given(
    st.lists(rows, max_size=8),
    st.lists(accounts, unique=True),
    st.sampled_from(["opus-5", "sonnet-5"]),
    st.sets(st.sampled_from(["anthropic", "bedrock"]), min_size=1),
)
def test_any_limits_hold_as_one_would_say_by_hand(
    rows: list[LimitRow], named: list[str], model: str, backends: set[str]
) -> None:
    found = Limits(tuple(rows)).applied(named, model, sorted(backends))
    by_hand = applying(rows, named, model, backends)
    assert sorted((str(series), row.max or 0, row.strict, row.guards) for series, row in found) == sorted(
        (str(series), row.max or 0, row.strict, row.guards) for series, row in by_hand
    )
