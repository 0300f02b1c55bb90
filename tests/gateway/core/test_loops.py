"""Streaks read off a conversation."""

import json

import pytest

from gateway.core.body import latest_messages
from gateway.core.loops import Streaks, streaks


def call(command: str, identifier: str = "t") -> dict[str, object]:
    """An assistant message with one tool call."""
    block = {"type": "tool_use", "id": identifier, "name": "Bash", "input": {"command": command}}
    return {"role": "assistant", "content": [block]}


def result(*, error: bool = False) -> dict[str, object]:
    """A user message with one tool result."""
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "", "is_error": error}]}


def count(*history: dict[str, object]) -> tuple[int, int]:
    """Both streaks of a history."""
    raw = json.dumps(history, separators=(",", ":")).encode()
    found = streaks(latest_messages(raw, (0, len(raw))))
    return found.identical_tool_calls, found.consecutive_errors


def test_identical_calls_in_a_row_are_counted() -> None:
    assert count(call("x"), result(), call("ls"), result(), call("ls"), result()) == (2, 0)


def test_parallel_identical_calls_count_each() -> None:
    blocks = [{"type": "tool_use", "id": str(n), "name": "Bash", "input": {"command": "ls"}} for n in range(3)]
    assert count({"role": "assistant", "content": blocks}, result())[0] == 3


def test_spelling_and_key_order_do_not_hide_a_repetition() -> None:
    raw = (
        b'[{"role":"assistant","content":[{"type":"tool_use","name":"T","input":{"a":1,"b":"x"}}]},'
        b'{"role":"assistant","content":[{"type":"tool_use","name":"T","input":{ "b":"\\u0078","a":1}}]}]'
    )
    assert streaks(latest_messages(raw, (0, len(raw)))).identical_tool_calls == 2


def test_errors_in_a_row_are_counted_up_to_the_last_success() -> None:
    assert count(call("a"), result(), call("b"), result(error=True), call("c"), result(error=True)) == (1, 2)


def test_new_words_of_the_user_break_both_streaks() -> None:
    assert count(call("a"), result(error=True), {"role": "user", "content": "go on"}, call("a")) == (1, 0)


def test_system_entries_break_nothing() -> None:
    assert count(call("a"), result(), {"role": "system", "content": "tokens left"}, call("a"), result()) == (2, 0)


@pytest.mark.parametrize("content", [5, None, [5], [{"type": 3}], {"type": "tool_use"}])
def test_unreadable_content_counts_nothing(content: object) -> None:
    assert count({"role": "assistant", "content": content}) == (0, 0)


def test_one_more_call_extends_the_streak_only_when_it_is_the_same() -> None:
    seen = Streaks(3, 1, ("Bash", {"command": "ls"}))
    assert seen.extended("Bash", {"command": "ls"}).identical_tool_calls == 4
    assert seen.extended("Bash", {"command": "pwd"}).identical_tool_calls == 1
