"""Ledger arithmetic: what every series has used and holds, in memory; time is an argument.

A hold ends exactly once: settle, release or expire; whatever comes second changes nothing, but that the usage of an
expired hold, when it is reported after all, corrects what was counted for it. A reservation is taken on every series
or on none. Invariants, for each series:

    held = sum of the open holds on it (worst cases and expected amounts apart)
    used = sum of what was settled or expired on it within its window
    strict limits:  used + held worst cases       <= max after every reserve, and extend that takes more of it
    other limits:   used + held expected amounts  <= max after every reserve, and extend that takes more of it

A hold is on every series of its accounts that is known and may cover it, whether a limit guards it just now or not: so
a limit that is deleted and set again, or that holds for some requests of an account only, finds the whole sum.

So a strict limit is never passed as long as no settlement is dearer than its worst case. A hold that expires is spend
at the held amount: its worst case when a strict limit guards it (the true cost is not known and the cap must hold),
else its expected one; the same on all its series, so that sums agree. The correction of an expired hold counts for the
moment of the expiry: what is taken from a window that is over leaves no room in this one.

Not the store: what survives a restart is `stores/`, which restores a series that is not known here before it is held
on. Rejected: counting by account alone, because a rolling window or a limit for some models has sums of its own.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from gateway.core.money.budgets import Exhausted, Expired, Hold, LimitView, Settled, Spend, reset_last
from gateway.core.money.counters import Counter, Counters
from gateway.core.money.limits import (
    METERS,
    NOTHING,
    PASSING_KINDS,
    Amounts,
    Applied,
    LimitRow,
    Limits,
    Series,
    kind_of,
)
from gateway.core.money.windows import DAY_MS, HOUR_MS, QUARTER_MS, Calendar, rolling_ms

AMOUNT_MAX = 10**15
"""A million dollars: more for one response is a fault of whoever reports it, and would overflow a store."""
PLANS_MAX = 4_096
"""Distinct sets of accounts whose limits are remembered."""
CORRECTABLE_MS = DAY_MS
"""How long after a hold expired its true usage still corrects it."""


_Guards = tuple[tuple[Counter, LimitRow], ...]
"""Limits to be met, each with its counter."""


class _Plan(NamedTuple):
    """Where the holds of a set of accounts go."""

    guards: _Guards
    counters: tuple[Counter, ...]
    strict: bool


@dataclass(slots=True)
class _Open:
    """An open hold, and whether a strict limit guards it."""

    hold: Hold
    counters: list[Counter]
    guards: _Guards
    strict: bool

    @property
    def charge(self) -> Amounts:
        """What it costs if it expires."""
        return (self.hold.worst if self.strict else self.hold.expected).countable

    @property
    def charge_nanousd(self) -> int:
        """The money of it."""
        return (self.hold.worst if self.strict else self.hold.expected).cost


class LedgerBook:
    """All series and open holds of one process."""

    def __init__(self, limits: Limits, now_ms: int = 0, calendar: Calendar | None = None) -> None:
        self.limits = limits
        self._pools = _pools(limits)
        self._calendar = calendar or Calendar()
        self._now_ms = now_ms
        self._counters = Counters()
        self._plans: OrderedDict[tuple[tuple[str, ...], str, tuple[str, ...]], _Plan] = OrderedDict()
        self._planned: set[str] = set()
        """Accounts that plans name: a new series of one of them makes the plans stale."""
        self._open: dict[str, _Open] = {}
        self._expired: dict[str, tuple[_Open, int]] = {}
        self._held_total = 0

    def change_limits(self, limits: Limits) -> list[str]:
        """Other limits hold from now on; nothing that was counted or is held changes.

        Returns the open holds that a strict limit guards now and none did before: their `charge` is another.
        """
        self.limits = limits
        self._pools = _pools(limits)
        self._forget_plans()
        for counter in self._counters:
            counter.rows = ()
        return [opened.hold.id for opened in self._open.values() if self._guard_anew(opened)]

    def missing(
        self, accounts: Sequence[str], model: str | None, backends: Sequence[str], added: Sequence[LimitRow] = ()
    ) -> tuple[Series, ...]:
        """Series that a hold on `accounts` needs and that are not known here: `restore` them first."""
        if model is not None and not added and (tuple(accounts), model, tuple(backends)) in self._plans:
            return ()
        applied = self.limits.applied(accounts, model, backends, added)
        return self.unknown(_series_of(accounts, applied))

    def unknown(self, series: Iterable[Series]) -> tuple[Series, ...]:
        """Those of `series` that are not known here."""
        return tuple(each for each in dict.fromkeys(series) if each not in self._counters)

    def is_counted(self, account: str) -> bool:
        """Is anything of the account in memory, so that there may be spend that no store has yet?"""
        return Series(account) in self._counters

    def restore(self, series: Series, history: Iterable[Spend], now_ms: int) -> None:
        """Begin to count a series that is not known here, with what its account used before, open holds included.

        Counts of less than an hour begin at nothing: the history is too coarse for what only paces.
        """
        if series in self._counters:
            return
        now_ms = self._advance(now_ms)
        counter = self._counter(series)
        length = rolling_ms(series.window)
        if series.meter == "active_requests" or (length is not None and length < HOUR_MS and series.meter != "cost"):
            return
        start_ms = self._calendar.start_ms(series.window, now_ms)
        quarters: defaultdict[int, int] = defaultdict(int)
        for spend in history:
            if series.covers(spend.model, spend.backend) and spend.quarter_ms + QUARTER_MS > start_ms:
                quarters[spend.quarter_ms] += spend.amounts[counter.meter]
        for quarter_ms, amount in sorted(quarters.items()):
            counter.add(amount, min(quarter_ms + QUARTER_MS - 1, now_ms))
        counter.since_ms = 0

    def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        """Hold on every series or on none; returns the limits that apply, as they stood before.

        Raises:
            Exhausted: a limit would be passed; nothing is held.
            ValueError: the id is there already, an account is named twice or an amount is out of range.
        """
        self._check_hold(hold)
        now_ms = self._advance(hold.created_ms)
        plan = self._plan(hold)
        for counter in plan.counters:
            counter.roll(self._calendar, now_ms)
        self._require(plan.guards, hold.worst, hold.expected)
        before = tuple(counter.view(row) for counter, row in plan.guards)
        opened = _Open(hold, list(plan.counters), plan.guards, plan.strict)
        self._hold(opened, now_ms)
        return before

    def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        """Raise an open hold to these amounts; False: it has ended. Raises Exhausted: it stays as it was."""
        opened = self._open.get(hold_id)
        if opened is None:
            return False
        now_ms = self._advance(now_ms)
        larger = msgspec.structs.replace(opened.hold, worst=worst, expected=expected)
        _check_amounts(larger)
        for counter in opened.counters:
            counter.roll(self._calendar, now_ms)
        more, likely = worst.minus(opened.hold.worst), expected.minus(opened.hold.expected)
        guards = self._known(self._applied(larger))
        self._require([(c, row) for c, row in guards if (more if row.strict else likely)[c.meter] > 0], more, likely)
        self._unhold(opened)
        self._hold(_Open(larger, opened.counters, guards, opened.strict), now_ms)
        return True

    def hold(self, hold_id: str) -> Hold | None:
        """An open hold; None: there is none, or it has ended."""
        opened = self._open.get(hold_id)
        return None if opened is None else opened.hold

    def charge(self, hold_id: str) -> Amounts:
        """What an open hold costs if it expires."""
        return self._open[hold_id].charge

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> Settled | None:
        """Turn the hold into spend at `now_ms`, at most `AMOUNT_MAX`; `backend` is the one that answered.

        An expired hold is corrected, `counted` being the difference. None: it had ended before, and nothing changes.
        """
        if min(spent) < 0:
            raise ValueError(f"usage of {hold_id} is negative")
        spent = spent.countable
        if max(spent) > AMOUNT_MAX:
            spent = Amounts(*(min(amount, AMOUNT_MAX) for amount in spent))
        opened = self._open.get(hold_id)
        if opened is None:
            return self._correct(hold_id, spent, backend, now_ms)
        self._unhold(opened)
        now_ms = self._advance(now_ms)
        overshot = self._count(opened, spent, backend, now_ms)
        return Settled(spent, opened.hold, overshot, spends=(_spend(opened.hold.model, backend, spent, now_ms),))

    def release(self, hold_id: str) -> bool:
        """Give the hold back; False when it had ended before."""
        opened = self._open.get(hold_id)
        if opened is not None:
            self._unhold(opened)
        return opened is not None

    def expire(self, now_ms: int) -> list[Expired]:
        """Settle every hold whose deadline has come at the held amount."""
        due = [each for each in self._open.values() if each.hold.deadline_ms <= now_ms]
        now_ms = self._advance(now_ms)
        for each in due:
            self._unhold(each)
            self._count(each, each.charge, each.hold.backend, now_ms)
            self._expired[each.hold.id] = (each, now_ms)
        for id in [id for id, (_, at_ms) in self._expired.items() if at_ms + CORRECTABLE_MS <= now_ms]:
            del self._expired[id]
        return [_expired(each, now_ms) for each in due]

    def is_strict(self, accounts: Sequence[str], model: str, backends: Sequence[str]) -> bool:
        """Does a strict limit apply?"""
        plan = self._plans.get((tuple(accounts), model, tuple(backends)))
        if plan is not None:
            return plan.strict
        return any(_is_strict(row) for _, row in self.limits.applied(accounts, model, backends))

    def used(self, series: Series, now_ms: int) -> int:
        """What a series has used; 0 for one that is not known here."""
        counter = self._counters.find(series)
        if counter is None:
            return 0
        counter.roll(self._calendar, self._advance(now_ms))
        return counter.used

    def held_total(self) -> int:
        """Nano-dollars that would be spend if every open hold expired now."""
        return self._held_total

    def open_holds(self) -> tuple[int, int | None]:
        """How many holds have not ended, and when the oldest was made."""
        return len(self._open), min((each.hold.created_ms for each in self._open.values()), default=None)

    def views(self, now_ms: int) -> list[LimitView]:
        """Every limit that names its account, and every other one that was met since it was set."""
        now_ms = self._advance(now_ms)
        shown = dict.fromkeys(self.limits.pools())
        shown.update({Applied(each.series, row): None for each in self._counters for row in each.rows})
        return [self._shown(applied, now_ms) for applied in shown]

    def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        """Every limit that a request on these accounts can meet, whatever its model and backend."""
        now_ms = self._advance(now_ms)
        return [self._shown(applied, now_ms) for applied in self.limits.applied(accounts, None, ())]

    def drop_idle(self, before_ms: int) -> int:
        """Forget series of tags, sessions, runs and agents without holds that were not touched since; returns how many.

        Their spend must be in a store that can `restore` them before the next hold. One that nothing was ever held on
        has not been touched: whatever it counts came from there. Pools stay: `views` shows what they have used.
        """
        idle = [
            counter
            for counter in self._counters
            if counter.touched_ms < before_ms
            and not counter.open_holds
            and kind_of(counter.series.account) in PASSING_KINDS
            and counter.series not in self._pools
        ]
        for counter in idle:
            self._counters.drop(counter)
        if idle:
            self._forget_plans()
        return len(idle)

    def _advance(self, now_ms: int) -> int:
        """Time never goes back: what was counted stays in the window in which it was counted."""
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms

    def _plan(self, hold: Hold) -> _Plan:
        key = (hold.accounts, hold.model, hold.backends)
        plan = None if hold.added else self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        applied = self._applied(hold)
        for series in _series_of(hold.accounts, applied):
            self._counter(series)
        guards = self._known(applied)
        counters = self._counters.on(hold.accounts, hold.model, hold.backends)
        plan = _Plan(guards, tuple(counters), any(_is_strict(row) for _, row in applied))
        if not hold.added:
            for counter, row in guards:
                counter.rows = tuple(dict.fromkeys((*counter.rows, row)))
            self._plans[key] = plan
            self._planned.update(hold.accounts)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        return plan

    def _forget_plans(self) -> None:
        self._plans.clear()
        self._planned.clear()

    def _applied(self, hold: Hold) -> tuple[Applied, ...]:
        return self.limits.applied(hold.accounts, hold.model, hold.backends, hold.added)

    def _known(self, applied: Iterable[Applied]) -> _Guards:
        """The limits whose series are known: another one holds from the next reservation on, which restores it."""
        found = ((self._counters.find(series), row) for series, row in applied)
        return tuple((counter, row) for counter, row in found if counter is not None)

    def _guard_anew(self, opened: _Open) -> bool:
        """By the limits of now; true if a strict one came. That one went frees nothing: less may be in the store."""
        applied = self._applied(opened.hold)
        opened.guards = self._known(applied)
        if opened.strict or not any(_is_strict(row) for _, row in applied):
            return False
        self._held_total -= opened.charge_nanousd
        opened.strict = True
        self._held_total += opened.charge_nanousd
        return True

    def _counter(self, series: Series) -> Counter:
        counter = self._counters.find(series)
        if counter is not None:
            return counter
        now_ms = self._now_ms
        ends_ms = self._calendar.end_ms(series.window, now_ms)
        counter = Counter(series, METERS.index(series.meter), ends_ms, since_ms=now_ms)
        self._counters.add(counter)
        if series.account in self._planned:
            self._forget_plans()
        base = self._counters.find(Series(series.account))
        if base is not None and base.open_holds:
            self._adopt(counter)
        return counter

    def _adopt(self, counter: Counter) -> None:
        """Holds that are open on the account already count on a series that is new."""
        series = counter.series
        for opened in self._open.values():
            hold = opened.hold
            if series.account in hold.accounts and series.may_cover(hold.model, hold.backends):
                opened.counters.append(counter)
                counter.hold(hold)
                counter.touched_ms = self._now_ms

    def _require(self, guards: Sequence[tuple[Counter, LimitRow]], worst: Amounts, expected: Amounts) -> None:
        for counter, row in guards:
            if row.guards and counter.would_pass(row, worst, expected):
                break
        else:
            return
        raise reset_last(
            Exhausted(counter.view(row), (worst if row.strict else expected)[counter.meter])
            for counter, row in guards
            if row.guards and counter.would_pass(row, worst, expected)
        )

    def _check_hold(self, hold: Hold) -> None:
        if hold.id in self._open or hold.id in self._expired:
            raise ValueError(f"hold {hold.id} is there already")
        if len(set(hold.accounts)) != len(hold.accounts):
            raise ValueError(f"hold {hold.id} names an account twice")
        _check_amounts(hold)

    def _hold(self, opened: _Open, now_ms: int) -> None:
        hold = opened.hold
        for counter in opened.counters:
            counter.hold(hold)
            counter.touched_ms = now_ms
        self._open[hold.id] = opened
        self._held_total += opened.charge_nanousd

    def _unhold(self, opened: _Open) -> None:
        hold = opened.hold
        del self._open[hold.id]
        for counter in opened.counters:
            counter.unhold(hold)
        self._held_total -= opened.charge_nanousd

    def _count(self, opened: _Open, spent: Amounts, backend: str, now_ms: int) -> tuple[tuple[LimitRow, int], ...]:
        """Add to every series that counts the backend; returns what went past which limit."""
        before: dict[int, int] = {}
        for counter in opened.counters:
            counter.roll(self._calendar, now_ms)
            before[id(counter)] = counter.used
            if counter.series.covers(opened.hold.model, backend):
                counter.add(spent[counter.meter], now_ms)
            counter.touched_ms = now_ms
        overshot: list[tuple[LimitRow, int]] = []
        for counter, row in opened.guards:
            assert row.max is not None
            beyond = max(0, counter.used - row.max) - max(0, before[id(counter)] - row.max)
            if beyond > 0:
                overshot.append((row, beyond))
        return tuple(overshot)

    def _correct(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> Settled | None:
        found = self._expired.pop(hold_id, None)
        if found is None:
            return None
        opened, at_ms = found
        hold, charge = opened.hold, opened.charge
        now_ms = self._advance(now_ms)
        for counter in self._counters.on(hold.accounts, hold.model, hold.backends):
            counter.roll(self._calendar, now_ms)
            counts = counter.series.covers(hold.model, backend)
            change = (spent[counter.meter] if counts else 0) - charge[counter.meter]
            counter.correct(change, at_ms, self._calendar, now_ms)
            counter.touched_ms = now_ms
        was = _spend(hold.model, hold.backend, NOTHING.minus(charge), at_ms)
        spends = (was, _spend(hold.model, backend, spent, at_ms))
        return Settled(spent.minus(charge), hold, corrects=True, spends=spends)

    def _shown(self, applied: Applied, now_ms: int) -> LimitView:
        counter = self._counters.find(applied.series)
        if counter is None:
            resets_at_ms = self._calendar.end_ms(applied.series.window, now_ms)
            return LimitView(applied.series, applied.row, 0, 0, resets_at_ms)
        counter.roll(self._calendar, now_ms)
        return counter.view(applied.row)


def _expired(opened: _Open, now_ms: int) -> Expired:
    hold, charge = opened.hold, opened.charge
    spends = (_spend(hold.model, hold.backend, charge, now_ms),)
    return Expired(hold.id, hold.accounts, hold.model, hold.backend, charge, spends)


def _spend(model: str, backend: str, amounts: Amounts, at_ms: int) -> Spend:
    return Spend(at_ms - at_ms % QUARTER_MS, model, backend, amounts)


def _check_amounts(hold: Hold) -> None:
    amounts = hold.worst + hold.expected
    if min(amounts) < 0 or max(amounts) > AMOUNT_MAX:
        raise ValueError(f"amounts of hold {hold.id} are not from 0 to {AMOUNT_MAX}")


def _pools(limits: Limits) -> frozenset[Series]:
    return frozenset(each.series for each in limits.pools())


def _is_strict(row: LimitRow) -> bool:
    return row.strict and row.guards


def _series_of(accounts: Iterable[str], applied: Iterable[Applied]) -> tuple[Series, ...]:
    """What is counted for a hold: the lifetime cost of each account, and what its limits guard."""
    return tuple(dict.fromkeys((*(Series(account) for account in accounts), *(each.series for each in applied))))
