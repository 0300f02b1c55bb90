"""The gateway's word on runs and their agents, in the words of the runtime's ports. Decides nothing itself."""

from dataclasses import dataclass
from typing import cast

from gateway.core.decisions.decision import Principal
from gateway.core.wire.usage import Tokens as GatewayTokens
from gateway.errors import Refused
from gateway.identity.run_bearers import RunBearers
from gateway.runs.asked import AgentAsked, Answer, RunAsked
from gateway.runs.gate import RunGate
from gateway.runs.listprices import ListPrices
from gateway.runs.room import Left, Room
from runtime.core.model import Owner, RunId, RunSpec, Tokens, raw_of
from runtime.ports import AgentTask, Verdict


def principal_of(owner: Owner) -> Principal:
    """For whom a run acts."""
    return Principal(
        org=owner.org,
        team=owner.team,
        user=owner.user,
        credential=owner.credential,
        groups=owner.groups,
        tags=owner.tags,
    )


def owner_of(principal: Principal) -> Owner:
    """The other way. An operator's run is no operator."""
    return Owner(
        org=principal.org,
        team=principal.team,
        user=principal.user,
        credential=principal.credential,
        groups=principal.groups,
        tags=principal.tags,
    )


@dataclass(frozen=True, slots=True)
class GateAdmission:
    """Implements `runtime.ports.Admission`."""

    gate: RunGate
    bearers: RunBearers
    limits: Room

    async def decide_run(self, spec: RunSpec) -> Verdict:
        """May it begin?"""
        return _verdict(await self.gate.decide_run(_run_asked(spec)))

    async def approve_run(self, spec: RunSpec) -> Verdict:
        """The same, once somebody has approved it."""
        return _verdict(await self.gate.approve_run(_run_asked(spec)))

    async def decide_spawn(self, task: AgentTask) -> Verdict:
        """May the agent live?"""
        spec, options = task.run, task.options
        asked = AgentAsked(
            principal=principal_of(spec.owner),
            session=spec.session,
            run=spec.id,
            run_name=spec.name,
            agent=task.agent_id,
            prompt=task.prompt,
            model=spec.model_of(options.model),
            agent_type=options.agent_type,
            label=task.label,
            phase=task.phase,
            isolation=options.isolation,
            workspace=spec.workspace,
        )
        return _verdict(await self.gate.decide_spawn(asked))

    def open_bearer(self, spec: RunSpec) -> str:
        """A secret of this run alone."""
        return self.bearers.open(principal_of(spec.owner), spec.id)

    def close_bearer(self, run: RunId) -> None:
        """It is nobody's any more."""
        self.bearers.close(run)
        self.gate.end_run(run)

    def end_agent(self, task: AgentTask) -> None:
        """It asks nothing more."""
        self.gate.end_agent(task.run.session, task.agent_id)

    def stopped_by(self, spec: RunSpec) -> str | None:
        """Who has stopped it, or what it belongs to."""
        return self.gate.stopped_by(principal_of(spec.owner), spec.session, spec.id)

    async def room(self, spec: RunSpec) -> Left:
        """What the owner's limits leave; nothing while nobody can tell, so that it is soon asked again."""
        try:
            return await self.limits.left(principal_of(spec.owner), spec.session, spec.id)
        except Refused:
            return {}

    async def has_room(self, spec: RunSpec, since: object) -> bool:
        """Have they let go since?"""
        return await self.limits.has_room(principal_of(spec.owner), spec.session, spec.id, since=cast("Left", since))

    async def left_nanousd(self, spec: RunSpec) -> int | None:
        """What the tightest of the owner's limits leaves in money."""
        return min(
            (left for series, (left, _) in (await self.room(spec)).items() if series.meter == "cost"), default=None
        )


@dataclass(frozen=True, slots=True)
class PriceTags:
    """Implements `runtime.ports.Prices`."""

    prices: ListPrices

    def cost(self, model: str, tokens: Tokens) -> int | None:
        """Nano-dollars at list price."""
        told = GatewayTokens(
            input=tokens.input,
            output=tokens.output,
            cache_read=tokens.cache_read,
            cache_write_5m=tokens.cache_write_5m,
            cache_write_1h=tokens.cache_write_1h,
        )
        return self.prices.cost_nanousd(model, told)


def _run_asked(spec: RunSpec) -> RunAsked:
    args = raw_of(spec.args)
    return RunAsked(
        principal=principal_of(spec.owner),
        session=spec.session,
        run=spec.id,
        name=spec.name,
        script=spec.script,
        script_sha256=spec.script_sha256,
        args=None if args is None else bytes(args),
        resume_of=spec.resumed_from,
    )


def _verdict(answer: Answer) -> Verdict:
    return Verdict(answer.allow, answer.message, answer.ask)
