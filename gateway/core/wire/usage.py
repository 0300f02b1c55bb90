"""What one response used, as the upstream reported it, whatever the dialect. Not its price: `money/pricing.py`."""

import msgspec


class Tokens(msgspec.Struct, frozen=True):
    """Token counts of one model pass, by kind. `output` includes thinking."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """Prompt length: what price tiers and context windows are measured by."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def total(self) -> int:
        """All tokens of the pass."""
        return self.prompt + self.output


class Iteration(msgspec.Struct, frozen=True):
    """One entry of `usage.iterations`: billed at its own model (None: the response's model)."""

    tokens: Tokens
    model: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Usage of one response. `final` is False while no `message_delta` (or whole message) has been seen."""

    model: str | None = None
    tokens: Tokens = Tokens()
    iterations: tuple[Iteration, ...] = ()
    """When present these are billed instead of `tokens`, which leaves out compaction passes."""
    web_search_requests: int = 0
    speed: str | None = None
    inference_geo: str | None = None
    service_tier: str | None = None
    fallback_credit_redeemed: bool = False
    """Cache writes of this response are billed as cache reads."""
    refused_empty: bool = False
    """`stop_reason: refusal` with no content: usage is shown but not billed."""
    final: bool = False
