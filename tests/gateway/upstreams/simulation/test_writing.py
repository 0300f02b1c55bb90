"""How a reply is written: frames of a stream and of one JSON message, put together again by the official SDK."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.wire.usage import Tokens
from gateway.upstreams.simulation.reply import Reply, ReplyBlock
from gateway.upstreams.simulation.scenario import AT_ONCE, CutFault, ErrorFault, Fault, Pace, SilenceFault
from gateway.upstreams.simulation.writing import (
    DELTA_CHARS,
    DELTAS_PER_BLOCK_MAX,
    PING,
    Frame,
    json_frames,
    message,
    stream_frames,
)
from tests.support.gateway import events_of
from tests.support.streams import sdk_message

THINKING = {"type": "thinking", "thinking": "First the file.", "signature": "c2ln"}
TEXT = {"type": "text", "text": "Reading \u00e9\u4e16 now, all of it at once."}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file_path": "/srv/a.py", "deep": [1, None]}}
ALL = (THINKING, TEXT, CALL)


def reply_of(*contents: dict[str, Any], faults: tuple[Fault, ...] = (), pace: Pace = AT_ONCE, **fields: Any) -> Reply:
    facts: dict[str, Any] = {
        "message_id": "msg_1",
        "model": "claude-x",
        "stop_reason": "end_turn",
        "tokens": Tokens(input=5, output=9, cache_read=7, cache_write_5m=2, cache_write_1h=1),
        "thinking_tokens": 4,
        "thinking_omitted": False,
    }
    blocks = tuple(ReplyBlock(content, 10) for content in contents)
    return Reply(blocks=blocks, pace=pace, faults=faults, **facts | fields)


def joined(frames: list[Frame]) -> bytes:
    return b"".join(frame.data for frame in frames)


def test_sdk_puts_the_stream_together_to_the_message() -> None:
    reply = reply_of(*ALL)
    streamed = sdk_message(joined(list(stream_frames(reply)))).model_dump(exclude_none=True)
    assert streamed["content"] == list(ALL)
    assert streamed["usage"]["output_tokens"] == message(reply)["usage"]["output_tokens"] == 9
    assert (streamed["stop_reason"], message(reply)["content"]) == ("end_turn", list(ALL))


def test_usage_names_every_kind_of_input() -> None:
    usage = message(reply_of())["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (5, 7, 3)
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1}
    assert usage["output_tokens_details"] == {"thinking_tokens": 4}


def test_ping_follows_the_first_block_start_only() -> None:
    frames = [frame.data for frame in stream_frames(reply_of(*ALL))]
    assert frames.count(PING) == 1 and frames.index(PING) == 2


def test_omitted_thinking_keeps_its_signature() -> None:
    reply = reply_of(THINKING, thinking_omitted=True)
    expected = [{**THINKING, "thinking": ""}]
    assert message(reply)["content"] == expected
    assert sdk_message(joined(list(stream_frames(reply)))).model_dump(exclude_none=True)["content"] == expected


@given(st.text(max_size=300))
def test_any_text_comes_back_and_in_more_than_one_piece(text: str) -> None:
    events = events_of(joined(list(stream_frames(reply_of({"type": "text", "text": text})))))
    pieces = [each["delta"]["text"] for each in events if each["type"] == "content_block_delta"]
    assert "".join(pieces) == text.encode(errors="replace").decode()
    assert all(len(piece) <= DELTA_CHARS for piece in pieces) and (len(pieces) > 1 or len(text) < 2)


def test_long_text_takes_no_thousands_of_events() -> None:
    frames = list(stream_frames(reply_of({"type": "text", "text": "x" * 1_000_000})))
    assert DELTAS_PER_BLOCK_MAX <= len(frames) < DELTAS_PER_BLOCK_MAX + 10


def test_tokens_take_the_time_that_the_pace_says() -> None:
    paced = reply_of(*ALL, pace=Pace(0.0, 5.0))
    assert sum(frame.seconds for frame in stream_frames(paced)) == pytest.approx(3 * 10 / 5.0)
    assert [frame.seconds for frame in json_frames(paced)] == [6.0]


def test_block_that_stays_open_takes_longer_than_its_tokens() -> None:
    slow = replace(reply_of(), blocks=(ReplyBlock(CALL, 10, 3.0),))
    assert sum(frame.seconds for frame in stream_frames(slow)) == pytest.approx(3.0)


@pytest.mark.parametrize("after", range(3))
def test_error_follows_its_blocks_and_ends_the_stream(after: int) -> None:
    frames = list(stream_frames(reply_of(*ALL, faults=(ErrorFault("overloaded_error", "busy", after),))))
    kinds = [each["type"] for each in events_of(joined(frames))]
    assert (kinds[0], kinds[-1]) == ("message_start", "error")
    assert kinds.count("content_block_stop") == after and kinds.count("error") == 1


@pytest.mark.parametrize("after", range(4))
def test_cut_follows_its_blocks_and_is_the_last_frame(after: int) -> None:
    frames = list(stream_frames(reply_of(*ALL, faults=(CutFault(after_blocks=after),))))
    assert [frame.cut for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert joined(frames).count(b"event: content_block_stop") == after


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after", [0, 1, 100, 300])
def test_cut_after_bytes_lets_exactly_those_through(stream: bool, after: int) -> None:
    reply = reply_of(*ALL, faults=(CutFault(after_bytes=after),))
    frames = list(stream_frames(reply) if stream else json_frames(reply))
    whole = list(stream_frames(reply_of(*ALL)) if stream else json_frames(reply_of(*ALL)))
    assert frames[-1].cut and joined(frames) == joined(whole)[:after]


def test_cut_beyond_the_stream_changes_nothing() -> None:
    whole = list(stream_frames(reply_of(*ALL)))
    assert list(stream_frames(reply_of(*ALL, faults=(CutFault(after_bytes=1_000_000),)))) == whole


def test_silence_comes_once_behind_its_blocks() -> None:
    frames = list(stream_frames(reply_of(*ALL, faults=(SilenceFault(7.0, after_blocks=1),))))
    (silent,) = [index for index, frame in enumerate(frames) if frame.seconds]
    assert (frames[silent], frames[silent - 1].closes_block) == (Frame(seconds=7.0), True)
    assert joined(frames) == joined(list(stream_frames(reply_of(*ALL))))


def test_json_message_waits_and_breaks_off_as_the_faults_say() -> None:
    silent = list(json_frames(reply_of(TEXT, faults=(SilenceFault(7.0),))))
    broken = list(json_frames(reply_of(TEXT, faults=(CutFault(after_blocks=0),))))
    assert (len(silent), silent[0].seconds) == (1, 7.0)
    assert [frame.cut for frame in broken] == [False, True]
    with pytest.raises(ValueError, match="Unterminated|Expecting"):
        json.loads(broken[0].data)
