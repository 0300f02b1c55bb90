"""The tap: what a response used, merged as the API reports it, and never an error for what cannot be read."""

import json
from typing import Any

import pytest

from gateway.core.wire.messages import UPSTREAM_TOOLS_MAX, Tap, parse_message
from gateway.core.wire.sse import SseDecoder
from gateway.core.wire.strict import read_event
from gateway.core.wire.usage import Iteration, Tokens
from tests.support.streams import block_start, delta, event, golden, message_end, message_start, text_block


def tapped(stream: bytes) -> Tap:
    """A tap that saw every event of a stream."""
    tap = Tap()
    for frame in SseDecoder().feed(stream):
        tap.observe(*read_event(frame))
    return tap


def ended(**usage: Any) -> bytes:
    """A message_delta with that usage."""
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


def test_golden_stream_gives_its_usage() -> None:
    tap = tapped(golden("thinking_search.sse"))
    usage = tap.usage()
    assert usage.tokens == Tokens(input=9120, output=310, cache_read=11820, cache_write_5m=888, cache_write_1h=12)
    assert (usage.web_search_requests, usage.inference_geo, usage.final) == (1, "global", True)
    assert tap.upstream_tools == [("server_tool_use", "web_search")]
    assert tap.blocks["web_search_tool_result"] == 1


def test_message_delta_without_counts_keeps_those_of_message_start() -> None:
    start = message_start(usage={"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 1, "speed": "fast"})
    usage = tapped(start + ended(output_tokens=30)).usage()
    assert usage.tokens == Tokens(input=7, output=30, cache_read=5)
    assert usage.speed == "fast"


def test_later_message_delta_wins() -> None:
    usage = tapped(message_start() + ended(output_tokens=30) + ended(output_tokens=40, input_tokens=99)).usage()
    assert usage.tokens == Tokens(input=99, output=40)


def test_cache_writes_beyond_the_split_are_five_minutes() -> None:
    split = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    start = message_start(usage={"input_tokens": 1, "cache_creation": split, "cache_creation_input_tokens": 30})
    tokens = tapped(start + ended(output_tokens=1, cache_creation_input_tokens=37)).usage().tokens
    assert (tokens.cache_write_5m, tokens.cache_write_1h) == (17, 20)


def test_total_below_the_split_never_takes_from_it() -> None:
    split = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    start = message_start(usage={"cache_creation": split, "cache_creation_input_tokens": 5})
    assert tapped(start).usage().tokens.cache_write_5m == 10


def test_iterations_are_kept_each_with_its_model() -> None:
    iterations = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 9},
        {"type": "message", "input_tokens": 5, "output_tokens": 6, "model": "claude-opus-5-5"},
    ]
    usage = tapped(message_start() + ended(output_tokens=6, iterations=iterations)).usage()
    assert usage.iterations == (
        Iteration(Tokens(input=100, output=9)),
        Iteration(Tokens(input=5, output=6), "claude-opus-5-5"),
    )


@pytest.mark.parametrize("status", ["redeemed", {"type": "redeemed"}])
def test_redeemed_credit_is_seen_in_both_spellings(status: object) -> None:
    stream = message_start() + ended(output_tokens=1, fallback_credit={"status": status})
    assert tapped(stream).usage().fallback_credit_redeemed
    assert not tapped(stream.replace(b"redeemed", b"not_applied")).usage().fallback_credit_redeemed


def test_refusal_is_empty_only_without_content() -> None:
    assert tapped(message_start() + message_end("refusal")).usage().refused_empty
    assert not tapped(message_start() + text_block(0, "I") + message_end("refusal")).usage().refused_empty


@pytest.mark.parametrize(
    "bad",
    [
        {"output_tokens": "30"},
        {"output_tokens": -1},
        {"output_tokens": 2**60},
        {"output_tokens": 5, "server_tool_use": 3},
        {"output_tokens": 5, "iterations": [{"input_tokens": None}, 4]},
        ["usage"],
    ],
)
def test_unreadable_usage_is_not_final(bad: Any) -> None:
    usage = tapped(message_start() + event("message_delta", delta={}, usage=bad)).usage()
    assert not usage.final
    assert usage.tokens.input == 10


def test_stream_without_message_delta_is_not_final() -> None:
    usage = tapped(message_start() + text_block(0, "half")).usage()
    assert not usage.final
    assert tapped(message_start() + message_end()).usage().final


