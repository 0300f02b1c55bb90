"""Fuzz of the SSE decoder: any bytes, any chunks, the same frames; and the official SDK reads the same events."""

from anthropic._streaming import SSEDecoder
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.wire.sse import Frame, SseDecoder
from gateway.errors import GatewayError
from tests.support.streams import chop, golden, text_delta

TOKENS = [b"\n", b"\r", b"\r\n", b"data", b"event", b":", b" ", b"x", b"\xef\xbb\xbf", b"id: 1", b"\xff", b"\x00"]
STREAMS = [golden(name) for name in ("text.sse", "two_tools.sse", "mcp_tool.sse", "spaced_crlf.sse")]
FRAMES = [text_delta(0, "word"), text_delta(1, "é"), b"event: ping\ndata: {}\n\n"]

streams = st.lists(st.sampled_from([*TOKENS, *FRAMES, *STREAMS]) | st.binary(max_size=8), max_size=30).map(b"".join)
cuts = st.lists(st.integers(0, 10_000), max_size=12)

Outcome = tuple[list[Frame], bool]


def decoded(chunks: list[bytes]) -> Outcome:
    """Every frame before the end or the fault, and whether there was a fault."""
    decoder = SseDecoder()
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            decoder.push(chunk)
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        return frames + decoder.close(), False
    except GatewayError:
        return frames, True


@given(streams, cuts)
@example(b"data: 1\r\n\r\n\n\r", [9])
@example(b"\r", [])
def test_any_chunks_give_the_same_frames(stream: bytes, places: list[int]) -> None:
    whole = decoded([stream])
    assert decoded(chop(stream, places)) == whole
    assert decoded([bytes([byte]) for byte in stream]) == whole


@given(streams)
def test_frames_joined_are_the_stream(stream: bytes) -> None:
    frames, broken = decoded([stream])
    joined = b"".join(frame.raw for frame in frames)
    assert stream.startswith(joined)
    assert broken or joined == stream


@given(streams, cuts)
def test_runs_and_frames_joined_are_the_stream(stream: bytes, places: list[int]) -> None:
    decoder = SseDecoder()
    out: list[bytes] = []
    try:
        for chunk in chop(stream, places):
            decoder.push(chunk)
            while (item := decoder.text_run() or decoder.next_frame()) is not None:
                out.append(item.raw)
        out += [frame.raw for frame in decoder.close()]
    except GatewayError:
        assert stream.startswith(b"".join(out))
        return
    assert b"".join(out) == stream


@given(streams)
def test_the_official_sdk_reads_the_same_events(stream: bytes) -> None:
    stream = stream.replace(b"\xef\xbb\xbf", b"").replace(b"\xff", b"").replace(b"id", b"")
    frames, broken = decoded([stream.decode(errors="ignore").encode()])
    theirs = SSEDecoder().iter_bytes(iter([stream.decode(errors="ignore").encode()]))
    events = [(event.event or "", event.data) for event in theirs if event.event or event.data]
    ours = [(frame.event.decode(), frame.data.decode()) for frame in frames if frame.complete]
    assert not broken
    assert [pair for pair in ours if any(pair)] == events
