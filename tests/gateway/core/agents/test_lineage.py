"""The tree of agents: what is counted of whom, at any interleaving, across restarts and other gateways."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.agents import lineage
from gateway.core.agents.lineage import (
    AgentNode,
    AgentRecord,
    Claimed,
    PendingRun,
    PendingSpawn,
    SessionNode,
    Tree,
    Used,
    first_of,
    inferred_session,
)
from gateway.core.agents.workflow_runs import Ended, Launched


def session(session_id: str = "s1", *, user: str = "alice") -> SessionNode:
    """A session nobody has added yet."""
    return SessionNode(session_id, "laptop", user, "claude-cli", inferred=False)


def use(node: AgentNode, requests: int = 1, cost_nanousd: int = 0) -> None:
    """An agent uses something."""
    for used in node.counters:
        used.requests += requests
        used.cost_nanousd += cost_nanousd


def test_agent_without_parent_hangs_below_main() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 1000)
    child = tree.add(main.session, "a1", None, 2000)
    grandchild = tree.add(main.session, "a2", "a1", 3000)
    assert [(node.parent, node.depth) for node in (main, child, grandchild)] == [(None, 0), ("main", 1), ("a1", 2)]


def test_session_meters_are_the_sum_of_its_agents_and_the_shape_of_the_tree() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 1000)
    child = tree.add(main.session, "a1", None, 2000)
    for node in (main, child, child):
        use(node)
    child.counters[1].stream_ms += 2500
    assert (child.meters(4000)["requests"], main.session.meters(4000)["requests"]) == (2, 3)
    assert main.session.meters(4000) | {"requests": 0} == {
        "requests": 0,
        "tool_calls": 0,
        "denials": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "cost": 0,
        "seconds": 3,
        "stream_seconds": 2,
        "agents": 1,
        "active_agents": 0,
        "agents_per_minute": 1,
        "depth": 1,
    }


def test_denied_agent_is_not_counted_and_what_asked_for_it_is_awaited_again() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    child = tree.add(main.session, "a1", None, 0)
    child.asked = PendingSpawn("Explore", "look", "toolu_1")
    child.begin(0)
    tree.remove(child)
    meters = main.session.meters(1) | tree.user_meters("alice", 1)
    assert [meters[name] for name in ("agents", "depth", "active_agents", "agents_per_minute")] == [0, 0, 0, 0]
    assert (len(main.session.expected), tree.active_agents(1)) == (1, 0)


def test_session_whose_only_agent_was_denied_never_was() -> None:
    tree = Tree()
    tree.remove(tree.add(session(), "a1", None, 5))
    assert (tree.session("s1"), tree.user_meters("alice", 6)["sessions_per_hour"]) == (None, 0)


def test_sessions_and_agents_of_a_person_are_counted_over_all_sessions() -> None:
    tree = Tree()
    for number in range(3):
        main = tree.add(session(f"s{number}"), "main", None, number)
        tree.add(main.session, "a1", None, number).begin(number)
    tree.add(session("other", user="bob"), "main", None, 3)
    assert tree.user_meters("alice", 10) == {"sessions_per_hour": 3, "active_agents": 3, "agents_per_minute": 3}
    assert tree.user_meters("alice", 3_600_001) == {"sessions_per_hour": 1, "active_agents": 3, "agents_per_minute": 0}
    assert tree.user_meters("nobody", 10) == {"sessions_per_hour": 0, "active_agents": 0, "agents_per_minute": 0}


def test_agents_are_restored_with_their_meters_and_write_them_again() -> None:
    tree = Tree()
    parent = tree.add(tree.add(session(), "main", None, 5).session, "a0", None, 10)
    node = tree.add(parent.session, "a1", "a0", 10)
    node.last_seen_ms, node.spawned_by, node.admitted = 50, "toolu_1", True
    use(node, 3, 7)
    records = [each.record() for each in (node, parent)]
    other = Tree()
    other.restore(records)
    restored = other.session("s1")
    assert restored is not None
    assert [restored.agents[each].record() for each in ("a1", "a0")] == records
    assert (restored.used.cost_nanousd, restored.meters(60)["depth"], restored.spawned()) == (7, 2, 2)
    assert not restored.agents["a1"].seen_whole


def test_agent_that_was_not_admitted_before_a_restart_is_not_afterwards() -> None:
    node = Tree().add(session(), "a1", None, 0)
    other = Tree()
    other.restore([node.record()])
    found = other.session("s1")
    assert found is not None and not found.agents["a1"].admitted


def test_run_of_a_restored_agent_goes_on_counting() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    main.session.launch(PendingRun("toolu_1", None, None))
    tree.hear(main.session, Launched("toolu_1", "wf_1"), 1)
    agent = tree.add(main.session, "a1", None, 2)
    agent.workflow = True
    tree.join(agent, next(iter(main.session.runs)))
    use(agent, 4)
    other = Tree()
    other.restore([main.record(), agent.record()])
    run = other.run("wf_1")
    assert run is not None and (run.meters(9)["requests"], run.meters(9)["agents"]) == (4, 1)
    assert run.source == "claude-code"


def elsewhere(agent: str = "a1", **fields: object) -> AgentRecord:
    """What another gateway counted."""
    node = AgentNode(session(), agent, "main" if agent != "main" else None, 1, 10, 20)
    return msgspec.structs.replace(node.record(), **fields)


def test_what_other_gateways_count_is_in_every_meter_and_in_no_record() -> None:
    tree = Tree()
    node = tree.add(tree.add(session(), "main", None, 0).session, "a1", None, 10)
    use(node, 2)
    tree.learn_elsewhere([elsewhere(requests=5, cost_nanousd=3)])
    tree.learn_elsewhere([elsewhere(requests=6, cost_nanousd=3)])
    assert (node.meters(20)["requests"], node.session.meters(20)["requests"], node.session.meters(20)["cost"]) == (
        8,
        8,
        3,
    )
    assert (node.record().requests, node.used) == (2, Used(requests=2))


def test_late_news_from_elsewhere_take_nothing_back() -> None:
    tree = Tree()
    node = tree.add(session(), "a1", None, 10)
    tree.learn_elsewhere([elsewhere(requests=6), elsewhere(requests=5)])
    assert node.meters(20)["requests"] == 6


def test_agent_of_another_gateway_counts_in_the_session_it_shares() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    tree.learn_elsewhere([elsewhere("a9", requests=1, active=True), elsewhere("b1", session="unknown")])
    meters = main.session.meters(30)
    assert (meters["agents"], meters["active_agents"], meters["requests"]) == (1, 1, 1)
    assert tree.session("unknown") is None


def test_claim_tells_how_many_agents_there_are_everywhere() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    agent = tree.add(main.session, "a1", None, 0)
    tree.merge(agent, Claimed("laptop", "alice", 7), alone=True)
    later = tree.add(main.session, "a2", None, 0)
    tree.merge(later, Claimed("laptop", "alice", 6), alone=True)
    assert main.session.spawned() == 6


def test_counts_of_claims_that_overlapped_are_not_lowered_by_the_order_of_their_answers() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    one, other = (tree.add(main.session, agent, None, 0) for agent in ("a1", "a2"))
    tree.merge(other, Claimed("laptop", "alice", 7), alone=False)
    tree.merge(one, Claimed("laptop", "alice", 6), alone=False)
    assert main.session.spawned() == 7


def test_agent_seen_elsewhere_comes_with_what_it_is_and_has_used() -> None:
    tree = Tree()
    node = tree.add(session(), "a1", None, 100)
    seen = elsewhere(requests=4, agent_type="Explore", admitted=True, first_token=True)
    tree.merge(node, Claimed("laptop", "alice", 1, seen), alone=True)
    assert (node.agent_type, node.admitted, node.first_token, node.first_seen_ms) == ("Explore", True, True, 10)
    assert (node.meters(200)["requests"], node.record().requests) == (4, 4)
    assert tree.user_meters("alice", 200)["sessions_per_hour"] == 0


def test_new_session_counts_for_its_person_and_a_known_one_does_not() -> None:
    tree = Tree()
    new, known = (tree.add(session(each), "main", None, 1) for each in ("s1", "s2"))
    tree.merge(new, Claimed("laptop", "alice", 0), alone=True)
    tree.merge(known, Claimed("laptop", "alice", 3), alone=True)
    assert tree.user_meters("alice", 2)["sessions_per_hour"] == 1


def test_run_gets_the_clients_name_for_it_and_ends_when_the_client_says_so() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    run = main.session.launch(PendingRun("toolu_1", "abc", "agent('x')"))
    tree.hear(main.session, Launched("toolu_1", "wf_1", "w1", "scan"), 10)
    named = (run.id, run.task_id, run.name, run.state)
    tree.hear(main.session, Ended("toolu_1"), 20)
    assert named == ("wf_1", "w1", "scan", "running")
    assert (run.state, run.ended_ms, main.session.runs.open) == ("ended", 20, [])


def test_run_that_never_started_is_over() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    run = main.session.launch(PendingRun("toolu_1", None, None))
    tree.hear(main.session, Launched("toolu_1"), 10)
    assert (run.state, main.session.runs.open) == ("ended", [])


def test_run_keeps_the_id_that_its_first_agent_was_counted_under() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    run = main.session.launch(PendingRun("toolu_1", None, None))
    tree.join(tree.add(main.session, "a1", None, 1), run)
    tree.hear(main.session, Launched("toolu_1", "wf_1"), 10)
    assert (run.id, run.client_id, main.session.runs.find("wf_1")) == ("toolu_1", "wf_1", run)


def test_run_id_of_somebody_else_is_not_taken_over() -> None:
    tree = Tree()
    mine = tree.add(session(), "main", None, 0)
    theirs = tree.add(SessionNode("s2", "phone", "bob", "x", inferred=False), "main", None, 0)
    assert tree.named_run(mine.session, "wf_1", 0) is not None
    assert tree.named_run(theirs.session, "wf_1", 0) is None
    run = theirs.session.launch(PendingRun("toolu_2", None, None))
    tree.hear(theirs.session, Launched("toolu_2", "wf_1"), 5)
    assert run.id == "toolu_2"


def test_run_that_a_header_names_spans_sessions_of_its_credential() -> None:
    tree = Tree()
    mains = [tree.add(session(each), "main", None, 0) for each in ("s1", "s2")]
    for main in mains:
        run = tree.named_run(main.session, "r1", 5)
        assert run is not None
        tree.join(main, run)
        use(main, 2)
    found = tree.run("r1")
    assert found is not None and (found.meters(9)["requests"], found.meters(9)["agents"], found.source) == (
        4,
        2,
        "runtime",
    )


@pytest.mark.parametrize("name", ["wf_1", "w1", "toolu_1"])
def test_hook_moves_an_agent_to_its_run_with_all_it_has_used(name: str) -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    for number in (1, 2):
        main.session.launch(PendingRun(f"toolu_{number}", None, None))
        tree.hear(main.session, Launched(f"toolu_{number}", f"wf_{number}", f"w{number}"), 1)
    first, second = main.session.runs.open
    node = tree.add(main.session, "a1", None, 2)
    tree.join(node, second, inferred=True)
    use(node, 3)
    node.begin(5)
    assert tree.join_hook("s1", "a1", name)
    assert (node.run, node.run_inferred, node.workflow) == (first, False, True)
    assert [run.meters(6)["requests"] for run in (first, second)] == [3, 0]
    assert [run.meters(6)["active_agents"] for run in (first, second)] == [1, 0]


def test_hook_about_an_agent_that_has_not_come_is_remembered_and_one_about_no_run_is_not_taken() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    run = main.session.launch(PendingRun("toolu_1", None, None))
    assert tree.join_hook("s1", "a1", "toolu_1")
    assert main.session.runs.hooked("a1") is run
    assert not tree.join_hook("s1", "a1", "wf_9") and not tree.join_hook("s9", "a1", "toolu_1")


def test_sessions_come_last_used_first() -> None:
    tree = Tree()
    for number in range(3):
        tree.add(session(f"s{number}"), "main", None, number)
    tree.session("s0")
    assert [each.id for each in tree.sessions()] == ["s0", "s2", "s1"]


@pytest.mark.parametrize("order", ["last_seen", "cost", "agents", "active_agents", "denials", "files"])
def test_top_sessions_come_in_the_order_asked_for(order: lineage.Order) -> None:
    tree = Tree()
    for number in (1, 3, 2):
        main = tree.add(session(f"s{number}"), "main", None, number)
        main.session.reach.files |= {str(each) for each in range(number)}
        for agent in range(number):
            node = tree.add(main.session, f"a{agent}", None, number)
            node.begin(number)
            use(node, cost_nanousd=1)
            node.counters[1].denials += 1
    assert [each.id for each in tree.top(order, 2, 10)] == ["s3", "s2"]


def test_work_is_counted_over_all_sessions() -> None:
    tree = Tree()
    mains = [tree.add(session(f"s{number}"), "main", None, 0) for number in range(3)]
    child = tree.add(mains[0].session, "a1", None, 0)
    for node in (mains[0], child, mains[1]):
        node.begin(0)
    assert (tree.active_sessions(1), tree.active_agents(1), tree.at_work(1)) == (2, 3, ["s0", "s1"])


def test_session_is_lately_used_while_it_is_at_work_and_some_minutes_after() -> None:
    tree, idle_ms = Tree(), lineage.IDLE_SECONDS * 1000
    now_ms = 10 * idle_ms
    nodes = [tree.add(session(f"s{number}"), "main", None, 0) for number in range(3)]
    for node in nodes[:2]:
        node.begin(now_ms)
    nodes[0].end(now_ms + 1, owes_tool_result=False)
    assert (tree.at_work(now_ms + 2), tree.lately_used(now_ms + 2)) == (["s1"], ["s0", "s1"])
    assert tree.lately_used(now_ms + 1 + idle_ms) == ["s1"]


def test_session_unused_for_longest_is_forgotten_first() -> None:
    tree = Tree()
    for number in range(lineage.SESSIONS_MAX + 1):
        tree.add(session(f"s{number}"), "main", None, number)
    assert (tree.session("s0"), len(list(tree.sessions()))) == (None, lineage.SESSIONS_MAX)


def test_fresh_sessions_of_one_person_push_out_no_others() -> None:
    tree = Tree()
    tree.add(session("victims", user="bob"), "main", None, 1)
    for number in range(lineage.SESSIONS_MAX + 1):
        tree.add(session(f"s{number}"), "main", None, 2)
    assert tree.session("victims") is not None and tree.session("s0") is None
    assert len(list(tree.sessions())) == lineage.SESSIONS_MAX


def test_agents_of_one_session_are_bounded_and_stay_counted() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    for number in range(lineage.AGENTS_PER_SESSION_MAX + 5):
        tree.add(main.session, f"a{number}", None, number)
    assert len(main.session.agents) == lineage.AGENTS_PER_SESSION_MAX
    assert main.session.spawned() == lineage.AGENTS_PER_SESSION_MAX + 5


def test_inferred_session_depends_on_credential_and_first_words() -> None:
    ids = {inferred_session(who, words) for who in ("laptop", "phone") for words in (b"x", b"y")}
    assert len(ids) == 4 and inferred_session("laptop", b"x") in ids


def test_first_header_that_says_something_is_taken() -> None:
    assert first_of({"a": "", "b": "2"}, ("a", "b")) == "2"
    assert first_of({}, ("a",)) is None


AGENTS = st.sampled_from(["main", "a", "b", "c", "d", "e"])
AMOUNTS = st.integers(0, 5)


class TreeMachine(RuleBasedStateMachine):
    """Agents come in any order with any parent, work, are denied, join and leave runs, and are heard of elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.root = session()
        self.runs = [self.root.launch(PendingRun(f"toolu_{number}", None, None)) for number in range(2)]
        self.lost, self.lost_elsewhere = Used(), Used()
        self.now = 0

    @property
    def agents(self) -> Iterable[AgentNode]:
        return self.root.agents.values()

    @rule(agent=AGENTS, parent=st.none() | AGENTS)
    def come(self, agent: str, parent: str | None) -> None:
        self.now += 1
        if self.tree.session("s1") is None:
            self.root = session()
            self.runs = [self.root.launch(PendingRun(f"toolu_{number}", None, None)) for number in range(2)]
            self.lost, self.lost_elsewhere = Used(), Used()
        if agent not in self.root.agents:
            self.tree.add(self.root, agent, parent, self.now)

    @rule(agent=AGENTS, requests=AMOUNTS, cost=AMOUNTS)
    def work(self, agent: str, requests: int, cost: int) -> None:
        if (node := self.root.agents.get(agent)) is not None:
            use(node, requests, cost)

    @rule(agent=AGENTS, owes=st.booleans())
    def request(self, agent: str, owes: bool) -> None:
        self.now += 1
        if (node := self.root.agents.get(agent)) is not None:
            if node.in_flight:
                node.end(self.now, owes_tool_result=owes)
            else:
                node.begin(self.now)

    @rule(agent=AGENTS)
    def deny(self, agent: str) -> None:
        if (node := self.root.agents.get(agent)) is not None and agent != "main":
            self.lost.add(node.used)
            self.lost_elsewhere.add(node.elsewhere)
            self.tree.remove(node)

    @rule(agent=AGENTS, run=st.integers(0, 1))
    def join(self, agent: str, run: int) -> None:
        if (node := self.root.agents.get(agent)) is not None:
            self.tree.join(node, self.runs[run])

    @rule(agent=AGENTS, parent=AGENTS, depth=st.integers(1, 5), requests=AMOUNTS)
    def hear(self, agent: str, parent: str, depth: int, requests: int) -> None:
        told = elsewhere(agent, parent=parent, depth=depth, requests=requests)
        self.tree.learn_elsewhere([told])

    @invariant()
    def no_agent_is_above_itself_and_each_is_one_deeper_than_its_parent(self) -> None:
        for node in self.agents:
            seen: set[str] = set()
            above: AgentNode | None = node
            while above is not None:
                assert above.id not in seen
                seen.add(above.id)
                above = self.root.agents.get(above.parent or "")
            parent = self.root.agents.get(node.parent or "")
            if node.id == "main":
                assert node.depth == 0
            elif parent is not None:
                assert node.depth == parent.depth + 1
            else:
                assert node.depth == 1 if node.parent == "main" else node.depth >= 2

    @invariant()
    def sums_of_agents_are_the_sessions_and_the_runs(self) -> None:
        total, others = Used(), Used()
        total.add(self.lost)
        others.add(self.lost_elsewhere)
        for node in self.agents:
            total.add(node.used)
            others.add(node.elsewhere)
        assert not self.root.agents or (total, others) == (self.root.used, self.root.elsewhere)
        for run in self.runs:
            mine = Used()
            for node in self.agents:
                if node.run is run:
                    mine.add(node.used)
            assert mine == run.used
            assert run.agents == {node.key for node in self.agents if node.run is run}

    @invariant()
    def what_is_counted_fits_what_is_there(self) -> None:
        meters = self.root.meters(self.now)
        others = [node for node in self.agents if node.id != "main"]
        assert meters["agents"] == len(others)
        assert meters["active_agents"] == sum(node.is_active(self.now) for node in others)
        assert meters["depth"] == max((node.depth for node in self.agents), default=0)
        assert self.tree.active_agents(self.now) == sum(node.is_active(self.now) for node in self.agents)


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
