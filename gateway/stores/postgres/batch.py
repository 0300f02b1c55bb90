"""What one process says to the database at once: holds, extensions, ends; and what the database answers. No I/O.

Places of a hold are positions in the sorted ids of all series that the batch touches, from 1 as the server counts.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gateway.core.money.budgets import Exhausted, Hold, LimitView
from gateway.core.money.limits import NOTHING, Amounts, LimitRow, Series
from gateway.core.money.windows import Calendar
from gateway.stores.postgres.series import Known, Mirror, Missing, Plan, array_text, spans

BIGINT_MAX = 2**63 - 1

EndKind = Literal["settle", "release", "expire"]
OpKind = Literal["reserve", "replay", "extend"]


class Outcome(NamedTuple):
    """What became of a reservation or extension."""

    status: Literal["held", "passed", "gone"]
    views: tuple[LimitView, ...] = ()
    exhausted: Exhausted | None = None


@dataclass(slots=True, eq=False)
class Op:
    """A hold to be taken or, for `extend`, the amounts that an open one is to have. `replay` guards nothing."""

    kind: OpKind
    hold: Hold
    strict: bool
    """Counts for `replay`; else the limits that are met tell."""
    waits: "asyncio.Future[Outcome] | None" = None


class Ended(NamedTuple):
    """What became of an end. `expired`: it had been before; `gone`: there was no such hold; nothing was changed."""

    outcome: Literal["settle", "release", "expire", "correct", "expired", "gone"]
    charge: Amounts
    """What the hold was or would have been charged at expiry."""


@dataclass(slots=True, eq=False)
class End:
    """The end of a hold; which series it is on follows from the rest."""

    kind: EndKind
    id: str
    accounts: tuple[str, ...]
    model: str
    backends: tuple[str, ...]
    at_ms: int
    spent: Amounts = NOTHING
    backend: str = ""
    rows: tuple[LimitRow, ...] = ()
    """Limits of a policy decision that it was held under."""
    waits: "asyncio.Future[Ended] | None" = None
    written: bool = False
    """In the journal."""
    unsure: bool = False
    """It was in a batch of which nobody knows whether it was committed."""


@dataclass(slots=True)
class Batch:
    """What is committed together. Ends come first."""

    now_ms: int
    ends: list[End] = field(default_factory=list[End])
    ops: list[Op] = field(default_factory=list[Op])

    def __len__(self) -> int:
        return len(self.ends) + len(self.ops)


@dataclass(slots=True)
class Planned:
    """A batch with the series that each of its parts is on."""

    batch: Batch
    ends: list[Plan]
    ops: list[Plan]
    mirrors: list[Mirror]
    """All of them, in the order of ids."""


def plan(batch: Batch, known: Known) -> Planned:
    """Raises `series.Missing`, with all that is missing for any part of the batch."""
    missing: dict[Series, None] = {}
    plans: list[Plan] = []
    for accounts, model, backends, added in _parts(batch):
        try:
            plans.append(known.plan(accounts, model, backends, added=added))
        except Missing as found:
            missing.update(dict.fromkeys(found.series))
    if missing:
        raise Missing(tuple(missing))
    mirrors = {mirror.id: mirror for each in plans for mirror in each.mirrors}
    ends = len(batch.ends)
    return Planned(batch, plans[:ends], plans[ends:], [mirrors[id] for id in sorted(mirrors)])


def _parts(batch: Batch) -> Iterable[tuple[tuple[str, ...], str, tuple[str, ...], Sequence[LimitRow]]]:
    for end in batch.ends:
        yield end.accounts, end.model, end.backends, end.rows
    for op in batch.ops:
        yield op.hold.accounts, op.hold.model, op.hold.backends, op.hold.added


def arguments(planned: Planned, known: Known, calendar: Calendar) -> list[Any]:
    """Arguments of `commit_batch` after owner, generation and version."""
    batch = planned.batch
    place_of = {mirror.id: place for place, mirror in enumerate(planned.mirrors, 1)}
    counts = [known.count(mirror.series.account) if mirror.is_base else 0 for mirror in planned.mirrors]
    names, starts, ends = spans(calendar, batch.now_ms)
    return [
        *(batch.now_ms, names, starts, ends, [mirror.id for mirror in planned.mirrors], counts),
        *_end_columns(planned, place_of),
        *_op_columns(planned, place_of),
        *_guard_columns(planned, place_of),
    ]


def _end_columns(planned: Planned, place_of: Mapping[int, int]) -> list[list[Any]]:
    ends = planned.batch.ends
    places: list[int] = []
    counts: list[bool] = []
    last: list[int] = []
    for end, found in zip(ends, planned.ends, strict=True):
        for mirror in found.mirrors:
            places.append(place_of[mirror.id])
            counts.append(mirror.series.covers(end.model, end.backend))
        last.append(len(places))
    return [
        [end.id for end in ends],
        [end.kind for end in ends],
        [amount for end in ends for amount in end.spent],
        [end.backend for end in ends],
        [end.at_ms for end in ends],
        *(last, places, counts),
    ]


def _op_columns(planned: Planned, place_of: Mapping[int, int]) -> list[list[Any]]:
    ops = planned.batch.ops
    places: list[int] = []
    last: list[int] = []
    for found in planned.ops:
        places.extend(place_of[mirror.id] for mirror in found.mirrors)
        last.append(len(places))
    return [
        [op.hold.id for op in ops],
        [op.kind for op in ops],
        [array_text(op.hold.accounts) for op in ops],
        [op.hold.model for op in ops],
        [array_text(op.hold.backends) for op in ops],
        [amount for op in ops for amount in op.hold.worst],
        [amount for op in ops for amount in op.hold.expected],
        [op.strict if op.kind == "replay" else found.strict for op, found in zip(ops, planned.ops, strict=True)],
        [op.hold.deadline_ms for op in ops],
        *(last, places),
    ]


def _guard_columns(planned: Planned, place_of: Mapping[int, int]) -> list[list[Any]]:
    guards: list[tuple[int, int, bool]] = []
    last: list[int] = []
    for op, found in zip(planned.batch.ops, planned.ops, strict=True):
        if op.kind != "replay":
            for mirror, row in found.guards:
                if row.guards and row.max is not None:
                    guards.append((place_of[mirror.id], min(row.max, BIGINT_MAX), row.strict))
        last.append(len(guards))
    columns = zip(*guards, strict=True) if guards else ((), (), ())
    return [last, *(list(column) for column in columns)]


def see(planned: Planned, row: Mapping[str, Any]) -> None:
    """Take over the sums that the batch found, after its ends and before its holds."""
    columns = (row["used"], row["worst"], row["expected"], row["ends"])
    for mirror, used, worst, expected, ends_ms in zip(planned.mirrors, *columns, strict=True):
        mirror.used, mirror.worst, mirror.expected, mirror.ends_ms = used, worst, expected, ends_ms


def outcomes(planned: Planned, fits: Sequence[bool | None], before: Mapping[str, Hold]) -> list[Outcome]:
    """What became of each hold, in order, with the limits as they stood for it. `before`: what extended ones held."""
    found: list[Outcome] = []
    for op, plan, fit in zip(planned.batch.ops, planned.ops, fits, strict=True):
        if fit is None:
            found.append(Outcome("gone"))
            continue
        worst, expected = op.hold.worst, op.hold.expected
        if op.kind == "extend" and op.hold.id in before:
            worst, expected = worst.minus(before[op.hold.id].worst), expected.minus(before[op.hold.id].expected)
        if not fit:
            found.append(Outcome("passed", exhausted=plan.exhausted(worst, expected)))
            continue
        found.append(Outcome("held", plan.views()))
        for mirror in plan.mirrors:
            mirror.change(worst, expected)
    return found


def ended(row: Mapping[str, Any]) -> list[Ended]:
    """What became of each end, in order."""
    charges = row["charges"]
    return [Ended(outcome, Amounts(*charges[5 * n : 5 * n + 5])) for n, outcome in enumerate(row["ended"])]


def overshoots(planned: Planned, ended: Sequence[Ended]) -> Iterable[tuple[LimitRow, int]]:
    """Limits that settlements took spend past, with the amount beyond that each added. After `see`, the last first."""
    guards = {guard for plan in set(planned.ends) for guard in plan.guards}
    if not any(row.max is not None and mirror.used > row.max for mirror, row in guards):
        return
    used = {mirror.id: mirror.used for mirror in planned.mirrors}
    for end, plan, result in reversed(list(zip(planned.batch.ends, planned.ends, ended, strict=True))):
        if result.outcome not in ("settle", "expire"):
            continue
        amounts = result.charge if result.outcome == "expire" else end.spent
        counting = {mirror.id: mirror for mirror in plan.mirrors if mirror.series.covers(end.model, end.backend)}
        if result.outcome == "settle":
            for mirror, row in plan.guards:
                if mirror.id in counting:
                    assert row.max is not None
                    before = used[mirror.id] - amounts[mirror.meter]
                    beyond = max(0, used[mirror.id] - row.max) - max(0, before - row.max)
                    if beyond > 0:
                        yield row, beyond
        for id, mirror in counting.items():
            used[id] -= amounts[mirror.meter]
