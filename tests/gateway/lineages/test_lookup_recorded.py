"""The tree that recorded sessions of the real client leave behind, judged by what the client itself counted."""

import json
import re
from collections import Counter

import pytest

from gateway.core.agents.spawns import text_sha256
from tests.gateway.lineages.cases import NAMES, House, release, replay, scenario

SPAWNING = ["c_custom_agent", "c_subagent_bg", "c_subagent_nested", "y_depth", "y_parallel6_fg", "y_sendmessage"]
WORKFLOWS = [name for name in NAMES if name.startswith("d_")] + ["v197_workflow"]


@pytest.mark.parametrize("name", SPAWNING)
async def test_spawned_agents_are_those_that_the_client_counted(name: str) -> None:
    house, recorded = House(), scenario(name)
    await replay(recorded, house)
    session = house.session(recorded.requests[0].session)
    others = [node for node in session.agents.values() if node.id != "main"]
    types = Counter(node.agent_type or "general-purpose" for node in others)
    assert (session.spawned(), session.meters(house.clock.now_ms)["depth"]) == (
        recorded.stats["spawned"],
        recorded.stats["max_depth"],
    )
    if "by_type" in recorded.stats and name != "c_custom_agent":
        assert types == recorded.stats["by_type"]
    assert not any(node.unasked or node.parent_inferred for node in others)


@pytest.mark.parametrize("name", NAMES)
async def test_every_agent_is_joined_to_the_call_that_asked_for_it(name: str) -> None:
    house, recorded = House(), scenario(name)
    await replay(recorded, house)
    session = house.session(recorded.requests[0].session)
    calls = {call["id"] for request in recorded.requests for call in recorded.calls_after(request)}
    others = [node for node in session.agents.values() if node.id != "main"]
    assert {node.spawned_by for node in others} <= calls
    assert all((node.run is not None) == node.workflow for node in others)


@pytest.mark.parametrize("name", NAMES)
async def test_parents_and_sums_fit_together(name: str) -> None:
    house, recorded = House(), scenario(name)
    await replay(recorded, house)
    session = house.session(recorded.requests[0].session)
    for node in session.agents.values():
        above = session.agents.get(node.parent or "")
        assert (node.depth == 0) if node.id == "main" else above is not None and node.depth == above.depth + 1
    assert sum(node.used.requests for node in session.agents.values()) == session.used.requests
    assert session.used.requests == len(recorded.requests)


async def test_nested_agent_hangs_below_the_one_that_asked() -> None:
    house, recorded = House(), scenario("c_subagent_nested")
    await replay(recorded, house)
    agents = house.session(recorded.requests[0].session).agents
    assert {(node.parent, node.depth, node.parent_type) for node in agents.values()} == {
        (None, 0, None),
        ("main", 1, "main"),
        ("a7232a7112c1b0bd5", 2, "general-purpose"),
    }


async def test_fork_is_known_though_it_says_what_its_parent_said() -> None:
    house, recorded = House(), scenario("c_subagent_bg")
    await replay(recorded, house)
    fork = house.session(recorded.requests[0].session).agents["affb0641e22693dc9"]
    assert (fork.agent_type, fork.forked_from, fork.spawned_by) == ("fork", "main", "toolu_1738d08bfab448c1ab37")


@pytest.mark.parametrize("name", WORKFLOWS)
async def test_agents_of_a_workflow_belong_to_its_run_until_the_client_says_it_ended(name: str) -> None:
    house, recorded = House(), scenario(name)
    await replay(recorded, house)
    session = house.session(recorded.requests[0].session)
    last = json.dumps(recorded.requests[-1].body["messages"])
    counted = re.search(r"<agent_count>(\d+)</agent_count>", last)
    named = re.search(r"Run ID: (wf_[0-9a-z-]+)", last)
    (run,) = session.runs
    others = [node for node in session.agents.values() if node.id != "main"]
    if counted is not None:
        assert len(run.agents) == int(counted[1])
    assert named is not None and run.id == named[1]
    assert (run.state, {node.run for node in others}) == ("ended", {run})
    assert not any(node.run_inferred for node in others)
    assert {(node.parent, node.depth) for node in others} == {("main", 1)}
    assert run.used.requests == sum(node.used.requests for node in others)


