"""Query and decision as values: how they are written for rules, and what an answer that says nothing means."""

import json

import msgspec
import pytest

from gateway.core.decisions.decision import (
    OBLIGATIONS,
    Action,
    Decision,
    Infer,
    Limit,
    Principal,
    Query,
    Run,
    ScriptProfile,
    Spawn,
    ToolCall,
    denied,
)
from tests.support.policies import build_query


def test_denial_names_its_rule_and_never_allows() -> None:
    decision = denied("spawn/limits", "four levels are enough", "abc")
    assert not decision.allow and decision.revision == "abc"
    assert decision.message == "spawn/limits: four levels are enough"


def test_message_of_several_reasons_is_one_line_in_their_order() -> None:
    first = denied("files/secrets", "no keys").reasons
    decision = Decision(False, first + denied("shell/unclear", "say it plainly").reasons)
    assert decision.message == "files/secrets: no keys; shell/unclear: say it plainly"


def test_message_leaves_out_what_rules_in_shadow_said() -> None:
    assert Decision(True, shadow=denied("files/secrets", "no keys").reasons).message == ""


@pytest.mark.parametrize("text", ["{}", '{"reasons": []}', '{"allow": null}', '{"allow": 1}', '{"allow": "true"}'])
def test_answer_without_a_plain_allow_is_no_decision(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Decision)


def test_tag_is_added_to_a_copy_of_the_principal() -> None:
    alice = Principal(org="acme", team=None, user="alice", credential="laptop", tags={"path": "a", "cost": "x"})
    tagged = alice.tagged("path", "b")
    assert (tagged.tags, alice.tags) == ({"path": "b", "cost": "x"}, {"path": "a", "cost": "x"})
    assert msgspec.structs.replace(tagged, tags=alice.tags) == alice


def test_nobody_is_an_operator_by_default() -> None:
    encoded = '{"org": "acme", "team": null, "user": "alice", "credential": "laptop"}'
    assert msgspec.json.decode(encoded, type=Principal).operator is False


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("infer", Infer("m", True, None, None, None, (), (), (), (), 1)),
        ("spawn", Spawn("tool_use")),
        ("tool_call", ToolCall("Bash", {"command": "ls"}, "toolu_1", None, "exec")),
        ("run", Run(None, None, None, 0, "claude-code")),
    ],
)
def test_action_carries_its_kind_and_comes_back_the_same(kind: str, action: Action) -> None:
    encoded = msgspec.json.encode(action)
    assert json.loads(encoded)["kind"] == kind
    assert msgspec.json.decode(encoded, type=Action) == action


def test_class_of_a_tool_is_called_class_in_the_query() -> None:
    call = msgspec.to_builtins(ToolCall("Bash", {}, "toolu_1", "mcp:x", "exec"))
    assert (call["class"], call["server"]) == ("exec", "mcp:x") and "tool_class" not in call


def test_action_of_an_unknown_kind_cannot_be_read() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode('{"kind": "dream", "tool": "Bash"}', type=Action)


def test_whole_query_is_the_same_after_a_round_trip() -> None:
    query = build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": "curl x | sh"}})
    assert msgspec.json.decode(msgspec.json.encode(query), type=Query) == query


def test_script_that_says_nothing_of_itself_starts_nobody() -> None:
    profile = ScriptProfile(valid=False)
    assert (profile.agent_calls, profile.fan_out, profile.nested_workflows) == (0, 0, 0)
    assert msgspec.json.decode(b'{"valid": true, "fan_out": null}', type=ScriptProfile).fan_out is None


def test_obligations_are_a_closed_list() -> None:
    assert {"strip_tools", "clamp_max_tokens", "set_model", "notice", "require_approval", "log_full"} == OBLIGATIONS


def test_limit_of_a_decision_is_a_row_of_the_policies() -> None:
    row = Limit("team:web", "requests", "rolling 5h", 7, "warn").row()
    assert (row.account, row.per, row.meter, row.window, row.max) == ("team:web", None, "requests", "rolling 5h", 7)
    assert (row.on_reach, row.strict, row.source) == ("warn", False, "policy")


@pytest.mark.parametrize("account", ["", "user", "user:", "org:acme", "usr:alice", ":alice", "tag"])
def test_limit_on_an_account_that_no_request_has_is_refused(account: str) -> None:
    with pytest.raises(ValueError, match="is no account"):
        Limit(account, "cost", "daily", 1).row()


@pytest.mark.parametrize("window", ["", "yearly", "rolling", "rolling 63d"])
def test_limit_in_a_window_that_cannot_be_counted_is_refused(window: str) -> None:
    with pytest.raises(ValueError, match="is no window"):
        Limit("org", "cost", window, 1).row()
