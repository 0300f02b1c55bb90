"""The look-up of agents as the request path uses it: questions that bring nobody to life, spawns taken back."""

import pytest

from gateway.core.agents.lineage import Tree
from gateway.errors import Reason, Refused
from gateway.lineages import Lineages
from tests.gateway.lineages.cases import FakeLineageStore, House
from tests.support.clock import FakeClock

MAIN = {"x-claude-code-session-id": "s"}
AGENT = MAIN | {"x-claude-code-agent-id": "a1"}
BODY = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "hi"}]}


def test_question_of_nobody_stands_in_no_tree() -> None:
    house = House()
    ctx = house.arrived(MAIN, BODY)
    node = house.lineages.nobody(ctx)
    lineage = house.lineages.lineage_of(ctx, node)
    assert (lineage.session, lineage.agent, lineage.depth, lineage.run) == ("none", "main", 0, None)
    assert list(house.tree.sessions()) == []


async def test_denied_spawn_leaves_no_agent_behind() -> None:
    house = House()
    await house.ask(MAIN, BODY)
    node = (await house.ask(AGENT, BODY)).agent
    assert node is not None and set(house.session("s").agents) == {"main", "a1"}
    house.lineages.take_back(node)
    assert set(house.session("s").agents) == {"main"}
    assert house.session("s").meters(house.clock.now_ms)["agents"] == 0


async def test_refusal_of_a_session_names_its_credential_to_the_trail_only() -> None:
    tree, clock = Tree(), FakeClock()
    refused: list[str] = []
    lineages = Lineages(
        tree, FakeLineageStore(), clock, tell_refused=lambda _ctx, what, holder: refused.append(f"{what} {holder}")
    )
    house = House(clock=clock)
    first, second = house.arrived(MAIN, BODY), house.arrived(MAIN, BODY, credential="ci")
    assert first.ask is not None and second.ask is not None
    await lineages.find(first, first.ask)
    with pytest.raises(Refused) as taken:
        await lineages.find(second, second.ask)
    assert taken.value.reason is Reason.SESSION_TAKEN and "laptop" not in taken.value.message
    assert refused == ["session s laptop"]
