"""The capability table as one upstream has it: which features and betas it takes, for which model. Edits nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.core.bridging.features import UNLISTED_BETA, Cell, Feature, Kind, Place, cell_holds, undated
from gateway.core.wire.shapes import Change

MODELS_MAX = 256
"""Models whose lacks are remembered; clients choose the names."""

_claude_id = re.compile(r"claude-[a-z0-9.@-]+")


@dataclass(frozen=True, slots=True)
class Lacks:
    """What an upstream lacks for one model, by where it shows."""

    places: Mapping[Kind, tuple[tuple[Place, Feature], ...]]
    message_marks: tuple[bytes, ...] = ()
    tool_marks: tuple[bytes, ...] = ()
    block_marks: tuple[bytes, ...] = ()
    """Bytes of which one stands in `messages`, `tools` or `system` when something lacking does.

    A client that escapes plain letters is not noticed; the upstream then refuses what we would have left out.
    """

    def at(self, kind: Kind) -> tuple[tuple[Place, Feature], ...]:
        """The places of one kind, each with its feature."""
        return self.places.get(kind, ())


class Support:
    """What one upstream takes."""

    __slots__ = ("_betas", "_cells", "_features", "_lacks", "_owners", "_passes_unlisted", "backend", "complete")

    def __init__(
        self, backend: str, features: Sequence[Feature], *, passes_unlisted: bool, betas: Mapping[str, str]
    ) -> None:
        """`features` with the cells that hold for this upstream; `betas`: name to `keep`, `drop` or another name."""
        self.backend = backend
        self._features = tuple(features)
        self._betas = dict(betas)
        self._owners = {beta: feature for feature in features for beta in feature.betas}
        self._cells: dict[str, Cell] = {feature.id: feature.cells[backend] for feature in features}
        self._passes_unlisted = passes_unlisted
        self._lacks: dict[str, Lacks] = {}
        for beta, choice in betas.items():
            owner = self._owner(beta)
            if choice == "drop" and owner is not None and owner.needs_beta:
                self._cells[owner.id] = False
        self.complete: bool = passes_unlisted and not self._betas and all(cell is True for cell in self._cells.values())
        """It has every feature and takes every beta by the name that its own shape has for it: nothing to bridge."""

    def has(self, feature: str, model: str) -> bool:
        """Does it have this feature for this model? `KeyError` when the table has no such feature."""
        return cell_holds(self._cells[feature], _bare(model))

    def lacks(self, model: str) -> Lacks:
        """What it lacks for this model."""
        found = self._lacks.get(model)
        if found is None:
            if len(self._lacks) >= MODELS_MAX:
                self._lacks.clear()
            found = self._lacks[model] = _compiled([row for row in self._features if not self.has(row.id, model)])
        return found

    def beta(self, name: str, model: str) -> tuple[str, Change | None]:
        """The name under which a beta is sent, empty when it is not; and what is to be reported of that."""
        owner = self._owner(name)
        choice = self._betas.get(name)
        label = owner.id if owner else UNLISTED_BETA
        if choice is None:
            return self._by_table(name, owner, model)
        if choice == "drop":
            return "", Change(label, "dropped")
        return _renamed(name, name if choice == "keep" else choice, label)

    def _by_table(self, name: str, owner: Feature | None, model: str) -> tuple[str, Change | None]:
        if owner is None:
            return (name, None) if self._passes_unlisted else ("", Change(UNLISTED_BETA, "dropped"))
        if not self.has(owner.id, model):
            return "", Change(owner.id, "dropped")
        return _renamed(name, owner.send.get(self.backend, name), owner.id)

    def _owner(self, beta: str) -> Feature | None:
        return self._owners.get(beta) or self._owners.get(undated(beta))


def _renamed(name: str, sent: str, label: str) -> tuple[str, Change | None]:
    """A beta that is not sent because its feature does without is no loss, so nothing is reported of it."""
    return sent, Change(label, "renamed") if sent and sent != name else None


def _bare(model: str) -> str:
    """The model's own id in what a cloud calls it; an opaque id as it is, which no glob of the table matches."""
    found = _claude_id.search(model)
    return found[0] if found else model


def _compiled(features: Sequence[Feature]) -> Lacks:
    places: dict[Kind, list[tuple[Place, Feature]]] = {}
    for feature in features:
        for place in feature.places:
            places.setdefault(place.kind, []).append((place, feature))
    return Lacks(
        MappingProxyType({kind: tuple(found) for kind, found in places.items()}),
        message_marks=_marks(places, "role", "entry", "source", "block", "cache_member"),
        tool_marks=_marks(places, "tool", "tool_member", "cache_member"),
        block_marks=_marks(places, "cache_member"),
    )


def _marks(places: Mapping[Kind, Sequence[tuple[Place, Feature]]], *kinds: Kind) -> tuple[bytes, ...]:
    words = {place.name or place.value for kind in kinds for place, _ in places.get(kind, ())}
    return tuple(f'"{word[:-1]}'.encode() if word.endswith("*") else f'"{word}"'.encode() for word in sorted(words))
