"""Ledger arithmetic: limits, holds and spend of every account, in memory; time is an argument.

A hold ends exactly once: settle, release or expire; whatever comes second changes nothing. A reservation is taken on
every account or on none. Invariants, for each account:

    held   = sum of the open holds on it
    spent  = sum of what was settled or expired on it
    strict limits:  spent + held worst cases    <= limit after every reserve
    other limits:   spent + held expected costs <= limit after every reserve

So a strict limit is never passed as long as no settlement is dearer than its worst case. A hold that expires is spend
at the held amount: its worst case when a strict limit guards any of its accounts (the true cost is not known and the
cap must hold), else its expected cost; the same for all its accounts, so that sums over accounts agree.

Not the store: what survives a restart is `stores/`. Rejected: a counter per limit instead of one per account and
window, because a limit that is added later would not know what was spent before it came.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as field_of

from gateway.core.budgets import AccountView as AccountView
from gateway.core.budgets import Exhausted as Exhausted
from gateway.core.budgets import Expired as Expired
from gateway.core.budgets import Hold as Hold
from gateway.core.budgets import LimitRow as LimitRow
from gateway.core.budgets import Limits as Limits
from gateway.core.budgets import refusal_headers as refusal_headers
from gateway.core.windows import HOUR_MS, WINDOWS, window_end_ms, window_start_ms

PASSING_KINDS = frozenset({"session", "run", "agent"})
"""Kinds whose accounts come and go by the thousand; their memory may be dropped when they are idle."""
COST_NANOUSD_MAX = 10**15
"""A million dollars: more for one response is a fault of whoever reports it, and would overflow a store."""


@dataclass(slots=True)
class _Account:
    """Money of one account. `spent` is by window, in the order of `WINDOWS`, as of `hour`."""

    name: str
    limits: tuple[LimitRow, ...]
    rows: tuple[tuple[int, LimitRow], ...]
    """The limits, each with the index of its window in `spent`."""
    hour: int
    spent: list[int] = field_of(default_factory=lambda: [0] * len(WINDOWS))
    held_strict: int = 0
    held_expected: int = 0
    open_holds: int = 0
    touched_ms: int = 0

    def roll(self, hour: int) -> None:
        """Empty the windows that ended between the account's hour and `hour`."""
        for index, window in enumerate(WINDOWS):
            if window_start_ms(window, hour * HOUR_MS) != window_start_ms(window, self.hour * HOUR_MS):
                self.spent[index] = 0
        self.hour = hour


@dataclass(slots=True)
class _Open:
    """An open hold: its accounts resolved, and what it costs if it expires."""

    hold: Hold
    accounts: list[_Account]
    charge: int


