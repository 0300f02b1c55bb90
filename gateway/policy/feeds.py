"""What flows into and out of the commands of a shell line, as far as it can be told. Values only; `shell.py` walks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.decisions.decision import Command
from gateway.policy.words import UNKNOWN, Field
from gateway.policy.wrappers import INTERPRETERS, SHELLS

FED_WORDS_MAX = 64
"""Most words that `xargs` is seen to pass on."""
FETCHERS = frozenset({"curl", "wget", "fetch", "http", "https", "xh", "aria2c", "lynx", "nc", "ncat", "netcat", "axel"})


@dataclass(frozen=True, slots=True)
class Feed:
    """What a command's standard input is: the program that writes it, and the text when it is known."""

    program: str | None = None
    text: str | None = None


def runs_text(program: str, words: Sequence[Field]) -> bool:
    """Whether the program runs a word as code, and that word is not known."""
    if program in ("eval", "source", "."):
        return any(UNKNOWN in word.text for word in words[1:])
    if program not in SHELLS and not INTERPRETERS.fullmatch(program):
        return False
    first = next((word.text for word in words[1:] if not word.text.startswith(("-", "+"))), "")
    return UNKNOWN in first


def written(names: Sequence[Sequence[Field]], feed: Feed | None) -> Feed:
    """What a command of this name writes into `>(...)`: what it is fed when that is from a network."""
    if feed is not None and feed.program in FETCHERS:
        return feed
    return Feed(names[0][0].text.rpartition("/")[2] if names and names[0] else None)


def fed_words(words: Sequence[Field], feed: Feed | None) -> Sequence[Field]:
    """Words of a command that `xargs` runs, with those it is fed when they are known."""
    if feed is None or feed.text is None or UNKNOWN in feed.text:
        return words
    fed = [Field(word) for word in feed.text.split()[:FED_WORDS_MAX]]
    return [one for word in words for one in (fed if word.text == UNKNOWN else [word])]


def printed(command: Command, feed: Feed | None) -> str | None:
    """The text that a command writes, when that can be told."""
    if command.program == "echo":
        words = list(command.argv[1:])
        while words and re.fullmatch("-[neE]+", words[0]):
            words.pop(0)
        return " ".join(words).replace("\\n", "\n")
    if command.program == "printf" and len(command.argv) > 1:
        return command.argv[1].replace("\\n", "\n").replace("%s", " ".join(command.argv[2:]))
    if feed is not None and (command.program == "tee" or command.argv in (("cat",), ("cat", "-"))):
        return feed.text
    return None
