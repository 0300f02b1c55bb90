"""What a request may cost and what it did cost: the hold before it is sent, and its end. Two steps of the path.

The arithmetic is `core/`, the keeping is `stores/`; here they meet one request.
"""

from dataclasses import dataclass

from gateway.context import RequestContext
from gateway.core.budgets import Exhausted, Hold, refusal_headers
from gateway.core.content import measure_content
from gateway.core.estimate import Learned, Shape, bounded, shape_of, strict_nanousd
from gateway.core.known import is_append_only, narrowed, read_outline
from gateway.core.lineage import AgentNode
from gateway.core.messages import Tap
from gateway.core.places import Place
from gateway.core.prices import Price, PriceTable
from gateway.core.pricing import Terms, Unpriced, cost_nanousd, terms_for
from gateway.core.usage import Usage
from gateway.errors import Reason, Refused
from gateway.ports import Clock, Ledger

HOLD_SECONDS = 3_600
"""Deadline of a hold: longer than any answer. What has not ended by then is expired at the held amount."""
_NEVER_BILLED = frozenset({Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_REFUSED})
"""How a dispatched request can end without having cost anything."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """Holds and settles."""

    ledger: Ledger
    prices: PriceTable
    learned: Learned
    fallback_model: str | None
    clock: Clock

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

    async def _reserve(self, ctx: RequestContext, hold_id: str) -> None:
        assert ctx.ask is not None and ctx.agent is not None
        now = self.clock.unix_ms()
        price = ctx.price = self._price(ctx.model, now)
        multiplier = max(_terms(place, price).multiplier for place in ctx.places.values())
        accounts = _accounts(ctx, ctx.agent)
        shape = shape_of(ctx.ask, ctx.body, max_tokens=ctx.max_tokens)
        expected = strict = self.learned.expected_nanousd(price, shape, ctx.agent.last_tokens, multiplier=multiplier)
        if self.ledger.is_strict(accounts):
            strict = min(
                strict_nanousd(price, each, multiplier=multiplier) for each in self._bounds(ctx, shape, price, now)
            )
            expected = min(expected, strict)
        hold = Hold(
            id=hold_id,
            accounts=accounts,
            strict_nanousd=strict,
            expected_nanousd=expected,
            created_ms=now,
            deadline_ms=now + HOLD_SECONDS * 1000,
        )
        try:
            await self.ledger.reserve(hold)
        except Exhausted as exhausted:
            raise Refused(Reason.BUDGET_EXHAUSTED, exhausted.message, refusal_headers(exhausted, now)) from None
        ctx.hold = hold

    def _bounds(self, ctx: RequestContext, shape: Shape, price: Price, now: int) -> tuple[Shape, ...]:
        """What bounds the prompt: its bytes, and what of it is known when it goes on from an earlier one."""
        assert ctx.ask is not None and ctx.agent is not None
        ctx.outline = None
        content = measure_content(memoryview(ctx.body)[slice(*ctx.ask.spans["messages"])])
        whole = bounded(shape, content)
        single = len(ctx.places) == 1
        if whole.unbounded or not is_append_only(ctx.ask, ctx.body, content, single_upstream=single):
            return (whole,)
        if not single and any(not self._is_for(price, place.model, now) for place in ctx.places.values()):
            return (whole,)
        known = [each for each in ctx.agent.known if each.upstream in ctx.places]
        beside = (ctx.dialect, ctx.model, ctx.version, *ctx.betas)
        ctx.outline = read_outline(ctx.ask, ctx.body, beside=beside, known=known)
        if ctx.outline.part is None:
            return (whole,)
        return whole, narrowed(shape, ctx.ask, ctx.body, ctx.outline.part)

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
        if ctx.outline is None or ctx.upstream is None or ctx.bridged or not in_one_pass or not usage.tokens.prompt:
            return
        if usage.model is None or self._is_for(price, usage.model, now):
            ctx.agent.learn(ctx.outline.answered(usage.tokens.prompt, ctx.upstream))

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
        self.ledger.settle(hold.id, cost, now)
        return cost

    def _cost(self, ctx: RequestContext, hold: Hold, price: Price, now: int) -> int:
        """The price of the reported usage; without a final one, of the estimated input and what was streamed."""
        tap = ctx.tap or Tap()
        usage = tap.usage()
        if usage.final:
            self.learned.observe(price, len(ctx.body), usage)
            self._remember(ctx, usage, price, now)
        else:
            usage = tap.floor_usage(self.learned.input_tokens(price, len(ctx.body)))
        ctx.usage, ctx.cost_estimated = usage, ctx.cost_estimated or not usage.final
        place = ctx.places.get(ctx.upstream or "")
        terms = Terms() if place is None else _terms(place, price)
        try:
            return cost_nanousd(usage, self.prices, at_ms=now, fallback_model=price.id, terms=terms)
        except Unpriced:
            ctx.cost_estimated = True
            return hold.strict_nanousd

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


def _accounts(ctx: RequestContext, node: AgentNode) -> tuple[str, ...]:
    principal = ctx.principal
    assert principal is not None
    team = (f"team:{principal.team}",) if principal.team is not None else ()
    return (
        "org",
        *team,
        f"user:{principal.user}",
        f"credential:{principal.credential}",
        f"session:{node.session.id}",
        f"agent:{node.key}",
    )