class LedgerBook:
    """All accounts and open holds of one process."""

    def __init__(self, limits: Limits, now_ms: int = 0) -> None:
        self._limits = limits
        self._accounts: dict[str, _Account] = {}
        self._open: dict[str, _Open] = {}
        self._hour = now_ms // HOUR_MS
        self._held_total = 0

    def __contains__(self, account: str) -> bool:
        return account in self._accounts

    def restore(self, account: str, hours: Iterable[tuple[int, int]], now_ms: int) -> None:
        """Add an account's earlier spend: pairs of UTC hour (since the epoch) and nano-dollars."""
        self._advance(now_ms)
        held = self._account(account)
        starts = [window_start_ms(window, self._hour * HOUR_MS) for window in WINDOWS]
        for hour, nanousd in hours:
            for index, start in enumerate(starts):
                if hour * HOUR_MS >= start:
                    held.spent[index] += nanousd
        held.touched_ms = now_ms

    def reserve(self, hold: Hold) -> int:
        """Hold on every account or on none; returns what the hold costs if it expires.

        Raises:
            Exhausted: a limit would be passed; nothing is held.
            ValueError: the id is open already, an account is named twice or an amount is out of range.
        """
        self._advance(hold.created_ms)
        accounts = [self._account(name) for name in hold.accounts]
        self._check_hold(hold)
        strict = False
        for account in accounts:
            for index, row in account.rows:
                if row.strict:
                    strict = True
                    after = account.spent[index] + account.held_strict + hold.strict_nanousd
                else:
                    after = account.spent[index] + account.held_expected + hold.expected_nanousd
                if after > row.limit_nanousd:
                    raise self._exhausted(accounts, hold)
        charge = hold.strict_nanousd if strict else hold.expected_nanousd
        for account in accounts:
            account.held_strict += hold.strict_nanousd
            account.held_expected += hold.expected_nanousd
            account.open_holds += 1
            account.touched_ms = hold.created_ms
        self._open[hold.id] = _Open(hold, accounts, charge)
        self._held_total += charge
        return charge

    @property
    def hour(self) -> int:
        """The UTC hour since the epoch in which spend is counted now."""
        return self._hour

    def settle(self, hold_id: str, cost_nanousd: int, now_ms: int) -> int | None:
        """Turn the hold into spend at `now_ms`; returns what was counted, at most `COST_NANOUSD_MAX`.

        None: it had ended before, and nothing changes.
        """
        if cost_nanousd < 0:
            raise ValueError(f"cost of {hold_id} is negative")
        accounts = self._end(hold_id)
        if accounts is None:
            return None
        self._advance(now_ms)
        cost = min(cost_nanousd, COST_NANOUSD_MAX)
        for account in accounts:
            if account.hour != self._hour:
                account.roll(self._hour)
            account.spent = [spent + cost for spent in account.spent]
            account.touched_ms = now_ms
        return cost

    def release(self, hold_id: str) -> bool:
        """Give the hold back; False when it had ended before."""
        return self._end(hold_id) is not None

    def expire(self, now_ms: int) -> list[Expired]:
        """Settle every hold whose deadline has come at the held amount."""
        due = [each for each in self._open.values() if each.hold.deadline_ms <= now_ms]
        for each in due:
            self.settle(each.hold.id, each.charge, now_ms)
        return [Expired(each.hold.id, each.charge) for each in due]

    def is_strict(self, accounts: Sequence[str]) -> bool:
        """Does a strict limit hold for one of the accounts?"""
        for name in accounts:
            held = self._accounts.get(name)
            if any(row.strict for row in (self._limits.for_account(name) if held is None else held.limits)):
                return True
        return False

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all; 0 for one that is not in memory."""
        held = self._accounts.get(account)
        return held.spent[0] if held else 0

    def held_total(self) -> int:
        """Nano-dollars that would be spend if every open hold expired now."""
        return self._held_total

    def views(self, accounts: Sequence[str] | None, now_ms: int) -> list[AccountView]:
        """Limits, spend and holds; None: every account with a limit that is named or in memory."""
        self._advance(now_ms)
        if accounts is None:
            names = dict.fromkeys((*self._limits.named_accounts(), *self._accounts))
            return [view for name in names for view in self._views_of(name) if view.limit_nanousd is not None]
        return [view for name in accounts for view in self._views_of(name)]

    def drop_idle(self, before_ms: int) -> int:
        """Forget sessions, runs and agents without holds that were not touched since; returns how many.

        Their spend must be in a store that `restore`s them before the next hold.
        """
        idle = [
            name
            for name, account in self._accounts.items()
            if not account.open_holds and account.touched_ms < before_ms and name.partition(":")[0] in PASSING_KINDS
        ]
        for name in idle:
            del self._accounts[name]
        return len(idle)

    def _advance(self, now_ms: int) -> None:
        """Move to the hour of `now_ms`. A clock that goes back changes nothing: spend stays where it was counted."""
        hour = now_ms // HOUR_MS
        if hour > self._hour:
            self._hour = hour

    def _account(self, name: str) -> _Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = self._new_account(name)
        elif account.hour != self._hour:
            account.roll(self._hour)
        return account

    def _new_account(self, name: str) -> _Account:
        limits = self._limits.for_account(name)
        return _Account(name, limits, tuple((WINDOWS.index(row.window), row) for row in limits), self._hour)

    def _check_hold(self, hold: Hold) -> None:
        if hold.id in self._open:
            raise ValueError(f"hold {hold.id} is open already")
        if len(set(hold.accounts)) != len(hold.accounts):
            raise ValueError(f"hold {hold.id} names an account twice")
        if not (0 <= hold.strict_nanousd <= COST_NANOUSD_MAX and 0 <= hold.expected_nanousd <= COST_NANOUSD_MAX):
            raise ValueError(f"amounts of hold {hold.id} are not from 0 to {COST_NANOUSD_MAX}")

    def _end(self, hold_id: str) -> list[_Account] | None:
        ended = self._open.pop(hold_id, None)
        if ended is None:
            return None
        for account in ended.accounts:
            account.held_strict -= ended.hold.strict_nanousd
            account.held_expected -= ended.hold.expected_nanousd
            account.open_holds -= 1
        self._held_total -= ended.charge
        return ended.accounts

    def _exhausted(self, accounts: list[_Account], hold: Hold) -> Exhausted:
        """Of the limits that would be passed, the one that resets last: waiting for any other would not help."""
        passed: list[Exhausted] = []
        for account in accounts:
            for index, row in account.rows:
                view = self._view(account, index, row)
                needed = hold.strict_nanousd if row.strict else hold.expected_nanousd
                if view.spent_nanousd + view.held_nanousd + needed > row.limit_nanousd:
                    passed.append(Exhausted(view, needed))
        return max(passed, key=lambda each: (each.resets_at_ms is None, each.resets_at_ms or 0))

    def _views_of(self, name: str) -> list[AccountView]:
        account = self._accounts.get(name) or self._new_account(name)
        if account.hour != self._hour:
            account.roll(self._hour)
        if not account.rows:
            return [AccountView(name, "total", None, account.spent[0], account.held_expected, False, None)]
        return [self._view(account, index, row) for index, row in account.rows]

    def _view(self, account: _Account, index: int, row: LimitRow) -> AccountView:
        return AccountView(
            account=account.name,
            window=row.window,
            limit_nanousd=row.limit_nanousd,
            spent_nanousd=account.spent[index],
            held_nanousd=account.held_strict if row.strict else account.held_expected,
            strict=row.strict,
            resets_at_ms=window_end_ms(row.window, self._hour * HOUR_MS),
        )
