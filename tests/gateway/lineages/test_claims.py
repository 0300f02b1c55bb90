"""Whose an id is: bound to the credential that first used it, claimed once, settled by the store."""

import asyncio

import pytest

from gateway.core.agents.lineage import AgentRecord
from gateway.errors import Reason, Refused
from gateway.lineages.claims import read_ids
from tests.gateway.lineages.cases import FakeLineageStore, House

SESSION = {"x-claude-code-session-id": "s"}
AGENT = SESSION | {"x-claude-code-agent-id": "a1"}
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def settled(*waiting: asyncio.Task[object]) -> None:
    """Let tasks run until they wait for something."""
    for _ in range(5 + len(waiting)):
        await asyncio.sleep(0)


@pytest.mark.parametrize("value", ["a/b", "x" * 257, "a\tb"])
@pytest.mark.parametrize(
    "name", ["x-claude-code-session-id", "x-ringfence-agent-id", "x-claude-code-parent-agent-id", "x-ringfence-run-id"]
)
async def test_odd_ids_are_refused(name: str, value: str) -> None:
    house = House()
    with pytest.raises(Refused) as refused:
        await house.ask(SESSION | {name: value}, BODY)
    assert refused.value.reason is Reason.BODY_MALFORMED
    assert house.store.claims == []


async def test_session_that_only_we_may_name_is_refused() -> None:
    house = House()
    with pytest.raises(Refused) as refused:
        await house.ask({"x-ringfence-session-id": "inferred-0123456789abcdef"}, BODY)
    assert refused.value.reason is Reason.BODY_MALFORMED and house.store.claims == []


def test_ids_are_read_from_the_headers_of_claude_code_and_from_ours() -> None:
    ours = House().arrived(
        {"X-Ringfence-Session-Id": "s", "x-ringfence-agent-id": "a", "x-ringfence-run-id": "r"}, BODY
    )
    theirs = House().arrived(AGENT | {"x-claude-code-parent-agent-id": "p"}, BODY)
    assert read_ids(ours) == ("s", "a", None, "r")
    assert read_ids(theirs) == ("s", "a1", "p", None)


async def test_session_of_another_user_is_refused_and_told() -> None:
    house = House()
    await house.ask(SESSION, BODY)
    with pytest.raises(Refused, match="session s belongs to another user") as refused:
        await house.ask(AGENT, BODY, credential="phone", user="bob")
    assert (refused.value.reason, house.refused) == (Reason.SESSION_TAKEN, [("session s", "laptop")])
    assert "laptop" not in refused.value.message and house.session("s").spawned() == 0


async def test_session_of_another_credential_of_the_same_user_is_refused_too() -> None:
    house = House()
    await house.ask(SESSION, BODY)
    with pytest.raises(Refused, match="another credential of yours"):
        await house.ask(SESSION, BODY, credential="phone")
    assert house.refused == [("session s", "laptop")]


async def test_session_of_a_retired_credential_goes_on_under_another_of_its_user_only() -> None:
    house = House(retired={"laptop"})
    await house.ask(SESSION, BODY)
    mine = await house.ask(AGENT, BODY, credential="phone")
    assert mine.agent is not None and mine.agent.session.spawned() == 1
    assert house.store.claims[-1].credential == "laptop"
    with pytest.raises(Refused, match="another user"):
        await house.ask(SESSION, BODY, credential="tablet", user="bob")


async def test_session_that_only_the_store_knows_keeps_its_binding() -> None:
    store = FakeLineageStore()
    await House(store).ask(SESSION, BODY)
    restarted = House(store)
    with pytest.raises(Refused) as refused:
        await restarted.ask(SESSION, BODY, credential="phone", user="bob")
    assert refused.value.reason is Reason.SESSION_TAKEN
    assert restarted.tree.session("s") is None
    assert (await restarted.ask(SESSION, BODY)).agent is not None


async def test_session_that_only_the_store_knows_is_taken_over_from_a_retired_credential() -> None:
    store = FakeLineageStore()
    await House(store).ask(SESSION, BODY)
    restarted = House(store, retired={"laptop"})
    taken = await restarted.ask(AGENT, BODY, credential="phone")
    assert taken.agent is not None
    assert (taken.agent.session.credential, taken.agent.session.spawned()) == ("laptop", 1)
    assert "a1" in store.agents["s"]


