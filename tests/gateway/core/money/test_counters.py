"""A series: windows that end or roll, corrections, and every series of an account."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money.budgets import Hold
from gateway.core.money.counters import Counter, Counters
from gateway.core.money.limits import METERS, Amounts, LimitRow, Series
from gateway.core.money.windows import HOUR_MS, MINUTE_MS, Calendar, rolling_ms, slot_ms

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
MIDNIGHT = NOW + 10 * HOUR_MS
UTC = Calendar()


def counter(window: str = "total", meter: str = "cost") -> Counter:
    series = Series("org", meter, window)  # pyright: ignore[reportArgumentType]
    return Counter(series, METERS.index(series.meter), UTC.end_ms(window, NOW))


def test_calendar_window_that_ended_begins_empty() -> None:
    daily = counter("daily")
    daily.add(7, NOW)
    daily.roll(UTC, MIDNIGHT - 1)
    assert (daily.used, daily.ends_ms) == (7, MIDNIGHT)
    daily.roll(UTC, MIDNIGHT)
    assert (daily.used, daily.ends_ms) == (0, MIDNIGHT + 24 * HOUR_MS)


def test_window_ends_by_the_zone_of_the_organisation() -> None:
    berlin = Calendar(ZoneInfo("Europe/Berlin"))
    daily = Counter(Series("org", "cost", "daily"), 0, berlin.end_ms("daily", NOW))
    daily.add(7, NOW)
    daily.roll(berlin, MIDNIGHT - HOUR_MS)
    assert daily.used == 0


def test_rolling_window_forgets_a_slot_when_all_of_it_is_past() -> None:
    rolling = counter("rolling 1h")
    rolling.add(3, NOW)
    rolling.add(4, NOW + MINUTE_MS - 1)
    rolling.add(5, NOW + MINUTE_MS)
    rolling.roll(UTC, NOW + HOUR_MS + MINUTE_MS - 1)
    assert rolling.used == 12
    rolling.roll(UTC, NOW + HOUR_MS + MINUTE_MS)
    assert (rolling.used, len(rolling.slots)) == (5, 1)


def test_view_of_a_rolling_window_tells_when_its_oldest_part_is_past() -> None:
    rolling, row = counter("rolling 1h"), LimitRow("org", 9, "rolling 1h")
    assert rolling.view(row).resets_at_ms is None
    rolling.add(3, NOW + 1)
    frees_ms = rolling.view(row).resets_at_ms
    assert frees_ms == NOW + HOUR_MS + MINUTE_MS
    rolling.roll(UTC, frees_ms - 1)
    assert rolling.used == 3
    rolling.roll(UTC, frees_ms)
    assert rolling.used == 0


def test_hold_counts_its_meter_only_and_leaves_nothing_behind() -> None:
    tokens = counter(meter="output_tokens")
    hold = Hold("h", ("org",), "m", ("b",), Amounts(50, 1, 7, 9), Amounts(20, 1, 3, 4), NOW, NOW)
    tokens.hold(hold)
    assert (tokens.worst, tokens.expected, tokens.open_holds) == (7, 3, 1)
    tokens.unhold(hold)
    assert (tokens.worst, tokens.expected, tokens.open_holds) == (0, 0, 0)


@pytest.mark.parametrize(
    ("strict", "most", "passes"), [(True, 16, True), (True, 17, False), (False, 8, True), (False, 9, False)]
)
def test_strict_limit_guards_the_worst_case_and_another_the_expected(strict: bool, most: int, passes: bool) -> None:
    cost = counter()
    cost.add(2, NOW)
    cost.hold(Hold("h", ("org",), "m", ("b",), Amounts(10), Amounts(3), NOW, NOW))
    assert cost.would_pass(LimitRow("org", most, strict=strict), Amounts(5), Amounts(4)) is passes


def test_correction_changes_the_window_that_it_was_counted_in() -> None:
    daily = counter("daily")
    daily.add(30, NOW)
    daily.correct(-20, NOW, UTC, NOW + HOUR_MS)
    assert daily.used == 10
    daily.correct(15, NOW, UTC, NOW + HOUR_MS)
    assert daily.used == 25


def test_correction_of_yesterday_leaves_no_room_today() -> None:
    daily, total = counter("daily"), counter()
    for each in (daily, total):
        each.add(30, NOW)
        each.roll(UTC, MIDNIGHT)
        each.add(25, MIDNIGHT)
        each.correct(-20, NOW, UTC, MIDNIGHT + 1)
    assert (daily.used, total.used) == (25, 35)


def test_correction_in_a_rolling_window_leaves_with_what_it_corrects() -> None:
    rolling = counter("rolling 1h")
    rolling.add(100, NOW)
    rolling.roll(UTC, NOW + 30 * MINUTE_MS)
    rolling.add(7, NOW + 30 * MINUTE_MS)
    rolling.correct(-60, NOW, UTC, NOW + 30 * MINUTE_MS)
    assert rolling.used == 47
    rolling.roll(UTC, NOW + 61 * MINUTE_MS)
    assert rolling.used == 7
    rolling.correct(-7, NOW, UTC, NOW + 61 * MINUTE_MS)
    assert rolling.used == 7


def test_correction_upwards_counts_where_nothing_was_counted_before() -> None:
    rolling = counter("rolling 1h")
    rolling.add(5, NOW + 10 * MINUTE_MS)
    rolling.correct(8, NOW, UTC, NOW + 10 * MINUTE_MS)
    assert [list(slot) for slot in rolling.slots] == [[NOW, 8], [NOW + 10 * MINUTE_MS, 5]]
    assert rolling.used == 13


def test_correction_of_what_was_never_counted_here_changes_nothing() -> None:
    for window in ("total", "rolling 1h"):
        young = counter(window)
        young.since_ms = NOW + 1
        young.add(5, NOW + 1)
        young.correct(-5, NOW, UTC, NOW + 2)
        assert young.used == 5


@given(
    window=st.sampled_from(["rolling 1m", "rolling 1h", "rolling 5h", "rolling 2d"]),
    steps=st.lists(st.tuples(st.floats(0, 0.4), st.integers(0, 9)), min_size=1, max_size=60),
    most=st.integers(5, 40),
)
def test_no_real_span_of_that_length_ever_sees_more_than_the_limit(
    window: str, steps: list[tuple[float, int]], most: int
) -> None:
    rolling, row, length = counter(window), LimitRow("org", most, window, strict=True), rolling_ms(window) or 0
    now, passed = NOW, []
    for part, amount in steps:
        now += round(part * length)
        rolling.roll(UTC, now)
        if not rolling.would_pass(row, Amounts(amount), Amounts()):
            rolling.add(amount, now)
            passed.append((now, amount))
        assert rolling.used == sum(slot[1] for slot in rolling.slots)
    for end, _ in passed:
        assert sum(amount for at, amount in passed if end - length <= at <= end) <= most


@given(
    window=st.sampled_from(["rolling 1m", "rolling 5h"]),
    steps=st.lists(st.tuples(st.floats(0, 0.4), st.integers(0, 9)), max_size=30),
)
def test_rolling_window_counts_nothing_older_than_its_length_and_one_slot(
    window: str, steps: list[tuple[float, int]]
) -> None:
    rolling, length, now = counter(window), rolling_ms(window) or 0, NOW
    counted: list[tuple[int, int]] = []
    for part, amount in steps:
        now += round(part * length)
        rolling.roll(UTC, now)
        rolling.add(amount, now)
        counted.append((now, amount))
        assert rolling.used <= sum(amount for at, amount in counted if at > now - length - slot_ms(window))


@given(
    amounts=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 9)), min_size=1, max_size=20),
    corrected=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 12)), max_size=10),
    later=st.integers(0, 120),
)
def test_corrections_never_make_usage_negative_and_never_free_what_others_used(
    amounts: list[tuple[int, int]], corrected: list[tuple[int, int]], later: int
) -> None:
    rolling, minute, entries = counter("rolling 1h"), 0, []
    for pause, amount in amounts:
        minute += pause % 7
        rolling.roll(UTC, NOW + minute * MINUTE_MS)
        rolling.add(amount, NOW + minute * MINUTE_MS)
        entries.append([minute, amount])
    minute += later
    now = NOW + minute * MINUTE_MS
    rolling.roll(UTC, now)
    for place, truth in corrected:
        entry = entries[place % len(entries)]
        rolling.correct(truth - entry[1], NOW + entry[0] * MINUTE_MS, UTC, now)
        entry[1] = truth
    for ahead in range(0, 65, 5):
        rolling.roll(UTC, now + ahead * MINUTE_MS)
        true = sum(amount for at, amount in entries if at + 1 + 60 > minute + ahead)
        assert rolling.used == true and all(slot[1] >= 0 for slot in rolling.slots)


def test_series_are_found_by_account_and_by_what_they_may_cover() -> None:
    counters = Counters()
    series = [Series("org"), Series("org", models=("opus-*",)), Series("user:bob", backends=("bedrock",))]
    for each in series:
        counters.add(Counter(each, 0, None))
    assert [each.series for each in counters.on(("org", "user:bob"), "sonnet-5", ("bedrock", "vertex"))] == [
        series[0],
        series[2],
    ]
    assert [each.series for each in counters.on(("org",), "opus-5", ())] == series[:2]


def test_dropped_series_is_not_found_and_its_fellows_are() -> None:
    counters = Counters()
    base, daily = Counter(Series("org"), 0, None), Counter(Series("org", "cost", "daily"), 0, None)
    for each in (base, daily):
        counters.add(each)
    counters.drop(base)
    assert base.series not in counters and counters.find(daily.series) is daily
    assert list(counters) == counters.on(("org",), "m", ("b",)) == [daily]
    counters.drop(daily)
    assert counters.on(("org",), "m", ("b",)) == []
