"""Which limit holds for each user, from where, and in which order they are shown."""

import json
from typing import Any

import pytest

from gateway.core.decisions.decision import Principal
from gateway.core.money.limits import LimitRow, Limits
from gateway.core.money.stored_limits import StoredLimit
from gateway.core.spend_api.effective import EffectiveAsked, Holding, Person, Row, people, read_effective, select
from gateway.core.spend_api.fields import Malformed
from gateway.core.spend_api.limits import upsert
from gateway.core.spend_api.settings import read_setting

ALICE = Person("alice", ("org", "team:x", "group:g", "group:h", "user:alice"), ("g", "h"))


def principal(user: str, credential: str, **facts: Any) -> Principal:
    return Principal(org="acme", team=facts.pop("team", None), user=user, credential=credential, **facts)


def stored(number: int, scope: dict[str, str], amount: str | None, **fields: Any) -> StoredLimit:
    body = {"scope": scope, "amount": amount, "period": "daily"} | fields
    change = upsert(read_setting(json.dumps(body).encode(), ()), id=f"spl_{number}", now_ms=0)
    limit = change(None)
    assert limit is not None
    return limit


ORG, GROUP_G, GROUP_H, OWN = (
    {"type": "organization"},
    {"type": "rbac_group", "rbac_group_id": "g"},
    {"type": "rbac_group", "rbac_group_id": "h"},
    {"type": "user", "user_id": "alice"},
)
CONFIGURED = Limits((LimitRow("org", 5 * 10**9, "daily", per="user", id="budgets[0]"),))
RESOLVED: list[tuple[Limits, list[StoredLimit], tuple[str | None, str | None, Any]]] = [
    (Limits(), [], (None, None, None)),
    (CONFIGURED, [], ("500", None, {"type": "config", "id": "budgets[0]"})),
    (CONFIGURED, [stored(1, ORG, "700")], ("700", "spl_1", ORG)),
    (CONFIGURED, [stored(1, ORG, "700"), stored(2, GROUP_G, "900")], ("900", "spl_2", GROUP_G)),
    (CONFIGURED, [stored(1, GROUP_G, "900"), stored(2, GROUP_H, "800")], ("800", "spl_2", GROUP_H)),
    (CONFIGURED, [stored(1, GROUP_G, "1"), stored(2, OWN, "800")], ("800", "spl_2", OWN)),
    (CONFIGURED, [stored(1, GROUP_G, "1"), stored(2, OWN, None)], (None, "spl_2", OWN)),
    (CONFIGURED, [stored(1, ORG, None)], (None, "spl_1", ORG)),
    (Limits(), [stored(1, GROUP_G, None), stored(2, GROUP_H, "0")], ("0", "spl_2", GROUP_H)),
    (Limits(), [stored(1, OWN, "1", period="weekly")], (None, None, None)),
    (Limits(), [stored(1, OWN, "1", models=["claude-*"])], (None, None, None)),
    (Limits(), [stored(1, OWN, "1", meter="requests")], (None, None, None)),
    (Limits(), [stored(1, OWN, "1", on_reach="warn"), stored(2, ORG, "9")], ("9", "spl_2", ORG)),
    (Limits(), [stored(1, ORG, "1", on_reach="warn"), stored(2, OWN, "9")], ("9", "spl_2", OWN)),
    (Limits(), [stored(1, {"type": "team", "team_id": "x"}, "1")], (None, None, None)),
    (
        Limits(),
        [stored(1, {"type": "team", "team_id": "x"}, "1", per="user")],
        ("1", "spl_1", {"type": "team", "team_id": "x"}),
    ),
    (
        Limits((LimitRow("user:alice", 1_000, "daily", id="budgets[7]"),)),
        [],
        ("0.0001", None, {"type": "config", "id": "budgets[7]"}),
    ),
]


@pytest.mark.parametrize(("configured", "limits", "expected"), RESOLVED)
def test_limit_that_holds_is_shown_with_its_source(
    configured: Limits, limits: list[StoredLimit], expected: tuple[str | None, str | None, Any]
) -> None:
    line = Holding(configured, limits).wire(Row(ALICE, "daily", 0))
    assert (line["amount"], line["spend_limit_id"], line["source"]) == expected


