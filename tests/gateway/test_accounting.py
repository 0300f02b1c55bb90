"""Holds and how they end."""

from pathlib import Path

import pytest
import yaml

import gateway
from gateway.accounting import Accounting
from gateway.context import Attempt, RequestContext
from gateway.core.decisions.decision import Decision, Limit
from gateway.core.estimates.estimate import Learned
from gateway.core.estimates.prompts import Prompts
from gateway.core.money.limits import LimitRow, Limits
from gateway.core.money.prices import parse_prices
from gateway.core.routes.places import Place
from gateway.core.wire.body import peek
from gateway.core.wire.messages import Tap, parse_message
from gateway.errors import Reason, Refused
from gateway.stores.memory import MemoryStore
from tests.gateway.test_toolcalls import Bench, FakeRecords
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
    return Accounting(
        store, PRICES, Learned(), Prompts(), fallback, FakeRecords(), FakeClock(now_ms=NOVEMBER_MS)
    ), store


def asking(model: str = "claude-opus-5-5", *places: Place) -> RequestContext:
    """A request that was admitted."""
    ctx = Bench().ctx
    ctx.body = request_body(model=model, max_tokens=1_000)
    ctx.ask, ctx.model, ctx.decision = peek(ctx.body), model, Decision(allow=True)
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
    accounting, store = books(LimitRow("org", 10**12, strict=strict))
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
    await books(LimitRow("org", 10**12, strict=True))[0].reserve(strict)
    await books(LimitRow("org", 10**12, strict=False))[0].reserve(loose)
    assert strict.hold is not None and loose.hold is not None
    assert strict.hold.worst.cost >= len(strict.body) * 8_000 + 1_000 * 20_000
    assert loose.hold.worst.cost == loose.hold.expected.cost < strict.hold.worst.cost


async def test_exhausted_limit_refuses_with_the_peers_headers() -> None:
    accounting, store = books(LimitRow("org", 1, "daily", per="user"))
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
    assert ctx.hold is not None and ctx.hold.id != first.id and store.held_total() == ctx.hold.expected.cost
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
    accounting, store = books(LimitRow("org", needed, strict=True))
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


async def test_max_tokens_is_lowered_when_the_request_fits_then() -> None:
    full = await held_at(strict=True)
    tight = LimitRow("org", full + 2_000 * 20_000, strict=True, on_reach="clamp")
    accounting, store = books(tight)
    first, second = asking(), asking()
    first.body = second.body = request_body(max_tokens=4_000)
    first.ask, second.ask, second.id = peek(first.body), peek(second.body), "dec_2"
    await accounting.reserve(first)
    assert first.clamped_from == 4_000 and first.max_tokens is not None and 1_024 <= first.max_tokens < 4_000
    assert peek(first.body).max_tokens == first.max_tokens
    assert tight.max is not None and tight.max - 20_000 < store.held_total() <= tight.max
    with pytest.raises(Refused, match="budget exhausted"):
        await accounting.reserve(second)
    assert store.held_total() <= tight.max


async def test_max_tokens_is_not_lowered_where_the_limit_says_refuse() -> None:
    full = await held_at(strict=True)
    accounting, _ = books(LimitRow("org", full, strict=True))
    ctx = asking()
    ctx.body = request_body(max_tokens=1_100)
    ctx.ask = peek(ctx.body)
    with pytest.raises(Refused):
        await accounting.reserve(ctx)
    assert ctx.clamped_from is None and peek(ctx.body).max_tokens == 1_100


async def test_one_too_many_at_once_is_told_to_come_again() -> None:
    accounting, store = books(LimitRow("org", 1, meter="active_requests", per="user"))
    first, second = asking(), asking()
    second.id = "dec_2"
    await accounting.reserve(first)
    with pytest.raises(Refused) as refused:
        await accounting.reserve(second)
    assert refused.value.reason is Reason.RATE_LIMITED
    assert refused.value.headers == {"retry-after": "2"}
    accounting.settle(answered(first, input_tokens=1, output_tokens=1))
    await accounting.reserve(second)


async def test_limit_of_the_decision_holds_on_top_of_the_configured_ones() -> None:
    accounting, store = books(LimitRow("org", 10**12))
    ctx = asking()
    ctx.decision = Decision(allow=True, limits=(Limit("user:alice", "output_tokens", "daily", 10),))
    with pytest.raises(Refused, match="the daily limit of 10 output_tokens of user:alice"):
        await accounting.reserve(ctx)
    assert store.held_total() == 0


