"""The rules of a Messages request that a cloud holds its callers to, as tables of facts. Not how it travels."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
EXTRA = "Extra inputs are not permitted"

FIELDS = frozenset(
    "model messages max_tokens metadata stop_sequences stream system temperature thinking tool_choice tools top_k "
    "top_p output_config cache_control".split()
)
"""Taken everywhere."""
FIRST_PARTY_FIELDS = frozenset("service_tier inference_geo speed user_profile_id diagnostics output_format".split())
BETA_FIELDS: Mapping[str, tuple[str, ...]] = {
    "context_management": ("context-management-", "compact-2026-01-12"),
    "compaction": ("compact-2026-09-04",),
    "thread": ("message-threads-",),
    "mcp_servers": ("mcp-client-",),
    "container": ("skills-", "code-execution-"),
    "fallbacks": ("server-side-fallback-",),
    "fallback_credit_token": ("fallback-credit-",),
    "billing_policy": ("user-profiles-billing-",),
    "safeguards": ("dangerous-tool-use-", "afk-mode-"),
}
"""Fields that are an error without one of these betas."""
COUNT_FIELDS = frozenset(
    "model messages system thinking tool_choice tools output_config cache_control speed context_management mcp_servers "
    "compaction user_profile_id".split()
)
_BETA_NAME = re.compile(r"[a-z0-9-]+-20\d\d-?\d\d-?\d\d")
_TOOL_SEARCH = ("tool-search-tool-", "advanced-tool-use-")
_MODEL = re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d+)(?:-(\d{1,2}))?(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one cloud takes."""

    fields: frozenset[str]
    betas: tuple[str, ...] | None
    """Beginnings of the betas it knows; None: every one that is written as one."""
    tools_refused: tuple[str, ...] = ()
    """Beginnings of tool types that run on the server and are not here."""
    sources_refused: tuple[str, ...] = ()
    cache_scopes: bool = True
    by_version_suffix: bool = False
    """Models up to 4.6 take less, as Bedrock's do."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A request of the Anthropic form that is to be judged."""

    body: Mapping[str, Any]
    betas: tuple[str, ...]
    version: str
    model: str
    counts: bool = False

    def has_beta(self, *beginnings: str) -> bool:
        return any(beta.startswith(beginnings) for beta in self.betas)


def generation(model: str) -> tuple[str, tuple[int, int]] | None:
    """Family and version of a model, None when its name does not tell."""
    found = _MODEL.search(model)
    return (found[1], (int(found[2]), int(found[3] or 0))) if found else None


def is_since(model: str, version: tuple[int, int]) -> bool:
    """A name that tells nothing counts as new."""
    told = generation(model)
    return told is None or told[1] >= version


def takes_system_entries(model: str) -> bool:
    told = generation(model)
    if told is None:
        return True
    family, version = told
    return version >= {"opus": (4, 8), "sonnet": (5, 5), "haiku": (5, 5), "fable": (5, 0), "mythos": (5, 0)}[family]


def problems(request: Judged, rules: Rules) -> list[str]:
    """Every rule that the request breaks, in the wording of the API where that is known."""
    return [
        *_field_problems(request, rules),
        *_beta_problems(request, rules),
        *_version_problems(request, rules),
        *_model_problems(request, rules),
        *_tool_problems(request, rules),
        *_block_problems(request, rules),
        *_role_problems(request),
        *_pair_problems(request.body.get("messages", [])),
    ]


def _field_problems(request: Judged, rules: Rules) -> Iterator[str]:
    for name in request.body:
        needed = BETA_FIELDS.get(name)
        if name not in rules.fields or (request.counts and name not in COUNT_FIELDS):
            yield f"{name}: {EXTRA}"
        elif needed is not None and not request.has_beta(*needed):
            yield f"{name}: {EXTRA}"
    required = ("messages", "model") if request.counts else ("messages", "model", "max_tokens")
    yield from (f"{name}: Field required" for name in required if name not in request.body)


def _beta_problems(request: Judged, rules: Rules) -> Iterator[str]:
    for beta in request.betas:
        known = _BETA_NAME.fullmatch(beta) if rules.betas is None else beta.startswith(rules.betas)
        if not known:
            yield f"Unexpected value(s) `{beta}` for the `anthropic-beta` header"
    if len(set(request.betas)) != len(request.betas):
        yield f"a beta is named twice: {', '.join(request.betas)}"


def _version_problems(request: Judged, rules: Rules) -> Iterator[str]:
    if request.version not in (OLD_VERSION, NEW_VERSION):
        yield f"anthropic_version: {request.version} is not a version"
    if request.version == NEW_VERSION:
        if rules.by_version_suffix and not is_since(request.model, (4, 7)):
            yield "anthropic_version: 2026-10-21 is not valid for this model"
        yield from (
            f"{name}: not taken in this version" for name in ("temperature", "top_p", "top_k") if name in request.body
        )


