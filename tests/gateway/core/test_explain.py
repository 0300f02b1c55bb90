"""Which limits and fuses a next request meets, and which of them bites first."""

import pytest

from gateway.core.budgets import AccountView, LimitRow, Limits
from gateway.core.decision import Principal
from gateway.core.explain import Asked, Contradiction, Known, identify, sentence, stand
from gateway.core.fuse import FuseBox, FuseLimits
from gateway.core.lineage import SessionNode, Tree
from gateway.core.windows import Window

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC
MIDNIGHT = 1_795_392_000_000
DOLLAR = 10**9


def principal(user: str, credential: str, team: str | None = "platform") -> Principal:
    return Principal(org="acme", team=team, user=user, credential=credential)


def known() -> Known:
    """alice with one credential and a session, bob with two, eve with one and no team, carol without any."""
    tree = Tree()
    tree.add(SessionNode("s1", "alice-laptop", "alice", "", inferred=False), "main", None, NOW)
    people = (
        principal("alice", "alice-laptop"),
        principal("bob", "bob-laptop"),
        principal("bob", "bob-ci", team="build"),
        principal("eve", "eve-laptop", team=None),
    )
    return Known(people, {"alice": "platform", "bob": "platform", "carol": "research"}, tree.session)


def view(account: str, window: Window, *, spent: int, held: int = 0, limit: int = DOLLAR) -> AccountView:
    return AccountView(account, window, limit, spent, held, False, None if window == "total" else MIDNIGHT)


@pytest.mark.parametrize(
    ("asked", "accounts"),
    [
        (Asked(), "org team user credential session agent"),
        (Asked(team="build"), "org team:build user credential session agent"),
        (Asked(user="alice"), "org team:platform user:alice credential:alice-laptop session agent"),
        (Asked(user="bob"), "org team:platform user:bob credential session agent"),
        (Asked(credential="bob-ci"), "org team:build user:bob credential:bob-ci session agent"),
        (Asked(user="carol"), "org team:research user:carol credential session agent"),
        (Asked(user="eve"), "org user:eve credential:eve-laptop session agent"),
        (Asked(user="new", team="build"), "org team:build user:new credential session agent"),
        (Asked(session="s1"), "org team:platform user:alice credential:alice-laptop session:s1 agent:s1/main"),
        (Asked(agent="s1/a7"), "org team:platform user:alice credential:alice-laptop session:s1 agent:s1/a7"),
        (Asked(session="s9"), "org team user credential session:s9 agent:s9/main"),
        (Asked(user="bob", session="s9"), "org team:platform user:bob credential session:s9 agent:s9/main"),
        (Asked(credential="gone"), "org team user credential:gone session agent"),
    ],
)
def test_request_is_charged_to_what_is_named_or_known_and_else_to_a_new_one_of_the_kind(
    asked: Asked, accounts: str
) -> None:
    assert identify(asked, known())[0].accounts == tuple(accounts.split())


@pytest.mark.parametrize(
    ("asked", "note"),
    [
        (Asked(user="new"), "user new is not known"),
        (Asked(user="eve"), "user eve is in no team"),
        (Asked(user="bob"), "user bob has 2 credentials"),
        (Asked(credential="gone"), "credential gone is not known"),
        (Asked(team="nobodys"), "team nobodys is not known"),
        (Asked(session="s9"), "session s9 has not been seen"),
        (Asked(agent="s1/a7"), "agent s1/a7 has not been seen"),
        (Asked(session="s1"), "the main agent of session s1 is meant"),
    ],
)
def test_what_is_assumed_is_said(asked: Asked, note: str) -> None:
    assert any(note in each for each in identify(asked, known())[1])


def test_nothing_is_assumed_of_who_is_known_whole() -> None:
    assert identify(Asked(agent="s1/main"), known())[1] == ()
    assert identify(Asked(credential="bob-ci", team="build"), known())[1] == ()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(user="alice", credential="bob-ci"), "bob-ci is of user bob"),
        (Asked(team="platform", credential="bob-ci"), "charged to team build"),
        (Asked(team="platform", user="eve"), "charged to no team"),
        (Asked(user="bob", session="s1"), "s1 belongs to user alice"),
        (Asked(credential="bob-ci", session="s1"), "s1 belongs to user alice"),
        (Asked(session="s2", agent="s1/main"), "not of session s2"),
        (Asked(agent="main"), "<session>/<agent>"),
        (Asked(agent="/main"), "<session>/<agent>"),
        (Asked(agent="s1/a/b"), "<session>/<agent>"),
    ],
)
def test_parts_that_cannot_be_one_request_are_a_contradiction(asked: Asked, said: str) -> None:
    with pytest.raises(Contradiction, match=said):
        identify(asked, known())


