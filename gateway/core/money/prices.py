"""The price table: which model costs what, and since when. Data in (`prices.yaml`), rows by every spelling out.

Rates are whole pico-dollars per token (1 USD per million tokens = 1_000_000), multipliers ten-thousandths, so that
every product is exact. A model that no row names has no price: there is no fallback here. What a response cost is
`pricing.py`, how models are spelled `wire/names.py`. Batch prices are not read: batches do not pass the gateway.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, cast

from gateway.core.money.windows import DAY_MS
from gateway.core.wire.names import Catalogue
from gateway.core.wire.usage import Tokens

PICOUSD_PER_DOLLAR_PER_MILLION = 1_000_000
"""One dollar per million tokens is this many pico-dollars per token."""
PICOUSD_PER_DOLLAR_PER_THOUSAND = 1_000_000_000
"""One dollar per thousand requests is this many pico-dollars per request."""
UNIT = 10_000
"""Multipliers are in ten-thousandths: 1.1 is 11_000."""
SCHEMA = 1

_date = re.compile(r"[-@]20\d{6}(?=$|-v\d)")
_RATE_KEYS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")


class PricesInvalid(ValueError):
    """The price document cannot be used. `problems` holds every one found, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("price table: " + "; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-dollars per token, by kind."""

    input: int
    output: int
    cache_write_5m: int
    cache_write_1h: int
    cache_read: int

    def picousd(self, tokens: Tokens) -> int:
        """Price of one model pass at these rates."""
        return (
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_write_5m * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
            + tokens.cache_read * self.cache_read
        )

    @property
    def dearest_input(self) -> int:
        """The rate of a prompt token in the worst cache state."""
        return max(self.input, self.cache_write_5m, self.cache_write_1h, self.cache_read)


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs at one time. The multipliers are `UNIT` where an endpoint charges this model no more."""

    id: str
    context_window: int
    max_output: int
    rates: Rates
    above_tokens: int | None
    """Prompts longer than this cost `above` for every token."""
    above: Rates | None
    fast: Rates | None
    geo_us: int
    """Inference in the US alone, on the endpoints of Anthropic."""
    regional: int
    """An endpoint of Bedrock or Vertex that keeps requests in a region or geography."""
    govcloud: int
    """AWS GovCloud, in place of `regional`."""
    web_search_picousd: int

    def rates_for(self, prompt_tokens: int, *, fast: bool) -> Rates:
        """Rates of one pass. Fast mode that the table lists no price for runs and is billed as standard."""
        if fast and self.fast is not None:
            return self.fast
        if self.above is not None and self.above_tokens is not None and prompt_tokens > self.above_tokens:
            return self.above
        return self.rates


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One entry of the model catalogue."""

    id: str
    display_name: str
    context_window: int
    max_output: int
    released: str | None


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price and the time it holds for: from `from_ms` until before `until_ms`."""

    price: Price
    from_ms: int
    until_ms: int | None


class PriceTable:
    """Each model's rows, oldest first, found by every spelling that the catalogue knows."""

    def __init__(self, rows: Mapping[str, Sequence[PriceRow]], catalogue: Catalogue, models: Sequence[ModelRow]):
        self.catalogue = catalogue
        self._rows = rows
        self._models = tuple(models)

    def find(self, model: str, at_ms: int) -> Price | None:
        """The price of `model` at a time; None when no row names it.

        A snapshot that no row names costs what its model does. A time before a model's first row gets that row: its
        own first price, so that a clock set wrong neither stops work nor makes it free.
        """
        known = self.catalogue.known(model) or self.catalogue.known(_date.sub("", model))
        if known is None:
            return None
        rows = self._rows[known]
        chosen = rows[0]
        for row in rows[1:]:
            if row.from_ms <= at_ms:
                chosen = row
        return None if chosen.until_ms is not None and at_ms >= chosen.until_ms else chosen.price

    def models(self) -> tuple[ModelRow, ...]:
        """The catalogue, in the order of the table."""
        return self._models


def merge_prices(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `override` put over it; in `models` so for each id, in `modifiers` for each name.

    A model of the override keeps what it does not say, so that new prices do not take away ids and premiums.
    """
    merged = {**base, **override, "modifiers": _over(base.get("modifiers"), override.get("modifiers"))}
    models: dict[str, Any] = {}
    for model in (*_list(base.get("models")), *_list(override.get("models"))):
        models[_id_of(model)] = _over(models.get(_id_of(model)), model)
    merged["models"] = list(models.values())
    return merged


def parse_prices(document: Mapping[str, Any]) -> PriceTable:
    """Build the table from the loaded YAML or JSON document.

    Raises:
        PricesInvalid: with every problem, each naming its place.
    """
    return _Reader().read(document)


def _id_of(model: Any) -> str:
    return str(_mapping(model).get("id"))


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _over(base: Any, override: Any) -> dict[str, Any]:
    return {**_mapping(base), **_mapping(override)}


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


class _Reader:
    """One pass over the document that notes problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.rows: dict[str, list[PriceRow]] = {}
        self.names: dict[str, str] = {}
        self.ids: dict[str, Mapping[str, str]] = {}
        self.models: list[ModelRow] = []
        self.geo_us = self.regional = self.govcloud = UNIT
        self.web_search_picousd = 0

    def read(self, document: Mapping[str, Any]) -> PriceTable:
        if document.get("schema") != SCHEMA:
            self.problems.append(f"schema: is {document.get('schema')!r}, only {SCHEMA} can be read")
        self.geo_us = self._modifier(document, "inference_geo_us")
        self.regional = self._modifier(document, "regional_endpoint")
        self.govcloud = self._modifier(document, "bedrock_govcloud")
        search = _mapping(_mapping(document.get("server_tools")).get("web_search"))
        self.web_search_picousd = self._scaled(
            "server_tools.web_search.usd_per_1000_requests",
            search.get("usd_per_1000_requests"),
            PICOUSD_PER_DOLLAR_PER_THOUSAND,
        )
        models = _list(document.get("models"))
        if not models:
            self.problems.append("models: is missing or empty; list at least one model")
        for index, model in enumerate(models):
            self._read_model(f"models[{index}]", _mapping(model))
        if self.problems:
            raise PricesInvalid(self.problems)
        return PriceTable(self.rows, Catalogue(self.names, self.ids), self.models)

    def _read_model(self, place: str, model: Mapping[str, Any]) -> None:
        name = model.get("id")
        if not isinstance(name, str) or not name:
            self.problems.append(f"{place}.id: is missing")
            return
        place = f"{place} ({name})"
        context = self._count(f"{place}.context_window", model.get("context_window"))
        output = self._count(f"{place}.max_output", model.get("max_output"))
        blank = self._blank(model, name, context, output)
        rows = [
            self._read_row(f"{place}.prices[{index}]", _mapping(row), blank)
            for index, row in enumerate(_list(model.get("prices")))
        ]
        if not rows:
            self.problems.append(f"{place}.prices: is missing or empty")
        if any(later.from_ms <= earlier.from_ms for earlier, later in pairwise(rows)):
            self.problems.append(f"{place}.prices: order the rows by effective_from, each later than the one before")
        self.rows[name] = rows
        released = model.get("released")
        self.models.append(ModelRow(name, display_name(name), context, output, str(released) if released else None))
        self._read_spellings(place, model, name)

    def _modifier(self, document: Mapping[str, Any], name: str) -> int:
        modifier = _mapping(_mapping(document.get("modifiers")).get(name))
        return self._scaled(f"modifiers.{name}.multiplier", modifier.get("multiplier"), UNIT)

    def _blank(self, model: Mapping[str, Any], name: str, context: int, output: int) -> Price:
        """What the rows of a model have in common."""
        return Price(
            id=name,
            context_window=context,
            max_output=output,
            rates=Rates(0, 0, 0, 0, 0),
            above_tokens=None,
            above=None,
            fast=None,
            geo_us=self.geo_us if model.get("inference_geo_supported") is True else UNIT,
            regional=self.regional if model.get("regional_premium_applies") is True else UNIT,
            govcloud=self.govcloud,
            web_search_picousd=self.web_search_picousd,
        )

    def _read_spellings(self, place: str, model: Mapping[str, Any], name: str) -> None:
        ids = {key: each for key, each in _mapping(model.get("ids")).items() if isinstance(each, str)}
        self.ids[name] = ids
        spellings = [name, model.get("alias"), *ids.values()]
        for spelling in {each for each in spellings if isinstance(each, str)}:
            if self.names.setdefault(spelling, name) != name:
                self.problems.append(f"{place}: the id {spelling!r} already belongs to {self.names[spelling]!r}")

    def _read_row(self, place: str, row: Mapping[str, Any], blank: Price) -> PriceRow:
        above_place = f"{place}.above_prompt_tokens"
        rates = self._read_rates(place, row)
        above = row.get("above_prompt_tokens")
        threshold = None if above is None else _mapping(above).get("threshold")
        fast = row.get("fast")
        if above is not None and fast is not None:
            self.problems.append(f"{place}: fast and above_prompt_tokens in one row have no defined price")
        until = row.get("effective_to")
        price = replace(
            blank,
            rates=rates,
            above_tokens=None if above is None else self._count(f"{above_place}.threshold", threshold),
            above=None if above is None else self._read_rates(above_place, _mapping(above)),
            fast=None if fast is None else self._read_fast(f"{place}.fast", _mapping(fast), rates),
        )
        from_ms = self._day_ms(f"{place}.effective_from", row.get("effective_from"))
        until_ms = None if until is None else self._day_ms(f"{place}.effective_to", until) + DAY_MS
        return PriceRow(price, from_ms, until_ms)

    def _read_rates(self, place: str, row: Mapping[str, Any]) -> Rates:
        return Rates(*(self._rate(f"{place}.{key}", row.get(key)) for key in _RATE_KEYS))

    def _read_fast(self, place: str, fast: Mapping[str, Any], standard: Rates) -> Rates:
        """Fast mode lists input and output; cache rates keep their ratio to input (rounded up to a pico-dollar)."""
        price_in = self._rate(f"{place}.input", fast.get("input"))
        price_out = self._rate(f"{place}.output", fast.get("output"))
        base = standard.input or 1
        write_5m, write_1h, read = (
            -(-rate * price_in // base)
            for rate in (standard.cache_write_5m, standard.cache_write_1h, standard.cache_read)
        )
        return Rates(price_in, price_out, write_5m, write_1h, read)

    def _rate(self, place: str, value: Any) -> int:
        return self._scaled(place, value, PICOUSD_PER_DOLLAR_PER_MILLION)

    def _scaled(self, place: str, value: Any, scale: int) -> int:
        try:
            number = Decimal(str(value)) * scale
        except InvalidOperation:
            number = Decimal("NaN")
        if isinstance(value, bool) or not number.is_finite() or number < 0 or number != number.to_integral_value():
            problem = "is missing" if value is None else f"{value!r} is not a number >= 0 that {scale} makes whole"
            self.problems.append(f"{place}: {problem}")
            return 0
        return int(number)

    def _count(self, place: str, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self.problems.append(f"{place}: {value!r} is not a whole number above 0")
        return 1

    def _day_ms(self, place: str, value: Any) -> int:
        """Start of a UTC day; null is the beginning of time."""
        if value is None:
            return 0
        try:
            day = value if isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self.problems.append(f"{place}: {value!r} is not a date such as 2026-11-22")
            return 0
        return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def display_name(model: str) -> str:
    """`claude-opus-4-5-20251101` as people write it: `Claude Opus 4.5`."""
    words = _date.sub("", model).split("-")
    version = ".".join(word for word in words if word.isdigit())
    return " ".join([*(word.capitalize() for word in words if not word.isdigit()), *([version] if version else [])])
