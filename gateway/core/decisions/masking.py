"""Takes secrets out of recorded facts: tokens by shape, values by the name before them. Clouds: `wire/redaction.py`.

Whoever reads the audit trail must not gain a credential by it. What has no shape and no telling name is not found: a
password that is given to a program as a bare word stays. Long texts are cut, for they are what the model wrote.
Every pattern is linear in the text: it comes from whoever the model listened to.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

MASK = "[masked]"
CUT = "[cut]"
TEXT_CHARS_MAX = 256
"""Of one text; rules look at the beginnings of words, at paths and hosts."""
TELLING_CHARS_MIN = 5
"""Of a text that can hold a secret (`pwd=x`)."""
SEEN_CHARS_MAX = 4 * TEXT_CHARS_MAX
"""Cut here before looking, so that a token is never left half."""
NAME_CHARS_MAX = 64
LONG_RUN_CHARS = 40
"""Letters and digits in a row that are taken for a token."""

_SECRET = re.compile(
    r"passw(?:or)?d|passphrase|pwd|secret|token|(?:api|access|private|auth)[_-]?key|credential|auth(?!or(?!iz))|cookie"
    r"|\Ax-.*key\Z",
    re.IGNORECASE,
)
_TO_THE_END = re.compile(r"authorization|cookie", re.IGNORECASE)
_BARE_NAME = re.compile(r"\w*_(?:key|token|secret|password)", re.IGNORECASE)
_SHAPES = re.compile(
    r"-----BEGIN[ A-Z]*PRIVATE KEY.*"
    r"|\b(?:sk|pk|rk)[-_][\w-]{16,}"
    r"|\b(?:gh[pousr]|glpat|npm|pypi|hf|dop_v1|shpat|xox[abposr]|github_pat)[-_][\w-]{10,}"
    r"|\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|\bAIza[\w-]{20,}|\bya29\.[\w.-]+"
    r"|\beyJ[\w-]{8,}\.[\w.-]+"
    r"|(?<![\w+=-])(?=[A-Za-z+=_-]*\d)(?=[\d+=_-]*[A-Za-z])(?![0-9a-f]{40}(?![\w+=-]))[\w+=-]{40,}",
    re.ASCII | re.DOTALL,
)
"""Known tokens, and long runs of letters and digits; the name of a commit is none."""
_LOGIN = re.compile(r"(?<=://)[^\s/@]++(?=@)")
_SCHEME = re.compile(r"\b(bearer|basic)(\s)[\w.~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(r"(?<![\w.-])([\w.-]++)([\"']?\s?[=:]\s?)([^\s&;,]++)")
_LOGIN_OPTIONS = frozenset({"-u", "--user", "-U", "--proxy-user"})
_SUSPECT = re.compile(
    r"[=:_]|-BEGIN|[spr]k-|b(?:earer|asic)|glpat|xox|A(?:KIA|SIA|ROA|IDA|Iza)|ya29|eyJ", re.IGNORECASE
)
"""Whether a text needs to be looked at closely; so does one with a long run."""
_LONG_RUN = re.compile(rf"[\w+=-]{{{LONG_RUN_CHARS}}}")


@dataclass(slots=True)
class Masking:
    """Masks texts and counts those that are no longer what they were."""

    changed: int = 0

    def value(self, value: Any) -> Any:
        """A copy of a JSON value with its texts masked; `argv` lists are read as commands."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {name: self._member(name, inner) for name, inner in cast("dict[str, Any]", value).items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in cast("Sequence[Any]", value)]
        return value

    def _member(self, name: str, value: Any) -> Any:
        return self.words(value) if name == "argv" and _are_words(value) else self.value(value)

    def text(self, text: str) -> str:
        """One text."""
        if len(text) < TELLING_CHARS_MIN:
            return text
        masked = _masked(text[:SEEN_CHARS_MAX]) if _is_suspect(text) else text
        if len(masked) > TEXT_CHARS_MAX:
            masked = masked[:TEXT_CHARS_MAX] + CUT
        self.changed += masked != text
        return masked

    def words(self, argv: Sequence[str]) -> list[str]:
        """The words of a command: an option that is named like a secret hides the word after it."""
        masked: list[str] = []
        before = ""
        for word in argv:
            if not word.startswith("-") and _hides_next(before):
                masked.append(MASK)
                self.changed += 1
            elif before in _LOGIN_OPTIONS and ":" in word:
                masked.append(f"{word.partition(':')[0]}:{MASK}")
                self.changed += 1
            else:
                masked.append(self.text(word))
            before = word
        return masked


def _is_suspect(text: str) -> bool:
    if _SUSPECT.search(text, 0, SEEN_CHARS_MAX):
        return True
    return len(text) >= LONG_RUN_CHARS and _LONG_RUN.search(text, 0, SEEN_CHARS_MAX) is not None


def _are_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in cast("Sequence[object]", value))


def _hides_next(word: str) -> bool:
    if not word or len(word) > NAME_CHARS_MAX or "=" in word:
        return False
    if word.startswith("-"):
        return _SECRET.search(word) is not None
    return _BARE_NAME.fullmatch(word) is not None


def _masked(text: str) -> str:
    text = _LOGIN.sub(MASK, text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    return _SHAPES.sub(MASK, _without_values(text))


def _without_values(text: str) -> str:
    """`name=value` and `name: value` with the value masked where the name tells that it is secret."""
    kept: list[str] = []
    at = 0
    while (found := _NAMED.search(text, at)) is not None:
        name, sign, _ = found.groups()
        kept.append(text[at : found.start()] + name + sign)
        at = found.end(3)
        if not _SECRET.search(name[-NAME_CHARS_MAX:]):
            at = found.end(2)
            continue
        kept.append(MASK)
        if _TO_THE_END.search(name):
            return "".join(kept)
    return "".join(kept) + text[at:]
