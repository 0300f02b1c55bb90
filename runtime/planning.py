"""What a run would do, before it does it: the approval card with a rehearsal, the plan of a resume. Starts nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from runtime.core.model import CallIndex, RunId, Tokens
from runtime.core.plans.card import Card, Proposal, build_card
from runtime.core.plans.preview import Earlier
from runtime.core.program import program_of
from runtime.core.recorded import Recorded
from runtime.core.replay import NothingToResume
from runtime.desk import Desk, Ready, with_recorded
from runtime.launch import Launch, RunError, Settings
from runtime.ports import Prices, Scripts
from runtime.readings import Viewer
from runtime.rehearsal import Plan, Stage, dry_run, plan_resume

REHEARSALS_AT_ONCE = 4
"""Over everybody who asks: each one is a process that may compute for seconds."""
HISTORY = 20
"""Earlier runs of a name that prices are told by."""
ROWS_PER_EARLIER = 5
"""Resumes, which pay a part only, tell nothing: so many runs are looked at for each that does."""


class Planner:
    """Everything raises `RunError`."""

    def __init__(self, desk: Desk, scripts: Scripts, prices: Prices, settings: Settings) -> None:
        self._desk = desk
        self._scripts = scripts
        self._prices = prices
        self._settings = settings
        self._stages = asyncio.Semaphore(REHEARSALS_AT_ONCE)

    async def card(self, launch: Launch) -> Card:
        """Everything that a person is shown before a run (W140, W143, W144)."""
        ready = await self._desk.ready(launch)
        spec = ready.spec
        rows = await self._earlier(launch, spec.name)
        earlier = await self._recorded(rows[0]["id"]) if rows else None
        async with self._stages:
            rehearsal = await dry_run(program_of(ready.spec), self._stage(ready), earlier=earlier)
        proposal = Proposal(
            project=spec.workspace or "",
            name=spec.name,
            description=spec.description,
            script=spec.script,
            script_sha256=spec.script_sha256,
            facts=ready.prepared.profile,
            limits=spec.limits,
            run_model=spec.model,
            forced_model=spec.forced_model,
            models=spec.models,
            workspace=spec.workspace,
            cap_nanousd=spec.max_cost_nanousd,
            history=[each for row in rows if (each := _earlier_of(row)) is not None],
            typical={} if earlier is None else typical_of(earlier),
            remaining_nanousd=await self._desk.runs.admission.left_nanousd(spec),
            rehearsal=rehearsal,
            last_script=None if earlier is None else earlier.spec.script,
            warnings=spec.warnings,
        )
        return build_card(proposal, self._prices.cost)

    async def card_of(self, viewer: Viewer, run: str) -> Card:
        """The same for a run that is there: what whoever approves it is shown."""
        row = await self._desk.readings.row(viewer, run)
        recorded = await self._desk.runs.recorded(row.id)
        return await self.card(with_recorded(Launch(owner=recorded.spec.owner), recorded))

    async def plan(self, launch: Launch) -> Plan:
        """What a resume would replay, and what it would pay (W162)."""
        ready = await self._desk.ready(launch)
        assert ready.recorded is not None
        runs = self._desk.runs
        gone = await runs.gone_worktrees(ready.recorded)
        try:
            async with self._stages:
                return await plan_resume(
                    program_of(ready.spec), self._stage(ready), ready.recorded, mode=launch.resume_mode, gone=gone
                )
        except NothingToResume as error:
            raise RunError("nothing_to_resume", str(error)) from None

    async def counted(self, launch: Launch) -> Launch:
        """A resume, with what it will take over (W162)."""
        if launch.resume_from is None:
            return launch
        plan = await self.plan(launch)
        counts = {
            "hits": plan.hits,
            "misses": plan.misses,
            "reasons": plan.reasons,
            "estimate": {"tokens": plan.estimate.tokens.total, "cost_nanousd": plan.estimate.cost_nanousd},
        }
        return replace(launch, resume_plan=counts)

    async def _earlier(self, launch: Launch, name: str) -> Sequence[dict[str, Any]]:
        store = self._desk.runs.ground.store
        rows = await store.completed(launch.owner.user, name, most=ROWS_PER_EARLIER * HISTORY)
        records = [msgspec.json.decode(row.record) for row in rows]
        return [record for record in records if record["resumed_from"] is None][:HISTORY]

    async def _recorded(self, run: str) -> Recorded:
        return await self._desk.runs.recorded(RunId(run))

    def _stage(self, ready: Ready) -> Stage:
        spec = ready.spec
        return Stage(
            sandboxes=self._desk.runs.ground.sandboxes,
            scripts=self._scripts,
            owner=spec.owner,
            workspace=spec.workspace,
            limits=spec.limits,
        )


def typical_of(recorded: Recorded) -> dict[str | None, Sequence[Tokens]]:
    """What the calls of a run took that gave a value, by agent type."""
    found: dict[str | None, list[Tokens]] = {}
    for index in sorted(recorded.calls):
        past = recorded.calls[CallIndex(index)]
        if past.result is not None:
            found.setdefault(past.issued.options.agent_type, []).append(past.usage.tokens)
    return {kind: tokens for kind, tokens in found.items()}


def _earlier_of(record: dict[str, Any]) -> Earlier | None:
    new, agents = record["usage"]["new"], record["outcome"]["planned"]
    cost = new["cost_nanousd"] if new["cost_complete"] else None
    return Earlier(agents=agents, tokens=new["total_tokens"], cost_nanousd=cost) if agents else None
