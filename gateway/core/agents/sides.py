"""Requests that a client makes beside its agents' work: titles, searches, summaries, probes. Recognised by their shape.

They are paid for and decided like any other, in the name of the agent that makes them. They are no turn of its
conversation: loops are not looked for in them, and what is said to the agent is not said there. Shapes are those of
Claude Code, measured; a request that looks like one of them and is not loses nothing but that. Nothing here brings an
agent to life or keeps one from being asked about: an agent id that was not seen is a spawn, whatever its request is.
"""

import re
from typing import Literal

import msgspec

from gateway.core.wire.body import Ask, latest_messages
from gateway.core.wire.spans import Span

Side = Literal["title", "web_search", "compact", "probe", "count"]

COMPACT_TAIL_BYTES = 65_536
"""How far from the end of the messages the words of a summary request are looked for."""
PROBE_TOKENS = 1

_SUMMARY = "CRITICAL: Respond with TEXT ONLY"
_SUMMARY_BYTES = _SUMMARY.encode()
_schema = re.compile(rb'"type"\s*:\s*"json_schema"')
_disabled = re.compile(rb'"type"\s*:\s*"disabled"')


class _Text(msgspec.Struct):
    text: str = ""


def find_side(body: bytes, ask: Ask) -> Side | None:
    """What a Messages request is beside its agent's work; None: a turn of its conversation."""
    if ask.max_tokens == PROBE_TOKENS:
        return "probe"
    if not ask.tools:
        if _stands(_schema, body, ask, "output_config") and _stands(_disabled, body, ask, "thinking"):
            return "title"
    elif ask.tools == ("web_search",) and ask.server_tools and "tool_choice" in ask.spans:
        return "web_search"
    return "compact" if _asks_for_summary(body, ask.spans["messages"]) else None


def _stands(shape: re.Pattern[bytes], body: bytes, ask: Ask, field: str) -> bool:
    span = ask.spans.get(field)
    return span is not None and shape.search(body, *span) is not None


def _asks_for_summary(body: bytes, span: Span) -> bool:
    start, end = span
    if body.find(_SUMMARY_BYTES, max(start, end - COMPACT_TAIL_BYTES), end) < 0:
        return False
    last = next((message for message in latest_messages(body, span) if message.role != "system"), None)
    if last is None or last.role != "user":
        return False
    try:
        told = msgspec.json.decode(last.content, type=str | list[_Text])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return told.startswith(_SUMMARY) if isinstance(told, str) else any(b.text.startswith(_SUMMARY) for b in told)
