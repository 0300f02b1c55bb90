"""Rows beside money on a real file: what waits counts as written, and what was not seen for long is forgotten."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.stores.batch import Batch, write
from gateway.stores.database import connect
from gateway.stores.kept import Kept, forget, read_agents, read_records
from tests.support.agents import NOW, agent_record


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "l.db")) as opened:
        yield opened


def saved(*agents: str, seen: int = NOW, session: str = "s") -> Kept:
    kept = Kept()
    for agent in agents:
        kept.save(agent_record(agent, session, requests=1, last_seen_ms=seen))
    return kept


def names(connection: sqlite3.Connection, table: str) -> list[str]:
    column = {"agents": "agent", "sessions": "id"}[table]
    return [name for (name,) in connection.execute(f"SELECT {column} FROM {table} ORDER BY 1")]


def test_failed_batch_and_what_came_after_it_are_written_in_their_order(connection: sqlite3.Connection) -> None:
    failed = saved("a", "b", "c")
    failed.records = {("fuse", "f"): b"1", ("fuse", "g"): b"1"}
    failed.release(("s", "c"))
    later = saved("d")
    later.records = {("fuse", "f"): b"2", ("fuse", "g"): None}
    later.release(("s", "a"))
    later.save(agent_record("c", requests=5))
    write(connection, Batch(kept=failed).without_holds(Batch(kept=later)))
    assert {agent.agent: agent.requests for agent in read_agents(connection, 0)} == {"b": 1, "c": 5, "d": 1}
    assert [(record.id, record.text) for record in read_records(connection)] == [("f", b"2")]


def test_count_of_agents_is_the_same_before_and_after_they_are_written(connection: sqlite3.Connection) -> None:
    write(connection, Batch(kept=saved("main", "a", "b")))
    kept = saved("main", "b", "c")
    kept.release(("s", "a"))
    assert kept.claim(connection, agent_record("d")).agents == 3
    assert kept.claim(connection, agent_record("a")).agents == 4
    write(connection, Batch(kept=kept))
    assert Kept().claim(connection, agent_record("a")).agents == 4
    assert names(connection, "agents") == ["a", "b", "c", "d", "main"]


def test_session_of_the_file_outranks_one_that_waits(connection: sqlite3.Connection) -> None:
    write(connection, Batch(kept=saved("a")))
    kept = Kept()
    kept.save(agent_record("b", credential="ci"))
    assert kept.claim(connection, agent_record("c", credential="ci")).credential == "laptop"
    write(connection, Batch(kept=kept))
    assert Kept().claim(connection, agent_record("c", credential="ci")).credential == "laptop"


def test_agents_that_were_not_seen_since_are_forgotten_and_sessions_with_their_last_agent(
    connection: sqlite3.Connection,
) -> None:
    write(connection, Batch(kept=saved("old", "new", seen=NOW - 1).then(saved("old", session="t", seen=NOW - 1))))
    write(connection, Batch(kept=saved("new", seen=NOW)))
    connection.execute("UPDATE sessions SET first_seen_ms = ?", (NOW - 1,))
    forget(connection, NOW)
    assert (names(connection, "agents"), names(connection, "sessions")) == (["new"], ["s"])
    write(connection, Batch(kept=Kept(unseen_since_ms=NOW + 1)))
    assert (names(connection, "agents"), names(connection, "sessions")) == ([], [])
