"""A cloud's credential that ends and is fetched anew: ahead of its end, or once when the cloud says that it has ended.

Not where it comes from: a backend brings `fetch`, which may block and therefore runs in a thread, one at a time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.errors import GatewayError, Reason
from gateway.ports import UpstreamRequest
from gateway.upstreams.http import Endpoint, HttpAnswer, bearer_header

T = TypeVar("T")

AHEAD_SECONDS = 300.0
"""A credential that ends sooner is fetched anew in the background. The clouds hand out the next one about then."""
MARGIN_SECONDS = 30.0
"""One that ends sooner is not used any more: the next one is waited for."""
PAUSE_SECONDS = 10.0
"""Between the end of one fetch and the next; until then the last outcome holds, also when it is a failure."""
FETCH_SECONDS_MAX = 60.0
"""Longest wait for a fetch."""
REFUSAL_BYTES_MAX = 64 * 1024
"""How much of a 401 or 403 is read to learn whether the credential has ended."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lease(Generic[T]):
    """A credential as it was fetched. Two fetches give two leases, whatever is in them."""

    value: T
    expires_within: Callable[[float], bool]
    """Will it have ended in so many seconds?"""


def expires_at(unix_seconds: float, clock: Callable[[], float]) -> Callable[[float], bool]:
    """`Lease.expires_within` of a credential that ends at a point in time."""
    return lambda seconds: clock() + seconds >= unix_seconds


class LiveCredential(Generic[T]):
    """One upstream's credential. Any number of requests that need a fetch share one."""

    def __init__(
        self,
        upstream_id: str,
        fetch: Callable[[bool], Lease[T]],
        *,
        check: str,
        monotonic: Callable[[], float] = time.monotonic,
        fetch_seconds_max: float = FETCH_SECONDS_MAX,
    ) -> None:
        """`fetch(True)` starts anew from where credentials are configured and returns none that it gave before.

        `check` ends the message of a failure: what to look at.
        """
        self._upstream_id = upstream_id
        self._fetch = fetch
        self._check = check
        self._monotonic = monotonic
        self._fetch_seconds_max = fetch_seconds_max
        self._lease: Lease[T] | None = None
        self._flight: asyncio.Future[Lease[T]] | None = None
        self._failure = ""
        self._paused_until = float("-inf")

    async def current(self) -> Lease[T]:
        """The credential to show now. Raises `GatewayError(UPSTREAM_UNREACHABLE)` when there is none."""
        lease = self._lease
        if lease is None or lease.expires_within(MARGIN_SECONDS):
            # None: it was fetched a moment ago and is about to end all the same. Its cloud has the last word.
            lease = await self._fetched(renew=False) or lease
            assert lease is not None
            return lease
        if self._flight is None and lease.expires_within(AHEAD_SECONDS) and not self._is_paused():
            self._start(renew=False)
        return lease

    async def renewed(self, refused: Lease[T]) -> Lease[T] | None:
        """A later one than the cloud refused; None when it was fetched so lately that another would be no better.

        Raises `GatewayError(UPSTREAM_UNREACHABLE)` when fetching fails.
        """
        if self._lease is not None and self._lease is not refused:
            return self._lease
        return await self._fetched(renew=True)

    async def _fetched(self, *, renew: bool) -> Lease[T] | None:
        """The outcome of the fetch under way, or of a new one; None when it is too early for one."""
        flight = self._flight
        if flight is None:
            if self._is_paused():
                if self._failure:
                    raise self._failed(self._failure)
                return None
            flight = self._start(renew)
        # Not awaited itself: a client that leaves would cancel it for everyone.
        await asyncio.wait((flight,), timeout=self._fetch_seconds_max)
        if not flight.done():
            raise self._failed(f"none came in {self._fetch_seconds_max:g} s")
        error = flight.exception()
        if error is not None:
            raise self._failed(type(error).__name__) from error
        return flight.result()

    def _is_paused(self) -> bool:
        return self._monotonic() < self._paused_until

    def _start(self, renew: bool) -> asyncio.Future[Lease[T]]:
        self._flight = asyncio.get_running_loop().run_in_executor(None, self._fetch, renew)
        self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, flight: asyncio.Future[Lease[T]]) -> None:
        self._flight = None
        self._paused_until = self._monotonic() + PAUSE_SECONDS
        error = None if flight.cancelled() else flight.exception()
        if error is not None:
            self._failure = type(error).__name__
            _log.warning("upstream %s: no new credential (%s: %s)", self._upstream_id, self._failure, error)
        elif not flight.cancelled():
            self._failure = ""
            self._lease = flight.result()

    def _failed(self, cause: str) -> GatewayError:
        return GatewayError(
            Reason.UPSTREAM_UNREACHABLE,
            f"Upstream '{self._upstream_id}' has no usable credential ({cause}); check {self._check}.",
        )


async def send_renewing(
    credential: LiveCredential[T],
    attempt: Callable[[T], Awaitable[HttpAnswer]],
    is_expired: Callable[[HttpAnswer, bytes], bool],
) -> HttpAnswer:
    """Send with the current credential, and once more with a new one when the cloud says that it has ended."""
    lease = await credential.current()
    answer = await attempt(lease.value)
    if answer.status not in (401, 403):
        return answer
    try:
        expired = is_expired(answer, await answer.beginning(REFUSAL_BYTES_MAX))
        later = await credential.renewed(lease) if expired else None
    except BaseException:
        await answer.close()
        raise
    if later is None:
        return answer
    await answer.close()
    return await attempt(later.value)


@dataclass(frozen=True, slots=True)
class BearerPoster:
    """Posts with a bearer that ends."""

    endpoint: Endpoint
    bearer: LiveCredential[str]
    is_expired: Callable[[HttpAnswer, bytes], bool]

    async def post(self, path: str, request: UpstreamRequest) -> HttpAnswer:
        """Raises as `Endpoint.exchange` does, and UPSTREAM_UNREACHABLE without a bearer."""

        async def attempt(bearer: str) -> HttpAnswer:
            headers = self.endpoint.outgoing(request.headers)
            headers.extend((bearer_header(bearer),))
            return await self.endpoint.exchange(self.endpoint.url(path), headers, request.body)

        return await send_renewing(self.bearer, attempt, self.is_expired)
