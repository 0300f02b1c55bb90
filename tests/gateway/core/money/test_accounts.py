"""Which accounts a request is charged to."""

from gateway.core.decisions.decision import Principal
from gateway.core.inquiries.subject import Subject
from gateway.core.money.accounts import accounts_of
from gateway.core.money.limits import KINDS, kind_of

ALICE = Principal("acme", "platform", "alice", "alice-laptop", ("eng", "ops"), {"project": "x", "path": "ci"})


def test_everything_known_is_charged_widest_first() -> None:
    accounts = accounts_of(ALICE, "s1", agent="a7", run="r1")
    assert accounts == (
        "org",
        "team:platform",
        "group:eng",
        "group:ops",
        "tag:project=x",
        "tag:path=ci",
        "user:alice",
        "credential:alice-laptop",
        "session:s1",
        "run:r1",
        "agent:s1/a7",
    )
    assert [kind_of(account) for account in accounts if account not in accounts[3:6:2]] == list(KINDS)


def test_what_is_not_there_is_not_charged() -> None:
    alone = Principal("acme", None, "eve", "eve-laptop")
    assert accounts_of(alone, "s", agent="main") == (
        "org",
        "user:eve",
        "credential:eve-laptop",
        "session:s",
        "agent:s/main",
    )


def test_account_that_is_named_twice_is_charged_once() -> None:
    twice = Principal("acme", None, "eve", "c", groups=("a", "a"), tags={"a": "b=c", "a=b": "c"})
    accounts = accounts_of(twice, "s", agent="main")
    assert len(accounts) == len(set(accounts)) == 7


def test_what_is_not_known_is_a_bare_kind() -> None:
    assert accounts_of(Subject(), None, agent=None) == ("org", "team", "user", "credential", "session", "agent")
    assert accounts_of(Subject(user="eve"), "s", agent=None)[1:] == ("user:eve", "credential", "session:s", "agent")
