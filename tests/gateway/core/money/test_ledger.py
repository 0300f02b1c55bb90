"""The book, case by case: holds and how they end. Any order of calls: tests/fuzz/test_ledger.py."""

import pytest

from gateway.core.money.budgets import Exhausted, Hold, LimitView, Spend
from gateway.core.money.ledger import AMOUNT_MAX, CORRECTABLE_MS
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import DAY_MS, HOUR_MS, MINUTE_MS
from tests.gateway.core.money.ledgercases import (
    CENT,
    EXPECTED,
    NOW,
    ORG,
    TOMORROW,
    WORST,
    book,
    cents,
    hold,
    passed,
    shown,
)


def test_fifty_requests_of_thirty_cents_under_a_strict_dollar_let_three_through() -> None:
    ledger = book(LimitRow("org", 100 * CENT, "daily", strict=True))
    assert passed(ledger, 50) == 3
    assert ledger.held_total() == 90 * CENT


def test_limit_that_is_not_strict_counts_expected_costs() -> None:
    ledger = book(LimitRow("org", 100 * CENT, "daily"))
    assert passed(ledger, 50) == 10
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("one more"))
    assert (caught.value.view.held, caught.value.needed) == (100 * CENT, 10 * CENT)


@pytest.mark.parametrize(
    ("meter", "most", "through"), [("requests", 4, 4), ("output_tokens", 700, 2), ("total_tokens", 899, 0)]
)
def test_strict_quota_counts_its_meter(meter: str, most: int, through: int) -> None:
    ledger = book(LimitRow("org", most, "weekly", meter, strict=True))  # pyright: ignore[reportArgumentType]
    assert passed(ledger, 10) == through


def test_limit_of_concurrency_is_free_again_when_a_request_ends() -> None:
    ledger = book(LimitRow("org", 2, meter="active_requests", per="user"))
    assert passed(ledger, 5, "org", "user:bob") == 2
    ledger.settle("('org', 'user:bob')0", cents(1), "anthropic", NOW)
    ledger.reserve(hold("again", "org", "user:bob"))
    assert ledger.used(Series("user:bob", "active_requests"), NOW) == 0


def test_limit_that_warns_lets_everything_through_and_tells_what_went_past() -> None:
    row = LimitRow("org", 5 * CENT, "daily", on_reach="warn", strict=True)
    ledger = book(row)
    ledger.reserve(hold("h"))
    settled = ledger.settle("h", cents(7), "anthropic", NOW)
    assert settled is not None and settled.overshot == ((row, 2 * CENT),)
    assert not ledger.is_strict(("org",), "opus-5", ("anthropic",))


def test_refused_hold_leaves_nothing_on_any_account() -> None:
    ledger = book(LimitRow("org", 10**12), LimitRow("user:bob", 0, "daily"))
    with pytest.raises(Exhausted):
        ledger.reserve(hold("h", "org", "user:bob"))
    assert ledger.held_total() == 0 and ledger.open_holds() == (0, None)
    assert shown(ledger) == {("org", "total"): (0, 0), ("user:bob", "daily"): (0, 0)}


def test_views_of_a_reservation_show_the_limits_as_they_stood_before() -> None:
    row = LimitRow("org", 100 * CENT, "daily", strict=True)
    ledger = book(row)
    assert ledger.reserve(hold("a")) == (LimitView(Series("org", "cost", "daily"), row, 0, 0, TOMORROW),)
    ledger.settle("a", cents(4), "anthropic", NOW)
    ledger.reserve(hold("b"))
    assert ledger.reserve(hold("c"))[0][2:4] == (4 * CENT, 30 * CENT)


def test_settlement_replaces_the_hold_by_the_usage_on_every_account() -> None:
    ledger = book()
    ledger.reserve(hold("h", "org", "user:bob"))
    settled = ledger.settle("h", cents(7), "anthropic", NOW + 1)
    assert settled is not None and settled.counted == Amounts(7 * CENT, active_requests=0)
    assert settled.spends == (Spend(NOW, "opus-5", "anthropic", settled.counted),)
    assert (ledger.held_total(), ledger.used(ORG, NOW), ledger.used(Series("user:bob"), NOW)) == (0, 7 * CENT, 7 * CENT)


