"""The Anthropic dialect: messages, token counts, the list of models, and the probes that clients send first."""

from aiohttp import web

from gateway.context import RequestContext
from gateway.contract import BODY_BYTES_MAX, COUNT_TOKENS_PATH, MESSAGES_PATH, MODELS_PATH, TAG_PREFIX
from gateway.core.prices import ModelRow
from gateway.errors import GatewayError, Reason
from gateway.pipeline import Pipeline
from gateway.ports import UpstreamAnswer
from gateway.web.middlewares import CONTEXT
from gateway.web.relay import Relay

TAG_PATTERN = TAG_PREFIX + "{tag:[A-Za-z0-9._-]{1,64}}"
"""A path prefix that becomes the principal tag `path`."""


def build_routes(pipeline: Pipeline, relay: Relay) -> list[web.RouteDef]:
    """Every path of the dialect, with and without a tag."""

    async def create_message(request: web.Request) -> web.StreamResponse:
        ctx = request[CONTEXT]
        ctx.body = await read_body(request)

        async def to_client(ctx: RequestContext, answer: UpstreamAnswer) -> web.StreamResponse:
            return await relay.model_answer(request, ctx, answer)

        return await pipeline.serve(ctx, to_client)

    async def count_tokens(request: web.Request) -> web.StreamResponse:
        ctx = request[CONTEXT]
        ctx.body = await read_body(request)
        return await pipeline.serve_free(ctx, relay.plain_answer)

    async def list_models(request: web.Request) -> web.Response:
        ctx = request[CONTEXT]
        models = await pipeline.usable_models(ctx)
        return web.json_response(
            {
                "data": [_model_entry(model) for model in models],
                "has_more": False,
                "first_id": models[0].id if models else None,
                "last_id": models[-1].id if models else None,
            }
        )

    return [
        route
        for prefix in ("", TAG_PATTERN)
        for route in (
            web.post(prefix + MESSAGES_PATH, create_message),
            web.post(prefix + COUNT_TOKENS_PATH, count_tokens),
            web.get(prefix + MODELS_PATH, list_models),
            web.head(prefix + "/api/hello", hello),
            web.head(prefix + "/", hello),
        )
    ]


def _model_entry(model: ModelRow) -> dict[str, object]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": f"{model.released or '1970-01-01'}T00:00:00Z",
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output,
    }


async def hello(request: web.Request) -> web.Response:
    """What Claude Code asks before its first request: is anybody there?"""
    return web.Response()


async def read_body(request: web.Request) -> bytes:
    """The whole body, as it was sent.

    Raises:
        GatewayError: BODY_TOO_LARGE; BODY_MALFORMED for a compressed body.
    """
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise GatewayError(Reason.BODY_MALFORMED, f"content-encoding {coding} is not taken; send the body uncompressed")
    if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
        raise GatewayError(Reason.BODY_TOO_LARGE, f"the body is larger than {BODY_BYTES_MAX} bytes")
    return await request.read()
