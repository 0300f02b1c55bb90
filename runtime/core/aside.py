"""Values that are too large for a line stand beside the journal, under their SHA-256 (W149). Takes out, puts back."""

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from runtime.core.journal import EndedLine, Line, ResultLine
from runtime.core.limits import INLINE_BYTES_MAX


def put_aside(line: Line) -> tuple[Line, tuple[str, bytes] | None]:
    """The line as it is written, and what stands beside it."""
    if not isinstance(line, ResultLine | EndedLine) or not isinstance(line.value, msgspec.Raw):
        return line, None
    content = bytes(line.value)
    if len(content) <= INLINE_BYTES_MAX:
        return line, None
    ref = sha256(content).hexdigest()
    return msgspec.structs.replace(line, value=msgspec.UNSET, ref=ref), (ref, content)


def ref_of(line: Line) -> str | None:
    """Where the value of a line stands, if not in it."""
    return line.ref if isinstance(line, ResultLine | EndedLine) and line.value is msgspec.UNSET else None


def put_back(line: Line, blobs: Mapping[str, bytes]) -> Line:
    """The line with its value in it. Raises `KeyError` when it is not among `blobs`."""
    ref = ref_of(line)
    if ref is None or not isinstance(line, ResultLine | EndedLine):
        return line
    return msgspec.structs.replace(line, value=msgspec.Raw(blobs[ref]), ref=None)
