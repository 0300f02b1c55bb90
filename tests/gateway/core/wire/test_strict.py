"""Strict reading: what every client reads alike is read, everything else is refused."""

import pytest

from gateway.contract import TOOL_INPUT_DEPTH_MAX
from gateway.core.wire.sse import Frame, SseDecoder
from gateway.core.wire.strict import Unreadable, decode_strictly, parse_input, read_event
from gateway.errors import GatewayError, Reason
from tests.support.streams import golden


def frame(stream: bytes) -> Frame:
    """The one event of a stream."""
    (found,) = SseDecoder().feed(stream)
    return found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not valid JSON"),
        ('{"a":1', "not valid JSON"),
        ('{"a":NaN}', "not valid JSON"),
        ("{} x", "not valid JSON"),
        (" ", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ('"ls"', "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"a":1,"a":2}', "repeats a key"),
        ('{"o":{"a":1,"\\u0061":2}}', "repeats a key"),
        ('{"a":1e999}', "no JSON spelling"),
        ('{"a":"\\ud800"}', "no JSON spelling"),
        ('{"a":' * TOOL_INPUT_DEPTH_MAX + "{}" + "}" * TOOL_INPUT_DEPTH_MAX, "nested deeper"),
        ("[" * 20_000, "nested too deep"),
    ],
)
def test_input_that_cannot_be_decided_is_a_problem(text: str, problem: str) -> None:
    found, told = parse_input(text)
    assert found is None
    assert problem in (told or "")


def test_deepest_allowed_input_is_read() -> None:
    text = '{"a":' * (TOOL_INPUT_DEPTH_MAX - 1) + "{}" + "}" * (TOOL_INPUT_DEPTH_MAX - 1)
    found, told = parse_input(text)
    assert found is not None
    assert told is None


def test_input_is_read_as_an_object() -> None:
    assert parse_input(' {"a":[1,{"b":null}]} ') == ({"a": [1, {"b": None}]}, None)


@pytest.mark.parametrize("text", ["", "Infinity", '{"a":1,"a":1}', '"\t"', "[1,]", "1" * 5000, "[" * 5000])
def test_json_that_decoders_read_differently_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        decode_strictly(text)


def test_event_gives_its_type_and_content() -> None:
    assert read_event(frame(b'data: {"type":"ping"}\n\n')) == ("ping", {"type": "ping"})
    assert read_event(frame(b'event: error\ndata: {"type":"overloaded"}\n\n'))[0] == "error"


def test_comment_is_an_event_of_nothing() -> None:
    assert read_event(frame(b": hold\n\n")) == ("", {})


def test_name_and_type_that_disagree_are_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        read_event(frame(b'event: ping\ndata: {"type":"message_stop"}\n\n'))
    assert caught.value.reason is Reason.UPSTREAM_BROKE


def test_every_event_of_a_golden_stream_is_read() -> None:
    kinds = [read_event(found)[0] for found in SseDecoder().feed(golden("thinking_search.sse"))]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert kinds.count("content_block_stop") == 4
