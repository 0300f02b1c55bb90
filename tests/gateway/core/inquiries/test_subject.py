"""Whose next request is meant, and what is assumed of it."""

import pytest

from gateway.core.agents.lineage import SessionNode, Tree
from gateway.core.decisions.decision import Principal
from gateway.core.inquiries.subject import Asked, Contradiction, Known, asked_about, identify
from gateway.core.money.accounts import accounts_of

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC


def principal(user: str, credential: str, team: str | None = "platform") -> Principal:
    return Principal(org="acme", team=team, user=user, credential=credential)


ROBOT = Principal("acme", "build", "robot", "robot-ci", ("nightly", "ops"), {"project": "x"})


def known() -> Known:
    """alice with one credential and a session, bob with two, eve without a team, robot with groups, carol with none."""
    tree = Tree()
    tree.add(SessionNode("s1", "alice-laptop", "alice", "", inferred=False), "main", None, NOW)
    people = (
        principal("alice", "alice-laptop"),
        principal("bob", "bob-laptop"),
        principal("bob", "bob-ci", team="build"),
        principal("eve", "eve-laptop", team=None),
        ROBOT,
    )
    return Known(people, {"alice": "platform", "bob": "platform", "carol": "research"}, tree.session)


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
        (Asked(run="r1"), "org team user credential session run:r1 agent"),
        (Asked(group=("g", "h"), tag=("a=b=c",)), "org team group:g group:h tag:a=b=c user credential session agent"),
    ],
)
def test_request_is_charged_to_what_is_named_or_known_and_else_to_a_new_one_of_the_kind(
    asked: Asked, accounts: str
) -> None:
    assert identify(asked, known())[0].accounts == tuple(accounts.split())


def test_groups_and_tags_of_who_is_known_need_not_be_named() -> None:
    (subject, notes), (named, _) = (
        identify(asked, known())
        for asked in (Asked(user="robot"), Asked(user="robot", group=("ops",), tag=("project=x",)))
    )
    assert subject == named and notes == ()
    assert subject.accounts == accounts_of(ROBOT, None, agent=None)


def test_request_brings_the_tag_of_its_path_along() -> None:
    subject, _ = identify(Asked(user="robot", tag=("path=ci",)), known())
    assert subject.accounts == accounts_of(ROBOT.tagged("path", "ci"), None, agent=None)


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
        (Asked(user="robot", group=("other",)), "robot-ci is not in group other"),
        (Asked(user="robot", tag=("project=y",)), "robot-ci does not have the tag project=y"),
        (Asked(tag=("project",)), "<name>=<value>"),
        (Asked(tag=("=x",)), "<name>=<value>"),
        (Asked(tag=("a=1", "a=2")), "both 1 and 2"),
    ],
)
def test_parts_that_cannot_be_one_request_are_a_contradiction(asked: Asked, said: str) -> None:
    with pytest.raises(Contradiction, match=said):
        identify(asked, known())


@pytest.mark.parametrize(
    "account",
    ["org", "team:a", "group:a", "tag:a=b", "user:alice", "credential:a:b", "session:s:1", "run:r", "agent:s1/main"],
)
def test_request_about_an_account_is_charged_to_it(account: str) -> None:
    assert account in identify(asked_about(account), known())[0].accounts


def test_request_about_an_account_is_completed_by_what_is_known() -> None:
    assert "team:platform" in identify(asked_about("agent:s1/a9"), known())[0].accounts
    assert identify(asked_about("credential:bob-ci"), known())[0].accounts[:3] == ("org", "team:build", "user:bob")
    assert asked_about("user") == asked_about("org") == Asked()


@pytest.mark.parametrize(
    "account", ["", "orgs", "org:", "org:acme", "user:", "tag", "group", "wallet:x", ":x", "User:x"]
)
def test_what_is_no_account_is_refused(account: str) -> None:
    with pytest.raises(Contradiction, match=r"must be one of org, team:"):
        asked_about(account)
