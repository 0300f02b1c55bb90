"""The words that end a turn in place of an answer, as gate, tap and SDK read them."""

import json

from anthropic.types import Message

from gateway.core.gate.closing import closing_message
from gateway.core.gate.gate import StreamGate
from gateway.core.wire.messages import Tap
from gateway.core.wire.sse import SseDecoder

TEXT = "fuse fuse_1 has blown"


def test_a_whole_closing_message_is_one_that_the_sdk_reads():
    body = closing_message("dec_12", "claude-opus-4-8", TEXT, stream=False)
    message = Message.model_validate_json(body)
    assert (message.stop_reason, message.content[0].type) == ("end_turn", "text")
    assert (message.id, message.usage.output_tokens) == ("msg_12", 0)


def test_a_streamed_closing_message_passes_the_gate_as_it_is():
    body = closing_message("dec_12", "claude-opus-4-8", TEXT, stream=True)
    gate = StreamGate(SseDecoder(), Tap())
    passed = b"".join(piece for piece in gate.feed(body) if isinstance(piece, bytes))
    assert passed + b"".join(piece for piece in gate.close() if isinstance(piece, bytes)) == body
    assert gate.ended


def test_a_streamed_closing_message_says_the_text_and_ends_the_turn():
    body = closing_message("dec_12", "claude-opus-4-8", TEXT, stream=True)
    events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert [event["type"] for event in events][0] == "message_start"
    assert events[2]["delta"]["text"] == TEXT
    assert events[-2]["delta"]["stop_reason"] == "end_turn"


def test_the_words_and_the_usage_of_a_closing_message_cost_nothing():
    tap = Tap()
    gate = StreamGate(SseDecoder(), tap)
    list(gate.feed(closing_message("dec_12", "m", TEXT, stream=True)))
    assert tap.usage().final
    assert tap.usage().tokens.output == 0
