"""Our prices against those of genai-prices, an independent table: every difference is listed, with its reason.

A difference that is not listed fails, and so does a listed one that is gone. Nobody's table is right by itself: a new
difference is settled by looking at the price page, not by copying one table into the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import genai_prices
import yaml

import gateway
from gateway.core.money.prices import parse_prices
from gateway.core.money.pricing import cost_nanousd, terms_for
from gateway.core.wire.usage import Tokens, Usage

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text(encoding="utf-8"))
TABLE = parse_prices(DOCUMENT)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a request goes, and whose price list of genai-prices that is."""

    backend: str
    provider: str
    profile: str | None = None
    region: str | None = None


API = Endpoint("anthropic", "anthropic")
BEDROCK_GLOBAL = Endpoint("bedrock", "aws", "global", "us-east-1")
BEDROCK_US = Endpoint("bedrock", "aws", "us", "us-east-1")
BEDROCK_EU = Endpoint("bedrock", "aws", "eu", "eu-west-1")
BEDROCK_REGION = Endpoint("bedrock", "aws", None, "us-east-1")
BEDROCK_GOV = Endpoint("bedrock", "aws", "us-gov", "us-gov-west-1")
VERTEX_GLOBAL = Endpoint("vertex", "google", None, "global")
VERTEX_REGION = Endpoint("vertex", "google", None, "us-east5")
BEDROCK = (BEDROCK_GLOBAL, BEDROCK_US, BEDROCK_EU, BEDROCK_REGION, BEDROCK_GOV)
VERTEX = (VERTEX_GLOBAL, VERTEX_REGION)
ENDPOINTS = (API, *BEDROCK, *VERTEX)

DATES = ("2026-10-06", "2026-10-07", "2026-11-22")
SAMPLES = {
    "input": Tokens(input=1_000),
    "output": Tokens(output=1_000),
    "read": Tokens(cache_read=1_000),
    "write_5m": Tokens(cache_write_5m=1_000),
    "write_1h": Tokens(cache_write_1h=1_000),
    "at_100k": Tokens(input=100_000, output=1_000),
    "past_100k": Tokens(input=1, cache_write_5m=100_000, output=1_000),
    "at_200k": Tokens(input=200_000, output=1_000),
    "past_200k": Tokens(input=200_001),
}
MIXED = Tokens(input=1_234, output=567, cache_read=23_456, cache_write_5m=345, cache_write_1h=43)
MIXED_SAMPLES = {"input", "output", "read", "write_5m", "write_1h"}

OPUS_4_5, SONNET_4_5, HAIKU_4_5 = "claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"
OPUS_4_1, OPUS_4, SONNET_4 = "claude-opus-4-1-20250805", "claude-opus-4-20250514", "claude-sonnet-4-20250514"
HAIKU_3_5 = "claude-3-5-haiku-20241022"
NO_REGIONAL_PREMIUM = (OPUS_4_1, OPUS_4, SONNET_4, HAIKU_3_5)
WITH_PREMIUM = tuple(row.id for row in TABLE.models() if row.id not in NO_REGIONAL_PREMIUM)

Key = tuple[str, Endpoint, str, str]
"""Model, endpoint, date, sample."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours is `ratio` times theirs, wherever all of the rest agree."""

    reason: str
    ratio: Fraction
    models: tuple[str, ...]
    endpoints: tuple[Endpoint, ...] = ENDPOINTS
    dates: tuple[str, ...] = DATES
    samples: tuple[str, ...] = tuple(SAMPLES)

    def keys(self) -> set[Key]:
        return set(product(self.models, self.endpoints, self.dates, self.samples))


DIFFERENCES = (
    Difference(
        "Cache reads of Sonnet 5.5 were cut on 2026-10-07 (release notes); theirs has the new price for all time.",
        Fraction(2),
        ("claude-sonnet-5-5",),
        dates=("2026-10-06",),
        samples=("read",),
    ),
    Difference(
        "Sonnet 4.5 past 200,000 tokens: theirs keeps the surcharge of the 1M beta, which ended on 2026-04-30. The "
        "window is 200,000 tokens since, so that no such request is answered.",
        Fraction(1, 2),
        (SONNET_4_5,),
        (API, *VERTEX),
        samples=("past_200k",),
    ),
    Difference(
        "Regional and multi-region endpoints of Google charge 1.1 (price page); theirs has the global price alone.",
        Fraction(11, 10),
        WITH_PREMIUM,
        (VERTEX_REGION,),
    ),
    Difference(
        "GovCloud charges 1.2 of the list price (AWS price page, as quoted in litellm's price map); theirs has the 1.1 "
        "of other regions.",
        Fraction(12, 11),
        WITH_PREMIUM,
        (BEDROCK_GOV,),
    ),
    Difference(
        "GovCloud, older models: 1.2 as well; theirs has no premium.",
        Fraction(12, 10),
        NO_REGIONAL_PREMIUM,
        (BEDROCK_GOV,),
    ),
    Difference(
        "1-hour cache writes of older models in the clouds: theirs has no price for them and takes that of 5 minutes. "
        "Whether the clouds sell them at all is not established; ours has the Claude API's price.",
        Fraction(16, 10),
        NO_REGIONAL_PREMIUM,
        (*BEDROCK, *VERTEX),
        samples=("write_1h",),
    ),
)

