"""The journal: what is written down is there after a death, and is nobody else's while its process lives."""

from pathlib import Path

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts
from gateway.stores.postgres.batch import End
from gateway.stores.postgres.journal import Journal, end_entry, end_of, hold_entry, left_behind

HOLD = Hold("h", ("org", "user:ü"), "m", ("b",), Amounts(30), Amounts(10), 1, 2)
END = End("settle", "h", HOLD.accounts, "m", ("b",), 5, Amounts(7, active_requests=0), "b")


async def test_what_was_written_down_is_left_behind(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new", "one")
    await journal.add([hold_entry(HOLD, strict=True)])
    await journal.add([end_entry(END)])
    assert left_behind(tmp_path / "new") == []  # its process lives
    journal.close()
    (left,) = left_behind(tmp_path / "new")
    first, second = left.entries
    assert (first.hold, first.strict) == (HOLD, True)
    assert (end_of(second).spent, end_of(second).accounts, end_of(second).at_ms) == (END.spent, END.accounts, 5)
    left.remove()
    assert left_behind(tmp_path / "new") == []


async def test_journal_that_was_cleared_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    await journal.add([end_entry(END), end_entry(END)])
    assert journal.entries == 2
    await journal.clear()
    assert journal.entries == 0
    journal.close()
    assert list(tmp_path.iterdir()) == []


async def test_journal_that_is_given_back_is_left_to_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    await journal.add([end_entry(END)])
    journal.close()
    (left,) = left_behind(tmp_path)
    assert left_behind(tmp_path) == []
    left.give_back()
    assert len(left_behind(tmp_path)[0].entries) == 1


async def test_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    await journal.add([end_entry(END)])
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"id": "x", "acc')
    (left,) = left_behind(tmp_path)
    assert [entry.id for entry in left.entries] == ["h"]
    left.remove()
