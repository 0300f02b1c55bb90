"""Which models of which upstreams asked not to be sent to for a while. They come last, they are never refused.

Not a breaker: an upstream that is rate limited for one model serves the others.
"""

from collections.abc import Mapping

COOLING_MS_MAX = 60 * 60 * 1000
"""Longest that a `retry-after` is believed."""
COOLING_MAX = 1_000
"""Pairs remembered; past it the one that ends first is forgotten. Models are what clients write."""
MODEL_CHARS_MAX = 256
"""A longer model is not remembered."""


class Cooling:
    """Pairs of upstream and model, with when they have cooled."""

    def __init__(self) -> None:
        self._until_ms: dict[tuple[str, str], int] = {}

    def start(self, upstream: str, model: str, *, seconds: float, now_ms: int) -> None:
        """The upstream asked to be left alone for `seconds` about `model`. Nonsense (not above zero) is no request."""
        if not seconds > 0 or len(model) > MODEL_CHARS_MAX:
            return
        until_ms = now_ms + int(min(seconds * 1000, COOLING_MS_MAX))
        self._until_ms[upstream, model] = max(until_ms, self._until_ms.get((upstream, model), 0))
        if len(self._until_ms) > COOLING_MAX:
            del self._until_ms[min(self._until_ms, key=lambda pair: self._until_ms[pair])]

    def cools(self, upstream: str, model: str, now_ms: int) -> bool:
        """Is it to come last now?"""
        return bool(self._until_ms) and now_ms < self._until_ms.get((upstream, model), 0)

    def of(self, upstream: str, now_ms: int) -> Mapping[str, int]:
        """Models of an upstream that are cooling, with when each has cooled."""
        pairs = self._until_ms.items()
        return {model: until_ms for (each, model), until_ms in pairs if each == upstream and now_ms < until_ms}
