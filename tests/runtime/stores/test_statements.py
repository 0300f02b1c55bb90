"""Jobs of the writer: those that refuse have changed nothing, and forgetting comes in small portions."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.ports import Lease, LeaseLost, RunExists
from runtime.stores import statements
from runtime.stores.database import connect, open_file
from runtime.stores.rows import Beginning
from runtime.stores.writer import Refusal
from tests.runtime.stores.homes import NOW, RUN, entry_of, run_row


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    open_file(tmp_path / "l-runs.db").close()
    with closing(connect(tmp_path / "l-runs.db")) as connection:
        yield connection


def beginning(run: str = RUN, *, key: str | None = None, state: str = "running") -> Beginning:
    return Beginning(run_row(run, state=state), entry_of("a"), "p1", key, NOW)  # type: ignore[arg-type]


def test_append_under_a_lost_lease_changes_nothing(connection: sqlite3.Connection) -> None:
    statements.create(connection, beginning())
    before = connection.total_changes
    with pytest.raises(Refusal) as refused:
        statements.append(connection, Lease(RUN, "p1", 7), entry_of("b"))
    assert isinstance(refused.value.cause, LeaseLost) and connection.total_changes == before


@pytest.mark.parametrize("run", [RUN, "wf_bbbbbb"], ids=["same run", "same key"])
def test_start_that_was_made_before_changes_nothing(connection: sqlite3.Connection, run: str) -> None:
    statements.create(connection, beginning(key="key"))
    connection.execute("UPDATE leases SET owner = 'p2'")
    before = connection.total_changes
    with pytest.raises(Refusal) as refused:
        statements.create(connection, beginning(run, key="key"))
    assert isinstance(refused.value.cause, RunExists) and connection.total_changes == before


def test_runs_are_forgotten_in_small_portions(connection: sqlite3.Connection) -> None:
    for number in range(statements.PURGE_RUNS_MAX + 1):
        statements.create(connection, beginning(f"wf_old{number:03}", state="failed"))
    assert [statements.purge(connection, NOW + 1) for _ in range(3)] == [statements.PURGE_RUNS_MAX, 1, 0]
    tables = ("runs", "leases", "lines", "events", "starts", "outcomes", "blobs", "blob_refs")
    assert [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables] == [0] * len(tables)