def test_limits_are_ordered_by_what_is_left_and_name_their_entry() -> None:
    limits = Limits(
        [
            LimitRow("org", "total", 9 * DOLLAR, False, 0),
            LimitRow("user", "daily", DOLLAR, False, 1),
            LimitRow("user:alice", "total", 2 * DOLLAR, True, 2),
            LimitRow("user:bob", "total", 1, True, 3),
        ]
    )
    views = [
        view("org", "total", spent=DOLLAR, limit=9 * DOLLAR),
        view("user:alice", "daily", spent=DOLLAR // 2, held=DOLLAR // 4),
        view("user:alice", "total", spent=DOLLAR, limit=2 * DOLLAR),
    ]
    found = stand(("org", "user:alice", "session"), limits, views, NOW)
    assert [(each.account, each.window, each.left_nanousd) for each in found] == [
        ("user:alice", "daily", DOLLAR // 4),
        ("user:alice", "total", DOLLAR),
        ("org", "total", 8 * DOLLAR),
    ]
    assert [(each.entry, each.entry_account, each.default) for each in found] == [
        (1, "user", True),
        (2, "user:alice", False),
        (0, "org", False),
    ]


def test_limit_of_an_account_nobody_has_yet_is_whole() -> None:
    (found,) = stand(("session",), Limits([LimitRow("session", "daily", DOLLAR, False, 4)]), [], NOW)
    assert (found.spent_nanousd, found.left_nanousd, found.resets_at_ms) == (0, DOLLAR, MIDNIGHT)
    assert "limit of $1.00 of a new session bites first" in sentence([found], [], None)


def test_strict_limit_bites_before_another_with_as_much_left_and_none_has_less_than_nothing() -> None:
    limits = Limits([LimitRow("org", "daily", DOLLAR, False), LimitRow("user", "daily", DOLLAR, True)])
    views = [view("org", "daily", spent=2 * DOLLAR), view("user:alice", "daily", spent=DOLLAR)]
    found = stand(("org", "user:alice"), limits, views, NOW)
    assert [(each.account, each.left_nanousd) for each in found] == [("user:alice", 0), ("org", 0)]


@pytest.mark.parametrize(
    ("spent", "held", "window", "parts"),
    [
        (300, 100, "daily", ("daily limit of $1.00 of user:alice bites first: $0.60 left", "2026-11-23 00:00 UTC")),
        (300, 0, "total", ("$0.70 left", "it does not reset")),
        (1000, 0, "daily", ("is used up", "requests are refused until it resets at 2026-11-23 00:00 UTC")),
        (900, 100, "daily", ("is used up", "until running requests give back what they hold, or it resets")),
        (1100, 0, "total", ("is used up", "until an operator raises it")),
    ],
)
def test_sentence_says_what_is_left_of_the_first_limit_and_until_when(
    spent: int, held: int, window: Window, parts: tuple[str, ...]
) -> None:
    limits = Limits([LimitRow("user", window, DOLLAR, False)])
    views = [view("user:alice", window, spent=spent * 10**6, held=held * 10**6)]
    said = sentence(stand(("user:alice",), limits, views, NOW), [], None)
    assert all(part in said for part in parts) and "\n" not in said


def test_sentence_says_when_nothing_limits_the_request() -> None:
    assert "no budget limits this request" in sentence([], [], None)


def test_sentence_is_of_the_fuse_that_refuses_before_any_budget() -> None:
    box = FuseBox(FuseLimits(agent={"requests": 3}))
    limits = stand(("org",), Limits([LimitRow("org", "total", DOLLAR, False)]), [], NOW)
    assert "bites first" in sentence(limits, box.readings("agent", "s1/main", {"requests": 2}), None)
    assert "blows the requests fuse" in sentence(limits, box.readings("agent", "s1/main", {"requests": 3}), None)
    box.check("agent", "s1/main", {"requests": 4}, NOW)
    said = sentence(limits, [], box.blown("agent", "s1/main"))
    assert "has blown: requests came to 4, its limit is 3" in said
