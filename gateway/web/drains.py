"""Answers that are read to their usage after their client left: how many at once and how long, not how."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.ports import UpstreamAnswer

DRAINS_MAX = 64
"""Answers read to their usage after the client left, at once; above it the floor estimate is billed."""
DRAIN_SECONDS = 120.0
"""Longest time one of them is waited for and read."""


class Drains:
    """Counts them. One per application."""

    def __init__(self) -> None:
        self.count = 0
        """Answers that are read on, or wait for that."""

    def add(
        self, ctx: RequestContext, read_out: Callable[[], Awaitable[None]], let_go: Callable[[], Awaitable[None]]
    ) -> bool:
        """Have `read_out` show the rest of the answer to the tap, then `let_go`. False: too many are being read."""
        if self.count >= DRAINS_MAX:
            return False
        self.count += 1

        async def drain() -> None:
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await read_out()
            except (GatewayError, TimeoutError):
                pass  # the tap holds what was seen; the floor estimate is billed
            finally:
                self.count -= 1
                await let_go()

        ctx.drain = drain
        return True


async def let_go(sending: asyncio.Task[UpstreamAnswer]) -> None:
    """End an attempt that nobody waits for any more, and close what it has brought."""
    sending.cancel()
    await asyncio.wait((sending,))
    if not sending.cancelled() and sending.exception() is None:
        await sending.result().close()


class Kept:
    """An answer whose body is read from its beginning again, also when reading it was cancelled."""

    def __init__(self, answer: UpstreamAnswer) -> None:
        self._answer = answer
        self._pieces: list[bytes] = []
        self.close = answer.close

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._answer.status

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Of the answer."""
        return self._answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """What was read before, then the rest as it arrives."""
        for piece in self._pieces:
            yield piece
        async for piece in self._answer.chunks():
            self._pieces.append(piece)
            yield piece
