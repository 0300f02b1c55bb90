"""An upstream's answer to the client: bytes through the gate, the same events to the tap. The only stream response.

A begun answer is never written over: what goes wrong in it ends as the dialect's error event where the client can take
one, else the connection is broken off, so that a cut answer cannot look complete.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from gateway.context import RequestContext
from gateway.contract import (
    BODY_BYTES_MAX,
    DECISION_HEADER,
    DENIAL_FORM_HEADER,
    HOLD_PING_SECONDS,
    REQUEST_ID_HEADER,
)
from gateway.core import sse
from gateway.core.denial import Denial
from gateway.core.gate import DenialForm, HeldCall, StreamGate, gate_message, rewrite_message
from gateway.core.headers import downstream_headers, first
from gateway.core.messages import Tap, parse_message
from gateway.errors import GatewayError, Reason
from gateway.ports import Clock, UpstreamAnswer
from gateway.tasks import Tasks
from gateway.toolcalls import ToolCalls
from gateway.web.middlewares import BEGUN

R = TypeVar("R", bound=web.StreamResponse)

MESSAGE_BYTES_MAX = BODY_BYTES_MAX
"""Longest answer to a `stream: false` request: it must be whole before its tool calls are decided."""
DRAINS_MAX = 64
"""Answers read to their usage after the client left, at once; above it the floor estimate is billed."""
DRAIN_SECONDS = 120.0
"""Longest time one of them is read."""
_UNHEARD = Denial(reason="the client left before the call was decided", decision="")


class Relay:
    """Passes answers on. One per application."""

    def __init__(
        self, tool_calls: ToolCalls, clock: Clock, tasks: Tasks, *, ping_seconds: float = HOLD_PING_SECONDS
    ) -> None:
        self._tool_calls = tool_calls
        self._clock = clock
        self._tasks = tasks
        self._ping_seconds = ping_seconds
        self._drains = 0

    async def model_answer(
        self, request: web.Request, ctx: RequestContext, answer: UpstreamAnswer
    ) -> web.StreamResponse:
        """The answer to a model request: gated when it succeeded, as it came when it did not."""
        if answer.status >= 400:
            return await self.plain_answer(ctx, answer)
        tap = ctx.tap = Tap()
        try:
            _require_plain(answer)
            if (first(answer.headers, "content-type") or "").lower().startswith("text/event-stream"):
                return await self._stream(request, ctx, answer, tap)
            return await self._message(ctx, answer, tap)
        finally:
            if ctx.drain is None:
                await answer.close()

    async def plain_answer(self, ctx: RequestContext, answer: UpstreamAnswer) -> web.StreamResponse:
        """An answer that holds no tool call (an error, a token count), as it came."""
        try:
            return self._whole(ctx, answer, await _read(answer))
        finally:
            await answer.close()

    async def _message(self, ctx: RequestContext, answer: UpstreamAnswer, tap: Tap) -> web.Response:
        body = await _read(answer)
        tap.observe_message(parse_message(body))
        denials: dict[str, Denial] = {}
        for call in gate_message(body):
            denial = await self._tool_calls.decide(ctx, call)
            if denial is not None:
                denials[call.id] = denial
        return self._whole(ctx, answer, rewrite_message(body, denials, form=_form(ctx)) if denials else body)

    def _whole(self, ctx: RequestContext, answer: UpstreamAnswer, body: bytes) -> web.Response:
        ctx.bytes_out = len(body)
        ctx.first_byte_seconds = self._clock.monotonic() - ctx.received_monotonic
        return _with_headers(web.Response(status=answer.status, body=body), ctx, answer)

    async def _stream(
        self, request: web.Request, ctx: RequestContext, answer: UpstreamAnswer, tap: Tap
    ) -> web.StreamResponse:
        response = _with_headers(web.StreamResponse(status=answer.status), ctx, answer)
        gate = StreamGate(sse.SseDecoder(), tap, form=_form(ctx))
        stream = _Stream(gate=gate, answer=answer, out=self._out(response, ctx))
        try:
            await response.prepare(request)
            request[BEGUN] = response
            await stream.run(ctx, self._tool_calls)
            await response.write_eof()
        except GatewayError as error:
            await _break_off(request, response, stream, error)
            ctx.reason, ctx.message = error.reason, error.message
        except ConnectionError:
            self._keep_reading(ctx, stream)
            raise GatewayError(Reason.CLIENT_GONE, "the client left while it was answered") from None
        except asyncio.CancelledError:
            self._keep_reading(ctx, stream)
            raise
        finally:
            stream.out.stop()
        return response

    def _out(self, response: web.StreamResponse, ctx: RequestContext) -> "_Out":
        return _Out(response, ctx, self._clock, self._tasks, self._ping_seconds)

    def _keep_reading(self, ctx: RequestContext, stream: "_Stream") -> None:
        """The upstream goes on and bills: read its answer to the usage, but not too many at once."""
        if self._drains >= DRAINS_MAX:
            return
        self._drains += 1

        async def drain() -> None:
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await stream.read_out()
            except (GatewayError, TimeoutError):
                pass  # the tap holds what was seen; the floor estimate is billed
            finally:
                self._drains -= 1
                await stream.answer.close()

        ctx.drain = drain


@dataclass(slots=True)
class _Stream:
    """One streamed answer on its way through the gate."""

    gate: StreamGate
    answer: UpstreamAnswer
    out: "_Out"
    pieces: Iterator[bytes | HeldCall] = iter(())
    held: HeldCall | None = None

    async def run(self, ctx: RequestContext, tool_calls: ToolCalls) -> None:
        """Write what passes; decide what is held before the next piece is looked at."""
        async for chunk in self.answer.chunks():
            self.pieces = self.gate.feed(chunk)
            await self._pass(ctx, tool_calls)
            await self.out.flush()
            if self.gate.holding:
                self.out.start_pings()
            else:
                self.out.stop_pings()
        self.pieces = self.gate.close()
        await self._pass(ctx, tool_calls)
        await self.out.flush()

    async def _pass(self, ctx: RequestContext, tool_calls: ToolCalls) -> None:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                self.out.add(piece)
                continue
            self.held = piece
            self.out.start_pings()
            denial = await tool_calls.decide(ctx, piece)
            self.held = None
            self.out.add(self.gate.release(piece) if denial is None else self.gate.deny(piece, denial))

    async def read_out(self) -> None:
        """Go on without a client: the tap sees the rest, nothing is released."""
        self._discard()
        async for chunk in self.answer.chunks():
            self.pieces = self.gate.feed(chunk)
            self._discard()

    def _discard(self) -> None:
        if self.held is not None:
            self.gate.deny(self.held, _UNHEARD)
            self.held = None
        for piece in self.pieces:
            if isinstance(piece, HeldCall):
                self.gate.deny(piece, _UNHEARD)


class _Out:
    """Where a stream is written, and the pings that keep the client waiting while a block is held."""

    def __init__(
        self, response: web.StreamResponse, ctx: RequestContext, clock: Clock, tasks: Tasks, ping_seconds: float
    ) -> None:
        self._response = response
        self._ctx = ctx
        self._clock = clock
        self._tasks = tasks
        self._ping_seconds = ping_seconds
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
        await self._response.write(written)

    def _flush_idle(self) -> None:
        self._idle = None
        self._tasks.spawn("flush", self._written(self.flush()))

    def start_pings(self) -> None:
        """From now on the client hears something at least every `ping_seconds`."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._ping_seconds, self._ping)

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

    def _ping(self) -> None:
        self._timer = None
        self._tasks.spawn("ping", self._written(self._response.write(sse.PING)))
        self.start_pings()

    async def _written(self, writing: Awaitable[None]) -> None:
        """A write that nobody waits for; that the client has left is noticed by the next one that somebody does."""
        with contextlib.suppress(ConnectionError):
            await writing


