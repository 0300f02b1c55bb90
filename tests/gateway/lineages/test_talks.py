"""Clients that send no ids: their conversations tell."""

from typing import Any

import pytest

from gateway.core.agents.lineage import AgentNode, PendingSpawn
from gateway.core.wire.spans import Malformed
from tests.gateway.lineages.cases import House

OURS = {"x-ringfence-agent-id": "a1"}


def said(*words: str) -> dict[str, Any]:
    """A conversation in which user and assistant take turns."""
    messages = [{"role": ("user", "assistant")[each % 2], "content": text} for each, text in enumerate(words)]
    return {"model": "m", "messages": messages}


async def talk(house: House, *words: str, credential: str = "laptop", **headers: str) -> AgentNode:
    """The agent of a request without ids."""
    node = (await house.ask(headers, said(*words), credential=credential)).agent
    assert node is not None
    return node


async def test_conversation_is_a_session_and_goes_on_in_it() -> None:
    house = House()
    first = await talk(house, "a")
    assert await talk(house, "a", "b", "c") is first
    assert await talk(house, "a", "b", "c", "d", "e") is first
    assert first.session.inferred and first.id == "main"


async def test_other_first_words_and_other_credentials_are_other_sessions() -> None:
    house = House()
    nodes = [await talk(house, "a"), await talk(house, "b"), await talk(house, "a", credential="phone")]
    assert len({node.session.id for node in nodes}) == 3


async def test_another_turn_at_an_earlier_point_is_the_same_conversation() -> None:
    house = House()
    first = await talk(house, "a")
    await talk(house, "a", "b", "c")
    assert await talk(house, "a", "b", "something else") is first


async def test_session_is_found_again_by_its_first_words_after_a_restart() -> None:
    house = House()
    before = await talk(house, "a")
    after = await talk(House(house.store), "a", "b", "c")
    assert after.session.id == before.session.id


async def test_conversation_that_a_pending_call_asks_for_is_an_agent_of_that_session() -> None:
    house = House()
    main = await talk(house, "do it")
    main.session.expect(PendingSpawn("Explore", "look for x", "toolu_1"))
    node = await talk(house, "look for x")
    assert (node.session, node.parent, node.agent_type) == (main.session, "main", "Explore")
    assert await talk(house, "look for x", "found", "more") is node
    assert await talk(house, "do it", "I asked", "go on") is main


async def test_agents_with_the_same_prompt_are_several() -> None:
    house = House()
    main = await talk(house, "do it")
    for number in range(3):
        main.session.expect(PendingSpawn(None, "look for x", f"toolu_{number}"))
    nodes = {(await talk(house, "look for x")).id for _ in range(4)}
    assert (len(nodes), main.session.spawned()) == (3, 3)


async def test_agent_of_an_agent_hangs_below_it() -> None:
    house = House()
    main = await talk(house, "do it")
    main.session.expect(PendingSpawn(None, "look for x", "toolu_1"))
    child = await talk(house, "look for x")
    main.session.expect(PendingSpawn(None, "deeper", "toolu_2", parent=child.id))
    node = await talk(house, "deeper")
    assert (node.parent, node.depth, node.parent_inferred) == (child.id, 2, True)


async def test_call_of_another_credential_asks_for_nobody() -> None:
    house = House()
    main = await talk(house, "do it")
    main.session.expect(PendingSpawn(None, "look for x", "toolu_1"))
    node = await talk(house, "look for x", credential="phone")
    assert (node.id, node.session.spawned(), main.session.spawned()) == ("main", 0, 0)


async def test_side_request_is_attributed_to_the_last_session_of_its_credential() -> None:
    house = House()
    await talk(house, "a")
    last = await talk(house, "b")
    ctx = await house.ask({}, said("quota") | {"max_tokens": 1})
    assert (ctx.side, ctx.agent) == ("probe", last)
    assert len(list(house.tree.sessions())) == 2


async def test_side_request_is_no_turn_of_a_conversation() -> None:
    house = House()
    await talk(house, "a")
    await house.ask({}, said("quota") | {"max_tokens": 1})
    assert (await talk(house, "quota", "b", "c")).session.id != (await talk(house, "a")).session.id


async def test_agent_that_a_header_names_is_that_agent_of_the_inferred_session() -> None:
    house = House()
    node = await talk(house, "a", **OURS)
    assert (node.id, node.session.inferred) == ("a1", True)
    assert await talk(house, "a", "b", "c", **OURS) is node


async def test_request_without_messages_is_a_session_too() -> None:
    house = House()
    node = (await house.ask({}, {"model": "m", "messages": []})).agent
    assert node is not None and node.session.inferred


@pytest.mark.parametrize("messages", [[7], ["x"]])
async def test_messages_that_are_none_are_refused_before_anybody_is_counted(messages: list[Any]) -> None:
    house = House()
    with pytest.raises(Malformed):
        await house.ask({}, {"model": "m", "messages": messages})
    assert list(house.tree.sessions()) == []
