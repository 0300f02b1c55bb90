"""A request from one shape to another: model, stream, version and betas move, all else stays byte for byte.

Nine pairs, one table (`_FORMS`): what says the same already in the target's place is left as the client wrote it. Not
what a backend lacks (`bridging/`), not the URL and the credential (`upstreams/`), not the answers' streams.

Bedrock's CountTokens wraps an InvokeModel body: `Outgoing.body` is always the inner one, `Wire.body` what is sent.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from gateway.core.wire.headers import first
from gateway.core.wire.parts import cut_members
from gateway.core.wire.shapes import OLD_VERSION, Operation, Shape
from gateway.core.wire.spans import Edit, Malformed, Span, members, splice, typed
from gateway.errors import GatewayError, Reason

DISTINCT_BETA_LISTS_MAX = 64
"""Values of the betas header remembered: a client sends the same one in every request."""

_plain = re.compile(r"[ -~]*")

Carrier = Literal["body", "header"]
Pairs = list[tuple[str, str]]

_VERSION_MEMBER = "anthropic_version"
_VERSION_HEADER = "anthropic-version"
_BETAS_MEMBER = "anthropic_beta"
_BETAS_HEADER = "anthropic-beta"
_JSON = "application/json"
_EVENT_STREAM = "application/vnd.amazon.eventstream"
_NOT_COUNTED = ("max_tokens", "metadata", "service_tier", "stop_sequences", "temperature", "top_k", "top_p")
"""Members of an InvokeModel body that the other shapes' token counting does not take."""
_CREDENTIAL_HEADERS = frozenset(
    {"authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "x-goog-user-project"}
)
"""The client's signature covers its host and body, and its project is not ours: they end here."""


_CLOUD_HEADERS = ("x-amz", "amz-sdk-", "x-goog-", "authorization")
_ANYWHERE = ("accept-encoding", "user-agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Where a shape carries what moves, and which of a foreign client's headers it takes."""

    model: frozenset[Operation]
    """Operations whose body names the model; in the others the path does."""
    stream: bool
    """The body says it; else the path does."""
    version: Carrier
    old_version: str
    betas: Carrier
    count: str
    """Member of a token count's answer."""
    headers: tuple[str, ...]
    """Beginnings of header names that travel; none: all but the clouds' own."""


_FORMS: Mapping[Shape, _Form] = {
    "anthropic": _Form(
        model=frozenset({"messages", "count_tokens"}),
        stream=True,
        version="header",
        old_version=OLD_VERSION,
        betas="header",
        count="input_tokens",
        headers=(),
    ),
    "bedrock": _Form(
        model=frozenset(),
        stream=False,
        version="body",
        old_version="bedrock-2023-05-31",
        betas="body",
        count="inputTokens",
        headers=(*_ANYWHERE, "x-amzn-bedrock-"),
    ),
    "vertex": _Form(
        model=frozenset({"count_tokens"}),
        stream=True,
        version="body",
        old_version="vertex-2023-10-16",
        betas="header",
        count="input_tokens",
        headers=_ANYWHERE,
    ),
}
_OLD_SPELLINGS = frozenset(form.old_version for form in _FORMS.values())


class Wire(msgspec.Struct, frozen=True):
    """What goes to the upstream, besides its URL and credential."""

    headers: Pairs
    body: bytes


class Outgoing(msgspec.Struct, frozen=True):
    """A bridged request, its body still in the client's dialect."""

    operation: Operation
    body: bytes
    spans: Mapping[str, Span]
    """Top-level members of `body`, all of them."""
    model: str
    """The id that the upstream knows."""
    stream: bool
    version: str
    """As the Claude API writes it."""
    betas: tuple[str, ...]
    headers: Sequence[tuple[str, str]]
    """The client's, already through `core.wire.headers.upstream_headers`."""
    as_read: bool = False
    """Model, stream, version and betas are those that were read from body and headers: none need be looked at again."""


def read_betas(dialect: Shape, headers: Mapping[str, str], body: bytes, spans: Mapping[str, Span]) -> tuple[str, ...]:
    """Betas that a request asks for, each once: the header's, then those of a body list where the dialect has one.

    A Vertex body is looked at too, so that no list passes unseen. Raises Malformed for a list of anything but names.
    """
    return _betas(dialect, headers.items(), body, spans)


def read_version(dialect: Shape, headers: Mapping[str, str], body: bytes, spans: Mapping[str, Span]) -> str:
    """The API version asked for, as the Claude API writes it; the old one when none is named. Raises Malformed."""
    return _version(dialect, headers.get(_VERSION_HEADER), body, spans)


def translate(outgoing: Outgoing, source: Shape, target: Shape) -> Wire:
    """The request of a `source` client as a `target` upstream takes it; the very same body when nothing differs."""
    kept = _kept_headers(outgoing, source, target)
    if source == target and outgoing.as_read:
        return Wire(kept, _enclosed(outgoing.body, outgoing.operation, target))
    form = _FORMS[target]
    settled = _settled(outgoing, source) if source == target else frozenset[str]()
    wanted = dict(_moves(outgoing, form, settled))
    if outgoing.operation == "count_tokens":
        wanted |= _count_moves(outgoing.spans, source, target)
    body = _edited(outgoing.body, outgoing.spans, wanted)
    kept = _with_moved(kept, outgoing, form, settled)
    return Wire(kept, _enclosed(body, outgoing.operation, target))


def unwrap_count(body: bytes) -> bytes:
    """The InvokeModel body inside a Bedrock CountTokens request. Raises Malformed with the place."""
    inner = _member(body, "input", "")
    if "converse" in members(inner, "input"):
        raise Malformed(
            "input.converse", "Converse requests are not served; send the InvokeModel body in input.invokeModel.body"
        )
    invocation = _member(inner, "invokeModel", "input")
    encoded = typed(_member(invocation, "body", "input.invokeModel"), str, "input.invokeModel.body")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("input.invokeModel.body", "is not base64; send the InvokeModel body base64-encoded") from None


def translate_count(body: bytes, source: Shape, target: Shape) -> bytes:
    """A token count of a `source` backend as a `target` client reads it. Raises GatewayError(UPSTREAM_BROKE)."""
    has, wants = _FORMS[source].count, _FORMS[target].count
    if has == wants:
        return body
    try:
        count = typed(_member(body, has, ""), int, has)
    except Malformed as error:
        raise GatewayError(
            Reason.UPSTREAM_BROKE, f"The upstream's token count could not be read ({error.message}). Send it again."
        ) from None
    return msgspec.json.encode({wants: count})


def _betas(shape: Shape, headers: Iterable[tuple[str, str]], body: bytes, spans: Mapping[str, Span]) -> tuple[str, ...]:
    found = [name for key, value in headers if key.lower() == _BETAS_HEADER for name in _listed(value)]
    if _FORMS[shape].version == "body":
        listed = _read(body, spans, _BETAS_MEMBER, list[str] | None) or ()
        if any("," in name for name in listed):
            raise Malformed(_BETAS_MEMBER, "a beta's name holds no comma; list each one by itself")
        found += [_checked(name, _BETAS_MEMBER) for name in listed if name]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=DISTINCT_BETA_LISTS_MAX)
def _listed(value: str) -> tuple[str, ...]:
    return tuple(name for part in _checked(value, _BETAS_HEADER).split(",") if (name := part.strip()))


def _version(shape: Shape, in_header: str | None, body: bytes, spans: Mapping[str, Span]) -> str:
    in_body = _FORMS[shape].version == "body"
    found = _read(body, spans, _VERSION_MEMBER, str | None) if in_body else in_header
    return OLD_VERSION if found is None or found in _OLD_SPELLINGS else _checked(found, _VERSION_HEADER)


def _checked(value: str, place: str) -> str:
    """A value that means the same in a header and in a body, and ends neither."""
    if not _plain.fullmatch(value):
        raise Malformed(place, "may only hold printable ASCII characters")
    return value


def _enclosed(body: bytes, operation: Operation, target: Shape) -> bytes:
    """The body in what Bedrock's CountTokens puts around it."""
    if target != "bedrock" or operation != "count_tokens":
        return body
    return b'{"input":{"invokeModel":{"body":"%b"}}}' % base64.b64encode(body)


def _settled(outgoing: Outgoing, shape: Shape) -> frozenset[str]:
    """Which of the four already stand in a request of this shape as they are to go out."""
    form, body, spans = _FORMS[shape], outgoing.body, outgoing.spans
    told = form.stream and outgoing.operation == "messages"
    settled = {
        "model": outgoing.operation not in form.model or _read(body, spans, "model", str | None) == outgoing.model,
        "stream": not told or bool(_read(body, spans, "stream", bool | None)) == outgoing.stream,
        "version": _version(shape, first(outgoing.headers, _VERSION_HEADER), body, spans) == outgoing.version,
        "betas": _betas(shape, outgoing.headers, body, spans) == outgoing.betas,
    }
    return frozenset(name for name, is_settled in settled.items() if is_settled)


def _moves(outgoing: Outgoing, form: _Form, settled: frozenset[str]) -> Iterator[tuple[str, bytes | None]]:
    """Values that members of the body are to have; None: the member is not to be there."""
    encode = msgspec.json.encode
    if "model" not in settled:
        yield "model", encode(outgoing.model) if outgoing.operation in form.model else None
    if "stream" not in settled:
        streams = form.stream and outgoing.stream and outgoing.operation == "messages"
        yield "stream", b"true" if streams else None
    if "version" not in settled:
        spelled = form.old_version if outgoing.version == OLD_VERSION else outgoing.version
        yield _VERSION_MEMBER, encode(spelled) if form.version == "body" else None
    if "betas" not in settled:
        yield _BETAS_MEMBER, encode(outgoing.betas) if form.betas == "body" and outgoing.betas else None


def _count_moves(spans: Mapping[str, Span], source: Shape, target: Shape) -> dict[str, bytes | None]:
    """What a count must say besides: Bedrock counts an invocation that could be sent, the others only its prompt."""
    if source == target:
        return {}
    if target == "bedrock":
        return {} if "max_tokens" in spans else {"max_tokens": b"1"}
    return dict.fromkeys(_NOT_COUNTED) if source == "bedrock" else {}


def _edited(body: bytes, spans: Mapping[str, Span], wanted: Mapping[str, bytes | None]) -> bytes:
    """The object with members set (new ones in front) and taken out; the same bytes when it says all that already."""
    edits: list[Edit] = []
    added: list[bytes] = []
    removed: set[str] = set()
    opening = body.index(b"{") + 1
    for name, value in wanted.items():
        if name not in spans:
            if value is not None:
                added.append(b'"%b":%b' % (name.encode(), value))
        elif value is None:
            removed.add(name)
        elif _read(body, spans, name, Any) != msgspec.json.decode(value):
            edits.append((*spans[name], value))
    if removed:
        edits += cut_members(body, opening, spans, removed)
    if added:
        comma = b"," if len(spans) > len(removed) else b""
        edits.append((opening, opening, b",".join(added) + comma))
    return splice(body, edits) if edits else body


def _kept_headers(outgoing: Outgoing, source: Shape, target: Shape) -> Pairs:
    """The client's headers that mean something to the upstream."""
    if source != target:
        return _foreign_headers(outgoing, target)
    if target == "anthropic":
        return list(outgoing.headers)
    return [(name, value) for name, value in outgoing.headers if name.lower() not in _CREDENTIAL_HEADERS]


def _foreign_headers(outgoing: Outgoing, target: Shape) -> Pairs:
    """Of a client of another shape: what the target knows, and what it must hear of the body and the answer."""
    travels = _FORMS[target].headers
    kept: Pairs = []
    for name, value in outgoing.headers:
        lower = name.lower()
        known = lower.startswith(travels) if travels else not lower.startswith(_CLOUD_HEADERS)
        if known and lower not in ("accept", "content-type"):
            kept.append((name, value))
    accepted = _EVENT_STREAM if target == "bedrock" and outgoing.stream else _JSON
    return [("accept", accepted), ("content-type", _JSON), *kept]


def _with_moved(kept: Pairs, outgoing: Outgoing, form: _Form, settled: frozenset[str]) -> Pairs:
    if "version" not in settled and form.version == "header":
        kept = _with_header(kept, _VERSION_HEADER, outgoing.version)
    if "betas" not in settled:
        kept = _with_header(kept, _BETAS_HEADER, ",".join(outgoing.betas) if form.betas == "header" else "")
    return kept


def _with_header(pairs: Pairs, name: str, value: str) -> Pairs:
    """The header once with this value, where it first stood; empty: not at all."""
    changed: Pairs = []
    for key, present in pairs:
        if key.lower() != name:
            changed.append((key, present))
        elif value:
            changed.append((key, value))
            value = ""
    return [*changed, (name, value)] if value else changed


def _read(body: bytes, spans: Mapping[str, Span], name: str, kind: Any) -> Any:
    span = spans.get(name)
    return None if span is None else typed(body[slice(*span)], kind, name)


def _member(raw: bytes, name: str, place: str) -> bytes:
    """A member that must be there, raw."""
    span = members(raw, place).get(name)
    if span is None:
        raise Malformed(f"{place}.{name}" if place else name, "is required")
    return raw[slice(*span)]
