"""Limits of the spend-limits API as they are kept, replaced, listed and shown."""

import json
from typing import Any

import pytest

from gateway.core.money.limits import Series
from gateway.core.money.stored_limits import AuditedChange, Author, StoredLimit
from gateway.core.spend_api.fields import Malformed
from gateway.core.spend_api.limits import (
    LimitUnknown,
    ListAsked,
    audit_event,
    delete,
    find,
    format_moment,
    is_limit_id,
    page_of,
    pool_series,
    read_audit,
    read_list,
    request_id,
    shown,
    slot_of,
    upsert,
    user_series,
)
from gateway.core.spend_api.settings import Setting, read_setting

FIRST_MS, LATER_MS = 1_767_225_600_000, 1_767_225_661_500
GROUP = {"scope": {"type": "rbac_group", "rbac_group_id": "g"}, "period": "monthly"}


def setting(**fields: Any) -> Setting:
    body = {"scope": {"type": "organization"}, "amount": "100", "period": "daily"} | fields
    return read_setting(json.dumps(body).encode(), ("anthropic",))


def made(before: StoredLimit | None = None, now_ms: int = FIRST_MS, id: str = "spl_1", **fields: Any) -> StoredLimit:
    """What is kept once a limit was set."""
    after = upsert(setting(**fields), id=id, now_ms=now_ms)(before)
    assert after is not None
    return after


def user_limits(count: int) -> list[StoredLimit]:
    return [made(id=f"spl_{n}", scope={"type": "user", "user_id": f"u{n}"}) for n in range(count)]


def asked(**fields: Any) -> ListAsked:
    return ListAsked(**({"limit": 2, "after_id": None, "before_id": None, "scope_types": ()} | fields))


def test_new_limit_is_kept_with_its_row_and_shown_whole() -> None:
    limit = made(models=["claude-*"])
    assert [(row.id, row.source, row.account, row.per, row.max) for row in limit.rows] == [
        ("spl_1", "api", "org", "user", 10**9)
    ]
    assert limit.document == {
        "type": "spend_limit",
        "id": "spl_1",
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
        "scope": {"type": "organization"},
        "amount": "100",
        "currency": "USD",
        "period": "daily",
        "is_enabled": True,
        "per": "user",
        "meter": "cost",
        "strict": False,
        "on_reach": "clamp",
        "warn_at": [75, 95],
        "models": ["claude-*"],
        "backends": [],
    }


def test_replacement_keeps_id_and_age_and_nothing_else() -> None:
    first = made(strict=True, warn_at=[10])
    second = made(first, LATER_MS, id="spl_2", amount="200")
    assert (second.id, second.slot, second.created_ms, second.updated_ms) == ("spl_1", first.slot, FIRST_MS, LATER_MS)
    assert second.document["updated_at"] == "2026-01-01T00:01:01.500Z"
    assert (second.document["strict"], second.document["warn_at"]) == (False, [75, 95])
    assert [row.id for row in second.rows] == ["spl_1"]


