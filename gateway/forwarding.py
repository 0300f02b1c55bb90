"""To an upstream of the request's route: chosen, bridged, translated, sent; to the next one when it fails. One step.

Fails over only before anything was relayed, and only where another upstream may do better: no connection, no answer,
or a status that says so. A request that may have been billed before it failed is held for anew before the next attempt.
"""

import asyncio
import email.utils
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import msgspec

from gateway.context import Attempt, RequestContext
from gateway.contract import SHOULD_RETRY_HEADER
from gateway.core.bridging import Bridgeable, Bridged, bridge
from gateway.core.bridging.capabilities import VERSION_FEATURE, Support
from gateway.core.bridging.translate import Outgoing, translate, translate_count
from gateway.core.estimates.counting import count_body
from gateway.core.routes.places import Place
from gateway.core.routes.routing import Route, select_route
from gateway.core.wire.headers import first, upstream_headers
from gateway.core.wire.names import Catalogue
from gateway.core.wire.shapes import NEW_VERSION, OLD_VERSION, Asked, Change, Shape
from gateway.errors import GatewayError, Reason, Refused, Unsendable
from gateway.ports import Clock, Upstream, UpstreamAnswer, UpstreamRequest
from gateway.slots import Slots
from gateway.switchboard import Switchboard

ERROR_BYTES_MAX = 1024 * 1024
"""Most that is kept of an error answer."""
ERROR_SECONDS_MAX = 10.0
"""Longest wait for the rest of an error answer: somebody else could be answering meanwhile."""
PLACES_REMEMBERED_MAX = 1024
"""Distinct models, as clients spell them, whose upstreams' names for them are remembered."""
COUNT_SECONDS = 5.0
"""Longest wait for a token count: what it would tell is bounded otherwise too."""
_TRIED_ELSEWHERE = frozenset({408, 409, 429})
_MAYBE_BILLED = frozenset({Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_BROKE})
_SENT = _MAYBE_BILLED | {Reason.UPSTREAM_UNREACHABLE}
_NOT_FOR_THIS_ONE = frozenset({Reason.CAPABILITY_MISSING, Reason.BODY_MALFORMED, Reason.BODY_TOO_LARGE})
"""What keeps a request from an upstream though there is nothing wrong with it."""


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_count = msgspec.json.Decoder(_Count)

