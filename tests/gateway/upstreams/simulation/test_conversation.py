"""What is read off a request: prompt, turn, results, workspace."""

import json
from typing import Any

from gateway.upstreams.simulation.conversation import DEFAULT_WORKSPACE, Conversation, read_conversation

REMINDER = {"type": "text", "text": "<system-reminder>\nFix the greeting\n</system-reminder>"}


def conversation(*messages: dict[str, Any], **fields: Any) -> Conversation:
    return read_conversation(json.dumps({"model": "m", "messages": messages, "max_tokens": 9, **fields}).encode())


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]}


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]}


def result(text: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t1", "content": text, **fields}


def test_prompt_is_the_latest_words_without_reminders() -> None:
    asked = conversation(user(REMINDER, "Fix it"), {"role": "assistant", "content": "ok"}, user("Again", REMINDER))
    assert (asked.prompt, asked.turn) == ("Again", 1)


def test_tool_results_keep_the_prompt_and_count_turns() -> None:
    going = conversation(user("Fix it"), CALL, user(result("no", is_error=True)), {"role": "system", "content": "s"})
    assert (going.prompt, going.turn) == ("Fix it", 2)
    assert (going.tool_result, going.tool_error, going.answered_tools) == ("no", True, frozenset())


def test_successful_result_names_its_tool() -> None:
    going = conversation(user("Fix it"), CALL, user(result([{"type": "text", "text": "yes"}])))
    assert (going.tool_result, going.tool_error, going.answered_tools) == ("yes", False, frozenset({"Bash"}))


def test_results_of_an_earlier_turn_do_not_count_again() -> None:
    later = conversation(user("a"), CALL, user(result("old")), {"role": "assistant", "content": "b"}, user("c"))
    assert (later.tool_result, later.turn) == ("", 1)


def test_workspace_is_taken_from_the_environment_text() -> None:
    stated = {"role": "system", "content": "# Environment\n - Primary working directory: /home/dev/my work\n - x"}
    assert conversation(user("a"), stated).workspace == "/home/dev/my work"
    assert conversation(user("a"), system="Working directory: /srv").workspace == "/srv"
    assert conversation(user("a")).workspace == DEFAULT_WORKSPACE
