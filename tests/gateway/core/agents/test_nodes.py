"""One agent, one session: what they are and what they use."""

from gateway.core.agents.lineage import Tree
from gateway.core.agents.nodes import AgentNode, SessionNode
from gateway.core.agents.spawns import Opening, PendingSpawn
from gateway.core.agents.workflow_runs import PendingRun
from gateway.core.decisions.decision import PathUse, ToolFacts
from gateway.core.estimates.known import Known

FACTS = ToolFacts(paths=(PathUse("/w/a", "write", True),), hosts=("example.org",))


def family() -> tuple[AgentNode, AgentNode]:
    """A main agent and one below it."""
    tree = Tree()
    main = tree.add(SessionNode("s1", "laptop", "alice", "claude-cli", inferred=False), "main", None, 0)
    return main, tree.add(main.session, "a1", None, 0)


def test_agent_is_active_while_in_flight_and_while_it_owes_a_result() -> None:
    _, node = family()
    node.begin(1000)
    in_flight = node.session.active(1000)
    node.end(2000, owes_tool_result=True)
    owing = node.session.active(3000)
    abandoned = node.session.active(2000 + 300_000)
    assert (in_flight, owing, abandoned) == (1, 1, 0)


def test_agent_is_active_until_the_last_of_its_requests_ended() -> None:
    _, node = family()
    node.begin(0)
    node.begin(1)
    node.end(2, owes_tool_result=False)
    still = node.session.active(3)
    node.end(4, owes_tool_result=False)
    assert (still, node.session.active(5)) == (1, 0)


def test_main_agent_is_not_counted_among_the_active_ones() -> None:
    main, _ = family()
    main.begin(0)
    assert (main.session.active(1), main.is_active(1)) == (0, True)


def test_types_are_told_up_the_tree() -> None:
    main, node = family()
    node.agent_type = "Explore"
    assert (main.own_type, main.parent_type, node.own_type, node.parent_type) == ("main", None, "Explore", "main")


def test_growth_of_the_prompt_starts_anew_after_a_compaction() -> None:
    _, node = family()
    growth: list[int] = []
    for tokens in (1000, 1500, 4000):
        node.measure_prompt(tokens)
        growth.append(node.meters(0)["context_growth"])
    node.compact()
    for tokens in (6000, 6500):
        node.measure_prompt(tokens)
        growth.append(node.meters(0)["context_growth"])
    assert growth == [0, 500, 3000, 0, 500]


def test_prompt_that_got_shorter_than_the_first_was_compacted() -> None:
    _, node = family()
    for tokens in (1000, 9000, 600, 700):
        node.measure_prompt(tokens)
    assert node.meters(0)["context_growth"] == 100


def test_touched_things_count_for_the_session_and_for_the_run_of_the_agent() -> None:
    main, node = family()
    run = main.session.launch(PendingRun("toolu_1", None, None))
    main.touch(FACTS, "write")
    node.join(run)
    node.touch(ToolFacts(paths=(PathUse("/w/b", "read", True),)), "read")
    assert main.session.blast() == {"tool_classes": 2, "files": 2, "written_files": 1, "hosts": 1, "agents": 1}
    assert run.blast() == {"tool_classes": 1, "files": 1, "written_files": 0, "hosts": 0, "agents": 1}


def test_agent_that_joins_a_run_brings_along_what_it_has_used_and_takes_it_away_again() -> None:
    main, node = family()
    run = main.session.launch(PendingRun("toolu_1", None, None))
    node.used.requests, node.owes_tool_result = 3, True
    node.join(run)
    joined = (run.used.requests, len(run.agents), run.meters(1)["active_agents"], run.meters(1)["agents_per_minute"])
    for used in node.counters:
        used.requests += 1
    node.leave()
    left = run.meters(1)
    assert (joined, node.counters[1:]) == ((3, 1, 1, 1), (main.session.used,))
    assert [left[name] for name in ("requests", "agents", "active_agents", "agents_per_minute")] == [0, 0, 0, 0]


def test_joining_twice_counts_once() -> None:
    main, node = family()
    run = main.session.launch(PendingRun("toolu_1", None, None))
    node.used.requests = 2
    node.join(run, inferred=True)
    node.join(run)
    assert (run.used.requests, node.run_inferred) == (2, False)


def test_run_begins_when_the_agent_that_asked_was_last_seen() -> None:
    main, node = family()
    main.begin(5000)
    node.begin(7000)
    asked = [main.session.launch(PendingRun(f"toolu_{who}", None, None, parent=who)) for who in ("main", "a1", "gone")]
    assert [run.first_seen_ms for run in asked] == [5000, 7000, 0]


def test_prompts_of_one_kind_replace_each_other() -> None:
    _, node = family()
    prompts = [Known(fixed, {}, 0, frozenset(), tokens, "up") for fixed, tokens in ((b"a", 1), (b"b", 2), (b"a", 3))]
    for prompt in prompts:
        node.learn(prompt)
    assert [each.prompt_tokens for each in node.known] == [3, 2]


def test_session_hands_a_waiting_spawn_out_once() -> None:
    main, _ = family()
    main.session.expect(PendingSpawn("Explore", "look for it", "toolu_1"))
    found = [main.session.claim(Opening(("look for it",))) for _ in range(2)]
    assert [each and each.agent_type for each in found] == ["Explore", None]
