"""The holds of this process that have not ended, and those that expired and may still be settled. No sums, no I/O."""

from dataclasses import dataclass, field

from gateway.core.money.budgets import Hold
from gateway.core.money.windows import DAY_MS, MINUTE_MS

REMEMBERED_MS = DAY_MS
"""How long a hold that expired is remembered, so that its settlement can still correct it."""
OVERDUE_MS = MINUTE_MS
"""How long after its deadline a hold is taken to have been expired by another process."""


@dataclass(slots=True)
class OwnHolds:
    """By id."""

    open: dict[str, Hold] = field(default_factory=dict[str, Hold])
    held_total: int = 0
    """Nano-dollars that would be spend if all of them expired now."""
    _charges: dict[str, int] = field(default_factory=dict[str, int])
    _late: dict[str, tuple[Hold, int]] = field(default_factory=dict[str, tuple[Hold, int]])
    """With the moment at which they expired."""

    def __contains__(self, hold_id: str) -> bool:
        return hold_id in self.open

    def opened(self, hold: Hold, *, strict: bool) -> None:
        """It is held, or holds more than before."""
        charge = (hold.worst if strict else hold.expected).cost
        self.held_total += charge - self._charges.get(hold.id, 0)
        self._charges[hold.id] = charge
        self.open[hold.id] = hold

    def released(self, hold_id: str) -> Hold | None:
        """It is no longer held; None: it was not."""
        self.held_total -= self._charges.pop(hold_id, 0)
        return self.open.pop(hold_id, None)

    def settled(self, hold_id: str) -> Hold | None:
        """The same; also of one that had expired."""
        hold = self.released(hold_id)
        if hold is None and hold_id in self._late:
            hold, _ = self._late.pop(hold_id)
        return hold

    def expired(self, hold_id: str, now_ms: int) -> None:
        """Its settlement may still come."""
        hold = self.released(hold_id)
        if hold is not None:
            self._late[hold_id] = hold, now_ms

    def forget(self, now_ms: int) -> None:
        """Those that expired long ago will not be settled any more, those that are overdue were expired by others."""
        for id in [id for id, (_, at_ms) in self._late.items() if at_ms + REMEMBERED_MS <= now_ms]:
            del self._late[id]
        for id in [id for id, hold in self.open.items() if hold.deadline_ms + OVERDUE_MS <= now_ms]:
            self.expired(id, now_ms)
