"""AWS event streams, written from the format's description: the tests' own encoder, never the gateway's."""

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.upstream import Answer, stream

STRING_HEADER = 7
INVOCATION_METRICS = "amazon-bedrock-invocationMetrics"
EVENT_STREAM_HEADERS = (
    ("content-type", "application/vnd.amazon.eventstream"),
    ("x-amzn-bedrock-content-type", "application/json"),
    ("x-amzn-requestid", "6f1d2c3b-test"),
)


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame: lengths, checksum of the lengths, headers, payload, checksum of everything."""
    written = b""
    for name, value in headers.items():
        written += struct.pack("!B", len(name)) + name.encode()
        written += struct.pack("!BH", STRING_HEADER, len(value.encode())) + value.encode()
    lengths = struct.pack("!II", 12 + len(written) + len(payload) + 4, len(written))
    frame = lengths + struct.pack("!I", zlib.crc32(lengths)) + written + payload
    return frame + struct.pack("!I", zlib.crc32(frame))


def encode_event(data: bytes) -> bytes:
    """One event of the Messages API as Bedrock wraps it."""
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcdefgh"}).encode()
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, payload)


def encode_exception(exception_type: str, message: str) -> bytes:
    """What ends a stream that Bedrock gives up."""
    headers = {
        ":exception-type": exception_type,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encode_frame(headers, json.dumps({"message": message}).encode())


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
