"""Tables of the limits that operators set: one of each slot, and a record of every change in the same transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.money.limits import LimitRow
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.stores.limits import LimitRows

SET = Author("ops", 5, "spend_limit.upsert", "trial")
GONE = Author("olga", 6, "spend_limit.delete")


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[LimitRows]:
    with closing(LimitRows(tmp_path / "ringfence.db")) as opened:
        yield opened


def limit(id: str, slot: str, amount: int = 7) -> StoredLimit:
    row = LimitRow("team:web", amount, "rolling 5h", models=("claude-*",), id=id, source="api")
    return StoredLimit(id, slot, created_ms=1, updated_ms=2, document={"amount": str(amount)}, rows=(row,))


def test_limit_comes_back_whole_in_the_order_of_creation_also_after_a_restart(tmp_path: Path) -> None:
    first, second = limit("spl_9", "web"), limit("spl_1", "org")
    with closing(LimitRows(tmp_path / "ringfence.db")) as rows:
        assert [rows.change(each.slot, lambda _, each=each: each, SET) for each in (first, second)] == [first, second]
    with closing(LimitRows(tmp_path / "ringfence.db")) as again:
        assert again.read() == [first, second]


@pytest.mark.parametrize("which", ["spl_1", "web"])
def test_limit_is_found_by_its_id_or_its_slot_and_replaced_in_place(rows: LimitRows, which: str) -> None:
    old, other, new = limit("spl_1", "web"), limit("spl_2", "org"), limit("spl_1", "web", 9)
    for each in (old, other):
        rows.change(each.slot, lambda _, each=each: each, SET)
    met: list[StoredLimit | None] = []

    def replace(before: StoredLimit | None) -> StoredLimit:
        met.append(before)
        return new

    assert rows.change(which, replace, SET) == new
    assert met == [old] and rows.read() == [new, other]


def test_every_change_is_recorded_with_before_and_after(rows: LimitRows) -> None:
    rows.change("web", lambda _: limit("spl_1", "web"), SET)
    rows.change("web", lambda _: limit("spl_1", "web", 9), SET)
    assert rows.change("spl_1", lambda _: None, GONE) is None
    audit = rows.read_audit(0, 10)
    assert [(each.number, each.before, each.after) for each in audit] == [
        (1, None, {"amount": "7"}),
        (2, {"amount": "7"}, {"amount": "9"}),
        (3, {"amount": "9"}, None),
    ]
    assert [each.author for each in audit] == [SET, SET, GONE] and {each.target for each in audit} == {"spl_1"}
    assert rows.read() == []


def test_audit_is_read_in_pages(rows: LimitRows) -> None:
    for amount in range(1, 6):
        rows.change("web", lambda _, amount=amount: limit("spl_1", "web", amount), SET)
    assert [each.number for each in rows.read_audit(1, 2)] == [2, 3]
    assert [each.number for each in rows.read_audit(3, 100)] == [4, 5] and rows.read_audit(5, 1) == []


def test_deleting_what_is_not_there_changes_and_records_nothing(rows: LimitRows) -> None:
    assert rows.change("spl_1", lambda before: before, GONE) is None
    assert (rows.read(), rows.read_audit(0, 10)) == ([], [])


def test_change_that_fails_leaves_no_limit_and_no_record(rows: LimitRows) -> None:
    def refuse(_: StoredLimit | None) -> StoredLimit:
        raise ValueError("no such group")

    with pytest.raises(ValueError, match="no such group"):
        rows.change("web", refuse, SET)
    rows.change("web", lambda _: limit("spl_1", "web"), SET)
    with pytest.raises(sqlite3.IntegrityError):
        rows.change("spl_2", lambda _: limit("spl_2", "web"), SET)
    assert rows.read() == [limit("spl_1", "web")] and [each.number for each in rows.read_audit(0, 10)] == [1]
