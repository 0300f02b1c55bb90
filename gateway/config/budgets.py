"""The `budgets` section: what a limit may say, whether it names anybody. Which one applies: `core/money/limits.py`."""

from collections.abc import Mapping, Sequence

from gateway.config.document import Entry
from gateway.config.sections import Placed
from gateway.config.values import Table, closest, nearest, read_integer, read_usd, shown
from gateway.core.money.limits import KINDS, METERS, PER_KINDS, PER_WITHIN, WARN_AT, LimitRow, Meter, OnReach, kind_of
from gateway.core.money.windows import CALENDAR_WINDOWS, Window, is_window

COUNT_MAX = 10**15
ON_REACH: tuple[OnReach, ...] = ("clamp", "refuse", "warn")


def read_budget(table: Table, number: int) -> Placed[LimitRow]:
    """One limit: `{account, per, meter, window, limit_usd | limit, strict, on_reach, warn_at, models, backends}`.

    A bare kind (`user`) is short for each of that kind in the organisation (`account: org, per: user`).
    """
    written = table.required("account")
    per = table.text("per")
    if per is not None and per not in PER_KINDS:
        place = table.place_of("per")
        place.problem(f"{place.name} is {shown(place)}", closest(per, PER_KINDS))
    account = written
    if written in PER_KINDS and per is None:
        account, per = "org", written
    meter: Meter = table.choice("meter", METERS, "cost")
    row = LimitRow(
        account=account,
        max=_read_max(table, meter),
        window=_read_window(table, meter),
        meter=meter,
        per=per,
        strict=table.flag("strict", False),
        on_reach=table.choice("on_reach", ON_REACH, "clamp"),
        warn_at=_read_warn_at(table),
        models=tuple(sorted(table.texts("models"))),
        backends=tuple(sorted(table.texts("backends"))),
        id=f"budgets[{number}]",
    )
    table.done()
    return Placed(row, table)


def check_budgets(budgets: Sequence[Placed[LimitRow]], known: Mapping[str, list[str]], backends: Sequence[str]) -> None:
    """Report limits that name nobody, and those that are the same limit twice."""
    seen: set[tuple[object, ...]] = set()
    for budget in budgets:
        row, table = budget.value, budget.table
        if row.account:
            _check_account(row.account, table, known)
            _check_per(row, table)
        for backend in row.backends:
            if backend not in backends:
                place = table.place_of_text("backends", backend)
                place.problem(f"{place.name}: no upstream is of the backend {backend!r}", closest(backend, backends))
        slot = (row.account, row.per, row.series(""), row.guards)
        if row.account and slot in seen:
            name = f"{row.window} {row.meter} limit of {f'each {row.per} of ' if row.per else ''}{row.account}"
            table.entry.problem(f"{table.entry.name} is a second {name}", "keep one")
        seen.add(slot)


def _read_max(table: Table, meter: Meter) -> int:
    usd, count = table.find("limit_usd"), table.find("limit")
    if meter == "cost":
        if count is not None:
            count.key_problem(f"{count.name} is for counts", "write limit_usd: 50")
        elif usd is None:
            table.entry.problem(f"{table.entry.name} has no limit_usd", "add limit_usd: 50")
        return 1 if usd is None else read_usd(usd)
    if usd is not None:
        usd.key_problem(f"{usd.name} is for meter cost", f"write limit: the number of {meter}")
    elif count is None:
        table.entry.problem(f"{table.entry.name} has no limit", f"add limit: the number of {meter}")
    return 1 if count is None else read_integer(count, low=1, high=COUNT_MAX)


def _read_window(table: Table, meter: Meter) -> Window:
    if meter == "active_requests":
        if table.find("window") is not None:
            table.place_of("window").key_problem("active_requests have no window", "remove it: it is about now")
        return "total"
    window = table.required("window")
    if window and not is_window(window):
        place = table.place_of("window")
        suggestion = f"{', '.join(CALENDAR_WINDOWS)}, or rolling 5h (30m, 7d; at most 62 days)"
        place.problem(f"{place.name} is {shown(place)}", suggestion)
    return window if is_window(window) else "total"


def _read_warn_at(table: Table) -> tuple[int, ...]:
    entry = table.find("warn_at")
    if entry is None:
        return WARN_AT
    percents = tuple(read_integer(each, low=1, high=1000) for each in entry.elements())
    if list(percents) != sorted(set(percents)):
        entry.problem(f"{entry.name} is not in ascending order", "such as [50, 75, 95]")
    return percents


def _check_account(account: str, table: Table, known: Mapping[str, list[str]]) -> None:
    """An account that matches nothing would be a limit that never holds."""
    place = table.place_of("account")
    kind, colon, name = account.partition(":")
    if kind not in KINDS or (kind == "org") == bool(colon) or (kind != "org" and not name):
        kinds = ("org", *PER_KINDS, *(f"{kind}:{name}" for kind, names in known.items() for name in names))
        place.problem(f"{place.name} {shown(place)} is no account", closest(account, kinds))
    elif kind == "agent" and not all(name.partition("/")):
        place.problem(f"{place.name} {shown(place)} names no agent", "agent:<session>/<agent>")
    elif kind == "tag" and not all(name.partition("=")):
        place.problem(f"{place.name} {shown(place)} names no tag", "tag:<name>=<value>")
    elif name and name not in known.get(kind, [name]):
        report_unmatched(place, kind, name, known[kind])


def _check_per(row: LimitRow, table: Table) -> None:
    """A kind that is no part of the account would be counted for people outside of it too."""
    kind = kind_of(row.account)
    narrower = PER_WITHIN.get(kind, ())
    if row.per in PER_KINDS and kind in KINDS and row.per not in narrower:
        instead = f"one of: {', '.join(narrower)}" if narrower else "remove it"
        table.place_of("per").problem(f"{table.entry.name}: there is no {row.per} within {row.account}", instead)


def report_unmatched(place: Entry, kind: str, name: str, known: list[str]) -> None:
    """Credentials may also be in the store, which is not read here: only one that looks mistyped is a problem."""
    match = nearest(name, known)
    if match is not None:
        place.problem(f"{place.name} {shown(place)} matches nobody", f"did you mean {kind}:{match}?")
    elif kind == "credential":
        place.warning(f"{place.name} {shown(place)} is no configured credential", "is it in the store?")
    else:
        place.problem(f"{place.name} {shown(place)} matches nobody", f"add the {kind} to org.teams")
