"""Everything that can be asked about runs: start, change, plan. The words of the runtime; HTTP is the mount's business.

Whoever asks meets their own runs only, an operator meets all; another's answers as one that is not there (W137).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec

from runtime.check import Prepared, prepare
from runtime.core.display import dollars
from runtime.core.model import CallIndex, RunId, RunSpec, raw_of
from runtime.core.recorded import Recorded
from runtime.core.replay import NothingToResume, check_resumable
from runtime.launch import Launch, RunError, Settings, build_spec
from runtime.library import NAME
from runtime.mailbox import AgentOrder, AgentVerb, Answer, Mailbox, RunOrder, Verb
from runtime.ports import Found, RunRow, ScriptMissing, Scripts, WorkspaceRefused
from runtime.readings import Readings, Viewer
from runtime.runs import AWAKE_MAX, Runs

DRIVEN_PER_USER_MAX = AWAKE_MAX // 2
"""Runs of one user that a process drives at once, whatever their sessions: what is left is for everybody else."""
BUDGET_SCOPE = "run"
"""What `budget.spent()` counts (W113): the conversation that started a run is not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A launch that can begin."""

    spec: RunSpec
    prepared: Prepared
    recorded: Recorded | None


class Desk:
    """Everything raises `RunError`."""

    def __init__(self, runs: Runs, readings: Readings, scripts: Scripts, settings: Settings) -> None:
        self.runs = runs
        self.readings = readings
        self.mailbox = Mailbox(runs)
        self._scripts = scripts
        self._settings = settings
        self._starting = asyncio.Lock()
        """Held from the count of open runs until one more is there."""
        self._resuming: dict[RunId, str] = {}
        """Whose each of them is."""

    async def start(self, launch: Launch, *, idempotency: str | None) -> Answer:
        """W03: the run is launched, or waits for an approval."""
        ready = await self.ready(launch)
        spec, ask = ready.spec, None
        run = None if idempotency is None else await self.runs.ground.store.started(spec.owner.user, idempotency)
        if run is None:
            await self._require_room(spec)
            spec, ask = await self._admitted(spec, launch)
            async with self._starting:
                await self._require_room(spec)
                run = await self.runs.begin(spec, ask=ask, idempotency=idempotency)
        row = await self.runs.find(run)
        return {
            "status": "async_launched",
            "runId": run,
            "taskId": run,
            "taskType": "local_workflow",
            "workflowName": row.name,
            "summary": spec.description,
            "state": row.state,
            "session": row.session,
            "scriptPath": spec.script_path or f"run:{run}",
            "scriptSha256": row.script_sha256,
            "approval": ask,
            "resumePlan": spec.resume_plan or None,
            "budgetScope": BUDGET_SCOPE,
            "warning": "; ".join(spec.warnings) or None,
        }

    async def ready(self, launch: Launch) -> Ready:
        """Found, checked, and laid together; nothing has begun."""
        if not self._settings.enabled:
            raise RunError("disabled", "workflow runs are switched off here (runs.enabled in the configuration)")
        recorded = None
        if launch.resume_from is not None:
            recorded = await self._resumable(launch.owner.user, launch.resume_from)
            launch = with_recorded(launch, recorded)
        if launch.workspace is not None:
            try:
                launch = replace(launch, workspace=self.runs.workspaces.check(launch.workspace))
            except WorkspaceRefused as error:
                raise RunError("invalid_request", str(error)) from None
        found = await self._find(launch)
        prepared = await asyncio.to_thread(prepare, found.source)
        if prepared.error is None and launch.script_sha256 not in (None, prepared.sha256):
            text = f"the script is not the one that was shown: it is {prepared.sha256[:12]} now"
            raise RunError("conflict", text, sha256=prepared.sha256)
        now_ms = self.runs.ground.clock.unix_ms()
        spec = build_spec(launch, prepared, self._settings, now_ms=now_ms, script_path=found.path)
        return Ready(spec=spec, prepared=prepared, recorded=recorded)

    async def asked(self, launch: Launch) -> str | None:
        """Why a person would have to approve it first; starts and remembers nothing."""
        _, reason = await self._admitted((await self.ready(launch)).spec, replace(launch, consent=None))
        return reason

    async def change(
        self, viewer: Viewer, run: str, verb: Verb, *, cap_nanousd: int | None = None, why: str = ""
    ) -> Answer:
        """A person's word on a run; the record as it is then."""
        row = await self.readings.row(viewer, run)
        if row.state == "stopped" and verb == "stop":
            return await self.readings.record(viewer, run)
        if verb == "deny":
            await self._require_own_approval(row)
        most = self._settings.max_cost_nanousd
        if cap_nanousd is not None and most is not None and cap_nanousd > most and not viewer.operator:
            text = f"a run may cost at most {dollars(most)} here (runs.max_cost_usd); an operator may raise it further"
            raise RunError("denied", text)
        order = RunOrder(verb=verb, by=viewer.user, why=why, cap_nanousd=cap_nanousd)
        return await (self._resume(row, order) if verb == "resume" else self.mailbox.ask(row.id, order))

    async def _resume(self, row: RunRow, order: RunOrder) -> Answer:
        """It is counted among those at work from here on, however many are resumed together."""
        self._require_hands(row.owner.user, besides=row.id)
        self._resuming[row.id] = row.owner.user
        try:
            return await self.mailbox.ask(row.id, order)
        finally:
            self._resuming.pop(row.id, None)

    async def approve(self, viewer: Viewer, run: str, *, always: bool, sha256: str | None, why: str = "") -> Answer:
        """A person's yes; `always` also to every later run of this script, under this name, in this project (W142)."""
        row = await self.readings.row(viewer, run)
        spec = await self._require_own_approval(row)
        if sha256 not in (None, spec.script_sha256):
            raise RunError("conflict", f"the script that was shown is not the one of run {run}", state=row.state)
        answer = await self.mailbox.ask(row.id, RunOrder(verb="approve", by=viewer.user, why=why))
        if always:
            await self._remember(spec, viewer.user)
        return answer

    async def change_agent(self, viewer: Viewer, run: str, index: int, verb: AgentVerb, *, text: str = "") -> Answer:
        """A person's word on one agent; its row as it is then."""
        row = await self.readings.row(viewer, run)
        return await self.mailbox.ask(row.id, AgentOrder(index=CallIndex(index), verb=verb, by=viewer.user, text=text))

    async def once(self, run: str, key: str | None, change: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of the first request with this idempotency key (W138)."""
        store, id = self.runs.ground.store, RunId(run)
        if key is None:
            return await change()
        known = await store.outcome(id, key)
        if known is not None:
            return msgspec.json.decode(known)
        answer = msgspec.json.encode(await change())
        return msgspec.json.decode(await store.remember_outcome(id, key, answer, self.runs.ground.clock.unix_ms()))

    async def save(self, viewer: Viewer, run: str, *, name: str | None, replace: bool) -> Answer:
        """Its script into the viewer's library (W135)."""
        row = await self.readings.row(viewer, run)
        spec = (await self.runs.recorded(row.id)).spec
        under = name or spec.name
        if NAME.fullmatch(under) is None:
            text = f"{under[:64]!r} is no name of a workflow: small letters, digits, '.', '_' and '-'; choose another"
            raise RunError("invalid_request", text)
        now_ms = self.runs.ground.clock.unix_ms()
        if not await self.runs.ground.store.save_script(
            viewer.user, under, spec.script, replace=replace, now_ms=now_ms
        ):
            raise RunError("conflict", f"your library has another script named {under}; replace it, or choose a name")
        return {"name": under, "sha256": spec.script_sha256}

    async def _resumable(self, user: str, run: RunId) -> Recorded:
        await self.readings.row(Viewer(user), run)
        recorded = await self.runs.recorded(run)
        try:
            check_resumable(recorded)
        except NothingToResume as error:
            raise RunError("nothing_to_resume", str(error)) from None
        return recorded

    async def _find(self, launch: Launch) -> Found:
        """W02: a path goes before a text, and that before a name."""
        if launch.script_path is None and launch.script is not None:
            return Found(launch.script, None)
        if launch.script_path is None and launch.name is None:
            raise RunError("invalid_request", "give one of script, scriptPath and name, or a run to resume")
        try:
            return await self._scripts.find(launch.owner, launch.workspace, name=launch.name, path=launch.script_path)
        except ScriptMissing as error:
            raise RunError("not_found", str(error)) from None

    async def _require_room(self, spec: RunSpec) -> None:
        """W11. Reach: runs that another process of the same store starts at this moment are not counted."""
        open_runs = await self.runs.ground.store.open_runs(spec.session, spec.owner.user)
        if open_runs >= self._settings.open_per_session:
            text = f"session {spec.session} has {open_runs} open runs, as many as it may; stop one, or let one end"
            raise RunError("max_workflow_runs", text)
        self._require_hands(spec.owner.user)

    def _require_hands(self, user: str, *, besides: str | None = None) -> None:
        """Reach: runs of the same user that another process drives are not counted."""
        driven = {run for run, runner in self.runs.driven.items() if runner.spec.owner.user == user}
        driven |= {run for run, owner in self._resuming.items() if owner == user}
        if len(driven - {besides}) >= DRIVEN_PER_USER_MAX:
            text = f"{user} has {len(driven)} runs at work here, as many as may be; stop one, or let one end"
            raise RunError("max_workflow_runs", text)

    async def _admitted(self, spec: RunSpec, launch: Launch) -> tuple[RunSpec, str | None]:
        """What policy says, and whether somebody has to approve it first."""
        verdict = await self.runs.admission.decide_run(spec)
        if not verdict.allow:
            raise RunError("denied", verdict.message)
        if verdict.ask is not None:
            return msgspec.structs.replace(spec, approval="policy"), verdict.ask
        if launch.consent == "always":
            if launch.script_sha256 is None and (launch.script is None or launch.script_path is not None):
                text = "consent 'always' to a script that is named and not sent needs scriptSha256: which one was shown"
                raise RunError("invalid_request", text)
            await self._remember(spec, spec.owner.user)
        if not self._settings.asks or launch.consent is not None:
            return spec, None
        store = self.runs.ground.store
        if await store.consent(project_of(spec), spec.name, spec.script_sha256) is not None:
            return spec, None
        return msgspec.structs.replace(spec, approval="person"), "every run is approved by a person first"

    async def _remember(self, spec: RunSpec, by: str) -> None:
        now_ms, store = self.runs.ground.clock.unix_ms(), self.runs.ground.store
        await store.give_consent(project_of(spec), spec.name, spec.script_sha256, by=by, now_ms=now_ms)

    async def _require_own_approval(self, row: RunRow) -> RunSpec:
        spec = (await self.runs.recorded(row.id)).spec
        if spec.approval == "policy" and row.state == "pending_approval":
            text = f"a policy wants run {row.id} approved: whoever may approve decides it with `ringfence approvals`"
            raise RunError("conflict", text, state=row.state)
        return spec


def project_of(spec: RunSpec) -> str:
    """Where a consent counts (W142): in the workspace, or, without one, for nobody but the run's owner."""
    return spec.workspace or f"user:{spec.owner.user}"


def with_recorded(launch: Launch, recorded: Recorded) -> Launch:
    """What a resume leaves out is taken from the run that it resumes (W01, W36)."""
    old = recorded.spec
    has_script = launch.script is not None or launch.script_path is not None or launch.name is not None
    return replace(
        launch,
        script=launch.script if has_script else old.script,
        args=launch.args if launch.has_args else raw_of(old.args),
        workspace=launch.workspace or old.workspace,
        session=launch.session or old.session,
        model=launch.model or old.model,
        effort=launch.effort or old.effort,
        max_agents=launch.max_agents or old.limits.agents,
        max_cost_nanousd=launch.max_cost_nanousd or old.max_cost_nanousd,
        budget_tokens=launch.budget_tokens or old.budget_tokens,
    )
