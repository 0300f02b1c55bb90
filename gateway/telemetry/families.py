"""What every metric is made with: the prefix, children by label values, and labels whose values are bounded.

No metric is named here.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.contract import MAIN_AGENT
from gateway.core.decisions.decision import Lineage, Principal

OTHER = "other"
NONE = "none"
AGENT_TYPES_MAX = 64
"""Distinct types of agents that become labels; projects name them, and clients write them."""
AGENT_TYPE_CHARS_MAX = 64
MODEL_SPELLINGS_MAX = 1024
"""Spellings of models remembered with their label; clients choose them."""

Child = TypeVar("Child", Counter, Histogram)


class Children(dict[tuple[str, ...], Child]):
    """One metric's children by label values: a plain lookup after the first use, where the library takes a lock."""

    def __init__(self, family: Child) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, labels: tuple[str, ...]) -> Child:
        child = self._family.labels(*labels)
        self[labels] = child
        return child


class Families:
    """Defines metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def counters(self, name: str, meaning: str, labels: tuple[str, ...]) -> Children[Counter]:
        """A counter for each combination of label values."""
        return Children(Counter(f"ringfence_{name}", meaning, labels, registry=self.registry))

    def counter(self, name: str, meaning: str) -> Counter:
        """A counter without labels, which is 0 from the start."""
        return Counter(f"ringfence_{name}", meaning, registry=self.registry)

    def histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        """A histogram without labels."""
        return Histogram(f"ringfence_{name}", meaning, registry=self.registry, buckets=buckets)

    def histograms(
        self, name: str, meaning: str, labels: tuple[str, ...], buckets: Sequence[float]
    ) -> Children[Histogram]:
        """A histogram for each combination of label values."""
        return Children(Histogram(f"ringfence_{name}", meaning, labels, registry=self.registry, buckets=buckets))


class Labels:
    """Values of the labels that clients and organisations choose, kept few."""

    def __init__(self, catalogue: Callable[[str], str | None], teams: Collection[str]) -> None:
        """`catalogue` gives the id of a model that has a price, whatever its spelling, and None for any other."""
        self._catalogue = catalogue
        self._teams = frozenset(teams)
        self._models: dict[str, str] = {}
        self._agent_types: set[str] = set()

    def model(self, model: str) -> str:
        """The id in the price table, else `other`."""
        label = self._models.get(model)
        if label is None:
            label = self._catalogue(model) or OTHER
            if len(self._models) < MODEL_SPELLINGS_MAX:
                self._models[model] = label
        return label

    @property
    def teams(self) -> list[str]:
        """The configured teams."""
        return sorted(self._teams)

    def team(self, principal: Principal | None) -> str:
        """A configured team, else `other`; `none` without one."""
        return self.known_team(None if principal is None else principal.team)

    def known_team(self, team: str | None) -> str:
        """The same of a team's id."""
        return NONE if team is None else team if team in self._teams else OTHER

    def agent_type(self, lineage: Lineage | None) -> str:
        """What a spawn called it, `main` for a session's first agent; `none` when nobody said."""
        if lineage is None:
            return NONE
        if lineage.agent_type:
            short = len(lineage.agent_type) <= AGENT_TYPE_CHARS_MAX
            return bounded(lineage.agent_type, self._agent_types, AGENT_TYPES_MAX) if short else OTHER
        return MAIN_AGENT if lineage.agent == MAIN_AGENT else NONE


def bounded(text: str, seen: set[str], most: int) -> str:
    """`text` while it is among the first `most` that were seen, else `other`."""
    if text not in seen:
        if len(seen) >= most:
            return OTHER
        seen.add(text)
    return text


def flag(value: bool) -> str:
    """A boolean as a label."""
    return "true" if value else "false"
