"""How a reply is written: server-sent events as the Messages API sends them, or one JSON message. Sans I/O.

A frame is bytes with the pause before them; faults are frames too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.upstreams.simulation.reply import Reply, ReplyBlock
from gateway.upstreams.simulation.scenario import CutFault, ErrorFault, SilenceFault
from gateway.upstreams.simulation.values import Json

DELTA_CHARS = 24
DELTAS_PER_BLOCK_MAX = 200
"""Long blocks come in larger pieces, so that no reply takes thousands of events."""
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
"""The real API writes it with a space, unlike its other events."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes to send after a pause; `cut` means the connection breaks off instead."""

    data: bytes = b""
    seconds: float = 0.0
    cut: bool = False
    closes_block: bool = False


def stream_frames(reply: Reply) -> Iterator[Frame]:
    """The reply as a stream, with its faults."""
    error = next((fault for fault in reply.faults if isinstance(fault, ErrorFault)), None)
    cut = next((fault for fault in reply.faults if isinstance(fault, CutFault)), None)
    silence = next((fault for fault in reply.faults if isinstance(fault, SilenceFault)), None)
    blocks = sent_bytes = 0
    started = False
    for frame in _plain_frames(reply):
        if started and silence is not None and blocks == silence.after_blocks:
            yield Frame(seconds=silence.seconds)
            silence = None
        if started and error is not None and blocks == error.after_blocks:
            yield Frame(_event("error", {"error": {"type": error.type, "message": error.message}}))
            return
        if started and cut is not None and cut.after_blocks == blocks:
            yield Frame(cut=True)
            return
        if cut is not None and cut.after_bytes is not None and sent_bytes + len(frame.data) >= cut.after_bytes:
            yield Frame(frame.data[: cut.after_bytes - sent_bytes], frame.seconds)
            yield Frame(cut=True)
            return
        yield frame
        started = True
        blocks += frame.closes_block
        sent_bytes += len(frame.data)


def json_frames(reply: Reply) -> Iterator[Frame]:
    """The reply as one JSON message. An in-stream error has no place in it: the caller answers with a status."""
    body = json.dumps(message(reply), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    waited = _seconds(reply, sum(block.tokens for block in reply.blocks))
    waited += sum(fault.seconds for fault in reply.faults if isinstance(fault, SilenceFault))
    cut = next((fault for fault in reply.faults if isinstance(fault, CutFault)), None)
    if cut is None:
        yield Frame(body, waited)
        return
    yield Frame(body[: len(body) // 2 if cut.after_bytes is None else cut.after_bytes], waited)
    yield Frame(cut=True)


def message(reply: Reply) -> Json:
    """The whole message, as `stream: false` answers it."""
    content = [_visible(reply, block.content) for block in reply.blocks]
    usage = {**_input_usage(reply), **_output_usage(reply)}
    return {**_shell(reply), "content": content, "stop_reason": reply.stop_reason, "usage": usage}


def _plain_frames(reply: Reply) -> Iterator[Frame]:
    usage = {**_input_usage(reply), "output_tokens": min(1, reply.tokens.output)}
    yield Frame(_event("message_start", {"message": {**_shell(reply), "content": [], "usage": usage}}))
    for index, block in enumerate(reply.blocks):
        yield from _block_frames(reply, index, block)
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": None, "stop_details": None}
    final = {key: count for key, count in _input_usage(reply).items() if key.endswith("_tokens")}
    yield Frame(_event("message_delta", {"delta": delta, "usage": {**final, **_output_usage(reply)}}))
    yield Frame(_event("message_stop", {}))


def _block_frames(reply: Reply, index: int, block: ReplyBlock) -> Iterator[Frame]:
    started, deltas = _parts(reply, block.content)
    pause = max(_seconds(reply, block.tokens), block.seconds) / max(1, len(deltas))
    yield Frame(_event("content_block_start", {"index": index, "content_block": started}))
    if index == 0:
        yield Frame(PING)
    for delta in deltas:
        yield Frame(_event("content_block_delta", {"index": index, "delta": delta}), pause)
    yield Frame(_event("content_block_stop", {"index": index}), closes_block=True)


def _parts(reply: Reply, content: Json) -> tuple[Json, list[Json]]:
    """A content block as it starts, and the deltas that complete it."""
    match content["type"]:
        case "text":
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": part} for part in _pieces(content["text"])
            ]
        case "thinking":
            shown = _pieces("" if reply.thinking_omitted else content["thinking"])
            deltas = [{"type": "thinking_delta", "thinking": part} for part in shown]
            signed = {"type": "signature_delta", "signature": content["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed]
        case _:
            written = _pieces(json.dumps(content["input"], ensure_ascii=False))
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *written]]
            return {**content, "input": {}}, deltas


def _pieces(text: str) -> list[str]:
    width = min(max(DELTA_CHARS, -(-len(text) // DELTAS_PER_BLOCK_MAX)), -(-len(text) // 2)) or 1
    return [text[start : start + width] for start in range(0, len(text), width)]


def _visible(reply: Reply, content: Json) -> Json:
    return {**content, "thinking": ""} if content["type"] == "thinking" and reply.thinking_omitted else content


def _shell(reply: Reply) -> Json:
    shell: dict[str, Any] = {"model": reply.model, "id": reply.message_id, "type": "message", "role": "assistant"}
    return {**shell, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}


def _input_usage(reply: Reply) -> Json:
    tokens = reply.tokens
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "service_tier": "standard",
        "inference_geo": "global",
    }


def _output_usage(reply: Reply) -> Json:
    return {
        "output_tokens": reply.tokens.output,
        "output_tokens_details": {"thinking_tokens": min(reply.thinking_tokens, reply.tokens.output)},
    }


def _seconds(reply: Reply, tokens: int) -> float:
    rate = reply.pace.tokens_per_second
    return tokens / rate if rate else 0.0


def _event(name: str, data: Json) -> bytes:
    encoded = json.dumps({"type": name, **data}, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encoded)
