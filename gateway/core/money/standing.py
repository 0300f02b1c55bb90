"""Limits as people are told of them: what is left of each, and which of them stops a request first. Asks no store."""

from collections.abc import Iterable
from fractions import Fraction

import msgspec

from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import KINDS, METERS, LimitRow, Meter, OnReach, Source, kind_of
from gateway.core.money.windows import Window

FOREVER_MS = 10**18
"""Later than any window ends."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One limit on one account; amounts are nano-dollars or counts, as its meter says."""

    account: str
    """A bare kind is one of that kind that nobody has met yet."""
    meter: Meter
    window: Window
    models: tuple[str, ...]
    backends: tuple[str, ...]
    per: str | None
    """Kind of account that has this much each; None: the account is one pool."""
    max: int
    used: int
    held: int
    left: int
    percent: int
    """Used and held of `max`, rounded down."""
    strict: bool
    on_reach: OnReach
    id: str
    source: Source
    resets_at_ms: int | None
    """When the window ends; for a rolling one, when it begins to free up."""
    set_on: str
    """Account that the limit was set on: `org` for what each user may spend."""
    warn_at: tuple[int, ...]
    warned: tuple[int, ...]
    """Those of `warn_at` that are reached."""


def tell(views: Iterable[LimitView]) -> tuple[Standing, ...]:
    """What is told of each, in the order given."""
    return tuple(_standing(view, view.row, view.row.max) for view in views if view.row and view.row.max is not None)


def listed(views: Iterable[LimitView]) -> list[LimitView]:
    """In an order that does not change with what is spent: the widest kind of account first."""
    return sorted(views, key=lambda view: (KINDS.index(kind_of(view.series.account)), _place(view)))


def by_bite(views: Iterable[LimitView]) -> list[LimitView]:
    """The limits that guard, with the one that stops a request first at the head; after them those that only warn.

    What is used up comes first: what holds for every model and lasts longest, because to wait for another would not
    help. Of the others, amounts of one meter compare with each other, as the same use counts on all of them; different
    meters are ordered by the share that is left of the scarcest limit of each.
    """
    guards = [view for view in views if view.row is not None and view.row.max is not None and view.row.guards]
    warns = [view for view in views if view.row is not None and view.row.max is not None and not view.row.guards]
    return [*_ranked(guards), *_ranked(warns)]


def is_partial(view: LimitView) -> bool:
    """Does it count some models or backends only?"""
    return bool(view.series.models or view.series.backends)


def _ranked(views: list[LimitView]) -> list[LimitView]:
    gone = sorted((view for view in views if not view.left), key=_lasting)
    left = sorted((view for view in views if view.left), key=lambda view: (view.left, not _row(view).strict))
    shares: dict[str, Fraction] = {}
    for view in left:
        shares.setdefault(view.series.meter, Fraction(view.left or 0, _row(view).max or 1))
    return [*gone, *sorted(left, key=lambda view: (shares[view.series.meter], METERS.index(view.series.meter)))]


def _lasting(view: LimitView) -> tuple[bool, bool, int]:
    """Least for the limit that is used up for longest and for most."""
    most = _row(view).max or 0
    ends_ms = FOREVER_MS if view.resets_at_ms is None or not most else view.resets_at_ms
    return is_partial(view), view.used < most, -ends_ms


def _row(view: LimitView) -> LimitRow:
    assert view.row is not None
    return view.row


def _place(view: LimitView) -> tuple[str, int, str, tuple[str, ...], tuple[str, ...], str]:
    series = view.series
    on_reach = "" if view.row is None else view.row.on_reach
    return series.account, METERS.index(series.meter), series.window, series.models, series.backends, on_reach


def _standing(view: LimitView, row: LimitRow, most: int) -> Standing:
    return Standing(
        account=view.series.account,
        meter=row.meter,
        window=row.window,
        models=row.models,
        backends=row.backends,
        per=row.per,
        max=most,
        used=view.used,
        held=view.held,
        left=max(0, most - view.used - view.held),
        percent=view.percent,
        strict=row.strict,
        on_reach=row.on_reach,
        id=row.id,
        source=row.source,
        resets_at_ms=view.resets_at_ms,
        set_on=row.account,
        warn_at=row.warn_at,
        warned=tuple(percent for percent in row.warn_at if view.percent >= percent),
    )
