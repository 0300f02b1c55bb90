"""Ids that stand in a body: whom they name, and what stands against them."""

import pytest

from gateway.boards.controlboard import ControlBoard
from gateway.boards.fuseboard import FuseBoard
from gateway.claimants import claim, control_on, fuses_on, look_up, meet
from gateway.context import RequestContext
from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import Tree
from gateway.core.decisions.decision import Principal
from gateway.core.fuses.fuse import FuseBox, FuseLimits
from gateway.core.oversight.controls import Action, Order
from gateway.errors import Reason, Refused
from gateway.lineages import Lineages
from tests.gateway.boards.test_controlboard import FakeRecords
from tests.gateway.fusebench import Heard, Shelf
from tests.gateway.lineages.cases import FakeLineageStore
from tests.support.clock import FakeClock

LYING = {"x-claude-code-session-id": "of the header", "x-ringfence-run-id": "of the header"}


class Bench:
    """A tree of agents, and everybody who claims to be one."""

    def __init__(self) -> None:
        self.tree, self.store, self.refused = Tree(), FakeLineageStore(), list[str]()
        self.lineages = Lineages(
            self.tree, self.store, FakeClock(), tell_refused=lambda ctx, what, holder: self.refused.append(what)
        )

    def claiming(self, session: str | None, agent: str | None = None, *, user: str = "alice") -> RequestContext:
        ctx = RequestContext("dec_1", "POST", "/ringfence/v1/hooks/Stop", LYING, "operator", 0, 0.0)
        ctx.principal = Principal(org="acme", team="platform", user=user, credential=f"{user}-laptop")
        claim(ctx, session, agent=agent)
        return ctx


async def test_looking_an_agent_up_brings_none_to_life_and_meeting_it_does_once() -> None:
    bench = Bench()
    assert look_up(bench.lineages, bench.claiming("s", "a1")).id == "a1"
    assert bench.store.claims == [] and bench.tree.session("s") is None
    node = await meet(bench.lineages, bench.claiming("s", "a1"))
    again = await meet(bench.lineages, bench.claiming("s", "a1"))
    assert node is again is look_up(bench.lineages, bench.claiming("s", "a1"))
    assert (len(bench.store.claims), node.admitted, node.model, node.in_flight) == (1, False, None, 0)


async def test_body_counts_and_headers_do_not() -> None:
    bench, ctx = Bench(), Bench().claiming("s")
    await meet(bench.lineages, ctx)
    assert ctx.lineage is not None
    assert (ctx.lineage.session, ctx.lineage.agent, ctx.lineage.run) == ("s", MAIN_AGENT, None)


async def test_session_of_another_credential_is_refused_both_ways() -> None:
    bench = Bench()
    await meet(bench.lineages, bench.claiming("s"))
    with pytest.raises(Refused) as looking:
        look_up(bench.lineages, bench.claiming("s", user="bob"))
    with pytest.raises(Refused) as meeting:
        await meet(bench.lineages, bench.claiming("s", "a1", user="bob"))
    assert {looking.value.reason, meeting.value.reason} == {Reason.SESSION_TAKEN}
    assert bench.refused == ["session s", "session s"]


@pytest.mark.parametrize("id", ["a/b", "a\nb", "x" * 257])
def test_what_can_be_no_id_is_refused(id: str) -> None:
    bench = Bench()
    for ctx in (bench.claiming(id), bench.claiming("s", id)):
        with pytest.raises(Refused) as refused:
            look_up(bench.lineages, ctx)
        assert refused.value.reason == Reason.BODY_MALFORMED


def test_who_names_no_session_stands_in_none() -> None:
    bench = Bench()
    assert look_up(bench.lineages, bench.claiming(None)).session.id == "none"


async def test_stop_of_whatever_the_agent_belongs_to_is_found_before_a_hold() -> None:
    bench, ctx = Bench(), Bench().claiming("s", "a1")
    look_up(bench.lineages, ctx)
    controls = ControlBoard(FakeRecords(), lambda record: None, FakeClock())
    assert control_on(controls, ctx) is None
    orders: list[tuple[Action, str]] = [("hold", "session:s"), ("stop", "session:other"), ("stop", "team:platform")]
    for action, target in orders:
        await controls.change(Order(action, target, "olga", "x"))
    found = control_on(controls, ctx)
    assert found is not None and (found.target, found.state) == ("team:platform", "stopped")


async def test_fuses_of_the_agent_and_of_what_it_belongs_to_are_found() -> None:
    bench = Bench()
    mine, other = [await meet(bench.lineages, bench.claiming(session)) for session in ("s", "t")]
    limits = FuseLimits(agent={"tool_calls": 1}, session={"tool_calls": 2})
    heard = Heard()
    fuses = FuseBoard(FuseBox(limits), Shelf(), heard, heard, FakeClock(), bench.tree)
    assert list(fuses_on(fuses, mine)) == []
    for used in mine.counters:
        used.tool_calls = 2
    fuses.check(mine)
    assert [(each.scope, each.state) for each in fuses_on(fuses, mine)] == [("agent", "blown"), ("session", "warned")]
    assert list(fuses_on(fuses, other)) == []
