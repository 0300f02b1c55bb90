"""What is read from the SQLite file, and on which threads: never the event loop's, and never the writer's."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runtime.core.model import OPEN_STATES, RunId
from runtime.ports import EventRow, RunRow, StoreAway
from runtime.stores.database import connect, explain, is_about_file
from runtime.stores.rows import Wanted, decode_row

READERS = 2
"""Threads, so that one long journal does not hold up a list of runs."""

T = TypeVar("T")
_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))


class Readers:
    """Threads with a connection each. Used on one event loop, until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="run-reader", initializer=self._connect)
        self._closed = False

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns. Raises `StoreAway`."""
        if self._closed:
            raise StoreAway(f"the run store {self._path} is closed: ask again after the next start")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)

    def close(self) -> None:
        """Blocks until what was asked for has been read."""
        self._closed = True
        self._threads.shutdown()
        while self._connections:
            self._connections.pop().close()

    def _connect(self) -> None:
        self._local.connection = None

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._local.connection is None:
                self._local.connection = connect(self._path)
                self._connections.append(self._local.connection)
            return query(self._local.connection)
        except sqlite3.Error as error:
            if is_about_file(error):
                raise StoreAway(f"the run store {self._path} {explain(error)}") from error
            raise


def one(connection: sqlite3.Connection, statement: str, *values: Any) -> Any:
    """The first column of the first row, if there is one."""
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]


def find(connection: sqlite3.Connection, run: RunId) -> RunRow | None:
    """A run's row."""
    text = one(connection, "SELECT row FROM runs WHERE id = ?", run)
    return None if text is None else decode_row(text)


def rows(connection: sqlite3.Connection, wanted: Wanted) -> list[RunRow]:
    """Newest first; none after a `before` that is unknown."""
    conditions, values = ["1"], list[Any]()
    for column, value in (("user", wanted.user), ("session", wanted.session)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.states:
        conditions.append(f"state IN ({', '.join('?' * len(wanted.states))})")
        values += wanted.states
    if wanted.before is not None:
        conditions.append("(created_ms, id) < (SELECT created_ms, id FROM runs WHERE id = ?)")
        values.append(wanted.before)
    statement = f"SELECT row FROM runs WHERE {' AND '.join(conditions)} ORDER BY created_ms DESC, id DESC LIMIT ?"
    return [decode_row(text) for (text,) in connection.execute(statement, (*values, wanted.most))]


def completed(connection: sqlite3.Connection, user: str, name: str, most: int) -> list[RunRow]:
    """Newest first."""
    found = connection.execute(
        "SELECT row FROM runs WHERE user = ? AND name = ? AND state = 'completed' "
        "ORDER BY created_ms DESC, id DESC LIMIT ?",
        (user, name, most),
    )
    return [decode_row(text) for (text,) in found]


def abandoned(connection: sqlite3.Connection, now_ms: int) -> list[RunRow]:
    """Open runs that nobody drives, oldest first."""
    found = connection.execute(
        f"SELECT row FROM runs JOIN leases ON run = id WHERE state IN ({_OPEN}) "
        "AND (owner IS NULL OR until_ms <= ?) ORDER BY created_ms, id",
        (now_ms,),
    )
    return [decode_row(text) for (text,) in found]


def held_ms(connection: sqlite3.Connection, runs: Sequence[RunId], now_ms: int) -> dict[RunId, int]:
    """0: nobody's."""
    left = "CASE WHEN owner IS NULL THEN 0 ELSE max(0, until_ms - ?) END"
    statement = f"SELECT run, {left} FROM leases WHERE run IN ({', '.join('?' * len(runs))})"
    return {RunId(run): left_ms for run, left_ms in connection.execute(statement, (now_ms, *runs))}


def open_runs(connection: sqlite3.Connection, session: str, user: str) -> int:
    """How many."""
    statement = f"SELECT count(*) FROM runs WHERE session = ? AND user = ? AND state IN ({_OPEN})"
    return one(connection, statement, session, user)


def lines(connection: sqlite3.Connection, run: RunId, after: int, most: int | None) -> list[tuple[int, bytes]]:
    """Numbered from 1, in order."""
    statement = "SELECT number, text FROM lines WHERE run = ? AND number > ? ORDER BY number LIMIT ?"
    return connection.execute(statement, (run, after, -1 if most is None else most)).fetchall()


def events(connection: sqlite3.Connection, run: RunId, after: int, types: Sequence[str], most: int) -> list[EventRow]:
    """In order."""
    wanted = f"AND type IN ({', '.join('?' * len(types))}) " if types else ""
    statement = f"SELECT seq, type, at_ms, text FROM events WHERE run = ? AND seq > ? {wanted}ORDER BY seq LIMIT ?"
    return [
        EventRow(seq=seq, type=type, at_ms=at_ms, text=msgspec.Raw(text))
        for seq, type, at_ms, text in connection.execute(statement, (run, after, *types, most))
    ]
