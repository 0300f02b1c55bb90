"""Single messages of the AWS event stream, in which Bedrock streams: read as frames, and written. Not their sequence.

    message   total length, headers length (4 bytes each, big-endian), their CRC-32, headers, payload, CRC-32 of all
    event     :event-type chunk; the payload {"bytes": "<base64>"} holds one event of the Messages API
    failure   :message-type exception (its payload has the message) or error (its headers have it)

Clients read the event through two layers of JSON, so both are read in the one way that all decoders share, or refused.
Shown as a frame, a failure is an `error` event of the Messages API; its bytes name no account of the operator.
"""

import binascii
import json
import re
import struct
from collections.abc import Sequence
from typing import Any, cast
from zlib import crc32

import msgspec

from gateway.contract import error_envelope
from gateway.core.wire.faults import exception_of, read_exception, redact
from gateway.core.wire.sse import Frame
from gateway.core.wire.strict import JsonObject, broke, decode_strictly

EVENT_NAME_CHARS_MAX = 64

PRELUDE_BYTES = 12
CRC_BYTES = 4
_STRING = 7
_FIXED_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Length of a header's value by its type; the others, bytes (6) and string (7), say their own."""
_SIZED = (6, _STRING)

_length = struct.Struct(">H")
crc_layout = struct.Struct(">I")
_chunk = re.compile(rb'\{"bytes": ?"([A-Za-z0-9+/]*+=*+)"(?:, ?"p": ?"[A-Za-z0-9]*+")?\}')
_leading_type = re.compile(rb'\{"type": ?"([A-Za-z0-9_.-]{1,%d})"[,}]' % EVENT_NAME_CHARS_MAX)
_plain_name = re.compile(rf"[A-Za-z0-9_.-]{{1,{EVENT_NAME_CHARS_MAX}}}", re.ASCII)

Headers = dict[str, str | None]
"""Headers of a message; None for a value that is no string."""


class _Typed(msgspec.Struct):
    type: Any = None


_typed = msgspec.json.Decoder(_Typed)


