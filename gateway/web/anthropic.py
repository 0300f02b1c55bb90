"""The Anthropic dialect: messages, token counts, the list of models, and the probes that clients send first."""

from aiohttp import web

from gateway.contract import COUNT_TOKENS_PATH, FOUNDRY_PREFIX, MESSAGES_PATH, MODELS_PATH
from gateway.core.money.prices import ModelRow
from gateway.core.wire.shapes import IN_BODY, Asked
from gateway.web.inference import TAG_PATTERN, Inference, read_body
from gateway.web.middlewares import CONTEXT

_COUNT = Asked("count_tokens")


def build_anthropic_routes(inference: Inference) -> list[web.RouteDef]:
    """Every path of the dialect, with and without a tag, and below Foundry's prefix."""

    async def create_message(request: web.Request) -> web.StreamResponse:
        return await inference.create_message(request, IN_BODY)

    async def count_tokens(request: web.Request) -> web.StreamResponse:
        return await inference.count_tokens(request[CONTEXT], _COUNT, await read_body(request))

    async def list_models(request: web.Request) -> web.Response:
        models = await inference.pipeline.usable_models(request[CONTEXT])
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
        for prefix in ("", TAG_PATTERN, FOUNDRY_PREFIX, TAG_PATTERN + FOUNDRY_PREFIX)
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
