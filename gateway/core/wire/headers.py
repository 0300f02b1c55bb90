"""Which headers travel: request headers kept for the upstream, response headers kept for the client."""

from collections.abc import Iterable, Sequence

from gateway.contract import OWN_HEADER_PREFIX, REQUEST_ID_HEADER
from gateway.core.wire.redaction import redact
from gateway.core.wire.shapes import Shape

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 section 7.6.1, and the two names that proxies still meet."""

_NOT_UPSTREAM = HOP_BY_HOP | {
    "host",
    "content-length",
    "expect",
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "accept-encoding",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-vertex-ai-llm-request-type",
    "x-vertex-ai-llm-shared-request-type",
}
"""The last four choose what a request costs, which the price table does not know; an operator may configure them."""
_REQUEST_IDS = (REQUEST_ID_HEADER, "x-amzn-requestid", "apim-request-id", "x-request-id")
_UNIVERSAL = ("anthropic-", "retry-after", "x-should-retry", "date")
_NOT_DOWNSTREAM = HOP_BY_HOP | {
    "content-length",
    "set-cookie",
    "alt-svc",
    "location",
    "server",
    "strict-transport-security",
    "via",
    "www-authenticate",
}
"""Framing, and what speaks of the upstream's own address or credential."""


def upstream_headers(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The client's headers without its credential, hop-by-hop ones and ours; bodies are asked for uncompressed."""
    connection: set[str] = set()
    kept: list[tuple[str, str]] = []
    for name, value in pairs:
        lower = name.lower()
        if lower == "connection":
            connection.update(token.strip().lower() for token in value.split(","))
        elif lower not in _NOT_UPSTREAM and not lower.startswith(OWN_HEADER_PREFIX):
            kept.append((name, value))
    if len(connection - {"keep-alive", "close"}) > 0:
        kept = [(name, value) for name, value in kept if name.lower() not in connection]
    kept.append(("Accept-Encoding", "identity"))
    return kept


def downstream_headers(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The upstream's headers as the client gets them: all but hop-by-hop, length, cookies and its own address."""
    return [
        (name, value)
        for name, value in pairs
        if (lower := name.lower()) not in _NOT_DOWNSTREAM and not lower.startswith(OWN_HEADER_PREFIX)
    ]


def clean_headers(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without those that name the operator's account, project or machines."""
    return [(name, value) for name, value in pairs if redact(value) is value]


def translated_headers(pairs: Sequence[tuple[str, str]], dialect: Shape, *, stream: bool) -> list[tuple[str, str]]:
    """An upstream's headers for a client of another shape: only what means the same in both, and its content type."""
    kept = [(name, value) for name, value in pairs if name.lower().startswith(_UNIVERSAL)]
    request_id = request_id_of(pairs)
    if dialect != "bedrock":
        kept.append(("content-type", "text/event-stream; charset=utf-8" if stream else "application/json"))
        return kept if request_id is None else [*kept, (REQUEST_ID_HEADER, request_id)]
    kept.append(("content-type", "application/vnd.amazon.eventstream" if stream else "application/json"))
    if stream:
        kept.append(("x-amzn-bedrock-content-type", "application/json"))
    return kept if request_id is None else [*kept, ("x-amzn-requestid", request_id), (REQUEST_ID_HEADER, request_id)]


def request_id_of(pairs: Sequence[tuple[str, str]]) -> str | None:
    """The upstream's own id of a request, whatever it calls it."""
    return next((value for wanted in _REQUEST_IDS for name, value in pairs if name.lower() == wanted), None)


def first(pairs: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of a header, by lower-case name."""
    for key, value in pairs:
        if key.lower() == name:
            return value
    return None
