"""Server-sent events: the grammar that clients' parsers implement, and the bounds."""

import pytest

from gateway.core.wire.sse import EVENT_BYTES_MAX, PING, Frame, InputRun, SseDecoder, encode
from gateway.errors import GatewayError, Reason
from tests.support.streams import golden, json_delta, text_delta, tool_start


def parsed(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Event name and data of every complete event."""
    return [(frame.event, frame.data) for frame in SseDecoder().feed(stream)]


def test_plain_event_gives_name_and_data() -> None:
    assert parsed(b'event: ping\ndata: {"a":1}\n\n') == [(b"ping", b'{"a":1}')]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_each_line_ending_gives_the_same_event(end: bytes) -> None:
    assert parsed(b"event: x" + end + b"data: 1" + end + end) == [(b"x", b"1")]


def test_bare_cr_gives_the_event_one_byte_later() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\r\r") == []
    assert decoder.feed(b"d") == [Frame(b"data: 1\r\r", b"1")]


def test_bare_cr_at_end_of_stream_is_complete() -> None:
    decoder = SseDecoder()
    decoder.feed(b"data: 1\r\r")
    assert decoder.close() == [Frame(b"data: 1\r\r", b"1")]


def test_crlf_cut_in_half_is_one_line_end() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\r\n\r") == []
    assert decoder.feed(b"\ndata: 2\r\n\r\n") == [Frame(b"data: 1\r\n\r\n", b"1"), Frame(b"data: 2\r\n\r\n", b"2")]


@pytest.mark.parametrize(
    ("lines", "data"),
    [
        (b"data:1\n\n", b"1"),
        (b"data:  1\n\n", b" 1"),
        (b"data: 1\ndata: 2\n\n", b"1\n2"),
        (b"data\n\n", b""),
        (b"data\ndata: 2\n\n", b"\n2"),
        (b": note\ndata: 1\nid: 7\nretry: 5\nother: x\n\n", b"1"),
        (b"Data: 1\n\n", b""),
        (b" data: 1\n\n", b""),
    ],
)
def test_field_spellings_are_read_as_parsers_read_them(lines: bytes, data: bytes) -> None:
    assert parsed(lines) == [(b"", data)]


def test_last_event_name_counts() -> None:
    assert parsed(b"event: ping\nevent: content_block_start\ndata: 1\n\n") == [(b"content_block_start", b"1")]


def test_comment_and_extra_blank_lines_are_frames_of_their_own() -> None:
    stream = b": hold\n\n\n" + PING
    frames = SseDecoder().feed(stream)
    assert [frame.event for frame in frames] == [b"", b"", b"ping"]
    assert b"".join(frame.raw for frame in frames) == stream


def test_byte_order_mark_at_start_is_skipped() -> None:
    assert parsed(b"\xef\xbb\xbfdata: 1\n\n") == [(b"", b"1")]


@pytest.mark.parametrize("stream", [b"data: 1\n\xef\xbb\xbfdata: 2\n\n", b"\n\xef\xbb\xbfdata: 2\n\n"])
def test_byte_order_mark_at_a_later_line_is_refused(stream: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        parsed(stream)
    assert caught.value.reason is Reason.UPSTREAM_BROKE


def test_unfinished_event_comes_as_incomplete() -> None:
    decoder = SseDecoder()
    assert len(decoder.feed(b"data: 1\n\ndata: 2\n")) == 1
    assert decoder.close() == [Frame(b"data: 2\n", complete=False)]


@pytest.mark.parametrize("name", ["text.sse", "two_tools.sse", "spaced_crlf.sse", "thinking_search.sse"])
def test_golden_stream_in_bytes_gives_the_same_frames(name: str) -> None:
    stream = golden(name)
    decoder = SseDecoder()
    frames = [frame for byte in stream for frame in decoder.feed(bytes([byte]))]
    assert frames == SseDecoder().feed(stream)
    assert b"".join(frame.raw for frame in frames) == stream


def test_longest_event_passes_and_a_longer_one_is_refused() -> None:
    longest = b"data: " + b"x" * (EVENT_BYTES_MAX - 8) + b"\n\n"
    assert len(SseDecoder().feed(longest)) == 1
    with pytest.raises(GatewayError, match="longer than"):
        SseDecoder().feed(longest.replace(b"\n\n", b"x\n\n"))


def test_endless_event_is_refused_before_it_is_kept() -> None:
    decoder = SseDecoder()
    for _ in range(8):
        decoder.feed(b"x" * (1024 * 1024))
    with pytest.raises(GatewayError) as caught:
        decoder.feed(b"x")
    assert caught.value.reason is Reason.UPSTREAM_BROKE


def test_large_event_in_chunks_is_joined() -> None:
    decoder = SseDecoder()
    stream = b"data: " + b"x" * 20_000 + b"\r\n\r\n"
    frames = [frame for at in range(0, len(stream), 999) for frame in decoder.feed(stream[at : at + 999])]
    assert frames == [Frame(stream, stream[6:-4])]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_end_of_a_large_event_in_bytes_is_found(end: bytes) -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: " + b"x" * 20_000) == []
    frames = [frame for byte in end for frame in decoder.feed(bytes([byte]))]
    assert [len(frame.data) for frame in frames] == [20_000]


def test_large_event_ended_by_bare_cr_is_complete_one_byte_later() -> None:
    decoder = SseDecoder()
    assert [decoder.feed(piece) for piece in (b"data: " + b"x" * 20_000, b"\r", b"\r")] == [[], [], []]
    assert len(decoder.feed(b"d")) == 1


def test_text_run_keeps_the_limit_of_each_event() -> None:
    decoder = SseDecoder()
    decoder.push(text_delta(0, "x" * (EVENT_BYTES_MAX - 200)) * 2 + text_delta(0, "x" * EVENT_BYTES_MAX))
    runs = [decoder.text_run(), decoder.text_run()]
    assert [run.chars for run in runs if run] == [EVENT_BYTES_MAX - 200] * 2
    with pytest.raises(GatewayError):
        decoder.text_run()


def test_text_run_takes_text_and_stops_at_anything_else() -> None:
    text = text_delta(0, 'a "quoted" \\ word') + text_delta(0, "é")
    decoder = SseDecoder()
    decoder.push(text + tool_start(1) + text)
    run = decoder.text_run()
    assert run is not None
    assert run.raw == text
    assert decoder.text_run() is None
    assert decoder.next_frame() == SseDecoder().feed(tool_start(1))[0]


def test_text_run_counts_characters_of_text() -> None:
    decoder = SseDecoder()
    decoder.push(text_delta(0, "12345") + text_delta(12, "é7").replace(b'"}}', b'"}     }'))
    run = decoder.text_run()
    assert run is not None
    assert run.chars == 7


@pytest.mark.parametrize("odd", [b"", text_delta(0, "1234").replace(b"}}", b"}  }"), text_delta(11, "1234")])
def test_long_run_counts_as_a_short_one(odd: bytes) -> None:
    decoder = SseDecoder()
    decoder.push(text_delta(0, 'é\n"z') * 50 + odd)
    run = decoder.text_run()
    assert run is not None
    assert run.chars == 50 * 6 + (4 if odd else 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"text":"hi"', b'"text":"hi","x":1'),
        (b'"text":"hi"', b'"text":"h\x00i"'),
        (b'"text":"hi"', b'"text":"h\\i"'),
        (b'"text":"hi"', b'"text":"hi\xff"'),
        (b'"text_delta"', b'"text_\\u0064elta"'),
        (b'"index":0', b'"index":00'),
        (b'"index":0', b'"index":-1'),
        (b"event: ", b"event:"),
        (b"\n\n", b"\r\n\r\n"),
    ],
)
def test_any_other_spelling_is_no_text_run(old: bytes, new: bytes) -> None:
    decoder = SseDecoder()
    decoder.push(text_delta(0, "hi").replace(old, new))
    assert decoder.text_run() is None


def test_broken_utf8_in_a_run_leaves_the_text_before_it() -> None:
    decoder = SseDecoder()
    decoder.push(text_delta(0, "good") + text_delta(0, "bad").replace(b"bad", b"b\xffd"))
    run = decoder.text_run()
    assert run is not None
    assert run.raw == text_delta(0, "good")
    assert decoder.text_run() is None


def test_written_event_reads_back() -> None:
    assert encode("x", b'{\n"a":1}') == b'event: x\ndata: {\ndata: "a":1}\n\n'
    assert parsed(encode("x", b'{\n"a":1}')) == [(b"x", b'{\n"a":1}')]


def input_run(stream: bytes, index: int = 3) -> InputRun | None:
    """What the shortcut for input deltas makes of the front of a stream."""
    decoder = SseDecoder()
    decoder.push(stream)
    return decoder.input_run(index)


def test_input_run_is_what_the_pieces_say_joined() -> None:
    pieces = ["", '{"a":"b"', "\\", "é\n", "\x7f", '"}']
    stream = b"".join(json_delta(3, piece) for piece in pieces)
    assert input_run(stream) == InputRun(stream, "".join(pieces))


def test_input_run_ends_before_any_other_event() -> None:
    decoder = SseDecoder()
    decoder.push(json_delta(3, "a") + PING + json_delta(3, "b"))
    run = decoder.input_run(3)
    assert run is not None and run.text == "a"
    assert decoder.next_frame() is not None and decoder.input_run(3) == InputRun(json_delta(3, "b"), "b")


@pytest.mark.parametrize(
    "stream",
    [
        text_delta(3, "x"),
        json_delta(2, "x"),
        json_delta(3, "x") + json_delta(2, "x"),
        json_delta(3, "x").replace(b'"x"', b'"x","partial_json":"y"'),
        json_delta(3, "x").replace(b'"x"', b'"\xff"'),
        json_delta(3, "x").replace(b'"x"', b'"\\ud83d"'),
        json_delta(3, "x").replace(b"event: content_block_delta", b"event: ping"),
        json_delta(3, "x").replace(b'"index":3', b'"index":-3'),
    ],
)
def test_any_other_spelling_is_left_to_whole_events(stream: bytes) -> None:
    assert input_run(stream) is None


@pytest.mark.parametrize(
    ("raw", "rewritten"),
    [
        (b"event:ping\r\ndata:{}\r\n\r\n", b"event:ping\r\ndata:[1]\r\n\r\n"),
        (b": {}\nevent: ping\ndata: {}\n\n", b"event: ping\ndata: [1]\n\n"),
        (b"event: ping\ndata: {\ndata: }\n\n", b"event: ping\ndata: [1]\n\n"),
        (b"data: {\ndata: }\n\n", b"data: [1]\n\n"),
    ],
)
def test_rewritten_frame_has_the_other_data_alone(raw: bytes, rewritten: bytes) -> None:
    (frame,) = SseDecoder().feed(raw)
    assert SseDecoder().rewrite(frame, b"[1]") == rewritten
