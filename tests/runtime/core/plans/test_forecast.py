"""What the live part of a resume may cost, what a call is called, and how two scripts differ."""

import pytest

from runtime.core.model import CallIndex, Tokens, Usage
from runtime.core.plans.forecast import COMPARED_LINES_MAX, DIFF_LINES_MAX, Means, diff_scripts, mean_of
from runtime.core.recorded import Past, Recorded
from tests.support.workflows import Script, play


async def phases(script: Script) -> None:
    await script.agent("a", phase="Find")
    await script.agent("b", phase="Check")
    await script.agent("c", phase="Check")


def recorded_with(**costs: int | None) -> Recorded:
    """The usage of each call, by its prompt."""
    recorded = play(phases).recorded
    for past in recorded.calls.values():
        cost = costs[past.issued.prompt]
        past.usage = Usage(tokens=Tokens(output=cost or 0), cost_nanousd=cost, requests=1)
    return recorded


def test_w162_call_may_cost_what_it_cost_before() -> None:
    recorded = recorded_with(a=10, b=20, c=40)
    b = recorded.calls[CallIndex(1)]
    usage = Means(recorded).of("Check", b)
    assert usage.cost_nanousd == 20


@pytest.mark.parametrize(("phase", "cost"), [("Find", 10), ("Check", 31), ("Other", 24), (None, 24)], ids=str)
def test_w162_new_call_may_cost_what_its_phase_or_all_calls_cost(phase: str | None, cost: int) -> None:
    usage = Means(recorded_with(a=10, b=20, c=41)).of(phase, None)
    assert (usage.cost_nanousd, usage.requests) == (cost, 1)


def test_w162_without_a_price_there_is_no_cost_but_there_are_tokens() -> None:
    usage = Means(recorded_with(a=10, b=None, c=30)).of("Check", None)
    assert (usage.cost_nanousd, usage.tokens.output) == (None, 15)


def test_w162_run_without_results_tells_nothing() -> None:
    recorded = play(phases, lambda prompt: None).recorded
    assert Means(recorded).of("Find", next(iter(recorded.calls.values()))) == Usage()
    assert mean_of(list[Past]()) == Usage()


def test_w162_scripts_differ_by_their_lines() -> None:
    assert diff_scripts("a\nb", "a\nb") == ""
    assert diff_scripts("a\nb", "a\nc").splitlines()[-2:] == ["-b", "+c"]


def test_w162_long_difference_is_cut_and_says_so() -> None:
    before, after = "\n".join(f"a{i}" for i in range(900)), "\n".join(f"b{i}" for i in range(900))
    lines = diff_scripts(before, after).splitlines()
    assert len(lines) == DIFF_LINES_MAX + 1 and lines[-1].startswith("... ")
    assert "only the first" in diff_scripts("a\n" * (COMPARED_LINES_MAX + 5), "a\n" * (COMPARED_LINES_MAX + 6))
