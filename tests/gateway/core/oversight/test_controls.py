"""Stop, hold and release: the table, what a request is subject to, what outlives a stale word."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.agents.lineage import AgentNode, SessionNode
from gateway.core.decisions.decision import Principal
from gateway.core.oversight.controls import (
    ACTIONS,
    RELEASED_MAX,
    STANDING_MAX,
    TRANSITIONS,
    Action,
    ControlRecord,
    ControlRefused,
    Controls,
    Order,
    State,
    changed,
    message,
    parse_target,
    release_command,
    targets_of,
)

ALICE = Principal(org="acme", team="platform", user="alice", credential="laptop")
STATES: tuple[State, ...] = ("free", "held", "stopped")


def order(action: Action, target: str = "session:s", by: str = "olga", reason: str = "runaway") -> Order:
    return Order(action, target, by, reason)


def record(state: State = "stopped", target: str = "session:s", serial: int = 1) -> ControlRecord:
    return ControlRecord(target, state, "olga", 1_000, "runaway", serial)


def session_of(**parents: str | None) -> SessionNode:
    """A session with agents, each by its parent."""
    session = SessionNode("s", "laptop", "alice", "", inferred=False)
    for name, parent in parents.items():
        session.agents[name] = AgentNode(session, name, parent, 0, 0, 0)
    return session


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", ACTIONS)
def test_order_follows_the_table_or_is_refused(state: State, action: Action) -> None:
    following = TRANSITIONS.get((state, action))
    if following is None:
        with pytest.raises(ControlRefused, match="neither stopped nor held" if state == "free" else "release it first"):
            changed(record(state), order(action), 2_000)
    else:
        found = changed(record(state, serial=4), order(action, by="otto", reason="again"), 2_000)
        assert found == ControlRecord("session:s", following, "otto", 2_000, "again", 5)


def test_stop_is_never_loosened_but_by_a_release() -> None:
    from_stopped = {action: TRANSITIONS.get(("stopped", action)) for action in ACTIONS}
    assert from_stopped == {"hold": None, "stop": "stopped", "release": "free"}
    assert ("free", "release") not in TRANSITIONS


@pytest.mark.parametrize(
    ("by", "reason"), [("", "x"), (" ", "x"), ("olga", " "), ("olga", "x" * 501), ("olga", "a\nb")]
)
def test_order_without_a_name_or_a_reason_is_refused(by: str, reason: str) -> None:
    with pytest.raises(ControlRefused, match="needs a name and a reason"):
        changed(None, order("stop", by=by, reason=reason), 0)


@pytest.mark.parametrize("target", ["org", "session:a b", "agent:s/a", "run:wf_1", "user:alice", "team:platform"])
def test_target_of_every_kind_is_read(target: str) -> None:
    assert ":".join(filter(None, parse_target(target))) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "org:x",
        "session",
        "session:",
        "agent:s",
        "agent:s/",
        "agent:/a",
        "agent:s/a/b",
        "user:a\n",
        "team:" + "x" * 257,
    ]
    + ["credential:laptop", "Session:s"],
)
def test_target_of_no_known_form_is_refused(target: str) -> None:
    with pytest.raises(ControlRefused, match="session:ID"):
        changed(None, order("stop", target), 0)


def test_request_belongs_to_its_agent_and_to_all_above_it() -> None:
    session = session_of(main=None, a="main", b="a", c="b")
    assert set(targets_of(ALICE, session.agents["c"], "wf_1")) == {
        "agent:s/c",
        "agent:s/b",
        "agent:s/a",
        "session:s",
        "run:wf_1",
        "user:alice",
        "team:platform",
        "org",
    }


def test_agent_below_main_does_not_belong_to_main() -> None:
    session = session_of(main=None, a="main")
    nobodys = Principal(org="acme", team=None, user="alice", credential="laptop")
    assert set(targets_of(nobodys, session.agents["a"], None)) == {"agent:s/a", "session:s", "user:alice", "org"}


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "gone"}])
def test_parents_that_lead_nowhere_are_followed_to_their_end(parents: dict[str, str]) -> None:
    targets = targets_of(ALICE, session_of(**parents).agents["a"], None)
    assert len(set(targets)) == len(targets) and targets[0] == "agent:s/a"


@pytest.mark.parametrize("stopped", ["agent:s/a", "session:s", "user:alice", "org"])
def test_stop_outranks_a_hold_of_any_other_target(stopped: str) -> None:
    controls = Controls()
    targets = ["agent:s/a", "session:s", "user:alice", "org"]
    for target in targets:
        controls.learn(record("stopped" if target == stopped else "held", target))
    assert controls.strictest(targets) == record("stopped", stopped)
    assert controls.strictest(["user:bob"]) is None


def test_word_that_comes_late_changes_nothing() -> None:
    controls = Controls()
    assert controls.learn(record("stopped", serial=1)) and controls.learn(record("free", serial=2))
    assert not controls.learn(record("stopped", serial=1))
    assert (bool(controls), controls.standing()) == (False, [])


def test_release_of_another_gateway_is_taken_over() -> None:
    controls = Controls()
    controls.learn(record("held"))
    assert controls and controls.learn(record("free", serial=2)) and not controls


def test_more_targets_than_can_stand_are_refused() -> None:
    controls = Controls()
    for number in range(STANDING_MAX):
        controls.learn(record(target=f"session:{number}"))
    with pytest.raises(ControlRefused, match="release some"):
        controls.require_room(order("stop", "session:more"))
    controls.require_room(order("stop", "session:1"))
    controls.require_room(order("release", "session:1"))
    assert len(controls.standing()) == STANDING_MAX


def test_target_released_first_is_forgotten_first() -> None:
    controls = Controls()
    for number in range(RELEASED_MAX + 1):
        controls.learn(record("free", f"session:{number}"))
    assert controls.outdated() == "session:0"
    controls.forget("session:0")
    assert controls.outdated() is None


@pytest.mark.parametrize(
    ("target", "said", "command"),
    [
        ("org", "everything was", "release --everything"),
        ("session:s 1", "session s 1 was", "release 's 1'"),
        ("agent:s/a", "agent a of session s was", "release s --agent a"),
        ("user:alice", "user alice was", "release --user alice"),
        ("team:platform", "team platform was", "release --team platform"),
        ("run:wf_1", "run wf_1 was", "release --run wf_1"),
    ],
)
def test_message_says_who_why_and_how_it_is_released(target: str, said: str, command: str) -> None:
    text = message(record("stopped", target))
    assert text.startswith(said) and "stopped by olga (runaway)" in text
    assert text.endswith(f"ringfence sessions {command} --reason '...'") and command in release_command(target)


TARGETS = ("org", "user:alice", "session:s", "agent:s/a")


@dataclass
class Gateway:
    """One of several that share a store; `unread` is what it has not been told yet."""

    controls: Controls = field(default_factory=Controls)
    unread: list[ControlRecord] = field(default_factory=list[ControlRecord])


class SeveralGateways(RuleBasedStateMachine):
    """Orders reach the store one by one, and each gateway some time later, once or twice, in order or not."""

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, ControlRecord] = {}
        self.gateways = [Gateway() for _ in range(3)]

    @rule(at=st.integers(0, 2), action=st.sampled_from(ACTIONS), whom=st.sampled_from(TARGETS))
    def say(self, at: int, action: Action, whom: str) -> None:
        before = self.store.get(whom)
        try:
            after = changed(before, order(action, whom), 0)
        except ControlRefused:
            assert (before.state if before else "free", action) not in TRANSITIONS
            return
        self.store[whom] = after
        self.gateways[at].controls.learn(after)
        for gateway in self.gateways:
            gateway.unread.append(after)

    @rule(at=st.integers(0, 2), choice=st.randoms(use_true_random=False), again=st.booleans())
    def hear(self, at: int, choice: Random, again: bool) -> None:
        unread = self.gateways[at].unread
        if unread:
            heard = choice.choice(unread)
            self.gateways[at].controls.learn(heard)
            if not again:
                unread.remove(heard)

    @invariant()
    def nobody_knows_more_than_the_store(self) -> None:
        for gateway in self.gateways:
            for target, record in self.store.items():
                known = gateway.controls.find(target)
                assert known is None or known.serial <= record.serial

    @invariant()
    def whoever_has_heard_all_agrees_with_the_store(self) -> None:
        standing = {record for record in self.store.values() if record.state != "free"}
        stopped = any(record.state == "stopped" for record in standing)
        for gateway in self.gateways:
            if gateway.unread:
                continue
            assert set(gateway.controls.standing()) == standing
            strictest = gateway.controls.strictest(TARGETS)
            assert (strictest is not None, strictest is not None and strictest.state == "stopped") == (
                bool(standing),
                stopped,
            )


SeveralGateways.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSeveralGateways = SeveralGateways.TestCase
