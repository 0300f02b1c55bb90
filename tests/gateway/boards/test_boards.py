"""What stands against an agent, asked as one: a stop first, then a fuse; and what other gateways wrote of each kind."""

import pytest

from gateway.boards import Boards
from gateway.boards.approvalboard import ApprovalBoard, Heard
from gateway.boards.controlboard import ControlBoard
from gateway.config.model import Approvals
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode
from gateway.core.decisions.decision import Lineage, Principal
from gateway.core.fuses.fuse import FuseLimits, Rating
from gateway.core.money.limits import Limits
from gateway.core.oversight.controls import Order
from gateway.errors import Reason, Refused
from gateway.ports import SharedRecord
from gateway.stores.memory import MemoryStore
from gateway.tasks import Tasks
from tests.gateway.fusebench import QUIET, Gateway

LIMIT = 10


class Bench:
    """The boards of one gateway, and a request of an agent that has had no output yet."""

    def __init__(self) -> None:
        self.fuses = Gateway(FuseLimits(session={"requests": Rating(LIMIT)}))
        store, clock = MemoryStore(Limits()), self.fuses.clock
        heard = Heard(lambda event, fields: None, lambda change, item: None)
        self.boards = Boards(
            ControlBoard(store, lambda record: None, clock, hold_wait_seconds=0.01),
            self.fuses.board,
            ApprovalBoard(store, Approvals(), heard, Tasks(), clock),
        )
        self.store = store
        self.agent = self.fuses.add("a2", self.fuses.main.session)
        self.agent.first_token = False

    def blow(self) -> None:
        self.fuses.count("session", "requests", LIMIT + 1)
        assert self.fuses.board.stand(self.fuses.agent, QUIET) is not None

    async def stop(self) -> None:
        await self.boards.controls.change(Order("stop", "session:s", "olga", "runaway"))

    def begin(self) -> None:
        ctx = request(self.agent)
        with self.boards.controls.flight(ctx):
            self.boards.may_begin(ctx)


def request(agent: AgentNode) -> RequestContext:
    ctx = RequestContext("dec_1", "POST", "/v1/messages", {}, "anthropic", 0, 0.0)
    ctx.principal = Principal(org="acme", team="platform", user="alice", credential="laptop")
    ctx.agent, ctx.lineage = agent, Lineage(session="s", agent=agent.id)
    return ctx


def reason_against(bench: Bench) -> Reason:
    with pytest.raises(Refused) as raised:
        bench.begin()
    return raised.value.reason


async def test_agent_against_which_nothing_stands_begins() -> None:
    Bench().begin()


async def test_blown_fuse_keeps_an_agent_from_its_first_output() -> None:
    bench = Bench()
    bench.blow()
    assert reason_against(bench) is Reason.FUSE_BLOWN


async def test_blown_fuse_lets_an_agent_that_had_output_go_on() -> None:
    bench = Bench()
    bench.blow()
    bench.agent.first_token = True
    bench.begin()


async def test_stop_is_told_before_a_fuse_that_is_blown_too() -> None:
    bench = Bench()
    bench.blow()
    await bench.stop()
    assert reason_against(bench) is Reason.STOPPED


async def test_each_board_takes_over_its_own_kind_of_what_another_gateway_wrote() -> None:
    there, here = Bench(), Bench()
    there.blow()
    await there.stop()
    written: list[SharedRecord] = [*there.fuses.shelf.rows, *await there.store.changed_records()]
    assert {row.kind for row in written} == {"fuse", "control"}
    here.boards.learn(written)
    assert reason_against(here) is Reason.STOPPED
    assert [record.target for record in here.boards.controls.standing()] == ["session:s"]
    assert [record.state for record in here.fuses.board.box.records()] == ["blown"]
