"""Which lines match, and how they are shown."""

import pytest

from runtime.tools.seek.grep import COLUMNS_MAX, Style, compile_regex, matching_lines
from runtime.tools.seek.patterns import BadPattern

TEXT = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n"


def found(pattern: str, text: str = TEXT, *, ignore_case: bool = False, multiline: bool = False) -> list[int]:
    regex = compile_regex(pattern, ignore_case=ignore_case, multiline=multiline)
    return matching_lines(text, regex, multiline=multiline)[1]


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [("t", [1, 2]), ("^f", [3, 4]), ("e$", [0, 2, 4]), ("(one|six)", [0, 5]), ("T", []), ("", list(range(7)))],
    ids=["letter", "begin", "end", "either", "case", "anything"],
)
def test_lines_that_match_are_found(pattern: str, lines: list[int]) -> None:
    assert found(pattern) == lines


def test_case_is_ignored_when_asked() -> None:
    assert found("ONE", ignore_case=True) == [0]


def test_line_ends_of_windows_do_not_hide_the_end_of_a_line() -> None:
    assert found("one$", "one\r\ntwo\r\n") == [0]


def test_match_over_lines_needs_multiline() -> None:
    assert found("two.three") == []
    assert found("two.three", multiline=True) == [1, 2]
    assert found("two\n", multiline=True) == [1]
    assert found("^f", multiline=True) == [3, 4]


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<n>a)(?P<n>b)"])
def test_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern, match="no regular expression"):
        found(pattern)


def shown(numbers: list[int], *, before: int = 0, after: int = 0, numbered: bool = True) -> list[str]:
    return list(Style(before, after, numbered).rows("f", TEXT.splitlines(), numbers))


def test_matches_are_shown_with_file_and_number() -> None:
    assert shown([0, 2]) == ["f:1:one", "f:3:three"]
    assert shown([0], numbered=False) == ["f:one"]


def test_lines_around_are_marked_and_parted() -> None:
    assert shown([1], before=1, after=1) == ["f-1-one", "f:2:two", "f-3-three"]
    assert shown([0, 5], after=1) == ["f:1:one", "f-2-two", "--", "f:6:six", "f-7-seven"]


def test_lines_around_that_touch_are_shown_once() -> None:
    assert shown([1, 3], before=1, after=1) == ["f-1-one", "f:2:two", "f-3-three", "f:4:four", "f-5-five"]


def test_long_line_is_cut() -> None:
    (row,) = Style(0, 0, True).rows("f", ["x" * (COLUMNS_MAX + 7)], [0])
    assert row == f"f:1:{'x' * COLUMNS_MAX}... (7 more characters)"
