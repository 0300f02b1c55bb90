"""What of a prompt is known to the token: the part that an earlier request of the same agent had too.

The answer to that request told how long its whole prompt was. A later prompt that begins with the same bytes has at
most as many tokens in them, so that only the bytes after them must be bounded. Proved by digests; no text is kept.

Taken to be so: appending messages takes no token off the ones before, and the same model counts the same bytes alike.
Where that need not hold (context that is cleared, thinking that is left out of some requests, entries for one turn,
tools that are loaded later, another tokenizer) nothing counts as known. An upstream that is sent requests fitted to it
counts alike as long as it is the only one: fitting looks at each part by itself, and turns no later part into a change
of an earlier one. Not fitted alike are requests with thinking, whose context edits may be lost on the way.

The agent's last answer, which comes back as a message, is bounded by its bytes although its output tokens were
reported: what was sampled need not be how the same text is counted when it is read, calls are written out again by the
client and by the upstream, and shown thinking is not what was thought. The next answer tells its length anyway.

What the prompts of other agents tell: `prompts.py`. Not the worst case itself: `worst.py`.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import msgspec

from gateway.core.estimates.content import Content, measure_content
from gateway.core.estimates.pieces import (
    DIGEST_BYTES,
    FREE,
    Piece,
    Pieces,
    bytes_known,
    digest_beside,
    message_pieces,
    span_bytes,
    split,
)
from gateway.core.estimates.worst import Shape
from gateway.core.wire.body import Ask
from gateway.core.wire.parts import elements_at
from gateway.core.wire.spans import Span

KNOWN_MAX = 4
"""Prompts remembered per agent: a client asks for titles and searches in the name of its main agent."""
MARKS_MAX = 4
"""Cache breakpoints that the API takes in one request."""

_MARK = b'"cache_control"'
_OPENING = b"["


@dataclass(frozen=True, slots=True)
class Known:
    """A prompt whose length was reported."""

    fixed: bytes
    """Digest of all that stands beside the messages."""
    cuts: Mapping[int, bytes]
    """Digests of the beginnings of its messages, by their length in bytes."""
    tail_from: int
    tail: frozenset[bytes]
    """Digests of the pieces of messages after so many bytes: the next request may write them otherwise."""
    prompt_tokens: int
    upstream: str
    fitted: bool = False
    """The upstream was sent it without what it lacks."""

    def counts_for(self, upstreams: Collection[str]) -> bool:
        """Would each of these count the same bytes alike?"""
        return self.upstream in upstreams and not (self.fitted and len(upstreams) > 1)


@dataclass(frozen=True, slots=True)
class KnownPart:
    """What of a prompt stands in an earlier one of so many tokens."""

    prompt_tokens: int
    messages_bytes: int
    system_bytes: int
    tools_bytes: int
    new: tuple[Span, ...]
    """Where the messages that are not in it stand in the body: each one or several with commas between."""
    new_blocks: tuple[Span, ...] = ()
    """The same for content blocks of messages of which others are in it."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One request, as far as another can be recognised as its beginning."""

    fixed: bytes
    cuts: Mapping[int, bytes]
    tail_from: int
    tail: frozenset[bytes]
    part: KnownPart | None
    """What is known of it; of several, what leaves the least to bound."""
    goes_on: bool = False
    """Its first message is that of an earlier prompt."""
    pieces: Pieces | None = None
    """Set when it does not go on from a prompt of its own agent."""
    thinking: bool = False

    def answered(self, prompt_tokens: int, upstream: str, *, fitted: bool = False) -> Known:
        """What is known once the length of its prompt is reported."""
        return Known(self.fixed, self.cuts, self.tail_from, self.tail, prompt_tokens, upstream, fitted)

    def teaches(self, *, fitted: bool) -> bool:
        """Does the length of its prompt tell that of its parts?"""
        return not (fitted and self.thinking)


class _Edit(msgspec.Struct):
    type: str = ""
    keep: object = None


class _Edits(msgspec.Struct):
    edits: list[_Edit]


_edits = msgspec.json.Decoder(_Edits)


def read_outline(ask: Ask, body: bytes, *, beside: Sequence[str], known: Iterable[Known]) -> Outline:
    """Digest a request once, at its own cuts and at those of what is known.

    A cut is before the first message, where the messages end, and before each one that carries a cache breakpoint:
    clients move those along, so that such a message is written otherwise in the next request. What comes after the last
    of those cuts is therefore known by its pieces too. `beside`: what else decides how a prompt is read (model,
    version, betas).

    Raises:
        Malformed: the messages are nested too deep.
    """
    span = ask.spans["messages"]
    fixed = digest_beside(ask, body, beside, without=FREE)
    alike = [each for each in known if each.fixed == fixed]
    messages = elements_at(body, span, "messages")
    own = _cuts(body, span, messages)
    digests = _digests(body, span, own.union(*(each.cuts for each in alike)))
    found = [(length, each) for each in alike for length, digest in each.cuts.items() if digests.get(length) == digest]
    length, best = max(found, key=lambda each: each[0] - each[1].prompt_tokens, default=(0, None))
    part = None if best is None else _known_part(ask, body, messages, known=best, length=length)
    tail_from = sorted(own)[-2] if len(own) > 1 else len(_OPENING)
    tail = message_pieces(body, [each for each in messages if each[0] >= span[0] + tail_from])
    digests_of_tail = frozenset(piece.digest for piece in tail or ())
    cuts = {length: digests[length] for length in own}
    return Outline(fixed, cuts, tail_from, digests_of_tail, part, goes_on=length > len(_OPENING))


