"""What a changed policy set would have decided: exact where it can be, counted where not."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.commands.days import parse_days
from gateway.commands.output import EXIT_DONE
from gateway.commands.policy_kit.decisions import Decisions
from gateway.commands.policy_kit.probe import Probe
from gateway.commands.policy_kit.replay import EXIT_CHANGED, Asked, replay, replay_decisions, show_replay
from gateway.commands.policy_kit.scaffold import create_rule
from gateway.core.decisions.decision import Decision, Obligation, denied
from gateway.errors import GatewayError
from tests.gateway.commands.policy_kit.trails import (
    DATABASE,
    INFER,
    LIST,
    NO_DROP,
    NO_PUSH,
    PUSH,
    REMOVE,
    SPAWN,
    configured,
    probe_of,
    record_of,
    write_trail,
)
from tests.support.policies import POLICIES

RUN = {"kind": "run", "profile": {"valid": True, "fan_out": 20}}
ALL_OF_IT = Asked()
ALL = (INFER, LIST, PUSH, REMOVE, DATABASE, SPAWN, RUN)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    write_trail(tmp_path / "audit.jsonl", ALL)
    return tmp_path / "audit.jsonl"


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def shown(path: Path, probe: Probe, asked: Asked = ALL_OF_IT, *, as_json: bool = True) -> int:
    return show_replay(probe, Decisions([path]), asked, as_json=as_json)


def test_same_policies_change_nothing(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_decisions(configured(trail.parent), Asked(), as_json=True) == EXIT_DONE
    told = printed(capsys)
    assert (told["replayed"], told["left_out"]) == (len(ALL), {})
    assert set(told["changes"].values()) == {0}
    assert told["by_kind"] == {"infer": 1, "tool_call": 4, "spawn": 1, "run": 1}


def test_changed_setting_shows_what_it_would_deny(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(trail, probe_of(NO_PUSH)) == EXIT_CHANGED
    told = printed(capsys)
    assert told["changes"] == {"would be denied": 1, "would be allowed": 0, "would differ": 0}
    assert told["by_rule"] == {"tools/denylist": {"would be denied": 1}}
    (example,) = told["examples"]["would be denied"]
    assert (example["id"], example["user"], example["about"]) == ("dec_1.2", "alice", "Bash")


def test_other_folder_is_tried_with_the_configured_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trail(tmp_path / "audit.jsonl", [PUSH, {**PUSH, "tool": "example_tool"}])
    shutil.copytree(POLICIES, tmp_path / "other")
    create_rule("shell/friday", tmp_path / "other", as_json=True)
    capsys.readouterr()
    config = configured(tmp_path, {"settings": NO_PUSH})
    assert replay_decisions(config, Asked(folder=tmp_path / "other"), as_json=True) == EXIT_CHANGED
    assert set(printed(capsys)["by_rule"]) == {"tools/denylist", "shell/friday"}


def test_call_that_a_rule_cannot_judge_without_its_input_is_left_out() -> None:
    tally = replay(probe_of(NO_DROP), [record_of(DATABASE), record_of(LIST)])
    assert (tally.replayed, tally.changes) == (1, 0)
    assert tally.left_out == {"a rule looks at what was not recorded": 1}
    assert tally.unsure_rules == {"tools/denylist": 1}


def test_same_call_is_judged_when_its_input_was_recorded() -> None:
    record = record_of(DATABASE)
    full = msgspec.structs.replace(record, unrecorded=(), input=DATABASE["input"])
    assert replay(probe_of(NO_DROP), [full]).verdicts == {"would be denied": 1}


def test_what_no_rule_decided_is_left_out() -> None:
    by_fuse = msgspec.structs.replace(record_of(LIST), allow=False, revision="")
    undone = msgspec.structs.replace(record_of(LIST), reasons=denied("engine/obligation", "x").reasons, allow=False)
    old = msgspec.structs.replace(record_of(LIST), action=None)
    tally = replay(probe_of(), [by_fuse, undone, old])
    assert tally.replayed == 0 and sorted(tally.left_out.values()) == [1, 2]


def test_rule_that_obliges_is_named() -> None:
    tally = replay(probe_of({"workflows": {"approve_above": 8}}), [record_of(RUN)])
    assert tally.by_rule == {"workflows/approval": {"would differ": 1}}
    assert tally.examples["would differ"][0].details[0].startswith('obliges to: require_approval {"reason"')


def test_rule_that_is_switched_to_shadow_would_allow() -> None:
    record = record_of(PUSH, probe_of(NO_PUSH))
    tally = replay(probe_of(NO_PUSH, {"tools/denylist": "shadow"}), [record])
    assert tally.verdicts == {"would be allowed": 1}
    assert "would refuse (shadow): tools/denylist" in tally.examples["would be allowed"][0].details


def test_meters_count_as_they_were() -> None:
    record = record_of(SPAWN, meters={"session": {"agents": 60}})
    assert replay(probe_of({"spawn": {"total": 60}}), [record]).verdicts == {"would be denied": 1}
    assert replay(probe_of({"spawn": {"total": 61}}), [record]).changes == 0


def test_only_days_and_kinds_that_are_asked_for_are_replayed(trail: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown(trail, probe_of(), Asked(kinds=("spawn", "run")))
    assert printed(capsys)["by_kind"] == {"spawn": 1, "run": 1}
    shown(trail, probe_of(), Asked(days=parse_days("2026-09-22", None)))
    assert printed(capsys)["replayed"] == 0


def test_decision_of_the_same_policies_that_comes_out_otherwise_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = probe_of()
    other = Decision(allow=True, obligations=(Obligation("log_full"),), revision=probe.revision)
    write_trail(tmp_path / "audit.jsonl", [LIST], {0: other})
    shown(tmp_path / "audit.jsonl", probe, as_json=False)
    assert "1 of the changes are of decisions that these very policies made" in capsys.readouterr().out


def test_pages_tell_counts_examples_and_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = {"kind": "tool_call", "tool": "Bash", "input": {"command": "mysql --password hunter2; git push"}}
    write_trail(tmp_path / "audit.jsonl", [secret, DATABASE, LIST])
    both = {"tools": {"deny": [*NO_PUSH["tools"]["deny"], *NO_DROP["tools"]["deny"]]}}
    assert shown(tmp_path / "audit.jsonl", probe_of(both), as_json=False) == EXIT_CHANGED
    told = capsys.readouterr().out
    assert "replayed 2 decisions (2 tool_call)" in told and "would be denied: 1," in told
    assert "refuses: tools/denylist (masked)" in told and "hunter2" not in told
    assert "1 decision(s) left out: a rule looks at what was not recorded" in told
    assert "tools/denylist (1); the obligation log_full records it" in told


def test_policies_that_would_not_be_served_are_refused(tmp_path: Path) -> None:
    write_trail(tmp_path / "audit.jsonl", [LIST])
    with pytest.raises(GatewayError, match=r"tools\.denyy"):
        replay_decisions(configured(tmp_path, {"settings": {"tools": {"denyy": []}}}), Asked(), as_json=True)
