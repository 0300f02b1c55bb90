"""Tool calls that wait for a decision, and the gate of an answer that is not streamed: the calls found, then replaced.

Replaced by exact edits: bytes of a call that was not denied are the upstream's own. Streams: `gate.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.contract import DENIED_TOOL
from gateway.core.gate.denial import Denial, denial_text, denied_input
from gateway.core.wire.spans import Edit, Span, elements, members, splice
from gateway.core.wire.strict import broke, check_spelling, decode_strictly, parse_input, string_member
from gateway.errors import GatewayError

HELD_BYTES_MAX = 4 * 1024 * 1024
"""Most that is kept of one held call; a larger one must be denied."""

DenialForm = Literal["tool_use", "text"]
TOO_LARGE = f"the call is larger than {HELD_BYTES_MAX} bytes"
END_TURN = b'"end_turn"'


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A complete tool call that waits for its decision. With a `problem` there is no input and it must be denied."""

    index: int
    id: str
    name: str
    input: dict[str, Any] | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class _CallSite:
    """A tool call of a whole message, and where it stands in the body."""

    call: HeldCall
    block: Span
    name: Span
    input: Span


def gate_message(body: bytes) -> list[HeldCall]:
    """The tool calls of a `stream: false` answer, in order.

    Raises:
        GatewayError: UPSTREAM_BROKE when the answer could be read in more than one way.
    """
    return [site.call for site in _call_sites(body)]


def rewrite_message(body: bytes, denials: Mapping[str, Denial], *, form: DenialForm = "tool_use") -> bytes:
    """A `stream: false` answer with the calls named in `denials` (by tool_use id) replaced; other bytes as they came.

    Raises:
        GatewayError: as `gate_message`.
        RuntimeError: a call with a problem is not among `denials`.
    """
    sites = _call_sites(body)
    edits: list[Edit] = []
    for site in sites:
        call = site.call
        denial = denials.get(call.id)
        if denial is None:
            require_releasable(call)
        elif form == "text":
            edits.append((*site.block, ascii_json({"type": "text", "text": denial_text(call.name, denial)})))
        else:
            edits.append((*site.name, ascii_json(DENIED_TOOL)))
            edits.append((*site.input, ascii_json(denied_input(call.name, call.input, denial))))
    if form == "text" and sites and len(edits) == len(sites):
        span = members(body).get("stop_reason")
        if span is not None and _literal(body, span) == "tool_use":
            edits.append((*span, END_TURN))
    return splice(body, edits) if edits else body


def rename_model(body: bytes, rename: tuple[str, str]) -> bytes:
    """A whole answer whose model, when it is the first of `rename`, is written as the second; else as it came."""
    try:
        span = members(body).get("model")
        if span is None or _literal(body, span) != rename[0]:
            return body
    except (GatewayError, ValueError):
        return body
    return splice(body, [(*span, ascii_json(rename[1]))])


def _call_sites(body: bytes) -> list[_CallSite]:
    if b"tool_use" not in body and b"\\u" not in body:
        return []  # no spelling of the type is left
    try:
        top = _plain_members(body, 0, len(body))
        span = top.get("content", (0, 0))
        content = body[slice(*span)]
        blocks = [] if content in (b"", b"null") else elements(content)
        sites = [
            site
            for index, (start, end) in enumerate(blocks)
            if (site := _call_site(body, (span[0] + start, span[0] + end), index)) is not None
        ]
    except (GatewayError, msgspec.MsgspecError, ValueError) as error:
        raise broke(f"sent an answer that cannot be read ({error})") from None
    if len({site.call.id for site in sites}) != len(sites):
        raise broke("sent two tool calls with one id")
    return sites


def _call_site(body: bytes, block: Span, index: int) -> _CallSite | None:
    spans = _plain_members(body, *block)
    values = {name: _literal(body, spans[name]) for name in ("type", "id", "name") if name in spans}
    if string_member(values, "type") != "tool_use":
        return None
    raw = body[slice(*spans["input"])] if "input" in spans else b""
    tool_input, problem = parse_input(raw.decode())
    if len(raw) > HELD_BYTES_MAX:
        tool_input, problem = None, TOO_LARGE
    call = HeldCall(
        index=index,
        id=string_member(values, "id"),
        name=string_member(values, "name"),
        input=tool_input,
        problem=problem,
    )
    if not raw:
        raise ValueError("a tool call has no input")
    return _CallSite(call, block, spans["name"], spans["input"])


def _plain_members(body: bytes, start: int, end: int) -> dict[str, Span]:
    """Members with spans into `body`; refuses keys that some decoders take for ours."""
    found = members(body[start:end])
    check_spelling(found)
    return {name: (start + span[0], start + span[1]) for name, span in found.items()}


def _literal(body: bytes, span: Span) -> object:
    return decode_strictly(body[slice(*span)].decode())


def require_releasable(call: HeldCall) -> None:
    if call.problem is not None:
        raise RuntimeError(f"a call with a problem must be denied: {call.problem}")


def ascii_json(value: object) -> bytes:
    return json.dumps(value).encode()
