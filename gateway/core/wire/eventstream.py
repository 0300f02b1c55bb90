"""The AWS event stream as a framing, and the way from an upstream's framing to a client's. Not one message's layout.

    event stream -> server-sent events   named by its type, without the metrics that Bedrock adds
    server-sent events -> event stream   a chunk each, an `error` as an exception; comments have no form there and go
    the same on both ends                the decoder itself: bytes pass as they came

Only a JSON object is written in another framing: to some of its clients anything else would be a fault.
"""

import re
import struct
from zlib import crc32

from gateway.core.wire import sse
from gateway.core.wire.deltas import FrameReader
from gateway.core.wire.eventmessages import (
    CRC_BYTES,
    PRELUDE_BYTES,
    Headers,
    crc_layout,
    encode_chunk,
    encode_error,
    encode_exception,
    encode_message,
    event_name,
    parse_headers,
    read_message,
)
from gateway.core.wire.messages import INVOCATION_METRICS
from gateway.core.wire.shapes import Shape
from gateway.core.wire.spans import members
from gateway.core.wire.sse import EVENT_BYTES_MAX, Frame, Framing, SseDecoder
from gateway.core.wire.strict import broke
from gateway.errors import GatewayError

__all__ = [
    "EventStreamDecoder",
    "Reframed",
    "build_framing",
    "encode_chunk",
    "encode_exception",
    "encode_message",
    "ping",
    "without_metrics",
]

HEADERS_BYTES_MAX = 128 * 1024
"""Longest headers of a message, as botocore has it."""

_METRICS = INVOCATION_METRICS.encode()
_PING_DATA = b'{"type": "ping"}'
_prelude = struct.Struct(">III")
_comma = re.compile(rb"[ \t\n\r]*,")


