"""Which upstreams serve a model, in order. Static: health and stickiness are not looked at here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Route:
    """Model globs and the ids of the upstreams that serve them, best first."""

    models: tuple[str, ...]
    upstreams: tuple[str, ...]


def select_upstreams(routes: Sequence[Route], model: str) -> tuple[str, ...]:
    """Upstreams of the first route that matches; empty when none does."""
    for route in routes:
        if any(fnmatchcase(model, glob) for glob in route.models):
            return route.upstreams
    return ()


def resolve_alias(aliases: Mapping[str, str], model: str) -> str:
    """The model id that goes upstream for the one the client asked for."""
    return aliases.get(model, model)
