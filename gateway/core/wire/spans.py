"""One level of JSON at a time: where each value stands, and exact replacement of single values. Never re-serialises.

The walk over keys also finds duplicates: decoders keep the last, an upstream may keep the first, and then what was
decided would not be what runs. Strings and numbers that nobody reads are not validated; the upstream does that.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.contract import JSON_DEPTH_MAX
from gateway.errors import GatewayError, Reason

Span = tuple[int, int]
Edit = tuple[int, int, bytes]

_TOO_DEEP = f"is nested too deep to be read; {JSON_DEPTH_MAX} levels are sure to be"

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_key = re.compile(rb'[ \t\n\r]*"((?:[^"\\]|\\.)*+)"[ \t\n\r]*:[ \t\n\r]*')
_open_brace = re.compile(rb"[ \t\n\r]*\{")
_open_bracket = re.compile(rb"[ \t\n\r]*\[[ \t\n\r]*")
_separator = re.compile(rb"[ \t\n\r]*(,?)[ \t\n\r]*")


class Malformed(GatewayError):
    """The body is not what the Messages API takes. `place` is a JSON path such as `tools[3].name`."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(Reason.BODY_MALFORMED, f"{place}: {problem}" if place else problem)
        self.place = place


def members(raw: bytes, place: str = "") -> dict[str, Span]:
    """Top-level members of a JSON object: key -> (start, end) of its value.

    Raises:
        Malformed: not an object, not JSON, nested too deep, or a key occurs twice.
    """
    values: dict[str, msgspec.Raw] = _decode(_object, raw, place)
    return _compact(raw, values) or _walked(raw, values, place)


def _compact(raw: bytes, values: Mapping[str, msgspec.Raw]) -> dict[str, Span] | None:
    """Spans of an object without white space or escapes between its values; None when it is written otherwise.

    A key that occurs twice, a space or an escape each make the object longer than its distinct members, so equal
    length leaves room for none of them, and the members stand in the order of the decoded keys.
    """
    spans: dict[str, Span] = {}
    position = 1
    for name, value in values.items():
        start = position + len(name) + 3
        position = start + memoryview(value).nbytes
        spans[name] = (start, position)
        position += 1
    return spans if position == len(raw) and spans else None


def _walked(raw: bytes, values: Mapping[str, msgspec.Raw], place: str) -> dict[str, Span]:
    opening = _open_brace.match(raw)
    position = opening.end() if opening else 0
    spans: dict[str, Span] = {}
    while (key := _key.match(raw, position)) is not None:
        name = _name(key[1], place)
        value = bytes(values[name])
        start = key.end()
        if name in spans or not raw.startswith(value, start):
            raise Malformed(f"{place}.{name}" if place else name, "the key occurs twice; send it once")
        end = start + len(value)
        spans[name] = (start, end)
        separator = _separator.match(raw, end)
        position = separator.end() if separator else end
    return spans


def _name(raw: bytes, place: str) -> str:
    if b"\\" not in raw and raw.isascii():
        return raw.decode()
    name: str = typed(b'"' + raw + b'"', str, place)
    return name


def elements(raw: bytes, place: str = "") -> list[Span]:
    """Spans of the elements of a JSON array.

    Raises:
        Malformed: not an array, not JSON or nested too deep.
    """
    spans: list[Span] = []
    opening = _open_bracket.match(raw)
    position = opening.end() if opening else 0
    for value in _decode(_array, raw, place):
        end = position + memoryview(value).nbytes
        spans.append((position, end))
        separator = _separator.match(raw, end)
        position = separator.end() if separator else end
    return spans


def splice(raw: bytes, edits: Sequence[Edit]) -> bytes:
    """Replace spans of `raw`, given as (start, end, replacement) in any order, not overlapping."""
    pieces: list[bytes] = []
    position = 0
    for start, end, replacement in sorted(edits):
        pieces += (raw[position:start], replacement)
        position = end
    return b"".join((*pieces, raw[position:]))


def _decode(decoder: Any, raw: bytes, place: str) -> Any:
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise Malformed(place or _deepest(raw), _TOO_DEEP) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(place, f"request body: {error}" if not place else str(error)) from None


def typed(raw: bytes, kind: Any, place: str) -> Any:
    """Decode a value as `kind`; raises Malformed with the place of what does not fit."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except RecursionError:
        raise Malformed(place, _TOO_DEEP) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem, _, inner = str(error).partition(" - at `$")
        raise Malformed(place + inner.rstrip("`"), problem) from None


def _deepest(raw: bytes) -> str:
    """The top-level key under which nesting passes the limit; runs only to word an error."""
    depth = 0
    key = ""
    for token in re.finditer(rb'"((?:[^"\\]|\\.)*+)"(\s*:)?|[{}\[\]]', raw):
        first = token[0][:1]
        if first == b'"':
            if depth == 1 and token[2]:
                key = token[1].decode(errors="replace")
        else:
            depth += 1 if first in b"{[" else -1
            if depth > JSON_DEPTH_MAX:
                break
    return key
