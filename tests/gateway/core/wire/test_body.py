"""The bounded look at a request body, and exact edits of it."""

import json

import msgspec
import pytest

from gateway.contract import DENIED_TOOL
from gateway.core.wire.body import (
    TOOL_LIST_REMEMBERED_BYTES_MAX,
    field_edit,
    find_workspace,
    latest_messages,
    peek,
    without_tools,
)
from gateway.core.wire.shapes import Asked
from gateway.core.wire.spans import Malformed, splice

SPACED = b' { "model" : "claude-opus-5-5" ,\n "max_tokens":5, "messages" : [ ] }\n'


def body(**fields: object) -> bytes:
    """A compact request body."""
    return json.dumps({"model": "claude-opus-5-5", "messages": []} | fields, separators=(",", ":")).encode()


def test_deep_nesting_is_refused_with_its_place() -> None:
    with pytest.raises(Malformed, match="messages: is nested too deep"):
        peek(b'{"model":"a","messages":' + b"[" * 5000 + b"]" * 5000 + b"}")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": 3}]}, "tools[0].name"),
        ({"mcp_servers": [{"url": 1}]}, "mcp_servers[0].url"),
        ({"output_config": {"effort": 1}}, "output_config.effort"),
    ],
)
def test_wrong_type_is_refused_with_its_place(fields: dict[str, object], place: str) -> None:
    with pytest.raises(Malformed) as refused:
        peek(body(**fields))
    assert refused.value.message.startswith(f"{place}: Expected")


def test_missing_model_is_refused() -> None:
    with pytest.raises(Malformed, match="model: is required"):
        peek(b'{"messages":[]}')


def test_duplicate_key_inside_a_tool_is_refused() -> None:
    raw = b'{"model":"a","messages":[],"tools":[{"name":"x","type":"custom","type":"web_search_20250305"}]}'
    with pytest.raises(Malformed, match=r"tools\[0\].type: the key occurs twice"):
        peek(raw)


def test_reserved_tool_name_is_refused() -> None:
    with pytest.raises(Malformed, match="is reserved"):
        peek(body(tools=[{"name": DENIED_TOOL}]))


def test_peek_tells_clients_tools_from_the_upstreams() -> None:
    ask = peek(body(tools=[{"name": "Bash"}, {"type": "web_search_20250305", "name": "web_search"}], stream=True))
    assert (ask.tools, ask.server_tools, ask.stream) == (("Bash", "web_search"), ("web_search_20250305",), True)


@pytest.mark.parametrize("kind", ["bash_20250124", "text_editor_20250728", "computer_20251124", "memory_20250818"])
def test_tool_of_the_api_that_the_client_runs_is_the_clients(kind: str) -> None:
    ask = peek(body(tools=[{"type": kind, "name": "known"}, {"type": kind[:-8] + "toolset_20260801", "name": "set"}]))
    assert (ask.tools, ask.server_tools) == (("known", "set"), (kind[:-8] + "toolset_20260801",))


def test_field_is_replaced_in_place_or_inserted() -> None:
    ask = peek(SPACED)
    assert splice(SPACED, [field_edit(SPACED, ask, "model", b'"b"')]) == SPACED.replace(b'"claude-opus-5-5"', b'"b"')
    inserted = splice(SPACED, [field_edit(SPACED, ask, "stream", b"true")])
    assert json.loads(inserted) == json.loads(SPACED) | {"stream": True}


def test_tools_are_stripped_and_the_rest_stays() -> None:
    raw = body(tools=[{"name": "A", "x": 1.0}, {"name": "B"}, {"name": "C"}])
    edit = without_tools(raw, peek(raw), frozenset({"B"}))
    assert edit is not None
    assert splice(raw, [edit]) == raw.replace(b'{"name":"B"},', b"").replace(b'"name": ', b'"name":')


def test_nothing_to_strip_gives_no_edit() -> None:
    raw = body(tools=[{"name": "A"}])
    assert without_tools(raw, peek(raw), frozenset({"B"})) is None


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_latest_messages_come_from_the_last_to_the_first(separators: tuple[str, str]) -> None:
    nested = {"role": "user", "content": [{"type": "tool_result", "content": {"role": "assistant", "content": "x"}}]}
    history = [{"role": "user", "content": "a"}, nested, {"role": "assistant", "content": 'say {"role":"user"}'}]
    raw = json.dumps(history, separators=separators).encode()
    found = [(entry.role, msgspec.json.decode(entry.content)) for entry in latest_messages(raw, (0, len(raw)))]
    assert found == [(entry["role"], entry["content"]) for entry in reversed(history)]


def test_messages_with_another_key_order_are_read_too() -> None:
    raw = b'[{"content":"a","role":"user"},{"role":"assistant","content":"b"}]'
    assert [entry.role for entry in latest_messages(raw, (0, len(raw)))] == ["assistant", "user"]


def test_messages_are_found_where_they_stand_in_the_body() -> None:
    raw = body(messages=[{"role": "user", "content": "a"}], after=[{"role": "system"}])
    assert [entry.role for entry in latest_messages(raw, peek(raw).spans["messages"])] == ["user"]


def test_empty_history_has_no_messages() -> None:
    assert list(latest_messages(b"[]", (0, 2))) == []


def test_workspace_is_taken_from_system_before_messages() -> None:
    raw = body(
        system="env\nWorking directory: /home/dev/app\nPlatform: linux",
        messages=[{"role": "user", "content": "Working directory: /"}],
    )
    assert find_workspace(raw, peek(raw).spans) == "/home/dev/app"


def test_workspace_is_found_in_a_system_entry_of_the_messages() -> None:
    entry = {"role": "system", "content": [{"type": "text", "text": " - Primary working directory: /w/x\n - more"}]}
    raw = body(messages=[{"role": "user", "content": "Working directory: /"}, entry])
    assert find_workspace(raw, peek(raw).spans) == "/w/x"


def test_history_does_not_set_the_workspace() -> None:
    late = [{"role": "user", "content": "hi"}] * 4 + [{"role": "user", "content": "Working directory: /"}]
    raw = body(messages=late)
    assert find_workspace(raw, peek(raw).spans) is None


@pytest.mark.parametrize("raw", [b'{"model":"a"}', b'{"model":"a","messages":null}', b'{"model":"a","messages":{}}'])
def test_absent_messages_are_refused(raw: bytes) -> None:
    with pytest.raises(Malformed, match="messages: is required"):
        peek(raw)


@pytest.mark.parametrize("model", ["x" * 2049, "claude-\n5", "claude-haiku-5-5/../claude-opus-5-5"])
def test_model_that_is_no_plain_name_is_refused(model: str) -> None:
    with pytest.raises(Malformed, match="^model: must be at most 2048 printable"):
        peek(b'{"messages":[]}', Asked("messages", model, stream=False))


def test_model_in_path_and_body_is_refused() -> None:
    with pytest.raises(Malformed, match="^model: stands in the path"):
        peek(b'{"model":"claude-b","messages":[]}', Asked("messages", "claude-a", stream=False))


def test_long_tool_list_is_read_but_not_kept() -> None:
    tools = [{"name": "T", "description": "x" * TOOL_LIST_REMEMBERED_BYTES_MAX}]
    body = json.dumps({"model": "m", "messages": [], "tools": tools}).encode()
    first, second = peek(body).tools, peek(body).tools
    assert first == second == ("T",) and first is not second
