"""`POST /ringfence/v1/hooks/{event}`: where Claude Code's hooks of type `http` go. Any credential may send them.

The client takes an answer other than 200 as none, and may go on with the tool: so there is an answer whatever fails.
"""

import logging

import msgspec
from aiohttp import web

from gateway.contract import HOOKS_PREFIX
from gateway.errors import Reason
from gateway.hooks import Hooks
from gateway.web.middlewares import CONTEXT

_log = logging.getLogger(__name__)


def build_hook_routes(hooks: Hooks) -> list[web.RouteDef]:
    """The one path."""

    async def hook(request: web.Request) -> web.Response:
        ctx, event = request[CONTEXT], request.match_info["event"]
        try:
            answer = await hooks.answer(ctx, event, await request.read())
        except Exception as error:  # noqa: BLE001  # too large, broken off, or our own fault: the call is denied
            _log.exception("hook %s of request %s failed", event[:64], ctx.id)
            ctx.reason, ctx.message = Reason.INTERNAL, f"the hook failed with {type(error).__name__}"
            answer = hooks.failed(ctx, event)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    return [web.post(f"{HOOKS_PREFIX}{{event}}", hook)]
