"""`GET /api/oauth/usage`: what the caller has spent of the limits on them, for the client to show. Reads only."""

import msgspec
from aiohttp import web

from gateway.contract import OAUTH_USAGE_PATH
from gateway.core.money.accounts import accounts_of
from gateway.core.spend_api.limits import user_series
from gateway.core.spend_api.settings import PERIODS
from gateway.core.spend_api.usage import usage_body
from gateway.ports import Clock, Ledger
from gateway.web.middlewares import CONTEXT


def build_usage_routes(ledger: Ledger, clock: Clock) -> list[web.RouteDef]:
    """The one path."""

    async def usage(request: web.Request) -> web.Response:
        principal = request[CONTEXT].principal
        assert principal is not None
        now_ms = clock.unix_ms()
        accounts = [each for each in accounts_of(principal, None, agent=None) if ":" in each or each == "org"]
        spent = await ledger.used([user_series(principal.user, period) for period in PERIODS], now_ms)
        views = await ledger.standing(accounts, now_ms)
        body = usage_body(principal.user, views, dict(zip(PERIODS, spent, strict=True)))
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)

    return [web.get(OAUTH_USAGE_PATH, usage)]
