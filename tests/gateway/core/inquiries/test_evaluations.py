"""Questions in AuthZEN's shapes: what is read, and where it is wrong."""

import json
from typing import Any

import pytest

from gateway.core.decisions.decision import Principal
from gateway.core.inquiries.evaluations import (
    asked_call,
    asked_infer,
    asked_script,
    asked_spawn,
    is_own,
    read_evaluation,
)
from gateway.core.wire.spans import Malformed

ALICE = Principal(org="acme", team=None, user="alice", credential="laptop")
QUESTION: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice"},
    "action": {"name": "tool_call"},
    "resource": {"type": "tool", "id": "Bash", "properties": {"input": {"command": "ls"}}},
}


def written(**parts: Any) -> bytes:
    return json.dumps(QUESTION | parts).encode()


def test_question_is_read_and_what_is_not_known_is_left_alone() -> None:
    more = {"evaluation_id": "e", "subject": {"type": "user", "id": "alice", "properties": {"department": "x"}}}
    asked = read_evaluation(written(**more, context={"session": "s", "can": ["notice"], "time": "now"}))
    assert (asked.subject.id, asked.context.session, asked.context.can) == ("alice", "s", ("notice",))
    assert asked_call(asked.resource) == ({"command": "ls"}, "")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "the body"),
        (b"[]", "Expected `object`"),
        (b'{"subject": {}, "subject": {}}', "repeats a key"),
        (b"\xff", "no Unicode"),
        (written(subject={"type": "user"}), "subject: "),
        (written(subject={"type": "user", "id": 7}), "subject.id: "),
        (written(subject={"type": "robot", "id": "r"}), "subject.type: must be user or credential"),
        (written(action={"name": "fly"}), "action.name: must be infer or spawn"),
        (written(resource={"type": "agent", "id": "x"}), "resource.type: must be tool"),
        (written(resource={"type": "tool", "id": ""}), "resource.id: "),
        (written(context={"can": ["notice", "fly"]}), "context.can[1]: "),
        (written(context={"agent": "a"}), "context.session: "),
        (written(context={"session": "s", "depth": -1}), "context.depth: "),
        (written(resource={"type": "tool", "id": "\ud800"}), "no Unicode"),
    ],
)
def test_question_that_cannot_be_read_is_refused_with_the_place(body: bytes, place: str) -> None:
    with pytest.raises(Malformed) as malformed:
        read_evaluation(body)
    assert place in malformed.value.message


def resource(kind: str, **properties: Any) -> Any:
    names = {"model": "infer", "agent": "spawn", "tool": "tool_call", "script": "run"}
    parts = {"action": {"name": names[kind]}, "resource": {"type": kind, "id": "x", "properties": properties}}
    return read_evaluation(written(**parts)).resource


def test_properties_become_the_facts_of_the_query() -> None:
    infer = asked_infer(resource("model", tools=["Bash"], max_tokens=7), "claude")
    spawn = asked_spawn(resource("agent", model="haiku", prompt="hé", via="runtime"), "main")
    assert (infer.model, infer.tools, infer.max_tokens, infer.betas) == ("claude", ("Bash",), 7, ())
    assert (spawn.agent_type, spawn.model, spawn.via, spawn.prompt_bytes) == ("x", "haiku", "runtime", 3)
    assert spawn.parent_type == "main" and len(spawn.prompt_sha256 or "") == 64
    assert asked_script(resource("script", script="s", args=[1])).args == [1]


@pytest.mark.parametrize(
    ("read", "kind", "properties", "place"),
    [
        (lambda r: asked_infer(r, "m"), "model", {"tools": "Bash"}, "resource.properties.tools: "),
        (lambda r: asked_spawn(r, None), "agent", {"via": "first_request"}, "resource.properties.via: "),
        (asked_call, "tool", {"input": []}, "resource.properties.input: "),
        (asked_script, "script", {"script": 1}, "resource.properties.script: "),
    ],
)
def test_property_of_another_type_is_refused_with_the_place(
    read: Any, kind: str, properties: dict[str, Any], place: str
) -> None:
    with pytest.raises(Malformed) as malformed:
        read(resource(kind, **properties))
    assert malformed.value.message.startswith(place)


def test_input_that_is_too_deep_to_be_decided_is_refused() -> None:
    deep: Any = 1
    for _ in range(101):
        deep = {"a": deep}
    with pytest.raises(Malformed, match="nested deeper than 100"):
        asked_call(resource("tool", input=deep))


@pytest.mark.parametrize(
    ("kind", "id", "own"),
    [
        ("user", "alice", True),
        ("user", "laptop", False),
        ("credential", "laptop", True),
        ("credential", "alice", False),
    ],
)
def test_principal_asks_for_itself_by_user_or_credential(kind: str, id: str, own: bool) -> None:
    assert is_own(read_evaluation(written(subject={"type": kind, "id": id})).subject, ALICE) == own
