"""What this process knows of the series in the database: their rows, and which of them a hold is on. As last seen.

The database decides; this is for planning batches, for showing people, and for guarding while the database is away.
A hold is on every series of its accounts that covers its model and one of its backends, whoever made the series and
for which limit: so sums stay right when limits come and go, and when replicas meet limits at different times.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.core.money.budgets import Exhausted, LimitView, reset_last
from gateway.core.money.limits import METERS, Amounts, Applied, LimitRow, Limits, Series
from gateway.core.money.windows import CALENDAR_WINDOWS, Calendar, rolling_ms, slot_ms

ACCOUNTS_MAX = 20_000
"""Accounts that are remembered; beyond, all are forgotten and read again as they are met."""
PLANS_MAX = 8_192
"""Distinct sets of accounts, model and backends whose series and limits are remembered."""


@dataclass(slots=True, eq=False)
class Mirror:
    """A row of `counters`, as last seen, with what was queued here since."""

    id: int
    """0: not in the database yet, or not known whether."""
    series: Series
    meter: int
    """Position in `Amounts`."""
    is_base: bool
    used: int = 0
    worst: int = 0
    expected: int = 0
    ends_ms: int | None = None

    def roll(self, calendar: Calendar, now_ms: int) -> None:
        """Begin the window anew when it is past; of a rolling one that cannot be told from here."""
        if self.ends_ms is not None and self.ends_ms <= now_ms and rolling_ms(self.series.window) is None:
            self.used, self.ends_ms = 0, calendar.end_ms(self.series.window, now_ms)

    def change(self, worst: Amounts, expected: Amounts) -> None:
        """Hold so much more."""
        self.worst += worst[self.meter]
        self.expected += expected[self.meter]

    def would_pass(self, row: LimitRow, worst: Amounts, expected: Amounts) -> bool:
        """Would so much more pass the limit?"""
        assert row.max is not None
        if row.strict:
            return self.used + self.worst + worst[self.meter] > row.max
        return self.used + self.expected + expected[self.meter] > row.max

    def view(self, row: LimitRow) -> LimitView:
        """The limit as it stands."""
        held = self.worst if row.strict else self.expected
        return LimitView(self.series, row, self.used, held, self.ends_ms)


class Guard(NamedTuple):
    """A limit and the series it is on."""

    mirror: Mirror
    row: LimitRow


class Plan(NamedTuple):
    """What a hold is on, and the limits it meets."""

    mirrors: tuple[Mirror, ...]
    guards: tuple[Guard, ...]
    strict: bool

    def views(self) -> tuple[LimitView, ...]:
        """The limits as they stand."""
        return tuple(mirror.view(row) for mirror, row in self.guards)

    def exhausted(self, worst: Amounts, expected: Amounts) -> Exhausted | None:
        """The limit that so much more would pass."""
        passed = [
            Exhausted(mirror.view(row), (worst if row.strict else expected)[mirror.meter])
            for mirror, row in self.guards
            if row.guards and mirror.would_pass(row, worst, expected)
        ]
        return reset_last(passed) if passed else None


class Missing(Exception):
    """These series are not known here: ask the database to make or name them first."""

    def __init__(self, series: Sequence[Series]) -> None:
        super().__init__(series)
        self.series = tuple(series)


_Key = tuple[tuple[str, ...], str, tuple[str, ...]]


@dataclass(slots=True)
class Known:
    """Every series that was met, by account, and plans made of them."""

    limits: Limits
    _accounts: dict[str, dict[Series, Mirror]] = field(default_factory=dict[str, dict[Series, Mirror]])
    _plans: dict[_Key, Plan] = field(default_factory=dict[_Key, Plan])
    _applied: dict[_Key, tuple[Applied, ...]] = field(default_factory=dict[_Key, tuple[Applied, ...]])

    def change_limits(self, limits: Limits) -> None:
        """Other limits hold."""
        self.limits = limits
        self._plans.clear()
        self._applied.clear()

    def forget(self, accounts: Iterable[str] | None = None) -> None:
        """These accounts (None: all) must be read again."""
        if accounts is None:
            self._accounts.clear()
        for account in accounts or ():
            self._accounts.pop(account, None)
        self._plans.clear()

    def learn(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over rows of `counters`: all those of each account among them."""
        if len(self._accounts) > ACCOUNTS_MAX:
            self.forget()
        found: dict[str, dict[Series, Mirror]] = {}
        for row in rows:
            mirror = _mirror(row)
            found.setdefault(row["account"], {})[mirror.series] = mirror
        if any(account in self._accounts for account in found):
            self._plans.clear()
        self._accounts.update(found)

    def refresh(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over sums that were read outside of a batch; all rows of each account are among them."""
        strangers: list[Mapping[str, Any]] = []
        for row in rows:
            fresh = _mirror(row)
            mirror = self.find(fresh.series)
            if mirror is not None:
                mirror.used, mirror.worst, mirror.expected = fresh.used, fresh.worst, fresh.expected
                mirror.ends_ms = fresh.ends_ms
            elif row["account"] not in self._accounts:
                strangers.append(row)
        self.learn(strangers)

    def met(self) -> list[Applied]:
        """Every limit that names its account, and the others that were met lately."""
        shown = dict.fromkeys(self.limits.pools())
        for plan in self._plans.values():
            shown.update((Applied(mirror.series, row), None) for mirror, row in plan.guards)
        return list(shown)

    def find(self, series: Series) -> Mirror | None:
        """The series as last seen."""
        return self._accounts.get(series.account, {}).get(series)

    def count(self, account: str) -> int:
        """How many series of the account are known."""
        return len(self._accounts.get(account, ()))

    def applied(self, accounts: tuple[str, ...], model: str, backends: tuple[str, ...]) -> tuple[Applied, ...]:
        """The limits of the configuration and of operators that a hold meets."""
        key = (accounts, model, backends)
        found = self._applied.get(key)
        if found is None:
            if len(self._applied) > PLANS_MAX:
                self._applied.clear()
            found = self._applied[key] = self.limits.applied(accounts, model, backends)
        return found

    def plan(
        self, accounts: tuple[str, ...], model: str, backends: tuple[str, ...], *, added: Sequence[LimitRow] = ()
    ) -> Plan:
        """What a hold is on.

        Raises:
            Missing: series that it needs are not known here.
        """
        key = (accounts, model, backends)
        plan = None if added else self._plans.get(key)
        if plan is not None:
            return plan
        applied = self.limits.applied(accounts, model, backends, added) if added else self.applied(*key)
        needed = dict.fromkeys((*(Series(account) for account in accounts), *(each.series for each in applied)))
        missing = [series for series in needed if self.find(series) is None]
        if missing:
            raise Missing(missing)
        guards = tuple(Guard(self._accounts[series.account][series], row) for series, row in applied)
        plan = Plan(self.on(accounts, model, backends), guards, any(row.strict and row.guards for _, row in applied))
        if not added:
            if len(self._plans) > PLANS_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def on(self, accounts: tuple[str, ...], model: str, backends: tuple[str, ...]) -> tuple[Mirror, ...]:
        """The series of these accounts that cover the model and one of the backends."""
        return tuple(
            mirror
            for account in accounts
            for series, mirror in self._accounts[account].items()
            if series.may_cover(model, backends)
        )

    def pretend(self, missing: Iterable[Series], calendar: Calendar, now_ms: int) -> None:
        """Count series from nothing while the database cannot be asked for them."""
        for series in missing:
            ends_ms = calendar.end_ms(series.window, now_ms)
            mirror = Mirror(0, series, METERS.index(series.meter), series == Series(series.account), ends_ms=ends_ms)
            self._accounts.setdefault(series.account, {})[series] = mirror
        self._plans.clear()


def _mirror(row: Mapping[str, Any]) -> Mirror:
    meter: int = row["meter"] - 1
    series = Series(row["account"], METERS[meter], row["span"], tuple(row["models"]), tuple(row["backends"]))
    used, worst, expected, ends_ms = row["used"], row["worst"], row["expected"], row["ends_ms"]
    return Mirror(row["id"], series, meter, row["series"] > 0, used, worst, expected, ends_ms)


def with_bases(series: Iterable[Series]) -> list[Series]:
    """The series, and the base of each account."""
    wanted = dict.fromkeys(series)
    wanted.update(dict.fromkeys(Series(each.account) for each in tuple(wanted)))
    return sorted(wanted)


def columns_of(series: Iterable[Series], calendar: Calendar, now_ms: int) -> list[list[Any]]:
    """Series as arguments of `create_series` and `sums_of`, after the time."""
    return [list(column) for column in zip(*(_columns(each, calendar, now_ms) for each in series), strict=True)]


def _columns(series: Series, calendar: Calendar, now_ms: int) -> tuple[Any, ...]:
    length_ms = rolling_ms(series.window)
    return (
        series.account,
        METERS.index(series.meter) + 1,
        series.window,
        array_text(series.models),
        array_text(series.backends),
        pattern_of(series.models),
        length_ms,
        None if length_ms is None else slot_ms(series.window),
        calendar.start_ms(series.window, now_ms),
        calendar.end_ms(series.window, now_ms),
    )


def spans(calendar: Calendar, now_ms: int) -> tuple[list[str], list[int], list[int]]:
    """Names, starts and ends of the calendar windows of a moment."""
    names = [window for window in CALENDAR_WINDOWS if window != "total"]
    ends = [calendar.end_ms(window, now_ms) or 0 for window in names]
    return names, [calendar.start_ms(window, now_ms) for window in names], ends


def array_text(texts: Iterable[str]) -> str:
    """A text[] as the server reads it."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def pattern_of(globs: Sequence[str]) -> str | None:
    """A regular expression of the server that matches what one of the globs does; None: everything."""
    return "^(" + "|".join(_glob(glob) for glob in globs) + ")$" if globs else None


def _glob(glob: str) -> str:
    found: list[str] = []
    for part in re.findall(r"\[(?:!\]|\]|!)?+[^\]]*\]|.", glob, re.DOTALL):
        if part in ("*", "?"):
            found.append(".*" if part == "*" else ".")
        elif len(part) > 1:
            found.append(_class(part[1:-1]))
        else:
            found.append(_escaped(part))
    return "".join(found)


def _class(members: str) -> str:
    """A set of characters. A range that runs backwards holds none, as everywhere in globs."""
    negated = members.startswith("!") and len(members) > 1
    rest, parts = members[negated:], list[str]()
    while rest:
        if len(rest) > 2 and rest[1] == "-":
            if rest[0] <= rest[2]:
                parts.append(f"{_escaped(rest[0])}-{_escaped(rest[2])}")
            rest = rest[3:]
        else:
            parts.append(_escaped(rest[0]))
            rest = rest[1:]
    if not parts:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def _escaped(char: str) -> str:
    return f"\\{char}" if char.isascii() and not char.isalnum() and char != "_" else char
