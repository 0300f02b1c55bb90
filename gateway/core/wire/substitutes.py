"""Models beside the asked one that a request lets the upstream run: `fallbacks`, and tools that ask a model themselves.

Each is decided and held for like the asked one. Not which of them ran: a response tells that in `usage.iterations`.
"""

import msgspec

from gateway.core.wire.body import Ask
from gateway.core.wire.parts import elements_at
from gateway.core.wire.spans import Malformed, members, typed

SUBSTITUTES_MAX = 8
"""Of one request: each is a question to the policy engine and a full context window held."""
ANY_MODEL = "default"
"""What `fallbacks` says for models of the upstream's choice."""


class Substitute(msgspec.Struct, frozen=True):
    """One such model, or `ANY_MODEL`."""

    model: str
    max_tokens: int | None
    """None: the longest answer of the model."""
    speed: str | None


class _Fallback(msgspec.Struct):
    model: str
    max_tokens: int | None = None
    speed: str | None = None


class _Tool(msgspec.Struct):
    type: str | None = None
    model: str | None = None
    max_tokens: int | None = None


def substitutes(ask: Ask, body: bytes, *, max_tokens: int | None) -> tuple[Substitute, ...]:
    """All that the body names; `max_tokens` is the request's own, which a fallback has unless it says otherwise.

    Raises:
        Malformed: they cannot be read, or are too many.
    """
    found = (*_fallbacks(ask, body, max_tokens), *_asked_by_tools(ask, body))
    if len(found) > SUBSTITUTES_MAX:
        raise Malformed("fallbacks", f"names {len(found)} models; at most {SUBSTITUTES_MAX} are taken")
    return found


def _fallbacks(ask: Ask, body: bytes, max_tokens: int | None) -> list[Substitute]:
    span = ask.spans.get("fallbacks")
    if span is None or body[slice(*span)] == b"null":
        return []
    if body[span[0] : span[0] + 1] == b'"':
        return [Substitute(typed(body[slice(*span)], str, "fallbacks"), max_tokens, ask.speed)]
    if body[span[0] : span[0] + 1] != b"[":
        raise Malformed("fallbacks", "must be an array of models, or a string")
    found: list[Substitute] = []
    for index, (start, end) in enumerate(elements_at(body, span, "fallbacks")):
        place = f"fallbacks[{index}]"
        members(body[start:end], place)
        entry: _Fallback = typed(body[start:end], _Fallback, place)
        tokens = max_tokens if entry.max_tokens is None else entry.max_tokens
        found.append(Substitute(entry.model, tokens, entry.speed or ask.speed))
    return found


def _asked_by_tools(ask: Ask, body: bytes) -> list[Substitute]:
    """Only tools that the upstream runs: nobody asks a model on behalf of the client's own."""
    if not ask.server_tools:
        return []
    spans = elements_at(body, ask.spans["tools"], "tools")
    tools: list[_Tool] = [typed(body[slice(*span)], _Tool, f"tools[{index}]") for index, span in enumerate(spans)]
    return [
        Substitute(tool.model, tool.max_tokens, None)
        for tool in tools
        if tool.model is not None and tool.type in ask.server_tools
    ]
