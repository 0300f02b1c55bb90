"""The store of runs on Postgres. What is where: `store.py` implements the port; this opens it."""

from runtime.stores.postgres.schema import migrate
from runtime.stores.postgres.store import PostgresRunStore as PostgresRunStore
from runtime.stores.rows import Spawn


async def open_postgres(url: str, *, spawn: Spawn) -> PostgresRunStore:
    """Open the database, whose schema of runs is migrated first. Raises `StoreInvalid`."""
    await migrate(url)
    return PostgresRunStore(url, spawn)
