"""Estimates: the worst case covers every usage that fits the request, the expectation follows what was seen."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.core.body import messages_of, peek
from gateway.core.content import measure_content
from gateway.core.estimate import (
    MODELS_MAX,
    PROMPT_OVERHEAD_TOKENS,
    SERVER_TOOL_SEARCHES,
    Learned,
    Shape,
    bounded,
    shape_of,
    strict_nanousd,
)
from gateway.core.prices import Price, parse_prices
from gateway.core.pricing import cost_nanousd, terms_for
from gateway.core.usage import Tokens, Usage

TABLE = parse_prices(yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text(encoding="utf-8")))
NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * 1000
MODELS = ["claude-opus-5-5", "claude-haiku-5-5", "claude-haiku-4-5-20251001", "claude-opus-4-6"]
ENDPOINTS = [
    ("anthropic", None, None),
    ("aws", None, "us-east-1"),
    ("bedrock", "global", "us-east-1"),
    ("bedrock", "eu", "eu-west-1"),
    ("bedrock", None, "us-east-1"),
    ("bedrock", "us-gov", "us-gov-west-1"),
    ("foundry", None, None),
    ("simulated", None, None),
    ("vertex", None, "global"),
    ("vertex", None, "us-east5"),
]
"""Backend, profile and region."""


def price_of(model: str) -> Price:
    price = TABLE.find(model, NOW)
    assert price is not None
    return price


OPUS = price_of("claude-opus-5-5")


def shape(body: bytes) -> Shape:
    ask = peek(body)
    return bounded(shape_of(ask, body), measure_content(messages_of(body, ask)))


def test_worst_case_is_one_token_per_byte_written_to_the_dear_cache_and_all_of_max_tokens() -> None:
    prompt = 1_000 + PROMPT_OVERHEAD_TOKENS
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=15_000)) == prompt * 8_000 + 15_000 * 20_000


def test_missing_max_tokens_holds_the_longest_answer_of_the_model() -> None:
    with_all = Shape(body_bytes=10, max_tokens=OPUS.max_output)
    assert strict_nanousd(OPUS, Shape(body_bytes=10, max_tokens=None)) == strict_nanousd(OPUS, with_all)


def test_prompt_is_never_longer_than_the_context_window() -> None:
    huge = Shape(body_bytes=30_000_000, max_tokens=0)
    assert strict_nanousd(OPUS, huge) == OPUS.context_window * 8_000
    assert strict_nanousd(OPUS, Shape(body_bytes=10, max_tokens=0, unbounded=True)) == OPUS.context_window * 8_000


def test_fast_geography_and_search_are_held_as_requested() -> None:
    plain = strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100))
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100, fast=True)) == 2 * plain
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100, inference_geo="us")) == plain * 11 // 10
    assert strict_nanousd(OPUS, Shape(body_bytes=1_000, max_tokens=100, web_search=True)) == plain + 100_000_000


@pytest.mark.parametrize(
    "content",
    [
        '[{"type":"image","source":{"type":"url","url":"https://x/y.png"}}]',
        '[{"type":"document","source":{"type":"file","file_id":"f"}}]',
        '[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":""}}]',
        '[{"type":"document","\\u0073ource":{"type":"\\u0075rl","url":"https://x/y.pdf"}}]',
        '[{"type":"document","source":{"type":"base64","media_type":"application\\/pdf","data":""}}]',
    ],
)
def test_content_whose_size_the_body_does_not_show_counts_as_a_full_window(content: str) -> None:
    body = f'{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}'.encode()
    assert shape(body).unbounded
    assert not shape(b'{"model":"m","messages":[{"role":"user","content":"a plain url or file"}]}').unbounded


def test_context_edit_that_only_clears_is_bounded_and_one_that_compacts_is_not() -> None:
    body = b'{"model":"m","messages":[],"context_management":{"edits":[{"type":"%s","keep":"all"}]}}'
    assert not shape(body % b"clear_thinking_20251015").unbounded
    assert shape(body % b"compact_20260112").unbounded
    assert shape(body % b"\\u0063ompact_20260112").unbounded


@pytest.mark.parametrize("tail", ['"tools":[{"type":"web_search_20250305","name":"web_search"}]', '"thread":"t1"'])
def test_server_tools_and_held_state_count_as_a_full_window(tail: str) -> None:
    assert shape(f'{{"model":"m","messages":[],{tail}}}'.encode()).unbounded


def test_small_image_counts_as_many_tokens() -> None:
    block = '{"type":"image","source":{"type":"base64","media_type":"image%spng","data":"AA=="}}'
    for slash in ("/", "\\/"):
        body = f'{{"model":"m","messages":[{{"role":"user","content":[{block % slash}]}}]}}'.encode()
        assert shape(body).images == 1
        assert strict_nanousd(OPUS, shape(body)) > strict_nanousd(OPUS, Shape(len(body), None))


def test_clamped_max_tokens_replace_those_of_the_body() -> None:
    body = b'{"model":"m","max_tokens":900,"messages":[]}'
    assert shape_of(peek(body), body).max_tokens == 900
    assert shape_of(peek(body), body, max_tokens=5).max_tokens == 5


@st.composite
def fitting(draw: st.DrawFn) -> tuple[str, Shape, Usage]:
    """A request and any usage that it can lead to."""
    model = draw(st.sampled_from(MODELS))
    asked = Shape(
        body_bytes=draw(st.integers(0, 300_000)),
        max_tokens=draw(st.integers(0, 128_000)),
        fast=draw(st.booleans()),
        inference_geo=draw(st.sampled_from([None, "us"])),
    )
    room = min(price_of(model).context_window, asked.body_bytes + PROMPT_OVERHEAD_TOKENS)
    cuts = sorted(draw(st.lists(st.integers(0, room), min_size=4, max_size=4)))
    parts = [high - low for low, high in zip([0, *cuts], cuts, strict=False)]
    tokens = Tokens(parts[0], draw(st.integers(0, asked.max_tokens or 0)), *parts[1:])
    speed = draw(st.sampled_from(["standard", "fast"])) if asked.fast else "standard"
    return model, asked, Usage(model=model, tokens=tokens, speed=speed, inference_geo=asked.inference_geo, final=True)


@given(fitting(), st.sampled_from(ENDPOINTS), st.none() | st.integers(1, 1_000_000))
def test_no_usage_that_fits_the_request_costs_more_than_the_worst_case(
    case: tuple[str, Shape, Usage], endpoint: tuple[str, str | None, str | None], configured: int | None
) -> None:
    model, asked, usage = case
    backend, profile, region = endpoint
    price = price_of(model)
    wire_model = TABLE.catalogue.wire(model, backend=backend, profile=profile)
    terms = terms_for(backend, wire_model, region=region, configured=configured, price=price)
    usage = msgspec.structs.replace(usage, model=wire_model, web_search_requests=SERVER_TOOL_SEARCHES)
    cost = cost_nanousd(usage, TABLE, at_ms=NOW, fallback_model=model, terms=terms)
    assert cost <= strict_nanousd(price, msgspec.structs.replace(asked, web_search=True), multiplier=terms.multiplier)


def test_multiplier_is_held_for_tokens_and_not_for_searches() -> None:
    plain, searching = Shape(body_bytes=1_000, max_tokens=100), Shape(1_000, 100, web_search=True)
    assert strict_nanousd(OPUS, plain, multiplier=12_000) == strict_nanousd(OPUS, plain) * 12 // 10
    assert strict_nanousd(OPUS, searching, multiplier=12_000) == strict_nanousd(OPUS, plain) * 12 // 10 + 100_000_000
    expected = Learned().expected_nanousd(OPUS, plain)
    assert Learned().expected_nanousd(OPUS, plain, multiplier=5_000) * 2 == expected


@given(st.lists(fitting(), max_size=30), fitting(), st.integers(1, 1_000_000))
def test_expectation_never_passes_the_worst_case(
    seen: list[tuple[str, Shape, Usage]], case: tuple[str, Shape, Usage], multiplier: int
) -> None:
    learned = Learned()
    for model, asked, usage in seen:
        learned.observe(price_of(model), asked.body_bytes, usage)
    model, asked, usage = case
    price = price_of(model)
    expected = learned.expected_nanousd(price, asked, usage.tokens, multiplier=multiplier)
    assert 0 <= expected <= strict_nanousd(price, asked, multiplier=multiplier)


def learned_from(tokens: Tokens, times: int = 100) -> Learned:
    learned = Learned()
    for _ in range(times):
        learned.observe(OPUS, 40_000, Usage(tokens=tokens, final=True))
    return learned


def test_expectation_comes_close_to_what_was_seen() -> None:
    learned = learned_from(Tokens(input=10_000, output=500))
    assert abs(learned.input_tokens(OPUS, 40_000) - 10_000) < 100
    expected = learned.expected_nanousd(OPUS, Shape(40_000, 32_000), Tokens(input=10_000))
    assert 50_000_000 <= expected <= 52_000_000


def test_output_expectation_is_the_95th_percentile_and_at_most_max_tokens() -> None:
    learned = Learned()
    for index in range(100):
        learned.observe(OPUS, 0, Usage(tokens=Tokens(output=20_000 if index < 4 else 100), final=True))
    assert learned.expected_nanousd(OPUS, Shape(0, 32_000)) == 128 * 20_000
    assert learned.expected_nanousd(OPUS, Shape(0, 10)) == 10 * 20_000
    for _ in range(10):
        learned.observe(OPUS, 0, Usage(tokens=Tokens(output=20_000), final=True))
    assert learned.expected_nanousd(OPUS, Shape(0, 32_000)) > 20_000 * 20_000


def test_cache_of_the_last_response_is_expected_to_be_read() -> None:
    learned = learned_from(Tokens(input=10_000))
    asked = Shape(40_000, 0)
    warm = learned.expected_nanousd(OPUS, asked, Tokens(cache_read=9_000, cache_write_5m=500))
    cold = learned.expected_nanousd(OPUS, asked)
    assert warm < learned.expected_nanousd(OPUS, asked, Tokens(input=9_500)) < cold


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
    assert learned.expected_nanousd(OPUS, Shape(0, 32_000)) == 128 * 20_000
