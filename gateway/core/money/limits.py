"""Limits, and which of them apply to a request: on which account, counted by what. Not what was spent: `ledger.py`.

A limit without `per` is one pool for its account. One with `per` is a default for each account of that kind inside
(`org` per `user`: each user's own). For one account, meter, window and choice of models and backends one limit holds:
the account's own before a default, a default of a narrower account before one of a wider (`user`, `team`, `org`), what
an operator set before the configuration, and of equals the lower (beside it the lowest strict one, whose bound another
kind of limit cannot prove). Limits of a policy decision are never overridden and override nothing: they come on top.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from operator import add, sub
from typing import Literal, NamedTuple, get_args

from gateway.core.money.windows import Window

Meter = Literal["cost", "requests", "output_tokens", "total_tokens", "active_requests"]
Source = Literal["config", "api", "policy"]
OnReach = Literal["refuse", "clamp", "warn"]
"""`clamp`: `max_tokens` is lowered when the request fits then, else it is refused. `warn` guards nothing."""

METERS: tuple[Meter, ...] = get_args(Meter)
KINDS = ("org", "team", "group", "tag", "user", "credential", "session", "run", "agent")
"""Kinds of accounts, the widest first."""
PER_KINDS = ("team", "user", "credential", "session", "run", "agent")
"""Kinds that a limit may be a default for."""
PER_WITHIN = {
    "org": PER_KINDS,
    "team": PER_KINDS[1:],
    "group": PER_KINDS[1:],
    "tag": PER_KINDS[1:],
    "user": PER_KINDS[2:],
    "credential": PER_KINDS[3:],
    "session": ("agent",),
    "run": ("agent",),
}
"""For each of whom, within an account of a kind, a limit may be: always narrower ones."""
PASSING_KINDS = frozenset({"tag", "session", "run", "agent"})
"""Kinds whose accounts come and go by the thousand; their memory may be dropped when they are idle."""
WARN_AT = (75, 95)
"""Percent of a limit from which on its use is told, unless the limit says otherwise."""

_widths = {"org": 0, "team": 1, "group": 1, "tag": 1, "user": 2, "credential": 3, "session": 4, "run": 4, "agent": 5}
_OWN = max(_widths.values()) + 1


class Amounts(NamedTuple):
    """How much of each meter; in the order of `METERS`. Cost in nano-dollars."""

    cost: int = 0
    requests: int = 1
    output_tokens: int = 0
    total_tokens: int = 0
    active_requests: int = 1

    @property
    def countable(self) -> "Amounts":
        """Without what is only held, never used."""
        return Amounts(self.cost, self.requests, self.output_tokens, self.total_tokens, 0)

    def plus(self, other: "Amounts") -> "Amounts":
        """Both together."""
        return Amounts(*map(add, self, other))

    def minus(self, other: "Amounts") -> "Amounts":
        """What this has more; may be negative."""
        return Amounts(*map(sub, self, other))


NOTHING = Amounts(requests=0, active_requests=0)


class Series(NamedTuple):
    """What is counted: one meter of one account in one window, for some models and backends (none: for all)."""

    account: str
    meter: Meter = "cost"
    window: Window = "total"
    models: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()

    def covers(self, model: str, backend: str) -> bool:
        """Does an answer of `model` by `backend` (of several, joined by commas, one did) count? Empty: not known."""
        if self.backends and backend and set(self.backends).isdisjoint(backend.split(",")):
            return False
        return not model or matches(self.models, model)

    def may_cover(self, model: str, backends: Collection[str]) -> bool:
        """May a request for `model` that goes to one of `backends` count?"""
        return matches(self.models, model) and (not self.backends or not set(backends).isdisjoint(self.backends))


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit as it was set. `max` is nano-dollars or a count; None: no limit, which overrides a wider default."""

    account: str
    """`org`, `team:x`, `group:x`, `tag:name=value`, `user:x`, `credential:x`, `session:x`, `run:x`, `agent:s/a`."""
    max: int | None
    window: Window = "total"
    meter: Meter = "cost"
    per: str | None = None
    """Kind of account that has this much each; None: the account itself, as one pool."""
    strict: bool = False
    """Guards the worst case of what is held, not the expected."""
    on_reach: OnReach = "refuse"
    warn_at: tuple[int, ...] = WARN_AT
    """Percent, ascending."""
    models: tuple[str, ...] = ()
    """Globs; none: every model."""
    backends: tuple[str, ...] = ()
    id: str = ""
    """`budgets[3]` of the configuration, `spl_<hex>` of an operator, `policy` and the rule's name."""
    source: Source = "config"

    @property
    def guards(self) -> bool:
        """Can it refuse?"""
        return self.on_reach != "warn"

    def covers(self, model: str | None, backends: Collection[str]) -> bool:
        """May a request for `model` (None: any) that goes to one of `backends` count against it?"""
        if model is None:
            return True
        return matches(self.models, model) and (not self.backends or not set(backends).isdisjoint(self.backends))

    def series(self, account: str) -> Series:
        """What it counts for an account that it applies to."""
        return Series(account, self.meter, self.window, self.models, self.backends)


