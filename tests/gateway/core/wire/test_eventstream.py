"""The event stream as a framing: cut, proven and bounded; and events carried from one framing to the other."""

import base64
import json
import struct
import zlib
from typing import Any

import pytest
from anthropic._streaming import SSEDecoder

from gateway.core.wire.eventstream import (
    HEADERS_BYTES_MAX,
    EventStreamDecoder,
    Reframed,
    build_framing,
    encode_chunk,
    encode_exception,
    ping,
    without_metrics,
)
from gateway.core.wire.shapes import Shape
from gateway.core.wire.sse import EVENT_BYTES_MAX, PING, Frame, Framing, SseDecoder
from gateway.errors import GatewayError, Reason
from tests.support.clouds.eventstream import exception, message, string_headers
from tests.support.dialects import event_messages
from tests.support.eventstreams import chunk, chunks_of, payload_chunk, sdk_events
from tests.support.streams import block_start, event, golden, json_delta, message_start, text_delta

GOLDEN = ["text.eventstream", "two_tools.eventstream", "throttled.eventstream"]
METRICS = b'"amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"outputTokenCount":2}'
STOP = b'{"type":"message_stop"}'


def framed(framing: Framing, stream: bytes) -> list[Frame]:
    """Every frame of a stream."""
    framing.push(stream)
    frames: list[Frame] = []
    while (frame := framing.next_frame()) is not None:
        frames.append(frame)
    return frames + framing.close()


def reframed(source: Shape, target: Shape, stream: bytes) -> bytes:
    """A stream as a client of another framing is sent it."""
    return b"".join(frame.raw for frame in framed(build_framing(source, target), stream))


def refused(stream: bytes) -> GatewayError:
    """The fault that ends a stream."""
    with pytest.raises(GatewayError) as caught:
        framed(EventStreamDecoder(), stream)
    return caught.value


@pytest.mark.parametrize("name", GOLDEN)
def test_frames_hold_every_byte(name: str) -> None:
    stream = golden(name)
    assert b"".join(frame.raw for frame in framed(EventStreamDecoder(), stream)) == stream


@pytest.mark.parametrize("name", GOLDEN[:2])
def test_events_agree_with_the_official_sdk(name: str) -> None:
    stream = golden(name)
    frames = framed(EventStreamDecoder(), stream)
    assert [(frame.event.decode(), json.loads(frame.data)) for frame in frames] == sdk_events(stream)


def test_exception_after_text_is_the_last_event() -> None:
    frames = framed(EventStreamDecoder(), golden("throttled.eventstream"))
    assert [frame.event for frame in frames[-2:]] == [b"content_block_delta", b"error"]
    assert json.loads(frames[-1].data)["error"]["type"] == "rate_limit_error"


def test_message_in_many_chunks_is_one_frame() -> None:
    stream = chunk(b'{"type":"ping","x":"' + b"x" * 100_000 + b'"}') + chunk(STOP)
    decoder = EventStreamDecoder()
    frames: list[Frame] = []
    for at in range(0, len(stream), 1000):
        decoder.push(stream[at : at + 1000])
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
    assert b"".join(frame.raw for frame in frames) == stream
    assert [frame.event for frame in frames] == [b"ping", b"message_stop"]


def test_message_cut_short_is_one_incomplete_frame() -> None:
    stream = chunk(STOP)
    for size in (1, 11, 12, 40, len(stream) - 1):
        assert framed(EventStreamDecoder(), stream + stream[:size])[1:] == [Frame(stream[:size], complete=False)]
        assert framed(build_framing("bedrock", "anthropic"), stream[:size]) == [Frame(b"", complete=False)]


def test_empty_chunks_change_nothing() -> None:
    stream = chunk(STOP)
    decoder = EventStreamDecoder()
    for part in (b"", stream[:5], b"", stream[5:20], b""):
        decoder.push(part)
        assert decoder.next_frame() is None
    decoder.push(stream[20:])
    assert decoder.next_frame() == Frame(stream, STOP, b"message_stop")


def test_corrupted_byte_is_refused_wherever_it_is() -> None:
    stream = chunk(STOP, "abc")
    for at in range(len(stream)):
        for bits in (0x01, 0x20, 0x80, 0xFF):
            damaged = stream[:at] + bytes([stream[at] ^ bits]) + stream[at + 1 :]
            assert refused(damaged).reason is Reason.UPSTREAM_BROKE


def with_lengths(total: int, headers: int) -> bytes:
    """A prelude that proves itself."""
    lengths = struct.pack(">II", total, headers)
    return lengths + struct.pack(">I", zlib.crc32(lengths))


def test_wrong_prelude_is_refused_before_the_message_is_here() -> None:
    decoder = EventStreamDecoder()
    decoder.push(chunk(STOP)[:11] + b"\x00")
    with pytest.raises(GatewayError):
        decoder.next_frame()


