"""What is remembered of approvals, in any order of news, and how much."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decisions.decision import Lineage
from gateway.core.oversight import approvalbook
from gateway.core.oversight.approvalbook import ApprovalBook, decode_item, encode_item
from gateway.core.oversight.approvals import Ruling, ruled
from tests.gateway.core.oversight.approvalcases import NOW_MS, approved, call, item


def test_older_news_never_undo_a_decision() -> None:
    book, granted = ApprovalBook(), approved(item(), "always")
    assert book.put(granted) and not book.put(item())
    assert book.find("apr_1") == granted and book.waiting() == []


@given(st.permutations(["asked", "approved", "revoked"]))
def test_order_of_news_does_not_matter(order: list[str]) -> None:
    granted = approved(item(), "always")
    states = {"asked": item(), "approved": granted, "revoked": ruled(granted, Ruling(NOW_MS, "revoke", "olga"))}
    book = ApprovalBook()
    for name in order:
        book.put(states[name])
    assert book.find("apr_1") == states["revoked"]
    assert book.covering(item(id="apr_2")) is None and book.waiting() == []


def test_remembered_approval_is_found_until_it_is_dropped() -> None:
    book = ApprovalBook()
    book.put(approved(item(), "session"))
    assert book.covering(item(id="apr_2")) is not None
    assert book.covering(item(call("make clean"), id="apr_2")) is None
    book.drop("apr_1")
    assert book.covering(item(id="apr_2")) is None and len(book) == 0


def test_session_that_asks_too_much_is_told_so() -> None:
    book = ApprovalBook()
    for number in range(approvalbook.WAITING_PER_SESSION_MAX):
        book.put(item(id=f"apr_{number}"))
    assert "of this session wait already" in (book.full(Lineage("s1", "main")) or "")
    assert book.full(Lineage("s2", "main")) is None


def test_too_many_waiting_items_in_all_are_refused() -> None:
    book = ApprovalBook()
    for number in range(approvalbook.WAITING_MAX):
        book.put(item(id=f"apr_{number}", lineage=Lineage(f"s{number}", "main")))
    assert f"{approvalbook.WAITING_MAX} approvals wait" in (book.full(Lineage("new", "main")) or "")
    book.put(approved(item(id="apr_0", lineage=Lineage("s0", "main"))))
    assert book.full(Lineage("new", "main")) is None


def test_oldest_decided_items_are_surplus_and_grants_are_not() -> None:
    book = ApprovalBook()
    book.put(approved(item(id="apr_grant", asked_at_ms=0), "always"))
    book.put(item(id="apr_waits", asked_at_ms=0))
    for number in range(approvalbook.ENDED_KEPT_MAX + 2):
        book.put(approved(item(id=f"apr_{number:04}", asked_at_ms=NOW_MS + number)))
    assert sorted(book.surplus(NOW_MS)) == ["apr_0000", "apr_0001"]


def test_approval_for_a_session_is_forgotten_after_a_week() -> None:
    book = ApprovalBook()
    book.put(approved(item(id="apr_session"), "session"))
    book.put(approved(item(id="apr_always"), "always"))
    assert book.surplus(NOW_MS + approvalbook.SESSION_REMEMBERED_MS) == []
    assert book.surplus(NOW_MS + approvalbook.SESSION_REMEMBERED_MS + 1) == ["apr_session"]


def test_latest_of_a_state_are_listed_first() -> None:
    book = ApprovalBook()
    for number in range(3):
        book.put(item(id=f"apr_{number}", asked_at_ms=NOW_MS + number))
    book.put(approved(item(id="apr_9", asked_at_ms=NOW_MS + 9)))
    assert [each.id for each in book.listed("waiting", 2)] == ["apr_2", "apr_1"]
    assert [each.id for each in book.listed(None, 9)] == ["apr_9", "apr_2", "apr_1", "apr_0"]


def test_no_more_can_be_remembered_than_the_limit() -> None:
    book = ApprovalBook()
    for number in range(approvalbook.REMEMBERED_MAX):
        assert not book.remembers_most()
        book.put(approved(item(call(str(number)), id=f"apr_{number}"), "always"))
    assert book.remembers_most()


@pytest.mark.parametrize("one", [item(), approved(item(), "session", why="ok")])
def test_item_survives_the_store(one: approvalbook.Item) -> None:
    assert decode_item(encode_item(one)) == one


def test_half_a_character_is_written_as_a_question_mark() -> None:
    odd = msgspec.structs.replace(item(), lineage=Lineage("s\udcff", "main"))
    assert decode_item(encode_item(odd)).lineage.session == "s?"


def test_one_user_cannot_take_the_room_of_all() -> None:
    book = ApprovalBook()
    for number in range(approvalbook.WAITING_PER_USER_MAX):
        book.put(item(id=f"apr_{number}", lineage=Lineage(f"s{number}", "main")))
    assert "for alice wait already" in (book.full(Lineage("new", "main"), "alice") or "")
    assert book.full(Lineage("new", "main"), "bob") is None
