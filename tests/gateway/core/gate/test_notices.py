"""Texts for the model: where they are put, and that they are put there again."""

import json
from typing import Any

from gateway.core.gate.notices import NOTICE_CHARS_MAX, Form, Notice, place, say
from gateway.core.wire.spans import members, splice

USER = {"role": "user", "content": "Hello."}
ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done"}]}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]}
TOKENS = {"role": "system", "content": "<total_tokens>9 tokens left</total_tokens>"}


def body_of(*messages: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages}).encode()


def told(body: bytes, texts: list[str], form: Form) -> tuple[bytes, tuple[Notice, ...]]:
    span = members(body)["messages"]
    edits, kept = place(body, span, say(body, span, texts, form))
    return splice(body, edits), kept


def again(body: bytes, notices: tuple[Notice, ...]) -> tuple[bytes, tuple[Notice, ...]]:
    edits, kept = place(body, members(body)["messages"], notices)
    return splice(body, edits), kept


def messages(body: bytes) -> list[Any]:
    return json.loads(body)["messages"]


def test_a_model_that_takes_entries_gets_one_after_the_last_message():
    body, kept = told(body_of(USER), ["Finish up."], "system")
    assert messages(body) == [USER, {"role": "system", "content": "Finish up."}]
    assert [notice.after for notice in kept] == [1]


def test_another_model_gets_a_text_block_at_the_end_of_the_users_message():
    body, _ = told(body_of(USER), ["Finish up."], "text")
    notice = {"type": "text", "text": "<gateway-notice>\nFinish up.\n</gateway-notice>"}
    assert messages(body) == [{"role": "user", "content": [{"type": "text", "text": "Hello."}, notice]}]


def test_a_text_block_stands_after_tool_results():
    body, _ = told(body_of(USER, CALL, RESULT), ["Finish up."], "text")
    kinds = [block["type"] for block in messages(body)[2]["content"]]
    assert kinds == ["tool_result", "text"]


def test_a_later_request_begins_with_the_same_bytes_as_the_one_that_was_told():
    cases: list[tuple[Form, Any]] = [("system", USER), ("text", USER), ("system", TOKENS), ("text", RESULT)]
    for form, last in cases:
        history = [USER, CALL, RESULT] if last is RESULT else [USER, TOKENS] if last is TOKENS else [USER]
        first, kept = told(body_of(*history), ["Finish up.", "And be kind."], form)
        second, still = again(body_of(*history, ANSWER, USER), kept)
        assert second.startswith(first[: first.rindex(b"]}")])
        assert still == kept


def test_a_history_that_the_client_writes_otherwise_keeps_its_notices():
    blocks = {"role": "user", "content": [{"type": "text", "text": "Hello.", "cache_control": {"type": "ephemeral"}}]}
    _, kept = told(body_of(blocks), ["Finish up."], "system")
    body, still = again(body_of(USER, ANSWER, USER), kept)
    assert still == kept
    assert messages(body)[1] == {"role": "system", "content": "Finish up."}


def test_a_history_that_was_compacted_forgets_them():
    _, kept = told(body_of(USER, ANSWER, USER), ["Finish up."], "system")
    body = body_of({"role": "user", "content": "A summary of what was said."})
    assert again(body, kept) == (body, ())


def test_an_entry_that_would_stand_before_a_user_is_forgotten():
    _, kept = told(body_of(USER), ["Finish up."], "system")
    body = body_of(USER, {"role": "user", "content": "Wait, another thing."})
    assert again(body, kept) == (body, ())


def test_a_text_block_may_stand_before_another_user_message():
    _, kept = told(body_of(USER), ["Finish up."], "text")
    assert again(body_of(USER, RESULT), kept)[1] == kept


def test_a_conversation_that_ends_with_the_assistant_is_told_nothing_yet():
    body = body_of(USER, ANSWER)
    assert say(body, members(body)["messages"], ["Finish up."], "text") == []


def test_a_message_that_cannot_be_read_is_told_nothing():
    body = b'{"messages":[{"role":"user","content":' + b"[" * 5000 + b"]" * 5000 + b"}]}"
    span = (body.index(b"["), len(body) - 1)
    assert _said_or_refused(body, span) == []


def _said_or_refused(body: bytes, span: tuple[int, int]) -> list[Notice]:
    from gateway.errors import GatewayError

    try:
        return say(body, span, ["Finish up."], "text")
    except GatewayError:
        return []


def test_what_is_said_is_bounded_and_cannot_break_out_of_its_string():
    body, _ = told(body_of(USER), ['"}]' + "x" * NOTICE_CHARS_MAX], "system")
    assert len(messages(body)) == 2
    assert len(messages(body)[1]["content"]) == NOTICE_CHARS_MAX


def test_notices_of_several_moments_stand_where_each_was_said():
    body, first = told(body_of(USER), ["One."], "system")
    later = body_of(USER, ANSWER, USER)
    span = members(later)["messages"]
    both = (*first, *say(later, span, ["Two."], "system"))
    body, kept = again(later, both)
    assert [message["content"] for message in messages(body) if message["role"] == "system"] == ["One.", "Two."]
    assert [notice.after for notice in kept] == [1, 3]
