"""The script in the answer of a model: one fenced block. Pure; whether it is any good is not asked here."""

import re
from collections.abc import Iterator

from runtime.draft.guide import NO_SCRIPT, SEVERAL, UNENDED

_OPENING = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([A-Za-z]*)[ \t]*$")
_LANGUAGES = frozenset({"", "js", "javascript", "mjs"})
_BEGINNING = "export const meta"


class NoScript(Exception):
    """The answer has no script that could be looked at; the message is for the one who wrote it."""


def find_script(text: str) -> str:
    """The script in an answer: its only block of JavaScript, or the answer itself if it is one. Raises `NoScript`."""
    if text.lstrip().startswith(_BEGINNING):
        return text
    blocks = [body for language, body in _blocks(text) if language.lower() in _LANGUAGES]
    if len(blocks) > 1:
        blocks = [body for body in blocks if _BEGINNING in body]
        if len(blocks) != 1:
            raise NoScript(SEVERAL)
    if not blocks:
        raise NoScript(NO_SCRIPT)
    return blocks[0]


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block. A fence is closed by one of its kind that is at least as long."""
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        opening = _OPENING.match(line.rstrip("\r\n"))
        if opening is None:
            continue
        fence, body = opening[1], list[str]()
        for inner in lines:
            bare = inner.strip()
            if len(bare) >= len(fence) and bare == fence[0] * len(bare):
                break
            body.append(inner)
        else:
            raise NoScript(UNENDED)
        yield opening[2], "".join(body)
