"""Lines of text that a regular expression matches, and how they are shown. Knows no files: those are `walk.py`'s."""

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtime.tools.seek.patterns import BadPattern

COLUMNS_MAX = 500


def compile_regex(pattern: str, *, ignore_case: bool, multiline: bool) -> re.Pattern[str]:
    """Raises `BadPattern`."""
    flags = (re.IGNORECASE if ignore_case else 0) | (re.MULTILINE | re.DOTALL if multiline else 0)
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(
            f"The pattern {pattern} is no regular expression as Python understands them: {error}."
        ) from None


def matching_lines(text: str, regex: re.Pattern[str], *, multiline: bool) -> tuple[list[str], list[int]]:
    """All lines, and which of them match, from 0."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not multiline:
        lines = [line.removesuffix("\r") for line in lines]
        return lines, [number for number, line in enumerate(lines) if regex.search(line)]
    starts = list(itertools.accumulate((len(line) + 1 for line in lines), initial=0))
    found: set[int] = set()
    for match in regex.finditer(text):
        first = bisect.bisect_right(starts, match.start()) - 1
        last = bisect.bisect_right(starts, max(match.end() - 1, match.start())) - 1
        found.update(range(first, min(last + 1, len(lines))))
    return lines, sorted(found)


@dataclass(frozen=True, slots=True)
class Style:
    """How matching lines are shown."""

    before: int
    after: int
    numbers: bool

    def rows(self, path: str, lines: Sequence[str], found: Sequence[int]) -> Iterator[str]:
        """`path:line:text` for a match, `path-line-text` around it, `--` between what does not touch."""
        matches = set(found)
        shown_to = -1
        for number in found:
            first = max(number - self.before, shown_to + 1, 0)
            if (self.before or self.after) and shown_to >= 0 and first > shown_to + 1:
                yield "--"
            for at in range(first, min(number + self.after, len(lines) - 1) + 1):
                yield self._row(path, at, lines[at], ":" if at in matches else "-")
                shown_to = at

    def _row(self, path: str, at: int, line: str, mark: str) -> str:
        text = line.removesuffix("\r")
        if len(text) > COLUMNS_MAX:
            text = f"{text[:COLUMNS_MAX]}... ({len(text) - COLUMNS_MAX} more characters)"
        return f"{path}{mark}{at + 1}{mark}{text}" if self.numbers else f"{path}{mark}{text}"
