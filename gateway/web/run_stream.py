"""Events of a run as server-sent events: numbered, kept alive, resumable by number. What happens is the desk's.

A reader that takes nothing for a while is cut off, and goes on from its last number when it comes again. One that is
only slow may be given a `gap` instead of what it missed, and reads that by its numbers from the list of events.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.web.middlewares import BEGUN, CONTEXT
from gateway.web.run_desk import RunEvent, RunRefused

KEEP_ALIVE_SECONDS = 15.0
PATIENCE_SECONDS = 30.0
"""How long a reader may take nothing."""
STREAMS_MAX = 500
"""Open at once in one process."""
STREAMS_PER_USER_MAX = 50
"""Of those, for one user: whoever takes all keeps the others from seeing their runs."""
KEEP_ALIVE = b": keep-alive\n\n"


class RunStreams:
    """All event streams of a process."""

    def __init__(
        self,
        *,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        self._keep_alive_seconds = keep_alive_seconds
        self._patience_seconds = patience_seconds
        self._streams_max = streams_max
        self._open: dict[asyncio.Task[None], str] = {}
        """Whose each of them is."""
        self._closed = False

    async def send(self, request: web.Request, events: AsyncGenerator[RunEvent], after: int) -> web.StreamResponse:
        """Write them until they end, the reader leaves, or the server stops. Raises `GatewayError`."""
        async with contextlib.aclosing(events):
            if self._closed or len(self._open) >= self._streams_max:
                raise GatewayError(Reason.OVERLOADED, "no more event streams can be opened now; try again in a moment")
            user = _user(request)
            if list(self._open.values()).count(user) >= STREAMS_PER_USER_MAX:
                text = f"{user} has {STREAMS_PER_USER_MAX} event streams open, as many as one may; close some"
                raise GatewayError(Reason.OVERLOADED, text)
            response = await self.open(request, "text/event-stream")
            failures: list[Exception] = []
            try:
                await self._send(response, events, after, user)
            except* (GatewayError, RunRefused) as group:
                failures += group.exceptions
            if failures:
                raise failures[0]
        return response

    async def _send(
        self, response: web.StreamResponse, events: AsyncGenerator[RunEvent], after: int, user: str
    ) -> None:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._write_all(response, events, after))
            pinging = group.create_task(self._keep_alive(response))
            self._open[writing] = user
            writing.add_done_callback(lambda _: self._open.pop(writing))
            writing.add_done_callback(lambda _: pinging.cancel())

    async def open(self, request: web.Request, kind: str) -> web.StreamResponse:
        """Begin an answer that is written piece by piece."""
        headers = {"Content-Type": kind, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        request[BEGUN] = response
        return response

    async def write(self, response: web.StreamResponse, piece: bytes) -> None:
        """Raises `GatewayError` when the reader takes nothing."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                await response.write(piece)
        except (TimeoutError, ConnectionError):
            raise GatewayError(Reason.CLIENT_GONE, "the reader takes no more") from None

    async def close(self, _app: web.Application) -> None:
        """End all streams: a server that stops does not wait for runs that go on."""
        self._closed = True
        for task in self._open:
            task.cancel()

    async def _write_all(self, response: web.StreamResponse, events: AsyncGenerator[RunEvent], after: int) -> None:
        last = after
        async for event in events:
            piece = frame(event)
            if event.seq is not None:
                if event.seq > last + 1:
                    piece = gap(last, event.seq) + piece
                last = event.seq
            await self.write(response, piece)

    async def _keep_alive(self, response: web.StreamResponse) -> None:
        while True:
            await self.write(response, KEEP_ALIVE)
            await asyncio.sleep(self._keep_alive_seconds)


def _user(request: web.Request) -> str:
    principal = request[CONTEXT].principal
    assert principal is not None
    return principal.user


def frame(event: RunEvent) -> bytes:
    """One event on the wire. An unnumbered one leaves the reader's last number as it is."""
    number = b"" if event.seq is None else b"id: %d\n" % event.seq
    return b"%sevent: %s\ndata: %s\n\n" % (number, event.type.encode(), event.text)


def gap(last: int, following: int) -> bytes:
    """Events between two numbers were left out."""
    body = msgspec.json.encode({"type": "gap", "after": last, "before": following})
    return b"event: gap\ndata: %s\n\n" % body
