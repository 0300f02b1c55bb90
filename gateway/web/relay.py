"""An upstream's answer to the client: bytes through the gate, the same events to the tap. The only stream response.

A begun answer is never written over: what goes wrong in it ends as the dialect's error event where the client can take
one, else the connection is broken off, so that a cut answer cannot look complete. So does an answer whose agent is
stopped meanwhile; its upstream's connection is closed first, so that it stops billing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from gateway.context import RequestContext
from gateway.contract import (
    BRIDGED_HEADER,
    DECISION_HEADER,
    DENIAL_FORM_HEADER,
    HOLD_PING_SECONDS,
    REASON_HEADER,
    REQUEST_ID_HEADER,
    SHOULD_RETRY_HEADER,
)
from gateway.core.bridging.translate import translate_count
from gateway.core.gate.calls import rename_model
from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import DenialForm, StreamGate, gate_message, rewrite_message
from gateway.core.spend_api.headers import success_headers
from gateway.core.wire.eventstream import build_framing, ping
from gateway.core.wire.faults import Fault, embedded_fault, passes, read_fault
from gateway.core.wire.headers import clean_headers, downstream_headers, first, request_id_of, translated_headers
from gateway.core.wire.messages import Tap, parse_message
from gateway.errors import GatewayError, Reason, Refused
from gateway.pipeline import gone
from gateway.ports import Clock, UpstreamAnswer
from gateway.tasks import Tasks
from gateway.web.ahead import Ahead
from gateway.web.answers import fault_response
from gateway.web.drains import Drains, Kept, let_go
from gateway.web.middlewares import BEGUN
from gateway.web.outlet import Outlet, Pings
from gateway.web.received import (
    STREAM_TYPES,
    read,
    read_error,
    require_form,
    require_framing,
    require_message,
    require_object,
    require_plain,
)
from gateway.web.stream import Guards, Stream

R = TypeVar("R", bound=web.StreamResponse)

LOGGED_BYTES_MAX = 1000
"""Most of an upstream's error that is written to the log."""
LAST_WORDS_SECONDS = 0.5
"""Longest wait for a client that does not read to take the event that ends its answer."""
_log = logging.getLogger(__name__)


