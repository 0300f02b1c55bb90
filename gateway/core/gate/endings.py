"""What a client was shown of a streamed message, and the two ways in which we end one. Not what is let through.

    refuse   an error event, which the client shows
    finish   the message stops as one that reached its `max_tokens`

A finished message is valid when the client sends it back. So a block that means nothing in part is waited for: thinking
lacks its signature until its end, a call that the upstream runs itself lacks its result until that has come. A message
of nothing but thinking is no history either, and gets a text block. After a tool call that the client was given the
stop reason is `max_tokens` too, as the API has it. Measured with Claude Code: it runs such a call and goes on; after
text it sends the text back and asks for the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.contract import error_envelope
from gateway.core.gate.calls import ascii_json
from gateway.core.wire.sse import Framing
from gateway.core.wire.strict import JsonObject

_VISIBLE = ("text", "thinking")
_NO_LAST_BLOCK = ("", "thinking", "redacted_thinking")
"""Kinds of block, none among them, with which a message of a history cannot end."""
_RUN_UPSTREAM = ("server_tool_use", "mcp_tool_use")
_CUT_NOTE = "[The answer ends here: what it may cost is used up.]"
_EMPTY_MESSAGE: JsonObject = {
    "id": "msg_ringfence",
    "type": "message",
    "role": "assistant",
    "model": "",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 0, "output_tokens": 0},
}


@dataclass(slots=True)
class Shown:
    """What the client was shown of one message so far."""

    started: bool = False
    concluded: bool = False
    """Its `message_delta` was shown: why it stopped is said."""
    ended: bool = False
    """It came to its end, or to an error that says why not."""
    blocks: int = 0
    calls: int = 0
    """Tool calls, or what stands in for them."""
    calls_as_text: int = 0
    visible: int = 0
    """Blocks that a person can read, from their beginning to their end."""
    last: str = ""
    """Kind of the block begun last."""
    last_from_chars: int = 0
    """Output that had been seen when it began."""
    open: dict[int, str] = field(default_factory=dict[int, str])
    """Kind of each open block."""
    unanswered: set[str] = field(default_factory=set[str])
    """Calls that the upstream runs itself, by id, whose results have not come."""

    @property
    def can_finish(self) -> bool:
        """May the message be finished where it stands?"""
        if self.concluded or self.ended or self.unanswered:
            return False
        return all(kind == "text" for kind in self.open.values())

    def begin(self, index: int, block: JsonObject, kind: str, chars: int) -> None:
        """A block is shown from its beginning."""
        self.open[index] = kind
        self._add(kind, chars)
        call, answered = block.get("id"), block.get("tool_use_id")
        if kind in _RUN_UPSTREAM and isinstance(call, str):
            self.unanswered.add(call)
        elif isinstance(answered, str):
            self.unanswered.discard(answered)

    def end(self, index: int) -> bool:
        """An open block is shown to its end; False when none of that index is open."""
        kind = self.open.pop(index, None)
        self.visible += kind in _VISIBLE
        return kind is not None

    def add_call(self) -> None:
        """A whole call is shown, or a call that stands in for it."""
        self.calls += 1
        self._add("tool_use", 0)

    def add_call_as_text(self) -> None:
        """A text is shown in place of a call."""
        self.calls_as_text += 1
        self.visible += 1
        self._add("text", 0)

    def _add(self, kind: str, chars: int) -> None:
        self.blocks += 1
        self.last, self.last_from_chars = kind, chars


def refuse(shown: Shown, framing: Framing, error_type: str, message: str, reason: str | None = None) -> bytes:
    """Bytes that end a begun message so that the client shows `message` and stops (measured with Claude Code).

    An error event before any completed block makes the client send the request again without streaming, so one is
    completed first. After a tool call nothing is written: the client runs it and goes on whatever follows.
    """
    if shown.calls or shown.ended:
        return b""
    shown.ended = True
    pieces: list[bytes] = []
    if not shown.started and not shown.blocks:
        pieces.append(_encode(framing, {"type": "message_start", "message": _EMPTY_MESSAGE}))
    closing = [index for index, kind in shown.open.items() if kind in _VISIBLE]
    pieces += _stops(framing, closing)
    if not closing and not shown.visible:
        pieces.append(text_block(framing, shown.blocks, message))
    pieces.append(framing.encode("error", error_envelope(error_type, message, reason=reason)))
    return b"".join(pieces)


def finish(shown: Shown, framing: Framing, *, output_chars: int, output_tokens: int) -> bytes:
    """Bytes that end a message as one that reached its `max_tokens`; `Shown.can_finish` says when.

    `output_chars`: output seen, also of a call that was not shown. `output_tokens`: all of it, as far as known.
    """
    if not shown.can_finish:
        raise RuntimeError("the message cannot be finished where it stands")
    shown.ended = True
    pieces: list[bytes] = []
    if not shown.started and not shown.blocks:
        pieces.append(_encode(framing, {"type": "message_start", "message": _EMPTY_MESSAGE}))
    if shown.open and shown.last_from_chars == output_chars:
        pieces.append(_text_delta(framing, next(reversed(shown.open)), _CUT_NOTE))  # empty text is no history either
    pieces += _stops(framing, shown.open)
    if shown.last in _NO_LAST_BLOCK:
        pieces.append(text_block(framing, shown.blocks, _CUT_NOTE))
    delta = {"stop_reason": "max_tokens", "stop_sequence": None}
    usage = {"output_tokens": output_tokens}
    pieces.append(_encode(framing, {"type": "message_delta", "delta": delta, "usage": usage}))
    pieces.append(_encode(framing, {"type": "message_stop"}))
    return b"".join(pieces)


def text_block(framing: Framing, index: int, text: str) -> bytes:
    """A whole text block."""
    return whole_block(framing, index, {"type": "text", "text": ""}, _text_delta(framing, index, text))


def whole_block(framing: Framing, index: int, block: JsonObject, delta: bytes) -> bytes:
    """A block with one delta between its beginning and its end."""
    start = _encode(framing, {"type": "content_block_start", "index": index, "content_block": block})
    return b"".join((start, delta, *_stops(framing, (index,))))


def block_delta(framing: Framing, index: int, delta: JsonObject) -> bytes:
    """A piece of an open block."""
    return _encode(framing, {"type": "content_block_delta", "index": index, "delta": delta})


def _text_delta(framing: Framing, index: int, text: str) -> bytes:
    return block_delta(framing, index, {"type": "text_delta", "text": text})


def _stops(framing: Framing, indexes: Iterable[int]) -> list[bytes]:
    return [_encode(framing, {"type": "content_block_stop", "index": index}) for index in indexes]


def _encode(framing: Framing, event: JsonObject) -> bytes:
    return framing.encode(event["type"], ascii_json(event))
