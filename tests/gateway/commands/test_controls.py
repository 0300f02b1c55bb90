"""`ringfence sessions stop|hold|release|controls` as people see them."""

import json
from typing import Any

import pytest

from gateway.commands.controls import Wanted, change_control, show_controls, target_of
from gateway.commands.output import EXIT_USAGE, CommandFailed
from tests.gateway.commands.test_live import canned

CONTROL: dict[str, Any] = {
    "target": "agent:s1/a1",
    "state": "stopped",
    "by": "olga",
    "at_ms": 1_767_225_600_000,
    "reason": "runaway",
    "serial": 3,
}
ROW: dict[str, Any] = {"control": CONTROL, "in_flight": 2, "warnings": []}


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        (Wanted(session="s1"), "session:s1"),
        (Wanted(session="s1", agent="a1"), "agent:s1/a1"),
        (Wanted(run="wf_1"), "run:wf_1"),
        (Wanted(user="alice"), "user:alice"),
        (Wanted(team="platform"), "team:platform"),
        (Wanted(everything=True), "org"),
    ],
)
def test_one_target_is_named_by_its_option(wanted: Wanted, target: str) -> None:
    client = canned(ROW)
    change_control(client, "stop", wanted, "runaway", as_json=True)
    assert target_of(wanted) == target
    assert client.asked == [("/controls", {"action": "stop", "target": target, "reason": "runaway"})]


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(agent="a1"),
        Wanted(agent="a1", user="alice"),
        Wanted(session="s1", user="alice"),
        Wanted(team="platform", everything=True),
    ],
)
def test_none_or_several_targets_are_wrong_usage(wanted: Wanted) -> None:
    client = canned(ROW)
    with pytest.raises(CommandFailed, match="name one") as failed:
        change_control(client, "stop", wanted, "runaway", as_json=False)
    assert failed.value.exit_code == EXIT_USAGE and client.asked == []


def test_change_is_told_in_a_sentence_with_its_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    row = ROW | {"warnings": ["this gateway has not seen agent s1/a1"]}
    change_control(canned(row), "stop", Wanted(session="s1", agent="a1"), "runaway", as_json=False)
    told, warning = capsys.readouterr().out.splitlines()
    assert told == "agent a1 of session s1 is stopped; 2 requests of it under way on this gateway"
    assert warning == "warning: this gateway has not seen agent s1/a1"


def test_controls_are_listed_with_who_when_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    show_controls(canned({"controls": [ROW]}), as_json=False)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("agent:s1/a1", "stopped", "olga", "2026-01-01", "runaway"))
    show_controls(canned({"controls": []}), as_json=False)
    assert capsys.readouterr().out == "Nothing is stopped or held.\n"
    show_controls(canned({"controls": [ROW]}), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"controls": [ROW]}
