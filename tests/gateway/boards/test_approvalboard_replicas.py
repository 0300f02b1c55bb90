"""Two gateways, one store, any order of asking, deciding, leaving and polling: who waited got what the store says."""

import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.core.decisions.decision import Decision
from gateway.core.oversight.approvalbook import decode_item
from gateway.core.oversight.approvals import AlreadyDecided, Item, NotAllowed, Scope, Verdict
from tests.gateway.boards.test_approvalboard import Bench, pair, poll
from tests.gateway.core.oversight.approvalcases import call, demanding

COMMANDS = ["make a", "make b"]
WHO = st.sampled_from([0, 1])


@dataclass
class Asked:
    """A question, on the gateway that holds it."""

    item: Item
    task: "asyncio.Task[Decision]"


class Replicas(RuleBasedStateMachine):
    """Nothing is approved here that the store does not hold as approved, and nothing waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.gateways = self.runner.run(self._pair())
        self.store = self.gateways[0].store
        self.asked: list[Asked] = []

    async def _pair(self) -> tuple[Bench, Bench]:
        return pair()

    @rule(
        at=WHO,
        command=st.sampled_from(COMMANDS),
        session=st.sampled_from(["s1", "s2"]),
        remember=st.sampled_from(["once", "session", "always"]),
    )
    def ask(self, at: int, command: str, session: str, remember: str) -> None:
        self.runner.run(self._ask(self.gateways[at], command, session, remember))

    async def _ask(self, bench: Bench, command: str, session: str, remember: str) -> None:
        task = bench.start(call(command), demanding(remember=remember), session=session)
        change, one = await bench.changes.get()
        while change not in ("asked", "remembered"):  # what came before is told too
            change, one = await bench.changes.get()
        if change == "asked":
            self.asked.append(Asked(one, task))
        else:
            assert (await task).allow, "what is remembered is an approval"
            last = one.last
            assert last is not None and last.through is not None
            grant = (await self._stored())[last.through]
            assert grant.binding == one.binding and grant.state == "approved", "it was approved for the same call"

    @precondition(lambda self: self.asked)
    @rule(
        at=WHO,
        which=st.integers(0, 50),
        verdict=st.sampled_from(["approve", "deny", "revoke"]),
        scope=st.sampled_from(["once", "session", "always"]),
    )
    def decide(self, at: int, which: int, verdict: Verdict, scope: Scope) -> None:
        one = self.asked[which % len(self.asked)].item
        scope = scope if verdict == "approve" else "once"
        try:
            decided = self.runner.run(self.gateways[at].board.decide(one.id, verdict, by="olga", scope=scope))
        except (AlreadyDecided, NotAllowed):
            return
        assert decided == self.runner.run(self._stored())[one.id], "who decides sees what is stored"

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 50))
    def leave(self, which: int) -> None:
        self.asked[which % len(self.asked)].task.cancel()

    @rule(seconds=st.sampled_from([1, 30, 600]))
    def time_passes(self, seconds: int) -> None:
        self.gateways[0].clock.advance(seconds)
        self.runner.run(self._tidy())

    @rule()
    def poll(self) -> None:
        self.runner.run(self._settle())

    async def _tidy(self) -> None:
        for each in self.gateways:
            await poll(self.store, *self.gateways)
            await each.board.tidy()

    async def _settle(self) -> None:
        for _ in range(3):
            await poll(self.store, *self.gateways)
            await asyncio.sleep(0)
            await asyncio.gather(*(self._finish(bench) for bench in self.gateways))
        stored = await self._stored()
        for each in self.asked:
            state = stored[each.item.id].state
            if not each.task.done():
                assert state == "waiting", f"it waits for what was decided: {state}"
            elif not each.task.cancelled():
                assert each.task.result().allow == (state == "approved"), f"it went on against what was said: {state}"

    async def _finish(self, bench: Bench) -> None:
        while bench.tasks.names:
            await asyncio.sleep(0)

    async def _stored(self) -> dict[str, Item]:
        records = await self.store.load_records()
        items = [record for record in records if record.kind == "approval" and record.id.startswith("apr_")]
        return {record.id: decode_item(record.text or b"") for record in items}

    def teardown(self) -> None:
        self.runner.run(self._settle())
        for each in self.asked:
            each.task.cancel()
        self.runner.run(self._settle())
        self.runner.close()


Replicas.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestReplicas = Replicas.TestCase