async def test_agents_of_a_workflow_are_known_by_the_prompt_that_the_script_gave_them() -> None:
    house, recorded = House(), scenario("d_workflow")
    await replay(recorded, house)
    session = house.session(recorded.requests[0].session)
    prompts = {f"WF-SCAN item {number}" for number in range(3)}
    assert {text_sha256(prompt) for prompt in prompts} <= {node.prompt_sha256 for node in session.agents.values()}
    (run,) = session.runs
    assert (run.name, run.source) == ("mock-wf", "claude-code")


async def test_agent_that_is_sent_a_message_comes_back_as_itself() -> None:
    house, recorded = House(), scenario("y_sendmessage")
    await replay(recorded, house)
    agent = house.session(recorded.requests[0].session).agents["acdcc1f6eb112100a"]
    assert (agent.used.requests, agent.resumes, agent.resumed_by) == (2, 1, "toolu_b7e1f7945fac4dedafc3")


async def test_search_is_attributed_to_the_agent_that_made_it_and_brings_none_to_life() -> None:
    house, recorded = House(), scenario("x_websearch")
    contexts = await replay(recorded, house)
    session = house.session(recorded.requests[0].session)
    assert [ctx.side for ctx in contexts] == [None, "web_search", None]
    assert (list(session.agents), session.used.requests) == (["main"], 3)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "x_websearch"])
async def test_turns_of_a_conversation_are_not_taken_for_side_requests(name: str) -> None:
    contexts = await replay(scenario(name), House())
    assert {ctx.side for ctx in contexts} == {None}


async def test_resumed_session_is_the_same_after_a_restart_and_its_binding_holds() -> None:
    first = House()
    recorded = scenario("x_sess2_resume")
    (request,) = recorded.requests
    begun = request.body | {"messages": request.body["messages"][:2]}
    ctx = await first.ask(request.headers, begun)
    assert ctx.agent is not None
    for used in ctx.agent.counters:
        used.requests += 1
    first.store.save_agent(ctx.agent.record())
    second = House(store=first.store)
    again = await second.ask(request.headers, request.body)
    assert again.agent is not None
    assert (again.agent.meters(second.clock.now_ms)["requests"], again.agent.session.forked_from) == (1, None)


async def test_forked_session_names_the_one_it_went_on_from() -> None:
    house = House()
    (request,) = scenario("x_sess2_resume").requests
    begun = request.body | {"messages": request.body["messages"][:2]}
    await house.ask(request.headers, begun)
    fork = await house.ask({"x-claude-code-session-id": "another"}, request.body)
    assert fork.agent is not None
    assert fork.agent.session.forked_from == request.session


@pytest.mark.parametrize("name", ["c_subagent_nested", "y_depth", "y_parallel6_fg", "x_toolsearch"])
async def test_without_headers_conversations_tell_agents_apart(name: str) -> None:
    house, recorded = House(), scenario(name)
    truth: dict[str, set[str]] = {}
    for request in recorded.requests:
        ctx = await house.ask({}, request.body)
        node = ctx.agent
        assert node is not None and node.session.inferred
        truth.setdefault(request.agent, set()).add(node.key)
        node.begin(house.clock.now_ms)
        for call in recorded.calls_after(request):
            release(node, call)
        node.end(house.clock.now_ms, owes_tool_result=True)
    assert all(len(keys) == 1 for keys in truth.values())
    assert len({key for keys in truth.values() for key in keys}) == len(truth)
    (session,) = {key.partition("/")[0] for keys in truth.values() for key in keys}
    depths = house.session(session).meters(house.clock.now_ms)["depth"]
    assert depths == recorded.stats["max_depth"]
