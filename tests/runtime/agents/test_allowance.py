"""What one attempt may use, and that a pause is nobody's fault."""

import asyncio

import pytest

from runtime.agents.allowance import Allowance
from runtime.agents.endings import AttemptOver
from runtime.core.limits import Limits
from runtime.core.model import CallOptions, Tokens, Usage
from tests.support.clock import FakeClock


def allowance(clock: FakeClock | None = None, *, turns: int = 200, **options: object) -> Allowance:
    clock = clock or FakeClock()
    return Allowance(CallOptions(**options), Limits(turns=turns), clock, clock.monotonic())  # type: ignore[arg-type]


def used(output: int = 0, cost_nanousd: int | None = 0) -> Usage:
    return Usage(tokens=Tokens(output=output), cost_nanousd=cost_nanousd, requests=1)


def test_w48_turns_end_at_the_calls_own_limit() -> None:
    made = allowance(max_turns=2)
    made.begin_turn(100)
    made.begin_turn(100)
    with pytest.raises(AttemptOver, match=r"2 turns \(maxTurns\)"):
        made.begin_turn(100)


def test_w48_turns_end_at_the_operators_limit_when_the_call_names_none() -> None:
    made = allowance(turns=1)
    made.begin_turn(100)
    with pytest.raises(AttemptOver, match="1 turns"):
        made.begin_turn(100)


def test_w48_answer_may_have_only_the_tokens_that_are_left() -> None:
    made = allowance(max_tokens=150)
    assert made.begin_turn(100) == 100
    made.count(used(output=90))
    assert made.begin_turn(100) == 60
    made.count(used(output=60))
    with pytest.raises(AttemptOver, match="150 output tokens"):
        made.begin_turn(100)


@pytest.mark.parametrize(
    ("cost_nanousd", "over"),
    [(499_999_999, ""), (500_000_000, r"\$0.5 \(maxCostUsd\)"), (None, "no price is known")],
    ids=["below", "reached", "unknown"],
)
def test_w48_cost_is_held_to_the_limit(cost_nanousd: int | None, over: str) -> None:
    made = allowance(max_cost_usd=0.5)
    made.count(used(cost_nanousd=cost_nanousd))
    if not over:
        assert made.begin_turn(100) == 100
        return
    with pytest.raises(AttemptOver, match=over) as raised:
        made.begin_turn(100)
    assert raised.value.null == "limit"


def test_w48_cost_that_nobody_knows_matters_only_to_a_limit() -> None:
    made = allowance()
    made.count(used(cost_nanousd=None))
    assert made.begin_turn(100) == 100


def test_w48_time_ends_the_next_turn() -> None:
    clock = FakeClock()
    made = allowance(clock, timeout_ms=5_000)
    clock.advance(5.0)
    with pytest.raises(AttemptOver, match=r"5000 ms \(timeoutMs\)"):
        made.begin_turn(100)


def test_w129_paused_time_does_not_count() -> None:
    clock = FakeClock()
    made = allowance(clock, timeout_ms=5_000)
    with made.paused():
        clock.advance(3_600.0)
    clock.advance(4.9)
    assert made.begin_turn(100) == 100


async def test_w48_work_is_cut_off_when_the_time_is_up() -> None:
    made = allowance(timeout_ms=20)
    with pytest.raises(AttemptOver, match="time limit of 20 ms"):
        async with made.in_time():
            await asyncio.Event().wait()


async def test_timeout_of_the_work_itself_is_not_taken_for_the_attempts() -> None:
    with pytest.raises(TimeoutError):
        async with allowance(timeout_ms=60_000).in_time():
            raise TimeoutError


def test_w48_cost_that_nothing_reaches_is_a_limit_like_any_other() -> None:
    made = allowance(max_cost_usd=1e300)
    made.count(used(cost_nanousd=10**18))
    assert made.begin_turn(100) == 100
