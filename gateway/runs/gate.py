"""May this run begin, may this agent of it live? Policy, people's controls and fuses, as for every other agent.

An agent that was let in stands in the tree as one of its run: its requests find it there, so that its spawn is asked
about once and it is counted once. One that nobody let in here is asked about at its first request, as ever.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.boards import Boards
from gateway.boards.approvalboard import NOTHING_MORE, Shown
from gateway.claimants import claim, control_on, fuses_on, look_up, meet
from gateway.context import RequestContext
from gateway.contract import MAIN_AGENT, RUNS_PATH
from gateway.core.agents.lineage import AgentNode
from gateway.core.agents.spawns import text_sha256
from gateway.core.decisions.decision import Decision, Principal, Run, Spawn, denied
from gateway.core.decisions.obligations import model_of
from gateway.core.fuses import fuse
from gateway.core.oversight import controls
from gateway.core.oversight.approvals import demand_of
from gateway.core.oversight.controls import EVERYTHING
from gateway.core.wire.names import Catalogue
from gateway.decider import Decider
from gateway.errors import GatewayError, Reason, Refused
from gateway.lineages import Lineages
from gateway.ports import Clock, LineageStore, ScriptProfiler, Telemetry
from gateway.runs.asked import RUNTIME_CLIENT, AgentAsked, Answer, RunAsked

RUN_CARRIED_OUT = frozenset({"require_approval", "log_full"})
"""Obligations of a run's decision that can be met."""
SPAWN_CARRIED_OUT = RUN_CARRIED_OUT | {"set_model"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the gate is told of its surroundings."""

    current: Callable[[Principal], Principal | None]
    """A principal as it stands now; None: its credential is accepted no more."""
    profile: ScriptProfiler
    catalogue: Catalogue
    asks_people: bool = True
    """Somebody is asked where policy wants an approval; else only what was approved before counts."""


@dataclass(frozen=True, slots=True)
class RunGate:
    """Decides. What policy, people, stores or ids are against is a denial, never an exception."""

    decider: Decider
    boards: Boards
    lineages: Lineages
    store: LineageStore
    telemetry: Telemetry
    clock: Clock
    setting: Setting

    async def decide_run(self, asked: RunAsked) -> Answer:
        """May it begin? Nothing is counted, and nobody is waited for."""
        ctx = self._context()
        try:
            action, decision = await self._decide_run(ctx, asked)
            demand = demand_of(decision) if decision.allow else None
            if demand is not None:
                decision = await self.boards.approvals.remembered(ctx, action, decision, decision_id=ctx.id)
                if not decision.allow and self.setting.asks_people:
                    return Answer(allow=True, ask=demand.reason, decision=ctx.id)
        except (GatewayError, ValueError) as error:
            return Answer(allow=False, message=str(error), decision=ctx.id)
        return _answer(ctx, decision)

    async def approve_run(self, asked: RunAsked) -> Answer:
        """The same, and whoever may approve it is asked and waited for. Cancelling it takes the question back."""
        ctx = self._context()
        try:
            with self.boards.controls.flight(ctx):
                action, decision = await self._decide_run(ctx, asked)
                self.boards.controls.require_unstopped(ctx)
                shown = Shown(asked.script, None if asked.args is None else msgspec.json.decode(asked.args))
                decision = await self._approved(ctx, action, decision, shown)
        except (GatewayError, ValueError) as error:
            return Answer(allow=False, message=str(error), decision=ctx.id)
        return _answer(ctx, decision)

    async def decide_spawn(self, asked: AgentAsked) -> Answer:
        """May the agent live? Waits while a person holds it, and for an approval; who is denied is not counted."""
        ctx = self._context()
        try:
            with self.boards.controls.flight(ctx):
                self._claim(ctx, asked, agent=asked.agent)
                decision = await self._admit(ctx, asked, await meet(self.lineages, ctx))
        except GatewayError as error:
            return Answer(allow=False, message=str(error), decision=ctx.id)
        return _answer(ctx, decision)

    def end_agent(self, session: str, agent: str) -> None:
        """It will ask nothing more: it is not at work, whatever its last answer left open."""
        held = self.lineages.tree.session(session)
        node = None if held is None else held.agents.get(agent)
        if node is None or node.in_flight:
            return
        node.owes_tool_result = False
        for crew in node.crews:
            crew.end(node, self.clock.unix_ms(), owes=False)
        self.store.save_agent(node.record())

    def stopped_by(self, owner: Principal, session: str, run: str) -> str | None:
        """Who has stopped the run, its session, or its user, team or everything. What is said of one agent is not."""
        principal = self.setting.current(owner) or owner
        targets = {f"run:{run}", f"session:{session}", f"user:{principal.user}", f"team:{principal.team}", EVERYTHING}
        standing = self.boards.controls.standing()
        return next((each.by for each in standing if each.state == "stopped" and each.target in targets), None)

    def end_run(self, run: str) -> None:
        """It is over: its clock stands."""
        found = self.lineages.tree.run(run)
        if found is not None:
            found.end(self.clock.unix_ms())

    def _context(self) -> RequestContext:
        return RequestContext(
            id=f"dec_{os.urandom(12).hex()}",
            method="POST",
            path=RUNS_PATH,
            headers={},
            dialect="anthropic",
            received_unix_ms=self.clock.unix_ms(),
            received_monotonic=self.clock.monotonic(),
            client_name=RUNTIME_CLIENT,
            source="runtime",
        )

    def _claim(self, ctx: RequestContext, asked: RunAsked | AgentAsked, *, agent: str | None = None) -> None:
        """Raises `Refused(CREDENTIAL_INVALID)`."""
        ctx.principal = self.setting.current(asked.principal)
        if ctx.principal is None:
            message = f"credential {asked.principal.credential} is no longer accepted; start the run with another one"
            raise Refused(Reason.CREDENTIAL_INVALID, message)
        parent = None if agent is None else MAIN_AGENT
        claim(ctx, asked.session, agent=agent, parent=parent, run=asked.run)

    async def _decide_run(self, ctx: RequestContext, asked: RunAsked) -> tuple[Run, Decision]:
        self._claim(ctx, asked)
        node = look_up(self.lineages, ctx)
        action = Run(
            name=asked.name,
            script_sha256=asked.script_sha256,
            profile=self.setting.profile(asked.script),
            args_bytes=0 if asked.args is None else len(asked.args),
            source="runtime",
            resume_of=asked.resume_of,
            registered=self.boards.approvals.registered(asked.script_sha256),
        )
        against = self._against(ctx, node)
        if against is not None:
            self.decider.record(ctx, action, against, decision_id=ctx.id)
            return action, against
        return action, await self.decider.decide(ctx, action, decision_id=ctx.id, carried_out=RUN_CARRIED_OUT)

    def _against(self, ctx: RequestContext, node: AgentNode) -> Decision | None:
        """What stands against whoever asks for it, whatever policies say."""
        control = control_on(self.boards.controls, ctx)
        if control is not None:
            return denied(f"control/{control.state}", controls.message(control))
        blown = next((record for record in fuses_on(self.boards.fuses, node) if record.state == "blown"), None)
        return None if blown is None else denied(f"fuse/{blown.meter}", fuse.message(blown))

    async def _admit(self, ctx: RequestContext, asked: AgentAsked, node: AgentNode) -> Decision:
        """Whoever is not admitted leaves the tree again, whatever ended the question."""
        node.begin(self.clock.unix_ms())
        self._describe(ctx, asked, node)
        try:
            await self._wait_until_free(ctx)
            decision = await self._decide_spawn(ctx, asked, node)
            if not decision.allow:
                self.lineages.take_back(node)
                return decision
            node.routed_model = model_of(decision.obligations)
        except BaseException:
            self.lineages.take_back(node)
            raise
        is_new, node.admitted = not node.admitted, True
        node.end(self.clock.unix_ms(), owes_tool_result=node.owes_tool_result)
        self.store.save_agent(node.record())
        if is_new:
            self.telemetry.agent_seen("runtime")
        return decision

    def _describe(self, ctx: RequestContext, asked: AgentAsked, node: AgentNode) -> None:
        """What no request of the agent will tell."""
        node.agent_type, node.prompt_sha256 = asked.agent_type, text_sha256(asked.prompt)
        node.model, node.workspace = asked.model, asked.workspace or node.workspace
        if node.run is not None:
            node.run.name = asked.run_name
            node.run.state, node.run.ended_ms = "running", None  # it may have been taken up again
        ctx.lineage = self.lineages.lineage_of(ctx, node)

    async def _wait_until_free(self, ctx: RequestContext) -> None:
        """A hold is not a denial: the run waits as long as it takes. Raises `Refused(STOPPED)`."""
        while True:
            try:
                return await self.boards.controls.require_free(ctx)
            except Refused as refused:
                if refused.reason is not Reason.HELD:
                    raise

    async def _decide_spawn(self, ctx: RequestContext, asked: AgentAsked, node: AgentNode) -> Decision:
        action = Spawn(
            via="runtime",
            agent_type=asked.agent_type,
            model=None if asked.model is None else self.setting.catalogue.canonical(asked.model),
            prompt_bytes=len(asked.prompt.encode("utf-8", "surrogatepass")),
            prompt_sha256=node.prompt_sha256,
            label=asked.label,
            phase=asked.phase,
            isolation=asked.isolation,
            parent_type=node.parent_type,
            workflow=True,
        )
        blown = self.boards.fuses.check(node)
        if blown is not None:
            decision = denied(f"fuse/{blown.meter}", fuse.message(blown))
            self.decider.record(ctx, action, decision, decision_id=ctx.id)
            return decision
        asked_of = self.decider.engine.revision
        decision = await self._ask(ctx, action)
        decision = await self._approved(ctx, action, decision, Shown(asked.prompt))
        if decision.allow and self.decider.engine.revision != asked_of:
            again = await self._ask(ctx, action)
            return decision if again.allow else again
        return decision

    async def _ask(self, ctx: RequestContext, action: Spawn) -> Decision:
        return await self.decider.decide(ctx, action, decision_id=ctx.id, carried_out=SPAWN_CARRIED_OUT)

    async def _approved(
        self, ctx: RequestContext, action: Run | Spawn, decision: Decision, shown: Shown = NOTHING_MORE
    ) -> Decision:
        approvals = self.boards.approvals
        if self.setting.asks_people:
            return await approvals.approved(ctx, action, decision, decision_id=ctx.id, shown=shown)
        return await approvals.remembered(ctx, action, decision, decision_id=ctx.id)


def _answer(ctx: RequestContext, decision: Decision) -> Answer:
    return Answer(allow=decision.allow, message="" if decision.allow else decision.message, decision=ctx.id)
