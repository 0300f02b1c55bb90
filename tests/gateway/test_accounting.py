"""Holds and how they end."""

from pathlib import Path

import pytest
import yaml

import gateway
from gateway.accounting import Accounting
from gateway.context import Attempt, RequestContext
from gateway.core.body import peek
from gateway.core.budgets import LimitRow, Limits
from gateway.core.estimate import Learned
from gateway.core.messages import Tap, parse_message
from gateway.core.places import Place
from gateway.core.prices import parse_prices
from gateway.errors import Reason, Refused
from gateway.stores.memory import MemoryStore
from tests.gateway.test_toolcalls import Bench
from tests.support.clock import FakeClock
from tests.support.gateway import request_body
from tests.support.upstream import message, text_block

PRICES = parse_prices(yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text()))
NOVEMBER_MS = 1_795_305_600_000
MAIN = Place("main", "anthropic", "claude-opus-5-5")
GLOBAL = Place("global", "bedrock", "global.anthropic.claude-opus-5-5", region="us-east-1")
REGIONAL = Place("regional", "bedrock", "us.anthropic.claude-opus-5-5", region="us-east-1")
DISCOUNTED = Place("discounted", "anthropic", "claude-opus-5-5", multiplier=5_000)


def books(*limits: LimitRow, fallback: str | None = None) -> tuple[Accounting, MemoryStore]:
    """An accounting on a store in memory."""
    store = MemoryStore(Limits(limits))
    return Accounting(store, PRICES, Learned(), fallback, FakeClock(now_ms=NOVEMBER_MS)), store


def asking(model: str = "claude-opus-5-5", *places: Place) -> RequestContext:
    """A request that was admitted."""
    ctx = Bench().ctx
    ctx.body = request_body(model=model, max_tokens=1_000)
    ctx.ask, ctx.model = peek(ctx.body), model
    ctx.places = {place.upstream: place for place in (places or (MAIN,))}
    ctx.upstream = next(iter(ctx.places))
    return ctx


def lost(ctx: RequestContext, upstream: str = "main") -> RequestContext:
    """The same request after an attempt that was sent and never answered."""
    ctx.upstream, ctx.dispatched, ctx.status = upstream, True, None
    ctx.attempts.append(Attempt(upstream, None, Reason.UPSTREAM_TIMEOUT))
    return ctx


async def held_at(*places: Place, model: str = "claude-opus-5-5", strict: bool = False) -> int:
    """What is held for a request that may go to these."""
    accounting, store = books(LimitRow("org", "total", 10**12, strict=strict))
    await accounting.reserve(asking(model, *places))
    return store.held_total()


def answered(ctx: RequestContext, **usage: int) -> RequestContext:
    """The same request after a whole answer."""
    ctx.dispatched, ctx.status, ctx.tap = True, 200, Tap()
    ctx.tap.observe_message(parse_message(message([text_block("x")], usage=usage)))
    return ctx


async def test_answer_is_settled_at_its_reported_cost_on_every_account() -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    held = store.held_total()
    accounting.settle(answered(ctx, input_tokens=1_000, output_tokens=100))
    accounts = ("org", "team:platform", "user:alice", "credential:laptop", "session:s", "agent:s/main")
    assert held > 0 == store.held_total()
    assert {store.spent(account) for account in accounts} == {1_000 * 4_000 + 100 * 20_000}


@pytest.mark.parametrize(("status", "reason"), [(529, Reason.UPSTREAM_REFUSED), (None, Reason.UPSTREAM_UNREACHABLE)])
async def test_what_was_not_answered_is_not_paid(status: int | None, reason: Reason) -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    ctx.dispatched, ctx.status, ctx.reason = True, status, reason
    accounting.settle(ctx)
    assert (store.held_total(), store.spent("org"), ctx.cost_nanousd) == (0, 0, 0)


async def test_silence_after_dispatch_is_paid_by_the_floor() -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    ctx.dispatched, ctx.reason = True, Reason.UPSTREAM_TIMEOUT
    accounting.settle(ctx)
    assert store.held_total() == 0 < store.spent("org")
    assert ctx.cost_estimated


async def test_strict_limit_holds_the_worst_case_and_others_the_expectation() -> None:
    strict, loose = asking(), asking()
    await books(LimitRow("org", "total", 10**12, strict=True))[0].reserve(strict)
    await books(LimitRow("org", "total", 10**12, strict=False))[0].reserve(loose)
    assert strict.hold is not None and loose.hold is not None
    assert strict.hold.strict_nanousd >= len(strict.body) * 8_000 + 1_000 * 20_000
    assert loose.hold.strict_nanousd == loose.hold.expected_nanousd < strict.hold.strict_nanousd


async def test_exhausted_limit_refuses_with_the_peers_headers() -> None:
    accounting, store = books(LimitRow("user", "daily", 1, strict=False))
    with pytest.raises(Refused) as refused:
        await accounting.reserve(asking())
    assert refused.value.reason is Reason.BUDGET_EXHAUSTED
    assert refused.value.headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert store.held_total() == 0


