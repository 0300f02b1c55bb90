"""Denied tool calls: how one is written in place, and how it is restored when the client sends the history back.

Written: a call of a tool that does not exist, with the original call inside its input. The client answers it with an
error result and the agent goes on. Restored: the original call again, and a result that says why, so that the model
sees a valid history and the upstream's prompt cache sees the same bytes in every request.

A pure function of the bytes received; no state. It adds no privilege: a client that forges a denied call could as well
have written the call that it is restored to. Anything not exactly of our shape is left as it is. Deciding is not here.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.contract import DENIED_TOOL
from gateway.core.wire.parts import elements_at
from gateway.core.wire.spans import Edit, Span, elements, members, splice
from gateway.errors import GatewayError

_MARK = DENIED_TOOL.encode()


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a call is refused (one sentence that says what is allowed instead) and the id of the decision."""

    reason: str
    decision: str


class DeniedCall(msgspec.Struct, frozen=True):
    """What the input of a written denial carries."""

    tool: str
    input: dict[str, msgspec.Raw]
    reason: str
    decision: str


_denied_call = msgspec.json.Decoder(DeniedCall)
_text = msgspec.json.Decoder(str)


def denied_input(tool: str, tool_input: dict[str, Any] | None, denial: Denial) -> dict[str, Any]:
    """Input of the call that stands in for a denied one. An input that could not be read is written as empty."""
    return {"tool": tool, "input": tool_input or {}, "reason": denial.reason, "decision": denial.decision}


def denial_text(tool: str, denial: Denial) -> str:
    """Text that stands in for a denied call, for clients that stop at an unknown tool."""
    reason = _sentence(denial.reason)
    return f"[Ringfence denied a call of {tool}: {reason} Decision {denial.decision} is final for this call.]"


def result_text(tool: str, denial: Denial) -> str:
    """What the model reads as the result of a denied call."""
    return (
        f"Ringfence denied this call of {tool}: {_sentence(denial.reason)} The decision ({denial.decision}) is final "
        "for this call; the same call will be denied again. Do what the reason allows instead, or go on without it."
    )


def needs_restoring(body: bytes) -> bool:
    """Cheap look at a whole request body: may it carry a denied call?

    Finds the name as every JSON writer in use spells it; one that escapes plain ASCII letters is not found, and its
    history then goes upstream as the client sees it, which allows nothing that was denied.
    """
    return _MARK in body


def denied_calls(messages: Sequence[bytes]) -> dict[str, DeniedCall]:
    """Denied calls in a history, by tool_use id. `messages` are the raw JSON objects of the `messages` array."""
    return {site.id: site.call for message in messages if _MARK in message for site in _call_sites(message)}


def restore(messages: Sequence[bytes]) -> list[bytes | None]:
    """Each message with its denied calls and their results restored, or None where nothing changes.

    Only the values of `name` and `input` of a call, and of `content` and `is_error` of a result, are replaced. A
    `cache_control` inside the result's own content goes with that content; one on the result or elsewhere stays.
    """
    calls = denied_calls(messages)
    if not calls:
        return [None] * len(messages)
    ids = [call_id.encode() for call_id in calls]
    return [_restore_message(message, calls, ids) for message in messages]


def _restore_message(message: bytes, calls: dict[str, DeniedCall], ids: list[bytes]) -> bytes | None:
    edits: list[Edit] = []
    if _MARK in message:
        edits = [edit for site in _call_sites(message) for edit in site.edits(message)]
    if not edits and any(call_id in message for call_id in ids):
        edits = list(_result_edits(message, calls))
    return splice(message, edits) if edits else None


@dataclass(frozen=True, slots=True)
class _CallSite:
    id: str
    call: DeniedCall
    name: Span
    input: Span

    def edits(self, message: bytes) -> tuple[Edit, Edit]:
        denied = message[slice(*self.input)]
        inner = members(denied)
        return (
            (*self.name, denied[slice(*inner["tool"])]),
            (*self.input, denied[slice(*inner["input"])]),
        )


def _call_sites(message: bytes) -> Iterator[_CallSite]:
    for block in _blocks(message, "assistant"):
        if _string(message, block, "type") != "tool_use" or _string(message, block, "name") != DENIED_TOOL:
            continue
        call_id = _string(message, block, "id")
        call = _denied_in(message, block)
        if call_id and call is not None and call.tool != DENIED_TOOL:
            yield _CallSite(call_id, call, block["name"], block["input"])


def _denied_in(message: bytes, block: dict[str, Span]) -> DeniedCall | None:
    if "input" not in block:
        return None
    raw = message[slice(*block["input"])]
    try:
        return _denied_call.decode(raw) if members(raw).keys() == set(DeniedCall.__struct_fields__) else None
    except (GatewayError, msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _result_edits(message: bytes, calls: dict[str, DeniedCall]) -> Iterator[Edit]:
    for block in _blocks(message, "user"):
        call = calls.get(_string(message, block, "tool_use_id"))
        if call is None or _string(message, block, "type") != "tool_result":
            continue
        after_id = block["tool_use_id"][1]
        text = json.dumps(result_text(call.tool, Denial(call.reason, call.decision)), ensure_ascii=False).encode()
        added = b""
        for name, value in ((b"content", text), (b"is_error", b"true")):
            span = block.get(name.decode())
            if span is None:
                added += b',"%b":%b' % (name, value)
            else:
                yield (*span, value)
        if added:
            yield (after_id, after_id, added)


def _blocks(message: bytes, role: str) -> Iterator[dict[str, Span]]:
    """Members of each content block of a message of that role, with spans into the message."""
    try:
        top = members(message)
        if _string(message, top, "role") != role or "content" not in top:
            return
        start, end = top["content"]
        content = message[start:end]
        spans = elements(content) if content.startswith(b"[") else []
    except (GatewayError, msgspec.MsgspecError, ValueError):
        return
    for block_start, block_end in spans:
        try:
            found = members(content[block_start:block_end])
        except (GatewayError, msgspec.MsgspecError, ValueError):
            continue
        shift = start + block_start
        yield {name: (shift + value[0], shift + value[1]) for name, value in found.items()}


def _string(message: bytes, block: dict[str, Span], name: str) -> str:
    """A string member; empty when it is missing or something else."""
    span = block.get(name)
    if span is None:
        return ""
    try:
        return _text.decode(message[slice(*span)])
    except (msgspec.MsgspecError, ValueError):
        return ""


def _sentence(reason: str) -> str:
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."


def restoring_edits(body: bytes, span: Span) -> list[Edit]:
    """Edits that put denied calls of the messages at `span` back to what the model had asked for."""
    if not needs_restoring(body):
        return []
    spans = elements_at(body, span, "messages")
    restored = restore([body[slice(*each)] for each in spans])
    return [(*each, message) for each, message in zip(spans, restored, strict=True) if message is not None]
