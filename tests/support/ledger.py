"""A ledger as one would write it on paper: lists that are summed anew for every question. Slow, and easy to believe.

Shares no sum and no rule of resolution with `gateway.core`; of its data it uses the shapes alone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from fnmatch import fnmatchcase
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import METERS, Amounts, LimitRow, Series

WIDTHS = ["org", "team group tag", "user", "credential", "session run", "agent"]
QUARTER_MS = 900_000
UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(slots=True)
class Usage:
    """What one hold turned into. `most` is the larger of what it was taken for and what it was."""

    at_ms: int
    accounts: tuple[str, ...]
    model: str
    backend: str
    amounts: Amounts
    most: Amounts


class Needed(NamedTuple):
    """A limit, the series that it guards, and how much more is wanted of it."""

    series: Series
    row: LimitRow
    amount: int


@dataclass(slots=True)
class PaperLedger:
    """Open holds and past usage."""

    rows: Sequence[LimitRow]
    now_ms: int
    zone: tzinfo = field(default_factory=lambda: ZoneInfo("UTC"))
    open: dict[str, Hold] = field(default_factory=dict[str, Hold])
    usages: list[Usage] = field(default_factory=list[Usage])
    expired: dict[str, Usage] = field(default_factory=dict[str, Usage])
    strict: set[str] = field(default_factory=set[str])
    """Open holds that a strict limit guarded at some time."""

    def at(self, now_ms: int) -> None:
        """Time goes on, never back."""
        self.now_ms = max(self.now_ms, now_ms)

    def needed(self, hold: Hold) -> list[Needed]:
        """What the hold wants of each limit that holds for it."""
        found = applying(self.rows, hold.accounts, hold.model, hold.backends) + [
            (row.series(hold.accounts[hold.accounts.index(row.account)]), row) for row in hold.added
        ]
        return [
            Needed(series, row, amount_of(hold.worst if row.strict else hold.expected, series)) for series, row in found
        ]

    def fits(self, needed: Iterable[Needed], *, coarse: bool = False) -> bool:
        """Is there room for all of it?"""
        return all(
            self.used(each.series, coarse=coarse) + self.held(each.series, strict=each.row.strict) + each.amount
            <= (each.row.max or 0)
            for each in needed
            if each.row.on_reach != "warn"
        )

    def reserve(self, hold: Hold) -> None:
        """Hold it, whether it fits or not."""
        self.open[hold.id] = hold
        self.mark_strict()

    def mark_strict(self) -> None:
        """Note which open holds a strict limit guards now."""
        for id, hold in self.open.items():
            if any(each.row.strict and each.row.on_reach != "warn" for each in self.needed(hold)):
                self.strict.add(id)

    def charge(self, id: str) -> Amounts:
        """What an open hold costs if it expires."""
        held = self.open[id].worst if id in self.strict else self.open[id].expected
        return held._replace(active_requests=0)

    def end(self, id: str, spent: Amounts, backend: str) -> None:
        """A hold became usage."""
        hold = self.open.pop(id)
        spent = spent._replace(active_requests=0)
        self.usages.append(Usage(self.now_ms, hold.accounts, hold.model, backend, spent, spent))

    def expire(self, id: str) -> None:
        """A hold became usage at the held amount, by whichever of its backends."""
        charge, backends = self.charge(id), ",".join(self.open[id].backends)
        self.end(id, charge, backends)
        self.expired[id] = self.usages[-1]

    def correct(self, id: str, spent: Amounts, backend: str) -> None:
        """What expired is known after all."""
        usage, spent = self.expired.pop(id), spent._replace(active_requests=0)
        usage.most = Amounts(*(max(pair) for pair in zip(usage.amounts, spent, strict=True)))
        usage.amounts, usage.backend = spent, backend

    def used(self, series: Series, *, coarse: bool = False) -> int:
        """Sum of what counts; `coarse`: at most what is left of it where only quarter hours are kept."""
        return sum(
            amount_of(usage.most if coarse and series.window.startswith("rolling") else usage.amounts, series)
            for usage in self.usages
            if series.account in usage.accounts
            and is_covered(series, usage.model, usage.backend.split(","))
            and self._counts(series.window, usage.at_ms, coarse=coarse)
        )

    def held(self, series: Series, *, strict: bool) -> int:
        """Sum of what is open."""
        return sum(
            amount_of(hold.worst if strict else hold.expected, series)
            for hold in self.open.values()
            if series.account in hold.accounts and is_covered(series, hold.model, hold.backends)
        )

    def _counts(self, window: str, at_ms: int, *, coarse: bool) -> bool:
        if not window.startswith("rolling"):
            return same_window(window, at_ms, self.now_ms, self.zone)
        length = int(window[8:-1]) * UNIT_MS[window[-1]]
        if coarse:
            at_ms = max(at_ms, min(at_ms // QUARTER_MS * QUARTER_MS + QUARTER_MS - 1, self.now_ms))
        slot = length // 60
        return (at_ms // slot + 1) * slot > self.now_ms - length


def same_window(window: str, one_ms: int, other_ms: int, zone: tzinfo) -> bool:
    """Do clock and calendar on the wall show the same hour, day, week or month?"""
    one, other = (datetime.fromtimestamp(moment_ms // 1000, zone) for moment_ms in (one_ms, other_ms))
    match window:
        case "total":
            return True
        case "hourly":
            return (one.date(), one.hour, one.utcoffset()) == (other.date(), other.hour, other.utcoffset())
        case "daily":
            return one.date() == other.date()
        case "weekly":
            monday = other.date() - timedelta(days=other.weekday())
            return monday <= one.date() < monday + timedelta(days=7)
        case _:
            return (one.year, one.month) == (other.year, other.month)


def is_covered(series: Series, model: str, backends: Collection[str]) -> bool:
    """Does a request of `model` that one of `backends` may answer count?"""
    by_model = not series.models or any(fnmatchcase(model, glob) for glob in series.models)
    return by_model and (not series.backends or bool(set(series.backends) & set(backends)))


def amount_of(amounts: Amounts, series: Series) -> int:
    """The amount of the series' meter."""
    return amounts[METERS.index(series.meter)]