class EventStreamDecoder(FrameReader):
    """Incremental decoder; a `Framing`. Any split of a stream into chunks gives the same frames."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = b""
        self._at = 0
        self._begun = bytearray()
        self._needed_bytes = PRELUDE_BYTES
        self._headers_seen = b""
        self._headers: Headers = {}

    def push(self, chunk: bytes) -> None:
        """Take the next bytes of the stream; a begun message is looked at again when all of it is here."""
        if self._at < len(self._buffer):
            self._park(PRELUDE_BYTES)
        if self._begun:
            self._begun += chunk
            if len(self._begun) < self._needed_bytes:
                return
            chunk = bytes(self._begun)
            self._begun.clear()
        self._buffer = chunk
        self._at = 0

    def close(self) -> list[Frame]:
        """The stream ended: what was left, a message cut short as one incomplete frame."""
        frames: list[Frame] = []
        while (frame := self.next_frame()) is not None:
            frames.append(frame)
        rest = bytes(self._begun)
        self._begun.clear()
        return [*frames, Frame(rest, complete=False)] if rest else frames

    def encode(self, event: str, data: bytes) -> bytes:
        """One event as bytes; an `error` becomes the exception that says the same."""
        return encode_error(data) if event == "error" else encode_chunk(data)

    def rewrite(self, frame: Frame, data: bytes) -> bytes:
        """The message of `frame` with other data."""
        return self.encode(frame.event.decode(), data)

    def _take(self) -> Frame | None:
        raw = self._cut()
        if raw is None:
            return None
        headers_end = PRELUDE_BYTES + _prelude.unpack_from(raw)[1]
        headers = self._read_headers(raw[PRELUDE_BYTES:headers_end])
        return read_message(raw, headers, raw[headers_end:-CRC_BYTES])

    def _cut(self) -> bytes | None:
        """The next whole message, its lengths and checksums proven."""
        buffer, at = self._buffer, self._at
        size = len(buffer) - at
        if size < PRELUDE_BYTES:
            if size:
                self._park(PRELUDE_BYTES)
            return None
        total, headers_bytes, prelude_crc = _prelude.unpack_from(buffer, at)
        if crc32(buffer[at : at + 8]) != prelude_crc:
            raise broke("sent a message in its event stream whose prelude fails its checksum")
        if total > EVENT_BYTES_MAX:
            raise broke(f"sent a message in its event stream that is longer than {EVENT_BYTES_MAX} bytes")
        if headers_bytes > min(HEADERS_BYTES_MAX, total - PRELUDE_BYTES - CRC_BYTES):
            raise broke("sent a message in its event stream whose lengths contradict each other")
        if size < total:
            self._park(total)
            return None
        raw = buffer[at : at + total]
        if crc32(raw[:-CRC_BYTES]) != crc_layout.unpack_from(raw, total - CRC_BYTES)[0]:
            raise broke("sent a message in its event stream that fails its checksum")
        self._at = at + total
        return raw

    def _read_headers(self, raw: bytes) -> Headers:
        """Headers of a message; those of one stream are mostly the same."""
        if raw != self._headers_seen:
            self._headers = parse_headers(raw)
            self._headers_seen = raw
        return self._headers

    def _park(self, needed_bytes: int) -> None:
        """Keep what has come of a message until `needed_bytes` of it have."""
        self._begun += self._buffer[self._at :]
        self._buffer = b""
        self._at = 0
        self._needed_bytes = needed_bytes


class Reframed(FrameReader):
    """A `Framing` that reads with `source` and writes with `target`: `raw` of its frames is the client's."""

    def __init__(self, source: Framing, target: Framing) -> None:
        super().__init__()
        self._source = source
        self._target = target

    def push(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self._source.push(chunk)

    def close(self) -> list[Frame]:
        """The stream ended: what was left. An event cut short has no bytes for the client."""
        frames: list[Frame] = []
        while (frame := self.next_frame()) is not None:
            frames.append(frame)
        return [*frames, *(self._reframed(frame) for frame in self._source.close())]

    def encode(self, event: str, data: bytes) -> bytes:
        """One event as bytes for the client."""
        return self._target.encode(event, data)

    def rewrite(self, frame: Frame, data: bytes) -> bytes:
        """The event of `frame` for the client, with other data."""
        return self._written(frame.event, data)

    def _take(self) -> Frame | None:
        frame = self._source.next_frame()
        return None if frame is None else self._reframed(frame)

    def _reframed(self, frame: Frame) -> Frame:
        raw = self._written(frame.event, frame.data)
        return Frame(raw, frame.data, frame.event, frame.complete)

    def _written(self, event: bytes, data: bytes) -> bytes:
        """An event by its type; a name of its own counts for errors alone, as it does to the gate."""
        if event == b"error":
            return self._target.encode("error", data)
        name = event_name(data) if data else None
        if name is None:
            return b""
        try:
            data = without_metrics(data)
        except GatewayError:
            return b""  # read by nobody: the gate refuses it for the same reason
        return self._target.encode(name.decode(), data)


def build_framing(source: Shape, target: Shape) -> Framing:
    """How an answer of an upstream of one shape is read for a client of another, and written to it."""
    if source == target == "bedrock":
        return EventStreamDecoder()
    if "bedrock" not in (source, target):
        return SseDecoder()
    return Reframed(_decoder(source), _decoder(target))


def ping(shape: Shape) -> bytes:
    """What keeps a client of that shape waiting."""
    return encode_chunk(_PING_DATA) if shape == "bedrock" else sse.PING


def without_metrics(data: bytes) -> bytes:
    """An event without what Bedrock measured; other bytes as they came. Raises GatewayError when it cannot be read."""
    if _METRICS not in data:
        return data
    spans = members(data)
    if INVOCATION_METRICS not in spans:
        return data
    names = list(spans)
    at = names.index(INVOCATION_METRICS)
    end = spans[INVOCATION_METRICS][1]
    if at > 0:
        return data[: spans[names[at - 1]][1]] + data[end:]
    comma = _comma.match(data, end)
    return data[: data.index(b"{") + 1] + data[comma.end() if comma else end :]


def _decoder(shape: Shape) -> Framing:
    return EventStreamDecoder() if shape == "bedrock" else SseDecoder()
