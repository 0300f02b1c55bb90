"""The gate: text passes at once, calls wait, denied ones are replaced in place, and what is unclear ends the stream."""

import json
from typing import Any

import pytest

from gateway.contract import DENIED_TOOL
from gateway.core.gate.gate import HELD_BYTES_MAX, HeldCall, StreamGate
from gateway.core.wire.messages import Tap
from gateway.core.wire.sse import PING, SseDecoder
from gateway.errors import GatewayError, Reason
from tests.support.streams import (
    DENIAL,
    allow,
    block_start,
    block_stop,
    deny,
    event,
    golden,
    json_delta,
    message_end,
    message_start,
    new_gate,
    pass_through,
    sdk_message,
    text_block,
    text_delta,
    through,
    tool_block,
    tool_start,
)

GOLDEN = ["text.sse", "two_tools.sse", "thinking_search.sse", "spaced_crlf.sse", "overloaded.sse"]


def held_in(gate: StreamGate, chunk: bytes) -> HeldCall:
    """The call that a chunk completes; it waits for its decision."""
    return next(piece for piece in gate.feed(chunk) if isinstance(piece, HeldCall))


def held(stream: bytes) -> HeldCall:
    """The first call of a stream."""
    return held_in(new_gate(), stream)


def fed(gate: StreamGate, chunk: bytes) -> bytes:
    """What passes of a chunk that completes no call."""
    return b"".join(piece for piece in gate.feed(chunk) if isinstance(piece, bytes))


@pytest.mark.parametrize("name", GOLDEN)
def test_allowed_stream_passes_byte_for_byte(name: str) -> None:
    stream = golden(name)
    assert through(stream) == stream


def test_ping_inside_a_held_block_comes_before_it() -> None:
    stream = golden("mcp_tool.sse")
    out = through(stream)
    assert out.index(PING) < out.index(b"content_block_start")
    assert out.replace(PING, b"") == stream.replace(PING, b"")


def test_text_of_one_chunk_is_one_piece() -> None:
    stream = golden("text.sse")
    assert list(new_gate().feed(stream)) == [stream]


def test_call_waits_with_its_input() -> None:
    call = held(message_start() + tool_block(0, "toolu_1", "Bash", "", '{"command": "l', 's"}'))
    assert call == HeldCall(0, "toolu_1", "Bash", {"command": "ls"}, None)


def test_nothing_of_a_held_block_passes_before_the_decision() -> None:
    gate = new_gate()
    before = message_start() + text_block(0, "hi")
    assert fed(gate, before + tool_start(1)) == before
    assert gate.holding
    assert fed(gate, json_delta(1, "{}")) == b""


def test_ping_and_comment_pass_while_a_block_is_held() -> None:
    gate = new_gate()
    fed(gate, message_start() + tool_start(0))
    assert fed(gate, PING + b": hold\n\n") == PING + b": hold\n\n"
    call = held_in(gate, block_stop(0))
    assert gate.release(call) == tool_start(0) + block_stop(0)
    assert not gate.holding


def test_open_text_block_passes_while_a_call_is_held() -> None:
    gate = new_gate()
    fed(gate, message_start() + block_start(0, type="text", text="") + tool_start(1))
    late = text_delta(0, "late") + block_stop(0)
    assert fed(gate, late) == late
    assert gate.holding


def test_open_server_tool_passes_while_a_call_is_held() -> None:
    gate = new_gate()
    fed(gate, message_start() + block_start(0, type="server_tool_use", id="s", name="n", input={}) + tool_start(1))
    assert fed(gate, json_delta(0, "{}")) == json_delta(0, "{}")
    assert held_in(gate, json_delta(1, '{"a":1}') + block_stop(1)).input == {"a": 1}


def test_denied_call_becomes_a_call_of_no_tool() -> None:
    message = sdk_message(through(golden("two_tools.sse"), deny))
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.name for call in calls] == [DENIED_TOOL, DENIED_TOOL]
    assert calls[1].id == "toolu_3a730183b8b5438eb335"
    assert calls[1].input == {
        "tool": "Read",
        "input": {"file_path": "/home/dev/work/hello.txt"},
        "reason": DENIAL.reason,
        "decision": DENIAL.decision,
    }
    assert message.stop_reason == "tool_use"


