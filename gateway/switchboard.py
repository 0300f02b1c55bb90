"""How the upstreams of the running gateway fare: breakers, cooling models, counts. Sends nothing and never waits.

The rules of a breaker are `core/routes/breaker.py`, the order of upstreams is `core/routes/routing.py`. Whoever was
told that they `may_send` tells what became of it exactly once: `succeeded`, `failed` or `abandoned`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.config.model import UpstreamConfig
from gateway.core.routes import routing
from gateway.core.routes.breaker import CLOSED, Breaker, BreakerSettings, Outcome, State, claim, step
from gateway.core.routes.cooling import Cooling
from gateway.core.routes.routing import Health, Route
from gateway.ports import Clock

COOLING_STATUSES = frozenset({429, 503, 529})
"""Those whose `retry-after` is a wish to be left alone (a 408 or 409 asks for the same request again)."""
HALF_OPEN_RETRY_SECONDS = 5
"""What a client is told to wait while a probe is under way; how long that takes is not known."""


class Occupancy(Protocol):
    """How full an upstream is."""

    @property
    def in_use(self) -> int: ...
    @property
    def waiting(self) -> int: ...


class UpstreamView(msgspec.Struct, frozen=True):
    """How one upstream fares, for people and metrics. Times are Unix milliseconds. Holds no address and no secret."""

    id: str
    backend: str
    state: State
    failures: int
    """In a row."""
    opened_at_ms: int | None
    retry_at_ms: int | None
    """When the next probe may go out; None while the breaker is closed."""
    cooling: dict[str, int]
    """Model to when it has cooled."""
    in_use: int
    waiting: int
    requests_total: int
    """Requests whose outcome is known."""
    failures_total: int
    last_error: str | None
    last_error_at_ms: int | None


@dataclass(slots=True)
class _Line:
    config: UpstreamConfig
    settings: BreakerSettings
    places: Occupancy
    breaker: Breaker = CLOSED
    requests_total: int = 0
    failures_total: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None


class Switchboard:
    """All upstreams. Used on the event loop only."""

    def __init__(self, upstreams: Iterable[UpstreamConfig], places: Mapping[str, Occupancy], clock: Clock) -> None:
        """`places` by upstream id."""
        self._clock = clock
        self._cooling = Cooling()
        self._lines = {each.id: _Line(each, _settings(each), places[each.id]) for each in upstreams}

    def order(self, route: Route, *, session: str, sticky: str | None, model: str) -> list[str]:
        """Upstreams to try, best first; those whose breaker is open are left out, those that cool come last."""
        now_ms = self._now_ms()

        def health(upstream: str) -> Health:
            if not self._lines[upstream].breaker.passes(now_ms):
                return "open"
            return "cooling" if self._cooling.cools(upstream, model, now_ms) else "usable"

        return routing.order(route, session=session, sticky=sticky, health=health)

    def may_send(self, upstream: str) -> bool:
        """May one request go out now? While the breaker is not closed, it is the probe and this claims it."""
        line = self._lines[upstream]
        if line.breaker is CLOSED:
            return True
        claimed = claim(line.breaker, self._now_ms())
        if claimed is None:
            return False
        line.breaker = claimed
        return True

    def succeeded(self, upstream: str) -> None:
        """It answered, with a status that says nothing against it."""
        line = self._lines[upstream]
        line.requests_total += 1
        if line.breaker is not CLOSED:
            self._step(upstream, "succeeded")

    def failed(self, upstream: str, *, status: int | None, retry_after_seconds: float | None, model: str) -> None:
        """It could not serve: it answered with `status`, or not at all (None). Below 500 does not trip the breaker."""
        line, now_ms = self._lines[upstream], self._now_ms()
        line.requests_total += 1
        line.failures_total += 1
        line.last_error = "did not answer" if status is None else f"answered with status {status}"
        line.last_error_ms = now_ms
        if retry_after_seconds is not None and status in COOLING_STATUSES:
            self._cooling.start(upstream, model, seconds=retry_after_seconds, now_ms=now_ms)
        self._step(upstream, "failed" if status is None or status >= 500 else "answered")

    def abandoned(self, upstream: str) -> None:
        """Whoever asked `may_send` has left before an outcome: a claimed probe is given back."""
        self._step(upstream, "abandoned")

    def retry_after_seconds(self, upstreams: Sequence[str]) -> int:
        """Whole seconds, at least one, until the first of these may be tried again."""
        now_ms = self._now_ms()
        return min((_wait_seconds(self._lines[each].breaker, now_ms) for each in upstreams), default=1)

    def views(self) -> list[UpstreamView]:
        """All upstreams, in the order of the configuration."""
        now_ms = self._now_ms()
        since_1970_ms = self._clock.unix_ms() - now_ms
        return [self._view(line, now_ms, since_1970_ms) for line in self._lines.values()]

    def _view(self, line: _Line, now_ms: int, since_1970_ms: int) -> UpstreamView:
        breaker = line.breaker
        cooling = self._cooling.of(line.config.id, now_ms)
        return UpstreamView(
            id=line.config.id,
            backend=line.config.backend,
            state=breaker.state,
            failures=breaker.failures,
            opened_at_ms=None if breaker.opened_at_ms is None else breaker.opened_at_ms + since_1970_ms,
            retry_at_ms=None if breaker.state == "closed" else breaker.retry_at_ms + since_1970_ms,
            cooling={model: until_ms + since_1970_ms for model, until_ms in cooling.items()},
            in_use=line.places.in_use,
            waiting=line.places.waiting,
            requests_total=line.requests_total,
            failures_total=line.failures_total,
            last_error=line.last_error,
            last_error_at_ms=None if line.last_error_ms is None else line.last_error_ms + since_1970_ms,
        )

    def _step(self, upstream: str, outcome: Outcome) -> None:
        line = self._lines[upstream]
        line.breaker = step(line.breaker, outcome, settings=line.settings, now_ms=self._now_ms())

    def _now_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)


def _settings(config: UpstreamConfig) -> BreakerSettings:
    return BreakerSettings(config.breaker.failures, round(config.breaker.open_seconds * 1000))


def _wait_seconds(breaker: Breaker, now_ms: int) -> int:
    if breaker.state == "half_open" and now_ms < breaker.retry_at_ms:
        return HALF_OPEN_RETRY_SECONDS
    left_ms = 0 if breaker.state == "closed" else breaker.retry_at_ms - now_ms
    return max(1, -(-left_ms // 1000))
