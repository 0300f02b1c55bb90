"""`GET /api/oauth/usage` over a store in memory."""

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.context import RequestContext
from gateway.contract import OAUTH_USAGE_PATH
from gateway.core.decisions.decision import Principal
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.stores.memory import MemoryStore
from gateway.web.middlewares import CONTEXT, build_context
from gateway.web.usage import build_usage_routes
from tests.support.clock import FakeClock

CENT = 10_000_000
ALICE = Principal(org="acme", team="x", user="alice", credential="laptop", groups=("g",))


class Unwritten:
    """Keeps no records."""

    def begin(self) -> None:
        pass

    def record(self, ctx: RequestContext) -> None:
        pass


async def usage(store: MemoryStore, clock: FakeClock) -> Any:
    """What alice is answered."""

    @web.middleware
    async def known(request: web.Request, handler: Any) -> web.StreamResponse:
        request[CONTEXT].principal = ALICE
        return await handler(request)

    app = web.Application(middlewares=[build_context(clock, Unwritten()), known])
    app.add_routes(build_usage_routes(store, clock))
    async with TestClient(TestServer(app)) as client, client.get(OAUTH_USAGE_PATH) as response:
        assert response.status == 200 and response.headers["cache-control"] == "no-store"
        return await response.json()


async def test_limit_of_a_group_is_shown_with_what_was_spent_and_not_what_is_held() -> None:
    clock = FakeClock()
    store = MemoryStore(Limits((LimitRow("group:g", 100 * CENT, "daily", per="user"),)), clock.now_ms)
    accounts = ("org", "team:x", "group:g", "user:alice")
    for id, spent in (("dec_1", 20 * CENT), ("dec_2", None)):
        amounts = Amounts(30 * CENT)
        await store.reserve(Hold(id, accounts, "m", ("anthropic",), amounts, amounts, clock.now_ms, clock.now_ms + 1))
        if spent is not None:
            store.settle(id, Amounts(spent), "anthropic", clock.now_ms)
    body = await usage(store, clock)
    assert body["extra_usage"]["daily"] == {"limit": 100, "used_credits": 20, "utilization": 20}
    assert [(limit["group"], limit["percent"]) for limit in body["limits"]] == [("daily", 20)]


async def test_spend_without_a_limit_is_shown_and_past_days_are_not() -> None:
    clock = FakeClock()
    store = MemoryStore(Limits(), clock.now_ms)
    amounts = Amounts(7 * CENT)
    hold = Hold("dec_1", ("org", "user:alice"), "m", ("anthropic",), amounts, amounts, clock.now_ms, clock.now_ms + 1)
    await store.reserve(hold)
    store.settle("dec_1", amounts, "anthropic", clock.now_ms)
    clock.advance(24 * 3600)
    body = await usage(store, clock)
    assert (body["extra_usage"]["used_credits"], body["extra_usage"]["daily"]["used_credits"]) == (7, 0)
    assert (body["extra_usage"]["monthly_limit"], body["limits"]) == (None, [])