HoldAgain = Callable[[RequestContext], Awaitable[None]]
Attempting = Coroutine[Any, Any, UpstreamAnswer]
Carry = Callable[[Attempting], Awaitable[UpstreamAnswer]]
"""Awaits an attempt, and decides what becomes of it when whoever waits for it is cancelled."""


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream, and what must be known to speak to it."""

    upstream: Upstream
    support: Support
    slots: Slots
    queue_seconds: float = 30.0
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """Configured names of models here."""
    profile: str | None = None
    region: str | None = None
    multiplier: int | None = None
    counts: bool = False
    """May be asked how long a prompt is."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Sends requests to upstreams."""

    routes: Sequence[Route]
    targets: Mapping[str, Target]
    board: Switchboard
    catalogue: Catalogue
    clock: Clock
    error_seconds: float = ERROR_SECONDS_MAX
    _places: dict[tuple[str, str, str], tuple[Route, Mapping[str, Place]]] = field(
        default_factory=dict[tuple[str, str, str], tuple[Route, Mapping[str, Place]]]
    )

    def plan(self, ctx: RequestContext) -> None:
        """Find the route, and what the model is called by each of its upstreams. Raises `Refused(MODEL_UNROUTED)`."""
        assert ctx.principal is not None and ctx.ask is not None
        route = select_route(self.routes, ctx.model, ctx.principal)
        if route is None:
            message = f"no route serves model {ctx.model}; GET /v1/models lists those that are served"
            raise Refused(Reason.MODEL_UNROUTED, message)
        ctx.route = route
        key = (ctx.dialect, ctx.ask.model, ctx.model)
        known = self._places.get(key)
        if known is None or known[0] is not route:
            if len(self._places) >= PLACES_REMEMBERED_MAX:
                self._places.clear()
            known = self._places[key] = (route, {each: self._place(ctx, each) for each in route.upstreams})
        ctx.places = known[1]

    def takes(self, feature: str, ctx: RequestContext) -> bool:
        """Has every upstream that the model may go to this feature for it?"""
        assert ctx.principal is not None
        route = select_route(self.routes, ctx.model, ctx.principal)
        return route is not None and all(self.targets[each].support.has(feature, ctx.model) for each in route.upstreams)

    async def forward(self, ctx: RequestContext, hold_again: HoldAgain, *, carry: Carry) -> UpstreamAnswer:
        """The first answer that stands: a success, or an error that another upstream would give as well.

        Raises `GatewayError`: what the last upstream failed with, CAPABILITY_MISSING, or UPSTREAMS_DOWN.
        """
        assert ctx.route is not None and ctx.agent is not None
        session = ctx.agent.session
        order = self.board.order(
            ctx.route, session=session.id, sticky=session.upstreams.get(ctx.model), model=ctx.model
        )
        refusals = _Refusals()
        for upstream_id in order:
            if refusals.maybe_billed:
                await hold_again(ctx)
            try:
                answer = await self._try(ctx, upstream_id, carry)
            except GatewayError as error:
                refusals.add_error(error)
                continue
            if not _is_tried_elsewhere(answer.status):
                if answer.status < 400:
                    session.upstreams[ctx.model] = upstream_id
                return answer
            refusals.add_answer(await _kept(answer, self.error_seconds), ctx)
        return self._give_up(ctx, refusals, all_asked=len(order) == len(ctx.route.upstreams))

    async def count(self, ctx: RequestContext) -> int | None:
        """Tokens of the prompt as the first upstream of the route that may be asked counts them; None: none does."""
        assert ctx.ask is not None and ctx.route is not None and ctx.dialect != "operator"
        found = (self.targets[each] for each in ctx.route.upstreams)
        target = next((each for each in found if each.counts), None)
        if target is None:
            return None
        body, spans = count_body(ctx.body, ctx.ask.spans)
        ask = msgspec.structs.replace(ctx.ask, spans=spans, stream=False)
        asking = replace(ctx, body=body, ask=ask, asked=Asked("count_tokens", ctx.ask.model, stream=False), path="")
        try:
            request, _ = self._request(asking, target, ctx.places[target.upstream.id])
            async with asyncio.timeout(COUNT_SECONDS):
                answer = await _kept(await target.upstream.send(request), COUNT_SECONDS)
            pieces = [piece async for piece in answer.chunks()]
            counted = translate_count(b"".join(pieces), target.upstream.shape, "anthropic")
            return _count.decode(counted).input_tokens if answer.status == 200 else None
        except (GatewayError, TimeoutError, msgspec.MsgspecError):
            return None

    async def _try(self, ctx: RequestContext, upstream_id: str, carry: Carry) -> UpstreamAnswer:
        """One attempt, once there is a place for it. Nobody is tried after one that was left under way."""
        target, place = self.targets[upstream_id], ctx.places[upstream_id]
        request, changes = self._request(ctx, target, place)
        assert ctx.principal is not None
        if not await target.slots.take(ctx.principal.user, timeout_seconds=target.queue_seconds):
            raise GatewayError(Reason.OVERLOADED, f"upstream '{upstream_id}' has no free place; try again in a moment")
        return await carry(self._attempt(ctx, target, request, changes=changes))

    async def _attempt(
        self, ctx: RequestContext, target: Target, request: UpstreamRequest, *, changes: tuple[Change, ...]
    ) -> UpstreamAnswer:
        """What has a place at the upstream ends with an answer that gives it back, or gives it back."""
        try:
            answer = await self._send(ctx, target, request, changes=changes)
        except BaseException:
            target.slots.release()
            raise
        return _Placed(answer, target.slots)

    async def _send(
        self, ctx: RequestContext, target: Target, request: UpstreamRequest, *, changes: tuple[Change, ...]
    ) -> UpstreamAnswer:
        upstream = target.upstream
        if not self.board.may_send(upstream.id):
            raise GatewayError(Reason.UPSTREAMS_DOWN, f"upstream '{upstream.id}' is cut out after failures")
        ctx.upstream, ctx.upstream_model, ctx.shape, ctx.bridged = upstream.id, request.model, upstream.shape, changes
        ctx.dispatched, ctx.status, ctx.upstream_headers_seconds = True, None, None
        try:
            answer = await upstream.send(request)
        except GatewayError as error:
            ctx.dispatched = error.reason in _MAYBE_BILLED
            if isinstance(error, Unsendable):
                self.board.abandoned(upstream.id)
                raise
            self.board.failed(upstream.id, status=None, retry_after_seconds=None, model=ctx.model)
            ctx.attempts.append(Attempt(upstream.id, None, error.reason))
            raise
        except BaseException:
            self.board.abandoned(upstream.id)
            raise
        ctx.upstream_headers_seconds = self.clock.monotonic() - ctx.received_monotonic
        if _is_tried_elsewhere(answer.status):
            waits = _retry_after_seconds(answer.headers, ctx.received_unix_ms)
            self.board.failed(upstream.id, status=answer.status, retry_after_seconds=waits, model=ctx.model)
            ctx.attempts.append(Attempt(upstream.id, answer.status, Reason.UPSTREAM_REFUSED))
        else:
            self.board.succeeded(upstream.id)
        ctx.status = answer.status
        ctx.reason = Reason.UPSTREAM_REFUSED if answer.status >= 400 else None
        return answer

    def _request(self, ctx: RequestContext, target: Target, place: Place) -> tuple[UpstreamRequest, tuple[Change, ...]]:
        """The request as this upstream takes it, and what it lost for that. Raises `Refused(CAPABILITY_MISSING)`."""
        assert ctx.ask is not None and ctx.dialect != "operator"
        source, shape = ctx.dialect, target.upstream.shape
        fitted = _fitted(ctx, source, target)
        wire = translate(
            Outgoing(
                operation=ctx.asked.operation,
                body=fitted.body,
                spans=fitted.spans,
                model=place.model,
                stream=ctx.ask.stream,
                version=fitted.version,
                betas=fitted.betas,
                headers=upstream_headers(ctx.headers.items()),
                as_read=_is_as_read(ctx, fitted, place.model),
            ),
            source,
            shape,
        )
        request = UpstreamRequest(
            path=ctx.path if source == shape else "",
            headers=wire.headers,
            body=wire.body,
            model=place.model,
            stream=ctx.ask.stream,
            operation=ctx.asked.operation,
        )
        return request, fitted.changes

    def _place(self, ctx: RequestContext, upstream_id: str) -> Place:
        """A configured name comes first, then a cloud's id as its own client sent it, then the catalogue's.

        A configured profile says where requests may run, so that a client's own does not replace it.
        """
        assert ctx.ask is not None
        target = self.targets[upstream_id]
        upstream = target.upstream
        name = target.models.get(ctx.model)
        if name is None and ctx.model == self.catalogue.canonical(ctx.ask.model):
            name = target.models.get(ctx.ask.model)
            if name is None and target.profile is None and ctx.dialect == upstream.shape != "anthropic":
                name = ctx.ask.model
        if name is None:
            name = self.catalogue.wire(ctx.model, backend=upstream.backend, profile=target.profile)
        return Place(upstream_id, upstream.backend, name, target.region, target.multiplier)

    def _give_up(self, ctx: RequestContext, refusals: "_Refusals", *, all_asked: bool) -> UpstreamAnswer:
        """No upstream is left. After more than one attempt a client's own retries would only multiply ours."""
        ctx.gave_up = len(ctx.attempts) > 1
        if refusals.answer is not None and not refusals.maybe_billed:
            ctx.upstream, ctx.bridged, ctx.status = refusals.upstream, refusals.bridged, refusals.answer.status
            ctx.upstream_model, ctx.shape = ctx.places[ctx.upstream].model, self.targets[ctx.upstream].upstream.shape
            ctx.reason = Reason.UPSTREAM_REFUSED
            return refusals.answer
        error = refusals.error
        if ctx.attempts and error is not None:
            raise Refused(error.reason, error.message, {SHOULD_RETRY_HEADER: "false"} if ctx.gave_up else {})
        is_for_nobody = error is not None and error.reason in _NOT_FOR_THIS_ONE
        if error is not None and error.reason is not Reason.UPSTREAMS_DOWN and (all_asked or not is_for_nobody):
            raise error
        assert ctx.route is not None
        waits = str(self.board.retry_after_seconds(ctx.route.upstreams))
        message = f"every upstream for {ctx.model} is cut out after failures; try again in {waits} s"
        raise Refused(Reason.UPSTREAMS_DOWN, message, {"retry-after": waits})


