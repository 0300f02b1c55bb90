"""Conversations of tool calls, written short: what the client would send back to us."""

import json
from collections.abc import Iterable
from typing import Any

from gateway.core.fuses.loops import Streaks, streaks
from gateway.core.wire.body import latest_messages


def used(*calls: tuple[str, dict[str, Any]], first: int = 0) -> dict[str, Any]:
    """An assistant's message that makes these calls; their ids count from `first`."""
    blocks = [
        {"type": "tool_use", "id": f"t{first + index}", "name": name, "input": tool_input}
        for index, (name, tool_input) in enumerate(calls)
    ]
    return {"role": "assistant", "content": blocks}


def returned(*contents: object, error: bool = False, first: int = 0) -> dict[str, Any]:
    """A user's message with the results of the calls from `first` on."""
    blocks = [
        {"type": "tool_result", "tool_use_id": f"t{first + index}", "content": content, "is_error": error}
        for index, content in enumerate(contents)
    ]
    return {"role": "user", "content": blocks}


def turn(name: str, tool_input: dict[str, Any], result: object = "", *, error: bool = False) -> list[dict[str, Any]]:
    """One call and its result."""
    return [used((name, tool_input)), returned(result, error=error)]


def said(words: str) -> dict[str, Any]:
    """Words of the user."""
    return {"role": "user", "content": words}


def raw(history: Iterable[dict[str, Any]]) -> bytes:
    """A `messages` array as clients write it."""
    return json.dumps(list(history), separators=(",", ":")).encode()


def seen(history: Iterable[dict[str, Any]]) -> Streaks:
    """What the gateway counts in a history."""
    messages = raw(history)
    return streaks(latest_messages(messages, (0, len(messages))))
