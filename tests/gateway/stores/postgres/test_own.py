"""The holds of one process: what they would cost, and for how long their settlement is awaited."""

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts
from gateway.stores.postgres.own import OVERDUE_MS, REMEMBERED_MS, OwnHolds

HOLD = Hold("h", ("org",), "m", ("b",), Amounts(30), Amounts(10), 1, 1_000)


def test_total_is_what_would_be_spend_if_all_expired() -> None:
    own = OwnHolds()
    own.opened(HOLD, strict=True)
    own.opened(Hold("i", ("org",), "m", ("b",), Amounts(30), Amounts(10), 1, 1_000), strict=False)
    assert own.held_total == 40
    own.opened(Hold("h", ("org",), "m", ("b",), Amounts(35), Amounts(10), 1, 1_000), strict=True)
    assert own.held_total == 45
    assert own.released("h") is not None and own.released("h") is None
    assert own.held_total == 10


def test_expired_hold_may_be_settled_once_but_not_released() -> None:
    own = OwnHolds()
    own.opened(HOLD, strict=True)
    own.expired("h", 1_000)
    assert (own.held_total, "h" in own, own.released("h")) == (0, False, None)
    assert own.settled("h") == HOLD
    assert own.settled("h") is None


def test_hold_that_is_overdue_was_expired_by_another_and_may_still_be_settled() -> None:
    own = OwnHolds()
    own.opened(HOLD, strict=True)
    own.forget(1_000 + OVERDUE_MS - 1)
    assert "h" in own
    own.forget(1_000 + OVERDUE_MS)
    assert (own.held_total, "h" in own) == (0, False)
    assert own.settled("h") == HOLD


def test_hold_that_expired_long_ago_is_forgotten_whenever_it_was_due() -> None:
    own = OwnHolds()
    own.opened(HOLD, strict=True)
    own.expired("h", 10 * REMEMBERED_MS)
    own.forget(11 * REMEMBERED_MS - 1)
    assert "h" not in own
    own.forget(11 * REMEMBERED_MS)
    assert own.settled("h") is None
