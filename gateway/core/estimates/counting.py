"""The body of a token count that stands for a request: what is in its prompt, and nothing else. Asks nobody."""

import json
from collections.abc import Mapping

from gateway.core.wire.spans import Span, members

COUNTED = frozenset(
    {
        "anthropic_version",
        "anthropic_beta",
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "output_format",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
"""Fields that the API's token count takes; it refuses a request that has others."""


def count_body(body: bytes, spans: Mapping[str, Span]) -> tuple[bytes, dict[str, Span]]:
    """The fields of a request that a count takes, as they stand in it, and where they stand now."""
    kept = [(name, body[slice(*span)]) for name, span in spans.items() if name in COUNTED]
    counted = b"{" + b",".join(b"%s:%s" % (json.dumps(name).encode(), value) for name, value in kept) + b"}"
    return counted, members(counted)
