"""The exchange that every HTTP backend shares: posts the bytes it is given, yields the bytes that come back.

No retries, no routing, no parsing of bodies; which headers and body go out is the pipeline's choice. The exceptions
are what only a connection can know: the upstream's credential, `accept-encoding: identity` (what we relay must be
readable to the tap) and the framing headers. Where a backend lives and how it is shown its credential is its own file.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.config import Secret, UpstreamConfig
from gateway.contract import BODY_BYTES_MAX, COUNT_TOKENS_PATH, MESSAGES_PATH
from gateway.core.wire.shapes import Shape
from gateway.errors import GatewayError, Reason, Unsendable
from gateway.ports import UpstreamRequest

CONNECT_TIMEOUT_SECONDS = 10.0
PLAIN_BODY_BYTES_MAX = 1024 * 1024
"""Larger bodies are written piece by piece, so that one upload does not hold up the event loop."""

AWS_PREFIX = "x-amz-"
"""Date, token and checksum of a client's own signature begin so: foreign to an upstream that signs anew."""

Headers = Sequence[tuple[str, str]]

_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_CONNECTION_HEADERS = frozenset(
    {
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-amz-security-token",
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


def bearer_header(secret: str) -> tuple[str, str]:
    """The header that shows a bearer."""
    return ("authorization", f"Bearer {secret}")


def credential_headers(api_key: Secret | None, bearer: Secret | None, names: Sequence[str] = ("x-api-key",)) -> Headers:
    """How a backend wants a credential of the configuration shown; empty when there is none."""
    if api_key is not None:
        return [(name, api_key.reveal()) for name in names]
    if bearer is not None:
        return [bearer_header(bearer.reveal())]
    return []


def messages_path(request: UpstreamRequest) -> str:
    """Path and query of an Anthropic-shaped backend: the client's own, else what its operation is called there."""
    return request.path or (COUNT_TOKENS_PATH if request.operation == "count_tokens" else MESSAGES_PATH)


class HttpAnswer:
    """An answer whose headers have arrived. Closing it before its end drops the connection."""

    __slots__ = ("_ahead", "_response", "_upstream_id", "headers", "status")

    def __init__(self, upstream_id: str, response: aiohttp.ClientResponse) -> None:
        self._upstream_id = upstream_id
        self._response = response
        self._ahead = b""
        self.status = response.status
        self.headers: Headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers
        ]

    async def beginning(self, bytes_min: int) -> bytes:
        """The body's first bytes, at least `bytes_min` if there are so many; `chunks` yields them again.

        Never raises: where the body breaks off, `chunks` will say so.
        """
        content = self._response.content
        try:
            while len(self._ahead) < bytes_min and (chunk := await content.readany()):
                self._ahead += chunk
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        return self._ahead

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, still encoded as `content-encoding` says."""
        content = self._response.content
        if self._ahead:
            yield self._ahead
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


class Endpoint:
    """One configured address, with the headers that every request to it gets."""

    def __init__(
        self,
        config: UpstreamConfig,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        own: Headers = (),
        foreign_prefix: str | None = None,
    ) -> None:
        """`base_url` is for a configuration that names none; it may carry a path prefix.

        `own` and the configured headers replace the client's of the same name. Headers of the client that begin with
        `foreign_prefix` (lower case) stay here: they would speak to the cloud in its name.
        """
        self.id = config.id
        self._base = (config.base_url or base_url).rstrip("/")
        self._session = session
        self._fixed = (("accept-encoding", "identity"), *config.headers, *own)
        self._dropped = _CONNECTION_HEADERS | {name.lower() for name, _ in self._fixed}
        self._foreign_prefix = foreign_prefix
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout_seconds, sock_read=config.read_timeout_seconds
        )

    async def post(self, path: str, request: UpstreamRequest) -> HttpAnswer:
        """Post a request whose credential, if any, is among the endpoint's own headers. Raises as `exchange` does."""
        return await self.exchange(self.url(path), self.outgoing(request.headers), request.body)

    async def exchange(self, url: URL, headers: CIMultiDict[str], body: bytes) -> HttpAnswer:
        """Post exactly these headers and bytes to exactly this address; returns when the answer's headers are here.

        Raises `GatewayError`: UPSTREAM_UNREACHABLE (nothing was dispatched), UPSTREAM_TIMEOUT (silence after it was),
        UPSTREAM_BROKE (the connection ended before an answer).
        """
        try:
            response = await self._session.post(
                url,
                data=body if len(body) <= PLAIN_BODY_BYTES_MAX else BytesIO(body),
                headers=headers,
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
        return HttpAnswer(self.id, response)

    def url(self, path: str) -> URL:
        """The address of an encoded path, with no character of either changed. Raises `GatewayError`."""
        try:
            if not path.startswith("/"):
                raise ValueError("a path without its slash would lengthen the host")
            return URL(self._base + path, encoded=True)
        except ValueError as error:
            raise _send_failure(self.id, error) from error

    def outgoing(self, chosen: Headers) -> CIMultiDict[str]:
        """Names in lower case: the client session keeps repeats only of names that are spelled alike."""
        if self._foreign_prefix is not None:
            chosen = [pair for pair in chosen if not pair[0].lower().startswith(self._foreign_prefix)]
        dropped = self._dropped
        headers = CIMultiDict((low, value) for name, value in chosen if (low := name.lower()) not in dropped)
        headers.extend(self._fixed)
        return headers


class Poster(Protocol):
    """Posts a request with the upstream's credential: one fixed in the endpoint, a bearer, a signature."""

    async def post(self, path: str, request: UpstreamRequest) -> HttpAnswer: ...


@dataclass(frozen=True, slots=True)
class HttpUpstream:
    """One upstream over HTTP. A backend is the values of these fields."""

    id: str
    backend: str
    shape: Shape
    path_of: Callable[[UpstreamRequest], str]
    """Encoded path and query of a request, below the base address."""
    poster: Poster
    body_bytes_max: int = BODY_BYTES_MAX
    """Past it some backends break the upload off, which would look like their failure."""

    async def send(self, request: UpstreamRequest) -> HttpAnswer:
        """Post the request; returns when the answer's headers are here.

        Raises as `Endpoint.exchange` does, and `Unsendable(BODY_TOO_LARGE)`.
        """
        if len(request.body) > self.body_bytes_max:
            message = f"the body is larger than the {self.body_bytes_max} bytes that upstream '{self.id}' takes"
            raise Unsendable(Reason.BODY_TOO_LARGE, message)
        return await self.poster.post(self.path_of(request), request)

    async def close(self) -> None:
        """Nothing of its own to close: the session is shared and belongs to whoever built it."""


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
        return unwritable(upstream_id, error)
    return GatewayError(
        Reason.UPSTREAM_BROKE, f"Upstream '{upstream_id}' closed the connection before it answered; try again."
    )


def unwritable(upstream_id: str, error: Exception) -> Unsendable:
    """The failure of a request that has no form on the wire."""
    return Unsendable(
        Reason.UPSTREAM_UNREACHABLE,
        f"A request for upstream '{upstream_id}' could not be written ({type(error).__name__}); check its base_url "
        "and the headers it is given.",
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
