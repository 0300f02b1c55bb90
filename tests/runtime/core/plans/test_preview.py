"""How many agents and how much money a run may take, before it starts."""

import pytest

from runtime.core.model import Tokens
from runtime.core.plans.preview import (
    ASSUMED_TOKENS,
    Earlier,
    Share,
    agent_range,
    median_tokens,
    price_by_history,
    price_by_list,
)


def ten_per_token(model: str, tokens: Tokens) -> int | None:
    return None if model == "unknown" else tokens.total * (10 if model == "sonnet" else 1)


@pytest.mark.parametrize(
    ("low", "bound", "told"),
    [
        pytest.param(3, 3, "3", id="exact"),
        pytest.param(3, 40, "3 to 40", id="range"),
        pytest.param(3, None, "unbounded, capped at 100", id="unbounded"),
        pytest.param(3, 400, "3 to 100", id="capped"),
        pytest.param(9, 2, "9", id="more_than_was_seen"),
    ],
)
def test_w143_agents_are_told_as_a_range_or_as_unbounded(low: int, bound: int | None, told: str) -> None:
    agents = agent_range(low, bound, 100)
    assert (agents.text, agents.unbounded) == (told, bound is None)
    assert agents.low <= agents.high <= 100


def test_w143_price_is_read_from_the_latest_runs() -> None:
    runs = [Earlier(agents=1, tokens=10 + i, cost_nanousd=100 + i) for i in range(30)]
    price = price_by_history([Earlier(agents=0, tokens=0, cost_nanousd=0), *runs])
    assert price is not None and (price.basis, price.runs) == ("history", 20)
    assert (price.low_nanousd, price.high_nanousd, price.tokens_low, price.tokens_high) == (100, 119, 10, 29)


def test_w143_without_history_there_is_none_to_read() -> None:
    assert price_by_history([]) is None
    assert price_by_history([Earlier(agents=0, tokens=0, cost_nanousd=0)]) is None


def test_w143_price_is_agents_by_median_tokens_by_list_price() -> None:
    shares = [Share(model="sonnet", agent_type=None, calls=1), Share(model="haiku", agent_type=None, calls=3)]
    typical: dict[str | None, list[Tokens]] = {None: [Tokens(input=80), Tokens(input=100), Tokens(input=9_000)]}
    price = price_by_list(agent_range(4, 8, 100), shares, typical, ten_per_token)
    assert (price.basis, price.tokens_low, price.tokens_high) == ("typical", 400, 800)
    assert (price.low_nanousd, price.high_nanousd) == (1_300, 2_600)


@pytest.mark.parametrize("model", [None, "unknown"], ids=["not_known", "not_priced"])
def test_w143_model_without_a_price_makes_the_price_unknown(model: str | None) -> None:
    shares = [Share(model="sonnet", agent_type=None, calls=1), Share(model=model, agent_type=None, calls=1)]
    price = price_by_list(agent_range(2, 2, 9), shares, {}, ten_per_token)
    assert (price.low_nanousd, price.high_nanousd) == (None, None)
    assert (price.basis, price.tokens_low) == ("assumed", 2 * ASSUMED_TOKENS.total)


def test_w143_median_is_of_each_kind() -> None:
    samples = [Tokens(input=1, output=30), Tokens(input=2, output=10), Tokens(input=3, output=20)]
    assert median_tokens(samples) == Tokens(input=2, output=20)
    assert median_tokens([]) is None


def test_w143_price_of_history_grows_with_the_agents_of_the_dry_run() -> None:
    runs = [Earlier(agents=2, tokens=20, cost_nanousd=200), Earlier(agents=4, tokens=80, cost_nanousd=None)]
    price = price_by_history(runs, 10)
    assert price is not None and (price.low_nanousd, price.high_nanousd) == (200, 1_000)
    assert (price.tokens_low, price.tokens_high) == (20, 200)


def test_w143_models_without_a_price_are_named() -> None:
    shares = [Share(model="unknown", agent_type=None, calls=1), Share(model="sonnet", agent_type=None, calls=1)]
    assert price_by_list(agent_range(2, 2, 9), shares, {}, ten_per_token).unpriced == ("unknown",)
