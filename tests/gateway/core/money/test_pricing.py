"""Costs worked out by hand from the price list, in nano-dollars."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.core.money.prices import parse_prices
from gateway.core.money.pricing import LIST_PRICE, Terms, Unpriced, cost_nanousd, format_usd, terms_for
from gateway.core.wire.usage import Iteration, Tokens, Usage

TABLE = parse_prices(yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text(encoding="utf-8")))
NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * 1000
USD = 1_000_000_000
BACKENDS = ("anthropic", "aws", "bedrock", "foundry", "simulated", "vertex")
ALL_KINDS = Tokens(input=1_000, output=500, cache_read=20_000, cache_write_5m=300, cache_write_1h=40)
counts = st.integers(0, 200_000)


def cost(usage: Usage, *, fallback_model: str = "claude-opus-5-5", terms: Terms = LIST_PRICE) -> int:
    return cost_nanousd(usage, TABLE, at_ms=NOW, fallback_model=fallback_model, terms=terms)


def test_every_kind_of_token_costs_its_own_rate() -> None:
    # 1000*4 + 500*20 + 20000*0.2 + 300*5 + 40*8 = 19,820 USD per million
    assert cost(Usage(model="claude-opus-5-5", tokens=ALL_KINDS)) == 19_820_000


def test_fast_mode_doubles_all_kinds() -> None:
    assert cost(Usage(model="claude-opus-5-5", tokens=ALL_KINDS, speed="fast")) == 2 * 19_820_000
    assert cost(Usage(model="claude-opus-4-6", tokens=Tokens(output=10), speed="fast")) == 250_000


def test_us_inference_costs_a_tenth_more_where_it_is_sold() -> None:
    in_us = Usage(model="claude-opus-5-5", tokens=ALL_KINDS, inference_geo="us")
    assert cost(Usage(model="claude-haiku-4-5", tokens=Tokens(input=1), inference_geo="us")) == 1_000
    sold = {backend: cost(in_us, terms=Terms(backend)) for backend in BACKENDS}
    assert sold == dict.fromkeys(BACKENDS, 19_820_000) | dict.fromkeys(("anthropic", "aws", "simulated"), 21_802_000)


@pytest.mark.parametrize(("prompt", "expected"), [(100_000, 100_000 * 100 + 500), (100_001, 100_001 * 500 + 2_500)])
def test_long_prompt_tier_starts_strictly_above_the_threshold(prompt: int, expected: int) -> None:
    assert cost(Usage(model="claude-haiku-5-5", tokens=Tokens(input=prompt, output=1))) == expected


def test_cached_tokens_count_towards_the_tier() -> None:
    tokens = Tokens(input=1, cache_read=100_000)
    assert cost(Usage(model="claude-haiku-5-5", tokens=tokens)) == 500 + 100_000 * 50


def test_iterations_replace_the_totals_and_cost_their_own_model() -> None:
    iterations = (
        Iteration(Tokens(input=1_000)),
        Iteration(Tokens(output=100), model="claude-haiku-4-5"),
        Iteration(Tokens(output=10), model="claude-opus-5-5"),
    )
    usage = Usage(model="claude-opus-5-5", tokens=Tokens(input=999_999), iterations=iterations)
    assert cost(usage) == 4_000_000 + 500_000 + 200_000


def test_each_iteration_has_its_own_tier() -> None:
    halves = (Iteration(Tokens(input=60_000)), Iteration(Tokens(input=60_000)))
    assert cost(Usage(model="claude-haiku-5-5", iterations=halves)) == 120_000 * 100


def test_web_searches_cost_a_cent_and_no_multiplier() -> None:
    usage = Usage(model="claude-opus-5-5", web_search_requests=3, inference_geo="us", speed="fast")
    assert cost(usage) == 30_000_000


def test_empty_refusal_is_free() -> None:
    assert cost(Usage(model="claude-opus-5-5", tokens=ALL_KINDS, refused_empty=True, web_search_requests=1)) == 0


def test_redeemed_fallback_credit_bills_writes_as_reads() -> None:
    tokens = Tokens(cache_write_5m=600, cache_write_1h=400)
    assert cost(Usage(model="claude-opus-5-5", tokens=tokens, fallback_credit_redeemed=True)) == 1_000 * 200


def test_fraction_of_a_nano_dollar_is_rounded_up_once_per_response() -> None:
    # a 5-minute write of Haiku 5.5 costs 125 nano-dollars, in the US 137.5
    one = Usage(model="claude-haiku-5-5", tokens=Tokens(cache_write_5m=1), inference_geo="us")
    assert cost(one) == 138
    split = Usage(model="claude-haiku-5-5", iterations=(Iteration(one.tokens),) * 2, inference_geo="us")
    assert cost(split) == 275


def test_response_without_or_with_an_unknown_model_costs_the_admitted_one() -> None:
    assert cost(Usage(tokens=Tokens(output=1))) == 20_000
    assert cost(Usage(model="brand-new", tokens=Tokens(output=1)), fallback_model="claude-haiku-4-5") == 5_000


def test_unknown_model_is_never_priced_silently() -> None:
    with pytest.raises(Unpriced, match="brand-new"):
        cost(Usage(model="gpt", tokens=Tokens(output=1)), fallback_model="brand-new")
    with pytest.raises(Unpriced, match="adviser"):
        cost(Usage(model="claude-opus-5-5", iterations=(Iteration(Tokens(output=1), model="adviser"),)))


def terms(backend: str, wire_model: str, *, region: str | None = None, configured: int | None = None) -> Terms:
    price = TABLE.find(wire_model, NOW) or TABLE.find("claude-opus-5-5", NOW)
    assert price is not None
    return terms_for(backend, wire_model, region=region, configured=configured, price=price)


@pytest.mark.parametrize(
    ("backend", "wire_model", "region", "multiplier"),
    [
        ("anthropic", "claude-opus-5-5", None, 10_000),
        ("aws", "claude-opus-5-5", "eu-west-1", 10_000),
        ("foundry", "my-deployment", None, 10_000),
        ("vertex", "claude-opus-5-5", "global", 10_000),
        ("vertex", "claude-opus-5-5", "eu", 11_000),
        ("vertex", "claude-sonnet-4@20250514", "europe-west1", 10_000),
        ("bedrock", "global.anthropic.claude-opus-5-5", "us-east-1", 10_000),
        ("bedrock", "us.anthropic.claude-opus-5-5", "us-east-1", 11_000),
        ("bedrock", "anthropic.claude-opus-5-5", "us-east-1", 11_000),
        ("bedrock", "us.anthropic.claude-opus-4-1-20250805-v1:0", "us-east-1", 10_000),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x", "us-east-1", 11_000),
        ("bedrock", "us-gov.anthropic.claude-opus-5-5", "us-gov-west-1", 12_000),
        ("bedrock", "arn:aws-us-gov:bedrock:us-gov-west-1:1:application-inference-profile/x", None, 12_000),
    ],
)
def test_endpoint_charges_its_premium_on_models_that_have_one(
    backend: str, wire_model: str, region: str | None, multiplier: int
) -> None:
    assert terms(backend, wire_model, region=region) == Terms(backend, multiplier)


def test_configured_multiplier_stands_for_the_premium_too_but_not_for_geography() -> None:
    negotiated = terms("bedrock", "us.anthropic.claude-opus-5-5", region="us-east-1", configured=9_000)
    assert negotiated == Terms("bedrock", 9_000)
    usage = Usage(model="claude-opus-5-5", tokens=ALL_KINDS, inference_geo="us")
    assert cost(usage, terms=Terms("anthropic", 9_000)) == 19_820_000 * 11 * 9 // 100


def test_multiplier_is_of_every_token_in_every_pass_and_of_no_search() -> None:
    fast = Usage(model="claude-opus-5-5", tokens=ALL_KINDS, speed="fast", web_search_requests=2)
    assert cost(fast, terms=Terms("vertex", 11_000)) == 2 * 19_820_000 * 11 // 10 + 20_000_000
    passes = (Iteration(Tokens(input=1_000)), Iteration(Tokens(output=100), model="claude-haiku-4-5"))
    both = Usage(model="claude-opus-5-5", iterations=passes)
    assert cost(both, terms=Terms("bedrock", 11_000)) == (4_000_000 + 500_000) * 11 // 10


def test_geography_and_multiplier_are_rounded_once_together() -> None:
    # 125 nano-dollars a token: 125 * 1.1 * 1.1 = 151.25
    one = Usage(model="claude-haiku-5-5", tokens=Tokens(cache_write_5m=1), inference_geo="us")
    assert cost(one, terms=Terms("aws", 11_000)) == 152


@pytest.mark.parametrize(
    "model",
    [
        "claude-sonnet-4-5@20250929",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ],
)
def test_response_that_names_its_model_as_a_cloud_does_costs_that_model(model: str) -> None:
    assert cost(Usage(model=model, tokens=Tokens(output=1))) == 15_000


@pytest.mark.parametrize("model", ["my-deployment", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"])
def test_response_that_names_no_model_of_the_table_costs_the_admitted_one(model: str) -> None:
    assert cost(Usage(model=model, tokens=Tokens(output=1))) == 20_000


@given(st.builds(Tokens, counts, counts, counts, counts, counts), st.builds(Tokens, counts, counts, counts))
def test_cost_never_falls_when_tokens_are_added(some: Tokens, more: Tokens) -> None:
    both = Tokens(
        some.input + more.input,
        some.output + more.output,
        some.cache_read + more.cache_read,
        some.cache_write_5m,
        some.cache_write_1h,
    )
    for model in ("claude-opus-5-5", "claude-haiku-5-5"):
        assert cost(Usage(model=model, tokens=some)) <= cost(Usage(model=model, tokens=both))


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "$0.00"),
        (USD, "$1.00"),
        (1, "$0.000000001"),
        (300_000_000, "$0.30"),
        (125_000, "$0.000125"),
        (-5, "-$0.000000005"),
    ],
)
def test_dollars_are_written_exactly(nanousd: int, text: str) -> None:
    assert format_usd(nanousd) == text
