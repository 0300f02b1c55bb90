"""Branches of a script (W157, W158): which one a call belongs to, how their names nest. No rule of replay is here.

A scope is a path of segments: `/<group>.<item>` of a `parallel` or `pipeline`, `/b<batch>.<item>` of calls issued in
one drain, `/w<n>` of a nested workflow. The sandbox writes the first and the last; batches are made here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256

from runtime.core.model import Scope

ROOT = Scope("")
SCOPE_CHARS_MAX = 2_000
FOLDED = "/~"
"""How a scope begins whose real ancestors were too long to be kept."""
FOLDED_DIGITS = 32


class Batches:
    """Tells calls apart that were issued side by side, such as by `Promise.all`, by counting them per scope."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: Counter[Scope] = Counter()

    def assign(self, scopes: Sequence[Scope]) -> list[Scope]:
        """Scopes of the calls of one drain, in order, from those under which the script issued them.

        Several calls in one scope get `/b<k>.<i>` each, where k counts the batches of that scope; one alone keeps it.
        """
        folded = [fold_scope(scope) for scope in scopes]
        calls = Counter(folded)
        branches = {scope: iter(self._branches(scope, calls[scope])) for scope in calls}
        return [next(branches[scope]) for scope in folded]

    def _branches(self, scope: Scope, calls: int) -> list[Scope]:
        if calls == 1:
            return [scope]
        batch = self._made[scope]
        self._made[scope] += 1
        return [fold_scope(Scope(f"{scope}/b{batch}.{item}")) for item in range(calls)]


def fold_scope(scope: Scope) -> Scope:
    """The scope itself, or a short name that only it has when it is longer than `SCOPE_CHARS_MAX`."""
    if len(scope) <= SCOPE_CHARS_MAX:
        return scope
    return Scope(FOLDED + sha256(scope.encode()).hexdigest()[:FOLDED_DIGITS])


def ancestors_of(scope: Scope) -> Iterator[Scope]:
    """Nearest first, the root last; none of the root itself. Those that folding hid are left out."""
    end = scope.rfind("/")
    while end >= 0:
        yield Scope(scope[:end])
        end = scope.rfind("/", 0, end)


def group_of(scope: Scope) -> str:
    """The scope without its last item number: what the branches of one group share."""
    segment = scope.rfind("/")
    point = scope.find(".", segment + 1)
    return scope if point < 0 else scope[:point]
