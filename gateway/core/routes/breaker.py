"""The breaker of one upstream: a cut-out that resets itself. Not a fuse, which only a person replaces.

    closed    --failed-->     closed       one failure more in a row, fewer than the limit
    closed    --tripped-->    open         the failure that makes the limit full
    closed    --answered-->   closed       an answer that is neither success nor failure (429, 408, 409): the row stands
    closed    --abandoned-->  closed
    open      --failed-->     open         an outcome of a request sent before: the wait is not made longer
    open      --answered-->   open
    open      --abandoned-->  open
    open      --claimed-->    half_open    the wait is over, one request goes out as the probe
    half_open --claimed-->    half_open    the probe's outcome never came: another one goes out
    half_open --tripped-->    open         the probe failed: twice the wait
    half_open --answered-->   closed
    half_open --abandoned-->  open         the probe's client left: the next request is the probe
    any       --succeeded-->  closed       also by a request sent before: an answer is proof enough

An illegal transition is a missing key of `TRANSITIONS`. Outcomes do not say which request they are of, so one
of a request sent earlier may be taken for the probe's; the next outcome puts that right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["closed", "open", "half_open"]
Event = Literal["failed", "tripped", "answered", "succeeded", "claimed", "abandoned"]
Outcome = Literal["failed", "answered", "succeeded", "abandoned"]

STATES: tuple[State, ...] = ("closed", "open", "half_open")

TRANSITIONS: Mapping[tuple[State, Event], State] = {
    ("closed", "failed"): "closed",
    ("closed", "tripped"): "open",
    ("closed", "answered"): "closed",
    ("closed", "abandoned"): "closed",
    ("closed", "succeeded"): "closed",
    ("open", "failed"): "open",
    ("open", "answered"): "open",
    ("open", "abandoned"): "open",
    ("open", "claimed"): "half_open",
    ("open", "succeeded"): "closed",
    ("half_open", "claimed"): "half_open",
    ("half_open", "tripped"): "open",
    ("half_open", "answered"): "closed",
    ("half_open", "abandoned"): "open",
    ("half_open", "succeeded"): "closed",
}

OPEN_MS_MAX = 10 * 60 * 1000
"""Longest wait that doubling comes to. A longer `open_ms` is kept as it is configured."""
PROBE_MS_MAX = 60 * 1000
"""How long the outcome of a probe is waited for before another one may go out."""
_DOUBLINGS_MAX = 32
"""Past it the wait has long been at its maximum; keeps the shift small."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """It opens after `failures` in a row, for `open_ms`, doubled each time a probe fails."""

    failures: int = 5
    open_ms: int = 15_000


@dataclass(frozen=True, slots=True)
class Breaker:
    """Where one breaker stands. Times are milliseconds of a clock that never goes back."""

    state: State = "closed"
    failures: int = 0
    """In a row."""
    trips: int = 0
    """Times it has opened since it was closed."""
    opened_at_ms: int | None = None
    """Since when it has not been closed."""
    retry_at_ms: int = 0
    """When the next request may go out; of no meaning while closed."""

    def passes(self, now_ms: int) -> bool:
        """May a request go out now? Unless it is closed, that request is the probe and must be claimed."""
        return self.state == "closed" or now_ms >= self.retry_at_ms


CLOSED = Breaker()


def claim(breaker: Breaker, now_ms: int) -> Breaker | None:
    """The breaker once a request has gone out, None when none may."""
    if breaker.state == "closed":
        return breaker
    if now_ms < breaker.retry_at_ms:
        return None
    return replace(breaker, state=TRANSITIONS[breaker.state, "claimed"], retry_at_ms=now_ms + PROBE_MS_MAX)


def step(breaker: Breaker, outcome: Outcome, *, settings: BreakerSettings, now_ms: int) -> Breaker:
    """The breaker after what became of a request."""
    event = _event(breaker, outcome, settings)
    state = TRANSITIONS[breaker.state, event]
    if event == "tripped":
        since_ms = now_ms if breaker.opened_at_ms is None else breaker.opened_at_ms
        return Breaker(state, breaker.failures + 1, breaker.trips + 1, since_ms, now_ms + _wait_ms(breaker, settings))
    if event == "failed":
        return replace(breaker, failures=breaker.failures + 1)
    if state == "closed":
        return breaker if event != "succeeded" and breaker.state == "closed" else CLOSED
    if event == "abandoned" and breaker.state == "half_open":
        return replace(breaker, state=state, retry_at_ms=now_ms)
    return breaker


def _event(breaker: Breaker, outcome: Outcome, settings: BreakerSettings) -> Event:
    if outcome != "failed" or breaker.state == "open":
        return outcome
    full = breaker.state == "half_open" or breaker.failures + 1 >= settings.failures
    return "tripped" if full else "failed"


def _wait_ms(breaker: Breaker, settings: BreakerSettings) -> int:
    doubled = settings.open_ms << min(breaker.trips, _DOUBLINGS_MAX)
    return max(settings.open_ms, min(doubled, OPEN_MS_MAX))
