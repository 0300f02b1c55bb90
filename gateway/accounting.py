"""What a request may cost and what it did cost: the hold before it is sent, and its end. Two steps of the path.

The arithmetic is `core/`, the keeping is `stores/`; here they meet one request.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import msgspec

from gateway.context import RequestContext
from gateway.core.estimates.clamping import clamp_floor, fitting_max_tokens
from gateway.core.estimates.estimate import Agent, Learned, covered_chars, next_step, seen_tokens
from gateway.core.estimates.prompts import Asking, Prompts
from gateway.core.estimates.worst import Shape, counted, output_tokens_max, shape_of, tightest, worst
from gateway.core.money.accounts import accounts_of
from gateway.core.money.budgets import Exhausted, Hold, LimitView, refusal_headers
from gateway.core.money.ledger import AMOUNT_MAX
from gateway.core.money.limits import Amounts
from gateway.core.money.prices import Price, PriceTable
from gateway.core.money.pricing import Terms, Unpriced, cost_nanousd, terms_for
from gateway.core.money.spending import spent_amounts
from gateway.core.routes.places import Place
from gateway.core.wire.body import field_edit
from gateway.core.wire.messages import Tap
from gateway.core.wire.spans import members, splice
from gateway.core.wire.substitutes import ANY_MODEL, substitutes
from gateway.core.wire.usage import Usage
from gateway.errors import Reason, Refused
from gateway.ports import Clock, Ledger, Telemetry

Count = Callable[[RequestContext], Awaitable[int | None]]
COUNTED_BYTES_MIN = 8_192
"""Unknown bytes of a prompt that are worth a round trip to have them counted."""
CLAMPS_MAX = 3
"""How often `max_tokens` is lowered for one limit after another before the request is refused."""
_GROWING = frozenset({"cost", "output_tokens", "total_tokens"})
"""Meters that an answer adds to while it runs."""
HOLD_SECONDS = 3_600
"""Deadline of a hold: longer than any answer. What has not ended by then is expired at the held amount."""
_NEVER_BILLED = frozenset({Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_REFUSED})
"""How a dispatched request can end without having cost anything."""
_LEFT = frozenset({Reason.CLIENT_GONE, Reason.STOPPED, Reason.HELD, Reason.FUSE_BLOWN})
"""How an answer ends that the upstream was still making, or had made, when nobody read on."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """Holds and settles."""

    ledger: Ledger
    prices: PriceTable
    learned: Learned
    prompts: Prompts
    fallback_model: str | None
    telemetry: Telemetry
    clock: Clock
    count: Count | None = None
    """Set when an upstream is to be asked how long prompts are."""

    async def reserve(self, ctx: RequestContext) -> None:
        """Hold what the request may cost at the dearest upstream of its route, on every account it is for.

        Raises `Refused` (BUDGET_EXHAUSTED, MODEL_UNPRICED, STORE_UNAVAILABLE).
        """
        await self._reserve(ctx, ctx.id)

    async def hold_again(self, ctx: RequestContext) -> None:
        """An attempt failed after it was sent and may be billed: settle it, and hold for the next.

        Raises as `reserve`; then nothing is held.
        """
        if ctx.hold is not None and ctx.price is not None:
            ctx.lost_nanousd += self._settle(ctx, ctx.hold, ctx.price)
            ctx.hold, ctx.dispatched = None, False
            await self._reserve(ctx, f"{ctx.id}.{len(ctx.attempts)}")

    async def cover(self, ctx: RequestContext) -> bool:
        """The running answer has used up what was held for its output: hold more. False: it has to end."""
        assert ctx.hold is not None and ctx.price is not None and ctx.sized is not None and ctx.tap is not None
        held, seen = ctx.hold.expected, seen_tokens(ctx.tap.output_chars)
        expected = next_step(ctx.price, ctx.sized, held=held, seen_tokens=seen, multiplier=ctx.multiplier)
        worst = expected
        if _is_strict(ctx.limits):
            worst, expected = ctx.hold.worst, Amounts(*map(min, expected, ctx.hold.worst))
        if expected == held:
            ctx.covered_chars = None  # it is held for the longest answer there can be
            return True
        try:
            extended = await self.ledger.extend(ctx.hold.id, worst, expected, self.clock.unix_ms())
        except (Exhausted, Refused) as refusal:
            ctx.message = refusal.message
            return False
        if extended:
            ctx.hold = msgspec.structs.replace(ctx.hold, worst=worst, expected=expected)
            ctx.covered_chars = covered_chars(expected.output_tokens)
            ctx.extensions += 1
        return extended

    async def _reserve(self, ctx: RequestContext, hold_id: str) -> None:
        now = self.clock.unix_ms()
        if self.count is not None and ctx.counted_tokens is None:
            await self._count_prompt(ctx, self.count, now)
        first: Exhausted | None = None
        for _ in range(CLAMPS_MAX + 1):
            try:
                hold = await self._held(ctx, hold_id, now)
            except Exhausted as exhausted:
                first = first or exhausted
                if not self._clamp(ctx, exhausted):
                    break
            else:
                ctx.hold = hold
                self.telemetry.held(ctx)
                guards = (view.row for view in ctx.limits if view.row is not None and view.row.guards)
                if any(not row.strict and row.meter in _GROWING for row in guards):
                    ctx.covered_chars = covered_chars(hold.expected.output_tokens)
                return
        assert first is not None
        self.telemetry.limit_refused(first.view.series)
        reason = Reason.RATE_LIMITED if first.paces else Reason.BUDGET_EXHAUSTED
        raise Refused(reason, first.message, refusal_headers(first, now))

    async def _held(self, ctx: RequestContext, hold_id: str, now: int) -> Hold:
        """Hold; once more when a strict limit was set meanwhile, which guards worst cases. Raises `Exhausted`."""
        hold = self._hold(ctx, hold_id, now)
        ctx.limits = await self.ledger.reserve(hold)
        if hold.worst is not hold.expected or not _is_strict(ctx.limits):
            return hold
        self.ledger.release(hold.id)
        hold = self._hold(ctx, f"{hold_id}.strict", now, strict=True)
        ctx.limits = await self.ledger.reserve(hold)
        return hold

    def _hold(self, ctx: RequestContext, hold_id: str, now: int, *, strict: bool = False) -> Hold:
        assert ctx.ask is not None and ctx.agent is not None and ctx.principal is not None
        assert ctx.lineage is not None and ctx.decision is not None
        price = ctx.price = self._price(ctx.model, now)
        ctx.multiplier = max(_terms(place, price).multiplier for place in ctx.places.values())
        accounts = accounts_of(ctx.principal, ctx.agent.session.id, agent=ctx.agent.id, run=ctx.lineage.run)
        backends = tuple(sorted({place.backend for place in ctx.places.values()}))
        added = tuple(limit.row() for limit in ctx.decision.limits)
        shape = shape_of(ctx.ask, ctx.body, max_tokens=ctx.max_tokens)
        strict = strict or any(row.strict for row in added) or self.ledger.is_strict(accounts, ctx.model, backends)
        ctx.outline = None
        shape = ctx.sized = self._tightest(ctx, shape, price, now) if strict else shape
        agent = Agent(ctx.agent.last_tokens, ctx.agent.agent_type)
        expected = self.learned.expected(price, shape, agent, multiplier=ctx.multiplier)
        most = self._worst(ctx, price, shape) if strict else expected
        return Hold(
            id=hold_id,
            accounts=accounts,
            model=ctx.model,
            backends=backends,
            worst=most,
            expected=expected,
            created_ms=now,
            deadline_ms=now + HOLD_SECONDS * 1000,
            added=added,
        )

    def _clamp(self, ctx: RequestContext, exhausted: Exhausted) -> bool:
        """Lower `max_tokens` so far that the limit is met, when it allows that and the answer can still be of use."""
        row, view = exhausted.row, exhausted.view
        assert ctx.ask is not None and ctx.agent is not None and ctx.price is not None and ctx.sized is not None
        if row.on_reach != "clamp" or row.meter not in _GROWING or row.max is None:
            return False
        price, agent = ctx.price, Agent(ctx.agent.last_tokens, ctx.agent.agent_type)

        def amounts(shape: Shape) -> Amounts:
            if row.strict:
                return self._worst(ctx, price, shape)
            return self.learned.expected(price, shape, agent, multiplier=ctx.multiplier)

        fitting = fitting_max_tokens(
            price,
            ctx.sized,
            amounts=amounts,
            left={row.meter: row.max - view.used - view.held},
            floor=clamp_floor(ctx.ask, ctx.body),
        )
        if fitting is None or fitting >= output_tokens_max(price, ctx.sized):
            return False
        ctx.clamped_from = ctx.clamped_from or output_tokens_max(price, ctx.sized)
        ctx.max_tokens = fitting
        ctx.body = splice(ctx.body, [field_edit(ctx.body, ctx.ask, "max_tokens", str(fitting).encode())])
        ctx.ask = msgspec.structs.replace(ctx.ask, spans=members(ctx.body))
        return True

    async def _count_prompt(self, ctx: RequestContext, count: Count, now: int) -> None:
        """Ask the upstream how long a prompt is that would be bounded by many bytes."""
        hold = self._hold(ctx, ctx.id, now)
        loose = ctx.sized is not None and (ctx.sized.unbounded or ctx.sized.body_bytes > COUNTED_BYTES_MIN)
        if loose and hold.worst is not hold.expected:
            ctx.counted_tokens = await count(ctx)

    def _worst(self, ctx: RequestContext, price: Price, shape: Shape) -> Amounts:
        """The most that it can use: the asked model, and after it each other that the upstream may run for it."""
        assert ctx.ask is not None
        total = worst(price, shape, multiplier=ctx.multiplier)
        for each in substitutes(ctx.ask, ctx.body, max_tokens=shape.max_tokens):
            own = Shape(
                0, each.max_tokens, unbounded=True, fast=each.speed == "fast", inference_geo=shape.inference_geo
            )
            passes = [worst(each, own, multiplier=ctx.multiplier) for each in self._prices_of(each.model)]
            dearest = Amounts(*(max(amounts) for amounts in zip(*passes, strict=True)))
            total = total.plus(dearest._replace(requests=0, active_requests=0))
        return total

    def _prices_of(self, model: str) -> list[Price]:
        now = self.clock.unix_ms()
        if model != ANY_MODEL:
            return [self._price(model, now)]
        found = (self.prices.find(row.id, now) for row in self.prices.models())
        return [price for price in found if price is not None]

    def _tightest(self, ctx: RequestContext, shape: Shape, price: Price, now: int) -> Shape:
        """What bounds the prompt: its bytes, or what of it is known from earlier ones."""
        assert ctx.ask is not None and ctx.agent is not None
        beside = (ctx.dialect, ctx.model, ctx.version, *ctx.betas)
        one_model = len(ctx.places) == 1 or all(self._is_for(price, each.model, now) for each in ctx.places.values())
        asking = Asking(ctx.ask, ctx.body, beside, ctx.places, one_model)
        recognised, ctx.outline = self.prompts.recognise(asking, shape, ctx.agent.known)
        if ctx.counted_tokens is None or not one_model:
            return recognised
        return tightest((recognised, counted(shape, ctx.counted_tokens)))

    def _is_for(self, price: Price, model: str, now: int) -> bool:
        """Is it the same model, and so the same tokenizer?"""
        found = self.prices.find(model, now)
        return found is not None and found.id == price.id

    def _remember(self, ctx: RequestContext, usage: Usage, price: Price, now: int) -> None:
        """Only of an answer in one pass to the request as it stands in the body, by the model that was asked."""
        if ctx.agent is None:
            return
        ctx.agent.last_tokens = usage.tokens
        in_one_pass = not usage.iterations and not usage.refused_empty and not usage.web_search_requests
        outline, fitted = ctx.outline, bool(ctx.bridged)
        if outline is None or ctx.upstream is None or not in_one_pass or not usage.tokens.prompt:
            return
        if outline.teaches(fitted=fitted) and (usage.model is None or self._is_for(price, usage.model, now)):
            told = outline.answered(usage.tokens.prompt, ctx.upstream, fitted=fitted)
            ctx.agent.learn(told)
            self.prompts.learn(outline, told)

    def settle(self, ctx: RequestContext) -> None:
        """End the hold, if there is one: released when nothing was billed, else settled at the answer's cost."""
        ctx.cost_nanousd = ctx.lost_nanousd
        if ctx.hold is None or ctx.price is None:
            return
        refused = ctx.status is not None and ctx.status >= 400
        if not ctx.dispatched or refused or ctx.reason in _NEVER_BILLED:
            self.ledger.release(ctx.hold.id)
            return
        ctx.cost_nanousd += self._settle(ctx, ctx.hold, ctx.price)

    def _settle(self, ctx: RequestContext, hold: Hold, price: Price) -> int:
        now = self.clock.unix_ms()
        cost = self._cost(ctx, hold, price, now)
        place = ctx.places.get(ctx.upstream or "")
        backend = hold.backends[0] if place is None else place.backend
        assert ctx.usage is not None
        self.ledger.settle(hold.id, spent_amounts(ctx.usage, cost), backend, now)
        return cost

    def _cost(self, ctx: RequestContext, hold: Hold, price: Price, now: int) -> int:
        """The price of the reported usage; without a final one, of the estimated input and what was streamed."""
        tap = ctx.tap or Tap()
        usage = tap.usage()
        if usage.final:
            self.learned.observe(price, len(ctx.body), usage, agent_type=ctx.agent and ctx.agent.agent_type)
            self._remember(ctx, usage, price, now)
        else:
            usage = tap.floor_usage(self.learned.input_tokens(price, len(ctx.body)))
        ctx.usage, ctx.cost_estimated = usage, ctx.cost_estimated or not usage.final
        place = ctx.places.get(ctx.upstream or "")
        terms = Terms() if place is None else _terms(place, price)
        try:
            # at the prices of the moment it was held at, so that no change of prices makes it dearer than its hold
            cost = cost_nanousd(usage, self.prices, at_ms=hold.created_ms, fallback_model=price.id, terms=terms)
            return min(max(cost, _unseen(ctx, hold)), AMOUNT_MAX)
        except Unpriced:
            ctx.cost_estimated = True
            return hold.worst.cost

    def _price(self, model: str, now: int) -> Price:
        price = self.prices.find(model, now)
        if price is None and self.fallback_model is not None:
            price = self.prices.find(self.fallback_model, now)
        if price is None:
            message = f"model {model} has no price; add it under prices.path or set prices.fallback_model"
            raise Refused(Reason.MODEL_UNPRICED, message)
        return price


def _terms(place: Place, price: Price) -> Terms:
    return terms_for(place.backend, place.model, place.region, place.multiplier, price)


def _unseen(ctx: RequestContext, hold: Hold) -> int:
    """The least for an answer that was not read to its usage because its client left or the gateway ended it.

    What an upstream made and nobody read is on its bill all the same, hidden thinking also of an answer of which
    something was seen. So leaving must not be cheaper than staying: a whole answer costs its hold, and under a strict
    limit, which no bill may pass, a streamed one as well. 0 for every other one.
    """
    assert ctx.ask is not None and ctx.usage is not None
    failed = any(attempt.upstream == ctx.upstream for attempt in ctx.attempts)
    if ctx.reason not in _LEFT or ctx.usage.final or failed:
        return 0
    if _is_strict(ctx.limits):
        return hold.worst.cost
    return 0 if ctx.ask.stream else hold.expected.cost


def _is_strict(limits: Iterable[LimitView]) -> bool:
    return any(view.row is not None and view.row.strict and view.row.guards for view in limits)
