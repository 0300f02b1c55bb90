"""Batches: where their parts are, what the server's answer means, and what went past a limit."""

from typing import Any

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.core.money.windows import Calendar
from gateway.stores.postgres.batch import Batch, End, Ended, Op, arguments, ended, outcomes, overshoots, plan, see
from gateway.stores.postgres.series import Known

NOW = 1_795_356_000_000
LIMITS = Limits((LimitRow("org", 100, strict=True, id="cap"), LimitRow("user:u", 50, on_reach="warn", id="soft")))


def known() -> Known:
    blank = {"meter": 1, "span": "total", "models": [], "backends": [], "worst": 0, "expected": 0, "ends_ms": None}
    found = Known(LIMITS)
    found.learn([blank | {"id": 9, "account": "org", "series": 1, "used": 0}])
    found.learn([blank | {"id": 4, "account": "user:u", "series": 1, "used": 0}])
    return found


def hold(id: str, worst: int = 40, expected: int = 10) -> Hold:
    return Hold(id, ("org", "user:u"), "m", ("b",), Amounts(worst), Amounts(expected), NOW, NOW + 60_000)


def settle(id: str, nanousd: int) -> End:
    return End("settle", id, ("org", "user:u"), "m", ("b",), NOW, Amounts(nanousd, active_requests=0), "b")


def answer(*used: int) -> dict[str, Any]:
    return {"used": used, "worst": [0] * len(used), "expected": [0] * len(used), "ends": [None] * len(used)}


def test_places_count_from_one_in_the_order_of_ids() -> None:
    found = known()
    batch = Batch(NOW, [settle("e", 5)], [Op("reserve", hold("h"), strict=False)])
    now_ms, _, _, _, ids, counts, *rest = arguments(plan(batch, found), found, Calendar())
    assert (now_ms, ids, counts) == (NOW, [4, 9], [1, 1])
    ends, ops, guards = rest[:8], rest[8:19], rest[19:]
    assert ends == [["e"], ["settle"], [5, 1, 0, 0, 0], ["b"], [NOW], [2], [2, 1], [True, True]]
    assert ops[2] == ['{"org","user:u"}'] and ops[-2:] == [[2], [2, 1]]
    assert guards == [[1], [2], [100], [True]]


def test_each_hold_is_told_the_limits_as_those_before_it_left_them() -> None:
    found = known()
    ops = [Op("reserve", hold(f"h{n}"), strict=False) for n in range(3)]
    planned = plan(Batch(NOW, ops=ops), found)
    see(planned, answer(7, 20))
    first, second, third = outcomes(planned, [True, True, False], {})
    assert [[view.held for view in each.views] for each in (first, second)] == [[0, 0], [40, 10]]
    assert third.exhausted is not None
    assert (third.exhausted.view.used, third.exhausted.view.held, third.exhausted.needed) == (20, 80, 40)


def test_extension_counts_what_it_adds() -> None:
    found = known()
    planned = plan(Batch(NOW, ops=[Op("extend", hold("h", 60, 30), strict=True)]), found)
    see(planned, answer(0, 0))
    (outcome,) = outcomes(planned, [True], {"h": hold("h")})
    assert outcome.status == "held"
    assert [(mirror.worst, mirror.expected) for mirror in planned.mirrors] == [(20, 20), (20, 20)]
    assert outcomes(planned, [None], {})[0].status == "gone"


def test_overshoot_is_shared_among_the_settlements_that_made_it() -> None:
    found = known()
    batch = Batch(NOW, [settle("a", 60), settle("b", 30), settle("gone", 99), settle("c", 20)])
    planned = plan(batch, found)
    see(planned, answer(110, 110))
    nothing = Amounts(0, 0, 0, 0, 0)
    results = [Ended("settle", nothing), Ended("settle", nothing), Ended("gone", nothing), Ended("settle", nothing)]
    told = [(row.id, amount) for row, amount in overshoots(planned, results)]
    assert told == [("cap", 10), ("soft", 20), ("soft", 30), ("soft", 10)]


def test_charges_come_in_fives() -> None:
    found = ended({"ended": ["expire", "gone"], "charges": [1, 2, 3, 4, 0, 0, 0, 0, 0, 0]})
    assert found == [Ended("expire", Amounts(1, 2, 3, 4, 0)), Ended("gone", Amounts(0, 0, 0, 0, 0))]
