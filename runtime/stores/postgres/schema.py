"""The runs' own schema in the ledger's database: made and migrated under a lock, by whoever starts first."""

from pathlib import Path

from runtime.stores.postgres.connections import SCHEMA, Connection, Failed, connect, explain, shown
from runtime.stores.problems import StoreInvalid

SERVER_VERSION_MIN = 14
MIGRATION_SECONDS = 60.0
"""How long a start waits for another one's migration."""
_LOCK = 21065
_PRODUCT = "ringfence runs"

_migrations = Path(__file__).with_name("migrations")


async def migrate(url: str) -> None:
    """Bring the database up to this version.

    Raises:
        StoreInvalid: it cannot be reached, is too old a server, is not ours, or was written by a newer version.
    """
    try:
        connection = await connect(url, "start")
        try:
            if connection.get_server_version().major < SERVER_VERSION_MIN:
                raise StoreInvalid(shown(url), f"runs Postgres older than {SERVER_VERSION_MIN}: upgrade the server")
            await connection.execute(f"SET statement_timeout = {int(MIGRATION_SECONDS * 1000)}")
            async with connection.transaction():
                await _migrate(connection, url)
        finally:
            await connection.close()
    except (*Failed, ValueError) as error:
        raise StoreInvalid(shown(url), explain(error)) from error


async def _migrate(connection: Connection, url: str) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=MIGRATION_SECONDS)
    scripts = sorted(_migrations.glob("*.sql"))
    version = await _version(connection, url)
    if version > len(scripts):
        raise StoreInvalid(
            shown(url),
            f"was written by a newer version (schema {version}, this one knows {len(scripts)}): upgrade ringfence, or "
            "restore a backup made before",
        )
    if version == 0:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await connection.execute(
            f"CREATE TABLE {SCHEMA}.schema_version (product text NOT NULL, version integer NOT NULL)"
        )
        await connection.execute(f"INSERT INTO {SCHEMA}.schema_version VALUES ($1, 0)", _PRODUCT)
    for script in scripts[version:]:
        await connection.execute(script.read_text(encoding="utf-8"), timeout=MIGRATION_SECONDS)
    await connection.execute(f"UPDATE {SCHEMA}.schema_version SET version = $1", len(scripts))


async def _version(connection: Connection, url: str) -> int:
    """0: there is nothing of ours, nor of anybody else in our schema."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.schema_version") is not None:
        row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.schema_version")
        if row is not None and set(row.keys()) == {"product", "version"} and row["product"] == _PRODUCT:
            return row["version"]
    elif not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1))", SCHEMA
    ):
        return 0
    raise StoreInvalid(shown(url), f"has a schema {SCHEMA!r} of another program: choose another database in store.url")