def part_of(prompt_tokens: int, alike: Sequence[Piece], new: Sequence[Piece]) -> KnownPart:
    """The part that is `alike` in a prompt of so many tokens, of one that is taken apart."""
    return KnownPart(
        prompt_tokens=prompt_tokens,
        messages_bytes=bytes_known(alike, "message", "block"),
        system_bytes=bytes_known(alike, "system"),
        tools_bytes=bytes_known(alike, "tools"),
        new=tuple(piece.span for piece in new if piece.kind == "message"),
        new_blocks=tuple(piece.span for piece in new if piece.kind == "block"),
    )


def _known_part(ask: Ask, body: bytes, messages: Sequence[Span], *, known: Known, length: int) -> KnownPart:
    """What is known of messages whose first `length` bytes are those of an earlier prompt."""
    start, end = ask.spans["messages"]
    rest = [span for span in messages if span[0] >= start + length]
    pieces = message_pieces(body, rest) if length <= known.tail_from else None
    alike, new = split(pieces or (), known.tail)
    part = part_of(known.prompt_tokens, alike, new)
    if not alike:
        part = replace(part, new=((rest[0][0] if rest else end - 1, end - 1),), new_blocks=())
    return replace(
        part,
        messages_bytes=part.messages_bytes + length,
        system_bytes=span_bytes(ask.spans.get("system")),
        tools_bytes=span_bytes(ask.spans.get("tools")),
    )


def narrowed(shape: Shape, body: bytes, part: KnownPart) -> Shape:
    """`shape` with the known part as tokens, and with bytes and images of the rest only.

    Tools count as bytes again when the rest refers to one, since a deferred tool joins the prompt then.
    """
    messages = [body[slice(*span)] for span in part.new]
    if part.new_blocks:
        messages.append(b'{"content":[' + b",".join(body[slice(*span)] for span in part.new_blocks) + b"]}")
    rest = measure_content(b"[" + b",".join(messages) + b"]")
    bytes_known = part.messages_bytes + part.system_bytes + (0 if rest.tool_references else part.tools_bytes)
    return msgspec.structs.replace(
        shape,
        body_bytes=shape.body_bytes - bytes_known,
        known_tokens=part.prompt_tokens,
        images=rest.images,
        unbounded=shape.unbounded or rest.unbounded,
    )


def is_append_only(ask: Ask, body: bytes, content: Content, *, single_upstream: bool) -> bool:
    """Is what one request counts of the messages counted alike in the next?

    Thinking is left out of some requests unless a context edit keeps all of it, and by accounts it does not belong to.
    """
    if content.unbounded or content.short_lived:
        return False
    if "context_management" not in ask.spans:
        return not content.thinking
    return _keeps_all(body[slice(*ask.spans["context_management"])]) and (single_upstream or not content.thinking)


def _keeps_all(raw: bytes) -> bool:
    try:
        edits = _edits.decode(raw).edits
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return bool(edits) and all(edit.type.startswith("clear_thinking_") and edit.keep == "all" for edit in edits)


def _cuts(body: bytes, span: Span, messages: Sequence[Span]) -> set[int]:
    """Lengths of the beginnings to remember; each ends where a message ends, the first with the opening bracket."""
    start, end = span
    starts = [first for first, _ in messages]
    cuts = {len(_OPENING), *(last - start for _, last in messages[-1:])}
    at = end
    for _ in range(MARKS_MAX):
        at = body.rfind(_MARK, start, at)
        if at < 0:
            break
        marked = bisect_right(starts, at) - 1
        if marked > 0:
            cuts.add(messages[marked - 1][1] - start)
    return cuts


def _digests(body: bytes, span: Span, lengths: set[int]) -> dict[int, bytes]:
    """Digests of the beginnings of these lengths, in one pass; longer ones than the messages have none."""
    start, end = span
    hasher = blake2b(digest_size=DIGEST_BYTES)
    view, done = memoryview(body), start
    found: dict[int, bytes] = {}
    for length in sorted(lengths):
        if start + length >= end:
            break
        hasher.update(view[done : start + length])
        done = start + length
        found[length] = hasher.digest()
    return found
