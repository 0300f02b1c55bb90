"""What the ledger speaks in: limit, hold, view, and the refusal of a hold with its sentence and headers. No sums."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from gateway.core.pricing import format_usd
from gateway.core.windows import WINDOWS, Window

SHARED_POOLS = frozenset({"org", "team"})
"""Kinds whose limits several people share."""
PEER_PERIODS = frozenset({"daily", "weekly", "monthly"})
"""Windows that clients know as a spend period."""


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A limit on one account (`org`, `user:bob`) or, when `account` is a bare kind, on each account of that kind."""

    account: str
    window: Window
    limit_nanousd: int
    strict: bool
    entry: int | None = None
    """Which of the configuration's budgets it is, from 0; None: not from there."""


class Limits:
    """The limits of the configuration, compiled. An exact row overrides the bare one of the same window."""

    def __init__(self, rows: Iterable[LimitRow] = ()) -> None:
        self._rows: dict[str, dict[Window, LimitRow]] = {}
        for row in rows:
            self._rows.setdefault(row.account, {})[row.window] = row

    def for_account(self, account: str) -> tuple[LimitRow, ...]:
        """The rows that hold for `account`, in the order of the windows."""
        kind = account.partition(":")[0]
        rows = self._rows.get(kind, {}) | self._rows.get(account, {})
        return tuple(rows[window] for window in WINDOWS if window in rows)

    def named_accounts(self) -> tuple[str, ...]:
        """Accounts that a row names one by one."""
        return tuple(account for account in self._rows if account == "org" or ":" in account)


class Hold(msgspec.Struct, frozen=True):
    """Money held for one request: `strict` is its worst case, `expected` the learned estimate."""

    id: str
    accounts: tuple[str, ...]
    strict_nanousd: int
    expected_nanousd: int
    created_ms: int
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class AccountView:
    """One limit of one account, for people; `limit_nanousd` None: counted, not limited."""

    account: str
    window: Window
    limit_nanousd: int | None
    spent_nanousd: int
    held_nanousd: int
    strict: bool
    resets_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Expired:
    """A hold whose deadline passed: now spend, at the held amount."""

    id: str
    cost_nanousd: int


class Exhausted(Exception):
    """The limit that `view` shows would be passed by a request that needs `needed_nanousd` more."""

    def __init__(self, view: AccountView, needed_nanousd: int) -> None:
        super().__init__(view, needed_nanousd)
        self.account = view.account
        self.window = view.window
        self.limit_nanousd = view.limit_nanousd or 0
        self.spent_nanousd = view.spent_nanousd
        self.held_nanousd = view.held_nanousd
        """Held by the requests that are running."""
        self.needed_nanousd = needed_nanousd
        self.resets_at_ms = view.resets_at_ms

    @property
    def message(self) -> str:
        """One sentence: which limit, what is used and held of it, when it resets, what to do."""
        used = f"{format_usd(self.spent_nanousd)} spent and {format_usd(self.held_nanousd)} held by other requests"
        limit = f"the {self.window} limit of {format_usd(self.limit_nanousd)} of {self.account}"
        needed = f"this request may cost {format_usd(self.needed_nanousd)}"
        if self.resets_at_ms is None:
            then = "it does not reset: ask an operator to raise the limit"
        else:
            then = f"it resets at {format_minute(self.resets_at_ms)}: wait, or ask an operator to raise the limit"
        if self.held_nanousd and self.spent_nanousd + self.needed_nanousd <= self.limit_nanousd:
            then = f"try again when running requests have ended, or a smaller max_tokens; {then}"
        return f"budget exhausted: {limit} has {used}, {needed}; {then}"

    def __str__(self) -> str:
        return self.message


def refusal_headers(exhausted: Exhausted, now_ms: int) -> dict[str, str]:
    """Headers of the 429, as clients know them from spend limits.

    `representative-claim` and `overage-status` stay away on purpose: with them the client writes its own sentence in
    place of ours. Headers about a reset are left off when the limit never resets, the period when clients do not know
    it.
    """
    headers = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-overage-utilization": _utilization(exhausted),
        "anthropic-ratelimit-unified-overage-surpassed-threshold": "1",
        "anthropic-ratelimit-unified-overage-disabled-reason": "org_spend_cap_reached",
        "x-should-retry": "false",
    }
    if exhausted.window in PEER_PERIODS:
        headers["anthropic-ratelimit-unified-overage-period"] = exhausted.window
    if exhausted.account.partition(":")[0] in SHARED_POOLS:
        headers["anthropic-ratelimit-unified-overage-scope"] = "group_pool"
    if exhausted.resets_at_ms is not None:
        reset = str(exhausted.resets_at_ms // 1000)
        headers["anthropic-ratelimit-unified-reset"] = reset
        headers["anthropic-ratelimit-unified-overage-reset"] = reset
        headers["retry-after"] = str(max(1, -(-(exhausted.resets_at_ms - now_ms) // 1000)))
    return headers


def _utilization(exhausted: Exhausted) -> str:
    """Two decimals, at least 1: the limit would be passed. Exactly `1` for a limit of zero."""
    if exhausted.limit_nanousd <= 0:
        return "1"
    asked = exhausted.spent_nanousd + exhausted.held_nanousd + exhausted.needed_nanousd
    hundredths = asked * 100 // exhausted.limit_nanousd
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def format_minute(moment_ms: int) -> str:
    """UTC to the minute."""
    return datetime.fromtimestamp(moment_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
