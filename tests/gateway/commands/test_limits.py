"""The table of limits."""

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.limits import limit_table
from gateway.core.money.standing import Standing

LIMIT: dict[str, Any] = {
    "account": "team:platform",
    "meter": "cost",
    "window": "daily",
    "models": (),
    "backends": (),
    "per": None,
    "max": 1_000_000_000,
    "used": 600_000_000,
    "held": 300_000_000,
    "left": 100_000_000,
    "percent": 90,
    "strict": True,
    "on_reach": "refuse",
    "id": "budgets[2]",
    "source": "config",
    "resets_at_ms": 1_767_225_600_000,
    "set_on": "team:platform",
    "warn_at": (75, 95),
    "warned": (75,),
}


def standing(**changed: Any) -> Standing:
    """A strict daily limit of a dollar, 90 % of it used and held."""
    return Standing(**(LIMIT | changed))


def drawn(*limits: Standing) -> list[str]:
    """Lines of the table, cells two spaces or more apart."""
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(limit_table("Limits", limits))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_limit_of_cost_is_shown_in_dollars_with_its_warnings_and_where_it_comes_from() -> None:
    _, heading, line = drawn(standing())
    assert heading.split() == "account meter window limit used held left % at the limit warns at resets from".split()
    cells = ["team:platform", "cost", "daily", "$1.00", "$0.60", "$0.30", "$0.10", "90", "refuse, strict"]
    rest = ["75% (passed), 95%", "2026-01-01 00:00:00Z", "budgets[2], team:platform"]
    assert [cell.strip() for cell in line.split("  ") if cell] == [*cells, *rest]


def test_limit_of_a_count_is_shown_as_a_count() -> None:
    line = drawn(standing(meter="requests", max=100, used=60, held=30, left=10, strict=False, on_reach="warn"))[2]
    assert line.split()[:9] == ["team:platform", "requests", "daily", "100", "60", "30", "10", "90", "warn"]


def test_default_says_whose_it_is_and_a_new_account_that_it_is_new() -> None:
    new = standing(account="session", per="session", set_on="org", id="spl_1", source="api")
    policy = standing(id="", source="policy", per="user", set_on="team:platform")
    lines = drawn(new, policy)[2:]
    assert "session (a new one)" in lines[0] and lines[0].endswith("spl_1, each session of org")
    assert lines[1].endswith("policy, each user of team:platform")


def test_column_for_models_is_there_only_when_a_limit_has_some() -> None:
    some = standing(models=("claude-opus-*",), backends=("bedrock",))
    assert "only" not in drawn(standing())[1].split()
    heading, whole, partial = drawn(standing(), some)[1:]
    assert heading.split()[3] == "only" and "claude-opus-*, bedrock" in partial and "daily   -  " in whole


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"window": "rolling 5h"}, "from 2026-01-01 00:00:00Z"),
        ({"window": "rolling 5h", "resets_at_ms": None}, "75% (passed), 95%  -"),
        ({"window": "total", "resets_at_ms": None, "warn_at": (), "warned": ()}, "refuse, strict  -         -"),
        ({"meter": "active_requests", "window": "total"}, "active_requests  at once"),
    ],
)
def test_window_and_reset_are_shown_as_they_work(changed: dict[str, Any], shown: str) -> None:
    assert shown in drawn(standing(**changed))[2]


def test_names_from_clients_cannot_steer_the_terminal() -> None:
    text = "\n".join(drawn(standing(account="session:\x1b[2J[red]x")))
    assert "\x1b" not in text and "[red]" in text
