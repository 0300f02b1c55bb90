"""A bounded look at the body of a Messages request: what it asks for, its messages, and edits of its fields."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from gateway.contract import DENIED_TOOL
from gateway.core.wire.shapes import IN_BODY, Asked
from gateway.core.wire.spans import Edit, Malformed, Span, elements, members, typed

DISTINCT_TOOL_LISTS_MAX = 64
"""Tool lists remembered by content: a client repeats the same one in every request of a conversation."""
TOOL_LIST_REMEMBERED_BYTES_MAX = 1024 * 1024
"""A longer list is read anew each time."""
MODEL_CHARS_MAX = 2048
"""Longest model id: an ARN at Bedrock. Ids are remembered in many places, so a client must not choose their size."""
TAIL_TRIES_MAX = 32
"""Candidate starts tried when looking for the last messages from the end before the whole array is decoded."""

_client_tool = re.compile(r"(?:bash|computer|memory|text_editor)_20\d{6}")
"""Tools that the API defines and the client runs: decided when they are called, like the client's own."""
_workspace = re.compile(rb'[Ww]orking directory: (/[^"\\]*)')


class Ask(msgspec.Struct, frozen=True):
    """What a Messages request asks for, as far as policy and accounting go."""

    model: str
    stream: bool
    max_tokens: int | None
    effort: str | None
    speed: str | None
    inference_geo: str | None
    tools: tuple[str, ...]
    server_tools: tuple[str, ...]
    mcp_servers: tuple[str, ...]
    spans: dict[str, Span]


class _Tool(msgspec.Struct):
    name: str | None = None
    type: str | None = None


class _Server(msgspec.Struct):
    url: str | None = None


class _OutputConfig(msgspec.Struct):
    effort: str | None = None


def peek(body: bytes, asked: Asked = IN_BODY) -> Ask:
    """Read what matters of a Messages request body. `asked`: what the path has said already.

    Raises:
        Malformed: with the place, when it is not a JSON object, when the model is in neither body nor path, when a key
            that policy depends on occurs twice or has the wrong type, or when a tool claims the reserved name.
    """
    spans = members(body)

    def field(name: str, kind: Any) -> Any:
        if name not in spans:
            return None
        start, end = spans[name]
        return typed(body[start:end], kind, name)

    if asked.model is None and "model" not in spans:
        raise Malformed("model", "is required: the id of the model to use")
    if not body.startswith(b"[", spans.get("messages", (len(body), 0))[0]):
        raise Malformed("messages", "is required: an array of messages")
    if asked.model is not None and "model" in spans:
        raise Malformed("model", "stands in the path already; leave it out of the body")
    model: str = field("model", str) if asked.model is None else asked.model
    if len(model) > MODEL_CHARS_MAX or ".." in model or not model.isprintable():
        raise Malformed("model", f"must be at most {MODEL_CHARS_MAX} printable characters, without '..'")
    tools, server_tools = _tools_of(_value(body, spans, "tools"))
    output_config = _checked(body, spans, "output_config", _OutputConfig)
    return Ask(
        model=model,
        stream=bool(field("stream", bool | None)) if asked.stream is None else asked.stream,
        max_tokens=field("max_tokens", int | None),
        effort=output_config.effort if output_config else None,
        speed=field("speed", str | None),
        inference_geo=field("inference_geo", str | None),
        tools=tools,
        server_tools=server_tools,
        mcp_servers=_read_servers(_value(body, spans, "mcp_servers")),
        spans=spans,
    )


def _value(body: bytes, spans: dict[str, Span], name: str) -> bytes:
    span = spans.get(name)
    return body[span[0] : span[1]] if span else b"null"


def _checked(body: bytes, spans: dict[str, Span], name: str, kind: Any) -> Any:
    raw = _value(body, spans, name)
    if raw == b"null":
        return None
    members(raw, name)
    return typed(raw, kind, name)


