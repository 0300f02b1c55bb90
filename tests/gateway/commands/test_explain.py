"""What a next request meets, as people see it."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from gateway.commands.explain import explain_limits
from tests.gateway.commands.test_limits import LIMIT
from tests.gateway.commands.test_live import canned

FUSE = {
    "id": "fuse_1",
    "scope": "agent",
    "holder": "s1/main",
    "meter": "cost",
    "state": "warned",
    "limit": 5_000_000_000,
    "value": 4_500_000_000,
}
NOBODY: dict[str, Any] = {
    "user": None,
    "team": None,
    "groups": [],
    "tags": {},
    "credential": None,
    "session": None,
    "run": None,
    "agent": None,
}
SUBJECT = NOBODY | {"user": "alice", "team": "platform", "groups": ["eng"], "tags": {"project": "x"}}


def answer(**parts: Any) -> dict[str, Any]:
    whole = {"subject": SUBJECT, "sentence": "it bites first", "limits": [LIMIT], "fuses": [FUSE], "notes": ["assumed"]}
    return whole | parts


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_answer_begins_with_who_is_meant_and_what_bites_first(capsys: pytest.CaptureFixture[str]) -> None:
    explain_limits(canned(answer()), {}, as_json=False)
    shown = capsys.readouterr().out
    assert shown.startswith("user alice, team platform, group eng, tag project=x: it bites first\n")
    assert "$0.10" in shown and "budgets[2], team:platform" in shown and "note: assumed" in shown


def test_question_names_only_what_was_told_and_each_group_and_tag(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"user": "a&b", "team": None, "group": ["g", "h"], "tag": ["x=y"], "session": None}
    client = canned(answer())
    explain_limits(client, asked, as_json=True)
    explain_limits(client, {"user": None, "group": None}, as_json=True)
    assert capsys.readouterr().out
    queries = [parse_qs(path.partition("?")[2], strict_parsing="=" in path) for path, _ in client.asked]
    assert queries == [{"user": ["a&b"], "group": ["g", "h"], "tag": ["x=y"]}, {}]


def test_fuse_shows_value_and_limit_and_a_streak_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    streak = {**FUSE, "meter": "identical_tool_calls", "state": "intact", "limit": 10, "value": None}
    explain_limits(canned(answer(fuses=[FUSE, streak])), {}, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert any("s1/main" in line and "$4.50" in line and "$5.00" in line and "warned" in line for line in lines)
    assert next(line for line in lines if "identical_tool_calls" in line).split()[-3:] == ["-", "10", "fuse_1"]


def test_nobody_in_particular_without_limits_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    explain_limits(canned(answer(subject=NOBODY, limits=[], fuses=[], notes=[])), {}, as_json=False)
    assert capsys.readouterr().out == "anybody: it bites first\n"


def test_json_is_what_the_gateway_said(capsys: pytest.CaptureFixture[str]) -> None:
    explain_limits(canned(answer()), {}, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(answer()))


def test_names_from_clients_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    explain_limits(canned(answer(notes=["\x1b[2J[red]x"])), {}, as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[red]" in shown
