"""What the desk of runs refuses, as an HTTP answer: the Messages API's envelope with the details beside the message."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.contract import REQUEST_ID_HEADER, SHOULD_RETRY_HEADER, error_envelope
from gateway.errors import GatewayError, Reason
from gateway.web.middlewares import BEGUN, CONTEXT
from gateway.web.run_desk import RunRefused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REASONS: dict[int, Reason] = {
    404: Reason.NOT_FOUND,
    413: Reason.BODY_TOO_LARGE,
    429: Reason.RATE_LIMITED,
    451: Reason.POLICY_DENIED,
    500: Reason.INTERNAL,
    503: Reason.STORE_UNAVAILABLE,
}
"""What is recorded of a refused request; for any other status, that it was not one that could be met."""
FINAL = frozenset({"billing_error", "rate_limit_error"})
"""Types that asking again does not mend: a budget, a fuse."""


def answering(handler: Handler) -> Handler:
    """Turn what the desk raises into an answer; one that has begun is broken off."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RunRefused as refused:
            if request.get(BEGUN) is not None:
                raise GatewayError(Reason.INTERNAL, refused.message) from None
            return _refusal(request, refused)

    return answer


def _refusal(request: web.Request, refused: RunRefused) -> web.Response:
    ctx = request[CONTEXT]
    ctx.reason, ctx.message = REASONS.get(refused.status, Reason.BODY_MALFORMED), refused.message
    envelope = json.loads(error_envelope(refused.error_type, refused.message, ctx.id))
    envelope["error"] = {**refused.detail, **envelope["error"]}
    again = refused.status in (429, 503) and refused.error_type not in FINAL
    retry = "true" if again else "false"
    headers = {REQUEST_ID_HEADER: ctx.id, SHOULD_RETRY_HEADER: retry, "Cache-Control": "no-store"}
    body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(status=refused.status, body=body, content_type="application/json", headers=headers)
