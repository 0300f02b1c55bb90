"""Any text through the masking: it ends soon, keeps its bound, and no planted token survives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.decisions.masking import CUT, TEXT_CHARS_MAX, Masking

TOKENS = st.sampled_from(
    ["ghp_" + "a1B2" * 9, "sk-ant-api03-" + "Zz9" * 12, "AKIAIOSFODNN7EXAMPLE", "glpat-abcdefghij0123456789"]
)
AROUND = st.text(st.characters(codec="utf-8"), max_size=400)
PIECES = st.lists(
    st.sampled_from(["auth", "x-", "a=", "://", "eyJ", "sk-", "token: ", "key", "@", " ", "0"]), max_size=400
)


@settings(max_examples=200)
@given(AROUND, TOKENS, AROUND)
def test_token_between_any_words_is_masked(before: str, token: str, after: str) -> None:
    assert token not in Masking().text(f"{before} {token} {after}")


@settings(max_examples=200)
@given(PIECES.map("".join) | AROUND)
def test_text_keeps_its_bound_and_stays_masked(text: str) -> None:
    masked = Masking().text(text)
    assert len(masked) <= TEXT_CHARS_MAX + len(CUT)
    assert len(text) > TEXT_CHARS_MAX or Masking().text(masked) == masked


@settings(max_examples=200)
@given(st.lists(AROUND, max_size=8))
def test_command_keeps_its_number_of_words(argv: list[str]) -> None:
    assert len(Masking().words(argv)) == len(argv)