class Relay:
    """Passes answers on. One per application."""

    def __init__(self, guards: Guards, clock: Clock, tasks: Tasks, *, ping_seconds: float = HOLD_PING_SECONDS) -> None:
        self._guards = guards
        self._clock = clock
        self._tasks = tasks
        self._ping_seconds = ping_seconds
        self._drains = Drains()

    @property
    def drains(self) -> int:
        """Answers that are read to their usage after their client left, or wait for that."""
        return self._drains.count

    async def model_answer(
        self, request: web.Request, ctx: RequestContext, answer: UpstreamAnswer
    ) -> web.StreamResponse:
        """The answer to a model request: gated when it succeeded, an error in the client's dialect when it did not."""
        try:
            if answer.status >= 400:
                return await self._error(ctx, answer)
            tap = ctx.tap = Tap()
            if not _is_stream(ctx, answer):
                return await self._message(ctx, answer, tap)
            return await self._stream(request, ctx, answer, tap)
        finally:
            if ctx.drain is None:
                await answer.close()

    def left_unanswered(self, ctx: RequestContext, sending: asyncio.Task[UpstreamAnswer]) -> None:
        """The client left while its request was under way: wait for the answer, and read it, in its stead.

        Nobody waits for an answer whose agent was stopped, by a person or by its run.
        """
        if self._is_stopped(ctx):
            self._tasks.spawn("let go", let_go(sending))
            return

        async def read_out() -> None:
            await self._read_out(ctx, await sending)

        if not self._drain(ctx, read_out, partial(let_go, sending)):
            ctx.drain = partial(let_go, sending)

    def _drain(
        self, ctx: RequestContext, read_out: Callable[[], Awaitable[None]], let_go: Callable[[], Awaitable[None]]
    ) -> bool:
        """Have the rest of the answer read without its client, unless its agent is stopped. False: too many are."""
        controls = self._guards.controls

        async def unless_stopped() -> None:
            with controls.flight(ctx):
                controls.require_unstopped(ctx)
                await read_out()

        return self._drains.add(ctx, unless_stopped, let_go)

    async def _read_out(self, ctx: RequestContext, answer: UpstreamAnswer) -> None:
        """Nobody gets it: the tap sees what it used, no call is decided."""
        ctx.upstream_request_id = request_id_of(answer.headers)
        if answer.status >= 400:
            return
        tap = ctx.tap = Tap()
        if _is_stream(ctx, answer):
            _, stream = self._open(ctx, answer, tap)
            await stream.read_out(ctx)
        else:
            await _read_message(ctx, answer, tap)

    async def token_count(self, ctx: RequestContext, answer: UpstreamAnswer) -> web.StreamResponse:
        """The answer to a token count."""
        assert ctx.dialect != "operator"
        try:
            if answer.status >= 400:
                return await self._error(ctx, answer)
            require_plain(answer)
            body = await read(answer)
            fault = embedded_fault(ctx.shape, body)
            if fault is not None:
                return self._fault(ctx, answer, fault, body)
            require_object(body)
            return self._whole(ctx, answer, translate_count(body, ctx.shape, ctx.dialect))
        finally:
            await answer.close()

    async def _error(self, ctx: RequestContext, answer: UpstreamAnswer) -> web.Response:
        """As it came when the client can read it so and it tells nothing of the operator's account; else translated."""
        assert ctx.dialect != "operator"
        body = await read_error(answer)
        plain = first(answer.headers, "content-encoding") is None
        if plain and passes(ctx.dialect, ctx.shape, body, status=answer.status):
            return self._whole(ctx, answer, body)
        return self._fault(ctx, answer, read_fault(ctx.shape, answer.status, answer.headers, body), body)

    def _fault(self, ctx: RequestContext, answer: UpstreamAnswer, fault: Fault, body: bytes) -> web.Response:
        """An error in other words; the upstream's own, which may name the operator's account, are for the log."""
        assert ctx.dialect != "operator"
        ctx.status, ctx.reason = fault.status, Reason.UPSTREAM_REFUSED
        said = body[:LOGGED_BYTES_MAX].decode(errors="replace")
        _log.warning("request %s: upstream %s answered %s: %s", ctx.id, ctx.upstream, answer.status, said)
        ctx.message = fault.message
        ctx.upstream_request_id = request_id_of(answer.headers)
        response = fault_response(fault, ctx.upstream_request_id or ctx.id, ctx.dialect)
        return _with_own_headers(response, ctx)

    async def _message(self, ctx: RequestContext, answer: UpstreamAnswer, tap: Tap) -> web.Response:
        body = await self._read_body(ctx, answer, tap)
        fault = _observed(ctx, body, tap)
        if fault is not None:
            return self._fault(ctx, answer, fault, body)
        require_form(ctx, stream=False)
        denials: dict[str, Denial] = {}
        for call in gate_message(body):
            denial = await self._guards.tool_calls.decide(ctx, call)
            if denial is not None:
                denials[call.id] = denial
        await self._guards.controls.clear(ctx)
        self._guards.require_first(ctx)
        self._guards.passed(ctx)
        body = rewrite_message(body, denials, form=_form(ctx)) if denials else body
        renamed = _renamed(ctx)
        return self._whole(ctx, answer, body if renamed is None else rename_model(body, renamed))

    async def _read_body(self, ctx: RequestContext, answer: UpstreamAnswer, tap: Tap) -> bytes:
        kept = Kept(answer)
        try:
            return await read(kept)
        except asyncio.CancelledError:
            if not self._is_stopped(ctx):
                self._drain(ctx, partial(_read_message, ctx, kept, tap), answer.close)
            raise

    def _whole(self, ctx: RequestContext, answer: UpstreamAnswer, body: bytes) -> web.Response:
        ctx.bytes_out = len(body)
        ctx.first_byte_seconds = self._clock.monotonic() - ctx.received_monotonic
        return _with_headers(web.Response(status=answer.status, body=body), ctx, answer)

    async def _stream(
        self, request: web.Request, ctx: RequestContext, answer: UpstreamAnswer, tap: Tap
    ) -> web.StreamResponse:
        response, stream = self._open(ctx, answer, tap)
        self._guards.require_first(ctx)
        try:
            await response.prepare(request)
            request[BEGUN] = response
            await stream.run(ctx)
            await response.write_eof()
            if tap.error is not None:
                ctx.reason = Reason.UPSTREAM_BROKE
                ctx.message = "the upstream ended its answer with an error ({}: {})".format(*tap.error)
        except GatewayError as error:
            await _break_off(request, ctx, stream, error)
        except ConnectionError:
            await self._go_on_alone(ctx, stream)
            raise gone(ctx) from None
        except asyncio.CancelledError:
            stopped = self._guards.controls.absorb(ctx) if BEGUN in request else None
            if stopped is None:
                await self._go_on_alone(ctx, stream)
                raise
            await _break_off(request, ctx, stream, stopped)
        finally:
            stream.out.stop()
            if ctx.drain is None:
                await stream.answer.close()
        return response

    def _open(self, ctx: RequestContext, answer: UpstreamAnswer, tap: Tap) -> tuple[web.StreamResponse, Stream]:
        """The answer as a stream that nothing has been read of."""
        assert ctx.dialect != "operator"
        response = _with_headers(web.StreamResponse(status=answer.status), ctx, answer, stream=True)
        framing = build_framing(ctx.shape, ctx.dialect)
        gate = StreamGate(framing, tap, form=_form(ctx), rename=_renamed(ctx))
        out = Outlet(response, ctx, self._clock, self._tasks, Pings(ping(ctx.dialect), self._ping_seconds))
        ahead, silent = Ahead(answer, self._tasks), ctx.shape == "bedrock" != ctx.dialect
        return response, Stream(gate, tap, ahead, out, self._guards, silent=silent)

    async def _go_on_alone(self, ctx: RequestContext, stream: Stream) -> None:
        """The upstream goes on and bills: read its answer to the usage, unless it is to stop as well."""
        if ctx.cut:
            return
        if self._is_stopped(ctx):
            await stream.break_off()
        else:
            self._drain(ctx, partial(stream.read_out, ctx), stream.answer.close)

    def _is_stopped(self, ctx: RequestContext) -> bool:
        """Is the answer wanted by nobody, so that its upstream is to stop as well?"""
        return ctx.bearer_run is not None or self._guards.controls.is_interrupted(ctx)


