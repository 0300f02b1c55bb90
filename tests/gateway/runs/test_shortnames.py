"""Which models the short names of scripts stand for."""

from gateway.config import Config
from gateway.ground import load_prices
from gateway.runs.shortnames import FAMILIES, short_names

PRICES = load_prices(Config(upstreams=(), routes=()))


def test_w50_short_name_stands_for_the_newest_model_of_its_family() -> None:
    found = short_names(PRICES, {})
    assert set(found) == set(FAMILIES)
    assert all(PRICES.find(model, 1_800_000_000_000) is not None for model in found.values())
    assert found["haiku"] == "claude-haiku-5-5"


def test_w50_short_name_of_the_configuration_is_left_to_the_gateway() -> None:
    assert "haiku" not in short_names(PRICES, {"haiku": "claude-haiku-4-5-20251001"})
