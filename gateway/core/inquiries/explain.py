"""What a next request meets, and the limit or fuse that stops it first, in a sentence. Asks no store; no sums."""

from collections.abc import Sequence

import msgspec

from gateway.core.fuses.fuse import USED_METERS, FuseReading, FuseRecord, amount_text, message
from gateway.core.inquiries.subject import Subject
from gateway.core.money.budgets import LimitView, format_minute, limit_text
from gateway.core.money.standing import Standing, is_partial
from gateway.core.money.windows import rolling_ms

ASKED_METERS = frozenset({"requests"}) | USED_METERS
"""Fuses of these stop the next request once the meter stands at the limit; the others once it is above."""


class Explanation(msgspec.Struct, frozen=True):
    """The answer: the limit that bites first is the first of `limits`; `notes` say what was assumed."""

    subject: Subject
    sentence: str
    limits: tuple[Standing, ...]
    fuses: tuple[FuseReading, ...]
    notes: tuple[str, ...]


def sentence(limits: Sequence[LimitView], fuses: Sequence[FuseReading], blown: FuseRecord | None) -> str:
    """What stops the next request, or will stop one first. `limits` as `standing.by_bite` orders them."""
    if blown is not None:
        return message(blown)
    about_to = next((each for each in fuses if _blows_next(each)), None)
    if about_to is not None:
        value, limit = amount_text(about_to.meter, about_to.value or 0), amount_text(about_to.meter, about_to.limit)
        holder = f"{about_to.scope} {about_to.holder}"
        return f"the next request blows the {about_to.meter} fuse of {holder}, which stands at {value} of {limit}"
    guards = [view for view in limits if view.row is not None and view.row.guards]
    if not guards:
        none = "every limit on this request only warns" if limits else "no limit applies to this request"
        return f"{none}: what it uses is counted, and never refused"
    return "; ".join((_bite(guards[0]), *_beside(guards)))


def _bite(view: LimitView) -> str:
    limit, used = _limit(view), _used(view)
    if view.left:
        return f"{limit} bites first: {_amount(view, view.left)} left, {used}; {_resets(view)}"
    requests = "requests that it covers are" if is_partial(view) else "requests are"
    if view.row is not None and not view.row.max:
        return f"{limit} lets nothing through: {requests} refused until an operator raises it"
    return f"{limit} is used up: {used}; {requests} refused until {_until(view)}"


def _beside(guards: Sequence[LimitView]) -> tuple[str, ...]:
    """The first limit counts some models or backends only: what else a request meets first."""
    if not is_partial(guards[0]):
        return ()
    whole = next((view for view in guards if not is_partial(view)), None)
    if whole is None:
        return ("no limit holds for every model and backend",)
    stands = f"which has {_amount(whole, whole.left)} left" if whole.left else "which is used up"
    return (f"of the limits for every model and backend, {_limit(whole)} is first, {stands}",)


def _limit(view: LimitView) -> str:
    assert view.row is not None
    account = view.series.account
    return f"{limit_text(view.row)} of {account if account == 'org' or ':' in account else f'a new {account}'}"


def _used(view: LimitView) -> str:
    if view.series.meter == "active_requests":
        return f"{view.held} running"
    done = "spent" if view.series.meter == "cost" else "used"
    return f"{_amount(view, view.used)} {done} and {_amount(view, view.held)} held by running requests"


def _resets(view: LimitView) -> str:
    length = view.series.window.removeprefix("rolling ") if rolling_ms(view.series.window) else None
    if view.series.meter == "active_requests":
        return "each request that ends makes room for one"
    if view.resets_at_ms is None:
        return f"what is used comes back after {length}" if length else "it does not reset"
    return f"it {'begins to free up' if length else 'resets'} at {format_minute(view.resets_at_ms)}"


def _until(view: LimitView) -> str:
    assert view.row is not None and view.row.max is not None
    if view.series.meter == "active_requests":
        return "one of them ends"
    ends = ["running requests give back what they hold"] if view.used < view.row.max else []
    if view.resets_at_ms is not None:
        ends.append(_resets(view))
    elif not rolling_ms(view.series.window):
        ends.append("an operator raises it")
    return ", or ".join(ends)


def _amount(view: LimitView, amount: int | None) -> str:
    return amount_text(view.series.meter, amount or 0)


def _blows_next(fuse: FuseReading) -> bool:
    if fuse.value is None:
        return False
    return fuse.value >= fuse.limit if fuse.meter in ASKED_METERS else fuse.value > fuse.limit
