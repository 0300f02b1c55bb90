"""Reading the file: on threads of its own, by an index, and for a store that is closed not at all."""

import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.core.model import RunId
from runtime.ports import StoreAway
from runtime.stores import queries
from runtime.stores.database import connect, open_file
from runtime.stores.queries import Readers
from runtime.stores.rows import Wanted

RUN = RunId("wf_aaaaaa")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "l-runs.db"
    open_file(path).close()
    return path


@pytest.fixture
async def readers(path: Path) -> AsyncGenerator[Readers]:
    readers = Readers(path)
    yield readers
    readers.close()


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("lines", "sqlite_autoindex_lines_1 (run=? AND number>?)"),
        ("events", "sqlite_autoindex_events_1 (run=? AND seq>?)"),
        ("rows of all", "runs_newest"),
        ("rows of a user", "runs_of_user (user=?"),
        ("rows of a session", "runs_of_session (session=?"),
        ("completed of a name", "runs_completed (user=? AND name=?)"),
    ],
)
def test_page_is_found_by_an_index_and_comes_sorted(path: Path, name: str, index: str) -> None:
    said: list[str] = []
    before = RunId("wf_before")
    with closing(connect(path)) as connection:
        connection.set_trace_callback(said.append)
        match name:
            case "lines":
                queries.lines(connection, RUN, 99_000, 100)
            case "events":
                queries.events(connection, RUN, 99_000, (), 100)
            case "rows of a user":
                queries.rows(connection, Wanted("alice", None, (), before, 100))
            case "rows of a session":
                queries.rows(connection, Wanted(None, "s1", (), before, 100))
            case "completed of a name":
                queries.completed(connection, "alice", "audit", 100)
            case _:
                queries.rows(connection, Wanted(None, None, (), before, 100))
        connection.set_trace_callback(None)
        plan = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {said[0]}")]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


async def test_nothing_is_read_on_the_event_loops_thread(readers: Readers) -> None:
    thread = await readers.read(lambda connection: threading.current_thread())
    assert thread is not threading.current_thread()


async def test_error_of_the_file_is_away_and_of_a_query_is_not(readers: Readers, path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StoreAway, match=r"l-runs\.db cannot be used \(disk I/O error\)"):
        await readers.read(fail)
    with pytest.raises(sqlite3.ProgrammingError):
        await readers.read(lambda connection: connection.execute("SELECT ?", (1, 2)))
    assert await readers.read(lambda connection: queries.lines(connection, RUN, 0, None)) == []


async def test_reader_of_a_closed_store_is_told_so(path: Path) -> None:
    readers = Readers(path)
    readers.close()
    with pytest.raises(StoreAway, match="is closed"):
        await readers.read(lambda connection: None)
