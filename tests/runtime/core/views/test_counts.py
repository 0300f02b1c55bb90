"""Counts of calls and tokens, line by line."""

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.model import Tokens, Usage
from runtime.core.views.counts import OPEN_CALLS, Sum
from tests.runtime.core.story import USAGES, Story, stories, usage


@given(st.lists(USAGES, max_size=10), st.lists(USAGES, max_size=10))
def test_what_is_taken_back_leaves_nothing(kept: list[Usage], live: list[Usage]) -> None:
    total, expected, running = Sum(), Sum(), Sum()
    for each in kept:
        total.add(each)
        expected.add(each)
    for each in live:
        total.add(each)
        running.add(each)
    total.take_back(running)
    assert total == expected


def test_w93_every_kind_of_token_is_summed() -> None:
    total = Sum()
    total.add(Usage(tokens=Tokens(input=1, output=2, cache_read=4, cache_write_5m=8, cache_write_1h=16)))
    assert total.total_tokens == 31 and (total.cache_write_1h, total.unpriced) == (16, 0)


def test_w93_attempt_without_a_price_is_counted_apart() -> None:
    total = Sum()
    total.add(usage(1, 5))
    total.add(usage(1, None))
    assert (total.cost_nanousd, total.unpriced) == (5, 1)


def test_w81_only_want_of_room_counts_as_refused() -> None:
    story = Story().runs().issues().issues().issues()
    story.is_refused(0, "agent_limit").is_refused(1, "budget_exhausted").is_refused(2, "schema_invalid")
    outcome = story.view().outcome
    assert (outcome.refused, outcome.threw) == (2, 1)


@settings(max_examples=200, deadline=None)
@given(stories())
def test_w174_census_and_open_calls_are_all_calls(story: Story) -> None:
    counts = story.view().counts
    ended = counts.done + counts.null + counts.threw + counts.refused + counts.stopped + counts.cached
    assert ended + sum(call.state in OPEN_CALLS for call in counts.calls.values()) == counts.planned
