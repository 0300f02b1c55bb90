"""What a next request meets, as people see it."""

import json
from typing import Any

import pytest

from gateway.commands.explain import explain_limits
from tests.gateway.commands.test_live import canned

LIMIT = {
    "account": "user:alice",
    "window": "daily",
    "limit_nanousd": 5_000_000_000,
    "strict": True,
    "spent_nanousd": 3_000_000_000,
    "held_nanousd": 500_000_000,
    "left_nanousd": 1_500_000_000,
    "resets_at_ms": 1_767_225_600_000,
    "entry": 2,
    "entry_account": "user",
    "default": True,
}
FUSE = {
    "id": "fuse_1",
    "scope": "agent",
    "holder": "s1/main",
    "meter": "cost",
    "state": "warned",
    "limit": 5_000_000_000,
    "value": 4_500_000_000,
}
SUBJECT = {"user": "alice", "team": "platform", "credential": None, "session": None, "agent": None}


def answer(**parts: Any) -> dict[str, Any]:
    whole = {"subject": SUBJECT, "sentence": "it bites first", "limits": [LIMIT], "fuses": [FUSE], "notes": ["assumed"]}
    return whole | parts


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_limit_shows_amounts_reset_and_the_entry_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned(answer())
    explain_limits(client, {"user": "alice", "session": None}, as_json=False)
    shown = capsys.readouterr().out
    amounts = ("$5.00", "$3.00", "$0.50", "$1.50", "yes", "2026-01-01", "budgets[2], default of each user")
    assert all(text in shown for text in amounts)
    assert shown.startswith("user alice, team platform: it bites first\n") and "note: assumed" in shown
    assert client.asked == [("/limits/explain", {"user": "alice", "session": None})]


def test_new_account_and_budget_of_its_own_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    own = {**LIMIT, "entry_account": "user:alice", "default": False}
    explain_limits(canned(answer(limits=[own, {**LIMIT, "account": "session"}])), {}, as_json=False)
    shown = capsys.readouterr().out
    assert "budgets[2], user:alice" in shown and "session (a new one)" in shown


def test_fuse_shows_value_and_limit_and_a_streak_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    streak = {**FUSE, "meter": "identical_tool_calls", "state": "intact", "limit": 10, "value": None}
    explain_limits(canned(answer(fuses=[FUSE, streak])), {}, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert any("s1/main" in line and "$4.50" in line and "$5.00" in line and "warned" in line for line in lines)
    assert next(line for line in lines if "identical_tool_calls" in line).split()[-3:] == ["-", "10", "fuse_1"]


def test_nobody_in_particular_without_limits_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = dict.fromkeys(SUBJECT)
    explain_limits(canned(answer(subject=nobody, limits=[], fuses=[], notes=[])), {}, as_json=False)
    assert capsys.readouterr().out == "anybody: it bites first\n"


def test_json_is_what_the_gateway_said(capsys: pytest.CaptureFixture[str]) -> None:
    explain_limits(canned(answer()), {}, as_json=True)
    assert json.loads(capsys.readouterr().out) == answer()


def test_names_from_clients_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    explain_limits(canned(answer(notes=["\x1b[2J[red]x"])), {}, as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[red]" in shown