async def test_unpriced_model_is_refused_unless_a_fallback_is_named() -> None:
    with pytest.raises(Refused) as refused:
        await books()[0].reserve(asking("mystery-1"))
    assert refused.value.reason is Reason.MODEL_UNPRICED
    accounting, store = books(fallback="claude-opus-5-5")
    ctx = asking("mystery-1")
    await accounting.reserve(ctx)
    accounting.settle(answered(ctx, input_tokens=10, output_tokens=0))
    assert store.spent("org") == 10 * 4_000


async def test_settling_without_a_hold_changes_nothing() -> None:
    accounting, store = books()
    accounting.settle(asking())
    assert (store.held_total(), store.spent("org")) == (0, 0)


@pytest.mark.parametrize("strict", [False, True])
async def test_hold_is_for_the_dearest_upstream_of_the_route(strict: bool) -> None:
    plain, dear = await held_at(GLOBAL, strict=strict), await held_at(REGIONAL, strict=strict)
    assert plain * 11 <= dear * 10 <= plain * 11 + 10
    assert await held_at(GLOBAL, REGIONAL, DISCOUNTED, strict=strict) == dear
    assert await held_at(DISCOUNTED, strict=strict) < plain == await held_at(MAIN, DISCOUNTED, strict=strict)


@pytest.mark.parametrize(("place", "parts_of_ten"), [(MAIN, 10), (GLOBAL, 10), (REGIONAL, 11), (DISCOUNTED, 5)])
async def test_answer_is_settled_at_the_price_of_the_upstream_that_gave_it(place: Place, parts_of_ten: int) -> None:
    accounting, store = books()
    ctx = asking("claude-opus-5-5", MAIN, GLOBAL, REGIONAL, DISCOUNTED)
    await accounting.reserve(ctx)
    ctx.upstream = place.upstream
    accounting.settle(answered(ctx, input_tokens=1_000, output_tokens=100))
    assert store.spent("org") * 10 == (1_000 * 4_000 + 100 * 20_000) * parts_of_ten


async def test_lost_attempt_is_settled_by_the_floor_and_the_next_is_held_for_anew() -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    assert ctx.hold is not None
    first = ctx.hold
    await accounting.hold_again(lost(ctx))
    assert ctx.hold is not None and ctx.hold.id != first.id and store.held_total() == ctx.hold.expected_nanousd
    floor = store.spent("org")
    assert floor == ctx.lost_nanousd > 0 and not ctx.dispatched
    accounting.settle(answered(ctx, input_tokens=1_000, output_tokens=100))
    assert (store.held_total(), store.spent("org")) == (0, floor + 1_000 * 4_000 + 100 * 20_000)
    assert ctx.cost_nanousd == store.spent("org") and ctx.cost_estimated


async def test_each_lost_attempt_is_settled_at_the_price_of_its_own_upstream() -> None:
    accounting, store = books()
    ctx = asking("claude-opus-5-5", GLOBAL, REGIONAL)
    await accounting.reserve(ctx)
    await accounting.hold_again(lost(ctx, "global"))
    plain = store.spent("org")
    await accounting.hold_again(lost(ctx, "regional"))
    accounting.settle(ctx)
    assert plain * 21 <= store.spent("org") * 10 <= plain * 21 + 10
    assert (store.held_total(), ctx.cost_nanousd) == (0, store.spent("org"))


async def test_next_attempt_that_was_never_sent_costs_no_more() -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    await accounting.hold_again(lost(ctx))
    floor, ctx.reason = store.spent("org"), Reason.UPSTREAM_TIMEOUT
    accounting.settle(ctx)
    assert (store.held_total(), store.spent("org"), ctx.cost_nanousd) == (0, floor, floor)


async def test_next_attempt_that_was_refused_costs_no_more() -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    await accounting.hold_again(lost(ctx))
    ctx.dispatched, ctx.status, ctx.reason = True, 429, Reason.UPSTREAM_REFUSED
    accounting.settle(ctx)
    assert (store.held_total(), store.spent("org")) == (0, ctx.lost_nanousd)


async def test_limit_that_has_no_room_for_another_attempt_refuses_it_and_keeps_the_cost_of_the_first() -> None:
    needed = await held_at(strict=True)
    accounting, store = books(LimitRow("org", "total", needed, strict=True))
    ctx = asking()
    await accounting.reserve(ctx)
    with pytest.raises(Refused) as refused:
        await accounting.hold_again(lost(ctx))
    accounting.settle(ctx)
    assert refused.value.reason is Reason.BUDGET_EXHAUSTED
    assert store.held_total() == 0 < store.spent("org") == ctx.cost_nanousd


async def test_free_request_is_not_held_for_again() -> None:
    accounting, store = books()
    ctx = lost(asking())
    await accounting.hold_again(ctx)
    assert (ctx.hold, store.held_total(), store.spent("org")) == (None, 0, 0)
