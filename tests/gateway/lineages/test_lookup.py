"""Which agent a request is, and what it is."""

import json
from typing import Any

import pytest

from gateway.core.agents.lineage import AgentNode, PendingMessage, PendingRun, PendingSpawn
from gateway.core.wire.spans import Malformed
from tests.gateway.lineages.cases import GOLDEN, House, scenario

MAIN = {"x-claude-code-session-id": "s"}
AGENT = MAIN | {"x-claude-code-agent-id": "a1"}
FRAME = "[Workflow harness — computed task] no user authority. The computed task text follows:\n  "


def body(words: str = "hi", *history: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request that ends with these words of the user's."""
    return {"model": "claude-opus-5-5", "messages": [*history, {"role": "user", "content": words}], **fields}


async def found(house: House, headers: dict[str, str], document: Any = None) -> AgentNode:
    """The agent of one request."""
    node = (await house.ask(headers, document or body())).agent
    assert node is not None
    return node


async def test_main_agent_needs_no_spawn_and_another_does() -> None:
    house = House()
    assert (await found(house, MAIN)).admitted
    assert not (await found(house, AGENT)).admitted


async def test_agent_is_what_the_call_asked_for() -> None:
    house = House()
    main = await found(house, MAIN, body(system="Primary working directory: /home/dev/app"))
    main.session.expect(PendingSpawn("Explore", "look for it", "toolu_1", background=True))
    ctx = await house.ask(AGENT, body("look for it"))
    node = ctx.agent
    assert node is not None
    assert (node.agent_type, node.spawned_by, node.background, node.unasked) == ("Explore", "toolu_1", True, False)
    lineage = house.lineages.lineage_of(ctx, node)
    assert (lineage.agent_type, lineage.workspace, lineage.depth, lineage.parent) == (
        "Explore",
        "/home/dev/app",
        1,
        "main",
    )


async def test_agent_that_nobody_asked_for_is_marked() -> None:
    house = House()
    await found(house, MAIN)
    assert (await found(house, AGENT, body("out of nowhere"))).unasked


async def test_agent_is_not_blamed_when_its_parent_was_elsewhere_before() -> None:
    first = House()
    main = await found(first, MAIN)
    for used in main.counters:
        used.requests += 1
    first.store.save_agent(main.record())
    second = House(first.store)
    await found(second, MAIN)
    assert not (await found(second, AGENT, body("asked for by another process"))).unasked


async def test_agent_without_a_parent_header_hangs_below_the_one_that_asked() -> None:
    house = House()
    main = await found(house, MAIN)
    await found(house, AGENT)
    main.session.expect(PendingSpawn(None, "deeper", "toolu_2", parent="a1"))
    node = await found(house, MAIN | {"x-claude-code-agent-id": "a2"}, body("deeper"))
    assert (node.parent, node.depth, node.parent_inferred) == ("a1", 2, True)


async def test_agent_of_a_run_that_a_header_names_is_asked_for_by_it() -> None:
    house = House()
    await found(house, MAIN)
    node = await found(house, AGENT | {"x-ringfence-run-id": "r1"}, body("anything"))
    run = house.tree.run("r1")
    assert run is not None and (node.run, node.unasked, run.source) == (run, False, "runtime")
    assert node.counters[2] is run.used


async def test_agents_of_overlapping_runs_are_told_apart_by_their_scripts() -> None:
    house = House()
    main = await found(house, MAIN)
    scan = main.session.launch(PendingRun("toolu_1", None, "agent('scan it ' + i)"))
    check = main.session.launch(PendingRun("toolu_2", None, "agent('check it ' + i)"))
    agents = {
        words: await found(house, MAIN | {"x-claude-code-agent-id": words[:1]}, body(FRAME + words))
        for words in ("scan it 1", "check it 2", "neither")
    }
    assert [node.run for node in agents.values()] == [scan, check, check]
    assert [node.run_inferred for node in agents.values()] == [False, False, True]


async def test_agent_in_a_workflows_frame_belongs_to_the_call_that_asked_for_its_very_words() -> None:
    house = House()
    main = await found(house, MAIN)
    main.session.launch(PendingRun("toolu_1", None, "agent('scan')"))
    main.session.expect(PendingSpawn("Explore", FRAME + "scan", "toolu_2"))
    node = await found(house, AGENT, body(FRAME + "scan"))
    assert (node.run, node.workflow, node.spawned_by) == (None, False, "toolu_2")


async def test_agent_that_nothing_explains_belongs_to_the_open_run_by_guess() -> None:
    house = House()
    main = await found(house, MAIN)
    run = main.session.launch(PendingRun("toolu_1", None, None))
    node = await found(house, AGENT, body("of a type of its own, in an older client"))
    assert (node.run, node.run_inferred, node.unasked) == (run, True, False)


async def test_workflow_agent_without_a_known_run_is_marked_as_such() -> None:
    house = House()
    await found(house, MAIN)
    node = await found(house, AGENT, body(FRAME + "scan"))
    assert (node.workflow, node.run, node.unasked) == (True, None, False)


async def test_hooks_of_the_client_join_its_agents_to_their_run_exactly() -> None:
    """As the recorded hooks tell: the run's id after the call, each agent's transcript when it has stopped."""
    document = json.loads((GOLDEN / "x_http_hooks_workflow.json").read_text())
    hooks = [each["body"] for each in document["requests"] if each["path"].startswith("/hook/") and "body" in each]
    told = next(each for each in hooks if each["hook_event_name"] == "PostToolUse")
    started = next(each for each in hooks if each["hook_event_name"] == "SubagentStart")
    house, headers = House(), {"x-claude-code-session-id": told["session_id"]}
    main = await found(house, headers)
    ours = main.session.launch(PendingRun(told["tool_use_id"], None, None))
    later = main.session.launch(PendingRun("toolu_later", None, None))
    node = await found(house, headers | {"x-claude-code-agent-id": started["agent_id"]}, body(FRAME + "x"))
    guessed = (node.run, node.run_inferred)
    assert house.tree.join_hook(told["session_id"], started["agent_id"], told["tool_use_id"])
    assert (guessed, node.run, node.run_inferred) == ((later, True), ours, False)


async def test_denied_agent_is_taken_back_here_and_in_the_store() -> None:
    house = House()
    await found(house, MAIN)
    node = await found(house, AGENT)
    node.begin(house.clock.now_ms)
    house.lineages.take_back(node)
    assert (house.session("s").spawned(), house.store.released) == (0, [("s", "a1")])
    again = await found(house, AGENT)
    assert again is not node and len(house.store.claims) == 3


async def test_agent_is_not_taken_back_while_another_request_asks_for_it_or_once_it_was_admitted() -> None:
    house = House()
    node = await found(house, AGENT)
    node.begin(house.clock.now_ms)
    node.begin(house.clock.now_ms)
    house.lineages.take_back(node)
    node.admitted = True
    house.lineages.take_back(node)
    assert (house.store.released, node.in_flight) == ([], 0)
    assert house.session("s").agents["a1"] is node


async def test_agent_that_was_taken_back_finds_its_call_again() -> None:
    house = House()
    main = await found(house, MAIN)
    main.session.expect(PendingSpawn("Explore", "look for it", "toolu_1"))
    house.lineages.take_back(await found(house, AGENT, body("look for it")))
    assert (await found(house, AGENT, body("look for it"))).spawned_by == "toolu_1"


async def test_message_to_an_agent_at_work_is_no_resumption() -> None:
    house = House()
    node = await found(house, AGENT)
    node.session.wake(PendingMessage("toolu_1", "go on", "a1"))
    node.begin(house.clock.now_ms)
    await found(house, AGENT, body("go on"))
    assert node.resumes == 0


async def test_side_request_names_its_kind_and_leaves_the_agents_model_alone() -> None:
    house = House()
    await found(house, MAIN)
    ctx = await house.ask(MAIN, body("quota", model="claude-haiku-5-5", max_tokens=1))
    assert (ctx.side, house.session("s").agents["main"].model) == ("probe", "claude-opus-5-5")


async def test_side_request_of_an_unseen_agent_is_a_spawn_like_any_other() -> None:
    house = House()
    ctx = await house.ask(AGENT, body("quota", max_tokens=1))
    assert ctx.agent is not None
    assert (ctx.side, ctx.agent.admitted, house.session("s").spawned()) == ("probe", False, 1)


async def test_compaction_starts_the_growth_of_the_prompt_anew() -> None:
    house = House()
    node = await found(house, MAIN)
    node.measure_prompt(1000)
    node.measure_prompt(9000)
    await found(house, MAIN, body("CRITICAL: Respond with TEXT ONLY. Sum up."))
    node.measure_prompt(2000)
    assert node.meters(0)["context_growth"] == 0


async def test_fork_of_a_session_is_known_though_its_title_was_asked_for_first() -> None:
    house = House()
    (request,) = scenario("x_sess2_resume").requests
    await house.ask(request.headers, request.body | {"messages": request.body["messages"][:2]})
    title = body("name it", output_config={"format": {"type": "json_schema"}}, thinking={"type": "disabled"})
    await house.ask({"x-claude-code-session-id": "fork"}, title)
    await house.ask({"x-claude-code-session-id": "fork"}, request.body)
    assert house.session("fork").forked_from == request.session


async def test_new_session_with_the_same_first_words_is_no_fork() -> None:
    house = House()
    for session in ("one", "two"):
        await found(house, {"x-claude-code-session-id": session})
    assert house.session("two").forked_from is None


async def test_counting_tokens_brings_nobody_to_life() -> None:
    house = House()
    main = await found(house, MAIN)
    contexts = [house.arrived(headers, body()) for headers in (MAIN, AGENT, {"x-ringfence-session-id": "new"}, {})]
    nodes = [house.lineages.known(ctx, ctx.ask) for ctx in contexts if ctx.ask is not None]
    assert [(node.session.id, node.id, node.depth) for node in nodes] == [
        ("s", "main", 0),
        ("s", "a1", 1),
        ("new", "main", 0),
        ("none", "main", 0),
    ]
    assert (nodes[0] is main, list(main.session.agents), house.tree.session("new")) == (True, ["main"], None)
    assert {ctx.side for ctx in contexts} == {"count"} and len(house.store.claims) == 1


async def test_counting_tokens_of_an_inferred_conversation_is_its_agents() -> None:
    house = House()
    node = await found(house, {})
    ctx = house.arrived({}, body())
    assert ctx.ask is not None and house.lineages.known(ctx, ctx.ask) is node


async def test_nobody_stands_in_no_tree() -> None:
    house = House()
    ctx = house.arrived(MAIN, body())
    node = house.lineages.nobody(ctx)
    assert (node.session.id, node.depth, list(house.tree.sessions())) == ("none", 0, [])


async def test_agent_whose_request_cannot_be_read_is_not_counted() -> None:
    house = House()
    await found(house, MAIN)
    raw = b'{"model":"m","messages":[{"role":7,"content":"x"}]}'
    with pytest.raises(Malformed):
        await house.ask(AGENT, raw)
    assert house.session("s").spawned() == 0
