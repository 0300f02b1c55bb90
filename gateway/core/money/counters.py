"""The series of the ledger: what each has used and holds, what of it is past. Which limits guard it: `ledger.py`."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.core.money.budgets import Hold, LimitView
from gateway.core.money.limits import Amounts, LimitRow, Series
from gateway.core.money.windows import Calendar, rolling_ms, slot_ms


@dataclass(slots=True, eq=False)
class Counter:
    """A series. `slots` are (start, amount) of a rolling window, oldest first."""

    series: Series
    meter: int
    """Position of the series' meter in `Amounts`."""
    ends_ms: int | None
    """End of the calendar window that `used` is of; None: it never ends all at once."""
    used: int = 0
    worst: int = 0
    expected: int = 0
    open_holds: int = 0
    touched_ms: int = 0
    """When something was last held, counted or corrected; 0: never."""
    since_ms: int = 0
    """Nothing of before is in `used`."""
    slots: deque[list[int]] = field(default_factory=deque[list[int]])
    rows: tuple[LimitRow, ...] = ()
    """The limits that guarded it since they were set."""

    def roll(self, calendar: Calendar, now_ms: int) -> None:
        """Leave out what is past."""
        if self.ends_ms is not None and now_ms >= self.ends_ms:
            self.used = 0
            self.ends_ms = calendar.end_ms(self.series.window, now_ms)
        elif self.slots:
            start_ms = calendar.start_ms(self.series.window, now_ms)
            while self.slots and self.slots[0][0] < start_ms:
                self.used -= self.slots.popleft()[1]

    def add(self, amount: int, now_ms: int) -> None:
        """Count `amount`; never for a moment before the last one."""
        self.used += amount
        if amount and rolling_ms(self.series.window) is not None:
            slot = now_ms // slot_ms(self.series.window) * slot_ms(self.series.window)
            if not self.slots or self.slots[-1][0] < slot:
                self.slots.append([slot, amount])
            else:
                self.slots[-1][1] += amount

    def correct(self, change: int, at_ms: int, calendar: Calendar, now_ms: int) -> None:
        """Change what was counted at `at_ms`, if it still counts; roll before.

        Never the usage of another window: taking from today what yesterday counted too much would let today's cap be
        passed. Of a rolling window what is left over leaves with the later slots, so that none leaves too early.
        """
        if at_ms < max(self.since_ms, calendar.start_ms(self.series.window, now_ms)):
            return
        if rolling_ms(self.series.window) is None:
            self.used = max(0, self.used + change)
            return
        slot = at_ms // slot_ms(self.series.window) * slot_ms(self.series.window)
        later = [each for each in self.slots if each[0] >= slot]
        earlier = [each for each in self.slots if each[0] < slot]
        if change > 0 and (not later or later[0][0] > slot):
            later.insert(0, [slot, 0])
        for each in later:
            part = max(change, -each[1])
            each[1] += part
            change -= part
        self.slots = deque([*earlier, *(each for each in later if each[1])])
        self.used = sum(each[1] for each in self.slots)

    def hold(self, hold: Hold) -> None:
        """Hold what `hold` may need."""
        self.worst += hold.worst[self.meter]
        self.expected += hold.expected[self.meter]
        self.open_holds += 1

    def unhold(self, hold: Hold) -> None:
        """Take it back."""
        self.worst -= hold.worst[self.meter]
        self.expected -= hold.expected[self.meter]
        self.open_holds -= 1

    def would_pass(self, row: LimitRow, worst: Amounts, expected: Amounts) -> bool:
        """Would so much more pass the limit?"""
        assert row.max is not None
        if row.strict:
            return self.used + self.worst + worst[self.meter] > row.max
        return self.used + self.expected + expected[self.meter] > row.max

    def view(self, row: LimitRow) -> LimitView:
        """The limit as it stands; roll before."""
        resets_at_ms = self.ends_ms
        length = rolling_ms(self.series.window)
        if length is not None and self.slots:
            resets_at_ms = self.slots[0][0] + slot_ms(self.series.window) + length
        held = self.worst if row.strict else self.expected
        return LimitView(self.series, row, self.used, held, resets_at_ms)


class Counters:
    """Every series that is counted."""

    def __init__(self) -> None:
        self._by_series: dict[Series, Counter] = {}
        self._by_account: dict[str, list[Counter]] = {}

    def __iter__(self) -> Iterator[Counter]:
        return iter(self._by_series.values())

    def __contains__(self, series: Series) -> bool:
        return series in self._by_series

    def find(self, series: Series) -> Counter | None:
        """The counter of a series; None: it is not counted."""
        return self._by_series.get(series)

    def on(self, accounts: Sequence[str], model: str, backends: Collection[str]) -> list[Counter]:
        """Those that a request of these accounts counts on: also those that no limit guards just now, or not for it."""
        found = [counter for account in accounts for counter in self._by_account.get(account, ())]
        return [counter for counter in found if counter.series.may_cover(model, backends)]

    def add(self, counter: Counter) -> None:
        """Begin to count."""
        self._by_series[counter.series] = counter
        self._by_account.setdefault(counter.series.account, []).append(counter)

    def drop(self, counter: Counter) -> None:
        """Forget."""
        del self._by_series[counter.series]
        others = self._by_account[counter.series.account]
        others.remove(counter)
        if not others:
            del self._by_account[counter.series.account]
