"""One streamed answer on its way through the gate to its client, or to nobody once the client has left.

Output past what the hold is for needs a larger hold; when there is none, the answer ends as one that reached its
`max_tokens`, and the upstream's connection is closed. How far that reaches: beyond the hold are then the rest of the
read that passed it, what the upstream writes until it notices, and the rest of a block that means nothing in part
(thinking, a call that the upstream runs itself). Thinking that the upstream does not show is not seen before its usage.

Not here: headers, errors, whose drain is one too many.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from gateway.context import RequestContext
from gateway.core.denial import Denial
from gateway.core.gate import HeldCall, StreamGate
from gateway.core.messages import Tap
from gateway.errors import GatewayError, Reason
from gateway.ports import UpstreamAnswer
from gateway.toolcalls import ToolCalls
from gateway.web.outlet import Outlet

Cover = Callable[[RequestContext], Awaitable[bool]]
"""Holds for more output and raises `covered_chars`; False: nothing more may be spent on this answer."""
_UNHEARD = Denial(reason="the client left before the call was decided", decision="")


@dataclass(slots=True)
class Stream:
    """One streamed answer."""

    gate: StreamGate
    tap: Tap
    answer: UpstreamAnswer
    out: Outlet
    cover: Cover
    silent: bool
    """The upstream never pings, and the client is used to hearing something."""
    pieces: Iterator[bytes | HeldCall] = iter(())
    held: HeldCall | None = None
    exhausted: bool = False
    """Nothing more may be spent on it."""

    async def run(self, ctx: RequestContext, tool_calls: ToolCalls) -> None:
        """Write what passes; decide what is held before the next piece is looked at."""
        if self.silent:
            self.out.start_pings()
        async for chunk in self.answer.chunks():
            self.pieces = self.gate.feed(chunk)
            await self._pass(ctx, tool_calls)
            if self._is_past(ctx) and not await self._covers(ctx) and self.gate.can_finish:
                await self._cut(ctx)
                self.out.add(self.gate.finish())
                await self.out.flush()
                return
            await self.out.flush()
            if self.gate.holding:
                self.out.start_pings()
            elif not self.silent:
                self.out.stop_pings()
        self.pieces = self.gate.close()
        await self._pass(ctx, tool_calls)
        await self.out.flush()
        if not self.gate.ended:
            raise GatewayError(Reason.UPSTREAM_BROKE, "the upstream ended its answer in the middle; try again")

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

    async def read_out(self, ctx: RequestContext) -> None:
        """Go on without a client, as far as the money goes: the tap sees the rest, nothing is released."""
        self._discard()
        if self._is_past(ctx) and not await self._covers(ctx):
            return await self._cut(ctx)
        async for chunk in self.answer.chunks():
            self.pieces = self.gate.feed(chunk)
            self._discard()
            if self._is_past(ctx) and not await self._covers(ctx):
                return await self._cut(ctx)

    def _discard(self) -> None:
        if self.held is not None:
            self.gate.deny(self.held, _UNHEARD)
            self.held = None
        for piece in self.pieces:
            if isinstance(piece, HeldCall):
                self.gate.deny(piece, _UNHEARD)

    def _is_past(self, ctx: RequestContext) -> bool:
        """Is there more output than the hold is for?"""
        return ctx.covered_chars is not None and self.tap.output_chars > ctx.covered_chars

    async def _covers(self, ctx: RequestContext) -> bool:
        """Can it be held for? An answer that has told its usage needs nothing more."""
        if self.gate.concluded:
            return True
        if not self.exhausted:
            self.exhausted = not await self.cover(ctx)
        return not self.exhausted

    async def _cut(self, ctx: RequestContext) -> None:
        """Nothing more is read: the upstream stops, and stops billing, when its connection is closed."""
        ctx.cut = True
        await self.answer.close()