@pytest.mark.parametrize(
    ("total", "headers"),
    [
        (EVENT_BYTES_MAX + 1, 0),
        (2**32 - 1, 0),
        (15, 0),
        (0, 0),
        (16, 1),
        (100, 85),
        (EVENT_BYTES_MAX, HEADERS_BYTES_MAX + 1),
    ],
)
def test_lengths_that_cannot_be_are_refused_at_the_prelude(total: int, headers: int) -> None:
    assert refused(with_lengths(total, headers)).reason is Reason.UPSTREAM_BROKE


def test_longest_message_is_waited_for() -> None:
    decoder = EventStreamDecoder()
    decoder.push(with_lengths(EVENT_BYTES_MAX, 0))
    assert decoder.next_frame() is None


def test_event_as_bare_json_is_refused() -> None:
    assert "bytes" in refused(payload_chunk(b'{"type":"message_start","message":{}}')).message


def test_fault_comes_after_the_frames_before_it() -> None:
    decoder = EventStreamDecoder()
    decoder.push(chunk(STOP) + b"\x00" * 12)
    assert decoder.next_frame() == Frame(chunk(STOP), STOP, b"message_stop")
    with pytest.raises(GatewayError):
        decoder.next_frame()


def test_changed_headers_are_read_anew() -> None:
    stream = chunk(STOP) + exception("throttlingException", b"{}") + chunk(STOP)
    assert [frame.event for frame in framed(EventStreamDecoder(), stream)] == [
        b"message_stop",
        b"error",
        b"message_stop",
    ]


def test_text_run_is_the_bytes_of_its_messages() -> None:
    stream = chunks_of(text_delta(0, "ab") + text_delta(0, "cd"))
    decoder = EventStreamDecoder()
    decoder.push(stream + chunk(STOP))
    run = decoder.text_run()
    assert run is not None
    assert (run.raw, run.chars) == (stream, 4)
    assert decoder.next_frame() == Frame(chunk(STOP), STOP, b"message_stop")


def test_rewritten_frame_is_a_chunk_with_the_other_data() -> None:
    (frame,) = framed(EventStreamDecoder(), payload_chunk(b'{"bytes":"e30=","x":{}}'))
    assert sdk_events(EventStreamDecoder().rewrite(frame, STOP)) == [("message_stop", json.loads(STOP))]


def test_error_is_encoded_as_an_exception() -> None:
    data = b'{"type":"error","error":{"type":"overloaded_error","message":"later"}}'
    assert EventStreamDecoder().encode("error", data) == encode_exception("serviceUnavailableException", "later")


@pytest.mark.parametrize("name", ["text.sse", "two_tools.sse", "thinking_search.sse", "spaced_crlf.sse"])
def test_server_sent_events_keep_their_json_in_an_event_stream(name: str) -> None:
    out = reframed("anthropic", "bedrock", golden(name))
    events = [json.loads(frame.data) for frame in SseDecoder().feed(golden(name)) if frame.data]
    assert [found for _, found in sdk_events(out)] == events


@pytest.mark.parametrize("name", ["text.sse", "two_tools.sse", "thinking_search.sse"])
def test_round_trip_through_the_other_framing_gives_the_stream(name: str) -> None:
    there = reframed("anthropic", "bedrock", golden(name))
    assert reframed("bedrock", "vertex", there) == golden(name).replace(b": note\n\n", b"")


@pytest.mark.parametrize("name", GOLDEN[:2])
def test_event_stream_is_read_by_the_official_sdk_as_server_sent_events(name: str) -> None:
    out = reframed("bedrock", "anthropic", golden(name))
    events = [(found.event, json.loads(found.data)) for found in SSEDecoder().iter_bytes(iter([out]))]
    expected = sdk_events(golden(name))
    expected[-1] = ("message_stop", {"type": "message_stop"})
    assert events == expected


def test_overloaded_stream_ends_in_an_exception() -> None:
    out = reframed("vertex", "bedrock", golden("overloaded.sse"))
    name, found = sdk_events(out)[-1]
    assert (name, found["error"]["type"]) == ("error", "serviceUnavailableException")


def test_exception_ends_server_sent_events_in_an_error() -> None:
    out = reframed("bedrock", "anthropic", golden("throttled.eventstream"))
    last = SseDecoder().feed(out)[-1]
    assert last.event == b"error"
    assert json.loads(last.data)["error"]["type"] == "rate_limit_error"


def test_error_without_a_name_is_an_exception() -> None:
    out = reframed("anthropic", "bedrock", b'data: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n')
    assert event_messages(out)[0].headers[":message-type"] == "exception"


def test_error_that_cannot_be_read_is_an_exception() -> None:
    out = reframed("anthropic", "bedrock", b"event: error\ndata: overloaded\n\n")
    assert event_messages(out)[0].headers[":message-type"] == "exception"


