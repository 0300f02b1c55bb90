"""The holds of one process: what they would cost, and for how long their settlement is awaited."""

from gateway.core.budgets import Hold
from gateway.core.limits import Amounts
from gateway.stores.postgres.own import REMEMBERED_MS, OwnHolds

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
    own.expired("h")
    assert (own.held_total, "h" in own, own.released("h")) == (0, False, None)
    assert own.settled("h") == HOLD
    assert own.settled("h") is None


def test_hold_long_past_its_deadline_is_forgotten() -> None:
    own = OwnHolds()
    own.opened(HOLD, strict=True)
    own.forget(1_000 + REMEMBERED_MS - 1)
    assert "h" in own
    own.expired("h")
    own.forget(1_000 + REMEMBERED_MS)
    assert own.settled("h") is None
