"""Which headers travel: request headers kept for the upstream, response headers kept for the client."""

from collections.abc import Iterable, Sequence

from gateway.contract import OWN_HEADER_PREFIX

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
}
_NOT_DOWNSTREAM = HOP_BY_HOP | {"content-length", "set-cookie"}


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
    """The upstream's headers as the client gets them: all but hop-by-hop, length and cookies."""
    return [(name, value) for name, value in pairs if name.lower() not in _NOT_DOWNSTREAM]


def first(pairs: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of a header, by lower-case name."""
    for key, value in pairs:
        if key.lower() == name:
            return value
    return None
