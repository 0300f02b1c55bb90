"""Fuzz of event streams: any bytes at any chunks, no corruption unseen, and the same events in either framing."""

import base64
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import DENIED_TOOL
from gateway.core.gate.gate import HELD_BYTES_MAX, StreamGate
from gateway.core.wire.eventstream import EventStreamDecoder, build_framing, encode_chunk, encode_exception
from gateway.core.wire.messages import Tap
from gateway.core.wire.shapes import Shape
from gateway.core.wire.sse import EVENT_BYTES_MAX, Frame, Framing, SseDecoder
from gateway.errors import GatewayError
from tests.support.clouds.eventstream import exception, message
from tests.support.dialects import event_messages
from tests.support.eventstreams import chunk, chunks_of, payload_chunk, sdk_events
from tests.support.streams import (
    allow,
    block_stop,
    chop,
    deny,
    golden,
    json_delta,
    message_end,
    message_start,
    pass_through,
    text_block,
    text_delta,
    tool_block,
    tool_start,
)

STREAMS = [golden(name) for name in ("text.eventstream", "two_tools.eventstream", "throttled.eventstream")]
PIECES = [
    chunk(b'{"type":"ping"}', "abc"),
    chunks_of(message_start()),
    chunks_of(text_block(0, "hi", "é")),
    chunks_of(tool_block(1, "toolu_1", "Bash", '{"a"', ":1}")),
    chunks_of(tool_start(0)),
    chunks_of(json_delta(0, "{}")),
    chunks_of(block_stop(0)),
    chunks_of(text_delta(0, "x")),
    chunks_of(message_end("tool_use")),
    chunk(b'{"type":"ping","bytes":"e30="}'),
    chunk(b"no json"),
    chunk(b'{"type":'),
    chunk(b""),
    payload_chunk(b'{"bytes":"e30=","Bytes":"e30="}'),
    payload_chunk(b"{}"),
    message(b"", b""),
    exception("throttlingException", b'{"message":"wait"}'),
]

parts = st.sampled_from([*PIECES, *PIECES, *STREAMS]) | st.binary(max_size=20)
streams = st.lists(parts, max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 10_000), max_size=12)
pairs = st.sampled_from([("bedrock", "bedrock"), ("bedrock", "anthropic")])
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
events = st.tuples(
    st.dictionaries(words, json_values, max_size=3), st.sampled_from(["ping", "new_event", "a\nb", "é", ""]) | words
).map(lambda drawn: {**drawn[0], "type": drawn[1]})


@st.composite
def damaged(draw: Callable[[Any], Any]) -> bytes:
    """A stream with a few bytes changed, put in or taken out."""
    stream: bytes = draw(streams)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(stream)))
        stream = stream[:at] + draw(st.binary(max_size=3)) + stream[at + draw(st.integers(0, 3)) :]
    return stream


def decoded(framing: Framing, chunks: list[bytes]) -> tuple[list[Frame], bool]:
    """Every frame before the end or the fault, and whether there was a fault."""
    frames: list[Frame] = []
    try:
        for each in chunks:
            framing.push(each)
            while (frame := framing.next_frame()) is not None:
                frames.append(frame)
        return frames + framing.close(), False
    except GatewayError:
        return frames, True


def outcome(pair: tuple[Shape, Shape], chunks: list[bytes], decide: Any) -> tuple[bytes, bool]:
    """What the client is sent before the end or the fault, and whether there was a fault."""
    out: list[bytes] = []
    try:
        for piece in pass_through(StreamGate(build_framing(*pair), Tap()), chunks, decide):
            out.append(piece)
    except GatewayError:
        return b"".join(out), True
    return b"".join(out), False


@given(damaged(), cuts, pairs)
def test_any_chunks_give_the_same_frames(stream: bytes, places: list[int], pair: tuple[Shape, Shape]) -> None:
    whole = decoded(build_framing(*pair), [stream])
    assert decoded(build_framing(*pair), chop(stream, places)) == whole
    assert decoded(build_framing(*pair), [bytes([byte]) for byte in stream]) == whole


@given(damaged())
def test_frames_joined_are_the_stream(stream: bytes) -> None:
    frames, broken = decoded(EventStreamDecoder(), [stream])
    joined = b"".join(frame.raw for frame in frames)
    assert stream.startswith(joined)
    assert broken or joined == stream


@given(damaged(), cuts)
def test_runs_and_frames_joined_are_the_stream(stream: bytes, places: list[int]) -> None:
    decoder = EventStreamDecoder()
    out: list[bytes] = []
    try:
        for each in chop(stream, places):
            decoder.push(each)
            while (item := decoder.text_run() or decoder.input_run(1) or decoder.next_frame()) is not None:
                out.append(item.raw)
        out += [frame.raw for frame in decoder.close()]
    except GatewayError:
        assert stream.startswith(b"".join(out))
        return
    assert b"".join(out) == stream


@given(damaged())
def test_botocore_reads_every_frame_we_read(stream: bytes) -> None:
    frames, _ = decoded(EventStreamDecoder(), [stream])
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(frame.raw for frame in frames if frame.complete))
    assert len(list(buffer)) == sum(frame.complete for frame in frames)


@given(st.sampled_from(STREAMS), st.integers(0, 10_000), st.integers(1, 255))
def test_corrupted_byte_never_gives_other_frames(stream: bytes, place: int, bits: int) -> None:
    at = place % len(stream)
    whole, _ = decoded(EventStreamDecoder(), [stream])
    frames, broken = decoded(EventStreamDecoder(), [stream[:at] + bytes([stream[at] ^ bits]) + stream[at + 1 :]])
    assert broken
    assert frames == whole[: len(frames)]


