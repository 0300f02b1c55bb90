"""What an error body says and in which shape it says it. Not what that means to a client (`faults.py`)."""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from gateway.core.wire.redaction import redact
from gateway.core.wire.shapes import Shape
from gateway.core.wire.strict import decode_strictly

FAULT_BYTES_MAX = 256 * 1024
"""Longest error body that is looked at; a longer one is answered as if it could not be read."""
NESTED_WITHIN_CHARS = 1_000
"""How far into a cloud's message an envelope may begin."""

_GZIP = b"\x1f\x8b"
_error_type = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says. `code` is the error's type, status word or exception name; empty when it has none."""

    form: Shape
    """`anthropic`: the Messages API's envelope. `vertex`: another `error` object, Azure's as well. `bedrock`: flat."""
    code: str
    message: str
    status: int | None = None
    """The HTTP status that the body itself names: Google's, or the one of a model behind Bedrock."""
    nested: bool = False
    """The envelope was found inside a cloud's message, so the answer's own status may not be the model's."""
    wrapped: bool = False
    """It came in an array, or compressed."""


def read_error(body: bytes) -> Said | None:
    """What an error body says; None when it is no error that we know or cannot be read. Never raises."""
    value = _decode(body)
    wrapped = body.startswith(_GZIP)
    if isinstance(value, list) and value:
        value, wrapped = cast(list[Any], value)[0], True  # Google wraps its errors so on methods that stream
    said = _read_object(cast(dict[str, Any], value)) if isinstance(value, dict) else None
    return replace(said, wrapped=True) if said is not None and wrapped else said


def read_envelope(message: str) -> Said | None:
    """The Messages API's envelope inside a cloud's message."""
    at = message.find("{", 0, NESTED_WITHIN_CHARS)
    if at < 0 or '"error"' not in message:
        return None
    value = _decode(message[at:].encode("utf-8", "replace"))
    said = _envelope(cast(dict[str, Any], value)) if isinstance(value, dict) else None
    return None if said is None else replace(said, nested=True)


def is_clean(body: bytes) -> bool:
    """Does `redact` find nothing, neither in the bytes nor in what their escapes stand for?"""
    if body.startswith(_GZIP):
        return False
    text = body.decode("utf-8", "replace")
    return redact(text) is text and all(redact(piece) is piece for piece in _strings(_decode(body)))


def _decode(body: bytes) -> Any:
    if body.startswith(_GZIP):
        body = _inflate(body)
    if len(body) > FAULT_BYTES_MAX:
        return None
    try:
        return decode_strictly(body.decode("utf-8-sig"))
    except ValueError:
        return None


def _inflate(body: bytes) -> bytes:
    """A gzip body that nobody asked for, as far as it is looked at."""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(body[:FAULT_BYTES_MAX], FAULT_BYTES_MAX + 1)
    except zlib.error:
        return b""


def _read_object(body: dict[str, Any]) -> Said | None:
    error = body.get("error")
    if isinstance(error, dict):
        return _envelope(body) or _read_inner(cast(dict[str, Any], error))
    if isinstance(error, str):
        return Said("vertex", error, _text(body, "error_description", "message"))
    message = _text(body, "originalMessage", "message", "Message")
    code = _text(body, "__type", "code", "Code")
    if "content" in body or not (message or code):
        return None
    return read_envelope(message) or Said("bedrock", code, message, _status(body.get("originalStatusCode")))


def _envelope(body: Mapping[str, Any]) -> Said | None:
    error = body.get("error")
    if body.get("type") != "error" or not isinstance(error, dict):
        return None
    inner = cast(dict[str, Any], error)
    kind = _text(inner, "type")
    return Said("anthropic", kind, _text(inner, "message")) if _error_type.fullmatch(kind) else None


def _read_inner(error: Mapping[str, Any]) -> Said:
    message = _text(error, "message")
    own = Said("vertex", _text(error, "status", "code"), message, _status(error.get("code")))
    return read_envelope(message) or own


def _status(value: Any) -> int | None:
    return value if isinstance(value, int) and 400 <= value <= 599 else None


def _text(value: Mapping[str, Any], *names: str) -> str:
    """The first of these members that is a text."""
    found: Iterable[Any] = (value.get(name) for name in names)
    return next((item for item in found if isinstance(item, str)), "")


def _strings(value: Any) -> Iterator[str]:
    """Every key and text of a decoded document."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pairs = cast(dict[str, Any], item)
            waiting += [*pairs, *pairs.values()]
        elif isinstance(item, list):
            waiting += cast(list[Any], item)
