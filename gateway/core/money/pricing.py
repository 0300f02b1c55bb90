"""What one response cost, exactly, and how dollars are written. What is said beforehand: `estimates/estimate.py`.

Sums are in pico-dollars times `UNIT` for each of the two multipliers (geography and endpoint), and rounded up to
nano-dollars once per response. Multipliers are of token prices: a web search costs the same everywhere.
"""

from dataclasses import dataclass

from gateway.core.money.prices import UNIT, Price, PriceTable
from gateway.core.money.prices import merge_prices as merge_prices
from gateway.core.money.prices import parse_prices as parse_prices
from gateway.core.wire.names import FIRST_PARTY_BACKENDS, govcloud, regional
from gateway.core.wire.usage import Tokens, Usage

NANOUSD_PER_USD = 1_000_000_000
PICOUSD_PER_NANOUSD = 1_000
SEARCH_SCALE = UNIT * UNIT
"""Web searches have no multiplier; this brings their price to the scale of the sums."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an upstream charges of the list price of tokens, in ten-thousandths, geography apart."""

    backend: str = "anthropic"
    multiplier: int = UNIT


LIST_PRICE = Terms()


def terms_for(backend: str, wire_model: str, region: str | None, configured: int | None, price: Price) -> Terms:
    """Terms of a model at an upstream: as `configured`, else with the premium of its kind of endpoint.

    A configured multiplier is the whole of it: it stands for list price, discount and regional premium together. Only
    geography, which each response tells of itself, still comes on top.
    """
    if configured is not None:
        return Terms(backend, configured)
    if backend == LIST_PRICE.backend:
        return LIST_PRICE
    if govcloud(backend, wire_model, region):
        return Terms(backend, price.govcloud)
    return Terms(backend, price.regional if regional(backend, wire_model, region) else UNIT)


class Unpriced(Exception):
    """No row of the price table names `model`."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"no price is known for model {model!r}: add it to the price table, or set prices.fallback_model"
        )
        self.model = model


def cost_nanousd(usage: Usage, table: PriceTable, *, at_ms: int, fallback_model: str, terms: Terms = LIST_PRICE) -> int:
    """What a response cost, rounded up once (billing rules: `billing_rules` and `modifiers` of `prices.yaml`).

    `fallback_model` is the model the request was admitted as: it prices a response that names no model or one that the
    table does not know. A pass in `iterations` that names a model of its own must be in the table.

    Raises:
        Unpriced: neither is in the table, or a pass ran on a model that is not.
    """
    if usage.refused_empty:
        return 0
    asked = usage.model if usage.model and table.find(usage.model, at_ms) else fallback_model
    price = _require(table, asked, at_ms)
    total = usage.web_search_requests * price.web_search_picousd * SEARCH_SCALE
    passes = [(each.tokens, each.model) for each in usage.iterations] or [(usage.tokens, None)]
    for tokens, model in passes:
        own = price if model is None or model == usage.model else _require(table, model, at_ms)
        if usage.fallback_credit_redeemed:
            tokens = _rewrites_as_reads(tokens)
        rates = own.rates_for(tokens.prompt, fast=usage.speed == "fast")
        total += rates.picousd(tokens) * geo_multiplier(own, usage.inference_geo, terms.backend) * terms.multiplier
    return round_up_nanousd(total)


def geo_multiplier(price: Price, inference_geo: str | None, backend: str = "anthropic") -> int:
    """Ten-thousandths by which inference in the US alone multiplies token prices."""
    return price.geo_us if inference_geo == "us" and backend in FIRST_PARTY_BACKENDS else UNIT


def round_up_nanousd(picousd_units: int) -> int:
    """Pico-dollars times `UNIT` squared, as whole nano-dollars, rounded up."""
    return -(-picousd_units // (PICOUSD_PER_NANOUSD * UNIT * UNIT))


def format_usd(nanousd: int) -> str:
    """Dollars, exactly: at least two decimals and never a rounded one (`$1.00`, `$0.000125`)."""
    sign = "-" if nanousd < 0 else ""
    dollars, rest = divmod(abs(nanousd), NANOUSD_PER_USD)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars}.{decimals}"


def _require(table: PriceTable, model: str, at_ms: int) -> Price:
    price = table.find(model, at_ms)
    if price is None:
        raise Unpriced(model)
    return price


def _rewrites_as_reads(tokens: Tokens) -> Tokens:
    reads = tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h
    return Tokens(input=tokens.input, output=tokens.output, cache_read=reads)