UNKNOWN_THERE: dict[Endpoint, set[str]] = {
    endpoint: {"claude-mythos-5", "claude-mythos-5-1"} for endpoint in ENDPOINTS
} | {
    BEDROCK_GLOBAL: {"claude-mythos-5", "claude-mythos-5-1", OPUS_4_1},
    BEDROCK_EU: {"claude-mythos-5", "claude-mythos-5-1", "claude-fable-5-1"},
    BEDROCK_GOV: {
        *("claude-mythos-5", "claude-mythos-5-1", "claude-mythos-5-2"),
        *("claude-fable-5", "claude-fable-5-1", "claude-fable-5-2"),
        *("claude-opus-4-8", "claude-opus-5", "claude-opus-5-5"),
    },
}
"""Models of our table that genai-prices finds no price for, by the id they have at an endpoint."""


def sold_at(endpoint: Endpoint) -> Iterator[str]:
    """Models that our table has an id of the endpoint's backend for."""
    key = {"anthropic": "claude_api"}.get(endpoint.backend, endpoint.backend)
    yield from (model["id"] for model in DOCUMENT["models"] if model["ids"].get(key) is not None)


def wire(model: str, endpoint: Endpoint) -> str:
    return TABLE.catalogue.wire(model, backend=endpoint.backend, profile=endpoint.profile)


def theirs_nanousd(model: str, endpoint: Endpoint, date: datetime, tokens: Tokens) -> Fraction | None:
    """What genai-prices makes of the same tokens; None when it knows no such model there."""
    usage = genai_prices.Usage(
        input_tokens=tokens.prompt,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write_5m + tokens.cache_write_1h,
        cache_write_1h_tokens=tokens.cache_write_1h,
    )
    try:
        price = genai_prices.calc_price(
            usage, wire(model, endpoint), provider_id=endpoint.provider, genai_request_timestamp=date
        )
    except LookupError:
        return None
    return Fraction(price.total_price) * 10**9


def ours_nanousd(model: str, endpoint: Endpoint, date: datetime, tokens: Tokens) -> int:
    at_ms = int(date.timestamp()) * 1000
    price = TABLE.find(model, at_ms)
    assert price is not None
    wire_model = wire(model, endpoint)
    terms = terms_for(endpoint.backend, wire_model, region=endpoint.region, configured=None, price=price)
    usage = Usage(model=wire_model, tokens=tokens)
    return cost_nanousd(usage, TABLE, at_ms=at_ms, fallback_model="none", terms=terms)


def day(date: str) -> datetime:
    return datetime.fromisoformat(date).replace(tzinfo=UTC)


def compared() -> Iterator[tuple[Key, Fraction]]:
    """Every sample that both tables have a price for, and ours over theirs."""
    for endpoint, date, (name, tokens) in product(ENDPOINTS, DATES, SAMPLES.items()):
        for model in sold_at(endpoint):
            theirs = theirs_nanousd(model, endpoint, day(date), tokens)
            if theirs is not None:
                yield (model, endpoint, date, name), ours_nanousd(model, endpoint, day(date), tokens) / theirs


def listed(keys: set[Key]) -> dict[Key, Fraction]:
    """The ratios that the list makes of these samples, without those of 1."""
    ratios = dict.fromkeys(keys, Fraction(1))
    for difference in DIFFERENCES:
        for key in difference.keys() & keys:
            ratios[key] *= difference.ratio
    return {key: ratio for key, ratio in ratios.items() if ratio != 1}


def test_prices_differ_from_genai_prices_only_as_listed() -> None:
    found = dict(compared())
    assert {key: ratio for key, ratio in found.items() if ratio != 1} == listed(set(found))
    assert all(difference.keys() & set(found) for difference in DIFFERENCES)


def test_every_listed_difference_is_documented() -> None:
    text = " ".join((Path(gateway.__file__).parents[1] / "docs" / "prices.md").read_text(encoding="utf-8").split())
    assert [difference.reason for difference in DIFFERENCES if difference.reason not in text] == []


def test_models_that_genai_prices_does_not_know_are_those_listed() -> None:
    some = SAMPLES["input"]
    missing = {
        endpoint: {
            model for model in sold_at(endpoint) if theirs_nanousd(model, endpoint, day(DATES[-1]), some) is None
        }
        for endpoint in ENDPOINTS
    }
    listed_and_sold = {endpoint: models & set(sold_at(endpoint)) for endpoint, models in UNKNOWN_THERE.items()}
    assert missing == listed_and_sold
    assert sum(len(set(sold_at(endpoint)) - missing[endpoint]) for endpoint in ENDPOINTS) > 120


def test_a_request_of_every_kind_of_token_costs_the_same_where_no_rate_differs() -> None:
    differing = {key[:3] for difference in DIFFERENCES for key in difference.keys() if key[3] in MIXED_SAMPLES}
    same = 0
    for endpoint, date in product(ENDPOINTS, DATES):
        for model in sold_at(endpoint):
            theirs = theirs_nanousd(model, endpoint, day(date), MIXED)
            if theirs is None or (model, endpoint, date) in differing:
                continue
            assert ours_nanousd(model, endpoint, day(date), MIXED) == -(-theirs // 1)
            same += 1
    assert same > 200
