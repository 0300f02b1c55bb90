"""Windows of limits: when the window of a moment began and when it ends. Not what was counted in it.

Calendar windows follow the organisation's time zone, weeks begin on Monday. `rolling 5h` looks back from every moment;
it is counted in slots, and a slot counts until all of it is past, so that no more than the limit is ever let through.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

Window = str
"""`total`, `hourly`, `daily`, `weekly`, `monthly` or `rolling <n>m|h|d`."""

CALENDAR_WINDOWS = ("total", "hourly", "daily", "weekly", "monthly")
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
"""What is counted is kept by quarter hours: every time zone in use begins its days with one."""
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
ROLLING_MS_MAX = 62 * DAY_MS
ROLLING_SLOTS = 60
"""A rolling window is counted in this many slots: so much finer than itself is its end."""

_rolling = re.compile(r"rolling ([1-9][0-9]{0,3})([mhd])")
_unit_ms = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


def is_window(text: str) -> bool:
    """Is it a window that can be counted?"""
    return text in CALENDAR_WINDOWS or rolling_ms(text) is not None


@lru_cache(maxsize=1_024)
def rolling_ms(window: Window) -> int | None:
    """Length of a rolling window; None: it is not one, or longer than `ROLLING_MS_MAX`."""
    match = _rolling.fullmatch(window)
    length = 0 if match is None else int(match[1]) * _unit_ms[match[2]]
    return length if 0 < length <= ROLLING_MS_MAX else None


def slot_ms(window: Window) -> int:
    """Length of one slot of a rolling window."""
    length = rolling_ms(window)
    assert length is not None
    return length // ROLLING_SLOTS


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows in one time zone."""

    zone: tzinfo = UTC

    def start_ms(self, window: Window, now_ms: int) -> int:
        """First millisecond that counts for `window` at `now_ms`; `total` began with the epoch."""
        length = rolling_ms(window)
        if length is not None:
            return (now_ms - length) // slot_ms(window) * slot_ms(window)
        return 0 if window == "total" else self._moments(window, now_ms)[0]

    def end_ms(self, window: Window, now_ms: int) -> int | None:
        """First millisecond after the calendar window that holds `now_ms`; None: it never ends all at once."""
        if window == "total" or rolling_ms(window) is not None:
            return None
        return self._moments(window, now_ms)[1]

    def _moments(self, window: Window, now_ms: int) -> tuple[int, int]:
        if window == "hourly":
            return self._hour(now_ms)
        now = datetime.fromtimestamp(now_ms // 1000, self.zone)
        day = datetime(now.year, now.month, now.day)
        if window == "daily":
            first, after = day, day + timedelta(days=1)
        elif window == "weekly":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        elif window == "monthly":
            first = day.replace(day=1)
            after = (first + timedelta(days=31)).replace(day=1)
        else:
            raise ValueError(f"no window {window!r}")
        return self._unix_ms(first), self._unix_ms(after)

    def _hour(self, now_ms: int) -> tuple[int, int]:
        """By its length, not its name: the clock shows one hour twice when summer time ends.

        Where the clock is set by half an hour (Lord Howe Island), the hour in which it is set ends there.
        """
        shift_ms = self._shift_ms(now_ms)
        start_ms = now_ms - (now_ms + shift_ms) % HOUR_MS
        end_ms = start_ms + HOUR_MS
        for quarter_ms in range(start_ms, end_ms, QUARTER_MS):
            if self._shift_ms(quarter_ms) == shift_ms:
                continue
            if quarter_ms <= now_ms:
                start_ms = quarter_ms + QUARTER_MS
            else:
                return start_ms, quarter_ms
        return start_ms, end_ms

    def _shift_ms(self, moment_ms: int) -> int:
        """By how much local hours begin before UTC's."""
        offset = self.zone.utcoffset(datetime.fromtimestamp(moment_ms // 1000, self.zone))
        assert offset is not None
        return offset // timedelta(milliseconds=1) % HOUR_MS

    def _unix_ms(self, local: datetime) -> int:
        return int(local.replace(tzinfo=self.zone).timestamp()) * 1000
