"""What a gateway knows of series: plans, and what is missing for them."""

from typing import Any

import pytest

from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import Calendar
from gateway.stores.postgres.series import Known, Missing, columns_of, spans, with_bases

NOW = 1_795_356_000_000
OPUS = LimitRow("org", 50, models=("opus-*",))


def row(id: int, account: str = "org", **fields: Any) -> dict[str, Any]:
    blank = {"meter": 1, "span": "total", "models": [], "backends": [], "series": 0}
    sums = {"used": 0, "worst": 0, "expected": 0, "ends_ms": None}
    return {"id": id, "account": account} | blank | sums | fields


def known(*rows: dict[str, Any]) -> Known:
    found = Known(Limits((OPUS, LimitRow("org", 20, "daily", strict=True))))
    found.learn(rows)
    return found


def test_all_series_that_a_hold_needs_are_missed_at_once() -> None:
    with pytest.raises(Missing) as missing:
        known().plan(("org", "user:u"), "opus-5", ("b",))
    assert missing.value.series == (
        Series("org"),
        Series("user:u"),
        Series("org", models=("opus-*",)),
        Series("org", window="daily"),
    )


def test_hold_is_on_every_series_that_covers_it_and_meets_its_limits_alone() -> None:
    others = (row(3, span="daily"), row(4, models=["haiku-*"]), row(5, backends=["c"]), row(6, span="hourly"))
    plan = known(row(1, series=6), row(2, models=["opus-*"]), *others).plan(("org",), "opus-5", ("b",))
    assert [mirror.id for mirror in plan.mirrors] == [1, 2, 3, 6]
    assert [(guard.mirror.id, guard.row.max) for guard in plan.guards] == [(2, 50), (3, 20)]
    assert plan.strict


def test_new_series_of_an_account_makes_its_plans_anew() -> None:
    found = known(row(1, series=2), row(3, span="daily"))
    first = found.plan(("org",), "sonnet-5", ("b",))
    found.learn([row(1, series=3), row(3, span="daily"), row(7, span="weekly")])
    assert [mirror.id for mirror in first.mirrors] == [1, 3]
    assert [mirror.id for mirror in found.plan(("org",), "sonnet-5", ("b",)).mirrors] == [1, 3, 7]


def test_limit_that_would_be_passed_is_told_with_what_is_used_and_held() -> None:
    found = known(row(1, series=2), row(3, span="daily", used=9, worst=4, expected=1, ends_ms=NOW + 1))
    plan = found.plan(("org",), "sonnet-5", ("b",))
    assert plan.exhausted(Amounts(7), Amounts(3)) is None
    exhausted = plan.exhausted(Amounts(8), Amounts(3))
    assert exhausted is not None
    assert (exhausted.view.used, exhausted.view.held, exhausted.needed) == (9, 4, 8)


def test_pretended_series_counts_from_nothing_until_its_window_ends() -> None:
    found = known()
    with pytest.raises(Missing) as missing:
        found.plan(("org",), "sonnet-5", ("b",))
    found.pretend(missing.value.series, Calendar(), NOW)
    _, daily = found.plan(("org",), "sonnet-5", ("b",)).mirrors
    daily.used = 5
    daily.roll(Calendar(), NOW)
    assert daily.used == 5
    assert daily.ends_ms is not None
    daily.roll(Calendar(), daily.ends_ms)
    assert (daily.used, daily.id) == (0, 0)


def test_limits_that_were_met_are_shown_with_the_pools() -> None:
    found = Known(Limits((OPUS, LimitRow("org", 9, per="user"))))
    found.learn([row(1, series=2), row(2, models=["opus-*"]), row(3, "user:u", series=1)])
    assert [each.series.account for each in found.met()] == ["org"]
    found.plan(("org", "user:u"), "sonnet-5", ("b",))
    assert [each.series.account for each in found.met()] == ["org", "user:u"]


def test_columns_name_bases_and_windows() -> None:
    accounts, meters, windows, *_, lengths, slots, starts, ends = columns_of(
        with_bases([Series("org", "requests", "rolling 10m"), Series("org", "cost", "daily")]), Calendar(), NOW
    )
    assert (accounts, meters, windows) == (["org"] * 3, [1, 1, 2], ["daily", "total", "rolling 10m"])
    assert (lengths, slots) == ([None, None, 600_000], [None, None, 10_000])
    assert (starts[1:], ends[1:]) == ([0, NOW - 600_000], [None, None])


def test_spans_are_the_windows_of_the_moment() -> None:
    names, starts, ends = spans(Calendar(), NOW)
    assert names == ["hourly", "daily", "weekly", "monthly"]
    assert all(start <= NOW < end for start, end in zip(starts, ends, strict=True))
