"""What every dialect's inference paths do: read the body, take it through the pipeline, pass the answer on.

Which paths there are, and what they say, is in the dialects: `anthropic.py`, `bedrock.py`, `vertex.py`.
"""

from dataclasses import dataclass

from aiohttp import web

from gateway.context import RequestContext
from gateway.contract import BODY_BYTES_MAX, TAG_PREFIX
from gateway.core.wire.shapes import Asked
from gateway.errors import GatewayError, Reason
from gateway.pipeline import Pipeline
from gateway.ports import UpstreamAnswer
from gateway.web.middlewares import CONTEXT
from gateway.web.relay import Relay

TAG_PATTERN = TAG_PREFIX + "{tag:[A-Za-z0-9._-]{1,64}}"
"""A path prefix that becomes the principal tag `path`."""


@dataclass(frozen=True, slots=True)
class Inference:
    """Answers model requests of any dialect."""

    pipeline: Pipeline
    relay: Relay

    async def create_message(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """A message, streamed or whole."""
        ctx = request[CONTEXT]
        ctx.asked, ctx.body = asked, await read_body(request)

        async def to_client(ctx: RequestContext, answer: UpstreamAnswer) -> web.StreamResponse:
            return await self.relay.model_answer(request, ctx, answer)

        return await self.pipeline.serve(ctx, to_client, self.relay.left_unanswered)

    async def count_tokens(self, ctx: RequestContext, asked: Asked, body: bytes) -> web.StreamResponse:
        """A token count of `body`, which is what a message of this dialect would be asked with."""
        ctx.asked, ctx.body = asked, body
        return await self.pipeline.serve_free(ctx, self.relay.token_count)


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
