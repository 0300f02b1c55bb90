"""What is taken out of fields, tools and blocks, and what never is."""

import json
from typing import Any

import pytest

from gateway.core.bridging import Bridgeable, bridge
from gateway.core.bridging.trimming import CONTENT_DEPTH_MAX
from gateway.core.wire.spans import members
from gateway.errors import Refused
from tests.support.capabilities import NEW, OLD, support
from tests.support.features import ASK, CALL, PIXEL, RESULT, TOOL

SCOPED = {"type": "ephemeral", "scope": "global"}
UNSCOPED = {"type": "ephemeral"}


def trimmed(body: dict[str, Any], *, backend: str = "bedrock", model: str = NEW, **cells: bool) -> dict[str, Any]:
    raw = json.dumps({"model": model, "messages": [ASK], **body}, separators=(" ,\n", " : ")).encode()
    fitted = bridge(Bridgeable(raw, members(raw), (), "2023-06-01", model), support(backend, cells=cells))
    return json.loads(fitted.body)


def test_object_whose_only_member_is_lost_goes_with_it() -> None:
    assert "output_config" not in trimmed({"output_config": {"effort": "low"}}, model=OLD)
    assert trimmed({"output_config": {"effort": "low", "x": 1}}, model=OLD)["output_config"] == {"x": 1}


def test_lost_type_takes_its_object_with_it() -> None:
    assert "thinking" not in trimmed({"thinking": {"type": "adaptive", "new": 1}}, model=OLD)
    enabled = {"type": "enabled", "budget_tokens": 1024}
    assert trimmed({"thinking": enabled}, model=OLD)["thinking"] == enabled


def test_lost_edit_leaves_the_others() -> None:
    clear = {"type": "clear_thinking_20251015", "keep": "all"}
    managed = {"context_management": {"edits": [{"type": "compact_20260112"}, clear]}}
    assert trimmed(managed, backend="foundry")["context_management"] == {"edits": [clear]}
    alone = {"context_management": {"edits": [{"type": "compact_20260112"}]}}
    assert "context_management" not in trimmed(alone, backend="foundry")


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_refused_field_that_holds_nothing_is_left_out(nothing: Any) -> None:
    assert "mcp_servers" not in trimmed({"mcp_servers": nothing})
    with pytest.raises(Refused, match="capability_rejected: mcp_connector"):
        trimmed({"mcp_servers": [{"type": "url", "name": "x", "url": "https://x.example"}]})


def test_unknown_fields_stay() -> None:
    assert trimmed({"speed": "fast", "brand_new": {"speed": "fast"}})["brand_new"] == {"speed": "fast"}


def test_scope_is_cut_wherever_a_cache_control_may_stand() -> None:
    block = {"type": "text", "text": "x", "cache_control": SCOPED}
    nested = {**RESULT, "content": [block], "cache_control": SCOPED}
    page = {"type": "document", "source": {"type": "content", "content": [block]}, "cache_control": SCOPED}
    body = {
        "system": [block],
        "tools": [{**TOOL, "cache_control": SCOPED}],
        "messages": [ASK, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [nested, page]}],
    }
    found = trimmed(body)
    assert json.dumps(found).count('"scope": "global"') == 1, "the one in the input of the call"
    assert found["system"][0]["cache_control"] == found["tools"][0]["cache_control"] == UNSCOPED


def test_inputs_schemas_and_words_are_never_looked_into() -> None:
    alike = {
        "cache_control": SCOPED,
        "source": {"type": "url"},
        "role": "system",
        "type": "web_search_tool_result",
        "defer_loading": True,
    }
    body = {
        "system": json.dumps(alike),
        "tools": [{"name": "T", "input_schema": {"type": "object", "properties": alike}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": json.dumps(alike)}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "T", "input": alike}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": json.dumps(alike)}]},
        ],
    }
    found = trimmed(body, model=OLD, tool_search=False)
    assert {name: found[name] for name in body} == body


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}],
        [{**RESULT, "content": [{"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}}]}],
        [
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}],
                },
            }
        ],
    ],
)
def test_url_source_is_refused_where_content_may_stand(content: list[Any]) -> None:
    with pytest.raises(Refused, match="capability_rejected: url_sources: .*; fetch it and send it as base64"):
        trimmed({"messages": [{"role": "user", "content": content}]})


def test_inline_image_beside_the_word_url_stays() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    body = {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "url", "x": "url"}]}]}
    assert trimmed(body)["messages"] == body["messages"]


def test_content_nested_beyond_the_limit_is_left_alone() -> None:
    content: Any = [{"type": "text", "text": "x", "cache_control": SCOPED}]
    for _ in range(CONTENT_DEPTH_MAX):
        content = [{"type": "tool_result", "tool_use_id": "t", "content": content}]
    body = {"messages": [{"role": "user", "content": content}]}
    assert trimmed(body)["messages"] == body["messages"]


def test_without_tool_search_deferred_tools_are_plain_ones() -> None:
    body = {
        "tools": [{**TOOL, "defer_loading": True}, {"type": "tool_search_tool_bm25_20251119", "name": "search"}],
        "messages": [
            {"role": "user", "content": [{**RESULT, "content": [{"type": "tool_reference", "tool_name": "Read"}]}]}
        ],
    }
    found = trimmed(body, tool_search=False)
    assert found["tools"] == [TOOL] and found["messages"][0]["content"][0]["content"] == []


def test_added_tool_is_no_longer_deferred() -> None:
    added = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Write"}}
    tools = [TOOL, {**TOOL, "name": "Write", "defer_loading": True}, {**TOOL, "name": "Edit", "defer_loading": True}]
    found = trimmed({"tools": tools, "messages": [ASK, {"role": "system", "content": [added]}]})
    assert found["tools"] == [TOOL, {**TOOL, "name": "Write"}, tools[2]]


def test_parts_of_the_wrong_kind_are_left_to_the_upstream() -> None:
    body = {
        "output_config": "low",
        "thinking": None,
        "context_management": [{"edits": 1}],
        "tools": {"type": "web_search_20250305"},
        "system": {"cache_control": SCOPED},
        "messages": ["system", {"role": "system"}, {"role": "user", "content": ["scope", {"cache_control": "scope"}]}],
    }
    assert trimmed(body) == {"model": NEW, **body}
