"""AWS event streams out of any payload or of server-sent events, and the official SDK as their reader. No tests.

What a message is made of is `clouds/eventstream.py`; botocore as a reader is `dialects.py`.
"""

import base64
import json
from collections.abc import Iterable
from typing import Any

from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder
from anthropic.lib.streaming._messages import accumulate_event

from gateway.core.wire.sse import SseDecoder
from tests.support.clouds.eventstream import CHUNK, encode_frame


def chunk(event: bytes, padding: str | None = None) -> bytes:
    """One event of the Messages API, padded as Bedrock pads it."""
    payload = {"bytes": base64.b64encode(event).decode()} | ({} if padding is None else {"p": padding})
    return payload_chunk(json.dumps(payload, separators=(",", ":")).encode())


def payload_chunk(payload: bytes) -> bytes:
    """A chunk with any payload."""
    return encode_frame(CHUNK, payload)


def chunks_of(sse_stream: bytes) -> bytes:
    """The events of a stream of server-sent events, a chunk each."""
    return b"".join(chunk(frame.data) for frame in SseDecoder().feed(sse_stream) if frame.data)


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
