"""What a simulated model sees of a Messages request: the latest prompt, the turn, the results of its calls, its tools.

Reads leniently, as far as an answer needs it; refuses only what the real API refuses too. Not the gateway's own peek.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.upstreams.simulation.values import Json, as_object, as_objects

STRUCTURED_OUTPUT = "StructuredOutput"
"""Tool through which an agent hands in an object that fits a schema."""
DEFAULT_WORKSPACE = "/workspace"

_REMINDER = re.compile(r"\s*<system-reminder>.*</system-reminder>\s*", re.DOTALL)
_WORKSPACE = re.compile(
    r"^[ \t>*#-]{0,8}(?:primary )?working directory:[ \t]*`?(/[^\n`]*)", re.IGNORECASE | re.MULTILINE
)


class BadRequest(Exception):
    """The request is one that the real API answers with 400 `invalid_request_error`."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The facts that scenarios are matched on and replies are made of."""

    document: Json
    model: str
    stream: bool
    max_tokens: int
    prompt: str
    """The latest words of the person (or spawning agent): reminders and tool results left out."""
    turn: int
    """1 for the first reply to `prompt`."""
    system: str
    tool_result: str
    """Text of the tool results that came in last; empty when the last message brought none."""
    tool_error: bool
    answered_tools: frozenset[str]
    """Names of the tools whose calls succeeded in the last message."""
    tools: Mapping[str, Json]
    """Offered tools by name."""
    forced_tool: str | None
    output_schema: Json | None
    """JSON Schema that the text must fit (`output_config.format`)."""
    thinking: str | None
    """`summarized` or `omitted` when the request enables thinking."""

    @property
    def workspace(self) -> str:
        """The working directory as the client's own texts state it."""
        for text in (self.system, *_texts_of_role(self.document, "system"), *_texts_of_role(self.document, "user")):
            found = _WORKSPACE.search(text)
            if found:
                return found[1].strip()
        return DEFAULT_WORKSPACE


def read_conversation(body: bytes) -> Conversation:
    """Raises `BadRequest` naming the field."""
    document = _decode(body)
    messages = document["messages"]
    _check_tool_results(messages)
    prompt, turn = _prompt(messages)
    results = _last_results(messages)
    tools = {tool["name"]: tool for tool in as_objects(document.get("tools")) if isinstance(tool.get("name"), str)}
    return Conversation(
        document=document,
        model=str(document["model"]),
        stream=document.get("stream") is True,
        max_tokens=document.get("max_tokens", 0),
        prompt=prompt,
        turn=turn,
        system="\n".join(_texts(document.get("system"))),
        tool_result="\n".join(text for result in results for text in _texts(result.get("content"))),
        tool_error=any(result.get("is_error") is True for result in results),
        answered_tools=_answered_tools(messages, results),
        tools=tools,
        forced_tool=_forced_tool(as_object(document.get("tool_choice")), tools),
        output_schema=_output_schema(document),
        thinking=_thinking(as_object(document.get("thinking"))),
    )


def content_blocks(content: Any) -> list[Json]:
    """Content as blocks: a plain string is one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_objects(content)


def _decode(body: bytes) -> Json:
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest("the body is not a JSON object")
    fields = as_object(document)
    if not isinstance(fields.get("model"), str):
        raise BadRequest("model: a text is required")
    messages = as_objects(fields.get("messages"))
    if not messages or len(messages) != len(fields["messages"]):
        raise BadRequest("messages: a list of at least one message is required")
    if messages[0].get("role") != "user":
        raise BadRequest("messages.0.role: the first message must be the user's")
    max_tokens = fields.get("max_tokens", 0)
    if not isinstance(max_tokens, int) or max_tokens < 0:
        raise BadRequest("max_tokens: a whole number of at least 0 is required")
    return fields


def _check_tool_results(messages: list[Json]) -> None:
    """Every call is answered in the next user message, and nothing else is."""
    open_ids: list[str] = []
    for index, message in enumerate(messages):
        blocks = content_blocks(message.get("content"))
        if message.get("role") == "user":
            answered = [str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"]
            missing = [tool_use_id for tool_use_id in open_ids if tool_use_id not in answered]
            if missing:
                raise BadRequest(f"messages.{index}: no tool_result for the tool_use {', '.join(missing)} before it")
            strange = [tool_use_id for tool_use_id in answered if tool_use_id not in open_ids]
            if strange:
                raise BadRequest(f"messages.{index}: tool_result for {', '.join(strange)}, which was not called before")
            open_ids = []
        elif message.get("role") == "assistant":
            if open_ids:
                raise BadRequest(f"messages.{index}: the tool_use {', '.join(open_ids)} was never answered")
            open_ids = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
    if open_ids:
        raise BadRequest(f"messages.{len(messages) - 1}: the tool_use {', '.join(open_ids)} was never answered")


def _prompt(messages: list[Json]) -> tuple[str, int]:
    turn = 1
    for message in reversed(messages):
        if message.get("role") == "assistant":
            turn += 1
        elif message.get("role") == "user":
            words = [text for text in _texts(message.get("content")) if text.strip() and not _REMINDER.fullmatch(text)]
            if words:
                return "\n".join(words), turn
    return "", turn


def _last_results(messages: list[Json]) -> list[Json]:
    for message in reversed(messages):
        if message.get("role") == "assistant":
            return []
        results = [block for block in content_blocks(message.get("content")) if block.get("type") == "tool_result"]
        if results:
            return results
    return []


def _answered_tools(messages: list[Json], results: list[Json]) -> frozenset[str]:
    answered = {result.get("tool_use_id") for result in results if result.get("is_error") is not True}
    return frozenset(
        str(block.get("name"))
        for message in messages
        for block in content_blocks(message.get("content"))
        if block.get("type") == "tool_use" and block.get("id") in answered
    )


def _forced_tool(choice: Json, tools: Mapping[str, Json]) -> str | None:
    callable_tools = [name for name, tool in tools.items() if "input_schema" in tool]
    if choice.get("type") == "any" and callable_tools:
        return callable_tools[0]
    return next((name for name in callable_tools if name == choice.get("name")), None)


def _output_schema(document: Json) -> Json | None:
    wanted = as_object(as_object(document.get("output_config")).get("format") or document.get("output_format"))
    return as_object(wanted.get("schema")) or None if wanted.get("type") == "json_schema" else None


def _thinking(setting: Json) -> str | None:
    if setting.get("type") not in ("enabled", "adaptive"):
        return None
    return "omitted" if setting.get("display") == "omitted" else "summarized"


def _texts(content: Any) -> list[str]:
    """Texts of a content value; blocks that are not text are left out."""
    blocks = content_blocks(content)
    return [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]


def _texts_of_role(document: Json, role: str) -> Iterator[str]:
    for message in document["messages"]:
        if message.get("role") == role:
            yield from _texts(message.get("content"))
