"""The Vertex dialect: rawPredict, streamRawPredict and the token count, with and without `/v1`.

Project and location in the path are the client's habit: which ones a request goes to is the upstream's configuration.
"""

from urllib.parse import unquote

from aiohttp import web

from gateway.contract import VERTEX_PREFIXES
from gateway.core.wire.shapes import Asked
from gateway.errors import GatewayError, Reason
from gateway.web.inference import TAG_PATTERN, Inference, read_body
from gateway.web.middlewares import CONTEXT

COUNTER = "count-tokens"
"""Stands where a model stands, and counts the tokens of the model that the body names."""
MODEL_CHARS_MAX = 256


def build_vertex_routes(inference: Inference) -> list[web.RouteDef]:
    """Every path of the dialect, with and without a tag."""

    async def predict(request: web.Request) -> web.StreamResponse:
        model, method = _target(request)
        if model == COUNTER and method == "rawPredict":
            return await inference.count_tokens(request[CONTEXT], Asked("count_tokens"), await read_body(request))
        if method not in ("rawPredict", "streamRawPredict"):
            message = f"{method or 'no method'} is not served here; use :rawPredict or :streamRawPredict"
            raise GatewayError(Reason.NOT_FOUND, message)
        stream = method == "streamRawPredict"
        return await inference.create_message(request, Asked("messages", model, stream=stream))

    rest = "{project}/locations/{location}/publishers/anthropic/models/{target:[^/]+}"
    return [web.post(tag + prefix + rest, predict) for tag in ("", TAG_PATTERN) for prefix in VERTEX_PREFIXES]


def _target(request: web.Request) -> tuple[str, str]:
    """Model and method of `.../models/<model>:<method>`."""
    path = request[CONTEXT].path.partition("?")[0]
    model, _, method = unquote(path.rpartition("/")[2]).rpartition(":")
    if not model or len(model) > MODEL_CHARS_MAX or not model.isprintable():
        raise GatewayError(Reason.NOT_FOUND, "the path names no model; write models/<model>:rawPredict")
    return model, method
