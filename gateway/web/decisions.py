"""`POST /ringfence/v1/decisions`, and the AuthZEN API's own path for the same: policy asked by other harnesses."""

import msgspec
from aiohttp import web

from gateway.contract import DECISIONS_PATH, EVALUATION_PATH, HEADER_VALUE_CHARS_MAX
from gateway.outside import Outside
from gateway.web.middlewares import CONTEXT

REQUEST_ID = "x-request-id"
"""Sent back as it came, as the API wants it."""


def build_decision_routes(outside: Outside) -> list[web.RouteDef]:
    """Both paths. Any credential may ask for itself."""

    async def evaluate(request: web.Request) -> web.Response:
        answer = await outside.evaluate(request[CONTEXT], await request.read())
        response = web.Response(body=msgspec.json.encode(answer), content_type="application/json")
        id = request.headers.get(REQUEST_ID, "")
        if id.isprintable() and 0 < len(id) <= HEADER_VALUE_CHARS_MAX:
            response.headers[REQUEST_ID] = id
        return response

    return [web.post(path, evaluate) for path in (DECISIONS_PATH, EVALUATION_PATH)]
