"""The tree of agents and its meters."""

from gateway.core.lineage import AgentRecord, PendingSpawn, SessionNode, Tree, inferred_session


def session(session_id: str = "s1") -> SessionNode:
    """A session nobody has added yet."""
    return SessionNode(session_id, "laptop", "alice", "claude-cli", inferred=False)


def test_agent_without_parent_hangs_below_main() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 1000)
    child = tree.add(main.session, "a1", None, 2000)
    grandchild = tree.add(main.session, "a2", "a1", 3000)
    assert [(node.parent, node.depth) for node in (main, child, grandchild)] == [(None, 0), ("main", 1), ("a1", 2)]


def test_session_meters_are_the_sum_of_its_agents() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 1000)
    child = tree.add(main.session, "a1", None, 2000)
    for node in (main, child, child):
        for used in node.counters:
            used.requests += 1
    assert (child.meters(4000)["requests"], main.session.meters(4000)["requests"]) == (2, 3)
    assert main.session.meters(4000) | {"requests": 0} == {
        "requests": 0,
        "tool_calls": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "cost": 0,
        "seconds": 3,
        "agents": 1,
        "active_agents": 0,
        "depth": 1,
    }


def test_agent_is_active_while_in_flight_and_while_it_owes_a_result() -> None:
    tree = Tree()
    node = tree.add(tree.add(session(), "main", None, 0).session, "a1", None, 0)
    node.begin(1000)
    in_flight = node.session.active(1000)
    node.end(2000, owes_tool_result=True)
    owing = node.session.active(3000)
    abandoned = node.session.active(2000 + 300_000)
    assert (in_flight, owing, abandoned) == (1, 1, 0)


def test_agent_that_ended_its_turn_is_not_active() -> None:
    node = Tree().add(session(), "a1", None, 0)
    node.begin(0)
    node.end(1, owes_tool_result=False)
    assert node.session.active(2) == 0


def test_refused_agent_is_not_counted() -> None:
    tree = Tree()
    main = tree.add(session(), "main", None, 0)
    tree.remove(tree.add(main.session, "a1", None, 0))
    assert (main.session.spawned(), main.session.deepest) == (0, 0)


def test_spawn_is_claimed_once_by_the_agent_that_got_its_prompt() -> None:
    node = session()
    node.expect(PendingSpawn("Explore", "look for x"))
    node.expect(PendingSpawn("Plan", "plan y"))
    claimed = node.claim("<reminder>\nplan y")
    assert claimed is not None and claimed.agent_type == "Plan"
    assert node.claim("plan y") is None


def test_stored_agents_come_back_with_their_meters() -> None:
    tree = Tree()
    node = tree.add(session(), "a1", "a0", 10)
    node.depth, node.last_seen_ms = 2, 50
    for used in node.counters:
        used.requests, used.cost_nanousd = 3, 7
    record = node.record()
    other = Tree()
    other.restore([record])
    restored = other.session("s1")
    assert restored is not None
    assert restored.agents["a1"].record() == record
    assert (restored.used.cost_nanousd, restored.deepest) == (7, 2)
    assert isinstance(record, AgentRecord)


def test_sessions_come_last_used_first() -> None:
    tree = Tree()
    for number in range(3):
        tree.add(session(f"s{number}"), "main", None, number)
    tree.session("s0")
    assert [each.id for each in tree.sessions()] == ["s0", "s2", "s1"]


def test_inferred_session_depends_on_user_and_first_words() -> None:
    ids = {inferred_session(user, words) for user in ("alice", "bob") for words in ("x", "y")}
    assert len(ids) == 4 and inferred_session("alice", "x") in ids
