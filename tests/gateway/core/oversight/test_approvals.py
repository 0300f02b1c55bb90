"""Approvals: the table, what a word is bound to and covers, who may say it, and what the agent is told."""

from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decisions.decision import Decision, Infer, Lineage, Obligation
from gateway.core.oversight.approvals import (
    TRANSITIONS,
    AlreadyDecided,
    Demand,
    NotAllowed,
    Ruling,
    Scope,
    State,
    Unmeetable,
    Verdict,
    answered,
    binding_of,
    covers,
    demand_of,
    may_decide,
    outline,
    record_fields,
    registry_covers,
    ruled,
)
from tests.gateway.core.oversight.approvalcases import ALICE, NOW_MS, approved, call, demanding, item, run, spawn

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_table_ends_every_waiting_item_and_lets_nothing_wait_again() -> None:
    legal = set(TRANSITIONS)
    assert {verdict for state, verdict in legal if state == "waiting"} == set(get_args(Verdict)) - {"revoke"}
    assert legal - {(state, verdict) for state, verdict in legal if state == "waiting"} == {("approved", "revoke")}
    assert "waiting" not in TRANSITIONS.values()


@pytest.mark.parametrize(
    ("state", "verdict"), sorted(set(product(get_args(State), get_args(Verdict))) - TRANSITIONS.keys())
)
def test_word_that_comes_too_late_changes_nothing_and_says_what_stands(state: State, verdict: Verdict) -> None:
    ended = msgspec.structs.replace(item(), state=state)
    with pytest.raises(AlreadyDecided, match="apr_1"):
        ruled(ended, Ruling(NOW_MS, verdict, "olga"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "it deploys",
        {},
        {"reason": ""},
        {"reason": 1},
        {"reason": "x", "scope": "call"},
        {"reason": "x", "four_eyes": "yes"},
        {"reason": "x", "expires_seconds": 0},
        {"reason": "x", "expires_seconds": 1.5},
        {"reason": "x", "expires_seconds": 90_000},
        {"reason": "x", "remember": "forever"},
    ],
)
def test_obligation_that_cannot_be_met_says_so(value: Any) -> None:
    with pytest.raises(Unmeetable, match="tell the operator"):
        demand_of(Decision(True, obligations=(Obligation("require_approval", value),)))


def test_decision_without_the_obligation_asks_for_nothing() -> None:
    assert demand_of(Decision(True, obligations=(Obligation("log_full"),))) is None
    assert demand_of(demanding()) == Demand("it deploys")


def test_strictest_of_several_obligations_counts() -> None:
    one, two = demanding(expires_seconds=60), demanding(reason="it is late", four_eyes=True, remember="session")
    both = Decision(True, obligations=(*one.obligations, *two.obligations))
    assert demand_of(both) == Demand("it deploys; it is late", True, 60, "session")


def test_call_is_bound_to_its_tool_and_input_whatever_the_order_of_keys() -> None:
    one, two = call(input={"a": 1, "b": [1]}), call(input={"b": [1], "a": 1})
    assert binding_of(one) == binding_of(two)
    assert len({binding_of(each) for each in (one, call(input={"a": 1}), call(tool="Write"), spawn(), run())}) == 5


@given(JSON, JSON)
def test_different_inputs_are_never_bound_alike(one: Any, two: Any) -> None:
    same = msgspec.json.encode(one, order="sorted") == msgspec.json.encode(two, order="sorted")
    assert (binding_of(call(input=one)) == binding_of(call(input=two))) == same


def test_halves_of_characters_are_told_apart() -> None:
    assert binding_of(call(input={"x": "\ud800"})) != binding_of(call(input={"x": "\udc00"}))


def test_spawn_is_bound_to_type_model_and_isolation_only() -> None:
    assert binding_of(spawn(label="other", background=True)) == binding_of(spawn())
    assert len({binding_of(spawn(**{name: "x"})) for name in ("agent_type", "model", "isolation")}) == 3


def test_script_that_is_only_named_is_bound_to_nothing() -> None:
    assert binding_of(run(None)) is None
    infer = Infer("m", True, None, None, None, (), (), (), (), 0)
    assert binding_of(infer) is None


@pytest.mark.parametrize(
    ("fields", "scope", "by", "said"),
    [
        ({"four_eyes": True}, "once", "alice", "somebody else must approve it"),
        ({"remember": "once"}, "session", "olga", "'once' at most"),
        ({"remember": "session"}, "always", "olga", "'session' at most"),
        ({"binding": None}, "session", "olga", "approve it once"),
    ],
)
def test_word_that_may_not_be_said_is_refused(fields: dict[str, Any], scope: Scope, by: str, said: str) -> None:
    with pytest.raises(NotAllowed, match=said):
        may_decide(item(**fields), "approve", by, scope)
    may_decide(item(**fields), "approve", "olga", "once")


