"""What model tokens cost at list price, for what a run is shown and held to. Not what is billed: `accounting.py`."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.money.prices import PriceTable
from gateway.core.money.pricing import Unpriced, cost_nanousd
from gateway.core.routes.routing import resolve_alias
from gateway.core.wire.usage import Tokens, Usage
from gateway.ports import Clock


@dataclass(frozen=True, slots=True)
class ListPrices:
    """The price table, asked about tokens."""

    prices: PriceTable
    aliases: Mapping[str, str]
    fallback_model: str | None
    clock: Clock

    def cost_nanousd(self, model: str, tokens: Tokens) -> int | None:
        """None: no price is known."""
        found = self._id(model)
        if found is None:
            return None
        try:
            usage = Usage(tokens=tokens, final=True)
            return cost_nanousd(usage, self.prices, at_ms=self.clock.unix_ms(), fallback_model=found)
        except Unpriced:
            return None

    def _id(self, model: str) -> str | None:
        now_ms = self.clock.unix_ms()
        for each in (resolve_alias(self.aliases, model), self.fallback_model):
            price = None if each is None else self.prices.find(each, now_ms)
            if price is not None:
                return price.id
        return None