SAME = [
    ({}, {"amount": "7", "strict": True, "on_reach": "refuse", "warn_at": [1]}),
    ({"models": ["a", "b"]}, {"models": ["b", "a"]}),
    ({"per": None}, {"scope": {"type": "organization_pool"}}),
    ({"on_reach": "warn"}, {"on_reach": "warn", "amount": "9"}),
]
OTHER: list[dict[str, Any]] = [
    {"period": "weekly"},
    {"per": None},
    {"per": "session"},
    {"meter": "requests"},
    {"models": ["a"]},
    {"backends": ["anthropic"]},
    {"on_reach": "warn"},
    {"scope": {"type": "user", "user_id": "org"}},
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_would_be_the_same_limit_has_the_same_slot(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert slot_of(setting(**one).row) == slot_of(setting(**other).row)


@pytest.mark.parametrize("other", OTHER)
def test_what_stands_beside_a_limit_has_a_slot_of_its_own(other: dict[str, Any]) -> None:
    assert slot_of(setting(**other).row) != slot_of(setting().row)


def test_slot_is_no_id() -> None:
    assert not is_limit_id(made().slot)
    assert is_limit_id("spl_" + "0af9" * 8)
    wrong = ("spl_", "spl_" + "0" * 31, "spl_" + "G" * 32, "spl_" + "A" * 32, "0" * 36, "spl_" + "0" * 32 + "\n")
    assert not any(map(is_limit_id, wrong))


def test_pool_is_a_second_row_until_it_is_paused() -> None:
    limit = made(**GROUP, pooled_budget={"amount": "900", "paused": False}, strict=True)
    member, pool = limit.rows
    assert (member.per, member.max, pool.per, pool.max, pool.account) == ("user", 10**9, None, 9 * 10**9, "group:g")
    assert pool.strict and pool.id == "spl_1" and pool_series(limit) == Series("group:g", "cost", "monthly")
    paused = made(limit, **GROUP, pooled_budget={"amount": "900", "paused": True})
    assert len(paused.rows) == 1 and pool_series(paused) == Series("group:g", "cost", "monthly")
    assert pool_series(made()) is None


@pytest.mark.parametrize("again", [{}, {"pooled_budget": None}])
def test_pool_that_is_not_spoken_of_is_kept(again: dict[str, Any]) -> None:
    limit = made(**GROUP, pooled_budget={"amount": "900", "paused": False})
    kept = made(limit, LATER_MS, **GROUP, **again, amount="5")
    assert kept.document["pooled_budget"] == {"amount": "900", "paused": False}
    assert [row.max for row in kept.rows] == [5 * 10**7, 9 * 10**9]


def test_pool_needs_an_amount_of_each_member_unless_it_is_paused() -> None:
    limit = made(**GROUP, pooled_budget={"amount": "900", "paused": False})
    with pytest.raises(Malformed, match="needs a per-member amount"):
        made(limit, **GROUP, amount=None)
    with pytest.raises(Malformed, match="needs a per-member amount"):
        made(**GROUP, amount=None, pooled_budget={"amount": "900"})
    assert made(**GROUP, amount=None, pooled_budget={"amount": None, "paused": True}).rows[0].max is None


def test_reply_tells_what_a_pool_has_spent_and_the_record_does_not() -> None:
    limit = made(**GROUP, pooled_budget={"amount": "900", "paused": False})
    assert shown(limit, 310_500_000)["pooled_budget"] == {
        "amount": "900",
        "paused": False,
        "currency": "USD",
        "period_to_date_spend": "31.05",
    }
    assert limit.document["pooled_budget"] == {"amount": "900", "paused": False}
    assert shown(made(), None) == made().document


def test_deleting_what_is_not_there_is_told() -> None:
    assert delete(made()) is None
    with pytest.raises(LimitUnknown):
        delete(None)
    with pytest.raises(LimitUnknown):
        find([made()], "spl_2")
    assert find([made()], "spl_1") == made()


PAGES = [
    (asked(), ["spl_0", "spl_1"], True, "spl_1"),
    (asked(after_id="spl_1"), ["spl_2", "spl_3"], True, "spl_3"),
    (asked(after_id="spl_3"), ["spl_4"], False, None),
    (asked(after_id="spl_4"), [], False, None),
    (asked(before_id="spl_4"), ["spl_2", "spl_3"], True, None),
    (asked(before_id="spl_2"), ["spl_0", "spl_1"], False, None),
    (asked(before_id="spl_0"), [], False, None),
    (asked(limit=5), ["spl_0", "spl_1", "spl_2", "spl_3", "spl_4"], False, None),
    (asked(scope_types=("team",)), [], False, None),
]


@pytest.mark.parametrize(("query", "ids", "more", "next_page"), PAGES)
def test_page_is_cut_in_the_order_of_creation(query: ListAsked, ids: list[str], more: bool, next_page: Any) -> None:
    page = page_of(user_limits(5), query)
    assert ([limit.id for limit in page.limits], page.has_more, page.next_page) == (ids, more, next_page)


def test_page_of_one_scope_goes_on_after_a_limit_of_another() -> None:
    limits = [made(id="spl_a"), *user_limits(2), made(id="spl_b", period="weekly")]
    page = page_of(limits, asked(limit=1, after_id="spl_0", scope_types=("organization",)))
    assert [limit.id for limit in page.limits] == ["spl_b"] and not page.has_more


def test_page_after_what_is_not_there_is_refused() -> None:
    with pytest.raises(Malformed, match="^after_id: there is no such spend limit$"):
        page_of(user_limits(2), asked(after_id="spl_9"))
    with pytest.raises(Malformed, match="^before_id: there is no such spend limit$"):
        page_of(user_limits(2), asked(before_id="spl_9"))


def test_query_of_a_list_is_read() -> None:
    assert read_list([]) == ListAsked(20, None, None, ())
    pairs = [("limit", "1000"), ("page", "spl_1"), ("scope_type[]", "user"), ("scope_type[]", "team"), ("beta", "true")]
    assert read_list(pairs) == ListAsked(1000, "spl_1", None, ("user", "team"))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("after_id", "a"), ("before_id", "b")], "after_id and before_id are mutually exclusive"),
        ([("after_id", "a"), ("page", "b")], "page is mutually exclusive with after_id and before_id"),
        ([("scope_type", "seat_tier")], "scope_type: Invalid enum value. Expected 'user' | 'rbac_group'"),
        ([("order", "asc")], "order: Unrecognized key"),
    ],
)
def test_query_of_a_list_that_means_nothing_is_refused(pairs: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(Malformed) as error:
        read_list(pairs)
    assert str(error.value).startswith(words)


def test_query_of_the_audit_is_read() -> None:
    assert read_audit([]) == (0, 100)
    assert read_audit([("after_id", "8"), ("limit", "3")]) == (8, 3)
    for after in ("-1", "x", "9" * 30, "²"):
        with pytest.raises(Malformed, match="^after_id: must be the id of an audit_event$"):
            read_audit([("after_id", after)])


def test_change_is_shown_with_before_and_after() -> None:
    author = Author("admin-key:desk", LATER_MS, "spend_limit.upsert", "because")
    assert audit_event(AuditedChange(8, author, "spl_1", None, {"amount": "1"})) == {
        "type": "audit_event",
        "id": "8",
        "created_at": "2026-01-01T00:01:01.500Z",
        "actor": "admin-key:desk",
        "action": "spend_limit.upsert",
        "target_id": "spl_1",
        "before": None,
        "after": {"amount": "1"},
        "reason": "because",
    }


def test_request_id_is_the_decisions_in_the_apis_form() -> None:
    assert request_id("dec_0123456789abcdef00000007") == "req_000000000123456789abcdef00000007"
    assert format_moment(0) == "1970-01-01T00:00:00.000Z"
    assert user_series("a", "daily") == Series("user:a", "cost", "daily")
