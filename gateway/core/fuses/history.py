"""The latest part of a conversation as rounds of tool calls and their results, read from the end as far as asked for.

A round is an answer's calls with what the tools returned. Words of the user end the reading. A denied call is the call
that was asked for. What repeats in it is counted by `loops.py`.
"""

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

import msgspec

from gateway.contract import DENIED_TOOL
from gateway.core.fuses.likeness import likeness_of_input, likeness_of_result
from gateway.core.wire.body import Message

CALLS_MAX = 1_000
"""Calls read of one conversation; a fuse is set far below."""
INTERRUPTED = "[Request interrupted by user"
"""How Claude Code begins the text that it puts beside the results when somebody interrupts."""


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")
    tool_use_id: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")
    is_error: bool | None = None
    text: str = ""


class _Denied(msgspec.Struct, frozen=True):
    tool: str
    input: msgspec.Raw


_blocks = msgspec.json.Decoder(list[_Block])
_denied = msgspec.json.Decoder(_Denied)


class Result:
    """What a tool returned: its content as JSON."""

    __slots__ = ("_likeness", "content", "is_error")

    def __init__(self, content: bytes, is_error: bool) -> None:
        self.content, self.is_error = content, is_error
        self._likeness: bytes | None = None

    @property
    def likeness(self) -> bytes:
        """The content without what does not matter in it."""
        if self._likeness is None:
            self._likeness = likeness_of_result(self.content)
        return self._likeness

    def is_like(self, other: "Result") -> bool:
        """Both are errors or neither is, and they differ in nothing that matters."""
        if self.is_error != other.is_error:
            return False
        return self.content == other.content or self.likeness == other.likeness


class Results:
    """The results of one round. Read when somebody looks."""

    __slots__ = ("_by_call", "_contents", "_read")

    def __init__(self, contents: Iterable[bytes] = ()) -> None:
        self._contents = contents
        self._read: list[tuple[str, Result]] | None = None
        self._by_call: dict[str, Result] | None = None

    def latest_first(self) -> list[tuple[str, Result]]:
        """With the id of their call, from the newest backwards."""
        if self._read is None:
            self._read = [
                (block.tool_use_id, Result(bytes(block.content), block.is_error is True))
                for content in self._contents
                for block in _reversed_blocks(content)
                if block.type == "tool_result"
            ]
        return self._read

    def of(self, call: str) -> Result | None:
        """What the call with this id returned; None: nothing yet."""
        if self._by_call is None:
            self._by_call = dict(self.latest_first())
        return self._by_call.get(call)

    @property
    def failed(self) -> bool:
        """There are some, and all of them are errors."""
        return bool(self.latest_first()) and all(result.is_error for _, result in self.latest_first())


class Call:
    """One tool call, of the history or only asked for (then its input is no text but a value). Read when looked at."""

    __slots__ = ("_canonical", "_likeness", "_raw", "_results", "id", "name", "position")

    def __init__(
        self, name: str, raw: bytes | None, *, id: str = "", position: int = 0, results: Results | None = None
    ) -> None:
        self.id, self.name, self.position, self._raw, self._results = id, name, position, raw, results
        self._canonical: Any = msgspec.UNSET
        self._likeness: Any = msgspec.UNSET
        if name == DENIED_TOOL and raw is not None:
            self._take_what_was_asked(raw)

    @classmethod
    def asked(cls, name: str, tool_input: Any) -> "Call":
        """A call that an answer asks for."""
        call = cls(name, None)
        call._canonical = tool_input
        return call

    def _take_what_was_asked(self, raw: bytes) -> None:
        try:
            asked = _denied.decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            return
        self.name, self._raw = asked.tool, bytes(asked.input)

    @property
    def input(self) -> Any:
        """The input's value, so that spelling and key order do not hide a repetition."""
        if self._canonical is msgspec.UNSET:
            try:
                self._canonical = msgspec.json.decode(self._raw) if self._raw else None
            except (msgspec.MsgspecError, RecursionError):
                self._canonical = self._raw
        return self._canonical

    @property
    def likeness(self) -> bytes | None:
        """The input without what does not matter in it; None: it is too long for that."""
        if self._likeness is msgspec.UNSET:
            self._likeness = likeness_of_input(self.input)
        return self._likeness

    @property
    def result(self) -> Result | None:
        """What the tool returned; None: nothing yet."""
        return self._results.of(self.id) if self._results is not None else None

    def same(self, other: "Call") -> bool:
        """The same tool with the same input."""
        if self.name != other.name:
            return False
        try:
            return self._is_written_as(other) or self.input == other.input
        except RecursionError:
            return False

    def is_like(self, other: "Call") -> bool:
        """The same tool with an input that differs in nothing that matters."""
        if self.name != other.name or self._is_written_as(other):
            return self.name == other.name
        return self.likeness is not None and self.likeness == other.likeness

    def _is_written_as(self, other: "Call") -> bool:
        return self._raw is not None and self._raw == other._raw


class Round(msgspec.Struct, frozen=True):
    """Calls of one answer, the newest first, and their results. `position`: of its message, counted from the end."""

    position: int
    calls: tuple[Call, ...]
    results: Results

    def repeats(self, earlier: "Round") -> bool:
        """The same calls, and they returned the same."""
        if not self.calls or len(self.calls) != len(earlier.calls):
            return False
        if not all(map(Call.same, self.calls, earlier.calls)):
            return False
        pairs = ((mine.result, other.result) for mine, other in zip(self.calls, earlier.calls, strict=True))
        return all(mine is not None and other is not None and mine.is_like(other) for mine, other in pairs)


class History:
    """The rounds since somebody last spoke, counted from the newest backwards. Each is read once."""

    def __init__(self, latest_first: Iterable[Message] = ()) -> None:
        self._unread = _rounds(latest_first)
        self._read: list[Round] = []

    def round(self, index: int) -> Round | None:
        """The newest is 0; None: there are not so many."""
        while len(self._read) <= index:
            found = next(self._unread, None)
            if found is None:
                return None
            self._read.append(found)
        return self._read[index]

    def rounds(self) -> Iterator[Round]:
        """From the newest backwards."""
        for index in count():
            if index == len(self._read) and self.round(index) is None:
                return
            yield self._read[index]

    def calls(self) -> Iterator[Call]:
        """From the newest backwards."""
        return islice((call for each in self.rounds() for call in each.calls), CALLS_MAX)


def _rounds(latest_first: Iterable[Message]) -> Iterator[Round]:
    returned: list[bytes] = []
    position = 0
    for position, message in enumerate(latest_first, start=1):
        content = bytes(message.content)
        if message.role == "user":
            if _speaks(content):
                break
            returned.append(content)
        elif message.role == "assistant":
            results = Results(returned)
            calls = tuple(
                Call(block.name, bytes(block.input), id=block.id, position=position, results=results)
                for block in _reversed_blocks(content)
                if block.type == "tool_use"
            )
            if calls:
                yield Round(position, calls, results)
                returned = []
    if returned:
        yield Round(position, (), Results(returned))


def _speaks(content: bytes) -> bool:
    """A user's message without results, or with the mark of an interruption."""
    if not content.startswith(b"[") or b'"tool_result"' not in content:
        return True
    if INTERRUPTED.encode() not in content:
        return False
    return any(block.type == "text" and block.text.startswith(INTERRUPTED) for block in _reversed_blocks(content))


def _reversed_blocks(content: bytes) -> list[_Block]:
    if not content.startswith(b"[") or b'"tool_' not in content:
        return []
    try:
        return _blocks.decode(content)[::-1]
    except (msgspec.MsgspecError, RecursionError):
        return []
