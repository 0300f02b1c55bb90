"""A forwarding over fake upstreams, and requests to send by it. No test lives here."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.config.model import BreakerConfig, UpstreamConfig
from gateway.context import RequestContext
from gateway.core.bridging.support import Support
from gateway.core.routes.routing import Route
from gateway.core.wire.body import peek
from gateway.core.wire.shapes import Asked, Shape
from gateway.errors import GatewayError, Reason
from gateway.forwarding import Carry, Forwarding, Target
from gateway.ports import UpstreamAnswer, UpstreamRequest
from gateway.slots import Slots
from gateway.switchboard import Switchboard
from tests.gateway.test_accounting import PRICES
from tests.gateway.test_toolcalls import Bench
from tests.support.capabilities import support
from tests.support.clock import FakeClock
from tests.support.gateway import request_body

OPUS = "claude-opus-5-5"
SHAPES: dict[str, Shape] = {"anthropic": "anthropic", "bedrock": "bedrock", "vertex": "vertex"}


@dataclass
class FakeAnswer:
    """An answer that has begun; `stalls` keeps its body from ending."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b"{}"
    breaks: bool = False
    stalls: bool = False
    closed: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body
        if self.breaks:
            raise GatewayError(Reason.UPSTREAM_BROKE, "broke")
        if self.stalls:
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


@dataclass
class FakeUpstream:
    """Gives its answers in turn, then successes. An event among them is waited for before the one that follows."""

    id: str
    backend: str = "anthropic"
    answers: list[FakeAnswer | GatewayError | asyncio.Event] = field(
        default_factory=list[FakeAnswer | GatewayError | asyncio.Event]
    )
    received: list[UpstreamRequest] = field(default_factory=list[UpstreamRequest])

    @property
    def shape(self) -> Shape:
        return SHAPES[self.backend]

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        self.received.append(request)
        answer = self.answers.pop(0) if self.answers else FakeAnswer()
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = self.answers.pop(0) if self.answers else FakeAnswer()
            assert not isinstance(answer, asyncio.Event)
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def close(self) -> None: ...


@dataclass
class Desk:
    """A forwarding over fake upstreams; `main` and `spare` unless others are named."""

    upstreams: dict[str, FakeUpstream]
    forwarding: Forwarding
    clock: FakeClock
    held_again: list[str]
    """Upstream that had failed, each time that money was held anew."""

    def __getitem__(self, upstream: str) -> FakeUpstream:
        return self.upstreams[upstream]

    async def forward(self, ctx: RequestContext, carry: Carry = lambda attempt: attempt) -> UpstreamAnswer:
        async def hold_again(ctx: RequestContext) -> None:
            self.held_again.append(ctx.attempts[-1].upstream)

        self.forwarding.plan(ctx)
        return await self.forwarding.forward(ctx, hold_again, carry=carry)

    async def fail(self, ctx: RequestContext) -> GatewayError:
        """Forward, and expect an error of ours."""
        with pytest.raises(GatewayError) as raised:
            await self.forward(ctx)
        return raised.value

    def in_use(self) -> list[int]:
        return [view.in_use for view in self.forwarding.board.views()]

    def sent(self) -> list[int]:
        """Requests that each upstream got."""
        return [len(each.received) for each in self.upstreams.values()]


def desk(
    *upstreams: FakeUpstream,
    routes: Sequence[Route] = (),
    failures: int = 100,
    error_seconds: float = 10.0,
    **target: Any,
) -> Desk:
    """`target`: fields of every target; `concurrent_max` makes their places, `supports` overrides by upstream."""
    chosen = upstreams or (FakeUpstream("main"), FakeUpstream("spare"))
    clock = FakeClock()
    breaker = BreakerConfig(failures=failures, open_seconds=10)
    slots = {each.id: Slots(target.get("concurrent_max")) for each in chosen}
    supports: dict[str, Support] = target.pop("supports", {})
    target.pop("concurrent_max", None)
    targets = {
        each.id: Target(each, supports.get(each.id) or support(each.backend), slots[each.id], **target)
        for each in chosen
    }
    board = Switchboard([UpstreamConfig(each.id, each.backend, breaker=breaker) for each in chosen], slots, clock)
    everyone = Route(("*",), tuple(each.id for each in chosen))
    forwarding = Forwarding(routes or [everyone], targets, board, PRICES.catalogue, clock, error_seconds)
    return Desk({each.id: each for each in chosen}, forwarding, clock, [])


def asking(ctx: RequestContext | None = None, **fields: Any) -> RequestContext:
    """A request that was admitted; with `ctx`, another one of its agent."""
    asked = Bench().ctx
    asked.headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    asked.body = request_body(**fields)
    asked.ask = peek(asked.body)
    asked.model = PRICES.catalogue.canonical(asked.ask.model)
    if ctx is not None:
        asked.agent = ctx.agent
    return asked


def speaking_bedrock(model: str) -> RequestContext:
    """The same of a client of the Bedrock dialect."""
    ctx = asking()
    ctx.dialect, ctx.path = "bedrock", f"/model/{model}/invoke"
    ctx.body = b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
    ctx.asked = Asked("messages", model, stream=False)
    ctx.ask = peek(ctx.body, ctx.asked)
    ctx.model = PRICES.catalogue.canonical(model)
    return ctx


def attempts(ctx: RequestContext) -> list[tuple[str, int | None, str]]:
    return [(each.upstream, each.status, each.reason) for each in ctx.attempts]
