"""The Bedrock dialect: InvokeModel, its event stream, CountTokens, and the profile probes that clients begin with.

A model id may be an ARN with `/` and `:`, escaped or not, so it is cut out of the path as it was sent.
"""

from urllib.parse import unquote

from aiohttp import web

from gateway.contract import BEDROCK_MODEL_PREFIX, INFERENCE_PROFILES_PATH
from gateway.core.bridging.translate import unwrap_count
from gateway.core.wire.shapes import Asked
from gateway.errors import GatewayError, Reason
from gateway.web.inference import TAG_PATTERN, Inference, read_body
from gateway.web.middlewares import CONTEXT

MODEL_CHARS_MAX = 2048
"""Longest model id, as the Bedrock API has it."""


def build_bedrock_routes(inference: Inference) -> list[web.RouteDef]:
    """Every path of the dialect, with and without a tag."""

    async def invoke(request: web.Request) -> web.StreamResponse:
        return await inference.create_message(request, Asked("messages", _model(request), stream=False))

    async def invoke_stream(request: web.Request) -> web.StreamResponse:
        return await inference.create_message(request, Asked("messages", _model(request), stream=True))

    async def count_tokens(request: web.Request) -> web.StreamResponse:
        asked = Asked("count_tokens", _model(request), stream=False)
        return await inference.count_tokens(request[CONTEXT], asked, unwrap_count(await read_body(request)))

    model = BEDROCK_MODEL_PREFIX + "{model:.+}"
    return [
        route
        for prefix in ("", TAG_PATTERN)
        for route in (
            web.post(prefix + model + "/invoke", invoke),
            web.post(prefix + model + "/invoke-with-response-stream", invoke_stream),
            web.post(prefix + model + "/count-tokens", count_tokens),
            web.get(prefix + INFERENCE_PROFILES_PATH, list_inference_profiles),
            web.get(prefix + INFERENCE_PROFILES_PATH + "/{profile:.+}", show_inference_profile),
        )
    ]


async def list_inference_profiles(request: web.Request) -> web.Response:
    """None: clients then take the ids they are configured with. Claude Code asks without a credential."""
    return web.json_response({"inferenceProfileSummaries": []})


async def show_inference_profile(request: web.Request) -> web.Response:
    """Which model stands behind a profile is the upstream's secret; clients go on without knowing."""
    message = "inference profiles are not listed here; ask for the model by its id"
    raise GatewayError(Reason.NOT_FOUND, message)


def _model(request: web.Request) -> str:
    path = request[CONTEXT].path.partition("?")[0]
    model = unquote(path[len(BEDROCK_MODEL_PREFIX) :].rpartition("/")[0])
    if len(model) > MODEL_CHARS_MAX or not model.isprintable():
        message = f"modelId: must be at most {MODEL_CHARS_MAX} printable characters"
        raise GatewayError(Reason.BODY_MALFORMED, message)
    return model
