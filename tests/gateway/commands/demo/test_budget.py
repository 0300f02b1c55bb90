"""The promises of the budget scene break when one request too many got through, or money is missing."""

from gateway.commands.demo.budget import REQUESTS, THROUGH, budget_checks
from gateway.commands.demo.evidence import Trail
from tests.gateway.commands.demo.records import USD, hold, limit, request

PRICE = 300_000_000
HELD = 310_000_000


def trail(through: int) -> Trail:
    answered = [request(hold=hold(HELD, 0), cost=PRICE) for _ in range(through)]
    return Trail((*answered, *(request(reason="budget_exhausted") for _ in range(REQUESTS - through))))


def kept(through: int, *, spent: int, held: int = 0, watched_held: int = 3 * HELD) -> list[bool]:
    watched = [limit(0), limit(0, held=watched_held)]
    return [check.kept for check in budget_checks(trail(through), limit(spent, held=held), watched)]


def test_three_of_fifty_within_the_cap_keep_all_promises() -> None:
    assert kept(THROUGH, spent=THROUGH * PRICE) == [True] * 5


def test_a_fourth_that_got_through_breaks_promises() -> None:
    assert kept(4, spent=4 * PRICE, watched_held=4 * HELD) == [False, True, False, True, False]


def test_spend_that_was_not_recorded_breaks_a_promise() -> None:
    assert kept(THROUGH, spent=2 * PRICE) == [True, True, False, True, True]


def test_hold_that_never_ended_breaks_a_promise() -> None:
    assert kept(THROUGH, spent=THROUGH * PRICE, held=1) == [True, True, True, False, True]


def test_moment_above_the_cap_breaks_a_promise() -> None:
    assert kept(THROUGH, spent=THROUGH * PRICE, watched_held=USD + 1) == [True, True, True, True, False]
