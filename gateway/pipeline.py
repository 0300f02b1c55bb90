"""THE request path: admit, reserve, forward, relay, settle. Read `serve` aloud.

While it runs a person may stop or hold it (`boards/controlboard.py`): then nothing more is sent or passed on.

Each step is one object: `admission.py`, `accounting.py`, `forwarding.py`, `web/relay.py`. Knows the world only through
`ports.py`; HTTP towards the client is `web/`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gateway.accounting import Accounting
from gateway.admission import Admission
from gateway.boards.controlboard import ControlBoard
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode
from gateway.core.gate.closing import closing_message
from gateway.core.money.nearing import nearing
from gateway.core.money.prices import ModelRow
from gateway.core.routes.routing import select_route
from gateway.errors import GatewayError, Reason
from gateway.forwarding import Attempting, Forwarding
from gateway.ports import AuditSink, Clock, LineageStore, Telemetry, UpstreamAnswer
from gateway.tasks import Tasks

T = TypeVar("T")
Relay = Callable[[RequestContext, UpstreamAnswer], Awaitable[T]]
Left = Callable[[RequestContext, "asyncio.Task[UpstreamAnswer]"], None]
"""Takes over an attempt whose client left before it was answered: sets `drain` of the context."""


class Written:
    """An answer of our own, in the shape of the Claude API's."""

    status = 200

    def __init__(self, body: bytes, *, stream: bool) -> None:
        self._body = body
        self.headers = (("content-type", "text/event-stream" if stream else "application/json"),)

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it."""
        yield self._body

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class Records:
    """Where it is written down."""

    agents: LineageStore
    audit: AuditSink
    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Takes every model request from its body to its settled cost."""

    admission: Admission
    controls: ControlBoard
    accounting: Accounting
    forwarding: Forwarding
    records: Records
    clock: Clock
    tasks: Tasks

    async def serve(self, ctx: RequestContext, relay: Relay[T], left: Left) -> T:
        """One model request: nothing leaves before it is allowed and paid for; whatever happens, it is settled.

        What was sent is answered and billed also when the client does not wait for it, so it goes on without it.
        """

        def carry(attempt: Attempting) -> Awaitable[UpstreamAnswer]:
            return self.tasks.finish("send", attempt, partial(left, ctx))

        try:
            with self.controls.flight(ctx):
                await self.admission.admit(ctx)
                if ctx.closing is not None:
                    return await relay(ctx, _close(ctx, ctx.closing))
                self.forwarding.plan(ctx)
                await self.accounting.reserve(ctx)
                _warn(ctx)
                await self.controls.require_still_free(ctx)
                return await relay(ctx, await self.forwarding.forward(ctx, self.accounting.hold_again, carry=carry))
        except BaseException as error:
            note_failure(ctx, error)
            raise
        finally:
            self.settle(ctx)

    async def serve_free(self, ctx: RequestContext, relay: Relay[T]) -> T:
        """A request that costs nothing (count_tokens): decided and forwarded, neither held nor counted."""
        try:
            with self.controls.flight(ctx):
                await self.admission.admit_uncounted(ctx)
                self.forwarding.plan(ctx)
                return await relay(ctx, await self.forwarding.forward(ctx, self.accounting.hold_again, carry=_here))
        except BaseException as error:
            note_failure(ctx, error)
            raise

    async def usable_models(self, ctx: RequestContext) -> list[ModelRow]:
        """Models of the price table that are routed and that policy lets this principal ask."""
        assert ctx.principal is not None
        routes, models = self.forwarding.routes, self.accounting.prices.models()
        routed = [row for row in models if select_route(routes, row.id, ctx.principal) is not None]
        return [row for row in routed if await self.admission.may_ask(ctx, row.id)]

    def settle(self, ctx: RequestContext) -> None:
        """End the hold exactly once and bring the meters up to date; when the client left first, after the rest."""
        if ctx.drain is not None:
            ctx.drained_later = True
            self.tasks.spawn("drain", self._settle_drained(ctx, ctx.drain))
            return
        self._settle_now(ctx)

    async def _settle_drained(self, ctx: RequestContext, drain: Callable[[], Awaitable[None]]) -> None:
        try:
            await drain()
        finally:
            ctx.reason = Reason.CLIENT_GONE  # an attempt that went on wrote its own
            self._settle_now(ctx)
            self.record(ctx)

    def _settle_now(self, ctx: RequestContext) -> None:
        self.accounting.settle(ctx)
        if ctx.agent is not None and ctx.began:
            self._count(ctx, ctx.agent)

    def _count(self, ctx: RequestContext, node: AgentNode) -> None:
        """A side request leaves what its agent owes, and how long its prompt is, as they were."""
        tokens = ctx.usage.tokens if ctx.usage is not None else None
        now = self.clock.unix_ms()
        for used in node.counters:
            used.cost_nanousd += ctx.cost_nanousd
            used.stream_ms += now - ctx.received_unix_ms if ctx.dispatched else 0
            if tokens is not None:
                used.output_tokens += tokens.output
                used.total_tokens += tokens.total
        owes = any(call.allowed for call in ctx.tool_calls)
        if ctx.side is not None:
            owes = node.owes_tool_result
        elif tokens is not None and tokens.prompt:
            node.measure_prompt(tokens.prompt)
        node.end(now, owes_tool_result=owes)
        self.records.agents.save_agent(node.record())

    def begin(self) -> None:
        """A request has come in."""
        self.records.telemetry.request_started()

    def record(self, ctx: RequestContext) -> None:
        """One audit line and the metrics of a request that has ended."""
        ctx.total_seconds = self.clock.monotonic() - ctx.received_monotonic
        ctx.reason = ctx.reason or Reason.COMPLETED
        self.records.audit.request(ctx)
        self.records.telemetry.request_ended(ctx)


def _close(ctx: RequestContext, text: str) -> UpstreamAnswer:
    """The answer that ends the turn with these words; nobody is asked for it."""
    assert ctx.ask is not None
    stream = ctx.ask.stream
    ctx.shape, ctx.status = "anthropic", 200
    return Written(closing_message(ctx.id, ctx.ask.model, text, stream=stream), stream=stream)


def _warn(ctx: RequestContext) -> None:
    """The agent is told in its next request when money for its own work runs low."""
    assert ctx.agent is not None
    for text in nearing(ctx.limits):
        if text not in ctx.agent.to_say:
            ctx.agent.to_say.append(text)


def _here(attempt: Attempting) -> Attempting:
    """Awaited by whoever asked, and cancelled with it."""
    return attempt


def note_failure(ctx: RequestContext, error: BaseException) -> None:
    """Keep why the request ended, for its record."""
    if isinstance(error, GatewayError):
        ctx.reason, ctx.message = error.reason, error.message
    elif isinstance(error, Exception):
        ctx.reason = ctx.reason or Reason.INTERNAL
    else:
        end = gone(ctx)
        ctx.reason, ctx.message = end.reason, end.message


def gone(ctx: RequestContext) -> GatewayError:
    """How a request ends whose client did not wait for its answer. Of a run's agent that is no accident."""
    if ctx.bearer_run is None:
        return GatewayError(Reason.CLIENT_GONE, "the client left before it was answered in full")
    why = "its agent was stopped or restarted, or reached a limit of its call; the journal of the run says which"
    return GatewayError(Reason.STOPPED, f"run {ctx.bearer_run} ended this request: {why}")
