"""What the tests of the ledger's book share: one kind of hold, and short ways to look."""

from typing import Any

from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.ledger import LedgerBook
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import HOUR_MS, MINUTE_MS

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
TOMORROW = NOW + 10 * HOUR_MS
CENT = 10_000_000
ORG = Series("org")
WORST, EXPECTED = Amounts(30 * CENT, output_tokens=300, total_tokens=900), Amounts(10 * CENT, output_tokens=100)


def book(*rows: LimitRow) -> LedgerBook:
    return LedgerBook(Limits(rows), NOW)


def hold(id: str, *accounts: str, now: int = NOW, **other: Any) -> Hold:
    fields = {"worst": WORST, "model": "opus-5", "backends": ("anthropic",)} | other
    return Hold(id, accounts or ("org",), expected=EXPECTED, created_ms=now, deadline_ms=now + MINUTE_MS, **fields)


def cents(count: int) -> Amounts:
    return Amounts(count * CENT)


def shown(ledger: LedgerBook, now_ms: int = NOW) -> dict[tuple[str, str], tuple[int, int]]:
    """Used and held, in cents, by account and window."""
    views = {(view.series.account, view.series.window): view for view in ledger.views(now_ms)}
    return {place: (view.used // CENT, view.held // CENT) for place, view in views.items()}


def passed(ledger: LedgerBook, count: int, *accounts: str) -> int:
    """How many of so many requests are let through."""
    through = 0
    for index in range(count):
        try:
            ledger.reserve(hold(f"{accounts}{index}", *accounts))
            through += 1
        except Exhausted:
            continue
    return through