def test_floor_takes_what_was_reported_or_seen() -> None:
    seen = tapped(message_start() + text_block(0, "12345678") + delta(1, type="input_json_delta", partial_json="9"))
    assert seen.floor_usage(500).tokens == Tokens(input=10, output=3)
    assert tapped(message_start(usage={"output_tokens": 9}) + text_block(0, "1")).floor_usage(5).tokens.output == 9
    assert tapped(text_block(0, "12345678")).floor_usage(500).tokens == Tokens(input=500, output=2)


def test_floor_of_a_final_response_is_its_usage() -> None:
    tap = tapped(message_start() + text_block(0, "x" * 4000) + message_end())
    assert tap.floor_usage(500) == tap.usage()


def test_error_event_is_remembered() -> None:
    tap = tapped(golden("overloaded.sse"))
    assert tap.error == ("overloaded_error", "Overloaded")
    assert not tap.usage().final


def test_fallback_block_names_the_model_that_answered() -> None:
    block = block_start(0, type="fallback", to={"model": "claude-haiku-5-5"})
    assert tapped(message_start() + block).usage().model == "claude-haiku-5-5"


def test_upstream_tools_are_remembered_to_a_limit() -> None:
    calls = b"".join(block_start(n, type="mcp_tool_use", name="find") for n in range(UPSTREAM_TOOLS_MAX + 5))
    tap = tapped(calls)
    assert len(tap.upstream_tools) == UPSTREAM_TOOLS_MAX
    assert tap.blocks["mcp_tool_use"] == UPSTREAM_TOOLS_MAX + 5


def test_whole_message_gives_usage_and_calls() -> None:
    message = parse_message(golden("whole_two_tools.json"))
    assert message.usage.tokens == Tokens(input=3, output=60, cache_read=11820, cache_write_5m=400, cache_write_1h=12)
    assert message.blocks["tool_use"] == 2
    assert (message.stop_reason, message.usage.final) == ("tool_use", True)


def test_tap_of_a_whole_message_says_the_same() -> None:
    message = parse_message(golden("whole_two_tools.json"))
    tap = Tap()
    tap.observe_message(message)
    assert tap.usage() == message.usage
    assert (tap.message_id, tap.blocks["tool_use"]) == ("msg_07whole", 2)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"content":7,"usage":7,"model":7}', b"\xff", b"[" * 5000])
def test_unreadable_message_is_not_final(body: bytes) -> None:
    message = parse_message(body)
    assert not message.usage.final
    assert message.blocks == {}


def test_empty_refusal_of_a_whole_message_is_seen() -> None:
    body = {"content": [], "stop_reason": "refusal", "usage": {"input_tokens": 5, "output_tokens": 1}}
    assert parse_message(json.dumps(body).encode()).usage.refused_empty


METRICS = "amazon-bedrock-invocationMetrics"


def counted(**counts: Any) -> bytes:
    """A message_stop with what Bedrock counted."""
    return event("message_stop", **{METRICS: counts})


def test_counts_of_bedrock_stand_in_for_usage_that_never_came() -> None:
    start = message_start(usage={"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 1})
    usage = tapped(start + counted(inputTokenCount=8, outputTokenCount=40, invocationLatency=5)).usage()
    assert usage.tokens == Tokens(input=8, output=40, cache_read=5)
    assert usage.final


def test_counts_of_the_cache_by_bedrock_stand_in_too() -> None:
    counts = {"cacheReadInputTokenCount": 11, "cacheWriteInputTokenCount": 12}
    usage = tapped(event("message_stop", **{METRICS: {"inputTokenCount": 1, "outputTokenCount": 2, **counts}})).usage()
    assert usage.tokens == Tokens(input=1, output=2, cache_read=11, cache_write_5m=12)


def test_reported_usage_is_not_replaced_by_the_counts_of_bedrock() -> None:
    tap = tapped(message_start() + ended(output_tokens=30) + counted(inputTokenCount=99, outputTokenCount=31))
    assert tap.usage().tokens == Tokens(input=10, output=30)


@pytest.mark.parametrize("counts", [{}, {"inputTokenCount": 1}, {"inputTokenCount": -1, "outputTokenCount": 2}])
def test_counts_of_bedrock_that_cannot_be_read_are_none(counts: Any) -> None:
    tap = tapped(message_start() + event("message_stop", **{METRICS: counts}))
    assert not tap.usage().final
    assert not tapped(message_start() + event("message_stop", **{METRICS: [counts]})).usage().final


def test_counts_of_bedrock_do_not_make_usage_final_that_cannot_be_read() -> None:
    tap = tapped(message_start(usage={"input_tokens": "7"}) + counted(inputTokenCount=1, outputTokenCount=2))
    assert not tap.usage().final
