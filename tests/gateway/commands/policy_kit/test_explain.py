"""Why something was decided: what the trail holds, what it does not, and what the rules say when asked again."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.output import CommandFailed
from gateway.commands.policy_kit.explain import explain_decision
from gateway.core.decisions.decision import denied
from tests.gateway.commands.policy_kit.trails import DATABASE, LIST, NO_DROP, REMOVE, configured, write_trail

AGENT = {"kind": "tool_call", "tool": "Agent", "input": {"prompt": "look", "subagent_type": "Explore"}}


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def explained(folder: Path, id: str, capsys: pytest.CaptureFixture[str], policy: Any = None) -> dict[str, Any]:
    explain_decision(configured(folder, policy), id, (), as_json=True)
    (one,) = json.loads(capsys.readouterr().out)["decisions"]
    return one


def test_denial_is_told_with_what_each_rule_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trail(tmp_path / "audit.jsonl", [LIST, REMOVE])
    one = explained(tmp_path, "dec_1.1", capsys)
    said = {rule["rule"]: rule for rule in one["rules"]}
    assert one["again"] == "the same policies, asked again"
    assert len(said["shell/destructive"]["says"]) == 2 and said["network/hosts"]["says"] == []
    assert said["shell/unclear"]["mode"] == "shadow" and "spawn/limits" not in said


def test_what_the_trail_does_not_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trail(
        tmp_path / "audit.jsonl",
        [{"kind": "tool_call", "tool": "Bash", "input": {"command": "mysql --password hunter2"}}],
    )
    missing = explained(tmp_path, "dec_1", capsys)["missing"]
    assert missing[0].startswith("the prompt and the answer")
    assert missing[1].startswith("action.input (SHA-256 ") and missing[1].endswith(" 38 bytes)")
    assert missing[2] == "1 texts as they were: masked or cut"


def test_rule_that_looked_at_what_is_missing_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = {"settings": NO_DROP}
    write_trail(tmp_path / "audit.jsonl", [DATABASE])
    revision = explained(tmp_path, "dec_1", capsys, policy)["again"].split()[4].rstrip(",")
    write_trail(tmp_path / "audit.jsonl", [DATABASE], {0: denied("tools/denylist", "no", revision)})
    explain_decision(configured(tmp_path, policy), "dec_1", (), as_json=False)
    told = capsys.readouterr().out
    assert "looked at what the trail does not hold" in told


def test_other_policies_are_told_and_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trail(tmp_path / "audit.jsonl", [LIST])
    one = explained(tmp_path, "dec_1", capsys, {"mode": "shadow"})
    assert one["rules"] == [] and one["again"].endswith("`ringfence policy replay` shows what would change")


def test_decision_without_policies_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trail(tmp_path / "audit.jsonl", [LIST], {0: denied("fuse/agents", "blown")})
    one = explained(tmp_path, "dec_1", capsys)
    assert one["again"] == "no policy was asked: the gateway decided without"


def test_policies_that_cannot_be_loaded_do_not_hide_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trail(tmp_path / "audit.jsonl", [REMOVE])
    one = explained(tmp_path, "dec_1", capsys, {"settings": {"nothing": 1}})
    assert one["again"].startswith("the policies cannot be asked again: ") and one["decision"]["reasons"]


def test_page_is_plain_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = {"kind": "tool_call", "tool": "\x1b[2J[red]", "input": {}}
    write_trail(tmp_path / "audit.jsonl", [evil, LIST])
    explain_decision(configured(tmp_path), "dec_1", (), as_json=False)
    told = capsys.readouterr().out
    assert "\x1b" not in told and "[red]" in told
    assert "who: user alice, team platform" in told and "tool calls of the same request: dec_1.1" in told


def test_id_that_is_not_there_is_told_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").touch()
    with pytest.raises(CommandFailed, match="no decision dec_9: the trail is empty"):
        explain_decision(configured(tmp_path), "dec_9", (), as_json=True)
    write_trail(tmp_path / "audit.jsonl", [LIST])
    with pytest.raises(CommandFailed, match=r"no decision dec_9: the trail begins 2026-09-21.*--audit"):
        explain_decision(configured(tmp_path), "dec_9", (), as_json=True)


def test_id_of_a_request_without_a_decision_names_its_tool_calls(tmp_path: Path) -> None:
    write_trail(tmp_path / "audit.jsonl", [REMOVE, LIST])
    whole = (tmp_path / "audit.jsonl").read_bytes()
    (tmp_path / "audit.jsonl").write_bytes(whole.splitlines(keepends=True)[2])
    with pytest.raises(CommandFailed, match=r"no decision dec_1; the request has dec_1\.1"):
        explain_decision(configured(tmp_path), "dec_1", (), as_json=True)


def test_both_decisions_of_a_call_that_starts_an_agent_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trail(tmp_path / "a.jsonl", [AGENT])
    write_trail(tmp_path / "b.jsonl", [{"kind": "spawn", "agent_type": "Explore"}])
    explain_decision(configured(tmp_path), "dec_1", (tmp_path / "a.jsonl", tmp_path / "b.jsonl"), as_json=True)
    told = json.loads(capsys.readouterr().out)["decisions"]
    assert sorted(one["decision"]["kind"] for one in told) == ["spawn", "tool_call"]
