"""List prices of tokens by kind, as a run is shown them."""

from pathlib import Path

from gateway.config import parse_config
from gateway.core.wire.usage import Tokens
from gateway.ground import load_prices
from gateway.runs.listprices import ListPrices
from tests.support.clock import FakeClock

MILLION = 1_000_000
USD = 1_000_000_000
NOW_MS = 1_796_083_200_000
"""2026-12-01."""


def prices(fallback: str | None = None) -> ListPrices:
    config = parse_config("{upstreams: [{id: s, backend: simulated}]}", Path("/ringfence.yaml"), {})
    return ListPrices(load_prices(config), {"big": "claude-opus-5-5"}, fallback, FakeClock(now_ms=NOW_MS))


def test_each_kind_of_token_has_its_price() -> None:
    table = prices()
    kinds = [Tokens(**{kind: MILLION}) for kind in Tokens.__struct_fields__]
    each = [table.cost_nanousd("claude-opus-5-5", tokens) for tokens in kinds]
    assert each == [4 * USD, 20 * USD, each[2], 5 * USD, 8 * USD] and 0 < (each[2] or 0) < USD
    whole = Tokens(MILLION, MILLION, MILLION, MILLION, MILLION)
    assert table.cost_nanousd("claude-opus-5-5", whole) == sum(cost or 0 for cost in each)


def test_aliases_and_spellings_of_clouds_are_the_same_model() -> None:
    table, tokens = prices(), Tokens(input=MILLION)
    named = ("claude-opus-5-5", "big", "anthropic.claude-opus-5-5")
    assert {table.cost_nanousd(model, tokens) for model in named} == {4 * USD}


def test_model_without_a_price_has_none_unless_there_is_a_fallback() -> None:
    tokens = Tokens(input=MILLION)
    assert prices().cost_nanousd("gpt-x", tokens) is None
    assert prices("claude-opus-5-5").cost_nanousd("gpt-x", tokens) == 4 * USD
    assert prices().cost_nanousd("claude-opus-5-5", Tokens()) == 0
