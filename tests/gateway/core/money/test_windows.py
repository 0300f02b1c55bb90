"""Windows against calendar and clock on the wall, in zones that make it hard."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money.windows import (
    CALENDAR_WINDOWS,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    QUARTER_MS,
    ROLLING_SLOTS,
    Calendar,
    is_window,
    rolling_ms,
    slot_ms,
)

ENDING = tuple(window for window in CALENDAR_WINDOWS if window != "total")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "America/Havana",
    "America/St_Johns",
    "America/Nuuk",
    "Pacific/Apia",
)


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    local = datetime.fromisoformat(text)
    if local.tzinfo is None:
        local = local.replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(local.timestamp() * 1000)


def bounds(window: str, now: str, zone: str, fold: int = 0) -> tuple[int, int | None]:
    calendar = Calendar(ZoneInfo(zone))
    return calendar.start_ms(window, ms(now, zone, fold)), calendar.end_ms(window, ms(now, zone, fold))


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("hourly", "2026-11-22T13:00", "2026-11-22T14:00"),
        ("daily", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("weekly", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("monthly", "2026-11-01T00:00", "2026-12-01T00:00"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"])
def test_window_of_a_sunday_afternoon_is_that_of_the_wall(window: str, start: str, end: str, zone: str) -> None:
    assert bounds(window, "2026-11-22T13:45:12.345", zone) == (ms(start, zone), ms(end, zone))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("America/Havana", "2026-11-01", 25),
        ("Asia/Kolkata", "2026-10-25", 24),
    ],
)
def test_day_in_which_the_clock_is_set_is_as_long_as_it_is(zone: str, day: str, hours: float) -> None:
    start, end = bounds("daily", f"{day}T12:00", zone)
    assert start == ms(f"{day}T00:00", zone) and end == start + round(hours * HOUR_MS)


@pytest.mark.parametrize(
    ("zone", "before", "first", "utc"),
    [
        ("America/Santiago", "2026-09-05T23:59:59.999", "2026-09-06T01:00", "2026-09-06T04:00+00:00"),
        ("Africa/Cairo", "2026-04-23T23:59:59.999", "2026-04-24T01:00", "2026-04-23T22:00+00:00"),
    ],
)
def test_day_without_a_midnight_begins_when_the_day_before_ends(zone: str, before: str, first: str, utc: str) -> None:
    assert bounds("daily", before, zone)[1] == bounds("daily", first, zone)[0] == ms(utc)
    assert bounds("daily", "2026-09-06T12:00", "America/Santiago")[1] == ms("2026-09-07T03:00+00:00")


def test_evening_that_comes_twice_is_one_day() -> None:
    first, second = (bounds("daily", "2026-10-29T23:30", "Africa/Cairo", fold) for fold in (0, 1))
    assert first == second == (ms("2026-10-28T21:00+00:00"), ms("2026-10-29T22:00+00:00"))


def test_day_that_a_zone_left_out_is_no_window() -> None:
    calendar = Calendar(ZoneInfo("Pacific/Apia"))
    end = calendar.end_ms("daily", ms("2011-12-29T12:00", "Pacific/Apia"))
    assert end is not None
    assert end == ms("2011-12-31T00:00", "Pacific/Apia") == calendar.start_ms("daily", end)


def test_hour_that_comes_twice_is_two_windows() -> None:
    first, second = (bounds("hourly", "2026-10-25T02:30", "Europe/Berlin", fold) for fold in (0, 1))
    assert first == (ms("2026-10-25T00:00+00:00"), ms("2026-10-25T01:00+00:00"))
    assert second == (ms("2026-10-25T01:00+00:00"), ms("2026-10-25T02:00+00:00"))


def test_hour_in_which_the_clock_is_set_by_half_an_hour_ends_there() -> None:
    calendar = Calendar(ZoneInfo("Australia/Lord_Howe"))
    back, forth = ms("2026-04-04T15:00+00:00"), ms("2026-10-03T15:30+00:00")
    for moment in (back, forth):
        assert calendar.end_ms("hourly", moment - 1) == calendar.start_ms("hourly", moment) == moment
        assert calendar.end_ms("hourly", moment) == moment + HOUR_MS // 2


def test_total_began_with_the_epoch_and_never_ends() -> None:
    assert bounds("total", "2026-11-22", "Europe/Berlin") == (0, None)


def test_december_is_followed_by_january_and_leap_february_by_march() -> None:
    assert bounds("monthly", "2026-12-31T23:59:59.999", "Europe/Berlin")[1] == ms("2027-01-01", "Europe/Berlin")
    assert bounds("monthly", "2028-02-29", "Asia/Kolkata")[1] == ms("2028-03-01", "Asia/Kolkata")


def test_monday_midnight_starts_a_week() -> None:
    monday = ms("2026-11-23", "America/New_York")
    calendar = Calendar(ZoneInfo("America/New_York"))
    assert calendar.start_ms("weekly", monday) == monday
    assert calendar.start_ms("weekly", monday - 1) == ms("2026-11-16", "America/New_York")


@given(st.integers(ms("2012-01-01"), ms("2037-01-01")), st.sampled_from(ENDING), st.sampled_from(ZONES))
def test_any_moment_lies_in_its_window_and_windows_tile_time(now: int, window: str, zone: str) -> None:
    calendar = Calendar(ZoneInfo(zone))
    start, end = calendar.start_ms(window, now), calendar.end_ms(window, now)
    assert end is not None and start <= now < end
    for inside in (start, now, end - 1):
        assert (calendar.start_ms(window, inside), calendar.end_ms(window, inside)) == (start, end)
    assert calendar.start_ms(window, end) == end and calendar.end_ms(window, start - 1) == start


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("month", [3, 4, 9, 10, 11])
def test_every_hour_of_a_month_touches_the_next_one_at_a_quarter(zone: str, month: int) -> None:
    calendar = Calendar(ZoneInfo(zone))
    moment = calendar.start_ms("monthly", ms(f"2026-{month:02}-15"))
    last = calendar.end_ms("monthly", moment)
    assert last is not None
    while moment < last:
        end = calendar.end_ms("hourly", moment)
        assert end is not None and QUARTER_MS <= end - moment <= HOUR_MS
        assert calendar.start_ms("hourly", end - 1) == moment and end % QUARTER_MS == 0
        moment = end
    assert moment == last


@given(st.integers(ms("2026-01-01"), ms("2027-01-01")), st.sampled_from(["rolling 1m", "rolling 7h", "rolling 30d"]))
def test_rolling_window_reaches_back_its_length_and_at_most_a_slot_more(now: int, window: str) -> None:
    length = rolling_ms(window)
    assert length is not None
    start = Calendar(ZoneInfo("Europe/Berlin")).start_ms(window, now)
    assert now - length - slot_ms(window) < start <= now - length
    assert Calendar().end_ms(window, now) is None and start % slot_ms(window) == 0


@pytest.mark.parametrize(
    ("window", "length"),
    [
        ("rolling 1m", MINUTE_MS),
        ("rolling 90m", 90 * MINUTE_MS),
        ("rolling 5h", 5 * HOUR_MS),
        ("rolling 62d", 62 * DAY_MS),
    ],
)
def test_rolling_window_is_as_long_as_it_says_and_counted_in_slots(window: str, length: int) -> None:
    assert is_window(window) and rolling_ms(window) == length
    assert slot_ms(window) * ROLLING_SLOTS == length


@pytest.mark.parametrize(
    "text",
    ["", "yearly", "Daily", "rolling", "rolling 5", "rolling 0h", "rolling 05h", "rolling 5 h", "rolling 63d"]
    + ["rolling 5w", "rolling -1h", "rolling 1h ", "rolling 99999m"],
)
def test_window_that_is_none_is_known_as_such(text: str) -> None:
    assert not is_window(text)
    assert rolling_ms(text) is None


def test_window_that_is_none_has_no_bounds() -> None:
    with pytest.raises(ValueError, match="yearly"):
        Calendar().start_ms("yearly", 0)
