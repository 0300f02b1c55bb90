"""THE request path: admit, reserve, forward, relay, settle. Read `serve` aloud.

Each step is one object: `admission.py`, `accounting.py`, `forwarding.py`, `web/relay.py`. Knows the world only through
`ports.py`; HTTP towards the client is `web/`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gateway.accounting import Accounting
from gateway.admission import Admission
from gateway.context import RequestContext
from gateway.core.lineage import AgentNode
from gateway.core.prices import ModelRow
from gateway.core.routing import select_route
from gateway.errors import GatewayError, Reason
from gateway.forwarding import Attempting, Forwarding
from gateway.ports import AuditSink, Clock, LineageStore, Telemetry, UpstreamAnswer
from gateway.tasks import Tasks

T = TypeVar("T")
Relay = Callable[[RequestContext, UpstreamAnswer], Awaitable[T]]
Left = Callable[[RequestContext, "asyncio.Task[UpstreamAnswer]"], None]
"""Takes over an attempt whose client left before it was answered: sets `drain` of the context."""


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
            await self.admission.admit(ctx)
            self.forwarding.plan(ctx)
            await self.accounting.reserve(ctx)
            return await relay(ctx, await self.forwarding.forward(ctx, self.accounting.hold_again, carry=carry))
        except BaseException as error:
            note_failure(ctx, error)
            raise
        finally:
            self.settle(ctx)

    async def serve_free(self, ctx: RequestContext, relay: Relay[T]) -> T:
        """A request that costs nothing (count_tokens): decided and forwarded, neither held nor counted."""
        try:
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
        tokens = ctx.usage.tokens if ctx.usage is not None else None
        for used in node.counters:
            used.cost_nanousd += ctx.cost_nanousd
            if tokens is not None:
                used.output_tokens += tokens.output
                used.total_tokens += tokens.total
        node.end(self.clock.unix_ms(), owes_tool_result=any(call.allowed for call in ctx.tool_calls))
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
        ctx.reason = Reason.CLIENT_GONE
