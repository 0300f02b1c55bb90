"""The gate over event streams, and between framings: the same rules, and messages that prove themselves."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.contract import DENIED_TOOL
from gateway.core.gate.calls import DenialForm
from gateway.core.gate.gate import HELD_BYTES_MAX, HeldCall, StreamGate
from gateway.core.wire.eventstream import build_framing
from gateway.core.wire.messages import Tap
from gateway.core.wire.shapes import Shape
from gateway.core.wire.sse import PING, SseDecoder
from gateway.core.wire.usage import Tokens
from gateway.errors import GatewayError
from tests.support.clouds.eventstream import exception
from tests.support.dialects import event_messages
from tests.support.eventstreams import chunk, chunks_of, payload_chunk, sdk_events, sdk_message_of
from tests.support.streams import (
    DENIAL,
    Decide,
    allow,
    block_start,
    block_stop,
    deny,
    golden,
    json_delta,
    message_end,
    message_start,
    pass_through,
    sdk_message,
    text_block,
    text_delta,
    tool_block,
    tool_start,
)

PAIRS: list[tuple[Shape, Shape]] = [("bedrock", "bedrock"), ("anthropic", "bedrock"), ("bedrock", "anthropic")]
TO_BEDROCK = PAIRS[:2]
CALL = message_start() + text_block(0, "hi") + tool_block(1, "toolu_1", "Bash", "", '{"command": "l', 's"}')


def upstream(source: Shape, sse_stream: bytes) -> bytes:
    """Events as an upstream of that shape sends them."""
    return chunks_of(sse_stream) if source == "bedrock" else sse_stream


def events_of(target: Shape, stream: bytes) -> list[tuple[str, Any]]:
    """Events as a client of that shape reads them; an event stream must prove itself to botocore."""
    if target == "bedrock":
        assert len(event_messages(stream)) == len(sdk_events(stream))
        return sdk_events(stream)
    return [(frame.event.decode(), json.loads(frame.data)) for frame in SseDecoder().feed(stream)]


def gate_of(pair: tuple[Shape, Shape], form: DenialForm = "tool_use") -> StreamGate:
    return StreamGate(build_framing(*pair), Tap(), form=form)


def through(pair: tuple[Shape, Shape], stream: bytes, decide: Decide = allow, form: DenialForm = "tool_use") -> bytes:
    """What the client is sent of a whole stream, as the upstream wrote it."""
    return b"".join(pass_through(gate_of(pair, form), [stream], decide))


def split(gate: StreamGate, stream: bytes) -> tuple[bytes, HeldCall | None]:
    """What passes of a stream up to its first call, and the call."""
    out = b""
    pieces: Iterator[bytes | HeldCall] = gate.feed(stream)
    for piece in pieces:
        if isinstance(piece, HeldCall):
            return out, piece
        out += piece
    return out, None


@pytest.mark.parametrize("name", ["text.eventstream", "two_tools.eventstream", "throttled.eventstream"])
def test_allowed_event_stream_passes_byte_for_byte(name: str) -> None:
    assert through(("bedrock", "bedrock"), golden(name)) == golden(name)


@pytest.mark.parametrize("pair", PAIRS)
def test_allowed_stream_keeps_its_message(pair: tuple[Shape, Shape]) -> None:
    out = through(pair, upstream(pair[0], golden("two_tools.sse")))
    assert sdk_message_of(events_of(pair[1], out)) == sdk_message(golden("two_tools.sse"))


@pytest.mark.parametrize("pair", PAIRS)
def test_call_waits_and_is_released_whole(pair: tuple[Shape, Shape]) -> None:
    gate = gate_of(pair)
    out, call = split(gate, upstream(pair[0], CALL))
    assert [name for name, _ in events_of(pair[1], out)][-1] == "content_block_stop"
    assert b"Bash" not in out
    assert call == HeldCall(1, "toolu_1", "Bash", {"command": "ls"}, None)
    assert call is not None
    released = events_of(pair[1], gate.release(call))
    assert released == events_of(
        pair[1], upstream(pair[1], tool_block(1, "toolu_1", "Bash", "", '{"command": "l', 's"}'))
    )


def test_released_call_is_the_bytes_that_came() -> None:
    gate = gate_of(("bedrock", "bedrock"))
    block = chunks_of(tool_block(1, "toolu_1", "Bash", '{"command": "ls"}'))
    out, call = split(gate, chunks_of(message_start() + text_block(0, "hi")) + block)
    assert out == chunks_of(message_start() + text_block(0, "hi"))
    assert call is not None
    assert gate.release(call) == block


@pytest.mark.parametrize("pair", PAIRS)
def test_denied_call_becomes_a_call_of_no_tool(pair: tuple[Shape, Shape]) -> None:
    out = through(pair, upstream(pair[0], golden("two_tools.sse")), deny)
    message = sdk_message_of(events_of(pair[1], out))
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.name for call in calls] == [DENIED_TOOL, DENIED_TOOL]
    assert calls[1].input["input"] == {"file_path": "/home/dev/work/hello.txt"}
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("pair", PAIRS)
def test_text_form_replaces_the_call_and_the_stop_reason(pair: tuple[Shape, Shape]) -> None:
    stream = message_start() + tool_block(0, "toolu_1", "Bash", "{}") + message_end("tool_use")
    message = sdk_message_of(events_of(pair[1], through(pair, upstream(pair[0], stream), deny, "text")))
    assert [block.type for block in message.content] == ["text"]
    assert DENIAL.reason in message.content[0].text
    assert message.stop_reason == "end_turn"


def test_text_form_rewrites_the_event_and_not_its_likeness_beside_it() -> None:
    event = json.dumps({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}})
    payload = b'{"x":%b,"bytes":%b}'
    encoded = json.loads(event_messages(chunk(event.encode()))[0].payload)["bytes"]
    ending = payload_chunk(payload % (event.encode(), json.dumps(encoded).encode()))
    start = chunks_of(message_start() + tool_block(0, "toolu_1", "Bash", "{}"))
    _, last = sdk_events(through(("bedrock", "bedrock"), start + ending, deny, "text"))[-1]
    assert last == {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}


def test_text_form_keeps_the_end_without_the_metrics_of_bedrock() -> None:
    data = b'{"type":"message_delta","delta":{"stop_reason":"tool_use"},"amazon-bedrock-invocationMetrics":{}}'
    start = chunks_of(message_start() + tool_block(0, "toolu_1", "Bash", "{}"))
    out = through(("bedrock", "anthropic"), start + chunk(data), deny, "text")
    assert out.endswith(b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n')


@pytest.mark.parametrize("pair", TO_BEDROCK)
def test_refusal_of_a_begun_stream_proves_itself(pair: tuple[Shape, Shape]) -> None:
    gate = gate_of(pair)
    stream = upstream(pair[0], message_start() + block_start(0, type="text", text="") + text_delta(0, "half"))
    out, _ = split(gate, stream)
    events = events_of("bedrock", out + gate.refusal("permission_error", "no budget left"))
    assert [name for name, _ in events[-2:]] == ["content_block_stop", "error"]
    assert events[-1][1]["error"]["message"] == "no budget left"


@pytest.mark.parametrize("pair", TO_BEDROCK)
def test_refusal_before_the_message_begins_one(pair: tuple[Shape, Shape]) -> None:
    events = events_of("bedrock", gate_of(pair).refusal("api_error", "broke"))
    assert sdk_message_of(events[:-1]).content[0].text == "broke"
    assert events[-1][0] == "error"


def test_refusal_after_a_corrupted_message_follows_what_passed() -> None:
    gate = gate_of(("bedrock", "bedrock"))
    stream = chunks_of(message_start() + text_block(0, "hi"))
    pieces = gate.feed(stream + chunk(b'{"type":"ping"}')[:-1] + b"\x00")
    assert next(pieces) == stream
    with pytest.raises(GatewayError):
        next(pieces)
    assert [name for name, _ in sdk_events(gate.refusal("api_error", "broke"))] == ["error"]


@pytest.mark.parametrize("target", ["bedrock", "anthropic"])
def test_message_cut_short_is_dropped(target: Shape) -> None:
    stream = chunks_of(message_start() + text_block(0, "hi"))
    cut = stream + chunks_of(block_start(1, type="tool_use", id="a", name="b"))[:-1]
    assert through(("bedrock", target), cut) == through(("bedrock", target), stream)


@pytest.mark.parametrize("target", ["bedrock", "anthropic"])
def test_stream_that_ends_inside_a_call_drops_it(target: Shape) -> None:
    stream = chunks_of(message_start() + text_block(0, "hi"))
    cut = stream + chunks_of(tool_start(1) + json_delta(1, "{}"))
    assert through(("bedrock", target), cut) == through(("bedrock", target), stream)


@pytest.mark.parametrize("target", ["bedrock", "anthropic"])
def test_exception_after_text_reaches_the_client(target: Shape) -> None:
    events = events_of(target, through(("bedrock", target), golden("throttled.eventstream")))
    expected = "throttlingException" if target == "bedrock" else "rate_limit_error"
    assert [name for name, _ in events[-2:]] == ["content_block_delta", "error"]
    assert events[-1][1]["error"]["type"] == expected


@pytest.mark.parametrize("target", ["bedrock", "anthropic"])
def test_exception_inside_a_held_call_drops_the_call_and_names_no_account(target: Shape) -> None:
    tap = Tap()
    gate = StreamGate(build_framing("bedrock", target), tap)
    out = b"".join(pass_through(gate, [golden("broken_call.eventstream")]))
    assert [name for name, _ in events_of(target, out)] == ["message_start", "error"]
    assert b"123456789012" not in out
    assert tap.error is not None
    assert "123456789012" not in tap.error[1]
    assert gate.refusal("api_error", "broke") == b""


@pytest.mark.parametrize("pair", TO_BEDROCK)
def test_ping_passes_while_a_call_is_held(pair: tuple[Shape, Shape]) -> None:
    gate = gate_of(pair)
    split(gate, upstream(pair[0], message_start() + tool_start(0)))
    out, call = split(gate, upstream(pair[0], PING))
    assert events_of("bedrock", out) == [("ping", {"type": "ping"})]
    assert call is None
    assert gate.holding


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"content_block_start"}',
        b'{"bytes":"e30=","bytes":"e30="}',
        b'{"bytes":"e30=","Bytes":"e30="}',
    ],
)
@pytest.mark.parametrize("target", ["bedrock", "anthropic"])
def test_chunk_that_clients_read_differently_ends_the_stream(payload: bytes, target: Shape) -> None:
    with pytest.raises(GatewayError):
        through(("bedrock", target), chunks_of(message_start()) + payload_chunk(payload))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"content_block_start","type":"ping"}',
        b'{"type":"content_block_start","index":0,"Content_Block":{"type":"tool_use"}}',
        b'{"type":"message_start","message":',
        b'{"type":"message_start","x":NaN}',
    ],
)
def test_event_that_clients_read_differently_ends_the_stream(pair: tuple[Shape, Shape], data: bytes) -> None:
    stream = chunk(data) if pair[0] == "bedrock" else b"event: content_block_start\ndata: " + data + b"\n\n"
    with pytest.raises(GatewayError):
        through(pair, stream)


def test_exception_of_a_bedrock_stream_ends_it() -> None:
    gate = gate_of(("bedrock", "bedrock"))
    stream = exception("throttlingException", b'{"message":"wait"}')
    assert split(gate, stream) == (stream, None)
    assert gate.refusal("api_error", "broke") == b""


@pytest.mark.parametrize("pair", PAIRS)
def test_renamed_model_is_what_the_client_sees(pair: tuple[Shape, Shape]) -> None:
    tap = Tap()
    gate = StreamGate(build_framing(*pair), tap, rename=("claude-opus-5-5", 'claude "mine"'))
    stream = upstream(pair[0], message_start() + text_block(0, "claude-opus-5-5") + message_end())
    message = sdk_message_of(events_of(pair[1], b"".join(pass_through(gate, [stream]))))
    assert message.model == 'claude "mine"'
    assert message.content[0].text == "claude-opus-5-5"
    assert tap.model == "claude-opus-5-5"


@pytest.mark.parametrize("pair", [("bedrock", "bedrock"), ("anthropic", "anthropic")])
def test_model_of_another_name_is_not_renamed(pair: tuple[Shape, Shape]) -> None:
    gate = StreamGate(build_framing(*pair), Tap(), rename=("claude-opus", "mine"))
    stream = upstream(pair[0], message_start() + message_end())
    assert b"".join(pass_through(gate, [stream])) == stream


def test_renaming_changes_one_value_of_a_server_sent_event() -> None:
    gate = StreamGate(SseDecoder(), Tap(), rename=("claude-opus-5-5", "mine"))
    stream = message_start() + message_end()
    assert b"".join(pass_through(gate, [stream])) == stream.replace(b'"claude-opus-5-5"', b'"mine"')


def test_call_larger_than_the_limit_is_denied() -> None:
    gate = gate_of(("bedrock", "bedrock"))
    split(gate, chunks_of(message_start() + tool_start(0)))
    part = chunks_of(json_delta(0, "x" * 1_000_000))
    for _ in range(4):
        assert split(gate, part) == (b"", None)
    _, call = split(gate, chunks_of(block_stop(0)))
    assert call is not None
    assert str(HELD_BYTES_MAX) in (call.problem or "")
    assert len(sdk_events(gate.deny(call, DENIAL))) == 3


def test_golden_event_stream_gives_its_usage() -> None:
    tap = Tap()
    list(StreamGate(build_framing("bedrock", "anthropic"), tap).feed(golden("text.eventstream")))
    assert tap.usage().tokens == Tokens(input=3, output=21, cache_read=11820, cache_write_5m=400, cache_write_1h=12)
