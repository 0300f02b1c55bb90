"""Answers that are not streamed: their calls are found, denied ones replaced, and every other byte stays."""

import json

import pytest

from gateway.contract import DENIED_TOOL
from gateway.core.gate.calls import HELD_BYTES_MAX, gate_message, rename_model, rewrite_message
from gateway.core.gate.denial import Denial
from gateway.errors import GatewayError, Reason
from tests.support.streams import DENIAL, golden


def test_whole_message_gives_its_calls() -> None:
    calls = gate_message(golden("whole_two_tools.json"))
    assert [(call.index, call.name) for call in calls] == [(1, "Bash"), (2, "Read")]
    assert calls[0].input == {"command": "rm -rf /", "description": "clean"}


def test_whole_message_without_denials_is_the_same_bytes() -> None:
    body = golden("whole_two_tools.json")
    assert rewrite_message(body, {}) is body


def test_denied_call_of_a_whole_message_is_replaced_alone() -> None:
    body = golden("whole_two_tools.json")
    out = rewrite_message(body, {"toolu_708f331807f9437b8a8a": DENIAL})
    before, after = json.loads(body), json.loads(out)
    written = after["content"].pop(1)
    before["content"].pop(1)
    assert after == before
    assert (written["name"], written["input"]["input"]["command"]) == (DENIED_TOOL, "rm -rf /")


def test_text_form_of_a_whole_message_ends_the_turn_when_no_call_remains() -> None:
    body = golden("whole_two_tools.json")
    denials = {call.id: DENIAL for call in gate_message(body)}
    out = json.loads(rewrite_message(body, denials, form="text"))
    assert [block["type"] for block in out["content"]] == ["text", "text", "text"]
    assert out["stop_reason"] == "end_turn"
    denials.popitem()
    assert json.loads(rewrite_message(body, denials, form="text"))["stop_reason"] == "tool_use"


def test_problem_in_a_whole_message_must_be_denied() -> None:
    body = golden("whole_two_tools.json").replace(b'{"file_path"', b'{"file_path": 1, "file_path"')
    call = gate_message(body)[1]
    assert call.problem is not None
    with pytest.raises(RuntimeError):
        rewrite_message(body, {})
    denied = json.loads(rewrite_message(body, {call.id: Denial("no", "dec_2")}))
    assert denied["content"][2]["input"]["input"] == {}


def test_call_larger_than_the_limit_in_a_whole_message_must_be_denied() -> None:
    block = {"type": "tool_use", "id": "a", "name": "Write", "input": {"a": "x" * HELD_BYTES_MAX}}
    (call,) = gate_message(json.dumps({"content": [block]}).encode())
    assert call.input is None
    assert str(HELD_BYTES_MAX) in (call.problem or "")


@pytest.mark.parametrize("body", [b"", b"not JSON", b'{"content":[]}', b'{"content":null}', b'{"type":"error"}'])
def test_whole_message_without_calls_has_none(body: bytes) -> None:
    assert gate_message(body) == []


@pytest.mark.parametrize(
    "body",
    [
        b'["tool_use"]',
        b'{"content":"tool_use"}',
        b'{"content":{"0":{"type":"tool_use"}}}',
        b'{"content":[],"content":["tool_use"]}',
        b'{"content":[],"Content":["tool_use"]}',
        b'{"content":[5,"tool_use"]}',
        b'{"content":[{"name":"tool_use"}]}',
        b'{"content":[{"type":"text","type":"tool_use"}]}',
        b'{"content":[{"type":"text","TYPE":"tool_use"}]}',
        b'{"content":[{"type":"tool_use","id":"a","name":"Bash"}]}',
        b'{"content":[{"type":"tool_use","id":"a","input":{}}]}',
        b'{"content":[{"type":"tool_use","id":3,"name":"Bash","input":{}}]}',
        b'{"content":[{"type":"tool_use","id":"a","name":"b","input":{}},{"type":"tool_use","id":"a","name":"b","input":{}}]}',
        b'{"content":[{"type":"text","\\ud800":1}]}',
        b'{"tool_use":1,"content":' + b"[" * 5000,
    ],
)
def test_whole_message_that_clients_could_read_differently_is_broken(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        gate_message(body)
    assert caught.value.reason is Reason.UPSTREAM_BROKE


@pytest.mark.parametrize(
    ("body", "renamed"),
    [
        (b'{"model": "a", "content": [{"model":"a"}]}', b'{"model": "b", "content": [{"model":"a"}]}'),
        (b'{"model":"\\u0061"}', b'{"model":"b"}'),
        (b'{"model":"other"}', b'{"model":"other"}'),
        (b'{"content":[]}', b'{"content":[]}'),
        (b'{"model":"a","model":"a"}', b'{"model":"a","model":"a"}'),
        (b'{"model":5}', b'{"model":5}'),
        (b"<html>", b"<html>"),
        (b"", b""),
    ],
)
def test_model_of_a_whole_message_is_renamed_when_it_is_the_one(body: bytes, renamed: bytes) -> None:
    assert rename_model(body, ("a", "b")) == renamed
