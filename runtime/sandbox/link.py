"""A child process and its two pipes: frames out, frames in, its end. What the frames mean is not here."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Sequence

from runtime.core.model import FailureCode
from runtime.ports import SandboxFailed
from runtime.sandbox.framing import FRAME_BYTES_MAX, Frame, FrameFault, Frames

EXCHANGE_BYTES_MAX = 2 * FRAME_BYTES_MAX
"""All that may come in answer to what was sent at once."""
DEATHS: dict[int, tuple[FailureCode, str]] = {
    signal.SIGXCPU: ("script_timeout", "the script used all the CPU time that its process may have"),
    signal.SIGSYS: ("script_killed", "the sandbox tried a system call that it may not make, and was ended"),
}


class Link(asyncio.SubprocessProtocol):
    """One child. Frames that nobody asked for end it, and so does whatever is not a frame."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._arrived: deque[Frame] = deque()
        self._owed = 0
        self._bytes_left = 0
        self._failure: SandboxFailed | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._handle: int | None = None
        self._gone = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        """Of the child."""
        assert self._transport is not None
        return self._transport.get_pid()

    def send(self, frames: Sequence[bytes]) -> None:
        """Write frames, each of which will be answered by one."""
        self.expect(len(frames))
        if self._transport is None or self._failure is not None or self._gone.done():
            return
        pipe = self._transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.writelines(frames)

    def expect(self, frames: int) -> None:
        """So many frames may come."""
        self._owed += frames
        self._bytes_left = EXCHANGE_BYTES_MAX

    async def receive(self, seconds: float) -> Frame:
        """The next frame. Raises `SandboxFailed` when none comes in time, or none can come any more."""
        if self._arrived:
            return self._arrived.popleft()
        if self._failure is None and not self._gone.done():
            await self._wait(seconds)
        if self._arrived:
            return self._arrived.popleft()
        raise self._failure or self._death()

    async def close(self) -> None:
        """Kill it and wait until nothing is left of it."""
        self.fail(SandboxFailed("script_killed", "the sandbox was closed"))
        if self._transport is not None:
            await asyncio.wait([self._gone])
            self._transport.close()

    def fail(self, failure: SandboxFailed) -> None:
        """Kill it; this is why."""
        if self._failure is None:
            self._failure = failure
        self._kill()
        self._wake()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport
        with contextlib.suppress(OSError):
            self._handle = os.pidfd_open(transport.get_pid()) if hasattr(os, "pidfd_open") else None

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        if self._failure is not None:
            return
        assert isinstance(data, bytes)
        self._bytes_left -= len(data)
        try:
            frames = self._frames.feed(data)
        except FrameFault as fault:
            self.fail(SandboxFailed("protocol", f"the sandbox does not keep to its protocol: {fault}"))
            return
        self._owed -= len(frames)
        if self._owed < 0 or (self._owed == 0 and not self._frames.is_between):
            self.fail(SandboxFailed("protocol", "the sandbox does not keep to its protocol: it speaks unasked"))
        elif self._bytes_left < 0:
            self.fail(SandboxFailed("runaway_script", "the script asks for too much at once"))
        elif frames:
            self._arrived.extend(frames)
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended and both pipes are closed."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if not self._gone.done():
            self._gone.set_result(None)
        self._wake()

    def _kill(self) -> None:
        """By its handle: the transport would wait for the child itself, and whoever watches it would find nothing."""
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        elif self._transport is not None and self._transport.get_returncode() is None:
            self._transport.kill()

    async def _wait(self, seconds: float) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError:
            text = f"the script did not answer within {seconds:g} s and was killed"
            self.fail(SandboxFailed("script_killed", text))
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _death(self) -> SandboxFailed:
        code = self._transport.get_returncode() if self._transport is not None else None
        if code is None or code >= 0:
            return SandboxFailed("script_killed", f"the sandbox ended by itself, with status {code}")
        if -code in DEATHS:
            return SandboxFailed(*DEATHS[-code])
        return SandboxFailed("script_killed", f"the sandbox was ended by signal {-code}")