def test_second_end_of_a_hold_changes_nothing() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.settle("h", cents(7), "anthropic", NOW)
    assert ledger.settle("h", cents(9), "anthropic", NOW) is None
    assert not ledger.release("h") and not ledger.extend("h", WORST, WORST, NOW)
    assert ledger.expire(NOW + DAY_MS) == []
    assert ledger.used(ORG, NOW) == 7 * CENT


def test_release_gives_everything_back() -> None:
    ledger = book(LimitRow("org", 30 * CENT, strict=True))
    ledger.reserve(hold("h"))
    assert ledger.release("h")
    ledger.reserve(hold("again"))
    assert ledger.used(ORG, NOW) == 0


@pytest.mark.parametrize(("strict", "charged"), [(True, 30), (False, 10)])
def test_expired_hold_is_spend_at_what_the_limits_guarded(strict: bool, charged: int) -> None:
    ledger = book(LimitRow("org", 100 * CENT, "monthly", strict=strict))
    ledger.reserve(hold("h", "org", "user:bob"))
    assert ledger.charge("h").cost == ledger.held_total() == charged * CENT
    assert ledger.expire(NOW + MINUTE_MS - 1) == []
    assert [(each.id, each.charge.cost) for each in ledger.expire(NOW + MINUTE_MS)] == [("h", charged * CENT)]
    assert ledger.used(ORG, NOW) == ledger.used(Series("user:bob"), NOW) == charged * CENT


def test_expired_hold_on_several_backends_counts_for_each_until_it_is_known() -> None:
    limited = Series("org", backends=("bedrock",))
    ledger = book(LimitRow("org", 10**12, backends=("bedrock",)))
    ledger.reserve(hold("h", backends=("anthropic", "bedrock")))
    (expired,) = ledger.expire(NOW + MINUTE_MS)
    assert expired.backend == expired.spends[0].backend == "anthropic,bedrock"
    assert ledger.used(limited, NOW) == 10 * CENT
    ledger.settle("h", cents(7), "anthropic", NOW + MINUTE_MS)
    assert (ledger.used(limited, NOW), ledger.used(ORG, NOW)) == (0, 7 * CENT)


@pytest.mark.parametrize("spent", [4, 30])
def test_usage_of_an_expired_hold_corrects_what_was_counted(spent: int) -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.expire(NOW + MINUTE_MS)
    settled = ledger.settle("h", cents(spent), "anthropic", NOW + DAY_MS)
    assert settled is not None and settled.corrects and settled.counted.cost == (spent - 10) * CENT
    assert sum(spend.amounts.cost for spend in settled.spends) == settled.counted.cost
    assert {spend.quarter_ms for spend in settled.spends} == {NOW}
    assert ledger.used(ORG, NOW) == spent * CENT
    assert ledger.settle("h", cents(1), "anthropic", NOW + DAY_MS) is None


def test_usage_that_comes_too_long_after_the_expiry_changes_nothing() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.expire(NOW + MINUTE_MS)
    ledger.expire(NOW + MINUTE_MS + CORRECTABLE_MS)
    assert ledger.settle("h", cents(1), "anthropic", NOW + 2 * DAY_MS) is None
    assert ledger.used(ORG, NOW) == 10 * CENT


def test_correction_of_yesterday_does_not_let_todays_cap_be_passed() -> None:
    ledger = book(LimitRow("org", 60 * CENT, "daily", strict=True))
    ledger.reserve(hold("late"))
    ledger.expire(NOW + MINUTE_MS)
    for id in ("a", "b"):
        ledger.reserve(hold(id, now=TOMORROW))
        ledger.settle(id, cents(30), "anthropic", TOMORROW)
    ledger.settle("late", cents(1), "anthropic", TOMORROW)
    with pytest.raises(Exhausted):
        ledger.reserve(hold("c", now=TOMORROW))
    assert ledger.used(ORG, TOMORROW) == 61 * CENT


