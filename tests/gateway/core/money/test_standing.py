"""What people are told of limits, and which of them stops a request first."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import METERS, LimitRow
from gateway.core.money.standing import Standing, by_bite, listed, tell

MIDNIGHT = 1_795_392_000_000
DOLLAR = 10**9


def view(
    account: str = "user:alice", used: int = 0, held: int = 0, resets_at_ms: int | None = MIDNIGHT, **row: Any
) -> LimitView:
    limit = LimitRow(**{"account": account, "max": 100, "window": "daily", "id": f"budgets[{used}]", **row})
    return LimitView(limit.series(account), limit, used, held, resets_at_ms)


def names(views: list[LimitView]) -> list[str]:
    return [f"{each.series.account} {each.series.meter}" for each in views]


def test_standing_says_all_of_a_limit() -> None:
    row = LimitRow(
        "org", 200, "monthly", "requests", "user", True, "refuse", (50, 90), ("claude-*",), ("bedrock",), "spl_1", "api"
    )
    (told,) = tell([LimitView(row.series("user:alice"), row, 90, 30, MIDNIGHT)])
    assert told == Standing(
        account="user:alice",
        meter="requests",
        window="monthly",
        models=("claude-*",),
        backends=("bedrock",),
        per="user",
        max=200,
        used=90,
        held=30,
        left=80,
        percent=60,
        strict=True,
        on_reach="refuse",
        id="spl_1",
        source="api",
        resets_at_ms=MIDNIGHT,
        set_on="org",
        warn_at=(50, 90),
        warned=(50,),
    )


@pytest.mark.parametrize(
    ("used", "held", "left", "percent", "warned"),
    [
        (0, 0, 100, 0, ()),
        (74, 0, 26, 74, ()),
        (70, 5, 25, 75, (75,)),
        (95, 0, 5, 95, (75, 95)),
        (130, 9, 0, 139, (75, 95)),
    ],
)
def test_left_is_never_negative_and_warnings_are_passed_by_what_is_used_and_held(
    used: int, held: int, left: int, percent: int, warned: tuple[int, ...]
) -> None:
    (told,) = tell([view(used=used, held=held)])
    assert (told.left, told.percent, told.warned) == (left, percent, warned)


def test_what_is_counted_only_is_no_limit() -> None:
    counted = LimitView(view().series, None, 5, 0, None)
    lifted = LimitView(view().series, LimitRow("user:alice", None), 5, 0, None)
    assert tell([counted, lifted, view(used=3)]) == tell([view(used=3)])
    assert by_bite([counted, lifted]) == []


def test_of_one_meter_the_least_left_bites_first_and_of_equals_the_strict_one() -> None:
    small = view("user:alice", 10, max=20)
    large = view("org", 9_950, max=10_000)
    strict = view("team:x", 0, max=10, strict=True)
    assert names(by_bite([large, small, strict])) == ["team:x cost", "user:alice cost", "org cost"]


def test_meters_are_ordered_by_the_share_left_of_their_scarcest_limit() -> None:
    dollars = view("user:alice", 50 * DOLLAR, max=100 * DOLLAR)
    more = view("org", 0, max=60 * DOLLAR)
    requests = view("team:x", 60, max=100, meter="requests")
    running = view("user:alice", 0, 1, meter="active_requests", max=10, window="total", resets_at_ms=None)
    assert names(by_bite([running, dollars, more, requests])) == [
        "team:x requests",
        "user:alice cost",
        "org cost",
        "user:alice active_requests",
    ]


def test_what_is_used_up_comes_first_and_of_several_what_lasts_longest_for_most() -> None:
    soon = view("user:alice", 100, resets_at_ms=MIDNIGHT)
    late = view("org", 100, window="monthly", resets_at_ms=MIDNIGHT + 1)
    never = view("team:x", 100, window="total", resets_at_ms=None)
    zero = view("group:z", 0, max=0)
    held = view("agent:s/a", 99, 1, window="total", resets_at_ms=None)
    some = view("session:s", 100, window="total", resets_at_ms=None, models=("claude-opus-*",))
    scarce = view("run:r", 99, 0, max=100)
    order = names(by_bite([scarce, some, held, soon, late, never]))
    assert [name.split()[0] for name in order] == ["team:x", "org", "user:alice", "agent:s/a", "session:s", "run:r"]
    assert by_bite([soon, late, zero])[0] is zero


def test_limit_that_only_warns_comes_after_every_limit_that_refuses() -> None:
    warns, refuses = view("org", 500, on_reach="warn"), view("user:alice", 1, on_reach="clamp")
    assert by_bite([warns, refuses]) == [refuses, warns]


def test_list_is_in_an_order_that_spending_does_not_change() -> None:
    kinds = (
        "org",
        "team:a",
        "team:b",
        "group:a",
        "tag:a=b",
        "user:a",
        "credential:a",
        "session:a",
        "run:a",
        "agent:a/b",
    )
    views = [
        view(account, used, window=window, meter=meter)
        for used, account in enumerate(kinds)
        for meter in METERS[:2]
        for window in ("daily", "monthly")
    ]
    spent = [each._replace(used=1000 - each.used) for each in views]
    assert listed(reversed(views)) == views
    assert [each.series for each in listed(spent[::-2] + spent[-2::-2])] == [each.series for each in views]


limits = st.builds(
    view,
    st.sampled_from(["org", "user:alice"]),
    st.integers(0, 120),
    st.integers(0, 20),
    st.sampled_from([None, MIDNIGHT]),
    meter=st.sampled_from(METERS),
    max=st.integers(0, 100),
    strict=st.booleans(),
    on_reach=st.sampled_from(["refuse", "clamp", "warn"]),
    models=st.sampled_from([(), ("claude-opus-*",)]),
)


@settings(max_examples=200)
@given(st.lists(limits, max_size=8))
def test_no_limit_with_less_left_of_the_meter_comes_after_the_first_for_any_limits(views: list[LimitView]) -> None:
    ordered = by_bite(views)
    assert sorted(map(id, ordered)) == sorted(map(id, views))
    guards = [each for each in ordered if each.row is not None and each.row.guards]
    assert ordered[: len(guards)] == guards
    if guards and guards[0].left:
        assert all(each.left for each in guards)
        assert all(
            each.left >= guards[0].left for each in guards if each.left and each.series.meter == guards[0].series.meter
        )
