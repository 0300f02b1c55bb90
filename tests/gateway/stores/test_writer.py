"""The writer's thread: order, errors and what is on disk when it has closed."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts
from gateway.stores.batch import Batch, EndRow, HoldRow, hold_row, read_usage
from gateway.stores.database import connect
from gateway.stores.writer import QUICK_ROWS_MAX, QuickWriter, Writer


def row(id: str) -> HoldRow:
    return hold_row(Hold(id, ("org",), "m", ("b",), Amounts(30), Amounts(10), 0, 60_000), Amounts(30))


def end(id: str, cost: int) -> EndRow:
    return cost, 1, 0, 0, "b", 5, id


def commit(writer: Writer, batch: Batch) -> Exception | None:
    """Submit and wait for the answer."""
    answered = threading.Event()
    answers: list[Exception | None] = []

    def done(error: Exception | None) -> None:
        answers.append(error)
        answered.set()

    writer.submit(batch, done)
    assert answered.wait(10)
    return answers[0]


def test_committed_batch_is_seen_by_other_connections_at_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l.db")
    assert commit(writer, Batch(holds=[row("a")])) is None
    with closing(connect(tmp_path / "l.db")) as other:
        assert other.execute("SELECT id FROM holds").fetchall() == [("a",)]
    writer.close()


def test_failing_batch_answers_its_error_and_the_writer_goes_on(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l.db")
    commit(writer, Batch(holds=[row("a")]))
    assert isinstance(commit(writer, Batch(holds=[row("a")])), sqlite3.IntegrityError)
    assert commit(writer, Batch(ends=[end("a", 10**30)])) is not None
    assert commit(writer, Batch(holds=[row("b")])) is None
    writer.close()


def test_close_commits_what_was_submitted_folds_it_and_empties_the_log(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l.db")
    errors: list[Exception | None] = []
    for index in range(100):
        writer.submit(Batch(holds=[row(f"h{index}")], ends=[end(f"h{index}", 1)]), errors.append)
    writer.close()
    assert errors == [None] * 100
    assert not (tmp_path / "l.db-wal").exists()
    with closing(connect(tmp_path / "l.db")) as other:
        assert [spend.amounts.cost for spend in read_usage(other, "org")] == [100]


def test_quick_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    with closing(QuickWriter(tmp_path / "l.db")) as quick, closing(connect(tmp_path / "l.db")) as other:
        assert quick.commit(Batch(holds=[row("a")]))
        assert other.execute("SELECT id FROM holds").fetchall() == [("a",)]


def test_busy_file_and_faulty_or_large_batches_are_left_to_the_thread(tmp_path: Path) -> None:
    with closing(QuickWriter(tmp_path / "l.db")) as quick, closing(connect(tmp_path / "l.db")) as other:
        assert not quick.commit(Batch(holds=[row(f"h{index}") for index in range(QUICK_ROWS_MAX + 1)]))
        other.execute("BEGIN IMMEDIATE")
        assert not quick.commit(Batch(holds=[row("a")]))
        other.execute("ROLLBACK")
    with closing(QuickWriter(tmp_path / "l.db")) as quick, closing(connect(tmp_path / "l.db")) as other:
        assert not quick.commit(Batch(holds=[row("b"), row("b")]))
        assert other.execute("SELECT id FROM holds").fetchall() == []


def test_commit_after_a_failed_one_is_left_to_the_thread_for_a_while(tmp_path: Path) -> None:
    with closing(QuickWriter(tmp_path / "l.db")) as quick:
        assert not quick.commit(Batch(ends=[end("a", 10**30)]))
        assert not quick.commit(Batch(holds=[row("a")]))


def test_what_was_committed_elsewhere_is_folded_too(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l.db")
    with closing(QuickWriter(tmp_path / "l.db")) as quick:
        assert quick.commit(Batch(holds=[row("a")], ends=[end("a", 7)]))
        writer.expect_fold()
        writer.close()
    with closing(connect(tmp_path / "l.db")) as other:
        assert [spend.amounts.cost for spend in read_usage(other, "org")] == [7]
