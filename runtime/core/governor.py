"""How many model requests may be open at once, per upstream, over all runs (W96). Halves at a burst, recovers slowly.

Time is an argument, in seconds. Who waits for a place is the runner's business.
"""

from dataclasses import dataclass

QUIET_SECONDS = 60.0
"""Without a burst for so long, one more is allowed."""
KNOWN_MAX = 256
BURST_SECONDS = 2.0
"""Refusals within this time after a halving belong to the same burst: what was open then is still being refused."""


@dataclass(slots=True)
class Gauge:
    """One upstream. `limit` None: nothing has been refused, or all is well again."""

    ceiling: int
    limit: int | None = None
    open: int = 0
    changed_at: float = 0.0

    @property
    def allowed(self) -> int:
        """At once."""
        return self.ceiling if self.limit is None else self.limit


class Governor:
    """All upstreams."""

    def __init__(self, ceiling: int) -> None:
        """`ceiling`: as many as one process lets work at once in any case."""
        self.ceiling = ceiling
        self._gauges: dict[str, Gauge] = {}

    def enter(self, upstream: str, now: float) -> bool:
        """May one more request go there now? Then it counts until `leave`."""
        gauge = self._gauge(upstream)
        self._recover(gauge, now)
        if gauge.open >= gauge.allowed:
            return False
        gauge.open += 1
        return True

    def leave(self, upstream: str) -> None:
        """A request ended."""
        gauge = self._gauge(upstream)
        gauge.open = max(0, gauge.open - 1)

    def burst(self, upstream: str, now: float) -> int | None:
        """It refused a request for now: the new limit, or None when it was lowered a moment ago."""
        gauge = self._gauge(upstream)
        if gauge.limit is not None and now - gauge.changed_at < BURST_SECONDS:
            return None
        gauge.limit = max(1, min(gauge.allowed, max(gauge.open, 1)) // 2)
        gauge.changed_at = now
        return gauge.limit

    def allowed(self, upstream: str, now: float) -> int:
        """At once, as of now."""
        gauge = self._gauge(upstream)
        self._recover(gauge, now)
        return gauge.allowed

    def gauges(self) -> dict[str, int]:
        """Of the upstreams that were asked lately, for metrics."""
        return {upstream: gauge.allowed for upstream, gauge in self._gauges.items()}

    def _gauge(self, upstream: str) -> Gauge:
        """Scripts name what they like: of what is idle and unrestrained nothing is kept once there are many."""
        if upstream not in self._gauges and len(self._gauges) >= KNOWN_MAX:
            busy = {name: gauge for name, gauge in self._gauges.items() if gauge.open or gauge.limit is not None}
            self._gauges = busy
        return self._gauges.setdefault(upstream, Gauge(self.ceiling))

    def _recover(self, gauge: Gauge, now: float) -> None:
        while gauge.limit is not None and now - gauge.changed_at >= QUIET_SECONDS:
            gauge.changed_at += QUIET_SECONDS
            gauge.limit = None if gauge.limit + 1 >= gauge.ceiling else gauge.limit + 1