def _is_stream(ctx: RequestContext, answer: UpstreamAnswer) -> bool:
    """Is it one, and one that can be gated? Raises `GatewayError(UPSTREAM_BROKE)` for what cannot be read so."""
    require_plain(answer)
    kind = (first(answer.headers, "content-type") or "").lower()
    if not kind.startswith(STREAM_TYPES):
        return False
    require_form(ctx, stream=True)
    require_framing(ctx, kind)
    return True


def _observed(ctx: RequestContext, body: bytes, tap: Tap) -> Fault | None:
    """Show a whole answer to the tap, or tell that it is an error. Raises `GatewayError(UPSTREAM_BROKE)`."""
    fault = embedded_fault(ctx.shape, body)
    if fault is None:
        message = parse_message(body)
        require_message(message)
        tap.observe_message(message)
    return fault


async def _read_message(ctx: RequestContext, answer: UpstreamAnswer, tap: Tap) -> None:
    """A whole answer that nobody gets."""
    fault = _observed(ctx, await read(answer), tap)
    if fault is not None:
        ctx.status = fault.status


async def _break_off(request: web.Request, ctx: RequestContext, stream: Stream, error: GatewayError) -> None:
    """End a begun stream: as an error event after a whole block, else by cutting the connection.

    Clients try again what failed; a refusal they show and stop (measured with Claude Code).
    """
    ctx.reason, ctx.message = error.reason, error.message
    kind = "permission_error" if isinstance(error, Refused) else "api_error"

    async def end() -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                last_words = stream.gate.refusal(kind, error.message, error.reason)
                stream.out.stop_pings()
                await stream.out.flush()
                if last_words:
                    await request[BEGUN].write(last_words)
                    await request[BEGUN].write_eof()
                    return
        except (ConnectionError, TimeoutError):
            pass  # the client left as well, or reads nothing; the reason stays what it was
        if request.transport is not None:
            request.transport.abort()

    await stream.break_off(end())


def _is_claude_api(ctx: RequestContext) -> bool:
    """The upstream is no cloud, whose headers may name the operator's account."""
    place = ctx.places.get(ctx.upstream or "")
    return place is not None and place.backend == "anthropic"


def _form(ctx: RequestContext) -> DenialForm:
    return "text" if ctx.headers.get(DENIAL_FORM_HEADER) == "text" else "tool_use"


def _renamed(ctx: RequestContext) -> tuple[str, str] | None:
    """Upstream's and client's spelling of the model, when they differ."""
    assert ctx.ask is not None
    if ctx.upstream_model is None or ctx.upstream_model in (ctx.model, ctx.ask.model):
        return None
    return ctx.upstream_model, ctx.model


def _with_headers(response: R, ctx: RequestContext, answer: UpstreamAnswer, *, stream: bool = False) -> R:
    assert ctx.dialect != "operator"
    ctx.upstream_request_id = request_id_of(answer.headers)
    if ctx.dialect == ctx.shape:
        kept = downstream_headers(answer.headers)
        if not _is_claude_api(ctx):
            kept = clean_headers(kept)
    else:
        kept = translated_headers(answer.headers, ctx.dialect, stream=stream)
    for name, value in kept:
        response.headers.add(name, value)
    if answer.status < 400:
        response.headers.update(success_headers(ctx.limits))
    return _with_own_headers(response, ctx)


def _with_own_headers(response: R, ctx: RequestContext) -> R:
    response.headers.setdefault(REQUEST_ID_HEADER, ctx.id)
    response.headers[DECISION_HEADER] = ctx.id
    if ctx.bridged:
        response.headers[BRIDGED_HEADER] = ", ".join(f"{change.feature}={change.action}" for change in ctx.bridged)
    if (ctx.closing is not None or ctx.gave_up) and ctx.reason is not None:
        response.headers[REASON_HEADER] = ctx.reason
    if ctx.gave_up:
        response.headers[SHOULD_RETRY_HEADER] = "false"
    return response
