"""Opening the file: migrations, foreign files, and errors that name the file and the next step."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import gateway.stores.database
from gateway.core.money.windows import HOUR_MS
from gateway.errors import Reason
from gateway.stores.batch import expire_orphans, read_usage
from gateway.stores.database import APPLICATION_ID, Owner, StoreInvalid, connect, explain
from gateway.stores.kept import Kept, read_agents, read_records
from tests.support.agents import agent_record


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_new_file_is_migrated_marked_and_private(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "l.db")) as connection:
        assert pragma(connection, "application_id") == APPLICATION_ID
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "user_version") == 3
    assert (tmp_path / "l.db").stat().st_mode & 0o777 == 0o600


def test_second_opening_keeps_what_is_there(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "l.db")) as connection:
        connection.execute("INSERT INTO changes VALUES ('f', 7)")
    with closing(connect(tmp_path / "l.db")) as connection:
        assert connection.execute("SELECT count FROM changes WHERE name = 'f'").fetchall() == [(7,)]


def test_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "l.db")) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreInvalid, match=r"newer version \(schema 99, this one knows 3\): upgrade"):
        connect(tmp_path / "l.db")


def test_file_of_the_first_version_keeps_its_spend_and_its_holds(tmp_path: Path) -> None:
    first = Path(gateway.stores.database.__file__).with_name("migrations") / "0001_first.sql"
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        connection.executescript(first.read_text())
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("PRAGMA user_version=1")
        connection.execute("INSERT INTO spend VALUES ('org', 100, 7)")
        for id, cost, hour in (("open", None, None), ("ended", 4, 101)):
            connection.execute("INSERT INTO holds VALUES (?, '[\"org\"]', 30, 9, ?, ?)", (id, cost, hour))
        connection.commit()
    with closing(connect(tmp_path / "l.db")) as connection:
        (orphan,) = expire_orphans(connection, 102 * HOUR_MS)
        usage = {spend.quarter_ms // HOUR_MS: spend.amounts.cost for spend in read_usage(connection, "org")}
    assert (orphan.id, orphan.accounts, orphan.charge.cost) == ("open", ("org",), 30)
    assert usage == {100: 7, 101: 4, 102: 30}


def test_file_of_the_second_version_keeps_its_fuses_and_whose_its_sessions_are(tmp_path: Path) -> None:
    migrations = Path(gateway.stores.database.__file__).with_name("migrations")
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        for script in ("0001_first.sql", "0002_meters.sql"):
            connection.executescript((migrations / script).read_text())
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("PRAGMA user_version=2")
        connection.execute("INSERT INTO fuses VALUES ('f', ?)", (b'{"state":"blown"}',))
        for credential, session, agent, first in (
            ("late", "s", "a", 9),
            ("early", "s", "a", 5),
            ("early", "s", "b", 7),
        ):
            record = msgspec.json.encode(agent_record(agent, session, credential, first_seen_ms=first))
            connection.execute("INSERT INTO agents VALUES (?, ?, ?, ?, ?)", (credential, session, agent, first, record))
        connection.commit()
    with closing(connect(tmp_path / "l.db")) as connection:
        assert read_records(connection) == [("fuse", "f", b'{"state":"blown"}')]
        agents = [(each.credential, each.agent) for each in read_agents(connection, 0)]
        claimed = Kept().claim(connection, agent_record("c", credential="late"))
    assert agents == [("early", "a"), ("early", "b")]
    assert (claimed.credential, claimed.user, claimed.agents) == ("early", "alice", 2)


def test_file_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreInvalid, match="another program"):
        connect(tmp_path / "other.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")] == ["theirs"]


def test_folder_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    for use in (connect, Owner):
        with pytest.raises(StoreInvalid, match="check the disk, the path and its permissions") as caught:
            use(tmp_path / "none" / "l.db")
        assert caught.value.reason is Reason.STORE_UNAVAILABLE


def test_folder_in_place_of_the_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "l.db").mkdir()
    with pytest.raises(StoreInvalid, match="cannot be opened"):
        connect(tmp_path / "l.db")


def test_write_to_a_read_only_database_says_so(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "l.db")):
        pass
    uri = f"file:{tmp_path}/l.db?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("INSERT INTO changes VALUES ('f', 7)")
        assert "read-only" in explain(caught.value) and "writable" in explain(caught.value)


def test_full_database_says_that_the_disk_is_full(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "l.db")) as connection:
        connection.execute("PRAGMA max_page_count=1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("INSERT INTO changes VALUES (?, 1)", ("x" * 20_000,))
    assert explain(caught.value) == "the disk is full: free some space"
