"""How far a resumed run has come along the calls of an old one: by one list per branch, or by one over everything.

Both tell which old call stands in the place of the next one, and whether a miss before it has made that worthless.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal

from runtime.core.branches import FOLDED, ROOT, ancestors_of, group_of
from runtime.core.journal import NestedLine
from runtime.core.model import CallIndex, Scope
from runtime.core.recorded import Past, Recorded

MissReason = Literal[
    "changed_prompt",
    "args_changed",
    "new",
    "failed",
    "unfinished",
    "steered",
    "worktree_gone",
    "never",
    "child_changed",
    "after_miss",
]
"""Why a call runs again. `args_changed`: its prompt differs, and so do the arguments of the run."""


@dataclass(slots=True)
class _Branch:
    """Where a branch stands. `live_after`: the drain after which its calls are live; None: they are replayed."""

    live_after: int | None = None
    cause: MissReason = "after_miss"
    calls: int = 0
    nested: int = 0


class Branches:
    """The lists of all branches, and how far each has come."""

    def __init__(self, recorded: Recorded) -> None:
        self._lists: dict[Scope, list[Past]] = {}
        for index in sorted(recorded.calls):
            past = recorded.calls[index]
            self._lists.setdefault(past.issued.scope, []).append(past)
        self._nested: dict[Scope, list[NestedLine]] = {}
        for line in recorded.nested:
            self._nested.setdefault(line.scope, []).append(line)
        self._left = _Left(recorded, self._lists)
        self._branches: dict[Scope, _Branch] = {ROOT: _Branch()}
        self._groups: dict[str, bool] = {}
        """Does a group begin live?"""
        self._folded_after: int | None = None
        """A miss below a folded scope, whose ancestors are unknown: everything is live after this drain."""
        self._any_after: int | None = None
        """The drain of the first miss."""
        self._drain = 0
        self._is_told = False

    def next_drain(self) -> None:
        self._is_told = True
        self._drain += 1

    def reach(self, scope: Scope) -> tuple[Past | None, MissReason | None]:
        """The old call in this place, and why it counts no more, if so."""
        self._count()
        branch = self._branch(scope)
        calls = self._lists.get(scope, [])
        past = calls[branch.calls] if branch.calls < len(calls) else None
        branch.calls += 1
        if past is None:
            return None, self._live(branch)
        lost = self._left.precedes(past)
        self._left.take(past)
        return past, self._live(branch) or ("after_miss" if lost else None)

    def spoil(self, scope: Scope) -> None:
        """A miss: the branch and all above it are live from the next drain on."""
        self._note(self._branch(scope))
        if scope.startswith(FOLDED) and self._folded_after is None:
            self._folded_after = self._drain
        for ancestor in ancestors_of(scope):
            above = self._branch(ancestor)
            if above.live_after is not None:
                break
            self._note(above)

    def begin_group(self, scope: Scope, group: str) -> None:
        self._count()
        self._groups[group] = self._live(self._branch(scope)) is not None

    def reach_nested(self, scope: Scope) -> tuple[NestedLine | None, Scope]:
        """The old workflow in this place, and the scope of the new one's calls."""
        self._count()
        branch = self._branch(scope)
        lines = self._nested.get(scope, [])
        number = branch.nested
        branch.nested += 1
        child = Scope(f"{scope}/w{number}")
        self._branch(child)
        return lines[number] if number < len(lines) else None, child

    def spoil_nested(self, child: Scope) -> None:
        """Nothing of the child counts, from its first call on."""
        branch = self._branch(child)
        if branch.live_after is None:
            branch.live_after, branch.cause = -1, "child_changed"
        self.spoil(child)

    def _count(self) -> None:
        if not self._is_told:
            self._drain += 1

    def _note(self, branch: _Branch) -> None:
        if branch.live_after is None:
            branch.live_after = self._drain
        if self._any_after is None:
            self._any_after = self._drain

    def _live(self, branch: _Branch) -> MissReason | None:
        if branch.live_after is not None and self._drain > branch.live_after:
            return branch.cause
        return "after_miss" if self._folded_after is not None and self._drain > self._folded_after else None

    def _branch(self, scope: Scope) -> _Branch:
        """Made when it is first needed, and all above it with it: nearest to the root first."""
        known = self._branches.get(scope)
        if known is not None:
            return known
        missing = [scope]
        for ancestor in ancestors_of(scope):
            if ancestor in self._branches:
                break
            missing.append(ancestor)
        for name in reversed(missing):
            self._branches[name] = self._begin(name)
        return self._branches[scope]

    def _begin(self, scope: Scope) -> _Branch:
        above = self._branches[next(ancestors_of(scope))]
        if scope.startswith(FOLDED) and "/" not in scope[1:]:
            is_live = self._any_after is not None and self._drain > self._any_after
            return _Branch(live_after=-1 if is_live else None)
        is_live = self._groups.setdefault(group_of(scope), self._live(above) is not None)
        return _Branch(live_after=-1, cause=above.cause) if is_live else _Branch()


class _Left:
    """Old calls that the new script has not asked for: those of a branch that it has shortened or left out."""

    def __init__(self, recorded: Recorded, scopes: Container[Scope]) -> None:
        self._below: dict[Scope, list[CallIndex]] = {}
        self._passed: dict[Scope, int] = {}
        self._taken: set[CallIndex] = set()
        for index in sorted(recorded.calls):
            for ancestor in ancestors_of(recorded.calls[index].issued.scope):
                if ancestor in scopes:
                    self._below.setdefault(ancestor, []).append(index)

    def take(self, past: Past) -> None:
        """It was asked for."""
        self._taken.add(past.index)

    def precedes(self, past: Past) -> bool:
        """Is one of them below the branch of this call, and was it issued before it?"""
        scope = past.issued.scope
        below = self._below.get(scope, [])
        passed = self._passed.get(scope, 0)
        while passed < len(below) and below[passed] in self._taken:
            passed += 1
        self._passed[scope] = passed
        return passed < len(below) and below[passed] < past.index


@dataclass(slots=True)
class OneList:
    """One list of all calls."""

    recorded: Recorded
    calls: list[Past] = field(init=False)
    reached: int = 0
    nested: int = 0
    is_broken: bool = False

    def __post_init__(self) -> None:
        self.calls = self.recorded.in_start_order()

    def next_drain(self) -> None:
        """A miss counts at once."""

    def reach(self, scope: Scope) -> tuple[Past | None, MissReason | None]:
        past = self.calls[self.reached] if self.reached < len(self.calls) else None
        self.reached += 1
        return past, "after_miss" if self.is_broken else None

    def spoil(self, scope: Scope) -> None:
        self.is_broken = True

    def begin_group(self, scope: Scope, group: str) -> None:
        """Groups are no branches here."""

    def reach_nested(self, scope: Scope) -> tuple[NestedLine | None, Scope]:
        lines = self.recorded.nested
        number = self.nested
        self.nested += 1
        return lines[number] if number < len(lines) else None, scope

    def spoil_nested(self, child: Scope) -> None:
        self.is_broken = True