def test_denied_call_keeps_the_other_members_of_its_block() -> None:
    start = block_start(0, type="tool_use", id="toolu_1", name="Bash", input={}, caller={"type": "direct"})
    out = through(message_start() + start + block_stop(0) + message_end("tool_use"), deny)
    assert b'"caller": {"type": "direct"}' in out


def test_denial_of_one_call_leaves_the_other_as_it_came() -> None:
    stream = golden("two_tools.sse")
    out = through(stream, lambda call: DENIAL if call.name == "Bash" else None)
    read = stream[stream.index(b'event: content_block_start\ndata: {"type":"content_block_start","index":2') :]
    assert out.endswith(read)
    assert b'"name":"Bash"' not in out


def test_text_form_replaces_the_call_and_the_stop_reason() -> None:
    stream = message_start() + tool_block(0, "toolu_1", "Bash", "{}") + message_end("tool_use")
    message = sdk_message(through(stream, deny, "text"))
    assert [block.type for block in message.content] == ["text"]
    assert DENIAL.reason in message.content[0].text
    assert message.stop_reason == "end_turn"


def test_text_form_keeps_the_stop_reason_while_a_call_remains() -> None:
    out = through(golden("two_tools.sse"), lambda call: DENIAL if call.name == "Bash" else None, "text")
    assert sdk_message(out).stop_reason == "tool_use"
    assert out.endswith(golden("two_tools.sse")[-100:])


def test_text_form_changes_only_the_stop_reason_of_the_last_delta() -> None:
    last = b'event:message_delta\r\ndata:{ "type":"message_delta","delta":{"stop_reason" : "tool_use" },\r\n'
    last += b'data:"usage":{}}\r\n\r\n'
    plain = last.replace(b",\r\ndata:", b", ")
    for ending in (last, plain):
        out = through(message_start() + tool_block(0, "toolu_1", "Bash") + ending, deny, "text")
        assert b"tool_use" not in out
        assert b'"stop_reason" : "end_turn" }' in out
    assert out.endswith(plain.replace(b"tool_use", b"end_turn"))


def test_text_form_keeps_another_stop_reason() -> None:
    stream = message_start() + tool_block(0, "toolu_1", "Bash") + message_end("max_tokens")
    assert sdk_message(through(stream, deny, "text")).stop_reason == "max_tokens"


def test_text_form_leaves_a_message_without_denials_alone() -> None:
    stream = message_start() + text_block(0, "hi") + message_end("tool_use")
    assert through(stream, deny, "text") == stream


def test_upstream_call_of_the_reserved_name_is_held_like_any() -> None:
    assert held(message_start() + tool_block(0, "toolu_1", DENIED_TOOL, "{}")).name == DENIED_TOOL


def test_tools_of_the_upstream_pass_and_are_recorded() -> None:
    tap = Tap()
    gate = StreamGate(SseDecoder(), tap)
    stream = golden("thinking_search.sse")
    assert list(gate.feed(stream)) == [stream]
    assert tap.upstream_tools == [("server_tool_use", "web_search")]


def test_escaped_type_is_held() -> None:
    stream = message_start() + tool_block(0, "toolu_1", "Bash", "{}").replace(b'"tool_use"', b'"tool\\u005fuse"')
    assert held(stream).name == "Bash"


def test_event_without_a_name_is_held_by_its_type() -> None:
    stream = (message_start() + tool_block(0, "toolu_1", "Bash", "{}")).replace(b"event: content_block_start\n", b"")
    assert held(stream).name == "Bash"


def test_input_of_the_start_counts_when_no_delta_follows() -> None:
    start = block_start(0, type="tool_use", id="toolu_1", name="Bash", input={"command": "ls"})
    assert held(message_start() + start + json_delta(0, "") + block_stop(0)).input == {"command": "ls"}
    assert held(message_start() + start + json_delta(0, '{"command":"rm"}') + block_stop(0)).input == {"command": "rm"}


