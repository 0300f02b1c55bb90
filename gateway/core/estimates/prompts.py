"""What of a first prompt is known to the token: the pieces that the prompt of another agent had too.

Agents of one kind begin with the same system text, tools and reminders. The answer to one of them told how long its
whole prompt was; so the pieces that another prompt shares with it have together at most as many tokens, whatever the
rest of either is, and only the other bytes must be bounded.

Taken to be so: the same model counts the same piece alike wherever it stands. Where two pieces meet, a token or two may
come out otherwise; a piece that is new brings more bytes of JSON around its text than that, and the overhead of the
worst case is held on top. Nothing counts as known where it need not hold (as in `known.py`): the caller asks for
prompts that are append-only alone, fields beside the pieces must be the same, tools count by their bytes again when a
new piece refers to one. Kept are digests and counts; they are shared by everybody who uses the gateway, since what a
piece counts says nothing of who sent it.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from gateway.core.bridging.turns import NOTE_ENDS, NOTE_OPENS
from gateway.core.estimates.content import measure_content
from gateway.core.estimates.known import Known, KnownPart, Outline, is_append_only, narrowed, part_of, read_outline
from gateway.core.estimates.pieces import Pieces, read_pieces, split
from gateway.core.estimates.worst import Shape, bounded, tightest
from gateway.core.wire.body import Ask

PROMPTS_MAX = 512
"""Prompts remembered; the one unused for longest is forgotten."""
NOTE_TOKENS_MAX = len(NOTE_OPENS) + len(NOTE_ENDS)
"""What an upstream without system entries is sent around each of their blocks."""


class Recognised(NamedTuple):
    """`shape` with the tightest bound of its prompt; `outline` None: its answer will tell nothing of other prompts."""

    shape: Shape
    outline: Outline | None


@dataclass(frozen=True, slots=True)
class Asking:
    """A request whose prompt is to be bounded."""

    ask: Ask
    body: bytes
    beside: Sequence[str]
    """What else decides how a prompt is read: dialect, model, version, betas."""
    upstreams: Collection[str]
    """Those it may go to."""
    one_model: bool = True
    """They all have the same model, and so the same tokenizer."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One whose length was reported."""

    digests: frozenset[bytes]
    """Of its pieces."""
    told: Known


class Prompts:
    """Prompts of every agent: of each kind the shortest one seen."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[tuple[bytes, bytes], _Prompt] = OrderedDict()

    def recognise(self, asking: Asking, shape: Shape, known: Sequence[Known]) -> Recognised:
        """The prompt of a request with `shape` (of `shape_of`), of whose agent these prompts are `known`.

        Raises:
            Malformed: the messages are nested too deep.
        """
        ask, body = asking.ask, asking.body
        content = measure_content(memoryview(body)[slice(*ask.spans["messages"])])
        whole = bounded(shape, content)
        alone = len(asking.upstreams) == 1
        if not asking.one_model or whole.unbounded or not is_append_only(ask, body, content, single_upstream=alone):
            return Recognised(whole, None)
        own = [each for each in known if each.counts_for(asking.upstreams)]
        outline = read_outline(ask, body, beside=asking.beside, known=own)
        parts = [outline.part] if outline.part is not None else []
        pieces = None if outline.goes_on else read_pieces(ask, body, asking.beside)
        if pieces is not None and (shared := self._shared(pieces, asking.upstreams)) is not None:
            parts.append(shared)
        if not alone:
            shape = msgspec.structs.replace(
                shape, body_bytes=shape.body_bytes + content.system_blocks * NOTE_TOKENS_MAX
            )
        shapes = [whole, *(narrowed(shape, body, part) for part in parts)]
        return Recognised(tightest(shapes), replace(outline, pieces=pieces, thinking=content.thinking))

    def learn(self, outline: Outline, told: Known) -> None:
        """Remember the prompt of an answer when it is the beginning of a conversation, and the shortest of its kind."""
        pieces = outline.pieces
        if pieces is None:
            return
        key = (pieces.settings, pieces.kind)
        kept = self._prompts.get(key)
        if kept is None or told.prompt_tokens <= kept.told.prompt_tokens:
            self._prompts[key] = _Prompt(pieces.digests, told)
        self._prompts.move_to_end(key)
        if len(self._prompts) > PROMPTS_MAX:
            self._prompts.popitem(last=False)

    def _shared(self, pieces: Pieces, upstreams: Collection[str]) -> KnownPart | None:
        """Of the prompts with the same settings, the one that leaves the least to bound."""
        sizes = {piece.digest: piece.bytes_known for piece in pieces.all}
        best, saved = None, 0
        for key, prompt in self._prompts.items():
            if key[0] == pieces.settings and prompt.told.counts_for(upstreams):
                alike = sum(map(sizes.__getitem__, sizes.keys() & prompt.digests))
                if alike - prompt.told.prompt_tokens > saved:
                    best, saved = key, alike - prompt.told.prompt_tokens
        if best is None:
            return None
        self._prompts.move_to_end(best)
        prompt = self._prompts[best]
        return part_of(prompt.told.prompt_tokens, *split(pieces.all, prompt.digests))
