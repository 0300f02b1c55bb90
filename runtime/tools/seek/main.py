"""The process that searches: one request on stdin, one answer on stdout, both JSON; the folder is an open descriptor.
It bounds its own memory and time; `seeking.py` kills it when it does not keep to that.
"""

import json
import re
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtime.tools.seek.grep import Style, compile_regex, matching_lines
from runtime.tools.seek.patterns import BadPattern, compile_glob, extensions_of, split_globs
from runtime.tools.seek.walk import FoundFile, Walk

MEMORY_BYTES_MAX = 1024 * 1024 * 1024
SEARCHED_BYTES_MAX = 16 * 1024 * 1024
PROBED_BYTES = 8_192
FILES_MAX = 100
"""Of a Glob, as Claude Code shows them."""
ROWS_DEFAULT = 250
CHARS_MAX = 30_000


class OutOfTime(Exception):
    """What was found so far is the answer."""


def main() -> None:
    """`argv`: the descriptor of the folder."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    request: dict[str, Any] = json.load(sys.stdin.buffer)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    try:
        text, failed = answer(int(sys.argv[1]), request), False
        signal.setitimer(signal.ITIMER_REAL, 0)
    except OutOfTime:
        text, failed = "The time was up before anything could be told: name a smaller path.", True
    except BadPattern as error:
        text, failed = str(error), True
    except OSError as error:
        text, failed = f"{'/'.join(request['start'])}: {error.strerror}", True
    sys.stdout.buffer.write(json.dumps({"text": text, "failed": failed}).encode())


def _out_of_time(*_: object) -> None:
    raise OutOfTime


def answer(root: int, request: dict[str, Any]) -> str:
    """What the agent reads. Raises `BadPattern` and `OSError`."""
    return _glob(root, request) if request["kind"] == "glob" else _Grep(root, request).answer()


def _glob(root: int, request: dict[str, Any]) -> str:
    walk = Walk(root, respects_ignores=False)
    regex = compile_glob(request["pattern"])
    start = _start(request)
    found: list[tuple[int, str]] = []
    try:
        for file in walk.files(request["start"]):
            if regex.fullmatch(file.path[len(start) :]):
                found.append((file.modified_ns, file.path))
    except OutOfTime:
        walk.left_out.add("the time was up before everything was looked at: name a smaller path")
    rows = _newest_first(found)
    if len(rows) > FILES_MAX:
        walk.left_out.add(f"{len(rows) - FILES_MAX} more files match: use a narrower pattern")
    return _text(rows[:FILES_MAX], walk.left_out) if rows else _text(["No files match."], walk.left_out)


@dataclass(slots=True)
class _Grep:
    root: int
    request: dict[str, Any]

    def answer(self) -> str:
        mode = self.request["output_mode"]
        walk = Walk(self.root, respects_ignores=True)
        rows: list[str] = []
        found: list[tuple[int, str]] = []
        skip, most = self.request["offset"] or 0, self._most()
        try:
            for file, lines, hits in self._matches(walk):
                if mode == "files_with_matches":
                    found.append((file.modified_ns, file.path))
                elif mode == "count":
                    rows.append(f"{file.path}:{len(hits)}")
                else:
                    rows += self._style().rows(file.path, lines, hits)
                if len(rows) > skip + most:
                    break
        except OutOfTime:
            walk.left_out.add(
                "the time was up before everything was searched: name a smaller path or a simpler pattern"
            )
        rows = _newest_first(found) or rows
        if not rows:
            return _text(["No matches."], walk.left_out)
        if len(rows) > skip + most:
            walk.left_out.add(f"there is more: go on with offset {skip + most}")
        return _text(rows[skip : skip + most], walk.left_out)

    def _matches(self, walk: Walk) -> Iterator[tuple[FoundFile, list[str], list[int]]]:
        multiline = self.request["multiline"]
        regex = compile_regex(self.request["pattern"], ignore_case=self.request["ignore_case"], multiline=multiline)
        wanted, unwanted = split_globs(self.request["glob"] or "")
        endings = extensions_of(self.request["type"]) if self.request["type"] else ("",)
        start = _start(self.request)
        for file in walk.files(self.request["start"]):
            inner = file.path[len(start) :] or file.name
            if not file.name.endswith(endings) or not _is_wanted(inner, file.path, wanted, unwanted):
                continue
            text = _text_of(file, walk)
            if text is not None:
                lines, hits = matching_lines(text, regex, multiline=multiline)
                if hits:
                    yield file, lines, hits

    def _style(self) -> Style:
        around = self.request["around"] or self.request["context"] or 0
        before, after = self.request["before"], self.request["after"]
        return Style(
            before=around if before is None else before,
            after=around if after is None else after,
            numbers=self.request["numbers"],
        )

    def _most(self) -> int:
        limit = self.request["head_limit"]
        return ROWS_DEFAULT if limit is None else (limit or CHARS_MAX)


def _start(request: dict[str, Any]) -> str:
    return "".join(f"{name}/" for name in request["start"])


def _is_wanted(inner: str, path: str, wanted: list[re.Pattern[str]], unwanted: list[re.Pattern[str]]) -> bool:
    """Patterns with a directory may be meant from where the search begins, or from the folder."""
    if any(regex.fullmatch(inner) or regex.fullmatch(path) for regex in unwanted):
        return False
    return not wanted or any(regex.fullmatch(inner) or regex.fullmatch(path) for regex in wanted)


def _text_of(file: FoundFile, walk: Walk) -> str | None:
    try:
        content = file.read(SEARCHED_BYTES_MAX)
    except OSError:
        content = None
    if content is None:
        walk.left_out.add("files that are too large or not ordinary were left out")
        return None
    return None if b"\0" in content[:PROBED_BYTES] else content.decode("utf-8", "replace")


def _newest_first(found: list[tuple[int, str]]) -> list[str]:
    return [path for _, path in sorted(found, key=lambda row: (-row[0], row[1]))]


def _text(rows: list[str], left_out: set[str]) -> str:
    shown: list[str] = []
    chars = 0
    for row in rows:
        chars += len(row) + 1
        if chars > CHARS_MAX:
            left_out.add(f"only the first {len(shown)} of {len(rows)} lines fit")
            break
        shown.append(row)
    shown += [f"({note})" for note in sorted(left_out)]
    return "\n".join(shown)
