"""Where a stream is written, and the pings that keep the client waiting while nothing comes. Not what is written."""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass

from aiohttp import web

from gateway.context import RequestContext
from gateway.ports import Clock
from gateway.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Pings:
    """What a ping is in the client's dialect, and the longest silence."""

    ping: bytes
    seconds: float


class Outlet:
    """Where a stream is written, and the pings that keep the client waiting while nothing else comes."""

    def __init__(
        self, response: web.StreamResponse, ctx: RequestContext, clock: Clock, tasks: Tasks, pings: Pings
    ) -> None:
        self._response = response
        self._ctx = ctx
        self._clock = clock
        self._tasks = tasks
        self._pings = pings
        self._heard_at = 0.0
        """When the client was last written to, or began to wait (the loop's time)."""
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Handle | None = None
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        """Whole events to write: with the next `flush`, or when the loop is free, so that no decision delays them."""
        self._pieces.append(piece)
        if self._idle is None:
            self._idle = asyncio.get_running_loop().call_soon(self._flush_idle)

    async def flush(self) -> None:
        """Write what was added, in one go; the first time is the time to first byte."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._pieces:
            return
        written = b"".join(self._pieces)
        self._pieces.clear()
        if self._ctx.first_byte_seconds is None:
            self._ctx.first_byte_seconds = self._clock.monotonic() - self._ctx.received_monotonic
        self._ctx.bytes_out += len(written)
        self._heard_at = asyncio.get_running_loop().time()
        await self._response.write(written)

    def _flush_idle(self) -> None:
        self._idle = None
        self._tasks.spawn("flush", self._written(self.flush()))

    def start_pings(self) -> None:
        """From now on the client hears something at least every `ping_seconds`."""
        if self._timer is None:
            self._heard_at = asyncio.get_running_loop().time()
            self._expect_ping()

    def stop_pings(self) -> None:
        """The block is out; the upstream's own events follow."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """Nothing more is written."""
        self.stop_pings()
        if self._idle is not None:
            self._idle.cancel()

    def _expect_ping(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._heard_at + self._pings.seconds, self._ping)

    def _ping(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._heard_at + self._pings.seconds:
            self._heard_at = now
            self._tasks.spawn("ping", self._written(self._response.write(self._pings.ping)))
        self._expect_ping()

    async def _written(self, writing: Awaitable[None]) -> None:
        """A write that nobody waits for; that the client has left is noticed by the next one that somebody does."""
        with contextlib.suppress(ConnectionError):
            await writing
