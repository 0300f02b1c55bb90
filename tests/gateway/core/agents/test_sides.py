"""Requests beside an agent's work."""

import json
from typing import Any

import pytest

from gateway.core.agents.sides import find_side
from gateway.core.wire.body import peek

TURN: dict[str, Any] = {
    "model": "claude-opus-4-8",
    "max_tokens": 64000,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "do it"}]}],
    "tools": [{"name": "Bash"}],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
}
SCHEMA = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
SUMMARY = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nYour task is to create a detailed summary"
TITLE = {"tools": [], "thinking": {"type": "disabled"}, "output_config": SCHEMA}


def side_of(**fields: Any) -> str | None:
    """What a request is; `fields` replace those of a turn."""
    body = json.dumps(TURN | fields).encode()
    return find_side(body, peek(body))


def says(*blocks: dict[str, Any], after: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Messages that end with these blocks of the user's."""
    return [*TURN["messages"], {"role": "assistant", "content": "done"}, {"role": "user", "content": list(blocks)}] + (
        after or []
    )


@pytest.mark.parametrize(
    ("fields", "side"),
    [
        ({}, None),
        (TITLE, "title"),
        ({"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}}, "web_search"),
        ({"max_tokens": 1}, "probe"),
        ({"messages": says({"type": "text", "text": SUMMARY})}, "compact"),
        ({"messages": says({"type": "text", "text": "<r>x</r>"}, {"type": "text", "text": SUMMARY})}, "compact"),
        ({"messages": [{"role": "user", "content": SUMMARY}]}, "compact"),
        ({"messages": says({"type": "text", "text": SUMMARY}, after=[{"role": "system", "content": "n"}])}, "compact"),
    ],
)
def test_side_requests_are_known_by_their_shape(fields: dict[str, Any], side: str | None) -> None:
    assert side_of(**fields) == side


@pytest.mark.parametrize(
    "fields",
    [
        TITLE | {"tools": [{"name": "Bash"}]},
        TITLE | {"thinking": {"type": "adaptive"}},
        TITLE | {"output_config": {"effort": "high"}},
        {"tools": [SEARCH, {"name": "Bash"}], "tool_choice": {"type": "auto"}},
        {"tools": [{"name": "web_search"}], "tool_choice": {"type": "tool", "name": "web_search"}},
        {"tools": [SEARCH]},
        {"messages": says({"type": "tool_result", "tool_use_id": "t", "content": SUMMARY})},
        {"messages": says({"type": "text", "text": f"what does '{SUMMARY}' mean?"})},
        {"messages": [*says({"type": "text", "text": SUMMARY}), {"role": "assistant", "content": "<summary>"}]},
    ],
)
def test_turns_that_look_much_alike_are_turns(fields: dict[str, Any]) -> None:
    assert side_of(**fields) is None