@dataclass(slots=True)
class _Refusals:
    """What the upstreams tried so far had to say."""

    answer: UpstreamAnswer | None = None
    upstream: str = ""
    bridged: tuple[Change, ...] = ()
    """Of `answer`."""
    error: GatewayError | None = None
    maybe_billed: bool = False

    def add_error(self, error: GatewayError) -> None:
        """A failure that was sent outranks a reason for waiting, and that one what only keeps this request out."""
        if self.error is None or self.error.reason in _NOT_FOR_THIS_ONE or error.reason in _SENT:
            self.error = error
        self.maybe_billed = error.reason in _MAYBE_BILLED

    def add_answer(self, answer: UpstreamAnswer, ctx: RequestContext) -> None:
        """The latest answer counts, but that a rate limit was hit tells the client more than any other."""
        self.maybe_billed = False
        assert ctx.upstream is not None
        if self.answer is None or self.answer.status != 429 or answer.status == 429:
            self.answer, self.upstream, self.bridged = answer, ctx.upstream, ctx.bridged


class _Placed:
    """An answer that gives its place at the upstream back when it is closed."""

    __slots__ = ("_answer", "_slots", "chunks", "headers", "status")

    def __init__(self, answer: UpstreamAnswer, slots: Slots) -> None:
        self._answer = answer
        self._slots: Slots | None = slots
        self.status = answer.status
        self.headers = answer.headers
        self.chunks = answer.chunks

    async def close(self) -> None:
        """Close the answer; the place is given back once."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release()
        await self._answer.close()


class _Kept:
    """An error answer that was read and closed, so that it holds no place while others are tried."""

    __slots__ = ("_body", "headers", "status")

    def __init__(self, answer: UpstreamAnswer, body: bytes) -> None:
        self._body = body
        self.status = answer.status
        self.headers = answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, at once."""
        yield self._body

    async def close(self) -> None:
        """Nothing is open."""


