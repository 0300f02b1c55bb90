"""The capability table: which backend has which feature of the Messages API. Data in (`capabilities.yaml`), checked.

`Capabilities.support` makes of it what one upstream takes; how a request is fitted to that is the package itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast, get_args

from gateway.core.bridging.features import VERSION_FEATURE, Cell, Feature, Place, Without, parse_place
from gateway.core.bridging.support import Support
from gateway.core.wire.shapes import Shape

__all__ = ["VERSION_FEATURE", "Capabilities", "CapabilitiesInvalid", "Cell", "Feature", "Support", "parse_capabilities"]

SCHEMA = 1
_ROW_KEYS = {"id", "title", "places", "betas", "needs_beta", "without", "advice", "cells", "send", "source"}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class CapabilitiesInvalid(ValueError):
    """The capability document cannot be used. `problems` holds every one found, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("capability table: " + "; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The whole table."""

    features: tuple[Feature, ...]
    backends: tuple[str, ...]

    def support(
        self, backend: str, shape: Shape, *, cells: Mapping[str, Cell] = _NOTHING, betas: Mapping[str, str] = _NOTHING
    ) -> Support:
        """What an upstream of `backend` takes, where its own `cells` (by feature) and `betas` (by name) come first.

        Betas that no feature names pass on the Anthropic shape and are left out on the others. A backend of that shape
        lacks nothing if the table does not name it.

        Raises:
            ValueError: the table knows no such feature, or no such backend of another shape.
        """
        if backend not in self.backends and shape != "anthropic":
            raise ValueError(f"the capability table knows no backend {backend!r}")
        if unknown := sorted(cells.keys() - {feature.id for feature in self.features}):
            raise ValueError(f"the capability table knows no feature {unknown[0]!r}")
        known = backend in self.backends
        named: Mapping[str, Cell] = cells if known else {feature.id: True for feature in self.features} | dict(cells)
        own = tuple(
            replace(feature, cells={**feature.cells, backend: named[feature.id]}) if feature.id in named else feature
            for feature in self.features
        )
        return Support(backend, own, passes_unlisted=shape == "anthropic", betas=betas)


def parse_capabilities(document: Mapping[str, Any]) -> Capabilities:
    """Build the table from the loaded YAML or JSON document.

    Raises:
        CapabilitiesInvalid: with every problem, each naming its place.
    """
    return _Reader().read(document)


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _texts(value: Any) -> tuple[str, ...] | None:
    """A list of strings that are not empty; None when it is something else."""
    found = _list(value)
    good = isinstance(value, list) and all(isinstance(text, str) and text for text in found)
    return tuple(found) if good else None


class _Reader:
    """One pass over the document that notes problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.backends: Mapping[str, Any] = {}

    def read(self, document: Mapping[str, Any]) -> Capabilities:
        if document.get("schema") != SCHEMA:
            self.problems.append(f"schema: is {document.get('schema')!r}, only {SCHEMA} can be read")
        self.backends = _mapping(document.get("backends"))
        if not self.backends or any(kind not in ("complete", "listed") for kind in self.backends.values()):
            self.problems.append("backends: must name every backend, each complete or listed")
        rows = _list(document.get("features"))
        if not rows:
            self.problems.append("features: is missing or empty; list at least one feature")
        features = [self._read_row(f"features[{index}]", _mapping(row)) for index, row in enumerate(rows)]
        self._check_unique("id", [feature.id for feature in features])
        self._check_unique("beta", [beta for feature in features for beta in feature.betas])
        if self.problems:
            raise CapabilitiesInvalid(self.problems)
        return Capabilities(tuple(features), tuple(sorted(self.backends)))

    def _check_unique(self, what: str, names: Sequence[str]) -> None:
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.problems.append(f"features: the {what} {name!r} occurs twice")

    def _read_row(self, place: str, row: Mapping[str, Any]) -> Feature:
        for key in row.keys() - _ROW_KEYS:
            self.problems.append(f"{place}.{key}: is not a key of a feature")
        feature = Feature(
            id=self._read_text(place, row, "id"),
            title=self._read_text(place, row, "title"),
            places=self._read_places(place, row),
            betas=self._read_texts(place, row, "betas"),
            needs_beta=row.get("needs_beta") is True,
            without=self._read_without(place, row),
            cells=self._read_cells(f"{place}.cells", row.get("cells")),
            send=self._read_send(f"{place}.send", _mapping(row.get("send"))),
            advice=str(row.get("advice") or ""),
            source=str(row.get("source") or ""),
        )
        self._check_row(place, feature)
        return feature

    def _check_row(self, place: str, feature: Feature) -> None:
        if not feature.places and not feature.betas:
            self.problems.append(f"{place}: shows nowhere; give it places or betas")
        if (feature.without == "refuse") != bool(feature.advice):
            self.problems.append(f"{place}.advice: goes with `without: refuse`, and only with it")
        for found in feature.places:
            if not found.may_lose(feature.without):
                self.problems.append(f"{place}.without: {feature.without} is not possible for a {found.kind}")
        if (feature.send or feature.needs_beta) and not feature.betas:
            self.problems.append(f"{place}.betas: is missing, though send or needs_beta speaks of them")

    def _read_text(self, place: str, row: Mapping[str, Any], key: str) -> str:
        found = row.get(key)
        if isinstance(found, str) and found:
            return found
        self.problems.append(f"{place}.{key}: is missing")
        return ""

    def _read_texts(self, place: str, row: Mapping[str, Any], key: str) -> tuple[str, ...]:
        found = _texts(row.get(key, []))
        if found is None:
            self.problems.append(f"{place}.{key}: must be a list of texts")
        return found or ()

    def _read_places(self, place: str, row: Mapping[str, Any]) -> tuple[Place, ...]:
        found: list[Place] = []
        for text in self._read_texts(place, row, "places"):
            parsed = parse_place(text)
            if parsed is None:
                self.problems.append(f"{place}.places: {text!r} is no place in a request")
            else:
                found.append(parsed)
        return tuple(found)

    def _read_without(self, place: str, row: Mapping[str, Any]) -> Without:
        found = row.get("without")
        known: tuple[Without, ...] = get_args(Without)
        for without in known:
            if without == found:
                return without
        self.problems.append(f"{place}.without: is {found!r}; one of {', '.join(known)}")
        return "drop"

    def _read_cells(self, place: str, value: Any) -> Mapping[str, Cell]:
        given = _mapping(value)
        for backend in given.keys() - self.backends.keys():
            self.problems.append(f"{place}.{backend}: is not one of the backends")
        cells: dict[str, Cell] = {}
        for backend, kind in self.backends.items():
            cell = given.get(backend, True if kind == "complete" else None)
            globs = _texts(cell)
            if isinstance(cell, bool) or globs:
                cells[backend] = globs or bool(cell)
            else:
                self.problems.append(f"{place}.{backend}: must be true, false or a list of globs of models")
        return MappingProxyType(cells)

    def _read_send(self, place: str, given: Mapping[str, Any]) -> Mapping[str, str]:
        names: dict[str, str] = {}
        for backend, name in given.items():
            if backend not in self.backends or not (name is False or (isinstance(name, str) and name)):
                self.problems.append(f"{place}.{backend}: must be a backend with a name or false")
            else:
                names[backend] = name or ""
        return MappingProxyType(names)
