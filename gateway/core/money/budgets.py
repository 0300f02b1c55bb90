"""What the ledger speaks in: hold, view of a limit, refusal of a hold with its sentence and headers. No sums."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from gateway.core.money.limits import METERS, Amounts, LimitRow, Meter, Series, kind_of
from gateway.core.money.pricing import format_usd
from gateway.core.money.windows import HOUR_MS, rolling_ms

SHARED_KINDS = frozenset({"org", "team", "group", "tag"})
"""Kinds whose limits several people share."""
PEER_PERIODS = frozenset({"daily", "weekly", "monthly"})
"""Windows that clients know as a spend period."""
PACING_MS_MAX = HOUR_MS
"""A limit on counts that looks back no longer than this paces: its refusal asks the client to come again."""
PACING_SECONDS = 2
"""When to try again after a refusal for too many at once."""


class Hold(msgspec.Struct, frozen=True):
    """What is held for one request: `worst` can be proved, `expected` is the learned estimate."""

    id: str
    accounts: tuple[str, ...]
    model: str
    backends: tuple[str, ...]
    """Those it may go to; what it costs counts for the one it went to."""
    worst: Amounts
    expected: Amounts
    created_ms: int
    deadline_ms: int
    added: tuple[LimitRow, ...] = ()
    """Limits of the policy decision."""

    @property
    def backend(self) -> str:
        """The one it may go to; of several all, joined by commas."""
        return ",".join(self.backends)


class Spend(NamedTuple):
    """What one account used in a quarter hour of one model at one backend (several, joined by commas: at one of them).

    An empty model or backend is not known: it counts for every limit. Amounts are negative where an expired hold is
    corrected, never in the sum of a quarter.
    """

    quarter_ms: int
    model: str
    backend: str
    amounts: Amounts


class LimitView(NamedTuple):
    """One limit on one account as it stood at a moment. `row` None: counted, not limited."""

    series: Series
    row: LimitRow | None
    used: int
    held: int
    """By open holds: their worst cases for a strict limit, else their expected amounts."""
    resets_at_ms: int | None
    """When the window ends; for a rolling one, when the oldest part of it is past. None: it does not reset."""

    @property
    def left(self) -> int | None:
        """What may still be held; None: not limited."""
        return None if self.row is None or self.row.max is None else max(0, self.row.max - self.used - self.held)

    @property
    def percent(self) -> int:
        """Used and held of the limit, in whole percent, rounded down; 100 for a limit of zero."""
        most = None if self.row is None else self.row.max
        return 0 if most is None else (self.used + self.held) * 100 // most if most else 100


class Settled(NamedTuple):
    """What a settlement counted, and for whom."""

    counted: Amounts
    hold: Hold
    overshot: tuple[tuple[LimitRow, int], ...] = ()
    """Limits that it took spend past, with the amount beyond that it added."""
    corrects: bool = False
    """The hold had expired; `counted` is the difference to what was counted then."""
    spends: tuple[Spend, ...] = ()
    """What it adds to the usage of each account of the hold, for the moment that it counts for."""


class Expired(NamedTuple):
    """A hold that nobody ended in time: now spend, at the held amount."""

    id: str
    accounts: tuple[str, ...]
    model: str
    backend: str
    """The one it may have gone to; of several all, joined by commas."""
    charge: Amounts
    spends: tuple[Spend, ...] = ()
    """What it adds to the usage of each account."""


class Exhausted(Exception):
    """The limit that `view` shows would be passed by a request that needs `needed` more of its meter."""

    def __init__(self, view: LimitView, needed: int) -> None:
        super().__init__(view, needed)
        assert view.row is not None and view.row.max is not None
        self.view = view
        self.row = view.row
        self.max = view.row.max
        self.needed = needed

    @property
    def paces(self) -> bool:
        """Is it passed for a moment only, so that the same request is welcome again soon?"""
        if self.row.meter == "active_requests":
            return True
        length = rolling_ms(self.row.window)
        return self.row.meter != "cost" and length is not None and length <= PACING_MS_MAX

    @property
    def message(self) -> str:
        """One sentence: which limit, what is used and held of it, when it resets, what to do."""
        view, meter = self.view, self.row.meter
        limit = f"{limit_text(self.row)} of {view.series.account}"
        if meter == "active_requests":
            return f"too many at once: {limit} has {view.held} running; try again when one of them has ended"
        used = f"{amount_text(meter, view.used)} spent and {amount_text(meter, view.held)} held by other requests"
        needed = f"this request may need {amount_text(meter, self.needed)}"
        if meter == "cost":
            needed = f"this request may cost {format_usd(self.needed)}"
        if view.resets_at_ms is None and rolling_ms(self.row.window):
            then = "it frees up as running requests end"
        elif view.resets_at_ms is None:
            then = "it does not reset: ask an operator to raise the limit"
        else:
            resets = "frees up from" if rolling_ms(self.row.window) else "resets at"
            then = f"it {resets} {format_minute(view.resets_at_ms)}: wait, or ask an operator to raise the limit"
        if view.held and view.used + self.needed <= self.max:
            then = f"try again when running requests have ended, or a smaller max_tokens; {then}"
        return f"budget exhausted: {limit} has {used}, {needed}; {then}"

    def __str__(self) -> str:
        return self.message


def limit_text(row: LimitRow) -> str:
    """`the daily limit of $5.00`, `the rolling 5h limit of 1000 output_tokens for claude-opus-*`."""
    assert row.max is not None
    window = "" if row.meter == "active_requests" else f"{row.window} "
    only = ", ".join((*row.models, *row.backends))
    return f"the {window}limit of {amount_text(row.meter, row.max)}" + (f" for {only}" if only else "")


def amount_text(meter: Meter, amount: int) -> str:
    """Dollars for cost, else the count and what is counted."""
    return format_usd(amount) if meter == "cost" else f"{amount} {meter}"


def of(amounts: Amounts, meter: Meter) -> int:
    """The amount of one meter."""
    return amounts[METERS.index(meter)]


def refusal_headers(exhausted: Exhausted, now_ms: int) -> dict[str, str]:
    """Headers of the 429, as clients know them from spend limits.

    `representative-claim` and `overage-status` stay away on purpose: with them the client writes its own sentence in
    place of ours. Headers about a reset are left off when the limit never resets, the period when clients do not know
    it. What only paces says when to come again, and nothing of money.
    """
    view = exhausted.view
    waits = None if view.resets_at_ms is None else max(1, -(-(view.resets_at_ms - now_ms) // 1000))
    if exhausted.paces:
        return {"retry-after": str(PACING_SECONDS if waits is None else waits)}
    headers = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-overage-utilization": _utilization(exhausted),
        "anthropic-ratelimit-unified-overage-surpassed-threshold": "1",
        "anthropic-ratelimit-unified-overage-disabled-reason": "org_spend_cap_reached",
        "x-should-retry": "false",
    }
    if exhausted.row.window in PEER_PERIODS:
        headers["anthropic-ratelimit-unified-overage-period"] = exhausted.row.window
    if kind_of(view.series.account) in SHARED_KINDS:
        headers["anthropic-ratelimit-unified-overage-scope"] = "group_pool"
    if view.resets_at_ms is not None:
        reset = str(view.resets_at_ms // 1000)
        headers["anthropic-ratelimit-unified-reset"] = reset
        headers["anthropic-ratelimit-unified-overage-reset"] = reset
        headers["retry-after"] = str(waits)
    return headers


def reset_last(passed: Iterable[Exhausted]) -> Exhausted:
    """Of the limits that would be passed, the one that resets last: waiting for any other would not help."""

    def order(each: Exhausted) -> tuple[bool, int]:
        never = each.view.resets_at_ms is None and each.row.window == "total" and not each.paces
        return never, each.view.resets_at_ms or 0

    return max(passed, key=order)


def _utilization(exhausted: Exhausted) -> str:
    """Two decimals, at least 1: the limit would be passed. Exactly `1` for a limit of zero."""
    if exhausted.max <= 0:
        return "1"
    hundredths = (exhausted.view.used + exhausted.view.held + exhausted.needed) * 100 // exhausted.max
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def format_minute(moment_ms: int) -> str:
    """UTC to the minute."""
    return datetime.fromtimestamp(moment_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
