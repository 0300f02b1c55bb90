"""What of a prompt is known to the token: the part that an earlier request of the same agent had too.

The answer to that request told how long its whole prompt was. A later prompt that begins with the same bytes has at
most as many tokens in them, so that only the bytes after them must be bounded. Proved by digests; no text is kept.

Taken to be so: appending messages takes no token off the ones before, and the same model counts the same bytes alike.
Where that need not hold (context that is cleared, thinking that is left out of some requests, entries for one turn,
tools that are loaded later, another tokenizer) nothing counts as known. Not the estimate itself: `core/estimate.py`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from gateway.core.body import Ask
from gateway.core.content import Content, measure_content
from gateway.core.estimate import Shape
from gateway.core.spans import Span, elements

KNOWN_MAX = 4
"""Prompts remembered per agent: a client asks for titles and searches in the name of its main agent."""
MARKS_MAX = 4
"""Cache breakpoints that the API takes in one request."""
DIGEST_BYTES = 16

_FREE = frozenset(
    {
        "messages",
        "model",
        "max_tokens",
        "stream",
        "metadata",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "service_tier",
        "inference_geo",
        "speed",
    }
)
"""Fields that may differ: they put nothing into a prompt and take nothing out (the model is compared by its price)."""
_MARK = b'"cache_control"'


@dataclass(frozen=True, slots=True)
class Known:
    """A prompt whose length was reported."""

    fixed: bytes
    """Digest of all that stands beside the messages."""
    cuts: Mapping[int, bytes]
    """Digests of the beginnings of its messages, by their length in bytes."""
    prompt_tokens: int
    upstream: str


@dataclass(frozen=True, slots=True)
class Outline:
    """One request, as far as another can be recognised as its beginning."""

    fixed: bytes
    cuts: Mapping[int, bytes]
    part: "KnownPart | None"
    """What is known of it; of several, what leaves the least to bound."""

    def answered(self, prompt_tokens: int, upstream: str) -> Known:
        """What is known once the length of its prompt is reported."""
        return Known(self.fixed, self.cuts, prompt_tokens, upstream)


@dataclass(frozen=True, slots=True)
class KnownPart:
    """So many bytes at the beginning of the messages belong to a prompt of so many tokens."""

    messages_bytes: int
    prompt_tokens: int


class _Edit(msgspec.Struct):
    type: str = ""
    keep: object = None


class _Edits(msgspec.Struct):
    edits: list[_Edit]


_edits = msgspec.json.Decoder(_Edits)


def read_outline(ask: Ask, body: bytes, *, beside: Sequence[str], known: Iterable[Known]) -> Outline:
    """Digest a request once, at its own cuts and at those of what is known.

    A cut is before the first message, where the messages end, and before each one that carries a cache breakpoint:
    clients move those along, so that such a message is written otherwise in the next request. `beside`: what else
    decides how a prompt is read (model, version, betas).

    Raises:
        Malformed: the messages are nested too deep.
    """
    span = ask.spans["messages"]
    fixed = _fixed(ask, body, beside)
    alike = [each for each in known if each.fixed == fixed]
    own = _cuts(body, span)
    digests = _digests(body, span, own.union(*(each.cuts for each in alike)))
    parts = [
        KnownPart(length, each.prompt_tokens)
        for each in alike
        for length, digest in each.cuts.items()
        if digests.get(length) == digest
    ]
    best = max(parts, key=lambda part: part.messages_bytes - part.prompt_tokens, default=None)
    return Outline(fixed, {length: digests[length] for length in own}, best)


def narrowed(shape: Shape, ask: Ask, body: bytes, part: KnownPart) -> Shape:
    """`shape` with the known part as tokens, and with bytes and images of the rest only.

    Tools count as bytes again when the rest refers to one, since a deferred tool joins the prompt then.
    """
    start, end = ask.spans["messages"]
    rest = measure_content(b"[" + body[start + part.messages_bytes : end].lstrip(b" \t\r\n,"))
    bytes_known = part.messages_bytes + _length(ask.spans.get("system"))
    if not rest.tool_references:
        bytes_known += _length(ask.spans.get("tools"))
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


def _length(span: Span | None) -> int:
    return 0 if span is None else span[1] - span[0]


def _fixed(ask: Ask, body: bytes, beside: Sequence[str]) -> bytes:
    """Each part after its length, so that no two requests are written alike."""
    hasher = blake2b(digest_size=DIGEST_BYTES)
    names = sorted(ask.spans.keys() - _FREE)
    texts = [text.encode(errors="surrogatepass") for text in (str(len(names)), *names, *beside)]
    for piece in (*texts, *(body[slice(*ask.spans[name])] for name in names)):
        hasher.update(len(piece).to_bytes(8))
        hasher.update(piece)
    return hasher.digest()


def _cuts(body: bytes, span: Span) -> set[int]:
    """Lengths of the beginnings to remember; each ends where a message ends, the first with the opening bracket."""
    start, end = span
    spans = elements(body[start:end], "messages")
    starts = [first for first, _ in spans]
    cuts = {1, *(last for _, last in spans[-1:])}
    at = end
    for _ in range(MARKS_MAX):
        at = body.rfind(_MARK, start, at)
        if at < 0:
            break
        marked = bisect_right(starts, at - start) - 1
        if marked > 0:
            cuts.add(spans[marked - 1][1])
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
