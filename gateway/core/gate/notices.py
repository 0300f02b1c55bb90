"""Notices: texts that tell a running agent what has changed, put among the messages so that the prompt cache holds.

The client does not know of a notice and never sends it back, so it is put in again, byte for byte at the same place, in
every later request; a prompt that lacked it there would be read anew from that place on. Its place is the message
that it came after, known by that message's number and digest; when the client has rewritten its history before it
(compaction, another branch) the notice is forgotten with the place.

    form     where                                                        when
    system   an entry of its own after the last message                   the model takes entries among the messages
    text     a further text block at the end of the user's last message   otherwise

Entries among the messages follow a user's turn and come before an assistant's or nothing (400 otherwise), so one that
would now be followed by something else is forgotten. A request that ends with the assistant's words gets its notice in
the next one. The beginning of the prompt is never touched: to change `system` would miss the cache in every turn.

Not here: what is said, and to whom (`gateway/admission.py`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, cast

import msgspec

from gateway.core.wire.parts import elements_at, members_at, string_at
from gateway.core.wire.spans import Edit, Span

Form = Literal["system", "text"]
NOTICES_MAX = 64
"""Of one agent; the oldest are kept, since to leave one out would change the prompt from there on."""
NOTICE_CHARS_MAX = 4_000
ANCHOR_HEX_CHARS = 32
OPENS, ENDS = "<gateway-notice>\n", "\n</gateway-notice>"


class Notice(msgspec.Struct, frozen=True):
    """One text and its place: after the message number `after`, counted from one."""

    text: str
    after: int
    anchor: str
    form: Form


@dataclass(frozen=True, slots=True)
class _Turn:
    """One entry of `messages` where it stands."""

    end: int
    role: str
    content: Span


def place(body: bytes, span: Span, notices: Iterable[Notice]) -> tuple[list[Edit], tuple[Notice, ...]]:
    """Edits that put earlier notices in again, and those that still have their place. `span`: of `messages`."""
    turns = _turns(body, span)
    kept = tuple(notice for notice in notices if _fits(body, turns, notice))
    return _edits(body, turns, kept), kept


def say(body: bytes, span: Span, texts: Sequence[str], form: Form) -> list[Notice]:
    """New notices at the end of the messages; none when the conversation does not end with the user."""
    turns = _turns(body, span)
    said = next((index for index in reversed(range(len(turns))) if turns[index].role != "system"), None)
    if said is None or turns[said].role != "user":
        return []
    last = len(turns) - 1 if form == "system" else said
    anchor = _digest(body, turns[last])
    if anchor is None:
        return []
    return [Notice(text[:NOTICE_CHARS_MAX], last + 1, anchor, form) for text in texts]


def _turns(body: bytes, span: Span) -> list[_Turn]:
    return [_turn(body, each) for each in elements_at(body, span, "messages")]


def _turn(body: bytes, span: Span) -> _Turn:
    found = members_at(body, span, "messages")
    return _Turn(span[1], string_at(body, found.get("role")), found.get("content", (span[1], span[1])))


def _fits(body: bytes, turns: Sequence[_Turn], notice: Notice) -> bool:
    if notice.after > len(turns) or _digest(body, turns[notice.after - 1]) != notice.anchor:
        return False
    if notice.form == "text":
        return True
    following = next((turn.role for turn in turns[notice.after :] if turn.role != "system"), "assistant")
    return following == "assistant"


def _edits(body: bytes, turns: Sequence[_Turn], notices: Sequence[Notice]) -> list[Edit]:
    edits: list[Edit] = []
    for number in sorted({notice.after for notice in notices}):
        turn = turns[number - 1]
        here = [notice for notice in notices if notice.after == number]
        blocks = [_block(notice.text) for notice in here if notice.form == "text"]
        entries = [_entry(notice.text) for notice in here if notice.form == "system"]
        if blocks:
            edits.append((*turn.content, _with_blocks(body[slice(*turn.content)], blocks)))
        if entries:
            edits.append((turn.end, turn.end, b"".join(b"," + entry for entry in entries)))
    return edits


def _with_blocks(content: bytes, blocks: Sequence[bytes]) -> bytes:
    before = content[1:-1].strip() if content.startswith(b"[") else b'{"type":"text","text":' + content + b"}"
    return b"[" + b",".join([before, *blocks] if before else blocks) + b"]"


def _block(text: str) -> bytes:
    return b'{"type":"text","text":' + json.dumps(OPENS + text + ENDS).encode() + b"}"


def _entry(text: str) -> bytes:
    return b'{"role":"system","content":' + json.dumps(text).encode() + b"}"


def _digest(body: bytes, turn: _Turn) -> str | None:
    """Of what a message says, however the client writes it: a text alone or in a block, with cache marks or without.

    None: it cannot be read.
    """
    try:
        content: Any = json.loads(body[slice(*turn.content)])
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        plain = json.dumps([turn.role, _unmarked(content)], sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None
    return sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:ANCHOR_HEX_CHARS]


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return {key: _unmarked(each) for key, each in found.items() if key != "cache_control"}
    return [_unmarked(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value