def test_denial_is_for_one_call_and_open_to_whoever_asked() -> None:
    may_decide(item(four_eyes=True), "deny", "alice", "once")
    with pytest.raises(NotAllowed, match="scope"):
        may_decide(item(), "deny", "olga", "always")


def test_one_who_asked_may_approve_where_two_eyes_suffice() -> None:
    may_decide(item(), "approve", "alice", "always")
    assert approved(item(), by="alice").state == "approved"


@pytest.mark.parametrize(
    ("scope", "fields", "covered"),
    [
        ("once", {}, False),
        ("session", {}, True),
        ("session", {"lineage": Lineage(session="s1", agent="a2")}, True),
        ("session", {"lineage": Lineage(session="s2", agent="main")}, False),
        ("session", {"principal": msgspec.structs.replace(ALICE, user="bob")}, False),
        ("always", {"lineage": Lineage(session="s2", agent="main")}, True),
        ("always", {"principal": msgspec.structs.replace(ALICE, user="bob")}, True),
        ("always", {"principal": msgspec.structs.replace(ALICE, org="other")}, False),
        ("always", {"binding": "another"}, False),
        ("always", {"binding": None}, False),
        ("always", {"remember": "session"}, False),
        ("session", {"remember": "session"}, True),
        ("session", {"remember": "once"}, False),
        ("always", {"four_eyes": True}, True),
        ("always", {"four_eyes": True, "principal": msgspec.structs.replace(ALICE, user="olga")}, False),
    ],
)
def test_approval_covers_what_its_scope_says_and_the_rule_lets_it(
    scope: Scope, fields: dict[str, Any], covered: bool
) -> None:
    assert covers(approved(item(), scope), item(id="apr_2", **fields)) is covered
    assert not covers(item(), item(id="apr_2", **fields))


def test_revoked_approval_covers_nothing_and_cannot_be_revoked_twice() -> None:
    revoked = ruled(approved(item(), "always"), Ruling(NOW_MS, "revoke", "olga"))
    assert not covers(revoked, item(id="apr_2")) and revoked.state == "approved"
    with pytest.raises(AlreadyDecided, match="not remembered"):
        ruled(revoked, Ruling(NOW_MS, "revoke", "olga"))


def test_approval_that_only_followed_another_is_no_grant_itself() -> None:
    followed = ruled(item(), Ruling(NOW_MS, "approve", "olga", "always", through="apr_0"))
    assert followed.granted is None and not covers(followed, item(id="apr_2"))


def test_scripts_approved_for_good_are_the_registrys() -> None:
    granted = approved(item(run()), "always")
    assert granted.granted is None and not covers(granted, item(run(), id="apr_2"))
    assert covers(approved(item(run()), "session"), item(run(), id="apr_2"))
    with pytest.raises(AlreadyDecided, match="revoke script a{64}"):
        ruled(granted, Ruling(NOW_MS, "revoke", "olga"))


@pytest.mark.parametrize(
    ("fields", "covered"),
    [({}, True), ({"remember": "session"}, False), ({"four_eyes": True}, True)],
)
def test_registry_answers_for_runs_as_far_as_the_rule_lets_it(fields: dict[str, Any], covered: bool) -> None:
    assert registry_covers("olga", item(run(), **fields)) is covered
    assert not registry_covers("alice", item(run(), four_eyes=True)) and not registry_covers("olga", item())


def test_approved_decision_keeps_its_other_obligations_and_says_who() -> None:
    decision = answered(approved(item(), why="checked"), demanding())
    assert decision.allow and [each.kind for each in decision.obligations] == ["log_full"]
    assert decision.message == "approval/approved: olga approved it once (apr_1): checked"


def test_denied_decision_tells_the_agent_who_why_and_what_instead() -> None:
    decision = answered(ruled(item(), Ruling(NOW_MS, "deny", "olga", why="not on a Friday")), demanding())
    assert not decision.allow and decision.obligations == () and decision.revision == "r1"
    assert "it deploys" in decision.message and "olga denied it: not on a Friday; go on without it" in decision.message


@pytest.mark.parametrize(
    ("verdict", "rule", "said"),
    [
        ("expire", "approval/expired", "nobody answered within 600 seconds"),
        ("withdraw", "approval/withdrawn", "withdrawn: x"),
    ],
)
def test_question_without_an_answer_is_a_denial(verdict: Verdict, rule: str, said: str) -> None:
    decision = answered(ruled(item(), Ruling(NOW_MS, verdict, why="x")), demanding())
    assert not decision.allow and decision.reasons[0].rule == rule
    assert said in decision.message and "go on without it" in decision.message


def test_record_and_outline_show_nothing_of_the_input() -> None:
    secret = item(what={"input": {"command": "hush"}})
    fields, shown = record_fields(secret, "asked"), outline(secret)
    assert "hush" not in str(msgspec.to_builtins(fields)) + str(msgspec.to_builtins(shown))
    assert "title" not in fields and (shown["user"], fields["change"], fields["decision"]) == (
        "alice",
        "asked",
        "dec_1.1",
    )
