"""AWS event streams, written from the format's description: the tests' own encoder, never the gateway's."""

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.upstream import Answer, stream

STRING_HEADER = 7
CHUNK = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
INVOCATION_METRICS = "amazon-bedrock-invocationMetrics"
EVENT_STREAM_HEADERS = (
    ("content-type", "application/vnd.amazon.eventstream"),
    ("x-amzn-bedrock-content-type", "application/json"),
    ("x-amzn-requestid", "6f1d2c3b-test"),
)


def header(name: str, kind: int, value: bytes) -> bytes:
    """One header; `value` as it is laid out for its type."""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def string_headers(fields: Mapping[str, str]) -> bytes:
    """Headers that are strings."""
    return b"".join(
        header(name, STRING_HEADER, struct.pack("!H", len(value.encode())) + value.encode())
        for name, value in fields.items()
    )


def message(headers: bytes, payload: bytes) -> bytes:
    """A message with right checksums: lengths, checksum of the lengths, headers, payload, checksum of everything."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack("!I", zlib.crc32(prelude))
    return prelude + headers + payload + struct.pack("!I", zlib.crc32(prelude + headers + payload))


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """A message whose headers are strings."""
    return message(string_headers(headers), payload)


def encode_event(data: bytes) -> bytes:
    """One event of the Messages API as Bedrock wraps it."""
    return encode_frame(CHUNK, json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcdefgh"}).encode())


def exception(kind: str, payload: bytes) -> bytes:
    """An exception, with any payload."""
    fields = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(fields, payload)


def encode_exception(exception_type: str, sentence: str) -> bytes:
    """What ends a stream that Bedrock gives up."""
    return exception(exception_type, json.dumps({"message": sentence}).encode())


def event_stream(blocks: Sequence[dict[str, Any]], **facts: Any) -> list[bytes]:
    """A whole streamed message, one frame per event, the metrics of the invocation on the last."""
    return [reframe(event) for event in stream(blocks, **facts)]


def event_stream_answer(blocks: Sequence[dict[str, Any]], **facts: Any) -> Answer:
    """A 200 with an event stream of `blocks`; `facts` as `upstream.stream` takes them."""
    return Answer(200, EVENT_STREAM_HEADERS, event_stream(blocks, **facts))


def reframe(events: bytes) -> bytes:
    """Whole server-sent events as frames; Bedrock sends no pings, and its metrics with the last event."""
    frames = b""
    for event in events.split(b"\n\n"):
        data = b"\n".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))
        if not data or (told := json.loads(data))["type"] == "ping":
            continue
        if told["type"] == "message_stop":
            told[INVOCATION_METRICS] = {
                "inputTokenCount": 100,
                "outputTokenCount": 20,
                "invocationLatency": 900,
                "firstByteLatency": 300,
            }
            data = json.dumps(told, separators=(",", ":")).encode()
        frames += encode_event(data)
    return frames
