"""Opening the file of the runs: settings, others' files, and whose leases are let go."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runtime.stores import StoreInvalid
from runtime.stores.database import APPLICATION_ID, connect, explain, is_about_file, open_file
from runtime.stores.queries import completed
from runtime.stores.rows import encode_row
from tests.runtime.stores.homes import NOW, RUN, TTL_MS, SqliteHome, begin, run_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l-runs.db"


def test_new_file_is_private_and_syncs_every_commit(path: Path) -> None:
    open_file(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(connect(path)) as connection:
        asked = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert asked == ["wal", 2]


def test_file_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreInvalid, match=r"l-runs\.db: belongs to another program"):
        open_file(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_file_of_a_newer_version_is_refused(path: Path) -> None:
    open_file(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version=99")
    with pytest.raises(StoreInvalid, match="newer version.*upgrade"):
        open_file(path)


def test_runs_of_a_file_of_an_earlier_version_are_found_by_their_names(path: Path) -> None:
    open_file(path).close()
    row = run_row(state="completed")
    kept = (row.id, row.owner.user, row.session, row.state, NOW, NOW, encode_row(row))
    with closing(connect(path)) as earlier:
        earlier.execute("DROP INDEX runs_completed")
        earlier.execute("ALTER TABLE runs DROP COLUMN name")
        earlier.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
        earlier.execute("PRAGMA user_version=2")
    open_file(path).close()
    with closing(connect(path)) as connection:
        assert completed(connection, row.owner.user, row.name, 9) == [row]


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreInvalid, match="restore a backup"):
        open_file(path)


def test_file_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreInvalid, match="missing/l-runs.db: cannot be used"):
        open_file(tmp_path / "missing" / "l-runs.db")


def test_file_that_is_refused_is_not_held(path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    path.write_bytes(b"not a database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreInvalid):
            open_file(path)
    path.unlink()
    with closing(open_file(path)) as presence:
        assert presence.alone
    assert len(set(os.listdir("/proc/self/fd"))) == len(before)


def test_file_that_is_opened_again_keeps_what_it_has(path: Path) -> None:
    open_file(path).close()
    with closing(connect(path)) as connection:
        connection.execute("INSERT INTO consents VALUES ('p', 'n', 's', 'alice', 1)")
    open_file(path).close()
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT given_by FROM consents").fetchall() == [("alice",)]
        assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


async def test_leases_of_the_dead_need_not_run_out_when_nobody_else_is_there(tmp_path: Path) -> None:
    home = SqliteHome(tmp_path)
    first = await home.open()
    await begin(first)
    second = await home.open()
    assert await second.acquire(RUN, "p2", NOW, ttl_ms=TTL_MS) is None
    await second.close()
    await first.close()
    third = await home.open()
    taken = await third.acquire(RUN, "p3", NOW, ttl_ms=TTL_MS)
    assert taken is not None and taken.fence == 2
    await home.close()


@pytest.mark.parametrize(
    ("code", "next_step"),
    [
        (sqlite3.SQLITE_FULL, "free some space"),
        (sqlite3.SQLITE_READONLY, "make the file and its folder writable"),
        (sqlite3.SQLITE_CORRUPT, "restore a backup"),
        (sqlite3.SQLITE_CANTOPEN, "check that its folder exists"),
        (sqlite3.SQLITE_BUSY, "find and stop it"),
        (sqlite3.SQLITE_IOERR, "check the disk"),
    ],
)
def test_error_of_the_file_is_told_with_the_next_step(code: int, next_step: str) -> None:
    error = sqlite3.OperationalError("went wrong")
    error.sqlite_errorcode = code  # type: ignore[misc]
    assert next_step in explain(error)
    assert is_about_file(error) and not is_about_file(sqlite3.IntegrityError("twice"))
