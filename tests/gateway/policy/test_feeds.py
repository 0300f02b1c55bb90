"""What flows between the commands of a line."""

import pytest

from gateway.core.decisions.decision import Command
from gateway.policy.feeds import Feed, fed_words, printed, runs_text
from gateway.policy.words import UNKNOWN, Field


@pytest.mark.parametrize(
    ("argv", "feed", "text"),
    [
        ("echo a b", None, "a b"),
        ("echo -n a", None, "a"),
        ("printf %s\\n a", None, "a\n"),
        ("cat", Feed(None, "x"), "x"),
        ("cat file", Feed(None, "x"), None),
        ("tee file", Feed("echo", "x"), "x"),
        ("sort", Feed("echo", "x"), None),
    ],
)
def test_text_that_a_command_writes_is_told_where_it_can_be(argv: str, feed: Feed | None, text: str | None) -> None:
    words = tuple(argv.split(" "))
    assert printed(Command(words[0], words), feed) == text


def test_xargs_passes_on_the_words_it_is_fed() -> None:
    words = [Field("rm"), Field(UNKNOWN)]
    assert [one.text for one in fed_words(words, Feed("echo", "a b"))] == ["rm", "a", "b"]
    assert fed_words(words, Feed("ls")) == words


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ("eval \ufffd", True),
        ("sh \ufffd", True),
        ("sh -c \ufffd", True),
        ("sh x.sh \ufffd", False),
        ("cat \ufffd", False),
    ],
)
def test_unknown_word_is_code_only_where_it_is_run(words: str, runs: bool) -> None:
    parts = [Field(word) for word in words.split(" ")]
    assert runs_text(parts[0].text, parts) is runs