def test_line_is_whole() -> None:
    assert Holding(Limits(), []).wire(Row(ALICE, "daily", 310_500_000)) == {
        "scope": {"type": "user", "user_id": "alice"},
        "groups": ["g", "h"],
        "actor": {"type": "user_actor", "user_id": "alice", "name": None, "email_address": None, "deleted": False},
        "amount": None,
        "currency": "USD",
        "period": "daily",
        "source": None,
        "spend_limit_id": None,
        "period_to_date_spend": "31.05",
    }


def test_people_are_those_with_a_credential_a_team_or_a_limit() -> None:
    principals = [
        principal("alice", "laptop", team="x", groups=("h",), tags={"p": "1"}),
        principal("alice", "ci", team="y", groups=("g", "h")),
    ]
    found = people(principals, {"bob": "x", "alice": "x"}, [stored(1, {"type": "user", "user_id": "carl"}, "1")], ())
    assert [person.user for person in found] == ["alice", "bob", "carl"]
    alice, bob, carl = found
    assert set(alice.accounts) == {"org", "team:x", "team:y", "group:g", "group:h", "tag:p=1", "user:alice"}
    assert (alice.groups, bob.accounts, carl.accounts) == (
        ("g", "h"),
        ("org", "team:x", "user:bob"),
        ("org", "user:carl"),
    )


def test_people_asked_for_by_name_are_shown_known_or_not() -> None:
    found = people([principal("alice", "laptop")], {}, [], ("zoe", "alice"))
    assert [(person.user, person.accounts) for person in found] == [
        ("zoe", ("org", "user:zoe")),
        ("alice", ("org", "user:alice")),
    ]


def test_pages_hold_everybody_once_in_either_order() -> None:
    found = [Person(user, ()) for user in ("d", "a", "c", "b", "e")]
    spent = {"a": 5, "b": 9, "c": 5, "d": 0, "e": 9}
    for query, order in ([], "abcde"), ([("sort", "spend_desc"), ("period[]", "daily")], "beacd"):
        users, page = "", None
        for _ in range(3):
            pairs = [("limit", "2"), *query, *([] if page is None else [("page", page)])]
            shown, page = select(found, read_effective(pairs), spent)
            users += "".join(person.user for person in shown)
        assert (users, page) == (order, None)


def test_q_finds_a_part_of_the_name() -> None:
    found = [Person(user, ()) for user in ("alice@acme", "bob@acme", "malice")]
    shown, _ = select(found, read_effective([("q", "ALICE")]), {})
    assert [person.user for person in shown] == ["alice@acme", "malice"]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("user_ids[]", str(number)) for number in range(101)], "user_ids[]: names more than 100 users"),
        ([("period[]", "hourly")], "period[]: Invalid enum value. Expected 'daily' | 'weekly' | 'monthly'"),
        ([("sort", "name")], "sort: Invalid enum value. Expected 'spend_desc'"),
        ([("sort", "spend_desc")], "sort=spend_desc requires exactly one period[]"),
        (
            [("sort", "spend_desc"), ("period[]", "daily"), ("period[]", "weekly")],
            "sort=spend_desc requires exactly one period[]",
        ),
        ([("q", "x" * 257)], "q: is longer than 256 characters"),
        ([("limit", "0")], "limit: must be between 1 and 1000"),
        ([("page", "%%%")], "page: is no next_page of this list"),
        ([("page", "é")], "page: is no next_page of this list"),
        ([("page", "WzFd")], "page: is no next_page of this list"),
        ([("page", "WyJhIl0"), ("sort", "spend_desc"), ("period[]", "daily")], "page: is no next_page of this list"),
        ([("users", "a")], "users: Unrecognized key"),
    ],
)
def test_query_that_means_nothing_is_refused(pairs: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(Malformed) as error:
        read_effective(pairs)
    assert str(error.value) == words


def test_query_without_a_word_is_everybody_in_every_period() -> None:
    assert read_effective([]) == EffectiveAsked((), ("daily", "weekly", "monthly"), False, None, 20, None)