def applying(
    rows: Sequence[LimitRow], accounts: Sequence[str], model: str, backends: Collection[str]
) -> list[tuple[Series, LimitRow]]:
    """The limits that hold for a request: of those for the same series the strongest, its lowest and lowest strict."""
    found: dict[tuple[Series, bool], list[LimitRow]] = {}
    for row in rows:
        target = _target(row, accounts)
        if target is not None and is_covered(row.series(target), model, backends):
            found.setdefault((row.series(target), row.on_reach == "warn"), []).append(row)
    return [(series, row) for (series, _), rivals in found.items() for row in _winners(rivals)]


def _target(row: LimitRow, accounts: Sequence[str]) -> str | None:
    if row.account not in accounts:
        return None
    if row.per is None:
        return row.account
    return next((account for account in accounts if account.split(":")[0] == row.per), None)


def _winners(rivals: Sequence[LimitRow]) -> list[LimitRow]:
    strongest = max(_strength(row) for row in rivals)
    limited = [row for row in rivals if _strength(row) == strongest and row.max is not None]
    lowest = sorted(limited, key=lambda row: (row.max, not row.strict))[:1]
    lowest_strict = sorted((row for row in limited if row.strict), key=lambda row: row.max or 0)[:1]
    return list(dict.fromkeys(lowest + lowest_strict))


def _strength(row: LimitRow) -> tuple[bool, int, bool]:
    kind = row.account.split(":")[0]
    width = next(place for place, kinds in enumerate(WIDTHS) if kind in kinds.split())
    return row.per is None, width if row.per else 0, row.source == "api"
