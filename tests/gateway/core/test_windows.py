"""Windows against the calendar."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.windows import WINDOWS, Window, window_end_ms, window_start_ms


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("hourly", "2026-11-22T13:00", "2026-11-22T14:00"),
        ("daily", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("weekly", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("monthly", "2026-11-01T00:00", "2026-12-01T00:00"),
    ],
)
def test_window_of_a_sunday_afternoon(window: Window, start: str, end: str) -> None:
    now = ms("2026-11-22T13:45:12.345")
    assert window_start_ms(window, now) == ms(start)
    assert window_end_ms(window, now) == ms(end)


def test_total_never_ends() -> None:
    assert window_start_ms("total", ms("2026-11-22")) == 0
    assert window_end_ms("total", ms("2026-11-22")) is None


def test_december_is_followed_by_january_and_leap_february_by_march() -> None:
    assert window_end_ms("monthly", ms("2026-12-31T23:59:59.999")) == ms("2027-01-01")
    assert window_end_ms("monthly", ms("2028-02-29")) == ms("2028-03-01")


def test_monday_midnight_starts_a_week() -> None:
    assert window_start_ms("weekly", ms("2026-11-23")) == ms("2026-11-23")
    assert window_start_ms("weekly", ms("2026-11-23") - 1) == ms("2026-11-16")


@given(st.integers(0, ms("2200-01-01")), st.sampled_from([window for window in WINDOWS if window != "total"]))
def test_any_moment_lies_in_its_window_and_windows_touch(now: int, window: Window) -> None:
    start, end = window_start_ms(window, now), window_end_ms(window, now)
    assert end is not None and start <= now < end
    assert window_start_ms(window, end) == end