async def _kept(answer: UpstreamAnswer, seconds: float) -> _Kept:
    """What cannot be read of an error is not worth another error: the status says enough."""
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            async for piece in answer.chunks():
                pieces.append(piece)
                if sum(map(len, pieces)) > ERROR_BYTES_MAX:
                    break
    except (GatewayError, TimeoutError):
        pieces.clear()
    finally:
        await answer.close()
    return _Kept(answer, b"".join(pieces)[:ERROR_BYTES_MAX])


def _fitted(ctx: RequestContext, source: Shape, target: Target) -> Bridged:
    """The request without what this upstream lacks. A cloud's own dialect is relayed to it as it came."""
    assert ctx.ask is not None
    support = target.support
    if support.complete and source == target.upstream.shape:
        return Bridged(ctx.body, ctx.ask.spans, ctx.betas, ctx.version, ())
    if source == target.upstream.shape and source != "anthropic":
        if ctx.version != NEW_VERSION or support.has(VERSION_FEATURE, ctx.model):
            return Bridged(ctx.body, ctx.ask.spans, ctx.betas, ctx.version, ())
        change = Change(VERSION_FEATURE, "downgraded")
        return Bridged(ctx.body, ctx.ask.spans, ctx.betas, OLD_VERSION, (change,))
    return bridge(Bridgeable(ctx.body, ctx.ask.spans, ctx.betas, ctx.version, ctx.model), support)


def _is_as_read(ctx: RequestContext, fitted: Bridged, model: str) -> bool:
    """Does it ask for what its own body and headers say, whatever its path says?"""
    assert ctx.ask is not None
    in_path = ctx.asked.model is not None or ctx.asked.stream is not None
    same = model == ctx.ask.model and fitted.betas == ctx.betas and fitted.version == ctx.version
    return same and not in_path


def _is_tried_elsewhere(status: int) -> bool:
    return status >= 500 or status in _TRIED_ELSEWHERE


def _retry_after_seconds(headers: Sequence[tuple[str, str]], now_ms: int) -> float | None:
    """`retry-after-ms`, or `retry-after` in seconds or as a date; None when there is none that can be read."""
    try:
        if (millis := first(headers, "retry-after-ms")) is not None:
            return float(millis) / 1000
        value = first(headers, "retry-after")
        if value is None:
            return None
        if value.strip().isdecimal():
            return float(value)
        return email.utils.parsedate_to_datetime(value).timestamp() - now_ms / 1000
    except (ValueError, OverflowError):
        return None
