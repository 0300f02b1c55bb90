"""A cloud's library is an extra: what is said when the configuration needs one that is not installed.

Not the import itself: a backend imports what it needs inside `library_of`, when one of its upstreams is built.
"""

from collections.abc import Generator
from contextlib import contextmanager

from gateway.config import UpstreamConfig
from gateway.config.backends import BACKENDS
from gateway.errors import GatewayError, Reason

_OURS = ("gateway", "runtime")


@contextmanager
def library_of(config: UpstreamConfig) -> Generator[None]:
    """Imports within it name the extra to install when they fail. Raises `GatewayError(UPSTREAM_UNREACHABLE)`."""
    try:
        yield
    except ImportError as error:
        extra = BACKENDS[config.backend].extra
        if extra is None or (error.name or "").partition(".")[0] in _OURS:
            raise
        raise GatewayError(
            Reason.UPSTREAM_UNREACHABLE,
            f"Upstream '{config.id}' (backend {config.backend}) needs a library that is not installed "
            f"({error.name or error}); install it with: pip install 'ringfence[{extra}]'",
        ) from error
