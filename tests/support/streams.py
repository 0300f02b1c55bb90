"""Messages-API streams as bytes, a caller that drives the gate, and the official SDK as judge. No test lives here."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event

from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import DenialForm, HeldCall, StreamGate
from gateway.core.wire.messages import Tap
from gateway.core.wire.sse import SseDecoder

GOLDEN = Path(__file__).parent.parent / "golden" / "streams"
DENIAL = Denial(reason="exec/shell: shell is not allowed; use Read and Grep", decision="dec_1")

Decide = Callable[[HeldCall], Denial | None]


def golden(name: str) -> bytes:
    """One of the golden streams."""
    return (GOLDEN / name).read_bytes()


def event(kind: str, **fields: Any) -> bytes:
    """One event, written as the API writes it."""
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"), ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def message_start(**fields: Any) -> bytes:
    """The first event of a stream."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    return event("message_start", message=message | fields)


def delta(index: int, **fields: Any) -> bytes:
    """One content_block_delta."""
    return event("content_block_delta", index=index, delta=fields)


def text_delta(index: int, text: str) -> bytes:
    """One text delta."""
    return delta(index, type="text_delta", text=text)


def json_delta(index: int, part: str) -> bytes:
    """One fragment of a tool input."""
    return delta(index, type="input_json_delta", partial_json=part)


def block_start(index: int, **block: Any) -> bytes:
    """A content_block_start."""
    return event("content_block_start", index=index, content_block=block)


def block_stop(index: int) -> bytes:
    """A content_block_stop."""
    return event("content_block_stop", index=index)


def text_block(index: int, *texts: str) -> bytes:
    """A whole text block."""
    deltas = b"".join(text_delta(index, text) for text in texts)
    return block_start(index, type="text", text="") + deltas + block_stop(index)


def tool_start(index: int, call_id: str = "toolu_1", name: str = "Bash") -> bytes:
    """The start of a tool call."""
    return block_start(index, type="tool_use", id=call_id, name=name, input={})


def tool_block(index: int, call_id: str, name: str, *parts: str) -> bytes:
    """A whole tool call, its input in fragments."""
    deltas = b"".join(json_delta(index, part) for part in parts)
    return tool_start(index, call_id, name) + deltas + block_stop(index)


def message_end(stop_reason: str = "end_turn", output_tokens: int = 20) -> bytes:
    """The last two events of a stream."""
    usage = {"output_tokens": output_tokens}
    ending = event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage=usage)
    return ending + event("message_stop")


def allow(_call: HeldCall) -> Denial | None:
    """Allow what can be allowed."""
    return DENIAL if _call.problem else None


def deny(_call: HeldCall) -> Denial | None:
    """Deny every call."""
    return DENIAL


def new_gate(form: DenialForm = "tool_use") -> StreamGate:
    """A gate over SSE with a tap of its own."""
    return StreamGate(SseDecoder(), Tap(), form=form)


def pass_through(gate: StreamGate, chunks: Iterable[bytes], decide: Decide = allow) -> Iterator[bytes]:
    """What the client is sent, piece by piece, when each held call is decided at once."""
    for chunk in chunks:
        yield from _decided(gate, gate.feed(chunk), decide)
    yield from _decided(gate, gate.close(), decide)


def _decided(gate: StreamGate, pieces: Iterable[bytes | HeldCall], decide: Decide) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            denial = decide(piece)
            yield gate.release(piece) if denial is None else gate.deny(piece, denial)


def through(stream: bytes, decide: Decide = allow, form: DenialForm = "tool_use") -> bytes:
    """What the client is sent of a whole stream."""
    return b"".join(pass_through(new_gate(form), [stream], decide))


def sdk_message(stream: bytes) -> Any:
    """The message that the official SDK accumulates from a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for found in SSEDecoder().iter_bytes(iter([stream])):
        if found.event in (None, "ping") or not found.data:
            continue
        if found.event == "error":
            raise ValueError(found.data)
        snapshot = accumulate_event(event=found.json(), current_snapshot=snapshot, json_bufs=buffers)
    return snapshot


def chop(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    """A stream in chunks, cut at the given places (taken modulo its length)."""
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in zip(places, places[1:], strict=False)]
