"""An upstream's answer as it was received: read within bounds; a success that is not what was asked for is refused.

Everything here raises `GatewayError(UPSTREAM_BROKE)`.
"""

from gateway.context import RequestContext
from gateway.contract import BODY_BYTES_MAX
from gateway.core.wire.headers import first
from gateway.core.wire.messages import WholeMessage
from gateway.errors import GatewayError, Reason
from gateway.ports import UpstreamAnswer

MESSAGE_BYTES_MAX = BODY_BYTES_MAX
"""Longest answer to a `stream: false` request: it must be whole before its tool calls are decided."""
_SSE, _EVENT_STREAM = STREAM_TYPES = ("text/event-stream", "application/vnd.amazon.eventstream")


async def read(answer: UpstreamAnswer) -> bytes:
    """The whole body. Raises `GatewayError` (UPSTREAM_BROKE, also when it is too large; UPSTREAM_TIMEOUT)."""
    pieces: list[bytes] = []
    size = 0
    async for chunk in answer.chunks():
        size += len(chunk)
        if size > MESSAGE_BYTES_MAX:
            raise GatewayError(Reason.UPSTREAM_BROKE, f"the upstream's answer is larger than {MESSAGE_BYTES_MAX} bytes")
        pieces.append(chunk)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_error(answer: UpstreamAnswer) -> bytes:
    """What cannot be read of an error is not worth another error: the status says enough."""
    try:
        return await read(answer)
    except GatewayError:
        return b""


def require_plain(answer: UpstreamAnswer) -> None:
    """A compressed answer cannot be gated, and was not asked for: it is refused rather than passed unseen."""
    coding = first(answer.headers, "content-encoding")
    if coding is not None and coding.lower() != "identity":
        message = f"the upstream sent a '{coding}' body though none was asked for; it cannot be checked"
        raise GatewayError(Reason.UPSTREAM_BROKE, message)


def require_object(body: bytes) -> None:
    """A success that is no JSON object is a page of something in between."""
    if not body.lstrip(b" \t\r\n").startswith(b"{"):
        raise GatewayError(Reason.UPSTREAM_BROKE, "the upstream answered a success that is no count; try again")


def require_message(message: WholeMessage) -> None:
    """A success that neither names itself nor its model is a page or an error of something in between."""
    if message.id is None and message.model is None:
        raise GatewayError(Reason.UPSTREAM_BROKE, "the upstream answered a success that is no message; try again")


def require_form(ctx: RequestContext, *, stream: bool) -> None:
    """To a client that waits for the other one, an answer would look like an empty message that came to its end."""
    assert ctx.ask is not None
    if ctx.ask.stream == stream:
        return
    came, wanted = ("a stream", "a whole answer") if stream else ("a whole answer", "a stream")
    message = f"the upstream sent {came} though {wanted} was asked for; send the request again"
    raise GatewayError(Reason.UPSTREAM_BROKE, message)


def require_framing(ctx: RequestContext, kind: str) -> None:
    """Some clients go by the content type: what was decided in one framing must not be read in the other."""
    if not kind.startswith(_EVENT_STREAM if ctx.shape == "bedrock" else _SSE):
        raise GatewayError(Reason.UPSTREAM_BROKE, f"the upstream's stream came as '{kind[:60]}'; try again")
