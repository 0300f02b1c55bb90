"""Output keeps its beginning and its end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tools.output import OUTPUT_CHARS_MAX, Output


def kept(*chunks: bytes) -> str:
    output = Output()
    for chunk in chunks:
        output.feed(chunk)
    return output.text()


def test_short_output_is_whole_without_its_last_line_end() -> None:
    assert kept(b"marker-42\n", b"hello.txt\n") == "marker-42\nhello.txt"


@pytest.mark.parametrize("size", [1, 4_096, 100_000])
def test_flood_keeps_head_and_tail_and_counts_the_rest(size: int) -> None:
    content = b"begin" + b"x" * 200_000 + b"end"
    text = kept(*(content[at : at + size] for at in range(0, len(content), size)))
    assert text.startswith("begin") and text.endswith("end")
    assert f"... {len(content) - OUTPUT_CHARS_MAX} characters left out ..." in text


def test_output_at_the_limit_is_not_cut() -> None:
    assert kept(b"x" * OUTPUT_CHARS_MAX) == "x" * OUTPUT_CHARS_MAX


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40), at=st.integers(0, 80))
def test_characters_that_come_in_two_pieces_are_whole(text: str, at: int) -> None:
    content = text.encode()
    assert kept(content[:at], content[at:]) == text.rstrip()


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert kept(b"a\xff\xc3") == "a\ufffd\ufffd"
