"""Large values stand beside the journal by their hash, and come back as they were."""

import msgspec
import pytest

from runtime.core.aside import put_aside, put_back, ref_of
from runtime.core.journal import PhaseLine, ResultLine, decode_line, encode_line
from runtime.core.limits import INLINE_BYTES_MAX
from runtime.core.model import CallIndex, Scope


def line(value: bytes) -> ResultLine:
    return ResultLine(at_ms=1, index=CallIndex(0), key="k", scope=Scope(""), seq=0, spent=0, value=msgspec.Raw(value))


LARGE = b'"' + b"x" * INLINE_BYTES_MAX + b'"'


def test_w149_large_value_stands_beside_the_journal_by_its_hash() -> None:
    small, blob = put_aside(line(LARGE))
    assert blob is not None and blob[1] == LARGE
    assert (ref_of(small), len(encode_line(small)) < 1_000) == (blob[0], True)


def test_w149_value_that_was_put_aside_comes_back_as_it_was() -> None:
    small, blob = put_aside(line(LARGE))
    assert blob is not None
    assert encode_line(put_back(decode_line(encode_line(small)), dict([blob]))) == encode_line(line(LARGE))


@pytest.mark.parametrize("value", [b"null", b'"' + b"x" * (INLINE_BYTES_MAX - 2) + b'"'], ids=["null", "at_the_limit"])
def test_value_that_fits_stays_in_its_line(value: bytes) -> None:
    kept, blob = put_aside(line(value))
    assert (blob, ref_of(kept)) == (None, None)
    assert put_back(kept, {}) is kept


def test_line_without_a_value_is_left_alone() -> None:
    phase = PhaseLine(at_ms=1, title="a")
    assert put_aside(phase) == (phase, None)


def test_value_that_is_missing_is_an_error() -> None:
    small, _ = put_aside(line(LARGE))
    with pytest.raises(KeyError):
        put_back(small, {})
