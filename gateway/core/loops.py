"""Loops and error streaks, read off the conversation a request carries. Stateless: the history is the evidence."""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.core.body import Message

STREAK_MAX = 1_000
"""Longest streak that is counted; a fuse is set far below."""


class Streaks(msgspec.Struct, frozen=True):
    """How the latest part of a conversation repeats itself."""

    identical_tool_calls: int
    """The newest tool call was made this many times in a row with the same name and input."""
    consecutive_errors: int
    """This many tool results in a row, up to the newest, are errors."""
    newest: tuple[str, Any] | None = None
    """Name and input of the newest tool call."""

    def extended(self, tool: str, tool_input: Any) -> "Streaks":
        """The streaks with one more tool call asked for."""
        same = (tool, tool_input) == self.newest
        return Streaks(self.identical_tool_calls + 1 if same else 1, self.consecutive_errors, (tool, tool_input))


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")
    is_error: bool | None = None


_blocks = msgspec.json.Decoder(list[_Block])


def streaks(latest_first: Iterable[Message]) -> Streaks:
    """Count both streaks in one walk from the end, stopping when both are broken or somebody speaks."""
    newest: tuple[str, Any] | None = None
    calls = errors = 0
    counting_calls = counting_errors = True
    for message in latest_first:
        blocks = _reversed_blocks(message)
        if message.role == "user" and not blocks:
            break
        for block in blocks:
            if block.type == "tool_result" and counting_errors:
                counting_errors = block.is_error is True
                errors += counting_errors
            elif block.type == "tool_use" and counting_calls:
                call = (block.name, _canonical(block.input))
                newest = newest or call
                counting_calls = call == newest
                calls += counting_calls
        if not (counting_calls or counting_errors) or max(calls, errors) >= STREAK_MAX:
            break
    return Streaks(calls, errors, newest)


def _reversed_blocks(message: Message) -> list[_Block]:
    content = bytes(message.content)
    if not content.startswith(b"[") or (b'"tool_' not in content):
        return []
    try:
        return _blocks.decode(content)[::-1]
    except (msgspec.MsgspecError, RecursionError):
        return []


def _canonical(raw: msgspec.Raw) -> Any:
    """The input's value, so that spelling and key order do not hide a repetition."""
    try:
        return msgspec.json.decode(raw) if bytes(raw) else None
    except (msgspec.MsgspecError, RecursionError):
        return bytes(raw)
