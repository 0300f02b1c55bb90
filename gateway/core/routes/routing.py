"""Which upstreams serve a request, in which order. Holds no health and no stickiness: both are told to `order`.

    1. the session's own upstream, when it is usable: its prompt cache and its bound thinking blocks are there
    2. those with a weight, in an order that is drawn per session by rendezvous hashing
    3. those without, as they stand in the route
    4. those that are cooling, in the order that they would have had

The draw is a function of session and upstream alone: every replica draws the same, and when an upstream is taken out
only its own sessions move.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from math import log
from typing import Literal

from gateway.core.decisions.decision import Principal

Health = Literal["usable", "cooling", "open"]

_DRAWN_BYTES = 6
"""Of the hash: 48 bits, exact in a float."""
_DRAWS = 1 << (8 * _DRAWN_BYTES)


@dataclass(frozen=True, slots=True)
class Route:
    """Model globs, the ids of the upstreams that serve them, best first, and whom it is for; empty: everyone."""

    models: tuple[str, ...]
    upstreams: tuple[str, ...]
    weights: Mapping[str, int] = field(default_factory=dict[str, int])
    principals: tuple[str, ...] = ()


def select_route(routes: Sequence[Route], model: str, principal: Principal) -> Route | None:
    """The first route that is for this model and this principal."""
    for route in routes:
        if any(fnmatchcase(model, glob) for glob in route.models) and _is_for(route, principal):
            return route
    return None


def order(route: Route, *, session: str, sticky: str | None, health: Callable[[str], Health]) -> list[str]:
    """Upstreams of `route` to try, best first, without those whose breaker is open. `sticky`: the session's own."""
    usable: list[str] = []
    cooling: list[str] = []
    for upstream in _preferred(route, session, sticky):
        standing = health(upstream)
        if standing == "usable":
            usable.append(upstream)
        elif standing == "cooling":
            cooling.append(upstream)
    return usable + cooling


def resolve_alias(aliases: Mapping[str, str], model: str) -> str:
    """The model id that goes upstream for the one the client asked for."""
    return aliases.get(model, model)


def _preferred(route: Route, session: str, sticky: str | None) -> Sequence[str]:
    preferred: Sequence[str] = route.upstreams
    if route.weights:
        weighted = [each for each in preferred if route.weights.get(each, 0) > 0]
        weighted.sort(key=lambda each: _distance(session, each, route.weights[each]))
        preferred = [*weighted, *(each for each in preferred if each not in weighted)]
    if sticky is not None and sticky in preferred:
        preferred = [sticky, *(each for each in preferred if each != sticky)]
    return preferred


def _distance(session: str, upstream: str, weight: int) -> float:
    """Exponentially distributed with rate `weight`: the least of several is each one's in proportion to its weight."""
    digest = sha256(f"{session}\0{upstream}".encode("utf-8", "surrogatepass")).digest()
    drawn = (int.from_bytes(digest[:_DRAWN_BYTES], "big") + 0.5) / _DRAWS
    return -log(drawn) / weight


def _is_for(route: Route, principal: Principal) -> bool:
    return not route.principals or any(_names(text, principal) for text in route.principals)


def _names(text: str, principal: Principal) -> bool:
    """Does `team:x`, `user:x`, `credential:x`, `group:x` or `tag:name=value` name them? Anything else names nobody."""
    kind, _, value = text.partition(":")
    match kind:
        case "team":
            return principal.team == value
        case "user":
            return principal.user == value
        case "credential":
            return principal.credential == value
        case "group":
            return value in principal.groups
        case "tag":
            name, given, wanted = value.partition("=")
            return bool(given) and principal.tags.get(name) == wanted
        case _:
            return False
