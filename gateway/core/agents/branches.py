"""Who hangs below whom in one session. No agent ever comes to be above itself, and each is one deeper than its parent.

An agent whose parent has not been seen waits for it as an orphan: it counts as deep as it is told to be, at least 2,
since only an agent that was itself asked for is named as a parent.
"""

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from gateway.contract import MAIN_AGENT

ORPHAN_DEPTH = 2


class Leaf(Protocol):
    """What hangs in a tree."""

    id: str
    parent: str | None
    depth: int
    parent_inferred: bool


T = TypeVar("T", bound=Leaf)


@dataclass(slots=True)
class Branches(Generic[T]):
    """The agents of one session by id, `main` at the root whether it has been seen or not."""

    agents: dict[str, T] = field(default_factory=dict[str, T])
    deepest: int = 0
    _orphans: dict[str, list[T]] = field(default_factory=dict[str, list[T]])

    def hang(self, node: T, parent: str | None, depth_told: int = ORPHAN_DEPTH) -> None:
        """Put an agent below its parent, and below it those that waited for it."""
        self._leave(node)
        moved = node.id in self.agents
        below = self._children(node) if moved else self._orphans.pop(node.id, [])
        if node.id == MAIN_AGENT:
            node.parent, node.depth = None, 0
        else:
            self._put_below(node, parent or MAIN_AGENT, depth_told)
        self.agents[node.id] = node
        self.deepest = max(self.deepest, node.depth)
        if below:
            self._deepen(below, node.depth + 1)
        if moved or below:
            self._measure()

    def drop(self, node: T) -> None:
        """Take an agent out; what hangs below it waits for it again."""
        del self.agents[node.id]
        self._leave(node)
        children = self._children(node)
        if children:
            self._orphans.setdefault(node.id, []).extend(children)
        self._measure()

    def _put_below(self, node: T, parent: str, depth_told: int) -> None:
        if self._is_below(parent, node.id):
            parent, node.parent_inferred = MAIN_AGENT, True
        node.parent = parent
        above = self.agents.get(parent)
        if parent == MAIN_AGENT:
            node.depth = 1
        elif above is not None:
            node.depth = above.depth + 1
        else:
            node.depth = max(depth_told, ORPHAN_DEPTH)
            self._orphans.setdefault(parent, []).append(node)

    def _leave(self, node: T) -> None:
        waiting = self._orphans.get(node.parent or MAIN_AGENT)
        if waiting is not None and node in waiting:
            waiting.remove(node)
            if not waiting:
                del self._orphans[node.parent or MAIN_AGENT]

    def _is_below(self, agent: str | None, above: str) -> bool:
        while agent is not None:
            if agent == above:
                return True
            found = self.agents.get(agent)
            agent = None if found is None else found.parent
        return False

    def _deepen(self, nodes: list[T], depth: int) -> None:
        children: dict[str | None, list[T]] = {}
        for each in self.agents.values():
            children.setdefault(each.parent, []).append(each)
        waiting = [(each, depth) for each in nodes]
        while waiting:
            each, each_depth = waiting.pop()
            if each.depth != each_depth:
                each.depth = each_depth
                waiting += [(child, each_depth + 1) for child in children.get(each.id, [])]

    def _measure(self) -> None:
        self.deepest = max((node.depth for node in self.agents.values()), default=0)

    def _children(self, node: T) -> list[T]:
        return [each for each in self.agents.values() if each.parent == node.id]
