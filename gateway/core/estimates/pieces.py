"""A prompt taken apart: each system block, tool and content block by its digest. What is known of them is not here.

Only few messages are taken apart: the beginning of a conversation, which shares most of its pieces with the beginnings
of others (`prompts.py`), and what the next request writes otherwise because a cache breakpoint moved on (`known.py`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple

from gateway.core.wire.body import Ask
from gateway.core.wire.parts import elements_at, members_at
from gateway.core.wire.spans import Malformed, Span

MESSAGES_MAX = 16
"""More are not taken apart: of a long conversation, the earlier prompts of its own agent tell enough."""
PIECES_MAX = 256
LARGE_BYTES = 1_024
"""Pieces that tell one kind of prompt from another; smaller ones (a schema, a client's mark) vary within a kind."""
DIGEST_BYTES = 16

FREE = frozenset(
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
_TAKEN_APART = FREE | {"system", "tools"}

_MARK = "cache_control"

Kind = Literal["system", "tools", "message", "block"]


class Piece(NamedTuple):
    """One system block, tool or content block, or a message whose content is a string."""

    kind: Kind
    span: Span
    """Where it stands in the body."""
    digest: bytes
    """Of what it says, the same with a cache breakpoint or without, for a string as for one block of text."""
    bytes_known: int
    """How many of its bytes are known when it is; the braces around a string are not."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """One prompt taken apart."""

    settings: bytes
    """Digest of all that is not taken apart."""
    kind: bytes
    """Digests of its large pieces."""
    all: tuple[Piece, ...]

    @property
    def digests(self) -> frozenset[bytes]:
        """What it is remembered by."""
        return frozenset(piece.digest for piece in self.all)


def read_pieces(ask: Ask, body: bytes, beside: Sequence[str]) -> Pieces | None:
    """Take a prompt apart; None: it has too many messages or pieces to be a beginning, or a part has a key twice."""
    messages = elements_at(body, ask.spans["messages"], "messages")
    found = message_pieces(body, messages)
    if found is None:
        return None
    try:
        pieces = (*_listed(ask, body, "system"), *_listed(ask, body, "tools"), *found)
    except Malformed:
        return None
    if len(pieces) > PIECES_MAX:
        return None
    settings = digest_beside(ask, body, beside, without=_TAKEN_APART)
    large = {piece.digest for piece in pieces if piece.bytes_known >= LARGE_BYTES}
    return Pieces(settings, b"".join(sorted(large or {piece.digest for piece in pieces})), pieces)


def message_pieces(body: bytes, messages: Sequence[Span]) -> tuple[Piece, ...] | None:
    """Messages by their content blocks; None: there are too many, or one has a key twice."""
    if len(messages) > MESSAGES_MAX:
        return None
    try:
        pieces = tuple(piece for message in messages for piece in _of_message(body, message))
    except Malformed:
        return None
    return pieces if len(pieces) <= PIECES_MAX else None


def split(pieces: Iterable[Piece], known: Set[bytes]) -> tuple[list[Piece], list[Piece]]:
    """Those that are known, each but once, and the others."""
    alike: dict[bytes, Piece] = {}
    new: list[Piece] = []
    for piece in pieces:
        if piece.digest in known and piece.digest not in alike:
            alike[piece.digest] = piece
        else:
            new.append(piece)
    return list(alike.values()), new


def bytes_known(pieces: Iterable[Piece], *kinds: Kind) -> int:
    """How many bytes of the body known pieces of these kinds stand for."""
    return sum(piece.bytes_known for piece in pieces if piece.kind in kinds)


def _of_message(body: bytes, message: Span) -> Iterator[Piece]:
    content = members_at(body, message, "messages").get("content")
    if content is not None and body[content[0] : content[0] + 1] == b"[":
        yield from (_piece(body, "block", span) for span in elements_at(body, content, "content"))
    elif content is not None:
        text = {"type": b'"text"', "text": body[slice(*content)]}
        yield Piece("message", message, _digest("block", text), span_bytes(content))
    else:
        yield _piece(body, "message", message)


def _listed(ask: Ask, body: bytes, kind: Literal["system", "tools"]) -> list[Piece]:
    """`system` may be a string."""
    span = ask.spans.get(kind)
    if span is None:
        return []
    spans = elements_at(body, span, kind) if body[span[0] : span[0] + 1] == b"[" else [span]
    return [_piece(body, kind, each) for each in spans]


def _piece(body: bytes, kind: Kind, span: Span) -> Piece:
    found = {name: body[slice(*at)] for name, at in members_at(body, span, kind).items()}
    digest = _digest(kind, found or {"": body[slice(*span)]})
    return Piece(kind, span, digest, span_bytes(span))


def _digest(kind: Kind, members: Mapping[str, bytes]) -> bytes:
    """Each part after its length: no two are written alike."""
    hasher = blake2b(digest_size=DIGEST_BYTES, person=kind.encode())
    for name in sorted(members.keys() - {_MARK}):
        for part in (name.encode(errors="surrogatepass"), members[name]):
            hasher.update(len(part).to_bytes(8))
            hasher.update(part)
    return hasher.digest()


def span_bytes(span: Span | None) -> int:
    """How long the value of a field is; nothing when it is absent."""
    return 0 if span is None else span[1] - span[0]


def digest_beside(ask: Ask, body: bytes, beside: Sequence[str], *, without: Set[str]) -> bytes:
    """Of `beside` and every field but those in `without`, each part after its length: no two are written alike."""
    hasher = blake2b(digest_size=DIGEST_BYTES)
    names = sorted(ask.spans.keys() - without)
    texts = [text.encode(errors="surrogatepass") for text in (str(len(names)), *names, *beside)]
    for piece in (*texts, *(body[slice(*ask.spans[name])] for name in names)):
        hasher.update(len(piece).to_bytes(8))
        hasher.update(piece)
    return hasher.digest()