async def _read(answer: UpstreamAnswer) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for chunk in answer.chunks():
        size += len(chunk)
        if size > MESSAGE_BYTES_MAX:
            raise GatewayError(Reason.UPSTREAM_BROKE, f"the upstream's answer is larger than {MESSAGE_BYTES_MAX} bytes")
        pieces.append(chunk)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _require_plain(answer: UpstreamAnswer) -> None:
    """A compressed answer cannot be gated, and was not asked for: it is refused rather than passed unseen."""
    coding = first(answer.headers, "content-encoding")
    if coding is not None and coding.lower() != "identity":
        message = f"the upstream sent a '{coding}' body though none was asked for; it cannot be checked"
        raise GatewayError(Reason.UPSTREAM_BROKE, message)


async def _break_off(
    request: web.Request, response: web.StreamResponse, stream: "_Stream", error: GatewayError
) -> None:
    """End a begun stream: as an error event after a whole block, else by cutting the connection."""
    last_words = stream.gate.refusal("api_error", error.message)
    try:
        await stream.out.flush()
        if last_words:
            await response.write(last_words)
            await response.write_eof()
            return
    except ConnectionError:
        pass  # the client left as well; the reason stays the upstream's
    if request.transport is not None:
        request.transport.abort()


def _form(ctx: RequestContext) -> DenialForm:
    return "text" if ctx.headers.get(DENIAL_FORM_HEADER) == "text" else "tool_use"


def _with_headers(response: R, ctx: RequestContext, answer: UpstreamAnswer) -> R:
    ctx.upstream_request_id = first(answer.headers, REQUEST_ID_HEADER)
    for name, value in downstream_headers(answer.headers):
        response.headers.add(name, value)
    response.headers.setdefault(REQUEST_ID_HEADER, ctx.id)
    response.headers[DECISION_HEADER] = ctx.id
    return response