def _tools_of(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the client's tools and types of the upstream's own, of a raw `tools` value."""
    return _read_tools(raw) if len(raw) > TOOL_LIST_REMEMBERED_BYTES_MAX else _remembered_tools(raw)


def _read_tools(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if raw == b"null":
        return (), ()
    names: list[str] = []
    types: list[str] = []
    for index, (start, end) in enumerate(elements(raw, "tools")):
        place = f"tools[{index}]"
        members(raw[start:end], place)
        tool = typed(raw[start:end], _Tool, place)
        if tool.name == DENIED_TOOL:
            raise Malformed(f"{place}.name", f"'{DENIED_TOOL}' is reserved for denied calls; rename the tool")
        if tool.type is not None and tool.type != "custom" and not _client_tool.fullmatch(tool.type):
            types.append(tool.type)
        if tool.name is not None:
            names.append(tool.name)
    return tuple(names), tuple(types)


_remembered_tools = lru_cache(maxsize=DISTINCT_TOOL_LISTS_MAX)(_read_tools)


def _read_servers(raw: bytes) -> tuple[str, ...]:
    if raw == b"null":
        return ()
    urls: list[str] = []
    for index, (start, end) in enumerate(elements(raw, "mcp_servers")):
        place = f"mcp_servers[{index}]"
        members(raw[start:end], place)
        urls.append(typed(raw[start:end], _Server, place).url or "")
    return tuple(urls)


class Message(msgspec.Struct, frozen=True):
    """One entry of `messages`, its content still raw."""

    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


_message = msgspec.json.Decoder(Message)


def latest_messages(body: bytes, span: Span) -> Iterator[Message]:
    """Entries of the `messages` array at `span` from the last to the first, decoding no more than is taken.

    The bytes `{"role":` cannot stand inside a JSON string, and what begins at a nested object does not end with its
    entry: so a candidate that decodes as one value up to the known end is an entry. Arrays written otherwise (spaces,
    another key first) are decoded whole.
    """
    opening, end = span[0], span[1] - 1
    start = end
    tries = 0
    while tries < TAIL_TRIES_MAX and (start := body.rfind(b'{"role":', opening, start)) >= 0:
        tries += 1
        try:
            found = _message.decode(body[start:end])
        except (msgspec.MsgspecError, RecursionError):
            continue
        yield found
        tries = 0
        end = body.rfind(b",", opening, start)
        if end < 0:
            return
    rest = body[opening:end] + b"]"
    for span in reversed(elements(rest, "messages")):
        yield typed(rest[slice(*span)], Message, "messages")


def find_workspace(body: bytes, spans: dict[str, Span]) -> str | None:
    """The working directory that the client's environment text names, or None.

    Looked for in `system`, then in `system` entries among the first messages, then in the first user message. The last
    place also carries text from the repository (instructions files), which a hostile repository could write.
    """
    places = [_value(body, spans, "system")]
    messages = _value(body, spans, "messages")
    heads = [messages[slice(*span)] for span in elements(messages, "messages")[:3]]
    places += [head for head in heads if _role(head) == "system"]
    places += [head for head in heads[:1] if _role(head) == "user"]
    for place in places:
        if (found := _workspace.search(place)) is not None:
            return found[1].decode(errors="replace").rstrip("/") or "/"
    return None


def _role(message: bytes) -> str:
    return typed(message, Message, "messages").role


def field_edit(body: bytes, ask: Ask, name: str, value: bytes) -> Edit:
    """The edit that sets a top-level field, in place or as the first member."""
    span = ask.spans.get(name)
    if span is not None:
        return (*span, value)
    opening = body.index(b"{") + 1
    return (opening, opening, b'"' + name.encode() + b'":' + value + b",")


def without_tools(body: bytes, ask: Ask, names: frozenset[str]) -> Edit | None:
    """The edit that takes the named tools off the list; None when none of them is on it."""
    if not names.intersection(ask.tools):
        return None
    raw = _value(body, ask.spans, "tools")
    kept = [raw[slice(*span)] for span in elements(raw, "tools")]
    kept = [tool for tool in kept if typed(tool, _Tool, "tools").name not in names]
    return (*ask.spans["tools"], b"[" + b",".join(kept) + b"]")
