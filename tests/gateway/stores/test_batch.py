"""Batches on a real file: all or nothing, twice is once, and what a fold leaves."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.ledger import Hold
from gateway.stores.batch import Batch, expire_orphans, fold, fold_days, hold_row, read_hours, write
from gateway.stores.database import connect


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "l.db")) as opened:
        yield opened


def row(id: str, *accounts: str, charge: int = 30) -> tuple[str, bytes, int, int]:
    return hold_row(Hold(id, accounts or ("org",), charge, 10, 0, 60_000), charge)


def open_ids(connection: sqlite3.Connection) -> list[str]:
    return [id for (id,) in connection.execute("SELECT id FROM holds WHERE cost_nanousd IS NULL")]


def test_ended_holds_become_spend_of_each_account_by_hour(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a", "org", "user:x"), row("b"), row("c")], ends=[(5, 100, "a"), (7, 101, "b")]))
    fold(connection)
    assert read_hours(connection, "org") == [(100, 5), (101, 7)]
    assert read_hours(connection, "user:x") == [(100, 5)]
    assert open_ids(connection) == ["c"]


def test_batch_that_is_written_twice_counts_once(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a")]))
    for _ in range(2):
        write(connection, Batch(ends=[(5, 100, "a")]))
    fold(connection)
    write(connection, Batch(ends=[(5, 100, "a")], releases=["a"]))
    fold(connection)
    assert read_hours(connection, "org") == [(100, 5)]


def test_batch_that_fails_in_the_middle_leaves_nothing(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a")]))
    with pytest.raises(sqlite3.IntegrityError):
        write(connection, Batch(holds=[row("b"), row("a")], ends=[(5, 100, "a")]))
    assert open_ids(connection) == ["a"]
    assert not connection.in_transaction


def test_release_takes_an_open_hold_and_not_an_ended_one(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a"), row("b")], ends=[(5, 100, "a")]))
    write(connection, Batch(releases=["a", "b"]))
    fold(connection)
    assert read_hours(connection, "org") == [(100, 5)]
    assert open_ids(connection) == []


def test_orphans_are_spend_at_their_charge(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a", charge=30), row("b", charge=4)], ends=[(5, 99, "b")]))
    assert expire_orphans(connection, 100) == 1
    assert read_hours(connection, "org") == [(99, 5), (100, 30)]


def test_old_hours_are_folded_into_days_and_new_ones_stay(connection: sqlite3.Connection) -> None:
    now = 24 * 100 + 5
    old = 24 * 10
    ends = [(1, old, "a"), (2, old + 7, "b"), (4, old + 24 + 1, "c"), (8, now - 24, "d")]
    write(connection, Batch(holds=[row(id) for id in "abcd"], ends=ends))
    fold(connection)
    for _ in range(2):
        fold_days(connection, now)
    assert read_hours(connection, "org") == [(old, 3), (old + 24, 4), (now - 24, 8)]


def test_failed_batch_keeps_all_but_its_holds_which_are_released(connection: sqlite3.Connection) -> None:
    failed = Batch(holds=[row("a")], ends=[(1, 1, "x")], releases=["y"])
    rest = failed.without_holds(Batch(holds=[row("b")], ends=[(2, 2, "z")]))
    assert [held[0] for held in rest.holds] == ["b"]
    assert (rest.ends, rest.releases) == ([(1, 1, "x"), (2, 2, "z")], ["y", "a"])
    assert not Batch() and rest
