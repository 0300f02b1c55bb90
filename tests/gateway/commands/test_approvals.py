"""Approvals as people read and decide them."""

import json
from typing import Any

import msgspec
import pytest

from gateway.commands.approvals import Said, decide_approval, list_approvals, show_approval
from gateway.core.decisions.decision import ScriptProfile
from gateway.core.decisions.exhibit import exhibit
from gateway.core.oversight.approvals import Item, outline
from tests.gateway.commands.test_live import canned
from tests.gateway.core.oversight.approvalcases import SCRIPT, approved, call, item, run


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")


def shown(one: Item, **more: Any) -> dict[str, Any]:
    return msgspec.to_builtins({**outline(one), "what": one.what, **more})


def test_waiting_approvals_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned({"approvals": [outline(item())]})
    list_approvals(client, "waiting", 20, as_json=False)
    text = capsys.readouterr().out
    assert all(word in text for word in ("apr_1", "Bash: make deploy", "alice", "it deploys", "waiting", "00:10:00Z"))
    assert client.asked == [("/approvals", {"state": "waiting", "limit": 20})]


def test_nothing_to_approve_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    list_approvals(canned({"approvals": []}), "waiting", 20, as_json=False)
    list_approvals(canned({"approvals": []}), None, 20, as_json=False)
    assert capsys.readouterr().out.splitlines() == ["No approval waits.", "No approval was asked for."]


def test_item_is_shown_with_all_that_is_known_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    one = item(what=exhibit(call("make deploy\nrm -rf build")).what, four_eyes=True)
    show_approval(canned(shown(one)), "apr_1", as_json=False)
    text = capsys.readouterr().out
    assert "somebody else than alice" in text and "rm -rf build" in text and "NOT ALL" not in text
    assert "make" in text and "input_sha256" in text


def test_item_that_is_cut_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    show_approval(canned(shown(item(what={"tool": "Bash", "cut": True}))), "apr_1", as_json=False)
    assert "NOT ALL of it is shown" in capsys.readouterr().out


def test_run_is_shown_with_card_and_script(capsys: pytest.CaptureFixture[str]) -> None:
    profile = ScriptProfile(valid=True, name="sweep", description="sweeps", fan_out=None, agent_calls=1)
    show_approval(canned(shown(item(run()), script=SCRIPT, profile=profile)), "apr_1", as_json=False)
    text = capsys.readouterr().out
    assert "workflow sweep: sweeps" in text and "no visible bound, from 1 call site" in text and "agent('x')" in text


def test_word_is_sent_and_the_outcome_said(capsys: pytest.CaptureFixture[str]) -> None:
    client = canned(shown(approved(item(), "session", why="checked")))
    decide_approval(client, "apr/1", Said("approve", "session", "checked"), as_json=False)
    assert "is approved for 'session': approve by olga" in capsys.readouterr().out
    assert client.asked == [("/approvals/apr%2F1", {"verdict": "approve", "scope": "session", "why": "checked"})]


def test_json_is_what_the_gateway_said(capsys: pytest.CaptureFixture[str]) -> None:
    answer = shown(item(run()), script=SCRIPT)
    show_approval(canned(answer), "apr_1", as_json=True)
    assert json.loads(capsys.readouterr().out)["script"] == SCRIPT
    list_approvals(canned({"approvals": [outline(item())]}), None, 1, as_json=True)
    assert json.loads(capsys.readouterr().out)["approvals"][0]["id"] == "apr_1"
    decide_approval(canned(answer), "apr_1", Said("deny"), as_json=True)
    assert json.loads(capsys.readouterr().out)["state"] == "waiting"
