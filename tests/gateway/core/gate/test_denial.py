"""Denials: written in place, restored exactly, and everything of another shape left alone."""

import json
from typing import Any

import pytest

from gateway.contract import DENIED_TOOL
from gateway.core.gate.denial import (
    Denial,
    denial_text,
    denied_calls,
    denied_input,
    needs_restoring,
    restore,
    result_text,
)
from gateway.core.wire.spans import elements
from tests.support.streams import DENIAL, golden

CALL = {"command": "rm -rf build", "timeout": 5.0}


def raw(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def denied_block(call_id: str = "toolu_1", **changes: Any) -> dict[str, Any]:
    """A denied call as it stands in a history."""
    written = denied_input("Bash", CALL, DENIAL)
    return {"type": "tool_use", "id": call_id, "name": DENIED_TOOL, "input": written} | changes


def assistant(*blocks: dict[str, Any]) -> bytes:
    """An assistant message."""
    return raw({"role": "assistant", "content": list(blocks)})


def result(**fields: Any) -> bytes:
    """A user message with the client's answer to the call."""
    block = {"type": "tool_result", "tool_use_id": "toolu_1"} | fields
    return raw({"role": "user", "content": [block]})


def content(message: bytes | None) -> Any:
    """First content block of a message."""
    assert message is not None
    return json.loads(message)["content"][0]


def test_denied_call_is_restored_to_the_original_call() -> None:
    restored = restore([assistant(denied_block())])
    assert content(restored[0]) == {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": CALL}


def test_unreadable_input_is_restored_as_empty() -> None:
    block = denied_block(input=denied_input("Bash", None, DENIAL))
    assert content(restore([assistant(block)])[0])["input"] == {}


def test_only_name_and_input_change() -> None:
    message = b'{ "content" : [ {"cache_control": {"type":"ephemeral"}, "input" : %b, "name":"%b",\n "id":"toolu_1", '
    message += b'"type":"tool_use","caller":{"type":"direct"}} ],"role":"assistant" }'
    written = message % (raw(denied_input("Bash", CALL, DENIAL)), DENIED_TOOL.encode())
    assert restore([written]) == [message % (raw(CALL), b"Bash")]


def test_result_says_why_and_is_an_error() -> None:
    answer = result(content="No such tool available", is_error=False, cache_control={"type": "ephemeral"})
    _, restored = restore([assistant(denied_block()), answer])
    told = result_text("Bash", DENIAL)
    assert restored == result(content=told, is_error=True, cache_control={"type": "ephemeral"})
    assert DENIAL.reason in told
    assert "final" in told


def test_result_without_content_gets_it_after_the_id() -> None:
    _, restored = restore([assistant(denied_block()), result(cache_control={"type": "ephemeral"})])
    told = result_text("Bash", DENIAL)
    assert restored == result(content=told, is_error=True, cache_control={"type": "ephemeral"})


def test_moved_cache_control_leaves_the_other_bytes_the_same() -> None:
    messages = [assistant(denied_block()), result(content="x", is_error=True)]
    marked = [assistant(denied_block()), result(content="x", is_error=True, cache_control={"type": "ephemeral"})]
    plain, with_mark = restore(messages), restore(marked)
    assert plain[0] == with_mark[0]
    assert with_mark[1] == (plain[1] or b"").replace(b"}]}", b',"cache_control":{"type":"ephemeral"}}]}')


def test_golden_history_changes_only_the_denied_call_and_its_result() -> None:
    body = golden("denied_history.json")
    messages = [body[start:end] for start, end in elements(body)]
    restored = restore(messages)
    assert [message is not None for message in restored] == [False, False, True, True, False]
    blocks = json.loads(restored[2] or b"")["content"]
    assert [block["name"] for block in blocks] == ["Bash", "Bash"]
    assert blocks[1]["cache_control"] == {"type": "ephemeral"}
    results = json.loads(restored[3] or b"")["content"]
    assert results[0] == json.loads(messages[3])["content"][0]
    assert "remove single files" in results[1]["content"]


def test_history_without_denials_is_left_alone() -> None:
    messages = [assistant(denied_block(name="Bash", input=CALL)), result(content="ok")]
    assert restore(messages) == [None, None]
    assert not needs_restoring(b"".join(messages))


def test_body_with_a_denial_needs_restoring() -> None:
    assert needs_restoring(assistant(denied_block()))


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {}},
        {"input": "text"},
        {"input": None},
        {"input": denied_input("Bash", CALL, DENIAL) | {"extra": 1}},
        {"input": denied_input("Bash", CALL, DENIAL) | {"input": []}},
        {"input": denied_input("Bash", CALL, DENIAL) | {"tool": 3}},
        {"input": denied_input("Bash", CALL, DENIAL) | {"reason": None}},
        {"input": denied_input(DENIED_TOOL, CALL, DENIAL)},
        {"id": 5},
        {"id": ""},
        {"name": "Bash"},
        {"type": "server_tool_use"},
    ],
)
def test_block_of_another_shape_is_left_as_it_is(changes: dict[str, Any]) -> None:
    messages = [assistant(denied_block(**changes)), result(content="x")]
    assert restore(messages) == [None, None]


def test_repeated_key_is_left_as_it_is() -> None:
    message = assistant(denied_block())
    assert restore([message.replace(b'"decision":', b'"tool":"Read","decision":')]) == [None]
    assert restore([message.replace(b'"id":', b'"id":"x","id":')]) == [None]


@pytest.mark.parametrize("role", ["user", "system"])
def test_denied_call_outside_an_assistant_message_is_left_as_it_is(role: str) -> None:
    assert restore([assistant(denied_block()).replace(b"assistant", role.encode())]) == [None]


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b'{"role":"assistant","content":"ringfence_denied"}', b"\xff"])
def test_unreadable_message_is_left_as_it_is(message: bytes) -> None:
    assert restore([message, message + DENIED_TOOL.encode()]) == [None, None]


def test_result_of_another_call_is_left_as_it_is() -> None:
    _, restored = restore([assistant(denied_block("toolu_2")), result(content="mentions toolu_2")])
    assert restored is None


def test_block_that_is_no_tool_result_is_left_as_it_is() -> None:
    _, restored = restore([assistant(denied_block()), result(content="x", type="mcp_tool_result")])
    assert restored is None


def test_result_before_its_call_is_restored_too() -> None:
    restored, _ = restore([result(content="x"), assistant(denied_block())])
    assert content(restored)["is_error"] is True


def test_restored_history_has_nothing_left_to_restore() -> None:
    messages = [assistant(denied_block()), result(content="x")]
    once = [new or old for new, old in zip(restore(messages), messages, strict=True)]
    assert restore(once) == [None, None]


def test_escaped_name_and_id_are_recognised() -> None:
    message = assistant(denied_block()).replace(b'"id":"toolu_1"', b'"\\u0069d":"toolu\\u005f1"')
    assert list(denied_calls([message])) == ["toolu_1"]


def test_texts_name_tool_reason_and_decision() -> None:
    denial = Denial(reason="not here", decision="dec_9")
    for told in (denial_text("Bash", denial), result_text("Bash", denial)):
        assert all(part in told for part in ("Bash", "not here.", "dec_9"))