async def test_while_an_intruder_asks_the_owner_is_not_refused() -> None:
    store = FakeLineageStore()
    await House(store).ask(SESSION, BODY)
    restarted = House(store)
    store.gate = asyncio.Event()
    intruder = asyncio.create_task(restarted.ask(SESSION, BODY, credential="phone", user="bob"))
    await settled(intruder)
    owner = asyncio.create_task(restarted.ask(SESSION, BODY))
    await settled(owner)
    store.gate.set()
    with pytest.raises(Refused):
        await intruder
    assert (await owner).agent is not None
    assert restarted.refused == [("session s", "laptop")]


async def test_requests_of_one_new_agent_share_one_claim_and_one_node() -> None:
    house = House()
    await house.ask(SESSION, BODY)
    house.store.gate = asyncio.Event()
    waiting = [asyncio.create_task(house.ask(AGENT, BODY)) for _ in range(20)]
    await settled(*waiting)
    counted = house.session("s").spawned()
    house.store.gate.set()
    nodes = {id((await each).agent) for each in waiting}
    assert (counted, len(nodes), len(house.store.claims)) == (1, 1, 2)


async def test_new_agents_are_counted_before_the_store_answers() -> None:
    house = House()
    await house.ask(SESSION, BODY)
    house.store.gate = asyncio.Event()
    waiting = [
        asyncio.create_task(house.ask(SESSION | {"x-claude-code-agent-id": f"a{each}"}, BODY)) for each in range(10)
    ]
    await settled(*waiting)
    assert house.session("s").spawned() == 10
    house.store.gate.set()
    await asyncio.gather(*waiting)
    assert house.session("s").spawned() == 10


async def test_agent_is_not_counted_when_the_store_is_away_and_all_who_wait_are_told() -> None:
    house = House()
    await house.ask(SESSION, BODY)
    house.store.gate, house.store.problem = asyncio.Event(), Refused(Reason.STORE_UNAVAILABLE, "away")
    waiting = [asyncio.create_task(house.ask(AGENT, BODY)) for _ in range(3)]
    await settled(*waiting)
    house.store.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {getattr(each, "reason", None) for each in outcomes} == {Reason.STORE_UNAVAILABLE}
    assert house.session("s").spawned() == 0
    house.store.problem = None
    assert (await house.ask(AGENT, BODY)).agent is not None


async def test_when_the_one_that_claims_leaves_the_next_one_claims() -> None:
    house = House()
    await house.ask(SESSION, BODY)
    house.store.gate = asyncio.Event()
    first = asyncio.create_task(house.ask(AGENT, BODY))
    await settled(first)
    second = asyncio.create_task(house.ask(AGENT, BODY))
    await settled(second)
    first.cancel()
    house.store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    node = (await second).agent
    assert node is not None and house.session("s").agents["a1"] is node
    assert (house.session("s").spawned(), node.claimed) == (1, True)


async def test_agents_of_two_gateways_on_one_store_are_counted_together() -> None:
    store = FakeLineageStore()
    houses = [House(store), House(store)]
    for number in range(6):
        await houses[number % 2].ask(SESSION | {"x-claude-code-agent-id": f"a{number}"}, BODY)
    assert [house.session("s").spawned() for house in houses] == [5, 6]


async def test_agent_that_another_gateway_admitted_is_not_asked_about_again() -> None:
    store = FakeLineageStore()
    first = await House(store).ask(AGENT, BODY)
    assert first.agent is not None
    first.agent.admitted = True
    store.save_agent(first.agent.record())
    again = await House(store).ask(AGENT, BODY)
    assert again.agent is not None and again.agent.admitted


async def test_agent_whose_spawn_is_still_being_decided_elsewhere_is_asked_about_here_too() -> None:
    store = FakeLineageStore()
    await House(store).ask(AGENT, BODY)
    again = await House(store).ask(AGENT, BODY)
    assert again.agent is not None and not again.agent.admitted


async def test_run_id_of_another_credential_is_refused() -> None:
    house = House()
    await house.ask({"x-ringfence-session-id": "s1", "x-ringfence-run-id": "r"}, BODY)
    with pytest.raises(Refused, match="run r belongs to another user") as refused:
        await house.ask({"x-ringfence-session-id": "s2", "x-ringfence-run-id": "r"}, BODY, credential="x", user="bob")
    assert (refused.value.reason, house.refused) == (Reason.SESSION_TAKEN, [("run r", "laptop")])


async def test_known_agents_ask_the_store_nothing() -> None:
    house = House()
    for _ in range(5):
        await house.ask(AGENT, BODY)
    assert [isinstance(each, AgentRecord) for each in house.store.claims] == [True]