async def test_limit_for_a_backend_counts_what_that_backend_answered() -> None:
    for upstream, spent in (("main", 0), ("global", 1_000 * 4_000)):
        accounting, store = books(LimitRow("org", 10**12, backends=("bedrock",)))
        ctx = asking("claude-opus-5-5", MAIN, GLOBAL)
        await accounting.reserve(ctx)
        (view,) = store.views(NOVEMBER_MS)
        assert ctx.hold is not None and view.held == ctx.hold.expected.cost
        ctx.upstream = upstream
        accounting.settle(answered(ctx, input_tokens=1_000, output_tokens=0))
        (view,) = store.views(NOVEMBER_MS)
        assert (view.used, view.held) == (spent, 0)


async def running(*limits: LimitRow, max_tokens: int = 100_000) -> tuple[Accounting, MemoryStore, RequestContext]:
    """A request whose answer has begun."""
    accounting, store = books(*limits)
    ctx = asking()
    ctx.body = request_body(max_tokens=max_tokens)
    ctx.ask = peek(ctx.body)
    await accounting.reserve(ctx)
    ctx.dispatched, ctx.status, ctx.tap = True, 200, Tap()
    return accounting, store, ctx


async def test_answer_longer_than_expected_is_held_for_step_by_step() -> None:
    accounting, store, ctx = await running(LimitRow("org", 10**12))
    assert ctx.covered_chars is not None and ctx.tap is not None
    before, covered = store.held_total(), ctx.covered_chars
    ctx.tap.add_output(covered + 1)
    assert await accounting.cover(ctx)
    assert ctx.extensions == 1 and ctx.covered_chars > covered and store.held_total() > before


async def test_answer_that_cannot_be_held_for_has_to_end() -> None:
    held = await held_at()
    accounting, store, ctx = await running(LimitRow("org", 20 * held))
    assert ctx.covered_chars is not None and ctx.tap is not None
    extensions = 0
    while ctx.covered_chars is not None and extensions < 200:
        ctx.tap.add_output(ctx.covered_chars + 1 - ctx.tap.output_chars)
        if not await accounting.cover(ctx):
            break
        extensions += 1
    assert ctx.extensions == extensions < 200 and ctx.covered_chars is not None
    assert store.held_total() <= 20 * held


async def test_answer_that_is_held_for_to_its_last_token_is_looked_at_no_more() -> None:
    accounting, _, ctx = await running(LimitRow("org", 10**15), max_tokens=5_000)
    assert ctx.tap is not None
    while ctx.covered_chars is not None:
        ctx.tap.add_output(ctx.covered_chars + 1 - ctx.tap.output_chars)
        assert await accounting.cover(ctx)
    assert ctx.hold is not None and ctx.hold.expected.output_tokens == 5_000


async def test_strict_limits_alone_need_no_extension() -> None:
    _, _, ctx = await running(LimitRow("org", 10**15, strict=True), LimitRow("org", 1, per="user", on_reach="warn"))
    assert ctx.covered_chars is None


@pytest.mark.parametrize("reason", [Reason.CLIENT_GONE, Reason.STOPPED, Reason.HELD, Reason.FUSE_BLOWN])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_answer_that_nobody_read_on_costs_its_hold_and_a_stream_without_a_strict_limit_what_was_seen(
    strict: bool, stream: bool, reason: Reason
) -> None:
    accounting, store = books(LimitRow("org", 10**12, strict=strict))
    ctx = asking()
    ctx.body = request_body(max_tokens=1_000, stream=stream)
    ctx.ask = peek(ctx.body)
    await accounting.reserve(ctx)
    ctx.dispatched, ctx.reason = True, reason
    accounting.settle(ctx)
    assert ctx.hold is not None and ctx.cost_estimated and store.held_total() == 0
    if stream and not strict:
        assert 0 < store.spent("org") < 1_000 * 20_000
    else:
        assert store.spent("org") == (ctx.hold.worst.cost if strict else ctx.hold.expected.cost)


async def test_attempt_that_failed_after_the_client_left_costs_the_floor() -> None:
    accounting, store = books(LimitRow("org", 10**12, strict=True))
    ctx = asking()
    ctx.body = request_body(max_tokens=1_000, stream=False)
    ctx.ask = peek(ctx.body)
    await accounting.reserve(ctx)
    lost(ctx).reason = Reason.CLIENT_GONE
    accounting.settle(ctx)
    assert 0 < store.spent("org") < 1_000 * 20_000