class Applied(NamedTuple):
    """A limit, and the series that it guards."""

    series: Series
    row: LimitRow


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of configuration and operators, compiled. Immutable: a change makes a new one."""

    rows: tuple[LimitRow, ...] = ()
    _by_account: Mapping[str, tuple[LimitRow, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[LimitRow]] = {}
        for row in self.rows:
            found.setdefault(row.account, []).append(row)
        object.__setattr__(self, "_by_account", {account: tuple(rows) for account, rows in found.items()})

    def applied(
        self, accounts: Sequence[str], model: str | None, backends: Collection[str], added: Iterable[LimitRow] = ()
    ) -> tuple[Applied, ...]:
        """The limits of a request on `accounts` (a bare kind: one that is not known yet), `added` those of policies."""
        rows = [row for account in accounts for row in self._by_account.get(account, ()) if row.covers(model, backends)]
        found = _chosen((row, _target(row, accounts)) for row in rows)
        for row in added:
            target = _target(row, accounts) if row.account in accounts else None
            if target is not None and row.max is not None and row.covers(model, backends):
                found.append(Applied(row.series(target), row))
        return tuple(found)

    def pools(self) -> tuple[Applied, ...]:
        """The limits that name their one account, and so are there before anybody spends."""
        return tuple(_chosen((row, row.account) for row in self.rows if row.per is None))


def matches(globs: Sequence[str], model: str) -> bool:
    """Is `model` one of these? No globs: every model is."""
    return not globs or any(fnmatchcase(model, glob) for glob in globs)


def kind_of(account: str) -> str:
    """`team` of `team:platform`."""
    return account.partition(":")[0]


def _chosen(candidates: Iterable[tuple[LimitRow, str | None]]) -> list[Applied]:
    """For each series the limits that hold: those that guard and those that only warn apart."""
    best: dict[tuple[Series, bool], tuple[tuple[int, bool], list[LimitRow]]] = {}
    for row, target in candidates:
        if target is None:
            continue
        slot, rank = (row.series(target), row.guards), _rank(row)
        if slot not in best or rank > best[slot][0]:
            best[slot] = (rank, [row])
        elif rank == best[slot][0]:
            best[slot][1].append(row)
    return [Applied(series, row) for (series, _), (_, equals) in best.items() for row in _lowest(equals)]


def _lowest(equals: Sequence[LimitRow]) -> list[LimitRow]:
    """The lowest limit, and if it is not strict the lowest strict one; none when there is no limit."""
    limited = sorted((row.max, not row.strict, place) for place, row in enumerate(equals) if row.max is not None)
    lowest = [equals[place] for _, _, place in limited[:1]]
    if lowest and not lowest[0].strict:
        lowest += [equals[place] for _, is_soft, place in limited if not is_soft][:1]
    return lowest


def _target(row: LimitRow, accounts: Sequence[str]) -> str | None:
    """Which of `accounts` has the limit. A credential, session or agent is one; there is no default for tags."""
    if row.per is None:
        return row.account
    prefix = row.per + ":"
    return next((each for each in accounts if each.startswith(prefix) or each == row.per), None)


def _rank(row: LimitRow) -> tuple[int, bool]:
    return _OWN if row.per is None else _widths[kind_of(row.account)], row.source == "api"