def _model_problems(request: Judged, rules: Rules) -> Iterator[str]:
    if not rules.by_version_suffix:
        return
    told = generation(request.model)
    effort = (request.body.get("output_config") or {}).get("effort")
    if effort and told is not None and told[0] in ("sonnet", "haiku") and told[1] < (4, 6):
        yield "output_config.effort: this model does not support effort"
    if (request.body.get("thinking") or {}).get("type") == "adaptive" and not is_since(request.model, (4, 6)):
        yield "thinking.type: adaptive thinking is not supported on this model"
    if "cache_control" in request.body and not is_since(request.model, (4, 7)):
        yield f"cache_control: {EXTRA}"


def _tool_problems(request: Judged, rules: Rules) -> Iterator[str]:
    for index, tool in enumerate(request.body.get("tools", [])):
        kind = tool.get("type", "custom")
        if rules.tools_refused and kind.startswith(rules.tools_refused):
            yield f"tools.{index}.type: '{kind}' is not supported here"
        searched = "defer_loading" in tool or kind.startswith("tool_search_tool_")
        if searched and not request.has_beta(*_TOOL_SEARCH):
            yield f"tools.{index}.defer_loading: {EXTRA}"
        yield from _cache_problems(tool, f"tools.{index}", request, rules)


def _block_problems(request: Judged, rules: Rules) -> Iterator[str]:
    for place, block in _blocks(request.body):
        source = block.get("source") or {}
        if source.get("type") in rules.sources_refused:
            yield f"{place}.source.type: '{source['type']}' sources are not supported here"
        changes = block.get("type") in ("tool_addition", "tool_removal")
        if changes and not request.has_beta("mid-conversation-tool-changes-"):
            yield f"{place}.type: Input tag '{block['type']}' is not known"
        yield from _cache_problems(block, place, request, rules)


def _cache_problems(holder: Mapping[str, Any], place: str, request: Judged, rules: Rules) -> Iterator[str]:
    control = holder.get("cache_control") or {}
    for name in control:
        scoped = name == "scope" and rules.cache_scopes and request.has_beta("prompt-caching-scope-")
        if name not in ("type", "ttl") and not scoped:
            yield f"{place}.cache_control.{name}: {EXTRA}"


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every content block with its place, those inside tool results too."""
    system = body.get("system")
    yield from _listed("system", system)
    for index, entry in enumerate(body.get("messages", [])):
        yield from _listed(f"messages.{index}.content", entry.get("content"))


def _listed(place: str, content: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(content, list):
        return
    for index, block in enumerate(content):
        yield f"{place}.{index}", block
        if block.get("type") == "tool_result":
            yield from _listed(f"{place}.{index}.content", block.get("content"))


def _role_problems(request: Judged) -> Iterator[str]:
    entries = request.body.get("messages", [])
    roles = [entry.get("role") for entry in entries]
    for index, role in enumerate(roles):
        if role not in ("user", "assistant", "system"):
            yield f"messages.{index}.role: {role!r} is not a role"
        if role != "system":
            continue
        if not takes_system_entries(request.model):
            yield f"messages.{index}: role 'system' is not supported on this model"
        before = next((each for each in reversed(roles[:index]) if each != "system"), None)
        after = next((each for each in roles[index + 1 :] if each != "system"), None)
        if before != "user" or after not in (None, "assistant"):
            yield f"messages.{index}: a system entry stands after a user turn, and before an assistant's or at the end"
    if roles and roles[0] != "user":
        yield "messages.0: the first message must be a user's"


def _pair_problems(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    """Every call has its result in the user's next turn, and no result is without its call."""
    open_calls: set[str] = set()
    for index, entry in enumerate(entries):
        content = entry.get("content")
        blocks = content if isinstance(content, list) else []
        if not content and index < len(entries) - 1:
            yield f"messages.{index}: must have non-empty content"
        results = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
        yield from (
            f"messages.{index}: tool_result {each} has no tool_use before it"
            for each in results
            if each not in open_calls
        )
        open_calls -= set(results)
        if entry.get("role") == "assistant":
            yield from (f"messages.{index}: tool_use {each} has no tool_result after it" for each in sorted(open_calls))
            open_calls = {block["id"] for block in blocks if block.get("type") == "tool_use"}
        elif open_calls and entry.get("role") == "user" and not results:
            yield f"messages.{index}: tool_use ids {sorted(open_calls)} were found without tool_result blocks after"
        elif entry.get("role") == "system" and open_calls:
            yield f"messages.{index}: a system entry stands between tool_use and tool_result"
    yield from (f"messages: tool_use {each} has no tool_result after it" for each in sorted(open_calls))