def encode_message(headers: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """A message with headers that are strings."""
    return _encode(b"".join(_encode_header(name.encode(), value.encode()) for name, value in headers), payload)


def encode_chunk(event_json: bytes) -> bytes:
    """The message of one event of the Messages API."""
    return _encode(_CHUNK_HEADERS, b'{"bytes":"%b"}' % binascii.b2a_base64(event_json, newline=False))


def encode_exception(exception_type: str, message: str) -> bytes:
    """The message that ends a stream with a failure."""
    headers = ((":exception-type", exception_type), (":content-type", "application/json"))
    return encode_message((*headers, (":message-type", "exception")), json.dumps({"message": message}).encode())


def event_name(data: bytes) -> bytes | None:
    """`type` of an event when it is a plain word, b"" when it is not; None when the data is not a JSON object."""
    found = _leading_type.match(data)
    if found is not None:
        return found[1]
    try:
        kind = _typed.decode(data).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return kind.encode() if isinstance(kind, str) and _plain_name.fullmatch(kind) else b""


def _encode(headers: bytes, payload: bytes) -> bytes:
    lengths = struct.pack(">II", PRELUDE_BYTES + len(headers) + len(payload) + CRC_BYTES, len(headers))
    message = b"".join((lengths, crc_layout.pack(crc32(lengths)), headers, payload))
    return message + crc_layout.pack(crc32(message))


def _encode_header(name: bytes, value: bytes) -> bytes:
    return b"%c%b%c%b%b" % (len(name), name, _STRING, _length.pack(len(value)), value)


_CHUNK_HEADERS = b"".join(
    (
        _encode_header(b":event-type", b"chunk"),
        _encode_header(b":content-type", b"application/json"),
        _encode_header(b":message-type", b"event"),
    )
)


def encode_error(data: bytes) -> bytes:
    """An `error` event of the Messages API as an exception."""
    error = _object(_object(_lenient(data)).get("error"))
    return encode_exception(exception_of(_string(error.get("type"))), _string(error.get("message")))


def parse_headers(raw: bytes) -> Headers:
    """Headers of a message, of any type. Raises GatewayError(UPSTREAM_BROKE), also for one that occurs twice."""
    headers: Headers = {}
    at = 0
    try:
        while at < len(raw):
            name, at = _slice(raw, at + 1, raw[at])
            kind = raw[at]
            at += 1
            if kind in _SIZED:
                value, at = _slice(raw, at + _length.size, _length.unpack_from(raw, at)[0])
            else:
                value, at = _slice(raw, at, _FIXED_BYTES[kind])
            text = name.decode()
            if text in headers:
                raise ValueError(text)
            headers[text] = value.decode() if kind == _STRING else None
    except (KeyError, IndexError, ValueError, struct.error):
        raise broke("sent a message in its event stream whose headers cannot be read") from None
    return headers


def _slice(raw: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(raw):
        raise ValueError(size)
    return raw[at:end], end


def read_message(raw: bytes, headers: Headers, payload: bytes) -> Frame:
    """A message whose checksums were proven, as a frame. Raises GatewayError(UPSTREAM_BROKE)."""
    kind = headers.get(":message-type")
    if kind == "event":
        if headers.get(":event-type") == "chunk":
            data = _chunk_data(payload)
            return Frame(raw, data, event_name(data) or b"")
        _require_no_chunk(payload)
        return Frame(raw)
    if kind == "exception":
        said = _object(_lenient(payload))
        message = _string(said.get("message")) or _string(said.get("Message"))
        return _failure(raw, headers, payload, (headers.get(":exception-type") or "", message))
    if kind == "error":
        failure = (headers.get(":error-code") or "", headers.get(":error-message") or "")
        return _failure(raw, headers, payload, failure)
    raise broke("sent a message in its event stream that is neither event, exception nor error")


def _failure(raw: bytes, headers: Headers, payload: bytes, failure: tuple[str, str]) -> Frame:
    """A failure, given as type and message, as an `error` event. Written anew when it may name an account."""
    error_type, shown = read_exception(*failure)
    if _may_name_account(headers, payload):
        raw = encode_exception(exception_of(error_type), shown)
    return Frame(raw, error_envelope(error_type, shown), b"error")


def _may_name_account(headers: Headers, payload: bytes) -> bool:
    """Would any text of a failure be redacted? So is a payload that clients could read differently."""
    try:
        said = json.dumps(decode_strictly(payload.decode()), ensure_ascii=False) if payload else ""
    except (ValueError, RecursionError):
        return True
    seen = " ".join((*(value for value in headers.values() if value), said))
    return redact(seen) != seen


def _chunk_data(payload: bytes) -> bytes:
    """The event inside a chunk."""
    plain = _chunk.fullmatch(payload)
    encoded = plain[1] if plain is not None else _members(payload).get("bytes")
    if not isinstance(encoded, str | bytes):
        raise broke("sent a chunk in its event stream without bytes in it")
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise broke("sent a chunk in its event stream that is not valid base64") from None


def _require_no_chunk(payload: bytes) -> None:
    """An event of a kind we do not know passes unread, so it must hold nothing that a client could take for a chunk."""
    if payload and "bytes" in _members(payload):
        raise broke("sent an event of an unknown kind in its event stream that looks like a chunk")


def _members(payload: bytes) -> JsonObject:
    """A payload's JSON, read as every decoder reads it."""
    try:
        found: object = decode_strictly(payload.decode())
    except ValueError as error:
        raise broke(f"sent a payload in its event stream that {error}") from None
    if not isinstance(found, dict):
        raise broke("sent a payload in its event stream that is not a JSON object")
    found = cast(JsonObject, found)
    if any(key != "bytes" and key.casefold() == "bytes" for key in found):
        raise broke("sent a chunk in its event stream that clients read differently")
    return found


def _lenient(raw: bytes) -> object:
    """JSON of a failure, of which only words are read; None when it cannot be."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _object(value: object) -> JsonObject:
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
