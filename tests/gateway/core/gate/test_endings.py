"""A message ended as one that reached its `max_tokens`: whole for every reader, and valid when it is sent back."""

import itertools
import json
from typing import Any

import pytest

from gateway.core.gate.gate import HeldCall, StreamGate
from gateway.core.wire.eventstream import build_framing
from gateway.core.wire.messages import Tap
from gateway.core.wire.shapes import Shape
from gateway.core.wire.sse import Framing, SseDecoder
from tests.support.dialects import event_messages
from tests.support.eventstreams import chunks_of, sdk_events, sdk_message_of
from tests.support.streams import (
    DENIAL,
    allow,
    block_start,
    block_stop,
    delta,
    deny,
    event,
    golden,
    json_delta,
    message_end,
    message_start,
    new_gate,
    sdk_message,
    text_block,
    text_delta,
    tool_block,
    tool_start,
)

THOUGHT = delta(0, type="thinking_delta", thinking="so much")
THINKING = block_start(0, type="thinking", thinking="", signature="") + THOUGHT
SIGNED = delta(0, type="signature_delta", signature="c2ln") + block_stop(0)
SEARCH = block_start(0, type="server_tool_use", id="srvtoolu_1", name="web_search", input={})
ENDING = ["content_block_stop", "message_delta", "message_stop"]
FOUND = block_start(1, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[]) + block_stop(1)


def gate_after(stream: bytes, decide: Any = allow, framing: Framing | None = None) -> tuple[StreamGate, bytes]:
    """A gate that was fed a stream which has not ended, and what it let through."""
    gate = StreamGate(framing or SseDecoder(), Tap())
    out = b""
    for piece in gate.feed(stream):
        if isinstance(piece, HeldCall):
            denial = decide(piece)
            piece = gate.release(piece) if denial is None else gate.deny(piece, denial)
        out += piece
    return gate, out


def finished(stream: bytes, decide: Any = allow) -> Any:
    """The message as the official SDK reads it."""
    gate, out = gate_after(stream, decide)
    out += gate.finish()
    assert gate.ended
    return sdk_message(out)


def kinds(message: Any) -> list[str]:
    return [block.type for block in message.content]


def test_open_text_is_closed_and_kept() -> None:
    message = finished(message_start() + block_start(0, type="text", text="") + text_delta(0, "as far as it"))
    assert (kinds(message), message.content[0].text) == (["text"], "as far as it")
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)


def test_usage_is_the_output_seen() -> None:
    message = finished(message_start() + text_block(0, "x" * 397))
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 100)


def test_usage_is_never_less_than_was_reported() -> None:
    start = message_start(usage={"input_tokens": 10, "output_tokens": 7})
    assert finished(start + text_block(0, "x")).usage.output_tokens == 7


def test_held_call_is_dropped_but_its_output_counts() -> None:
    message = finished(message_start() + text_block(0, "x" * 40) + tool_start(1) + json_delta(1, "y" * 40))
    assert (kinds(message), message.usage.output_tokens) == (["text"], 20)


@pytest.mark.parametrize("decide", [allow, deny])
def test_call_that_was_shown_stays_and_the_message_still_reached_its_end(decide: Any) -> None:
    message = finished(message_start() + tool_block(0, "toolu_1", "Bash", '{"command":"ls"}'), decide)
    assert (kinds(message), message.stop_reason) == (["tool_use"], "max_tokens")


def test_denial_as_text_is_the_last_block() -> None:
    gate = new_gate("text")
    call = next(
        each
        for each in gate.feed(message_start() + tool_block(0, "toolu_1", "Bash", "{}"))
        if isinstance(each, HeldCall)
    )
    message = sdk_message(message_start() + gate.deny(call, DENIAL) + gate.finish())
    assert (kinds(message), message.stop_reason) == (["text"], "max_tokens")


def test_nothing_shown_becomes_a_text_that_says_so() -> None:
    message = finished(message_start() + tool_start(0) + json_delta(0, '{"content":"' + "x" * 99))
    assert kinds(message) == ["text"] and "used up" in message.content[0].text


