"""What one attempt may use: turns, output tokens, dollars, time (W48). The time that a run is paused does not count."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from runtime.agents.endings import AttemptOver
from runtime.core.limits import Limits
from runtime.core.model import NANOUSD_PER_USD, CallOptions, Usage
from runtime.ports import Clock


def limit_reached(detail: str) -> AttemptOver:
    """The attempt has used what it may."""
    return AttemptOver("limit", detail)


@dataclass(slots=True)
class Allowance:
    """Counts what is used and ends the attempt when it is too much."""

    options: CallOptions
    limits: Limits
    clock: Clock
    began: float
    turns: int = 0
    usage: Usage = Usage()
    paused_seconds: float = 0.0

    def begin_turn(self, output_tokens_max: int) -> int:
        """Another turn begins: how many tokens its answer may have. Raises `AttemptOver`."""
        turns_max = self.options.max_turns if self.options.max_turns is not None else self.limits.turns
        if self.turns >= turns_max:
            raise limit_reached(f"the agent reached its limit of {turns_max} turns (maxTurns)")
        self._check_cost()
        self._check_time()
        left = self.tokens_left()
        if left is not None and left <= 0:
            raise limit_reached(f"the agent reached its limit of {self.options.max_tokens} output tokens (maxTokens)")
        self.turns += 1
        return output_tokens_max if left is None else min(left, output_tokens_max)

    def tokens_left(self) -> int | None:
        """Output tokens that are left; None: no limit was set."""
        most = self.options.max_tokens
        return None if most is None else most - self.usage.tokens.output

    def count(self, usage: Usage) -> None:
        """Something was used."""
        self.usage = self.usage + usage

    @contextmanager
    def paused(self) -> Generator[None]:
        """While the run does not let the agent go on."""
        since = self.clock.monotonic()
        try:
            yield
        finally:
            self.paused_seconds += self.clock.monotonic() - since

    @asynccontextmanager
    async def in_time(self) -> AsyncGenerator[None]:
        """Work that is cut off at the end of the attempt's time. Raises `AttemptOver`."""
        left = self._seconds_left()
        if left is None:
            yield
            return
        self._check_time()
        timeout = asyncio.timeout(left)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if timeout.expired():
                raise self._time_is_up() from None
            raise

    def _seconds_left(self) -> float | None:
        if self.options.timeout_ms is None:
            return None
        worked = self.clock.monotonic() - self.began - self.paused_seconds
        return self.options.timeout_ms / 1000 - worked

    def _check_time(self) -> None:
        left = self._seconds_left()
        if left is not None and left <= 0:
            raise self._time_is_up()

    def _time_is_up(self) -> AttemptOver:
        return limit_reached(f"the agent reached its time limit of {self.options.timeout_ms} ms (timeoutMs)")

    def _check_cost(self) -> None:
        most = self.options.max_cost_usd
        if most is None:
            return
        spent = self.usage.cost_nanousd
        if spent is None:
            raise limit_reached("no price is known for the agent's model, so its limit maxCostUsd cannot be kept")
        if spent / NANOUSD_PER_USD >= most:
            raise limit_reached(f"the agent reached its limit of ${most:g} (maxCostUsd)")