@given(damaged(), cuts, pairs, st.sampled_from([allow, deny]))
def test_gate_gives_the_same_at_any_chunks(
    stream: bytes, places: list[int], pair: tuple[Shape, Shape], decide: Any
) -> None:
    whole = outcome(pair, [stream], decide)
    assert outcome(pair, chop(stream, places), decide) == whole
    assert outcome(pair, [bytes([byte]) for byte in stream], decide) == whole


@given(damaged(), pairs)
def test_no_call_passes_that_was_denied(stream: bytes, pair: tuple[Shape, Shape]) -> None:
    out, _ = outcome(pair, [stream], deny)
    assert set(calls_a_lenient_client_sees(pair[1], out)) <= {DENIED_TOOL}


def calls_a_lenient_client_sees(target: Shape, stream: bytes) -> list[str]:
    """Names of tool calls for a client that goes by `type` alone; an event stream must prove itself to botocore."""
    if target == "bedrock":
        payloads = [json.loads(each.payload) for each in event_messages(stream)]
        data = [base64.b64decode(payload["bytes"]) for payload in payloads if "bytes" in payload]
    else:
        data = [frame.data for frame in SseDecoder().feed(stream)]
    names: list[str] = []
    for each in data:
        try:
            names.append(json.loads(each)["content_block"]["name"])
        except (ValueError, TypeError, KeyError):
            continue
    return names


@given(st.lists(events, max_size=5), cuts)
def test_round_trip_keeps_the_json_of_every_event(drawn: list[dict[str, Any]], places: list[int]) -> None:
    there = b"".join(encode_chunk(json.dumps(event, ensure_ascii=False).encode()) for event in drawn)
    frames, broken = decoded(build_framing("bedrock", "vertex"), chop(there, places))
    sse_stream = b"".join(frame.raw for frame in frames)
    assert not broken
    assert [json.loads(frame.data) for frame in SseDecoder().feed(sse_stream)] == drawn
    back, broken = decoded(build_framing("anthropic", "bedrock"), chop(sse_stream, places))
    assert not broken
    assert [json.loads(frame.data) for frame in back] == drawn
    assert [event for _, event in sdk_events(b"".join(frame.raw for frame in back))] == drawn


@given(st.binary(max_size=200) | st.sampled_from([b'{"type":"ping"\n\nevent: error\n\n', b'{"type":"x"}\r\n\r\n']))
def test_data_never_makes_two_server_sent_events(data: bytes) -> None:
    frames, broken = decoded(build_framing("bedrock", "anthropic"), [encode_chunk(data)])
    assert not broken
    assert len(SseDecoder().feed(b"".join(frame.raw for frame in frames))) <= 1


@given(st.binary(max_size=300))
def test_any_data_is_one_chunk_and_comes_back(data: bytes) -> None:
    (found,) = event_messages(encode_chunk(data))
    frames, broken = decoded(EventStreamDecoder(), [encode_chunk(data)])
    assert not broken
    assert [frame.data for frame in frames] == [data]
    assert found.headers[":event-type"] == "chunk"


@given(words)
def test_any_words_are_one_exception(text: str) -> None:
    ((name, event),) = sdk_events(encode_exception("validationException", text))
    assert (name, event["error"]["message"]) == ("error", text)


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_after_the_stream_are_kept_or_refused(rest: bytes) -> None:
    frames, broken = decoded(EventStreamDecoder(), [STREAMS[0] + rest])
    assert broken or b"".join(frame.raw for frame in frames) == STREAMS[0] + rest


def peak_bytes(work: Callable[[], None]) -> int:
    """Most memory that `work` held."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_bounded_in_an_endless_call() -> None:
    gate = StreamGate(build_framing("bedrock", "bedrock"), Tap())
    part = chunks_of(json_delta(0, "x" * 64_000))
    list(gate.feed(chunks_of(message_start() + tool_start(0))))

    def feed() -> None:
        for _ in range(200):
            assert list(gate.feed(part)) == []

    assert peak_bytes(feed) < 2 * HELD_BYTES_MAX + 2_000_000


def test_memory_stays_bounded_by_the_longest_message() -> None:
    longest = message(b"", b"x" * (EVENT_BYTES_MAX - 16))
    decoder = EventStreamDecoder()

    def feed() -> None:
        for at in range(0, len(longest) - 1, 64_000):
            decoder.push(longest[at : min(at + 64_000, len(longest) - 1)])
            assert decoder.next_frame() is None

    assert peak_bytes(feed) < 2.5 * EVENT_BYTES_MAX  # a buffer that grows is copied


def test_longest_message_in_small_chunks_is_joined_once() -> None:
    longest = chunk(b'{"type":"ping","x":"' + b"x" * (EVENT_BYTES_MAX // 2) + b'"}')
    decoder = EventStreamDecoder()
    frames: list[Frame] = []
    for at in range(0, len(longest), 50):  # joined with each chunk it would take minutes
        decoder.push(longest[at : at + 50])
        frames += [frame for frame in [decoder.next_frame()] if frame is not None]
    assert [frame.raw for frame in frames] == [longest]


def test_message_too_long_is_refused_without_being_kept() -> None:
    decoder = EventStreamDecoder()
    decoder.push(message(b"", b"x" * (EVENT_BYTES_MAX - 15))[:64])
    with pytest.raises(GatewayError):
        decoder.next_frame()
