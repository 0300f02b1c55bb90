"""The expectation follows what was seen, stays below the worst case, and grows by steps while an answer runs."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.estimates.estimate import (
    AGENT_TYPES_MAX,
    MODELS_MAX,
    OUTPUT_SAMPLES_MIN,
    OUTPUT_START,
    STEP_TOKENS_MIN,
    Agent,
    Learned,
    covered_chars,
    next_step,
    seen_tokens,
)
from gateway.core.estimates.worst import Shape, worst
from gateway.core.money.prices import Price
from gateway.core.wire.usage import Tokens, Usage
from tests.gateway.core.estimates.test_worst import OPUS, fitting, price_of


@given(st.lists(fitting(), max_size=30), fitting(), st.integers(1, 1_000_000))
def test_expectation_never_passes_the_worst_case(
    seen: list[tuple[str, Shape, Usage]], case: tuple[str, Shape, Usage], multiplier: int
) -> None:
    learned = Learned()
    for model, asked, usage in seen:
        learned.observe(price_of(model), asked.body_bytes, usage)
    model, asked, usage = case
    price = price_of(model)
    expected = learned.expected(price, asked, Agent(usage.tokens), multiplier=multiplier)
    most = worst(price, asked, multiplier=multiplier)
    assert all(0 <= likely <= held for likely, held in zip(expected, most, strict=True))


def expected_cost(learned: Learned, shape: Shape, last: Tokens | None = None) -> int:
    return learned.expected(OPUS, shape, Agent(last)).cost


def learned_from(tokens: Tokens, times: int = 100) -> Learned:
    learned = Learned()
    for _ in range(times):
        learned.observe(OPUS, 40_000, Usage(tokens=tokens, final=True))
    return learned


def test_expectation_comes_close_to_what_was_seen() -> None:
    learned = learned_from(Tokens(input=10_000, output=500))
    assert abs(learned.input_tokens(OPUS, 40_000) - 10_000) < 100
    expected = expected_cost(learned, Shape(40_000, 32_000), Tokens(input=10_000))
    assert 50_000_000 <= expected <= 52_000_000


def test_output_expectation_is_the_95th_percentile_and_at_most_max_tokens() -> None:
    learned = Learned()
    for index in range(100):
        learned.observe(OPUS, 0, Usage(tokens=Tokens(output=20_000 if index < 4 else 100), final=True))
    assert expected_cost(learned, Shape(0, 32_000)) == 128 * 20_000
    assert expected_cost(learned, Shape(0, 10)) == 10 * 20_000
    for _ in range(10):
        learned.observe(OPUS, 0, Usage(tokens=Tokens(output=20_000), final=True))
    assert expected_cost(learned, Shape(0, 32_000)) > 20_000 * 20_000


def test_cache_of_the_last_response_is_expected_to_be_read() -> None:
    learned = learned_from(Tokens(input=10_000))
    asked = Shape(40_000, 0)
    warm = expected_cost(learned, asked, Tokens(cache_read=9_000, cache_write_5m=500))
    cold = expected_cost(learned, asked)
    assert warm < expected_cost(learned, asked, Tokens(input=9_500)) < cold


def test_usage_that_is_not_final_or_of_several_passes_teaches_nothing() -> None:
    learned, untaught = Learned(), Learned()
    learned.observe(OPUS, 40_000, Usage(tokens=Tokens(input=40_000), final=False))
    assert learned.input_tokens(OPUS, 40_000) == untaught.input_tokens(OPUS, 40_000)


def test_number_of_models_learnt_is_bounded() -> None:
    learned = learned_from(Tokens(input=40_000))
    taught = learned.input_tokens(OPUS, 40_000)
    for index in range(MODELS_MAX + 1):
        learned.input_tokens(other_model(index), 1)
    assert learned.input_tokens(OPUS, 40_000) != taught


def other_model(index: int) -> Price:
    return replace(OPUS, id=f"model-{index}")


def test_histogram_is_halved_so_that_it_follows_the_model() -> None:
    learned = learned_from(Tokens(input=1, output=20_000), times=1_000)
    for _ in range(12_000):
        learned.observe(OPUS, 0, Usage(tokens=Tokens(output=100), final=True))
    assert expected_cost(learned, Shape(0, 32_000)) == 128 * 20_000


def test_multiplier_is_expected_of_tokens() -> None:
    plain = Shape(body_bytes=1_000, max_tokens=100)
    half = Learned().expected(OPUS, plain, multiplier=5_000)
    assert half.cost * 2 == Learned().expected(OPUS, plain).cost


def test_known_tokens_are_expected_in_place_of_the_bytes_they_stand_for() -> None:
    learned = learned_from(Tokens(input=10_000, output=500))
    by_bytes = learned.expected(OPUS, Shape(80_000, 100))
    known = learned.expected(OPUS, Shape(4_000, 100, known_tokens=12_000))
    assert abs(by_bytes.total_tokens - 20_000) < 300
    assert abs(known.total_tokens - 13_100) < 100


def observed(learned: Learned, output: int, agent_type: str | None, times: int = OUTPUT_SAMPLES_MIN) -> None:
    for _ in range(times):
        learned.observe(OPUS, 0, Usage(tokens=Tokens(output=output), final=True), agent_type=agent_type)


def output_of(learned: Learned, agent_type: str | None) -> int:
    return learned.expected(OPUS, Shape(0, 64_000), Agent(type=agent_type)).output_tokens


def test_agent_types_have_their_own_answers_once_enough_were_seen() -> None:
    learned = Learned()
    observed(learned, 16_000, "writer", 100)
    observed(learned, 100, "Explore")
    observed(learned, 100, "rare", OUTPUT_SAMPLES_MIN - 1)
    assert output_of(learned, "Explore") == 128
    assert output_of(learned, "rare") == output_of(learned, None) == output_of(learned, "unseen") == 16_384


def test_nothing_seen_expects_the_start_value() -> None:
    learned = Learned()
    observed(learned, 16_000, "writer", OUTPUT_SAMPLES_MIN - 1)
    assert output_of(learned, "writer") == output_of(Learned(), None) == OUTPUT_START


def test_number_of_agent_types_learnt_is_bounded_and_the_unused_are_forgotten() -> None:
    learned = Learned()
    observed(learned, 100, "Explore")
    observed(learned, 16_000, None, 1_000)
    for index in range(AGENT_TYPES_MAX - 1):
        observed(learned, 16_000, f"made-up-{index}", 1)
    observed(learned, 100, "Explore", 1)
    observed(learned, 16_000, "one-more", 1)
    assert output_of(learned, "Explore") == 128
    for index in range(AGENT_TYPES_MAX):
        observed(learned, 16_000, f"later-{index}", 1)
    assert output_of(learned, "Explore") == 16_384


STREAMED = Shape(body_bytes=40_000, max_tokens=10_000, web_search=True)


def test_step_adds_output_alone_and_reaches_past_what_was_seen() -> None:
    held = Learned().expected(OPUS, STREAMED)
    step = next_step(OPUS, STREAMED, held=held, seen_tokens=4_096)
    assert step.output_tokens == 4_096 + STEP_TOKENS_MIN
    assert step.total_tokens - held.total_tokens == STEP_TOKENS_MIN
    assert step.cost - held.cost == STEP_TOKENS_MIN * 20_000


def test_longer_answers_take_longer_steps_up_to_the_longest_there_can_be() -> None:
    held = Learned().expected(OPUS, STREAMED)
    assert next_step(OPUS, STREAMED, held=held, seen_tokens=6_000).output_tokens == 7_500
    last = next_step(OPUS, STREAMED, held=held, seen_tokens=9_500)
    assert last.output_tokens == 10_000
    assert next_step(OPUS, STREAMED, held=last, seen_tokens=12_000) == last


@given(fitting(), st.integers(1, 1_000_000), st.lists(st.integers(0, 200_000), max_size=10))
def test_steps_never_take_anything_back_and_never_pass_the_worst_case(
    case: tuple[str, Shape, Usage], multiplier: int, seen: list[int]
) -> None:
    model, asked, _ = case
    price = price_of(model)
    held = Learned().expected(price, asked, multiplier=multiplier)
    most = worst(price, asked, multiplier=multiplier)
    for tokens in sorted(seen):
        step = next_step(price, asked, held=held, seen_tokens=tokens, multiplier=multiplier)
        assert all(before <= now <= limit for before, now, limit in zip(held, step, most, strict=True))
        assert step.output_tokens >= min(tokens, most.output_tokens)
        held = step


def test_price_of_a_step_has_the_geography_and_multiplier_of_the_request() -> None:
    asked = msgspec.structs.replace(STREAMED, inference_geo="us")
    held = Learned().expected(OPUS, asked, multiplier=12_000)
    step = next_step(OPUS, asked, held=held, seen_tokens=4_096, multiplier=12_000)
    assert step.cost - held.cost == STEP_TOKENS_MIN * 20_000 * 11 * 12 // 100


@given(st.integers(0, 200_000))
def test_hold_is_not_used_up_before_the_characters_it_covers_and_is_right_after(tokens: int) -> None:
    assert seen_tokens(covered_chars(tokens)) == tokens
    assert seen_tokens(covered_chars(tokens) + 1) == tokens + 1
