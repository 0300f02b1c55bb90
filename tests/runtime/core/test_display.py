"""Text of models made fit to be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.display import clip, dollars, label_of, one_line, visible
from runtime.core.model import CallOptions


@pytest.mark.parametrize(
    "code",
    [0x00, 0x1B, 0x7F, 0x9F, 0x180E, 0x200B, 0x200E, 0x2028, 0x202E, 0x2066, 0x206F, 0xFEFF, 0xE0001, 0xE0041],
    ids=hex,
)
def test_w90_unseen_character_is_shown_as_its_number(code: int) -> None:
    assert visible(f"a{chr(code)}b") == f"a\\u{{{code:04X}}}b"


@pytest.mark.parametrize("text", ["tab\tand\nline", "é – → 😀", "\u2764\ufe0f"], ids=["blank", "signs", "variation"])
def test_w90_ordinary_text_stays(text: str) -> None:
    assert visible(text) == text


def test_w47_label_is_one_line() -> None:
    assert one_line("  a\n\t b  ", 60) == "a b"


@given(st.text(max_size=500), st.integers(2, 80))
def test_w21_nothing_is_longer_than_its_limit(text: str, most: int) -> None:
    assert len(one_line(text, most)) <= most
    assert len(clip(text, most)) <= most and (len(text) > most or clip(text, most) == text)


def test_w47_label_is_the_given_one_or_the_beginning_of_the_prompt() -> None:
    made = label_of("look  at\nthis " + "x" * 100, CallOptions())
    assert label_of("p" * 100, CallOptions(label="mine")) == "mine"
    assert made.startswith("look at this xxx") and len(made) == 60


@pytest.mark.parametrize(
    ("nanousd", "told"),
    [(12_345_678_901, "$12.35"), (1_000_000_000, "$1.00"), (999_999_999, "$1.0000"), (0, "$0.0000")],
)
def test_amount_below_a_dollar_has_more_digits(nanousd: int, told: str) -> None:
    assert dollars(nanousd) == told
