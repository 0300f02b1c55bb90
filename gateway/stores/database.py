"""Opening the SQLite file: settings, migrations, the owner's lock, and what its errors mean. No tables are read here.

Durability: write-ahead log with synchronous=NORMAL. What was committed survives the death of the process, also by
SIGKILL; after a power loss the commits since the last checkpoint (about a second) may be gone, never the file.
"""

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import GatewayError, Reason

APPLICATION_ID = 0x52464E43
"""Marks the file as ours, so that another program's database is never migrated."""
BUSY_TIMEOUT_MS = 1_000
"""How long a connection waits for another process's write, such as `ringfence credentials create`."""
PAGE_CACHE_KIB = 8_192

_migrations = Path(__file__).with_name("migrations")


class StoreInvalid(GatewayError):
    """The database cannot be used as it is. The message names the file and the next step."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(Reason.STORE_UNAVAILABLE, f"database {path}: {problem}")


class Owner:
    """The one process that may keep a ledger in the file: holds a lock on `<file>.lock` until `close`."""

    def __init__(self, path: Path) -> None:
        lock_path = path.with_name(path.name + ".lock")
        with explained(path):
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace").strip()
            os.close(self._lock)
            raise StoreInvalid(
                path,
                f"is in use by another gateway (process {holder or 'unknown'}): stop that one, or give this one its "
                "own store.url; a SQLite store has one owner",
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let the next owner in."""
        os.close(self._lock)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the migrated file, which is created when there is none; may be handed to another thread.

    Raises:
        StoreInvalid: the file cannot be opened, read or written, is damaged, is not ours, or is of a newer version.
    """
    with explained(path):
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
            _migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page once.

    Raises:
        StoreInvalid: the file is damaged.
    """
    with explained(path):
        found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreInvalid(path, f"is damaged ({found}): restore a backup, or move the file away to start a new one")


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn errors of SQLite and of the file system into `StoreInvalid`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreInvalid(path, explain(error)) from error


def explain(error: Exception) -> str:
    """What happened and what to do, in one sentence."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    match primary:
        case sqlite3.SQLITE_FULL:
            return "the disk is full: free some space"
        case sqlite3.SQLITE_READONLY:
            return "is read-only: make the file and its folder writable for the gateway"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"is damaged or not a database ({error}): restore a backup, or move the file away to start a new one"
        case sqlite3.SQLITE_CANTOPEN:
            return "cannot be opened: check that its folder exists and is writable"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"was locked by another process for more than {BUSY_TIMEOUT_MS} ms: find and stop it"
        case _:
            return f"cannot be used ({error}): check the disk, the path and its permissions"


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = sorted(_migrations.glob("*.sql"))
    if _version(connection) == len(scripts) and _is_ours(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(scripts):
            raise StoreInvalid(
                path,
                f"was written by a newer version (schema {version}, this one knows {len(scripts)}): upgrade ringfence, "
                "or restore a backup made before",
            )
        if not _is_ours(connection) and connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise StoreInvalid(path, "belongs to another program: choose another store.url")
        for script in scripts[version:]:
            for statement in _statements(script.read_text(encoding="utf-8")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(scripts)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _is_ours(connection: sqlite3.Connection) -> bool:
    return connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def _statements(script: str) -> Iterator[str]:
    """One statement at a time: `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
