"""`--from` and `--to`: days in UTC, both included. No other meaning of time is here."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from gateway.commands.output import EXIT_USAGE, CommandFailed
from gateway.core.money.windows import DAY_MS


@dataclass(frozen=True, slots=True)
class Days:
    """Some days. None: no bound."""

    since: date | None = None
    until: date | None = None

    def __contains__(self, at_ms: int) -> bool:
        after = self.since is None or _start_ms(self.since) <= at_ms
        return after and (self.until is None or at_ms < _start_ms(self.until) + DAY_MS)


def parse_days(since: str | None, until: str | None) -> Days:
    """The two options as given. Raises `CommandFailed` for what is no day, and for days in the wrong order."""
    days = Days(_parse_day("--from", since), _parse_day("--to", until))
    if days.since is not None and days.until is not None and days.until < days.since:
        raise CommandFailed(f"--to: {days.until} is before --from {days.since}", EXIT_USAGE)
    return days


def _parse_day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CommandFailed(f"{option}: {text!r} is no day; write it as 2026-01-31", EXIT_USAGE) from None


def _start_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
