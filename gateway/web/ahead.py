"""An answer that is read on into a bounded buffer while whoever passes it on has to wait. Not a cache: it is read once.

An upstream that cannot write for minutes gives up. Past the bound it has to wait all the same.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from gateway.errors import GatewayError
from gateway.ports import UpstreamAnswer
from gateway.tasks import Tasks

AHEAD_BYTES_MAX = 256 * 1024
"""Most that is read of one answer before it may be passed on, give or take the last read."""
PATIENCE_SECONDS = 1.0
"""Waits shorter than this are left to the buffers of the connection."""


class Ahead:
    """One answer. `chunks` may be called anew after it was cancelled."""

    def __init__(self, answer: UpstreamAnswer, tasks: Tasks, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._answer = answer
        self._tasks = tasks
        self._patience_seconds = patience_seconds
        self._upstream: AsyncIterator[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._ended = False
        self._failure: GatewayError | None = None
        self._moved = asyncio.Event()
        """Something was read, or taken."""

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._answer.status

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Of the answer."""
        return self._answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """What was read ahead, then the rest as it arrives."""
        if self._reading is None:
            upstream = self._upstream = self._answer.chunks()
            async for chunk in upstream:
                yield chunk
                if self._reading is not None:
                    break
            else:
                return
        while True:
            while self._kept:
                chunk = self._kept.popleft()
                self._kept_bytes -= len(chunk)
                self._moved.set()
                yield chunk
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return
            self._moved.clear()
            await self._moved.wait()

    def wait(self) -> None:
        """What was yielded last cannot be passed on yet: when that takes long, the rest is read meanwhile."""
        if self._timer is None and self._reading is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience_seconds, self._read_on)

    def go_on(self) -> None:
        """It was passed on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def taken(self) -> list[bytes]:
        """What was read ahead and will not be passed on."""
        taken = list(self._kept)
        self._kept.clear()
        return taken

    async def close(self) -> None:
        """Read nothing more."""
        self.go_on()
        if self._reading is not None:
            self._reading.cancel()
        await self._answer.close()

    def _read_on(self) -> None:
        self._timer = None
        if self._upstream is not None:
            self._reading = self._tasks.spawn("read ahead", self._read(self._upstream))

    async def _read(self, upstream: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in upstream:
                self._kept.append(chunk)
                self._kept_bytes += len(chunk)
                self._moved.set()
                while self._kept_bytes >= AHEAD_BYTES_MAX:
                    self._moved.clear()
                    await self._moved.wait()
        except GatewayError as error:
            self._failure = error
        finally:
            self._ended = True
            self._moved.set()
