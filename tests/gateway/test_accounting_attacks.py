"""Ways to pay less than what was used: dearer models than the asked one, moments between two prices or two limits."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.context import RequestContext
from gateway.core.money.budgets import Hold, LimitView
from gateway.core.money.ledger import AMOUNT_MAX
from gateway.core.money.limits import LimitRow, Limits
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.core.wire.body import peek
from gateway.core.wire.messages import Tap, parse_message
from gateway.errors import Refused
from gateway.stores.memory import MemoryStore
from tests.gateway.test_accounting import NOVEMBER_MS, answered, asking, books
from tests.support.clock import FakeClock
from tests.support.upstream import message, text_block

DOLLAR = 1_000_000_000
STRICT = LimitRow("org", 10**14, strict=True)
HAIKU, FABLE = "claude-haiku-5-5", "claude-fable-5-2"
WINDOW_TOKENS = 1_000_000


def asking_with(**fields: Any) -> RequestContext:
    """A request with more fields."""
    ctx = asking(HAIKU)
    ctx.body = json.dumps(json.loads(ctx.body) | {"model": HAIKU} | fields).encode()
    ctx.ask = peek(ctx.body)
    return ctx


def told(ctx: RequestContext, usage: dict[str, Any]) -> RequestContext:
    """The same request after an answer with this usage."""
    ctx.dispatched, ctx.status, ctx.tap = True, 200, Tap()
    written = json.loads(message([text_block("x")])) | {"usage": usage, "model": ctx.model}
    ctx.tap.observe_message(parse_message(json.dumps(written).encode()))
    return ctx


@pytest.mark.parametrize(
    "fields",
    [
        {"fallbacks": [{"model": FABLE, "max_tokens": 100_000, "speed": "fast"}]},
        {"fallbacks": "default", "max_tokens": 100_000, "speed": "fast"},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": FABLE, "max_tokens": 100_000}]},
    ],
)
async def test_dearer_model_that_runs_besides_costs_no_more_than_was_held(fields: dict[str, Any]) -> None:
    accounting, store = books(STRICT)
    ctx = asking_with(**fields)
    await accounting.reserve(ctx)
    held = store.held_total()
    prompt = {"input_tokens": 0, "cache_creation_input_tokens": WINDOW_TOKENS, "output_tokens": 100_000}
    prompt["cache_creation"] = {"ephemeral_1h_input_tokens": WINDOW_TOKENS}  # type: ignore[assignment]
    speed = "standard" if "tools" in fields else "fast"
    iterations = [{"input_tokens": 500_000, "output_tokens": 1_000, "model": HAIKU}, prompt | {"model": FABLE}]
    accounting.settle(told(ctx, prompt | {"speed": speed, "iterations": iterations}))
    assert 20 * DOLLAR < store.spent("org") <= held


async def test_fallback_without_a_price_is_refused_where_its_cost_must_be_known() -> None:
    accounting, store = books(STRICT)
    with pytest.raises(Refused, match="has no price"):
        await accounting.reserve(asking_with(fallbacks=[{"model": "claude-unheard-of"}]))
    assert store.held_total() == 0


async def test_max_tokens_beyond_any_number_is_refused_as_too_dear() -> None:
    accounting, store = books(LimitRow("org", DOLLAR // 10, strict=True, on_reach="refuse"))
    with pytest.raises(Refused, match="budget exhausted"):
        await accounting.reserve(asking_with(max_tokens=10**30))
    assert store.held_total() == 0


async def test_answer_that_outlasts_a_change_of_prices_is_paid_as_it_was_held() -> None:
    costs: list[int] = []
    for late_seconds in (0, 40 * 24 * 3600):
        accounting, _ = books(STRICT)
        clock = accounting.clock
        assert isinstance(clock, FakeClock)
        ctx = asking("claude-sonnet-5-5")
        clock.advance(-47 * 24 * 3600)  # in the first week of October it had another price for cached reads
        await accounting.reserve(ctx)
        clock.advance(late_seconds)
        accounting.settle(told(ctx, {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 1_000_000}))
        costs.append(ctx.cost_nanousd)
    assert costs[0] == costs[1] == 1_000_000 * 200


async def test_record_of_an_absurd_usage_agrees_with_the_ledger() -> None:
    accounting, store = books()
    ctx = asking()
    await accounting.reserve(ctx)
    accounting.settle(answered(ctx, output_tokens=2**53))
    assert ctx.cost_nanousd == store.spent("org") == AMOUNT_MAX


class Overtaken(MemoryStore):
    """A store where an operator sets a strict limit while the first request is on its way to it."""

    async def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        """As ever, but later."""
        row = LimitRow("org", 5 * DOLLAR, id="spl_1", strict=True, on_reach="refuse", source="api")
        limit = StoredLimit("spl_1", "org", NOVEMBER_MS, NOVEMBER_MS, {}, (row,))
        await self.change_limit("spl_1", lambda _: limit, Author("olga", NOVEMBER_MS, "spend_limit.upsert"))
        return await super().reserve(hold)


@pytest.mark.parametrize(("max_tokens", "passes"), [(1_000, True), (128_000, True), (300_000, False)])
async def test_strict_limit_set_while_a_request_reserves_guards_its_worst_case(max_tokens: int, passes: bool) -> None:
    store = Overtaken(Limits())
    accounting = replace(books()[0], ledger=store)
    ctx = asking_with(max_tokens=max_tokens)
    ctx.model = "claude-opus-5-5"
    if passes:
        await accounting.reserve(ctx)
        assert ctx.hold is not None and ctx.hold.worst.output_tokens == max_tokens
        assert store.held_total() == ctx.hold.worst.cost
    else:
        with pytest.raises(Refused, match="budget exhausted"):
            await accounting.reserve(ctx)
        assert store.open_holds() == (0, None)
