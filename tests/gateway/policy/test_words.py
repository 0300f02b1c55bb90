"""Expansion of single words, through the parser."""

import pytest

from gateway.policy.shell import read_line
from gateway.policy.words import ALTERNATIVES_MAX, OVERLONG, UNKNOWN, VALUES_MAX, WORD_CHARS_MAX, Scope


def words_of(text: str) -> list[str]:
    return list(read_line(f"echo {text}").found[-1].command.argv[1:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$'a\\tb'", ["a\tb"]),
        ("$'\\x41\\u0042\\103\\cA'", ["ABC\x01"]),
        ("$'\\ud800'", [UNKNOWN]),
        ('"a\\"b\\$c\\d"', ['a"b$c\\d']),
        ('$"a"', ["a"]),
        ("a''b", ["ab"]),
        ("''", [""]),
        ("\\$X", ["$X"]),
        ("$1 $@", []),
        ("a$1b", ["ab"]),
        ("${X:-d}", ["d"]),
        ("${X:0:1}", [UNKNOWN]),
        ("${!X}", [UNKNOWN]),
        ("$((1+2))", [UNKNOWN]),
        ("$(pwd)/a", ["./a"]),
        ("{a,b}", ["a", "b"]),
        ("{a}", ["{a}"]),
        ("a\ue02ab", [f"a{UNKNOWN}b"]),
    ],
)
def test_word_becomes_what_the_shell_makes_of_it(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_value_is_split_only_outside_quotes() -> None:
    assert read_line("X='a b'; c $X \"$X\"").found[-1].command.argv == ("c", "a", "b", "a b")


def test_word_with_too_many_forms_is_unknown() -> None:
    assert words_of("{a,b}" * 6) == [UNKNOWN]
    assert len(words_of("{a,b}" * 5)) == ALTERNATIVES_MAX


def test_overlong_word_is_not_looked_into() -> None:
    assert words_of("a" * (WORD_CHARS_MAX + 1)) == [OVERLONG]


def test_variable_keeps_every_value_up_to_the_limit() -> None:
    scope = Scope()
    for index in range(VALUES_MAX):
        scope.assign("x", (str(index),))
    assert len(scope.variables["x"]) == VALUES_MAX
    scope.assign("x", ("one more",))
    assert scope.variables["x"] == (UNKNOWN,)


def test_subshell_leaves_nothing_behind() -> None:
    scope = Scope()
    inner = scope.fork()
    inner.assign("x", ("1",))
    inner.cwd = "/elsewhere"
    assert "x" not in scope.variables and scope.cwd == ""
