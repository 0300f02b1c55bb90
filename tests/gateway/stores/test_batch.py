"""Batches on a real file: all or nothing, twice is once, and what a fold leaves."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts
from gateway.core.money.windows import DAY_MS, QUARTER_MS
from gateway.stores.batch import (
    Batch,
    EndRow,
    HoldRow,
    expire_orphans,
    fold,
    fold_days,
    hold_row,
    read_unfolded,
    read_usage,
    write,
)
from gateway.stores.database import connect


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "l.db")) as opened:
        yield opened


def row(id: str, *accounts: str, charge: int = 30, model: str = "m") -> HoldRow:
    amounts = Amounts(charge)
    return hold_row(Hold(id, accounts or ("org",), model, ("b", "c"), amounts, amounts, 0, 60_000), amounts)


def end(id: str, cost: int, quarter: int, backend: str = "b") -> EndRow:
    return cost, 1, 2, 3, backend, quarter * QUARTER_MS + 7, id


def open_ids(connection: sqlite3.Connection) -> list[str]:
    return [id for (id,) in connection.execute("SELECT id FROM holds WHERE ended_ms IS NULL")]


def costs(connection: sqlite3.Connection, account: str = "org") -> list[tuple[int, int]]:
    """Quarter and cost."""
    return [(spend.quarter_ms // QUARTER_MS, spend.amounts.cost) for spend in read_usage(connection, account)]


def test_ended_holds_become_spend_of_each_account_by_hour(connection: sqlite3.Connection) -> None:
    write(
        connection,
        Batch(holds=[row("a", "org", "user:x"), row("b"), row("c")], ends=[end("a", 5, 100), end("b", 7, 101)]),
    )
    fold(connection)
    assert costs(connection) == [(100, 5), (101, 7)]
    assert costs(connection, "user:x") == [(100, 5)]
    assert open_ids(connection) == ["c"]


def test_batch_that_is_written_twice_counts_once(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a")]))
    for _ in range(2):
        write(connection, Batch(ends=[end("a", 5, 100)]))
    fold(connection)
    write(connection, Batch(ends=[end("a", 5, 100)], releases=["a"]))
    fold(connection)
    assert costs(connection) == [(100, 5)]


def test_batch_that_fails_in_the_middle_leaves_nothing(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a")]))
    with pytest.raises(sqlite3.IntegrityError):
        write(connection, Batch(holds=[row("b"), row("a")], ends=[end("a", 5, 100)]))
    assert open_ids(connection) == ["a"]
    assert not connection.in_transaction


def test_release_takes_an_open_hold_and_not_an_ended_one(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a"), row("b")], ends=[end("a", 5, 100)]))
    write(connection, Batch(releases=["a", "b"]))
    fold(connection)
    assert costs(connection) == [(100, 5)]
    assert open_ids(connection) == []


def test_orphans_are_spend_at_their_charge(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a", charge=30), row("b", charge=4)], ends=[end("b", 5, 99)]))
    (orphan,) = expire_orphans(connection, 100 * QUARTER_MS)
    assert (orphan.id, orphan.accounts, orphan.model, orphan.backend) == ("a", ("org",), "m", "b,c")
    assert costs(connection) == [(99, 5), (100, 30)]


def test_old_quarters_are_folded_into_days_and_new_ones_stay(connection: sqlite3.Connection) -> None:
    day = DAY_MS // QUARTER_MS
    now, old = day * 100 + 5, day * 10
    ends = [end("a", 1, old), end("b", 2, old + 7), end("c", 4, old + day + 1), end("d", 8, now - day)]
    write(connection, Batch(holds=[row(id) for id in "abcd"], ends=ends))
    fold(connection)
    for _ in range(2):
        fold_days(connection, now * QUARTER_MS)
    assert costs(connection) == [(old, 3), (old + day, 4), (now - day, 8)]


def test_usage_is_kept_by_model_and_backend_with_every_meter(connection: sqlite3.Connection) -> None:
    holds = [row("a", model="opus"), row("b", model="opus"), row("c", model="haiku")]
    write(connection, Batch(holds=holds, ends=[end("a", 5, 9), end("b", 6, 9), end("c", 7, 9, backend="c")]))
    assert [spend.amounts.cost for spend in read_unfolded(connection, "org")] == [5, 6, 7]
    assert read_unfolded(connection, "or") == []
    fold(connection)
    haiku, opus = read_usage(connection, "org")
    assert (haiku.model, haiku.backend, haiku.amounts) == ("haiku", "c", Amounts(7, 1, 2, 3, 0))
    assert (opus.model, opus.backend, opus.amounts) == ("opus", "b", Amounts(11, 2, 4, 6, 0))
    assert read_unfolded(connection, "org") == []


def test_correction_is_counted_once_and_may_take_usage_back(connection: sqlite3.Connection) -> None:
    write(connection, Batch(holds=[row("a")], ends=[end("a", 30, 9)]))
    correction: HoldRow = ("a+1", b'["org"]', "m", "b", -25, 0, 0, 0, 9 * QUARTER_MS, 9 * QUARTER_MS)
    for _ in range(2):
        write(connection, Batch(corrections=[correction]))
    fold(connection)
    assert costs(connection) == [(9, 5)]


def test_failed_batch_keeps_all_but_its_holds_which_are_released(connection: sqlite3.Connection) -> None:
    failed = Batch(holds=[row("a")], extends=[(1, 1, 1, 1, "e")], ends=[end("x", 1, 1)], releases=["y"])
    rest = failed.without_holds(Batch(holds=[row("b")], ends=[end("z", 2, 2)]))
    assert [held[0] for held in rest.holds] == ["b"]
    assert (rest.ends, rest.releases) == ([end("x", 1, 1), end("z", 2, 2)], ["y", "a"])
    assert rest.extends == []
    assert not Batch() and rest
