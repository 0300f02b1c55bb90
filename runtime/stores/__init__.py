"""Where runs are kept: in memory, in a SQLite file beside the ledger's, or in the ledger's Postgres database."""

import asyncio
from pathlib import Path

from runtime.ports import RunStore
from runtime.stores.memory import MemoryRunStore as MemoryRunStore
from runtime.stores.problems import StoreInvalid as StoreInvalid
from runtime.stores.rows import Spawn as Spawn
from runtime.stores.sqlite import SqliteRunStore as SqliteRunStore

SQLITE_SCHEME = "sqlite:///"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
MEMORY_URLS = ("memory:", "sqlite://", "sqlite:///:memory:")
_ASYNCPG = "asyncpg"


async def open_run_store(url: str, *, spawn: Spawn) -> RunStore:
    """Open the store that belongs to the ledger's `store.url`, which is migrated first.

    Raises:
        StoreInvalid: it cannot be used, or there is no such kind; the message says what to do.
    """
    if url in MEMORY_URLS:
        return MemoryRunStore()
    if url.startswith(SQLITE_SCHEME):
        return await asyncio.to_thread(SqliteRunStore, runs_path(url))
    if not url.startswith(POSTGRES_SCHEMES):
        problem = "is of no known kind: sqlite:///file.db and postgresql://user@host/database are known"
        raise StoreInvalid(repr(url.partition(":")[0]), problem)
    try:
        from runtime.stores.postgres import open_postgres
    except ImportError as error:
        if error.name != _ASYNCPG:
            raise
        problem = f"needs {_ASYNCPG}, which is not installed: pip install 'ringfence[postgres]'"
        raise StoreInvalid("on Postgres", problem) from error
    return await open_postgres(url, spawn=spawn)


def runs_path(url: str) -> Path:
    """The file of the runs, beside the one that a SQLite URL names. Raises `StoreInvalid`."""
    ledger = Path(url.removeprefix(SQLITE_SCHEME))
    if not ledger.name:
        raise StoreInvalid(repr(url), "names no database file, such as sqlite:///ringfence.db")
    return ledger.with_name(f"{ledger.stem}-runs{ledger.suffix or '.db'}")