def test_thinking_alone_is_followed_by_a_text() -> None:
    message = finished(message_start() + THINKING + SIGNED)
    assert kinds(message) == ["thinking", "text"] and message.content[0].signature == "c2ln"


def test_text_that_has_only_begun_is_not_left_empty() -> None:
    stream = message_start() + text_block(0, "x") + block_start(1, type="text", text="")
    message = finished(stream)
    assert kinds(message) == ["text", "text"] and message.content[1].text


@pytest.mark.parametrize(
    ("stream", "can"),
    [
        (b"", True),
        (message_start(), True),
        (message_start() + THINKING, False),
        (message_start() + THINKING + SIGNED, True),
        (message_start() + SEARCH, False),
        (message_start() + SEARCH + block_stop(0), False),
        (message_start() + SEARCH + block_stop(0) + FOUND, True),
        (message_start() + THINKING + SIGNED + tool_start(1), True),
        (message_start() + text_block(0, "x") + message_end().partition(b"\n\n")[0] + b"\n\n", False),
        (message_start() + text_block(0, "x") + message_end(), False),
        (message_start() + event("error", error={"type": "api_error", "message": "x"}), False),
    ],
)
def test_message_can_be_finished_where_a_history_may_end(stream: bytes, can: bool) -> None:
    gate, _ = gate_after(stream)
    assert gate.can_finish is can
    if not can:
        with pytest.raises(RuntimeError):
            gate.finish()


def test_undecided_call_is_in_the_way() -> None:
    gate = new_gate()
    pieces = gate.feed(message_start() + tool_block(0, "toolu_1", "Bash", "{}"))
    assert any(isinstance(piece, HeldCall) for piece in itertools.islice(pieces, 2)) and not gate.can_finish
    with pytest.raises(RuntimeError):
        gate.finish()


def test_unfinished_event_is_not_shown() -> None:
    stream = message_start() + text_block(0, "whole")
    gate, out = gate_after(stream + block_start(1, type="text", text="")[:-5])
    assert out == stream
    assert kinds(sdk_message(out + gate.finish())) == ["text"]


def test_refusal_after_it_is_nothing() -> None:
    gate, _ = gate_after(message_start() + text_block(0, "x"))
    gate.finish()
    assert gate.refusal("api_error", "broke") == b""
    assert not gate.can_finish


@pytest.mark.parametrize("name", ["text.sse", "two_tools.sse", "thinking_search.sse", "spaced_crlf.sse"])
def test_recorded_stream_can_be_finished_before_it_says_why_it_stopped(name: str) -> None:
    stream = golden(name)
    gate, out = gate_after(stream[: stream.index(b"event: message_delta")])
    whole, cut = sdk_message(stream), sdk_message(out + gate.finish())
    assert [block.to_dict() for block in cut.content] == [block.to_dict() for block in whole.content]
    assert cut.stop_reason == "max_tokens"


@pytest.mark.parametrize("source", ["anthropic", "bedrock"])
def test_event_stream_is_finished_in_messages_that_prove_themselves(source: Shape) -> None:
    stream = message_start() + text_block(0, "hi") + block_start(1, type="text", text="") + text_delta(1, "there")
    sent = chunks_of(stream) if source == "bedrock" else stream
    gate, out = gate_after(sent, framing=build_framing(source, "bedrock"))
    out += gate.finish()
    names = [name for name, _ in sdk_events(out)]
    message = sdk_message_of(sdk_events(out))
    assert len(event_messages(out)) == len(names) and names[-3:] == ENDING
    assert (message.stop_reason, [block.text for block in message.content]) == ("max_tokens", ["hi", "there"])


def test_bedrock_upstream_is_finished_as_server_sent_events() -> None:
    stream = chunks_of(message_start() + block_start(0, type="text", text="") + text_delta(0, "so far"))
    gate, out = gate_after(stream, framing=build_framing("bedrock", "anthropic"))
    out += gate.finish()
    last = [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: ")][-2:]
    assert [each["type"] for each in last] == ["message_delta", "message_stop"]
    assert sdk_message(out).content[0].text == "so far"
