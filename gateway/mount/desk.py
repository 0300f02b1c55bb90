"""The runtime's desk as the paths of the API know it: bodies in, mappings out, its errors as answers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.core.decisions.decision import Principal
from gateway.core.money.pricing import NANOUSD_PER_USD
from gateway.mount.policy import owner_of
from gateway.web.run_desk import (
    AgentOrder,
    ApproveRun,
    DenyRun,
    DraftWorkflow,
    MessageAgent,
    PauseRun,
    RestartAgent,
    ResumeRun,
    RunEvent,
    RunOrder,
    RunRefused,
    RunState,
    SaveRun,
    Shown,
    SkipAgent,
    StartRun,
    StopAgent,
    StopRun,
)
from runtime.core.model import RunId
from runtime.core.plans.card import Card
from runtime.desk import AgentVerb, Desk
from runtime.draft.drafting import DraftAsked, Drafter
from runtime.launch import Kind, Launch, RunError
from runtime.planning import Planner
from runtime.ports import EventRow, StoreAway
from runtime.readings import Progress, Readings, Viewer

ANSWERS: dict[Kind, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "invalid_script": (400, "invalid_script"),
    "args_too_large": (413, "args_too_large"),
    "not_found": (404, "not_found_error"),
    "nothing_to_resume": (400, "nothing_to_resume"),
    "max_workflow_runs": (429, "max_workflow_runs_error"),
    "disabled": (503, "workflows_disabled"),
    "denied": (451, "permission_error"),
    "conflict": (409, "conflict_error"),
    "unavailable": (503, "api_error"),
    "over_budget": (429, "billing_error"),
    "limited": (429, "rate_limit_error"),
    "draft_failed": (422, "draft_failed"),
}
"""Status and type of what the runtime cannot do."""
UNBORN: frozenset[Kind] = frozenset({"invalid_script", "max_workflow_runs"})
"""Refusals of a start that have an event, though there is no run whose it would be (W04, W11)."""
AGENT_VERBS: dict[type[AgentOrder], AgentVerb] = {
    StopAgent: "stop",
    SkipAgent: "skip",
    RestartAgent: "restart",
    MessageAgent: "message",
}

T = TypeVar("T")


class MountedDesk:
    """Implements `web.run_desk.RunDesk`."""

    def __init__(self, desk: Desk, readings: Readings, planner: Planner, drafter: Drafter) -> None:
        self._desk = desk
        self._readings = readings
        self._planner = planner
        self._drafter = drafter

    async def start(self, principal: Principal, request: StartRun, *, idempotency: str | None) -> Shown:
        """W03."""
        key = None if idempotency is None else f"start/{idempotency}"
        return await _answered(self._start(launch_of(principal, request), key))

    async def _start(self, launch: Launch, key: str | None) -> dict[str, Any]:
        try:
            return await self._desk.start(await self._planner.counted(launch), idempotency=key)
        except RunError as error:
            if error.kind in UNBORN:
                error.detail["event"] = self._readings.refused_start(ANSWERS[error.kind][1], error.message)
            raise

    async def check(self, principal: Principal, request: StartRun) -> Shown:
        """The approval card."""
        launch = launch_of(principal, request)
        card, reason = await _answered(self._planner.card(launch)), await _answered(self._desk.asked(launch))
        return _card_row(card, reason)

    async def card_of(self, principal: Principal, run: str) -> Shown:
        """The card of a run that is there."""
        card = await _answered(self._planner.card_of(_viewer(principal), run))
        asked = (await self.record(principal, run))["approval"]
        return _card_row(card, None if asked is None else asked["reason"])

    async def draft(self, principal: Principal, request: DraftWorkflow) -> Shown:
        """A script that a model wrote, and what the writing took."""
        asked = DraftAsked(
            owner=owner_of(principal), task=request.task, workspace=request.workspace, model=request.model
        )
        return await _answered(self._drafter.draft(asked))

    async def plan_resume(self, principal: Principal, run: str, request: StartRun) -> Shown:
        """What a resume would do."""
        request = msgspec.structs.replace(request, resume_from_run_id=run)
        return msgspec.structs.asdict(await _answered(self._planner.plan(launch_of(principal, request))))

    async def rows(
        self,
        principal: Principal,
        *,
        session: str | None,
        states: Sequence[RunState],
        before: str | None,
        most: int,
    ) -> Sequence[Shown]:
        """Records, newest first."""
        found = self._readings.rows(_viewer(principal), session=session, states=states, before=before, most=most)
        return await _answered(found)

    async def record(self, principal: Principal, run: str) -> Shown:
        """One run."""
        return await _answered(self._readings.record(_viewer(principal), run))

    async def agents(self, principal: Principal, run: str, *, after: int | None, most: int) -> Sequence[Shown]:
        """Its agents."""
        behind = -1 if after is None else after
        return await _answered(self._readings.agents(_viewer(principal), run, after=behind, most=most))

    async def agent(self, principal: Principal, run: str, index: int) -> Shown:
        """One of them."""
        return await _answered(self._readings.agent(_viewer(principal), run, index))

    async def result(self, principal: Principal, run: str) -> Shown:
        """What it returned."""
        return await _answered(self._readings.result(_viewer(principal), run))

    async def artefact(self, principal: Principal, run: str) -> bytes:
        """All of it."""
        return await _answered(self._readings.artefact(_viewer(principal), run))

    async def notification(self, principal: Principal, run: str) -> Shown:
        """What is told of its end."""
        return await _answered(self._readings.notification(_viewer(principal), run))

    async def values(self, principal: Principal, run: str, *, after: int, offset: int, label: str | None) -> Shown:
        """What its calls gave."""
        found = self._readings.values(_viewer(principal), run, after=after, offset=offset, label=label)
        return await _answered(found)

    async def events(
        self, principal: Principal, run: str, *, after: int, types: Sequence[str], most: int
    ) -> Sequence[RunEvent]:
        """Its numbered events."""
        found = self._readings.events(_viewer(principal), run, after=after, types=types, most=most)
        return [_event(row) for row in await _answered(found)]

    async def follow(self, principal: Principal, run: str, *, after: int) -> AsyncGenerator[RunEvent]:
        """Its events as they happen."""
        return _told(await _answered(self._readings.follow(_viewer(principal), run, after=after)))

    async def follow_task(self, principal: Principal, run: str) -> AsyncGenerator[RunEvent]:
        """As Claude Code's stream tells of a task."""
        return _told_as_task(await _answered(self._readings.follow_task(_viewer(principal), run)))

    async def journal(self, principal: Principal, run: str, *, after: int, most: int) -> Sequence[bytes]:
        """Its lines."""
        return await _answered(self._readings.journal(_viewer(principal), run, after=after, most=most))

    async def control(self, principal: Principal, run: str, order: RunOrder, *, idempotency: str | None) -> Shown:
        """A person's word on a run."""
        viewer = _viewer(principal)
        change = self._change(viewer, run, order)
        return await _answered(self._once(viewer, run, idempotency, change))

    async def control_agent(
        self, principal: Principal, run: str, index: int, order: AgentOrder, *, idempotency: str | None
    ) -> Shown:
        """A person's word on an agent."""
        viewer, text = _viewer(principal), order.text if isinstance(order, MessageAgent) else ""
        verb = AGENT_VERBS[type(order)]

        async def change() -> dict[str, Any]:
            return await self._desk.change_agent(viewer, run, index, verb, text=text)

        return await _answered(self._once(viewer, run, idempotency, change))

    async def _once(
        self, viewer: Viewer, run: str, key: str | None, change: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        row = await self._readings.row(viewer, run)
        return await self._desk.once(row.id, None if key is None else f"{viewer.user}/{key}", change)

    def _change(self, viewer: Viewer, run: str, order: RunOrder) -> Callable[[], Awaitable[dict[str, Any]]]:
        desk = self._desk

        async def change() -> dict[str, Any]:
            match order:
                case PauseRun(mode=mode, why=why):
                    return await desk.change(viewer, run, "freeze" if mode == "freeze" else "pause", why=why)
                case ResumeRun(max_cost_usd=cap, why=why):
                    nanousd = None if cap is None else round(cap * NANOUSD_PER_USD)
                    return await desk.change(viewer, run, "resume", cap_nanousd=nanousd, why=why)
                case StopRun(why=why):
                    return await desk.change(viewer, run, "stop", why=why)
                case ApproveRun(why=why, scope=scope, script_sha256=sha256):
                    return await desk.approve(viewer, run, always=scope == "always", sha256=sha256, why=why)
                case DenyRun(why=why):
                    return await desk.change(viewer, run, "deny", why=why)
                case SaveRun():
                    return await desk.save(viewer, run, name=order.name, replace=order.replace)

        return change


def launch_of(principal: Principal, request: StartRun) -> Launch:
    """What was asked for, in the runtime's words."""
    args = request.args if isinstance(request.args, msgspec.Raw) else None
    cap = request.max_cost_usd
    return Launch(
        owner=owner_of(principal),
        script=request.script,
        script_path=request.script_path,
        name=request.name,
        args=args,
        has_args=args is not None,
        resume_from=None if request.resume_from_run_id is None else RunId(request.resume_from_run_id),
        resume_mode=request.resume_mode,
        title=request.title,
        session=request.session,
        workspace=request.workspace,
        model=request.model,
        effort=request.effort,
        max_agents=request.max_agents,
        max_cost_nanousd=None if cap is None else round(cap * NANOUSD_PER_USD),
        budget_tokens=request.budget_tokens,
        consent=request.consent,
        script_sha256=request.script_sha256,
    )


def _card_row(card: Card, reason: str | None) -> Shown:
    """`reason`: why a person has to approve it first; None: nobody has to."""
    return {**msgspec.structs.asdict(card), "approval": {"needed": reason is not None, "reason": reason}}


async def _answered(work: Awaitable[T]) -> T:
    """The runtime's errors as the API answers them."""
    try:
        return await work
    except RunError as error:
        status, kind = ANSWERS[error.kind]
        raise RunRefused(status, kind, error.message, error.detail) from None
    except StoreAway as error:
        raise RunRefused(503, "api_error", f"the store of runs is away: {error}") from None


async def _told(events: AsyncGenerator[EventRow | Progress]) -> AsyncGenerator[RunEvent]:
    async for event in events:
        yield _event(event) if isinstance(event, EventRow) else _progress(event)


async def _told_as_task(told: AsyncGenerator[dict[str, Any]]) -> AsyncGenerator[RunEvent]:
    async for each in told:
        yield RunEvent(each["subtype"], msgspec.json.encode(each))


def _event(row: EventRow) -> RunEvent:
    return RunEvent(row.type, bytes(row.text), row.seq)


def _progress(progress: Progress) -> RunEvent:
    return RunEvent("progress", msgspec.json.encode({"type": "progress", "run": progress.record}))


def _viewer(principal: Principal) -> Viewer:
    return Viewer(principal.user, principal.operator)