def test_correction_does_not_make_a_rolling_window_negative() -> None:
    series = Series("org", "cost", "rolling 1h")
    ledger = book(LimitRow("org", 60 * CENT, "rolling 1h", strict=True))
    ledger.reserve(hold("late"))
    ledger.expire(NOW + MINUTE_MS)
    ledger.settle("late", cents(1), "anthropic", NOW + 50 * MINUTE_MS)
    assert ledger.used(series, NOW + 50 * MINUTE_MS) == CENT
    assert ledger.used(series, NOW + 63 * MINUTE_MS) == 0


def test_correction_finds_a_series_that_was_dropped_and_restored_meanwhile() -> None:
    session, stored = Series("session:s"), []
    ledger = book()
    ledger.reserve(hold("h", "session:s"))
    (expired,) = ledger.expire(NOW + MINUTE_MS)
    stored += expired.spends
    assert ledger.drop_idle(NOW + HOUR_MS) == 1
    ledger.restore(session, stored, NOW + HOUR_MS)
    ledger.settle("h", cents(3), "anthropic", NOW + HOUR_MS)
    assert ledger.used(session, NOW + HOUR_MS) == 3 * CENT


def test_extension_holds_more_and_settles_as_one() -> None:
    ledger = book(LimitRow("org", 100 * CENT, strict=True))
    ledger.reserve(hold("h"))
    assert ledger.extend("h", cents(90), cents(20), NOW + 1)
    assert (ledger.held_total(), shown(ledger)) == (90 * CENT, {("org", "total"): (0, 90)})
    ledger.settle("h", cents(80), "anthropic", NOW + 2)
    assert (ledger.held_total(), shown(ledger)) == (0, {("org", "total"): (80, 0)})


def test_extension_that_would_pass_a_limit_leaves_the_hold_as_it_was() -> None:
    ledger = book(LimitRow("org", 100 * CENT, strict=True))
    ledger.reserve(hold("h"))
    with pytest.raises(Exhausted) as caught:
        ledger.extend("h", cents(101), cents(20), NOW + 1)
    assert caught.value.needed == 71 * CENT
    assert ledger.open_holds() == (1, NOW) and ledger.held_total() == 30 * CENT


def test_extension_is_stopped_only_by_limits_that_it_takes_more_of() -> None:
    ledger = book(LimitRow("org", 5, "daily", "requests"), LimitRow("org", 10**12))
    ledger.reserve(hold("h"))
    ledger.change_limits(Limits((LimitRow("org", 0, "daily", "requests"), LimitRow("org", 40 * CENT, strict=True))))
    assert ledger.extend("h", cents(40), cents(20), NOW)
    with pytest.raises(Exhausted):
        ledger.extend("h", cents(41), cents(20), NOW)


def test_extension_out_of_range_is_refused() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    for bad in (Amounts(-1), Amounts(AMOUNT_MAX + 1)):
        with pytest.raises(ValueError):
            ledger.extend("h", bad, EXPECTED, NOW)
    assert ledger.held_total() == 10 * CENT


def test_new_window_starts_empty_while_total_and_holds_go_on() -> None:
    ledger = book(LimitRow("org", 60 * CENT, "daily", strict=True), LimitRow("org", 120 * CENT, strict=True))
    ledger.reserve(hold("a"))
    ledger.settle("a", cents(30), "anthropic", NOW)
    ledger.reserve(hold("b"))
    assert shown(ledger, TOMORROW) == {("org", "daily"): (0, 30), ("org", "total"): (30, 30)}
    ledger.settle("b", cents(20), "anthropic", TOMORROW)
    assert shown(ledger, TOMORROW) == {("org", "daily"): (20, 0), ("org", "total"): (50, 0)}


