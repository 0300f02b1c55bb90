"""When two inputs of a tool, or two of its results, differ in nothing that matters. A spelling, never a meaning.

Of an input: numbers, hexadecimal ids, UUIDs, white space and the kind of quotes. Of a result: moments, durations,
hexadecimal ids and UUIDs; a plain number of a result stays, because "3 failed" after "9 failed" is work.

Rejected: the tails of paths (reading forty files of one folder is no loop) and edit distance (`a.py` and `b.py` are one
letter apart). Two calls on numbered files are alike in their input; it is the result that tells whether that is a loop.
"""

import re
from typing import Any

import msgspec

INPUT_BYTES_MAX = 2_000
"""A longer input is only ever the same or another: it holds content, and its numbers mean something."""
RESULT_BYTES_MAX = 2_000
"""A longer result is compared as it is."""

_encoder = msgspec.json.Encoder(order="sorted")
_id = re.compile(
    rb"\b(?=[a-f]*[0-9])(?:[0-9a-f]{7,64}\b(?:-[0-9a-f]{4}){0,3}(?:-[0-9a-f]{12})?|0x[0-9a-f]+\b)", re.IGNORECASE
)
_moment = re.compile(rb"\d(?:\d{3}-\d\d-\d\d[T ]\d)?\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_duration = re.compile(rb"\b\d+(?:\.\d+)?\s?(?:ns|us|ms|s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b")
_number = re.compile(rb"\d+")
_space = re.compile(rb"(?:\\[nrt]|\s)+")
_quote = re.compile(rb"\\\"|['`]")


def likeness_of_input(tool_input: Any) -> bytes | None:
    """What inputs that differ in nothing that matters have in common; None: this one is too long to have any."""
    try:
        spelled = _encoder.encode(tool_input)
    except (ValueError, TypeError, RecursionError):
        return None
    if len(spelled) > INPUT_BYTES_MAX:
        return None
    return _quote.sub(b"'", _space.sub(b" ", _number.sub(b"0", _id.sub(b"0", spelled))))


def likeness_of_result(content: bytes) -> bytes:
    """What results that differ in nothing that matters have in common."""
    if len(content) > RESULT_BYTES_MAX:
        return content
    return _id.sub(b"0", _duration.sub(b"0", _moment.sub(b"0", content)))