def test_input_agrees_with_the_official_sdk() -> None:
    start = block_start(0, type="tool_use", id="toolu_1", name="Bash", input={"command": "ls"})
    for deltas in (b"", json_delta(0, ""), json_delta(0, '{"a":') + json_delta(0, "1}")):
        stream = message_start() + start + deltas + block_stop(0)
        assert sdk_message(stream).content[0].input == held(stream).input


def test_input_that_cannot_be_decided_is_a_problem() -> None:
    call = held(message_start() + tool_block(0, "toolu_1", "Bash", '{"a":1,', '"a":2}'))
    assert call.input is None
    assert call.problem == "the input repeats a key"


def test_unknown_delta_in_a_call_is_a_problem() -> None:
    odd = text_delta(0, "{}")
    assert "unknown kind" in (held(message_start() + tool_start(0) + odd + block_stop(0)).problem or "")


def test_call_with_a_problem_cannot_be_released() -> None:
    gate = new_gate()
    call = held_in(gate, message_start() + tool_block(0, "toolu_1", "Bash", "{"))
    with pytest.raises(RuntimeError):
        gate.release(call)
    assert (
        json.loads(sdk_message(message_start() + gate.deny(call, DENIAL)).content[0].to_json())["input"]["input"] == {}
    )


def test_call_larger_than_the_limit_is_dropped_and_denied() -> None:
    gate = new_gate()
    part = json_delta(0, "x" * 1_000_000)
    fed(gate, message_start() + tool_start(0))
    for _ in range(6):
        assert fed(gate, part) == b""
    call = held_in(gate, block_stop(0))
    assert str(HELD_BYTES_MAX) in (call.problem or "")
    assert len(gate.deny(call, DENIAL)) < 1000


def test_call_that_begins_larger_than_the_limit_must_be_denied() -> None:
    start = block_start(0, type="tool_use", id="toolu_1", name="Bash", input={"a": "x" * HELD_BYTES_MAX})
    assert str(HELD_BYTES_MAX) in (held(message_start() + start + block_stop(0)).problem or "")


@pytest.mark.parametrize("decide", [None, "other"])
def test_undecided_call_stops_the_caller(decide: str | None) -> None:
    gate = new_gate()
    pieces = gate.feed(message_start() + tool_block(0, "toolu_1", "Bash", "{}") + message_end("tool_use"))
    next(pieces)
    call = next(pieces)
    assert isinstance(call, HeldCall)
    if decide is not None:
        with pytest.raises(RuntimeError):
            gate.release(HeldCall(0, "toolu_1", "Bash", {}, None))
    with pytest.raises(RuntimeError):
        next(pieces)
    with pytest.raises(RuntimeError):
        gate.feed(b"")


def test_call_cannot_be_decided_twice() -> None:
    gate = new_gate()
    call = held_in(gate, message_start() + tool_block(0, "toolu_1", "Bash", "{}"))
    gate.deny(call, DENIAL)
    with pytest.raises(RuntimeError):
        gate.release(call)


def test_stream_that_ends_inside_a_call_drops_it() -> None:
    stream = message_start() + text_block(0, "hi")
    assert through(stream + tool_start(1) + json_delta(1, "{}")) == stream


def test_event_cut_short_is_dropped() -> None:
    stream = message_start() + text_block(0, "hi")
    assert through(stream + block_start(1, type="tool_use", id="a", name="b")[:-1]) == stream
    assert through(stream + tool_block(1, "toolu_1", "Bash", "{}")[:-1], deny) == stream


BASE = message_start() + block_start(0, type="text", text="")
NAMED = b'event: content_block_start\ndata: {"type":"content_block_start",'