@pytest.mark.parametrize("window", ["daily", "rolling 5h", "hourly"])
def test_clock_that_goes_back_frees_nothing(window: str) -> None:
    ledger = book(LimitRow("org", 30 * CENT, window, strict=True))
    ledger.reserve(hold("h"))
    ledger.settle("h", cents(30), "anthropic", NOW)
    with pytest.raises(Exhausted):
        ledger.reserve(hold("earlier", now=NOW - DAY_MS))
    assert ledger.views(NOW - DAY_MS)[0].used == 30 * CENT


def test_usage_while_the_clock_is_back_is_kept_where_it_was_counted() -> None:
    ledger = book(LimitRow("org", 10**12, "daily"))
    ledger.reserve(hold("h", now=TOMORROW))
    settled = ledger.settle("h", cents(5), "anthropic", TOMORROW - HOUR_MS)
    assert settled is not None and settled.spends[0].quarter_ms == TOMORROW
    assert ledger.used(Series("org", "cost", "daily"), TOMORROW) == 5 * CENT


def test_limit_that_resets_last_is_named_when_several_would_be_passed() -> None:
    rows = [
        LimitRow("org", 0, window, per=per)
        for window, per in (("hourly", "user"), ("monthly", "user"), ("daily", None))
    ]
    with pytest.raises(Exhausted) as caught:
        book(*rows).reserve(hold("h", "org", "user:bob"))
    assert caught.value.view.series == Series("user:bob", "cost", "monthly")


def test_two_limits_on_one_series_both_guard_it() -> None:
    ledger = book(LimitRow("org", 70 * CENT, strict=True), LimitRow("org", 15 * CENT))
    ledger.reserve(hold("a"))
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("b"))
    assert caught.value.max == 15 * CENT
    ledger.change_limits(Limits((LimitRow("org", 70 * CENT, strict=True), LimitRow("org", 65 * CENT))))
    ledger.reserve(hold("b"))
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("c"))
    assert caught.value.max == 70 * CENT


def test_limit_for_some_models_and_backends_counts_these_only() -> None:
    row = LimitRow("org", 35 * CENT, models=("opus-*",), backends=("bedrock",), strict=True)
    ledger = book(row)
    ledger.reserve(hold("by either", backends=("anthropic", "bedrock")))
    ledger.reserve(hold("by another", backends=("anthropic",)))
    ledger.reserve(hold("other model", model="sonnet-5", backends=("bedrock",)))
    with pytest.raises(Exhausted):
        ledger.reserve(hold("too much", backends=("bedrock",)))
    ledger.settle("by either", cents(30), "anthropic", NOW)
    ledger.reserve(hold("now it fits", backends=("bedrock",)))
    ledger.settle("now it fits", cents(30), "bedrock", NOW)
    assert ledger.used(row.series("org"), NOW) == 30 * CENT


@pytest.mark.parametrize(
    "bad",
    [
        hold("open"),
        hold("ended"),
        hold("h", "org", "org"),
        hold("h", worst=Amounts(-1)),
        hold("h", worst=Amounts(0, AMOUNT_MAX + 1)),
    ],
)
def test_hold_that_makes_no_sense_is_refused(bad: Hold) -> None:
    ledger = book()
    ledger.reserve(hold("ended", now=NOW - HOUR_MS))
    ledger.expire(NOW)
    ledger.reserve(hold("open"))
    with pytest.raises(ValueError):
        ledger.reserve(bad)
    assert ledger.held_total() == 10 * CENT


def test_absurd_usage_is_counted_at_the_most_a_response_can_have() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    settled = ledger.settle("h", Amounts(10**30), "anthropic", NOW)
    assert settled is not None and settled.counted.cost == AMOUNT_MAX
    with pytest.raises(ValueError):
        ledger.settle("h", Amounts(-1), "anthropic", NOW)


def test_settlement_past_a_limit_tells_by_how_much_it_added_to_that() -> None:
    row = LimitRow("org", 20 * CENT)
    ledger = book(row)
    for id in ("a", "b"):
        ledger.reserve(hold(id))
    settled = [ledger.settle(id, cents(15), "anthropic", NOW) for id in ("a", "b")]
    assert [each.overshot for each in settled if each is not None] == [(), ((row, 10 * CENT),)]