@pytest.mark.parametrize("data", [b": note\n\n", b"event: ping\n\n", b"\n", b"data: text\n\n", b"data: [1]\n\n"])
def test_what_is_no_event_has_no_bytes_in_an_event_stream(data: bytes) -> None:
    assert reframed("anthropic", "bedrock", data) == b""


def test_event_of_an_unknown_kind_has_no_bytes_in_server_sent_events() -> None:
    stream = message(string_headers({":event-type": "initial-response", ":message-type": "event"}), b"{}")
    assert reframed("bedrock", "anthropic", stream) == b""
    assert reframed("bedrock", "bedrock", stream) == stream


def test_ping_is_a_chunk() -> None:
    assert sdk_events(reframed("anthropic", "bedrock", PING)) == [("ping", {"type": "ping"})]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b'{"type":\n"ping",\r\n\r\n"x":\r1}', 1),
        (b'{"type":"a\\n\\nevent: content_block_start","x":1}', 1),
        (b'{"type":"ping"}\n\nevent: error\ndata: {}\n\n', 1),
        (b'{"type":"ping"}\r\revent: error\rdata: {}\r\r', 1),
        (b'\n\ndata: {"type":"ping"}', 0),
    ],
)
def test_no_data_begins_a_second_event(data: bytes, events: int) -> None:
    out = reframed("bedrock", "anthropic", chunk(data))
    assert len(SseDecoder().feed(out)) == events
    assert not any(frame.event in (b"error", b"content_block_start") for frame in SseDecoder().feed(out))


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b'{"type":"message_stop",%b}', b'{"type":"message_stop"}'),
        (b'{"type":"message_stop", %b , "x":1}', b'{"type":"message_stop" , "x":1}'),
        (b'{ %b , "type":"message_stop"}', b'{ "type":"message_stop"}'),
        (b"{%b}", b"{}"),
        (b'{"type":"x","delta":{%b}}', b'{"type":"x","delta":{%b}}' % METRICS),
        (b'{"type":"x"}', b'{"type":"x"}'),
    ],
)
def test_metrics_of_bedrock_are_cut(data: bytes, cut: bytes) -> None:
    whole = data.replace(b"%b", METRICS)
    assert json.loads(without_metrics(whole)) == json.loads(cut)
    assert without_metrics(whole).replace(b" ", b"") == cut.replace(b" ", b"")


def test_metrics_are_cut_from_the_bytes_and_not_from_the_data() -> None:
    data = b'{"type":"message_stop",%b}' % METRICS
    (frame,) = framed(build_framing("bedrock", "anthropic"), chunk(data))
    assert frame == Frame(event("message_stop"), data, b"message_stop")


def test_metrics_that_cannot_be_cut_go_with_their_event() -> None:
    data = b'{"type":"message_stop",%b,%b}' % (METRICS, METRICS)
    (frame,) = framed(build_framing("bedrock", "anthropic"), chunk(data))
    assert (frame.raw, frame.data) == (b"", data)


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("anthropic", "anthropic", SseDecoder),
        ("anthropic", "vertex", SseDecoder),
        ("vertex", "anthropic", SseDecoder),
        ("vertex", "vertex", SseDecoder),
        ("bedrock", "bedrock", EventStreamDecoder),
        ("bedrock", "anthropic", Reframed),
        ("bedrock", "vertex", Reframed),
        ("anthropic", "bedrock", Reframed),
        ("vertex", "bedrock", Reframed),
    ],
)
def test_same_framing_on_both_ends_is_not_rewritten(source: Shape, target: Shape, kind: type[Any]) -> None:
    assert type(build_framing(source, target)) is kind


def test_ping_is_written_in_the_framing_of_the_client() -> None:
    assert ping("anthropic") == ping("vertex") == PING
    assert sdk_events(ping("bedrock")) == [("ping", {"type": "ping"})]


def test_runs_are_written_in_the_framing_of_the_client() -> None:
    framing = build_framing("bedrock", "anthropic")
    framing.push(chunks_of(text_delta(0, "ab") + json_delta(1, "{")))
    text, pieces = framing.text_run(), framing.input_run(1)
    assert text is not None
    assert text.raw == text_delta(0, "ab")
    assert pieces is not None
    assert pieces.raw == json_delta(1, "{")


def test_rewritten_frame_is_written_in_the_framing_of_the_client() -> None:
    framing = build_framing("anthropic", "bedrock")
    (frame,) = framed(framing, message_start() + block_start(0, type="text", text=""))[:1]
    assert framing.rewrite(frame, STOP) == encode_chunk(STOP)
    assert base64.b64decode(json.loads(event_messages(framing.encode("ping", b"{}"))[0].payload)["bytes"]) == b"{}"
