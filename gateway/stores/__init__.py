"""Adapters of the ledger, limit, shared-record and lineage ports, and the choice between them by URL."""

from pathlib import Path
from typing import Protocol

from gateway.config import Store as StoreConfig
from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.errors import GatewayError, Reason
from gateway.ports import NOBODY_TOLD, Store, Told
from gateway.stores.credentials import CredentialRow, CredentialRows
from gateway.stores.memory import MemoryStore as MemoryStore
from gateway.stores.sqlite import SqliteStore as SqliteStore

SQLITE_SCHEME = "sqlite:///"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
_ASYNCPG = "asyncpg"


class Credentials(Protocol):
    """The credentials of a store, for a command. All raise `GatewayError(STORE_UNAVAILABLE)`."""

    def list(self) -> list[CredentialRow]: ...
    def insert(self, row: CredentialRow) -> None: ...
    def revoke(self, id: str, now_ms: int) -> bool: ...


async def open_store(
    config: StoreConfig, limits: Limits, calendar: Calendar, now_ms: int, *, told: Told = NOBODY_TOLD
) -> Store:
    """Open the configured store; in a SQLite file, expire what a dead owner left open.

    Raises:
        GatewayError: STORE_UNAVAILABLE, the URL is none that is known, or the store cannot be used; the message says
            what to do.
    """
    if not is_shared(config):
        return SqliteStore(database_path(config.url), limits, now_ms, calendar=calendar, told=told)
    try:
        from gateway.stores.postgres import open_postgres
    except ImportError as error:
        raise _missing(error) from error
    return await open_postgres(config, limits, calendar, now_ms, told=told)


def is_shared(config: StoreConfig) -> bool:
    """May several gateways use this store at once?"""
    return config.url.startswith(POSTGRES_SCHEMES)


def open_credentials(config: StoreConfig) -> Credentials:
    """The credentials of the configured store. Raises GatewayError as `open_store`."""
    if not is_shared(config):
        return CredentialRows(database_path(config.url))
    try:
        from gateway.stores.postgres.blocking import BlockingCredentials
    except ImportError as error:
        raise _missing(error) from error
    return BlockingCredentials(config.url)


def database_path(url: str) -> Path:
    """The file that a store URL names.

    Raises:
        GatewayError: STORE_UNAVAILABLE, it does not name a SQLite file.
    """
    path = url.removeprefix(SQLITE_SCHEME)
    if path == url:
        scheme = url.partition(":")[0]
        known = "sqlite:///relative.db, sqlite:////absolute.db and postgresql://user@host/database are known"
        raise GatewayError(Reason.STORE_UNAVAILABLE, f"store.url: cannot open a {scheme!r} URL; {known}")
    if not path or path == ":memory:" or path.endswith("/") or "?" in path:
        problem = "must name a database file, such as sqlite:///ringfence.db (without options)"
        raise GatewayError(Reason.STORE_UNAVAILABLE, f"store.url: {url!r} {problem}")
    return Path(path)


def _missing(error: ImportError) -> GatewayError:
    if error.name != _ASYNCPG:
        raise error
    message = f"store.url: Postgres needs {_ASYNCPG}, which is not installed: pip install 'ringfence[postgres]'"
    return GatewayError(Reason.STORE_UNAVAILABLE, message)