@pytest.mark.parametrize(
    "fault",
    [
        message_start(),
        block_start(0, type="text", text=""),
        block_start(2, type="text", text=""),
        tool_start(0),
        block_stop(1),
        json_delta(1, "{}"),
        tool_start(1) + block_start(2, type="text", text=""),
        tool_start(1) + tool_start(2, "toolu_2"),
        tool_start(1) + block_stop(1) + tool_start(2),
        tool_start(1) + block_stop(1) + json_delta(1, "{}"),
        tool_start(1) + block_stop(1) + block_stop(1),
        tool_start(1) + message_end("tool_use"),
        tool_start(1) + event("message_stop"),
        tool_start(1) + b'event: content_block_delta\ndata: {"type":\n\n',
        tool_start(1) + b"event: content_block_stop\ndata: \n\n",
        b"event: message_stop\ndata: 5\n\n",
        b'event: message_delta\ndata: {"type":"message_delta","delta":{},"me\xc5\xbfsage":{}}\n\n',
        block_start(1, type="tool_use", id=5, name="Bash", input={}),
        block_start(1, type="tool_use", id="a", input={}),
        block_start(1, name="Bash"),
        block_start(1, type=["tool_use"]),
        event("content_block_start", index=1),
        event("content_block_start", index=True, content_block={"type": "text"}),
        event("content_block_start", index=1.0, content_block={"type": "text"}),
        event("content_block_start", index="1", content_block={"type": "text"}),
        event("content_block_start", index=-1, content_block={"type": "text"}),
        event("content_block_start", content_block={"type": "text"}),
        event("content_block_delta", index=0),
        tool_start(1).replace(b"event: content_block_start", b"event: ping"),
        tool_start(1).replace(b"event: content_block_start", b"event: other"),
        tool_start(1).replace(b"event: content_block_start", b"event: error"),
        tool_start(1).replace(b'"type":"content_block_start"', b'"type":"other"'),
        tool_start(1).replace(b'"type":"content_block_start",', b""),
        NAMED + b'"index":1,"content_block":{"type":"text","type":"tool_use","id":"a","name":"b","input":{}}}\n\n',
        NAMED + b'"index":1,"content_block":{"type":"text","Type":"tool_use","id":"a","name":"b","input":{}}}\n\n',
        NAMED + b'"index":1,"content_block":{"type":"text"},"content_block":{"type":"tool_use"}}\n\n',
        NAMED + b'"index":1,"content_bloc\xe2\x84\xaa":{"type":"tool_use"},"content_block":{"type":"text"}}\n\n',
        NAMED + b'"index":1,"x":NaN,"content_block":{"type":"tool_use","id":"a","name":"b","input":{}}}\n\n',
        NAMED + b'"index":1,"x":"\xff","content_block":{"type":"tool_use","id":"a","name":"b","input":{}}}\n\n',
        NAMED + b'"index":1,"content_block":{"type":"tool_use","id":"\\ud800","name":"b","input":{}}}\n\n',
        b'data: {"type":"other","type":"content_block_start"}\n\n',
        b'data: [{"type":"content_block_start"}]\n\n',
        b'data: {"Type":"content_block_start"}\n\n',
    ],
)
def test_stream_that_clients_could_read_differently_is_broken(fault: bytes) -> None:
    gate = new_gate()
    out: list[bytes] = []
    with pytest.raises(GatewayError) as caught:
        out.extend(pass_through(gate, [BASE + fault + text_delta(0, "after")], deny))
    assert caught.value.reason is Reason.UPSTREAM_BROKE
    assert out[0] == BASE
    assert b"after" not in b"".join(out)
    with pytest.raises(GatewayError):
        gate.feed(b"")


@pytest.mark.parametrize("content", [[{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}], {"0": 1}])
def test_message_that_begins_with_content_is_broken(content: Any) -> None:
    with pytest.raises(GatewayError):
        through(message_start(content=content))


@pytest.mark.parametrize(
    "harmless",
    [
        b"data: [DONE]\n\n",
        b"event: error\ndata: upstream connect error\n\n",
        b"event: ping\ndata: {}\n\n",
        event("new_event", index="x", content_block=5),
        b"event: error\ndata: {}\n\n",
        b"id: 7\n\n",
        text_delta(7, "x").replace(b"text", b"thinking"),
    ],
)
def test_event_that_acts_on_nothing_passes(harmless: bytes) -> None:
    assert through(BASE + harmless) == BASE + harmless
    assert through(BASE + tool_start(1) + harmless) == BASE + harmless


