"""What a run has spent, and when a run that gets nowhere is ended."""

import pytest

from runtime.core.calls import Call
from runtime.core.limits import Limits
from runtime.core.meters import Brakes, Spend, Typical
from runtime.core.model import CallIndex, CallOptions, Scope, Tokens, Usage


def call(index: int = 0) -> Call:
    return Call(index=CallIndex(index), id=1, key="k", scope=Scope(""), prompt="p", options=CallOptions())


def took(output: int, cost_nanousd: int | None = 0) -> Usage:
    return Usage(tokens=Tokens(input=1, output=output), cost_nanousd=cost_nanousd, requests=1)


def test_w93_what_an_attempt_has_used_is_counted_while_it_works_and_corrected_at_its_end() -> None:
    spend, working = Spend(), call()
    spend.ran(working, took(5, 50))
    spend.ran(working, took(6, 60))
    assert (spend.output_tokens, spend.cost_nanousd) == (11, 110)
    spend.closed(working, took(12, 130))
    assert (spend.output_tokens, spend.cost_nanousd) == (12, 130)
    assert spend.total() == took(12, 130)


def test_w117_replayed_tokens_are_spent_and_cost_nothing_again() -> None:
    spend = Spend()
    spend.reused(took(30, 300))
    spend.add(took(1, 10))
    assert (spend.output_tokens, spend.cost_nanousd) == (31, 10)
    assert spend.total() == took(1, 10)


def test_usage_of_a_model_without_a_price_has_no_cost() -> None:
    spend = Spend()
    spend.add(took(1, None))
    spend.add(took(1, 5))
    assert spend.total().cost_nanousd is None
    assert spend.cost_nanousd == 5


@pytest.mark.parametrize(
    ("refusal", "type", "detail"),
    [("agent_limit", "thread_limit_error", "agent_limit_error"), ("budget_exhausted", "program_error", "budget_error")],
)
def test_w99_refusals_trip_at_their_limit(refusal: str, type: str, detail: str) -> None:
    brakes = Brakes(Limits(refusals=2))
    brakes.refused()
    assert brakes.tripped(refusal) is None
    brakes.refused()
    failure = brakes.tripped(refusal)
    assert failure is not None and (failure.type, failure.detail) == (type, detail)


def test_w100_getting_on_starts_the_count_anew_but_not_that_of_all_computing() -> None:
    brakes = Brakes(Limits(idle_deliveries=10, total_cpu_seconds=3.0))
    brakes.drained(9, 2.0)
    brakes.advanced()
    brakes.drained(9, 0.5)
    assert brakes.tripped("") is None
    brakes.drained(0, 0.5)
    failure = brakes.tripped("")
    assert failure is not None and failure.detail == "script_timeout"


def test_w193_open_calls_are_expected_to_take_the_mean_of_their_phase_or_of_all() -> None:
    typical = Typical()
    for phase in ("a", "a", "a", "b"):
        typical.opened(phase)
    assert typical.ahead(0) == 0
    typical.closed("a")
    typical.finished("a", Usage(tokens=Tokens(input=90, output=10)))
    assert (typical.ahead(0), typical.ahead(250), typical.ahead(900)) == (300, 50, 0)
    typical.closed("b")
    typical.finished("b", Usage(tokens=Tokens(output=4)))
    assert (typical.ahead(0), typical.output_mean("a"), typical.output_mean("c")) == (200, 10, 0)
