"""One streamed answer on its way through the gate to its client, or to nobody once the client has left.

Output past what the hold is for needs a larger hold; when there is none, the answer ends as one that reached its
`max_tokens`, and the upstream's connection is closed. How far that reaches: beyond the hold are then the rest of the
read that passed it, what the upstream writes until it notices, and the rest of a block that means nothing in part
(thinking, a call that the upstream runs itself). Thinking that the upstream does not show is not seen before its usage.

While a person holds the agent nothing is passed on but pings, and no call is decided; what the upstream goes on to
write is read ahead within bounds, and is neither seen nor paid for before it is passed on.

Not here: headers, errors, whose drain is one too many.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from gateway.boards.controlboard import ControlBoard
from gateway.context import RequestContext
from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import HeldCall, StreamGate
from gateway.core.wire.messages import Tap
from gateway.errors import GatewayError, Reason
from gateway.toolcalls import ToolCalls
from gateway.web.ahead import Ahead
from gateway.web.outlet import Outlet

Cover = Callable[[RequestContext], Awaitable[bool]]
"""Holds for more output and raises `covered_chars`; False: nothing more may be spent on this answer."""
MayBegin = Callable[[RequestContext], None]
"""May an agent that has had no output yet be given some? Raises `Refused`."""
_UNHEARD = Denial(reason="the client left before the call was decided", decision="")


@dataclass(frozen=True, slots=True)
class Guards:
    """What an answer has to get past on its way to the client."""

    tool_calls: ToolCalls
    controls: ControlBoard
    cover: Cover
    may_begin: MayBegin

    def require_first(self, ctx: RequestContext) -> None:
        """No agent gets its first output that may not begin. Words of our own that end its turn are none."""
        assert ctx.agent is not None
        if not ctx.agent.first_token and ctx.closing is None:
            self.may_begin(ctx)

    def passed(self, ctx: RequestContext) -> None:
        """Something of the answer was passed on."""
        assert ctx.agent is not None and ctx.tap is not None
        if not ctx.agent.first_token and ctx.tap.output_chars and ctx.closing is None:
            ctx.agent.first_token = True


@dataclass(slots=True)
class Stream:
    """One streamed answer."""

    gate: StreamGate
    tap: Tap
    answer: Ahead
    out: Outlet
    guards: Guards
    silent: bool
    """The upstream never pings, and the client is used to hearing something."""
    pieces: Iterator[bytes | HeldCall] = iter(())
    held: HeldCall | None = None
    exhausted: bool = False
    """Nothing more may be spent on it."""

    async def run(self, ctx: RequestContext) -> None:
        """Write what passes; decide what is held before the next piece is looked at.

        Raises `Refused` of the agent's first output, and when it was stopped while it was held.
        """
        if self.silent:
            self.out.start_pings()
        async for chunk in self.answer.chunks():
            self.pieces = self.gate.feed(chunk)
            await self._clear(ctx)
            self.guards.require_first(ctx)
            await self._pass(ctx)
            self.guards.passed(ctx)
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
        await self._clear(ctx)
        self.pieces = self.gate.close()
        await self._pass(ctx)
        await self.out.flush()
        if not self.gate.ended:
            raise GatewayError(Reason.UPSTREAM_BROKE, "the upstream ended its answer in the middle; try again")

    async def _pass(self, ctx: RequestContext) -> None:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                self.out.add(piece)
                continue
            await self._clear(ctx)
            self.held = piece
            self.out.start_pings()
            self.answer.wait()
            try:
                denial = await self.guards.tool_calls.decide(ctx, piece)
            finally:
                self.answer.go_on()
            await self._clear(ctx)
            self.held = None
            self.out.add(self.gate.release(piece) if denial is None else self.gate.deny(piece, denial))

    async def _clear(self, ctx: RequestContext) -> None:
        """Wait while a person holds the agent."""
        if not self.guards.controls.is_held(ctx):
            return
        self.out.start_pings()
        self.answer.wait()
        try:
            await self.guards.controls.clear(ctx)
        finally:
            self.answer.go_on()

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

    async def break_off(self, ending: Awaitable[None] | None = None) -> None:
        """Read nothing more. The tap sees what had come by then, once the client has got its `ending`."""
        await self.answer.close()
        if ending is not None:
            await ending
        with contextlib.suppress(GatewayError):
            self._discard()
            for chunk in self.answer.taken():
                self.pieces = self.gate.feed(chunk)
                self._discard()

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
            self.exhausted = not await self.guards.cover(ctx)
        return not self.exhausted

    async def _cut(self, ctx: RequestContext) -> None:
        """Nothing more is read: the upstream stops, and stops billing, when its connection is closed."""
        ctx.cut = True
        await self.answer.close()
