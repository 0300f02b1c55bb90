"""A text that fits a regular expression, best effort: literals, classes, groups, alternatives and repeats.

Look-arounds and back-references are not understood; the result is checked and falls back to a plain text.
"""

import re

FALLBACK = "simulated"
REPEATS_MAX = 1000

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "b": "", "B": "", "n": "\n", "t": "\t"}
_REPEAT = re.compile(r"\{(\d+)(,?)(\d*)\}")
_PREFERRED = "aA0-_ ./"


def text_for_pattern(pattern: str, *, least: int = 0) -> str:
    """A text that `pattern` matches and that has at least `least` characters where repeats allow it."""
    for extra in (0, max(0, least - 1), least):
        text = _Writer(pattern, extra).write()
        if len(text) >= least and _matches(pattern, text):
            return text
    return FALLBACK.ljust(least, ".")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


class _Writer:
    """Walks a pattern once and writes the first text it allows; `extra` is added to each open-ended repeat."""

    def __init__(self, pattern: str, extra: int) -> None:
        self._pattern = pattern
        self._position = 0
        self._extra = extra

    def write(self) -> str:
        """The text of the alternatives from here to the closing parenthesis or the end."""
        first = self._sequence()
        while self._peek() == "|":
            self._position += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        parts: list[str] = []
        while self._position < len(self._pattern) and self._peek() not in "|)":
            parts.append(self._repeated(self._atom()))
        return "".join(parts)

    def _atom(self) -> str:
        character = self._next()
        match character:
            case "(":
                if self._peek() == "?":
                    self._skip_group_kind()
                inner = self.write()
                self._next()
                return inner
            case "[":
                return self._member()
            case "\\":
                escaped = self._next()
                return _CLASSES.get(escaped, escaped)
            case "^" | "$":
                return ""
            case ".":
                return "a"
            case _:
                return character

    def _repeated(self, atom: str) -> str:
        times = 1
        character = self._peek()
        if character in ("*", "+", "?"):
            self._position += 1
            times = {"*": self._extra, "+": max(1, self._extra), "?": 0}[character]
        elif found := _REPEAT.match(self._pattern, self._position):
            self._position = found.end()
            times = int(found[1])
            if found[2]:
                times = max(times, min(self._extra, int(found[3] or REPEATS_MAX)))
        if self._peek() == "?":
            self._position += 1
        return atom * min(times, REPEATS_MAX)

    def _member(self) -> str:
        """One character of a class."""
        start = self._position
        end = self._pattern.find("]", start + 2 if self._pattern.startswith(("]", "^]"), start) else start + 1)
        while end > 0 and self._pattern[end - 1] == "\\":
            end = self._pattern.find("]", end + 1)
        if end < 0:
            end = len(self._pattern)
        self._position = end + 1
        expression = self._pattern[start - 1 : end + 1]
        candidates = [*_PREFERRED, *map(chr, range(33, 127))]
        return next((candidate for candidate in candidates if _matches(f"^{expression}$", candidate)), "")

    def _skip_group_kind(self) -> None:
        found = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>)").match(self._pattern, self._position)
        self._position = found.end() if found else self._position + 1

    def _peek(self) -> str:
        return self._pattern[self._position] if self._position < len(self._pattern) else ""

    def _next(self) -> str:
        character = self._peek()
        self._position += 1
        return character
