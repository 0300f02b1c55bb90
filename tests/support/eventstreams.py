"""AWS event streams as bytes, written apart from the gateway's own writer, and others' readers as judges. No tests."""

import base64
import json
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder
from anthropic.lib.streaming._messages import accumulate_event
from botocore.eventstream import EventStreamBuffer

from gateway.core.sse import SseDecoder

CHUNK = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}


def header(name: str, kind: int, value: bytes) -> bytes:
    """One header; `value` as it is laid out for its type."""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def string_headers(fields: dict[str, str]) -> bytes:
    """Headers that are strings."""
    return b"".join(
        header(name, 7, struct.pack(">H", len(value.encode())) + value.encode()) for name, value in fields.items()
    )


def message(headers: bytes, payload: bytes) -> bytes:
    """A message with right checksums."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    return prelude + headers + payload + struct.pack(">I", zlib.crc32(prelude + headers + payload))


def chunk(event: bytes, padding: str | None = None) -> bytes:
    """One event of the Messages API, padded as Bedrock pads it."""
    payload = {"bytes": base64.b64encode(event).decode()} | ({} if padding is None else {"p": padding})
    return payload_chunk(json.dumps(payload, separators=(",", ":")).encode())


def payload_chunk(payload: bytes) -> bytes:
    """A chunk with any payload."""
    return message(string_headers(CHUNK), payload)


def exception(kind: str, payload: bytes) -> bytes:
    """An exception, as Bedrock ends a stream that fails."""
    fields = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return message(string_headers(fields), payload)


def chunks_of(sse_stream: bytes) -> bytes:
    """The events of a stream of server-sent events, a chunk each."""
    return b"".join(chunk(frame.data) for frame in SseDecoder().feed(sse_stream) if frame.data)


def messages_of(stream: bytes) -> list[Any]:
    """Messages as botocore reads them; it proves each checksum. Every byte must belong to one."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    found: list[Any] = list(buffer)
    assert sum(each.prelude.total_length for each in found) == len(stream)
    return found


def sdk_events(stream: bytes) -> list[tuple[str, Any]]:
    """Name and JSON of each event, as the official SDK reads them."""
    return [(found.event or "", json.loads(found.data)) for found in AWSEventStreamDecoder().iter_bytes(iter([stream]))]


def sdk_message_of(events: Iterable[tuple[str, Any]]) -> Any:
    """The message that the official SDK accumulates from events."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for name, event in events:
        if name == "error":
            raise ValueError(event)
        if name != "ping":
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot
