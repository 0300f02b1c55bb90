"""Answers are read as exactly as they were written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agents.answer import Answer, AnswerReader, BrokenStream, Unreadable, mend, read_value, tokens_of
from runtime.core.model import Tokens
from tests.support.upstream import stream, text_block, thinking_block, tool_block


def events(blocks: list[dict[str, Any]], **facts: Any) -> list[Any]:
    frames = [frame.decode().splitlines()[1] for frame in stream(blocks, **facts)]
    return [json.loads(line.removeprefix("data: ")) for line in frames]


def read(given_events: list[Any]) -> Answer:
    reader = AnswerReader()
    for event in given_events:
        reader.feed(event)
    return reader.finish()


def call_events(raw: str, *cuts: int, stop_reason: str = "tool_use") -> list[Any]:
    """A tool call whose input is written as `raw`, in pieces that end at the cuts."""
    first, *rest = events([tool_block("StructuredOutput", {})], stop_reason=stop_reason)
    start, *_, stop, delta, end = rest
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    pieces = [raw[left:right] for left, right in zip(edges, edges[1:], strict=False)]
    written = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
        for piece in pieces
    ]
    return [first, start, *written, stop, delta, end]


def test_answer_with_thinking_and_a_call_goes_back_as_it_came() -> None:
    blocks = [thinking_block("Let me see."), text_block("I look."), tool_block("Read", {"file_path": "/a"})]
    answer = read(events(blocks))
    assert list(answer.content) == blocks
    assert (answer.text, answer.stop_reason, answer.model) == ("I look.", "tool_use", "claude-opus-5-5")


def test_unknown_block_goes_back_as_it_came() -> None:
    block = {"type": "redacted_thinking", "data": "c2VjcmV0", "beyond": [1]}
    first, *_, delta, end = events([text_block("x")])
    started = {"type": "content_block_start", "index": 0, "content_block": block}
    answer = read([first, started, {"type": "content_block_stop", "index": 0}, {"type": "novelty"}, delta, end])
    assert answer.content == (block,)


def test_empty_text_is_left_out_of_the_history() -> None:
    answer = read(events([text_block("")]))
    assert answer.content == () and answer.text == ""


@pytest.mark.parametrize("kept", [0, 1, 4], ids=["nothing", "start", "without-its-end"])
def test_answer_that_breaks_off_is_no_answer(kept: int) -> None:
    reader = AnswerReader()
    for event in events([text_block("Hello.")])[:kept]:
        reader.feed(event)
    with pytest.raises(BrokenStream):
        reader.finish()
    assert reader.begun == (kept > 0)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta"},
        {"type": "content_block_start", "index": "x"},
        [],
        {"type": "message_delta", "delta": 3},
    ],
    ids=["no-index", "odd-index", "no-object", "odd-delta"],
)
def test_event_that_cannot_be_read_breaks_the_answer(event: Any) -> None:
    with pytest.raises(BrokenStream):
        AnswerReader().feed(event)


@given(
    raw=st.sampled_from(['{"n":12345678901234567890123}', '{"a":"\\u00e9\\ud83d\\ude00"}', '{"a":1,"a":2}']),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_w69_input_is_the_same_however_it_was_cut(raw: str, cuts: list[int]) -> None:
    (call,) = read(call_events(raw, *cuts)).tool_uses
    assert call.input == json.loads(raw) and call.raw == raw


def test_w69_integers_keep_every_digit() -> None:
    assert read_value('{"n":' + "9" * 40 + "}") == {"n": 10**40 - 1}


def test_w69_the_last_of_two_members_counts() -> None:
    assert read_value('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"a":', "not valid JSON"),
        ('{"a":NaN}', "NaN"),
        ('{"a":1e999}', "too large"),
        ("[" * 300 + "]" * 300, "deeper"),
        ("[" * 100_000, "deeper"),
        ('{"a":' + "9" * 5000 + "}", "not valid JSON"),
    ],
    ids=["cut-off", "nan", "infinite", "deep", "very-deep", "endless-digits"],
)
def test_value_that_is_no_json_is_refused_with_the_reason(raw: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_value(raw)


def test_unreadable_input_is_told_and_goes_back_empty() -> None:
    answer = read(call_events('{"a":NaN}'))
    assert answer.tool_uses[0].input is None and "NaN" in answer.tool_uses[0].fault
    assert answer.content[0]["input"] == {}


def test_call_that_was_cut_off_is_neither_made_nor_kept() -> None:
    answer = read(call_events('{"a":"hal', stop_reason="max_tokens"))
    assert answer.tool_uses == () and answer.content == ()


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert mend("a\ud83d") == "a\ufffd" and mend("\ud83d\ude00") == "😀"
    assert read_value('{"\\ud800":"\\ud800"}') == {"\ufffd": "\ufffd"}


def test_usage_of_the_end_replaces_that_of_the_start() -> None:
    answer = read(events([text_block("x")], usage={"input_tokens": 7, "output_tokens": 90}))
    assert answer.tokens == Tokens(input=7, output=90)


def test_cache_writes_are_told_apart_by_lifetime() -> None:
    split = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 12}
    usage = {"cache_creation_input_tokens": 42, "cache_read_input_tokens": 5, "cache_creation": split}
    assert tokens_of(usage) == Tokens(cache_read=5, cache_write_5m=30, cache_write_1h=12)
    assert tokens_of({"cache_creation_input_tokens": 42}) == Tokens(cache_write_5m=42)
