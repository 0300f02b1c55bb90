"""What agents held and used, counted beside the store: plain sums by account and day, and one end for each hold."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow

DAY_MS = 86_400_000


class Ended(NamedTuple):
    """A hold that ended: when, and at what cost."""

    hold: Hold
    at_ms: int
    cost: int


@dataclass(slots=True)
class Tally:
    """Sums in nano-dollars. Days are UTC's, by a clock that never goes back."""

    limits: tuple[LimitRow, ...]
    now_ms: int
    open: dict[str, Hold] = field(default_factory=dict[str, Hold])
    settled: dict[str, Ended] = field(default_factory=dict[str, Ended])
    released: dict[str, Hold] = field(default_factory=dict[str, Hold])
    expired: dict[str, Ended] = field(default_factory=dict[str, Ended])
    corrected: dict[str, Ended] = field(default_factory=dict[str, Ended])
    used: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    used_by_day: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    held_worst: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    held_expected: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def at(self, now_ms: int) -> None:
        """Time goes on."""
        self.now_ms = max(self.now_ms, now_ms)

    def reserve(self, hold: Hold) -> None:
        """The store said yes."""
        assert hold.id not in self.settled and hold.id not in self.released and hold.id not in self.expired
        assert hold.id not in self.open, "a hold was taken twice"
        self.open[hold.id] = hold
        self._hold(hold, 1)

    def extend(self, larger: Hold) -> None:
        """The store gave more."""
        self._hold(self.open[larger.id], -1)
        self.open[larger.id] = larger
        self._hold(larger, 1)

    def settle(self, id: str, spent: Amounts) -> None:
        """Usage was reported."""
        hold = self.open.pop(id)
        self._hold(hold, -1)
        self.settled[id] = self._use(hold, self.now_ms, spent.cost)

    def release(self, id: str) -> None:
        """Nothing was used."""
        hold = self.released[id] = self.open.pop(id)
        self._hold(hold, -1)

    def expire(self, id: str, charge: Amounts) -> None:
        """The store took a hold for spend."""
        hold = self.open.pop(id)
        self._hold(hold, -1)
        assert charge.cost == self.charge(hold), f"{id} expired at another amount than was held"
        self.expired[id] = self._use(hold, self.now_ms, charge.cost)

    def correct(self, id: str, spent: Amounts) -> None:
        """Usage of an expired hold was reported after all: it counts for the day of the expiry."""
        hold, at_ms, cost = self.expired.pop(id)
        self._use(hold, at_ms, -cost)
        self.corrected[id] = self._use(hold, at_ms, spent.cost)

    def lose(self, id: str, charge: Amounts) -> None:
        """A crash took the end of a hold from the store, which therefore took the hold for spend."""
        for ends in (self.settled, self.expired):
            ended = ends.pop(id, None)
            if ended is not None:
                self._use(ended.hold, ended.at_ms, -ended.cost)
                self._reopen(ended.hold)
        released = self.released.pop(id, None)
        if released is not None:
            self._reopen(released)
        self.expire(id, charge)

    def charge(self, hold: Hold) -> int:
        """What it costs if nobody ends it: the worst case when a strict limit guards it."""
        strict = any(
            row.strict and (row.account in hold.accounts) and (row.per is None or has_kind(hold, row.per))
            for row in self.limits
        )
        return (hold.worst if strict else hold.expected).cost

    def used_in(self, account: str, window: str) -> int:
        """In all, or today."""
        return self.used[account] if window == "total" else self.used_by_day[account, self.now_ms // DAY_MS]

    def _reopen(self, hold: Hold) -> None:
        self.open[hold.id] = hold
        self._hold(hold, 1)

    def _hold(self, hold: Hold, sign: int) -> None:
        for account in hold.accounts:
            self.held_worst[account] += sign * hold.worst.cost
            self.held_expected[account] += sign * hold.expected.cost

    def _use(self, hold: Hold, at_ms: int, cost: int) -> Ended:
        for account in hold.accounts:
            self.used[account] += cost
            self.used_by_day[account, at_ms // DAY_MS] += cost
        return Ended(hold, at_ms, cost)


def has_kind(hold: Hold, kind: str) -> bool:
    """Is one of its accounts a `kind`?"""
    return any(account.startswith(kind + ":") for account in hold.accounts)
