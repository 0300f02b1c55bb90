"""What to do about a request that was not answered. A table in words, from top to bottom; pure.

x-ringfence-reason: stopped, fuse_blown   over: `stopped`, `limit`
x-ringfence-reason: held                  ask again after a while, for as long as it takes
billing_error, 402                        ask again when the run's money allows it
429, unified rate limit rejected          ask again when the provider's limit is reset
permission_error, 403, 451                over: `permission`
x-should-retry: false of a provider       over: `api_error`
429, 529, and their types in a stream     ask again after a while, and tell the run that it was throttled
no status, 408, 409, 5xx                  ask again after a while
all else                                  over: `api_error`

With a reason of the gateway `x-should-retry: false` says that it has tried every upstream, so that clients do not
multiply that. An agent has time, and goes by the status.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.contract import REASON_HEADER, SHOULD_RETRY_HEADER
from runtime.agents.endings import AttemptOver
from runtime.core.model import NullReason
from runtime.ports import Limited

FIRST_DELAY_SECONDS = 0.5
DELAY_SECONDS_MAX = 30.0
BLOCKED_DELAY_SECONDS = 1.0
"""Shortest time between two requests that money, a quota or a person's hold refuses, whatever the run says."""
UNIFIED_STATUS = "anthropic-ratelimit-unified-status"
UNIFIED_RESET = "anthropic-ratelimit-unified-reset"
_ENDED: Mapping[str, NullReason] = {"stopped": "stopped", "fuse_blown": "limit"}
_THROTTLED_TYPES = frozenset({"rate_limit_error", "overloaded_error"})
_PASSING_TYPES = frozenset({"api_error", "timeout_error"})
_EFFORTS_BELOW: Mapping[str, str] = {"max": "xhigh", "xhigh": "high"}


@dataclass(slots=True, eq=False)
class Refusal(Exception):
    """A request was refused or lost. `status` None: no answer, or one that had begun. Header names in lower case."""

    status: int | None = None
    type: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.status or 'no answer'}: {self.message}"


class Stalled(Exception):
    """Not a byte came for `seconds` (W57)."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class OwnWords:
    """Comes before the events of an answer that the gateway gives itself, in place of a model."""


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again. `after_seconds` None: nobody said when."""

    after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """Ask again when the run may; `after_seconds` as in `Again`."""

    limit: Limited
    after_seconds: float | None = None


Advice = Again | Blocked | AttemptOver


def advise(refusal: Refusal, now_ms: int) -> Advice:
    """What to do about it."""
    status, kind, reason = refusal.status, refusal.type, refusal.headers.get(REASON_HEADER, "")
    if reason in _ENDED:
        return AttemptOver(_ENDED[reason], refusal.message)
    if reason == "held":
        return _blocked("held", refusal, now_ms)
    retry = None if reason else refusal.headers.get(SHOULD_RETRY_HEADER)
    if kind == "billing_error" or status == 402:
        return _blocked("budget", refusal, now_ms)
    if status == 429 and refusal.headers.get(UNIFIED_STATUS) == "rejected":
        return _blocked("quota", refusal, now_ms)
    if kind == "permission_error" or status in (403, 451):
        return AttemptOver("permission", refusal.message)
    if retry == "false":
        return AttemptOver("api_error", str(refusal))
    if status in (429, 529) or kind in _THROTTLED_TYPES:
        return _blocked("throttled", refusal, now_ms)
    if retry == "true" or _is_passing(status, kind):
        return Again(_retry_after(refusal))
    return AttemptOver("api_error", str(refusal))


def delay_seconds(tries: int, asked: float | None, jitter: float) -> float:
    """How long to wait after `tries` failures; `jitter` in 0 to 1 spreads those that failed together."""
    if asked is not None:
        return asked + jitter * min(1.0, asked / 4)
    return min(DELAY_SECONDS_MAX, FIRST_DELAY_SECONDS * 2 ** min(tries - 1, 10)) * (1 - jitter / 4)


def effort_below(refusal: Refusal, effort: str | None) -> tuple[str | None] | None:
    """The next lower effort to try, as a tuple (None in it: name none), if the refusal was about the effort (W47)."""
    if refusal.status != 400 or effort is None or "effort" not in refusal.message:
        return None
    return (_EFFORTS_BELOW.get(effort),)


def _is_passing(status: int | None, kind: str) -> bool:
    if status is None:
        return kind in _PASSING_TYPES or not kind
    return status >= 500 or status in (408, 409)


def _blocked(kind: Literal["budget", "quota", "throttled", "held"], refusal: Refusal, now_ms: int) -> Blocked:
    after = _retry_after(refusal)
    until_ms = None if after is None else now_ms + round(after * 1000)
    if kind in ("throttled", "held"):
        return Blocked(Limited(kind, refusal.message, until_ms), after)
    if (reset := _seconds(refusal.headers.get(UNIFIED_RESET))) is not None:
        until_ms = round(reset * 1000)
    return Blocked(Limited(kind, refusal.message, until_ms))


def _retry_after(refusal: Refusal) -> float | None:
    return _seconds(refusal.headers.get("retry-after"))


def _seconds(text: str | None) -> float | None:
    """A count of seconds. What is none, such as a date, is as good as unsaid."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e12 else None
