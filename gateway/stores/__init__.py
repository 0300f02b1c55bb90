"""Adapters of the ledger, fuse and lineage ports, and the choice between them by URL."""

from pathlib import Path

from gateway.core.ledger import Limits
from gateway.errors import GatewayError, Reason
from gateway.stores.memory import MemoryStore as MemoryStore
from gateway.stores.sqlite import SqliteStore as SqliteStore

SQLITE_SCHEME = "sqlite:///"


def open_store(url: str, limits: Limits, now_ms: int) -> SqliteStore:
    """Open `sqlite:///relative.db` or `sqlite:////absolute.db`, and expire what a dead owner left open.

    Raises:
        GatewayError: STORE_UNAVAILABLE, the URL is not one of these, or the file cannot be used; the message says what
            to do.
    """
    return SqliteStore(database_path(url), limits, now_ms)


def database_path(url: str) -> Path:
    """The file that a store URL names.

    Raises:
        GatewayError: STORE_UNAVAILABLE, it does not name a SQLite file.
    """
    path = url.removeprefix(SQLITE_SCHEME)
    if path == url:
        scheme = url.partition(":")[0]
        known = "sqlite:///relative.db and sqlite:////absolute.db are known"
        raise GatewayError(Reason.STORE_UNAVAILABLE, f"store.url: cannot open a {scheme!r} URL; {known}")
    if not path or path == ":memory:" or path.endswith("/") or "?" in path:
        problem = "must name a database file, such as sqlite:///ringfence.db (without options)"
        raise GatewayError(Reason.STORE_UNAVAILABLE, f"store.url: {url!r} {problem}")
    return Path(path)
