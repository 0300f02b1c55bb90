"""An Anthropic-shaped upstream over HTTP: sends the bytes it is given, yields the bytes that come back.

No retries, no routing, no parsing of bodies; which headers and body go out is the pipeline's choice. The exceptions
are what only a connection can know: the upstream's credential, `accept-encoding: identity` (what we relay must be
readable to the tap) and the framing headers.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from io import BytesIO

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.config import UpstreamConfig
from gateway.errors import GatewayError, Reason
from gateway.ports import UpstreamRequest

CONNECT_TIMEOUT_SECONDS = 10.0
DEFAULT_BASE_URL = "https://api.anthropic.com"
PLAIN_BODY_BYTES_MAX = 1024 * 1024
"""Larger bodies are written piece by piece, so that one upload does not hold up the event loop."""

_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_CONNECTION_HEADERS = frozenset(
    {
        "authorization",
        "x-api-key",
        "proxy-authorization",
        "cookie",
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Never forwarded: a client's secrets are for us alone, and framing belongs to each connection."""


def build_session() -> aiohttp.ClientSession:
    """The one client session of the process; call it inside the running loop.

    No total timeout, no connection limit, no cookies, no headers and no decoding of its own.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_AUTOMATIC_HEADERS,
        auto_decompress=False,
        trust_env=False,
    )


class AnthropicAnswer:
    """An answer whose headers have arrived. Closing it before its end drops the connection."""

    __slots__ = ("_response", "_upstream_id", "headers", "status")

    def __init__(self, upstream_id: str, response: aiohttp.ClientResponse) -> None:
        self._upstream_id = upstream_id
        self._response = response
        self.status = response.status
        self.headers: Sequence[tuple[str, str]] = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers
        ]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, still encoded as `content-encoding` says."""
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The reader refuses what it still holds once the connection failed, and that may be the usage event.
            rest = content._read_nowait(-1)  # pyright: ignore[reportPrivateUsage]
            if rest:
                yield rest
            raise _body_failure(self._upstream_id, error) from error

    async def close(self) -> None:
        """Let go of the connection: back to the pool after a complete body, else dropped at once."""
        self._response.close()


class AnthropicUpstream:
    """One endpoint that speaks the Messages API: api.anthropic.com or anything shaped like it."""

    backend = "anthropic"

    def __init__(self, config: UpstreamConfig, session: aiohttp.ClientSession) -> None:
        """`base_url` may carry a path prefix; configured headers replace the client's of the same name."""
        self.id = config.id
        self._base = (config.base_url or DEFAULT_BASE_URL).rstrip("/")
        self._session = session
        self._fixed = (("accept-encoding", "identity"), *config.headers, *_credential_headers(config))
        self._dropped = _CONNECTION_HEADERS | {name.lower() for name, _ in self._fixed}
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout_seconds, sock_read=config.read_timeout_seconds
        )

    async def send(self, request: UpstreamRequest) -> AnthropicAnswer:
        """Post the request; returns when the answer's headers are here.

        Raises `GatewayError`: UPSTREAM_UNREACHABLE (nothing was dispatched), UPSTREAM_TIMEOUT (silence after it was),
        UPSTREAM_BROKE (the connection ended before an answer).
        """
        try:
            response = await self._session.post(
                URL(self._base + request.path, encoded=True),
                data=request.body if len(request.body) <= PLAIN_BODY_BYTES_MAX else BytesIO(request.body),
                headers=self._outgoing(request.headers),
                allow_redirects=False,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _send_failure(self.id, error) from error
        if 300 <= response.status < 400:
            response.close()
            raise GatewayError(
                Reason.UPSTREAM_UNREACHABLE,
                f"Upstream '{self.id}' answered with a redirect ({response.status}), which is never followed; "
                "set its base_url to the final address.",
            )
        return AnthropicAnswer(self.id, response)

    async def close(self) -> None:
        """Nothing of its own to close: the session is shared and belongs to whoever built it."""

    def _outgoing(self, chosen: Sequence[tuple[str, str]]) -> CIMultiDict[str]:
        """Names in lower case: the client session keeps repeats only of names that are spelled alike."""
        dropped = self._dropped
        headers = CIMultiDict((low, value) for name, value in chosen if (low := name.lower()) not in dropped)
        headers.extend(self._fixed)
        return headers


def _credential_headers(config: UpstreamConfig) -> tuple[tuple[str, str], ...]:
    """How the upstream wants its credential shown; empty when it has none."""
    if config.api_key is not None:
        return (("x-api-key", config.api_key.reveal()),)
    if config.bearer is not None:
        return (("authorization", f"Bearer {config.bearer.reveal()}"),)
    return ()


def _send_failure(upstream_id: str, error: Exception) -> GatewayError:
    """Name the failure without the error's own text, which may hold the address or a header."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return GatewayError(
            Reason.UPSTREAM_UNREACHABLE, f"Upstream '{upstream_id}' did not accept a connection in time; try again."
        )
    if isinstance(error, asyncio.TimeoutError):
        return GatewayError(
            Reason.UPSTREAM_TIMEOUT, f"Upstream '{upstream_id}' did not answer in time; try again or raise its timeout."
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return GatewayError(
            Reason.UPSTREAM_UNREACHABLE,
            f"Upstream '{upstream_id}' cannot be reached ({_cause(error)}); check its base_url and the network.",
        )
    if isinstance(error, (aiohttp.InvalidURL, ValueError)):
        return GatewayError(
            Reason.UPSTREAM_UNREACHABLE,
            f"A request for upstream '{upstream_id}' could not be written ({type(error).__name__}); check its base_url "
            "and the headers it is given.",
        )
    return GatewayError(
        Reason.UPSTREAM_BROKE, f"Upstream '{upstream_id}' closed the connection before it answered; try again."
    )


def _body_failure(upstream_id: str, error: Exception) -> GatewayError:
    if isinstance(error, asyncio.TimeoutError):
        return GatewayError(Reason.UPSTREAM_TIMEOUT, f"Upstream '{upstream_id}' fell silent within its answer.")
    return GatewayError(Reason.UPSTREAM_BROKE, f"Upstream '{upstream_id}' broke off within its answer.")


def _cause(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    return error.strerror or "connection failed"
