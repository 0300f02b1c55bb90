"""A closing message of our own: what an agent gets in place of an answer when its turn shall end, not fail.

It is written as the Claude API would, whole or as events, and passes the gate and the translators like any answer.
Clients take it as the model's last words, so it says who speaks. It used no tokens.
"""

from typing import Any

import msgspec

from gateway.core.wire.sse import encode

MESSAGE_ID_PREFIX = "msg_"
_USAGE = {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def closing_message(request_id: str, model: str, text: str, *, stream: bool) -> bytes:
    """The body of an assistant's message that says `text` and ends the turn. `request_id` makes its id."""
    message: dict[str, Any] = {
        "id": MESSAGE_ID_PREFIX + request_id.removeprefix("dec_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
    }
    if not stream:
        return msgspec.json.encode(message)
    return b"".join(encode(event["type"], msgspec.json.encode(event)) for event in _events(message, text))


def _events(message: dict[str, Any], text: str) -> list[dict[str, Any]]:
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    return [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ]