def test_refusal_before_any_block_completes_a_text_block() -> None:
    gate = new_gate()
    out = fed(gate, message_start()) + gate.refusal("permission_error", "the session has no budget left")
    completed, _, error = out.partition(b"event: error\n")
    assert sdk_message(completed).content[0].text == "the session has no budget left"
    assert b"permission_error" in error
    assert gate.refusal("permission_error", "again") == b""


def test_refusal_before_the_message_begins_one() -> None:
    out = new_gate().refusal("api_error", "broke")
    assert sdk_message(out.partition(b"event: error\n")[0]).content[0].text == "broke"


def test_refusal_closes_the_open_text_block() -> None:
    gate = new_gate()
    fed(gate, BASE + text_delta(0, "half"))
    out = gate.refusal("api_error", "broke")
    assert out.startswith(b"event: content_block_stop")
    assert out.count(b"event: ") == 2


def test_refusal_after_a_completed_block_is_the_error_alone() -> None:
    gate = new_gate()
    fed(gate, message_start() + text_block(0, "hi"))
    assert gate.refusal("api_error", "broke").startswith(b"event: error\n")


def test_refusal_says_its_reason_beside_type_and_message() -> None:
    out = new_gate().refusal("permission_error", "no more", "stopped")
    error = json.loads(out.rpartition(b"data: ")[2])["error"]
    assert error == {"type": "permission_error", "message": "no more", "ringfence_reason": "stopped"}


@pytest.mark.parametrize("name", [b'"ringfence_reason"', b'"ringfence_re\\u0061son"'], ids=["plain", "escaped"])
def test_reason_of_ours_that_an_upstream_claims_is_taken_out(name: bytes) -> None:
    told = b'{"type":"error","error":{"type":"api_error","message":"broke",%b:"stopped"}}' % name
    out = fed(new_gate(), message_start() + b"event: error\ndata: " + told + b"\n\n")
    assert json.loads(out.rpartition(b"data: ")[2])["error"] == {"type": "api_error", "message": "broke"}


def test_refusal_while_a_call_is_held_drops_the_call() -> None:
    gate = new_gate()
    out = fed(gate, message_start() + tool_start(0)) + gate.refusal("api_error", "broke")
    assert [block.type for block in sdk_message(out.partition(b"event: error\n")[0]).content] == ["text"]
    assert b"Bash" not in out


@pytest.mark.parametrize("decide", [allow, deny])
def test_refusal_after_a_call_is_nothing(decide: Any) -> None:
    gate = new_gate()
    list(pass_through(gate, [message_start() + tool_block(0, "toolu_1", "Bash", "{}")], decide))
    assert gate.refusal("api_error", "broke") == b""


@pytest.mark.parametrize("name", ["text.sse", "overloaded.sse"])
def test_refusal_after_the_end_is_nothing(name: str) -> None:
    gate = new_gate()
    fed(gate, golden(name))
    assert gate.refusal("api_error", "broke") == b""


@pytest.mark.parametrize("sentence", ["role arn:aws:iam::123456789012:role/x", "in projects/987654321098/locations/us"])
def test_error_that_names_an_account_is_written_anew(sentence: str) -> None:
    gate = new_gate()
    out = fed(gate, message_start() + event("error", error={"type": "overloaded_error", "message": sentence}))
    assert json.loads(out.rpartition(b"data: ")[2])["error"]["type"] == "overloaded_error"
    assert sentence.encode() not in out and gate.ended


@pytest.mark.parametrize("name", [b"", b"event: error\n"])
def test_error_in_googles_shape_becomes_the_error_event(name: bytes) -> None:
    told = {"error": {"code": 429, "message": "Resource exhausted.", "status": "RESOURCE_EXHAUSTED"}}
    tap = Tap()
    gate = StreamGate(SseDecoder(), tap)
    out = fed(gate, message_start() + name + b"data: " + json.dumps(told).encode() + b"\n\n")
    expected = event("error", error={"type": "rate_limit_error", "message": "Resource exhausted."})
    assert json.loads(out.rpartition(b"data: ")[2]) == json.loads(expected.rpartition(b"data: ")[2])
    assert (tap.error, gate.ended) == (("RESOURCE_EXHAUSTED", "Resource exhausted."), True)
