"""Opening the SQLite file of the runs: settings, migrations, who has it open, what its errors mean. Reads no tables.

Durability: write-ahead log with synchronous=FULL, so what was acknowledged survives a power loss as far as the disk
keeps what it has synced.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from runtime.stores.problems import StoreInvalid

APPLICATION_ID = 0x52465752
"""Marks the file as ours, so that another program's database is never migrated."""
BUSY_TIMEOUT_MS = 2_000
"""How long a write waits for another process's."""
PAGE_CACHE_KIB = 8_192

_BUGS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_migrations = Path(__file__).with_name("migrations")


class Presence:
    """Shows other processes that this one has the file open: a lock on `<file>.lock`, held until `close`.

    The system drops it however a process ends. So whoever finds nobody else there knows that the drivers of all runs
    are gone, and need not wait for their leases.
    """

    def __init__(self, path: Path) -> None:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock: int | None = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.alone = False
        else:
            self.alone = True

    def settle(self) -> None:
        """Let others in."""
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def close(self) -> None:
        """This process has left. May be said more than once."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def open_file(path: Path) -> Presence:
    """Create or migrate the file. Blocks.

    Raises:
        StoreInvalid: it cannot be opened, read or written, is damaged, is not ours, or is of a newer version.
    """
    try:
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        presence = Presence(path)
        try:
            with closing(connect(path)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                _migrate(connection, path)
                if presence.alone:
                    connection.execute("UPDATE leases SET owner = NULL WHERE owner IS NOT NULL")
            presence.settle()
        except BaseException:
            presence.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreInvalid(str(path), explain(error)) from error
    return presence


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the file, which may be handed to another thread. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def is_about_file(error: BaseException) -> bool:
    """Is it the file or its disk that failed, and not what was said?"""
    return isinstance(error, sqlite3.Error) and not isinstance(error, _BUGS)


def explain(error: Exception) -> str:
    """What happened and what to do, in one sentence."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    match primary:
        case sqlite3.SQLITE_FULL:
            return "has no room left on its disk: free some space"
        case sqlite3.SQLITE_READONLY:
            return "is read-only: make the file and its folder writable"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"is damaged or no database ({error}): restore a backup, or move the file away to start a new one"
        case sqlite3.SQLITE_CANTOPEN:
            return "cannot be opened: check that its folder exists and is writable"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"was locked by another process for more than {BUSY_TIMEOUT_MS} ms: find and stop it"
        case _:
            return f"cannot be used ({error}): check the disk, the path and its permissions"


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = sorted(_migrations.glob("*.sql"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(scripts):
            raise StoreInvalid(
                str(path),
                f"was written by a newer version (schema {version}, this one knows {len(scripts)}): upgrade ringfence, "
                "or restore a backup made before",
            )
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise StoreInvalid(str(path), "belongs to another program: choose another store.url")
        for script in scripts[version:]:
            for statement in _statements(script.read_text(encoding="utf-8")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(scripts)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """One at a time: `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
