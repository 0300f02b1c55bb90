"""Edit changes exactly what it was told, and no other byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tools.editing import edit
from runtime.tools.files import FILE_BYTES_MAX
from runtime.tools.inputs import EditInput
from runtime.tools.refusal import Refused


def asked(old: str, new: str, *, replace_all: bool = False) -> EditInput:
    return EditInput(file_path="file", old_string=old, new_string=new, replace_all=replace_all)


@pytest.mark.parametrize(
    ("content", "old", "new", "expected"),
    [
        (b"one two", "two", "three", b"one three"),
        (b"one\ntwo\n", "one\n", "", b"two\n"),
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", b"x\r\ny\r\nz\r\nc\r\n"),
        (b"a\r\nb\r\n", "b", "b\nc", b"a\r\nb\r\nc\r\n"),
        (b"a\r\nb\r\n", "a\r\nb", "x\r\ny", b"x\r\ny\r\n"),
        (b"a\nb\r\nc\r\n", "b\nc", "x\ny", b"a\nx\r\ny\r\n"),
        (b"a\nb\r\nc\n", "c\n", "d\ne\n", b"a\nb\r\nd\ne\n"),
        (b"\xef\xbb\xbfone", "one", "two", b"\xef\xbb\xbftwo"),
        ("naïve 🙂".encode(), "🙂", "", "naïve ".encode()),
        (b"no end", "end", "end\n", b"no end\n"),
    ],
    ids=[
        *("word", "line", "crlf", "crlf-new-line", "crlf-asked-so", "mixed-crlf-part", "mixed-lf-part"),
        *("byte-order-mark", "unicode", "last-line"),
    ],
)
def test_edit_in_any_line_ends_changes_only_the_place(content: bytes, old: str, new: str, expected: bytes) -> None:
    assert edit(content, asked(old, new)) == (expected, 1)


@pytest.mark.parametrize(
    ("content", "old", "new", "match"),
    [
        (b"one", "", "x", "empty"),
        (b"one", "one", "one", "same"),
        (b"one", "two", "x", "does not occur"),
        (b"one one", "one", "x", "occurs 2 times"),
        (b"\xff\xfe one", "one", "x", "not UTF-8"),
        (b"one", "one", "\ud800", "surrogate"),
    ],
    ids=["empty", "same", "missing", "ambiguous", "not-text", "surrogate"],
)
def test_edit_that_cannot_be_meant_is_refused(content: bytes, old: str, new: str, match: str) -> None:
    with pytest.raises(Refused, match=match):
        edit(content, asked(old, new))


def test_replace_all_changes_every_place() -> None:
    assert edit(b"one one one", asked("one", "1", replace_all=True)) == (b"1 1 1", 3)


def test_edit_that_explodes_is_refused_before_it_is_made() -> None:
    with pytest.raises(Refused, match="would become larger"):
        edit(b"a" * 1_000_000, asked("a", "b" * FILE_BYTES_MAX, replace_all=True))


@given(
    before=st.text(st.sampled_from("ab\n\r é"), max_size=20),
    old=st.text(st.sampled_from("xy"), min_size=1, max_size=3),
    after=st.text(st.sampled_from("ab\n\r é"), max_size=20),
    new=st.text(st.sampled_from("uv"), max_size=4),
)
def test_whatever_stands_around_the_place_stays(before: str, old: str, after: str, new: str) -> None:
    content = f"{before}{old}{after}".encode()
    assert edit(content, asked(old, new))[0] == f"{before}{new}{after}".encode()
