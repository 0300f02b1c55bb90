"""One request per feature of the capability table, in the Anthropic form, and how to see the feature in what arrived.

Written by hand from what the API takes, without the table's own places: the two check each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.core.wire.shapes import NEW_VERSION, OLD_VERSION

Json = dict[str, Any]
Seen = Callable[[Json, Sequence[str], str], bool]

TOOL: Json = {"name": "Read", "input_schema": {"type": "object", "properties": {"url": {"type": "string"}}}}
CALL: Json = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"type": "file", "scope": "global"}}
RESULT: Json = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "three lines"}
CACHED: Json = {"type": "ephemeral"}
ASK: Json = {"role": "user", "content": "List the files."}
PIXEL = "iVBORw0KGgo="


@dataclass(frozen=True)
class Sample:
    """A request that uses one feature: what it adds to a plain one, and how the feature is seen in a request."""

    seen: Seen
    fields: Json = field(default_factory=dict[str, Any])
    betas: tuple[str, ...] = ()
    version: str = OLD_VERSION
    told: str = ""
    """Words that must reach the upstream also where the feature is written otherwise."""

    def request(self, model: str, *, stream: bool = False) -> Json:
        """The whole body in the Anthropic form."""
        plain: Json = {"model": model, "max_tokens": 64, "messages": [ASK], "tools": [TOOL]}
        return {**plain, **self.fields, **({"stream": True} if stream else {})}

    def found(self, body: Mapping[str, Any], betas: Sequence[str], version: str) -> bool:
        """Does a request as an upstream received it, read back into the Anthropic form, still use the feature?"""
        return self.seen(dict(body), betas, version)


def blocks(body: Json) -> Iterator[Json]:
    """Every content block of the system prompt and the messages, also those inside others."""
    entries = cast(list[Json], body.get("messages", []))
    for content in (body.get("system"), *(entry.get("content") for entry in entries)):
        yield from _blocks(content)


def _blocks(content: Any) -> Iterator[Json]:
    for block in cast(list[Json], content) if isinstance(content, list) else []:
        yield block
        yield from _blocks(block.get("content"))
        yield from _blocks(cast(Json, block.get("source", {})).get("content"))


def entries_of(body: Json, role: str) -> list[Json]:
    """The messages of one role."""
    return [entry for entry in body["messages"] if entry["role"] == role]


def _field(*path: str, value: object = ...) -> Seen:
    """The member at `path`, with this value if one is given."""

    def seen(body: Json, _betas: Sequence[str], _version: str) -> bool:
        found: Any = body
        for name in path:
            if not isinstance(found, dict) or name not in found:
                return False
            found = cast(Json, found)[name]
        return value is ... or found == value

    return seen


def _tool(name: str) -> Seen:
    return lambda body, _betas, _version: any(name in tool for tool in body.get("tools", []))


def _tool_type(start: str) -> Seen:
    return lambda body, _betas, _version: any(tool.get("type", "").startswith(start) for tool in body.get("tools", []))


def _block(kind: str) -> Seen:
    return lambda body, _betas, _version: any(block["type"] == kind for block in blocks(body))


def _source(kind: str) -> Seen:
    return lambda body, _betas, _version: any(block.get("source", {}).get("type") == kind for block in blocks(body))


def _cache(name: str) -> Seen:
    def seen(body: Json, _betas: Sequence[str], _version: str) -> bool:
        holders = [*blocks(body), *body.get("tools", [])]
        return any(name in holder.get("cache_control", {}) for holder in holders)

    return seen


def _beta(*names: str) -> Seen:
    return lambda _body, betas, _version: any(beta.startswith(names) for beta in betas)


def _entry(name: str) -> Seen:
    return lambda body, _betas, _version: any(name in entry for entry in body["messages"])


def _role(body: Json, _betas: Sequence[str], _version: str) -> bool:
    return bool(entries_of(body, "system"))


def _newest(_body: Json, _betas: Sequence[str], version: str) -> bool:
    return version == NEW_VERSION


def _with_tool(**members: Any) -> Json:
    return {"tools": [TOOL, {**TOOL, "name": "Write", **members}]}


def _server_tool(kind: str, **members: Any) -> Json:
    return {"tools": [TOOL, {"type": kind, **members}]}


def _told(*content: Json) -> Json:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look at this."}, *content]}]}


def _answered(*content: Json) -> Json:
    answer: Json = {"role": "assistant", "content": [*content, {"type": "text", "text": "Done."}]}
    return {"messages": [ASK, answer, {"role": "user", "content": "Go on."}]}


def _instructed(entry: Json, **fields: Any) -> Json:
    turn: Json = {"role": "assistant", "content": [CALL]}
    results: Json = {"role": "user", "content": [RESULT]}
    return {"messages": [ASK, turn, results, {"role": "system", "content": "Be brief.", **entry}], **fields}


def _scoped(kind: str, **members: Any) -> Json:
    return {"type": kind, "cache_control": {**CACHED, **members}}


def _everywhere_cached(**members: Any) -> Json:
    """A cache_control with these members in every place that may have one."""
    inner = {**_scoped("text", **members), "text": "three lines"}
    return {
        "system": [{**_scoped("text", **members), "text": "Help."}],
        "tools": [TOOL, {**_scoped("custom", **members), **TOOL, "name": "Write"}],
        "messages": [
            {"role": "user", "content": [{**_scoped("text", **members), "text": "Hello."}]},
            {"role": "assistant", "content": [CALL]},
            {"role": "user", "content": [{**RESULT, "content": [inner]}, {**_scoped("text"), "text": "So?"}]},
        ],
    }


_EDIT: Json = {"type": "clear_tool_uses_20250919"}
_COMPACT: Json = {"type": "compact_20260112"}
_TOOL_REFERENCE: Json = {"type": "tool_reference", "name": "Write"}
_CHANGES = [
    {"type": "tool_addition", "tool": _TOOL_REFERENCE},
    {"type": "tool_removal", "tool": {**_TOOL_REFERENCE, "name": "Read"}},
]
_IMAGE: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}

SAMPLES: dict[str, Sample] = {
    "version_2026_10_21": Sample(_newest, version=NEW_VERSION),
    "system_entries": Sample(_role, _instructed({}), told="Be brief."),
    "system_entry_effort": Sample(
        _entry("output_config"),
        _instructed({"output_config": {"effort": "low"}}),
        ("mid-conversation-output-config-2026-07-01",),
        told="Be brief.",
    ),
    "system_entry_clearing": Sample(
        _entry("clear_at"),
        _instructed({"clear_at": "next_user_message"}),
        ("mid-conversation-system-clear-at-2026-08-21",),
        told="Be brief.",
    ),
    "tool_changes": Sample(
        lambda body, _betas, _version: any(
            block["type"].startswith("tool_") and "tool" in block for block in blocks(body)
        ),
        _instructed({"content": _CHANGES}, **_with_tool(defer_loading=True)),
        ("mid-conversation-tool-changes-2026-07-01", "advanced-tool-use-2025-11-20"),
        told="The tool Write can be used",
    ),
    "inline_tools": Sample(_beta("inline-tools"), betas=("inline-tools-2026-09-15",)),
    "cache_ttl": Sample(_cache("ttl"), _everywhere_cached(ttl="1h"), ("extended-cache-ttl-2025-04-11",)),
    "cache_scope": Sample(_cache("scope"), _everywhere_cached(scope="global"), ("prompt-caching-scope-2026-01-05",)),
    "automatic_caching": Sample(_field("cache_control"), {"cache_control": CACHED}),
    "effort": Sample(_field("output_config", "effort"), {"output_config": {"effort": "low"}}, ("effort-2025-11-24",)),
    "task_budget": Sample(
        _field("output_config", "task_budget"),
        {"output_config": {"task_budget": {"type": "tokens", "total": 50_000}}},
        ("task-budgets-2026-03-13",),
    ),
    "adaptive_thinking": Sample(_field("thinking", "type", value="adaptive"), {"thinking": {"type": "adaptive"}}),
    "thinking_display": Sample(
        _field("thinking", "display"), {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}}
    ),
    "thinking_updates": Sample(
        _field("thinking", "display", value="updates"),
        {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "updates"}},
        ("thinking-display-updates-2026-08-18",),
    ),
    "redacted_thinking": Sample(_beta("redact-thinking"), betas=("redact-thinking-2026-02-12",)),
    "thinking_binding": Sample(
        _field("thinking", "block_binding"),
        {"thinking": {"type": "enabled", "budget_tokens": 2048, "block_binding": {}}},
        ("thinking-binding-controls-2026-08-01",),
    ),
    "interleaved_thinking": Sample(_beta("interleaved-thinking"), betas=("interleaved-thinking-2025-05-14",)),
    "thinking_tokens": Sample(_beta("thinking-token-count"), betas=("thinking-token-count-2026-05-13",)),
    "structured_outputs": Sample(
        lambda body, betas, version: _tool("strict")(body, betas, version) or "format" in body.get("output_config", {}),
        {**_with_tool(strict=True), "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ("structured-outputs-2025-12-15",),
    ),
    "output_format": Sample(
        _field("output_format"), {"output_format": {"type": "json_schema", "schema": {"type": "object"}}}
    ),
    "context_management": Sample(
        _field("context_management"), {"context_management": {"edits": [_EDIT]}}, ("context-management-2025-06-27",)
    ),
    "compaction": Sample(
        lambda body, _betas, _version: "compact_20260112" in str(body.get("context_management")),
        {"context_management": {"edits": [_COMPACT, _EDIT]}},
        ("compact-2026-01-12", "context-management-2025-06-27"),
    ),
    "compaction_blocks": Sample(
        _block("compaction"), _answered({"type": "compaction", "content": "We listed files."}), ("compact-2026-01-12",)
    ),
    "compaction_requests": Sample(_field("compaction"), {"compaction": {"type": "summarize"}}, ("compact-2026-09-04",)),
    "threads": Sample(_field("thread"), {"thread": {"type": "create"}}, ("message-threads-2026-08-12",)),
    "tool_search": Sample(
        lambda body, betas, version: (
            _tool("defer_loading")(body, betas, version)
            or _tool_type("tool_search")(body, betas, version)
            or _block("tool_reference")(body, betas, version)
            or _beta("tool-search-tool", "advanced-tool-use")(body, betas, version)
        ),
        {
            "tools": [
                TOOL,
                {**TOOL, "name": "Write", "defer_loading": True},
                {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
            ],
            "messages": [
                ASK,
                {"role": "assistant", "content": [CALL]},
                {
                    "role": "user",
                    "content": [{**RESULT, "content": [{"type": "tool_reference", "tool_name": "Write"}]}],
                },
            ],
        },
        ("advanced-tool-use-2025-11-20",),
    ),
    "tool_examples": Sample(_tool("input_examples"), _with_tool(input_examples=[{"url": "x"}])),
    "programmatic_calls": Sample(_tool("allowed_callers"), _with_tool(allowed_callers=["direct"])),
    "eager_streaming": Sample(
        _tool("eager_input_streaming"),
        _with_tool(eager_input_streaming=True),
        ("fine-grained-tool-streaming-2025-05-14",),
    ),
    "computer_use": Sample(
        _tool_type("computer_20251124"),
        _server_tool("computer_20251124", name="computer", display_width_px=1024, display_height_px=768),
        ("computer-use-2025-11-24",),
    ),
    "toolsets": Sample(_tool_type("browser_toolset_20260801"), _server_tool("browser_toolset_20260801")),
    "web_search": Sample(
        _tool_type("web_search_"), _server_tool("web_search_20250305", name="web_search"), ("web-search-2025-03-05",)
    ),
    "web_fetch": Sample(
        _tool_type("web_fetch_"), _server_tool("web_fetch_20250910", name="web_fetch"), ("web-fetch-2025-09-10",)
    ),
    "code_execution": Sample(
        _tool_type("code_execution_"),
        _server_tool("code_execution_20250825", name="code_execution"),
        ("code-execution-2025-08-25",),
    ),
    "advisor": Sample(
        _tool_type("advisor_"),
        _server_tool("advisor_20260301", name="advisor", model="claude-opus-5-5"),
        ("advisor-tool-2026-03-01",),
    ),
    "mcp_connector": Sample(
        _field("mcp_servers"),
        {
            "mcp_servers": [{"type": "url", "name": "tickets", "url": "https://mcp.example/sse"}],
            **_server_tool("mcp_toolset", mcp_server_name="tickets"),
        },
        ("mcp-client-2025-11-20",),
    ),
    "skills": Sample(
        _field("container"),
        {"container": {"skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}},
        ("skills-2025-10-02",),
    ),
    "files": Sample(
        _source("file"),
        _told({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
        ("files-api-2025-04-14",),
    ),
    "url_sources": Sample(
        _source("url"), _told(_IMAGE, {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})
    ),
    "fallbacks": Sample(
        _field("fallbacks"), {"fallbacks": [{"model": "claude-opus-5-5"}]}, ("server-side-fallback-2026-07-01",)
    ),
    "fallback_credit": Sample(
        _field("fallback_credit_token"), {"fallback_credit_token": "fct_1"}, ("fallback-credit-2026-07-01",)
    ),
    "fast_mode": Sample(_field("speed"), {"speed": "fast"}, ("fast-mode-2026-02-01",)),
    "inference_geo": Sample(_field("inference_geo"), {"inference_geo": "us"}),
    "service_tier": Sample(_field("service_tier"), {"service_tier": "standard_only"}),
    "user_id": Sample(_field("metadata", "user_id"), {"metadata": {"user_id": '{"session_id":"s"}'}}),
    "user_profiles": Sample(_field("user_profile_id"), {"user_profile_id": "uprof_1"}, ("user-profiles-2026-09-04",)),
    "billing_policy": Sample(
        _field("billing_policy"),
        {"billing_policy": {"type": "billing_policy", "bill_to": "user_profile"}},
        ("user-profiles-billing-2026-10-01",),
    ),
    "cache_diagnosis": Sample(
        _field("diagnostics"), {"diagnostics": {"previous_message_id": None}}, ("cache-diagnosis-2026-04-07",)
    ),
    "safeguards": Sample(
        _field("safeguards"),
        {"safeguards": [{"type": "dangerous_tool_use", "classifier_context": {"v": 1}}]},
        ("dangerous-tool-use-2026-09-03", "afk-mode-2026-01-31"),
    ),
    "long_context": Sample(_beta("context-1m"), betas=("context-1m-2025-08-07",)),
    "long_output": Sample(_beta("output-128k"), betas=("output-128k-2025-02-19",)),
    "compact_tool_calls": Sample(_beta("token-efficient-tools"), betas=("token-efficient-tools-2025-02-19",)),
    "claude_code": Sample(_beta("claude-code"), betas=("claude-code-20250219",)),
}
