"""Whatever comes as a hook or as a question is read or refused in the one way; nothing else is ever raised."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.decisions.seencalls import call_digest, call_outline
from gateway.core.inquiries.evaluations import (
    RESOURCES,
    asked_call,
    asked_infer,
    asked_script,
    asked_spawn,
    read_evaluation,
)
from gateway.core.inquiries.hooks import USED_EVENTS, HookMalformed, call_of, launch_of, read_hook
from gateway.core.wire.spans import Malformed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HOOK_FIELDS = ("session_id", "agent_id", "tool_name", "tool_use_id", "tool_input", "tool_response")
QUESTION: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice", "properties": {}},
    "action": {"name": "infer"},
    "resource": {"type": "model", "id": "m", "properties": {}},
    "context": {},
}


@settings(max_examples=300)
@given(st.sampled_from(USED_EVENTS), st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_hook_or_malformed(event: str, body: bytes) -> None:
    try:
        hook = read_hook(event, body)
    except HookMalformed as error:
        assert str(error)
    else:
        assert hook.hook_event_name == event


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(HOOK_FIELDS), VALUES))
def test_any_member_of_a_hook_is_read_or_malformed(members: dict[str, Any]) -> None:
    whole = {"session_id": "s", "tool_name": "T", "tool_use_id": "t", **members, "hook_event_name": "PreToolUse"}
    try:
        hook = read_hook("PreToolUse", json.dumps(whole).encode())
    except HookMalformed:
        return
    launch_of(hook)
    call = call_of(hook)
    assert (call.input is None) == (call.problem is not None)
    assert len(call_digest(call.name, call.input)) == len(call_outline(call.name, call.input)) == 32


@settings(max_examples=300)
@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_question_or_malformed(body: bytes) -> None:
    try:
        read_evaluation(body)
    except Malformed as error:
        assert error.message


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(RESOURCES)),
    st.dictionaries(st.sampled_from(["input", "script", "args", "prompt", "tools", "via", "depth"]), VALUES),
    st.dictionaries(st.sampled_from(["session", "agent", "depth", "can"]), VALUES),
)
def test_any_member_of_a_question_is_read_or_malformed(name: str, properties: Any, context: Any) -> None:
    resource = {"type": RESOURCES[name], "id": "x", "properties": properties}
    body = json.dumps(QUESTION | {"action": {"name": name}, "resource": resource, "context": context}).encode()
    try:
        asked = read_evaluation(body).resource
        for read in (
            asked_call,
            asked_script,
            lambda told: asked_infer(told, "m"),
            lambda told: asked_spawn(told, None),
        ):
            read(asked)
    except Malformed as error:
        assert error.message
