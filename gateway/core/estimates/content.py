"""What of a prompt the body's bytes do not bound (content that is only named, images) or that may come and go.

Only a strict estimate needs it. What cannot be told counts as unbounded: a block of a type that is not known here, a
shape that the Messages API does not have.
"""

from dataclasses import dataclass

import msgspec

_IN_FULL = frozenset(
    {
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "server_tool_use",
        "mcp_tool_use",
        "tool_reference",
        "search_result",
        "fallback",
    }
)
"""Block types whose content stands in the body."""
_THINKING = frozenset({"thinking", "redacted_thinking"})
_IN_FULL_SOURCES = frozenset({"text", "content"})


class _Source(msgspec.Struct, gc=False):
    type: str = ""
    content: "str | list[_Block] | None" = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    source: _Source | None = None
    content: "str | list[_Block] | None" = None


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: str | list[_Block] = ""
    clear_at: msgspec.Raw = msgspec.Raw()


_messages = msgspec.json.Decoder(list[_Message])


@dataclass(frozen=True, slots=True)
class Content:
    """`unbounded`: the prompt may be longer than its bytes tell; the rest is then not complete."""

    images: int = 0
    """How many stand in the body."""
    unbounded: bool = False
    thinking: bool = False
    """There are blocks that the upstream reads in some requests and leaves out of others."""
    tool_references: bool = False
    """A deferred tool may join the prompt."""
    short_lived: bool = False
    """There are entries for one turn only."""
    system_blocks: int = 0
    """How many stand in system entries: some upstreams are sent them as marked text of the user."""


def measure_content(messages: bytes | memoryview) -> Content:
    """Look at every content block of a raw `messages` array."""
    try:
        entries = _messages.decode(messages)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return Content(unbounded=True)
    images = 0
    kinds: set[str] = set()
    waiting = [entry.content for entry in entries]
    while waiting:
        content = waiting.pop()
        for block in content if isinstance(content, list) else ():
            if block.type in _IN_FULL:
                kinds.add(block.type)
                continue
            if block.type == "tool_result":
                waiting.append(block.content or "")
            elif block.type == "image" and block.source is not None and block.source.type == "base64":
                images += 1
            elif block.type == "document" and block.source is not None and block.source.type in _IN_FULL_SOURCES:
                waiting.append(block.source.content or "")
            else:
                return Content(images, unbounded=True)
    return Content(
        images,
        thinking=not _THINKING.isdisjoint(kinds),
        tool_references="tool_reference" in kinds,
        short_lived=any(bytes(entry.clear_at) for entry in entries),
        system_blocks=sum(_blocks(entry.content) for entry in entries if entry.role == "system"),
    )


def _blocks(content: str | list[_Block]) -> int:
    return len(content) if isinstance(content, list) else 1
