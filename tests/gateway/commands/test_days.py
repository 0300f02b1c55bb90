"""Days as they are given on the command line."""

import pytest

from gateway.commands.days import Days, parse_days
from gateway.commands.output import EXIT_USAGE, CommandFailed

NEW_YEAR_MS = 1_767_225_600_000
DAY_MS = 86_400_000


def test_both_days_are_included() -> None:
    days = parse_days("2026-01-01", "2026-01-02")
    assert NEW_YEAR_MS in days and NEW_YEAR_MS + 2 * DAY_MS - 1 in days
    assert NEW_YEAR_MS - 1 not in days and NEW_YEAR_MS + 2 * DAY_MS not in days


def test_no_days_are_all_days() -> None:
    assert 0 in Days() and NEW_YEAR_MS in Days()
    assert 0 not in parse_days("2026-01-01", None) and 0 in parse_days(None, "2026-01-01")


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        ("last week", None, "--from: 'last week' is no day; write it as 2026-01-31"),
        (None, "2026-02-30", "--to: '2026-02-30' is no day"),
        ("2026-02-02", "2026-02-01", "--to: 2026-02-01 is before --from 2026-02-02"),
    ],
)
def test_wrong_days_are_told(since: str | None, until: str | None, told: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        parse_days(since, until)
    assert told in failed.value.message and failed.value.exit_code == EXIT_USAGE
