"""A request fitted to an upstream that lacks some of what it uses. Beta and field travel or fall together.

Edits are splices; what the upstream takes stays byte for byte, and a request that loses nothing is the same object.
What is missing where is data (`capabilities.py`); moving a request to another dialect is `translate.py`.
"""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.core.bridging.losses import Losses
from gateway.core.bridging.support import Lacks, Support
from gateway.core.bridging.trimming import Trimmer
from gateway.core.bridging.turns import fit_messages
from gateway.core.wire.shapes import OLD_VERSION, Change
from gateway.core.wire.spans import Edit, Span, members, splice


class Bridgeable(msgspec.Struct, frozen=True):
    """A request: its body in the client's dialect, and what stands outside the body in some dialects."""

    body: bytes
    spans: Mapping[str, Span]
    betas: Sequence[str]
    version: str
    model: str
    """As the price table spells it."""


class Bridged(msgspec.Struct, frozen=True):
    """The same request as the upstream takes it, and what became of the rest."""

    body: bytes
    spans: Mapping[str, Span]
    betas: tuple[str, ...]
    version: str
    changes: tuple[Change, ...]


def bridge(request: Bridgeable, support: Support) -> Bridged:
    """Take out or rewrite what the upstream lacks.

    Raises:
        Refused: CAPABILITY_MISSING, when the request cannot do without it.
        Malformed: with the place, when a part that had to be looked into is not what the Messages API takes.
    """
    lacks = support.lacks(request.model)
    losses = Losses(support.backend)
    betas, changes = _fit_betas(request, support)
    version = _fit_version(request.version, lacks, losses)
    edits = _edits(Trimmer(request.body, lacks, losses), dict(request.spans)) if lacks.places else []
    body = splice(request.body, edits) if edits else request.body
    spans = members(body) if edits else request.spans
    return Bridged(body, spans, betas, version, losses.changes(changes))


def _fit_betas(request: Bridgeable, support: Support) -> tuple[tuple[str, ...], list[Change]]:
    sent: dict[str, None] = {}
    changes: list[Change] = []
    for beta in request.betas:
        name, change = support.beta(beta, request.model)
        if name:
            sent[name] = None
        if change is not None:
            changes.append(change)
    return tuple(sent), changes


def _fit_version(version: str, lacks: Lacks, losses: Losses) -> str:
    for place, feature in lacks.at("version"):
        if place.value == version:
            losses.note(feature)
            return OLD_VERSION
    return version


def _edits(trimmer: Trimmer, spans: dict[str, Span]) -> list[Edit]:
    edits = trimmer.fields(spans)
    if "messages" in spans:
        edits += fit_messages(trimmer, spans["messages"])
    if "tools" in spans:
        edits += trimmer.tools(spans["tools"])
    return edits + trimmer.system(spans["system"]) if "system" in spans else edits
