"""Budget windows in UTC: where the window of a moment starts and ends. Not what was spent in it."""

from datetime import UTC, datetime
from typing import Literal, assert_never, get_args

Window = Literal["total", "hourly", "daily", "weekly", "monthly"]

WINDOWS: tuple[Window, ...] = get_args(Window)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MONDAY_OFFSET_MS = 4 * DAY_MS
"""The epoch was a Thursday: its first Monday came four days later."""


def window_start_ms(window: Window, now_ms: int) -> int:
    """First millisecond of the window that holds `now_ms`; `total` began with the epoch, weeks begin on Monday."""
    match window:
        case "total":
            return 0
        case "hourly":
            return now_ms - now_ms % HOUR_MS
        case "daily":
            return now_ms - now_ms % DAY_MS
        case "weekly":
            return now_ms - (now_ms - MONDAY_OFFSET_MS) % WEEK_MS
        case "monthly":
            return _month_ms(_moment(now_ms), months_ahead=0)
        case _:
            assert_never(window)


def window_end_ms(window: Window, now_ms: int) -> int | None:
    """First millisecond after the window that holds `now_ms`; None for `total`, which never ends."""
    match window:
        case "total":
            return None
        case "hourly":
            return window_start_ms(window, now_ms) + HOUR_MS
        case "daily":
            return window_start_ms(window, now_ms) + DAY_MS
        case "weekly":
            return window_start_ms(window, now_ms) + WEEK_MS
        case "monthly":
            return _month_ms(_moment(now_ms), months_ahead=1)
        case _:
            assert_never(window)


def _moment(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1000, UTC)


def _month_ms(moment: datetime, *, months_ahead: int) -> int:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months_ahead, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * 1000
