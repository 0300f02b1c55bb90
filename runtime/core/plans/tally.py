"""Counts what a rehearsal shows: calls by phase and model, and how wide the script fans out."""

import re
from collections import Counter
from collections.abc import Sequence

from runtime.core.branches import fold_scope, group_of
from runtime.core.model import CallOptions, Scope
from runtime.core.plans.forecast import CallCount, Ending, FanOutCount, PhaseCount, Rehearsal
from runtime.core.program import AgentOp

FAN_OUTS_MAX = 64
"""Most that are told, the widest first."""
WARNINGS_MAX = 50

_ITEM = re.compile(r"\.\d+")
_BATCH = re.compile(r"/b\d+")
_CHAIN = re.compile(r"(/b\*\.\*)+")


class Tally:
    """Of one rehearsal."""

    def __init__(self) -> None:
        self.calls = 0
        self.nested = 0
        self._uses: Counter[tuple[str | None, str | None, str | None, str | None]] = Counter()
        self._groups: dict[str, list[int]] = {}
        self._warnings: dict[str, None] = {}

    def call(self, options: CallOptions, phase: str | None) -> None:
        """One was accepted."""
        self.calls += 1
        self._uses[phase, options.model, options.agent_type, options.effort] += 1

    def group(self, group: str, items: int) -> None:
        """Things side by side. Those that one place of the script makes again and again are told together."""
        path = _CHAIN.sub("/b*.*", _BATCH.sub("/b*", _ITEM.sub(".*", group)))
        self._groups.setdefault(path, []).append(items)

    def batches(self, calls: Sequence[AgentOp], scopes: Sequence[Scope]) -> None:
        """Calls that were issued side by side."""
        placed = zip(calls, scopes, strict=True)
        for group, items in Counter(group_of(scope) for op, scope in placed if scope != fold_scope(op.scope)).items():
            self.group(group, items)

    def warn(self, text: str) -> None:
        """Once each."""
        if len(self._warnings) < WARNINGS_MAX:
            self._warnings[text] = None

    def told(self, ending: Ending, message: str) -> Rehearsal:
        """Everything."""
        phases: Counter[str | None] = Counter()
        for (phase, *_), calls in self._uses.items():
            phases[phase] += calls
        widest = sorted(self._groups.items(), key=lambda group: -sum(group[1]))[:FAN_OUTS_MAX]
        return Rehearsal(
            ended=ending,
            terminated=ending in ("returned", "threw"),
            message=message,
            calls=self.calls,
            phases=tuple(PhaseCount(title=title, calls=calls) for title, calls in phases.items()),
            fan_outs=tuple(
                FanOutCount(path=path, groups=len(items), items_max=max(items), items=sum(items))
                for path, items in widest
            ),
            models=tuple(
                CallCount(phase=phase, model=model, agent_type=agent_type, effort=effort, calls=calls)
                for (phase, model, agent_type, effort), calls in self._uses.items()
            ),
            nested=self.nested,
            warnings=tuple(self._warnings),
        )
