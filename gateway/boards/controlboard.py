"""The controls of the running gateway: requests under way feel them at once, those to come find them standing.

A stop interrupts the task that serves the request, wherever it waits (for a place, for money, for an upstream, for an
approval), and shows as `Refused(STOPPED)` there: see `Flight`. A hold interrupts nothing; who is about to pass
something on asks first, by `clear`. The rules are `core/oversight/controls.py`; what a stream does meanwhile is
`web/stream.py`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

import msgspec

from gateway.context import RequestContext
from gateway.core.oversight.controls import ControlRecord, Controls, Order, changed, message, targets_of
from gateway.errors import Reason, Refused
from gateway.ports import Clock, SharedRecord, SharedRecords

HOLD_WAIT_SECONDS_MAX = 240.0
"""Longest wait of a held request that was not answered yet; Claude Code was measured to wait 330 s for headers."""
KEEP_SECONDS_MAX = 0.5
"""Longest wait of a stop or a hold for the store."""
HELD_RETRY_SECONDS = 30
"""After that it is told to come again; Claude Code was measured to do so by itself up to 60 s, ten times."""

_log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(ControlRecord).decode
_encode = msgspec.json.Encoder().encode


class Unkept(NamedTuple):
    """An order that the store does not know yet."""

    order: Order
    at_ms: int


class Flight:
    """One request under way, as a context manager around all that is done for it in its task.

    When a stop interrupts it, it ends with `Refused(STOPPED)`; a client that leaves at the same time comes first.
    """

    __slots__ = ("_board", "_cancels", "_id", "_pending", "_task", "_waker", "interrupted", "standing", "targets")

    def __init__(self, board: "ControlBoard", id: str) -> None:
        self._board = board
        self._id = id
        self._task: asyncio.Task[object] | None = None
        self._cancels = 0
        self._pending = False
        """Its cancellation was not taken back yet."""
        self._waker: asyncio.Future[None] | None = None
        self.interrupted: ControlRecord | None = None
        """The stop that cancelled the task."""
        self.standing: ControlRecord | None = None
        self.targets: Sequence[str] = ()

    def __enter__(self) -> "Flight":
        task = self._task = asyncio.current_task()
        self._cancels = 0 if task is None else task.cancelling()
        self._board.enter(self._id, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.leave(self._id, self)
        if self._pending:
            refusal = self.absorb()
            if refusal is not None and kind is asyncio.CancelledError:
                raise refusal from None

    def judge(self, standing: ControlRecord | None) -> None:
        """Another control stands, or none does."""
        self.standing = standing
        if standing is None:
            if self._waker is not None and not self._waker.done():
                self._waker.set_result(None)
        elif standing.state == "stopped" and self.interrupted is None and self._task is not None:
            self.interrupted, self._pending = standing, True
            self._task.cancel()

    def absorb(self) -> Refused | None:
        """Take the interruption back, once, and tell its cause; None: there is none, or the client has left as well."""
        if not self._pending or self._task is None or self.interrupted is None:
            return None
        self._pending = False
        return _stopped(self.interrupted) if self._task.uncancel() <= self._cancels else None

    async def clear(self, timeout_seconds: float | None) -> None:
        """Return once nothing stands. Raises `Refused`: STOPPED, or HELD when it took too long."""
        while self.standing is not None:
            if self.standing.state == "stopped":
                raise _stopped(self.standing)
            if self._waker is None or self._waker.done():
                self._waker = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._waker], timeout=timeout_seconds)
            if not self._waker.done():
                raise Refused(Reason.HELD, message(self.standing), {"retry-after": str(HELD_RETRY_SECONDS)})


class ControlBoard:
    """All controls, and the requests under way that they apply to. Used on one event loop."""

    def __init__(
        self,
        records: SharedRecords,
        recorded: Callable[[ControlRecord], None],
        clock: Clock,
        *,
        hold_wait_seconds: float = HOLD_WAIT_SECONDS_MAX,
    ) -> None:
        """`recorded` is told what a person changed on this gateway."""
        self._records = records
        self._recorded = recorded
        self._clock = clock
        self._hold_wait_seconds = hold_wait_seconds
        self._controls = Controls()
        self._unkept: dict[str, Unkept] = {}
        """By target: what holds here and is to be said to the store again."""
        self._flights: dict[str, Flight] = {}
        self._by_target: dict[str, dict[str, Flight]] = {}

    def standing(self) -> list[ControlRecord]:
        """The controls that stop or hold, the latest first."""
        return self._controls.standing()

    def in_flight(self, target: str) -> int:
        """Requests of a target that are under way on this gateway."""
        return len(self._by_target.get(target, ()))

    # --- what a person says

    async def change(self, order: Order) -> ControlRecord:
        """Stop, hold or release a target, on every gateway; this one knows it when it returns.

        Stop and hold are felt here also when they cannot be kept in time; they are kept later. Raises
        `ControlRefused`; for a release also `Refused(STORE_UNAVAILABLE)`.
        """
        self._controls.require_room(order)
        target, now_ms = order.target, self._clock.unix_ms()

        def change(text: bytes | None) -> bytes:
            return _encode(changed(None if text is None else _decode(text), order, now_ms))

        try:
            async with asyncio.timeout(None if order.action == "release" else KEEP_SECONDS_MAX):
                await self._repeat(target)
                text = await self._records.change_record("control", target, change)
            assert text is not None
            record = _decode(text)
        except (Refused, TimeoutError):
            if order.action == "release":
                raise
            record = changed(self._controls.find(target), order, now_ms)
            self._unkept[target] = Unkept(order, now_ms)
        self._recorded(record)
        self._apply(record)
        await self._forget_oldest()
        return record

    async def keep(self) -> None:
        """Say to the store again what it did not take. Call it every few moments, and at the end."""
        for target in tuple(self._unkept):
            try:
                await self._repeat(target)
            except Refused:
                return
            except msgspec.MsgspecError as error:
                _log.error("the control of %s in the store cannot be read (%s), and stays as it is", target, error)
                self._unkept.pop(target, None)

    async def _repeat(self, target: str) -> None:
        """Another gateway may have spoken meanwhile: what was said here follows that, but loosens no stop."""
        unkept = self._unkept.get(target)
        if unkept is None:
            return
        order, at_ms = unkept

        def change(text: bytes | None) -> bytes:
            known = None if text is None else _decode(text)
            if known is not None and (known.state, order.action) == ("stopped", "hold"):
                return _encode(known)
            return _encode(changed(known, order, at_ms))

        text = await self._records.change_record("control", target, change)
        if self._unkept.get(target) is unkept and text is not None:
            del self._unkept[target]
            self._controls.forget(target)  # its serial was a guess
            self._apply(_decode(text))

    def learn(self, records: Iterable[SharedRecord]) -> None:
        """Take over what the store holds at start, and later what other gateways wrote."""
        for kind, target, text in records:
            if kind != "control" or target in self._unkept:
                continue
            if text is None:
                self._controls.forget(target)
                self._judge(target)
                continue
            try:
                self._apply(_decode(text))
            except msgspec.MsgspecError as error:
                _log.error("the control of %s cannot be read (%s); say it anew with this version", target, error)

    # --- requests

    def flight(self, ctx: RequestContext) -> Flight:
        """The context manager that all work for a request stands in; `require_free` tells whose request it is."""
        return Flight(self, ctx.id)

    async def require_free(self, ctx: RequestContext) -> None:
        """Let a new request through unless its agent, session, user, team or everything is stopped or held.

        Waits while it is held. Raises `Refused` (STOPPED, HELD).
        """
        flight = self._flights.get(ctx.id)
        if flight is None:
            with self.flight(ctx):
                return await self.require_free(ctx)
        self._join(ctx, flight)
        if flight.standing is not None:
            await flight.clear(self._patience_seconds(ctx))

    def require_unstopped(self, ctx: RequestContext) -> None:
        """Raises `Refused(STOPPED)`. Of a request that goes on without its client: from now on a stop ends it too."""
        flight = self._flights.get(ctx.id)
        if flight is None:
            return
        if not flight.targets:
            self._join(ctx, flight)
        if flight.standing is not None and flight.standing.state == "stopped":
            raise _stopped(flight.standing)

    async def require_still_free(self, ctx: RequestContext) -> None:
        """As `require_free`, once more before the request is sent: much may have been said while it waited."""
        flight = self._flights.get(ctx.id)
        if flight is not None and flight.standing is not None:
            await flight.clear(self._patience_seconds(ctx))

    def is_held(self, ctx: RequestContext) -> bool:
        """May nothing be passed on now?"""
        flight = self._flights.get(ctx.id)
        return flight is not None and flight.standing is not None

    async def clear(self, ctx: RequestContext) -> None:
        """Return once what has been answered may be passed on. Raises `Refused` (STOPPED, HELD).

        Only a stream, whose client hears pings, waits for as long as it takes.
        """
        flight = self._flights.get(ctx.id)
        if flight is not None and flight.standing is not None:
            streams = ctx.ask is not None and ctx.ask.stream
            await flight.clear(None if streams else self._hold_wait_seconds)

    def is_interrupted(self, ctx: RequestContext) -> bool:
        """Was the request stopped while it was under way?"""
        flight = self._flights.get(ctx.id)
        return flight is not None and flight.interrupted is not None

    def absorb(self, ctx: RequestContext) -> Refused | None:
        """Of a cancellation: take it back and tell the client so, when it was a stop; None: it was not (only) that."""
        flight = self._flights.get(ctx.id)
        return None if flight is None else flight.absorb()

    def enter(self, id: str, flight: Flight) -> None:
        """A request has begun."""
        self._flights[id] = flight

    def leave(self, id: str, flight: Flight) -> None:
        """It has ended."""
        del self._flights[id]
        for target in flight.targets:
            there = self._by_target[target]
            del there[id]
            if not there:
                del self._by_target[target]

    def _patience_seconds(self, ctx: RequestContext) -> float:
        """How long an unsent request waits. Agents of runs come again by themselves, and take silence for a fault."""
        return self._hold_wait_seconds if ctx.bearer_run is None else 0.0

    def _join(self, ctx: RequestContext, flight: Flight) -> None:
        """From now on the controls of its targets are felt by the request."""
        assert ctx.principal is not None and ctx.agent is not None
        run = None if ctx.lineage is None else ctx.lineage.run
        flight.targets = targets_of(ctx.principal, ctx.agent, run)
        for target in flight.targets:
            there = self._by_target.get(target)
            if there is None:
                self._by_target[target] = {ctx.id: flight}
            else:
                there[ctx.id] = flight
        if self._controls:
            flight.standing = self._controls.strictest(flight.targets)

    def _apply(self, record: ControlRecord) -> None:
        if self._controls.learn(record):
            self._judge(record.target)

    def _judge(self, target: str) -> None:
        for flight in tuple(self._by_target.get(target, {}).values()):
            flight.judge(self._controls.strictest(flight.targets))

    async def _forget_oldest(self) -> None:
        """Keep no more released targets than are worth it, here and in the store."""
        outdated = self._controls.outdated()
        if outdated is not None:
            self._controls.forget(outdated)
            with contextlib.suppress(Refused):
                await self._records.change_record("control", outdated, lambda _: None)


def _stopped(standing: ControlRecord) -> Refused:
    return Refused(Reason.STOPPED, message(standing))
