"""A desk of runs in memory, whose runs do what a test tells them, and the paths of runs served over it on loopback.

async with serving_runs(desk) as url: ...        in the test's own loop
with served_runs(desk) as url: ...                in a thread, for commands, which wait for their answers
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from gateway.context import RequestContext
from gateway.contract import BODY_BYTES_MAX
from gateway.core.decisions.decision import Principal
from gateway.web.middlewares import build_middlewares
from gateway.web.run_desk import (
    AgentOrder,
    ApproveRun,
    DenyRun,
    DraftWorkflow,
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
    unknown_run,
)
from gateway.web.run_stream import RunStreams
from gateway.web.runs import build_run_routes
from tests.support.clock import FakeClock

ALICE, BOB, OLGA = "rf_alice", "rf_bob", "rf_olga"
AGENT = "rf_run"
"""What the agents of a run of alice's show."""
SCRIPT = "export const meta = {name: 'audit', description: 'Look at it'}\nreturn 1\n"
SHA256 = "ab" * 32
OPEN = ("pending_approval", "queued", "running", "paused")
PEOPLE = {
    ALICE: Principal("acme", "platform", "alice", "alice-laptop"),
    BOB: Principal("acme", "platform", "bob", "bob-laptop"),
    AGENT: Principal("acme", "platform", "alice", "alice-laptop"),
    OLGA: Principal("acme", None, "olga", "olga-desk", operator=True),
}
TRANSITIONS: dict[tuple[str, type], RunState] = {
    ("running", PauseRun): "paused",
    ("paused", ResumeRun): "running",
    ("pending_approval", ApproveRun): "running",
    ("pending_approval", DenyRun): "denied",
    **{(state, StopRun): "stopped" for state in (*OPEN, "stopped")},
}


@dataclass
class FakeRun:
    """One run: what is shown of it, and what happened."""

    id: str
    owner: str
    record: dict[str, Any]
    agents: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    events: list[RunEvent] = field(default_factory=list[RunEvent])
    lines: list[bytes] = field(default_factory=list[bytes])
    value: Any = None
    progress: RunEvent | None = None
    forgotten: int = 0
    """Events up to this number are no longer sent to those who follow: they missed them."""

    @property
    def is_open(self) -> bool:
        return self.record["state"] in OPEN


@dataclass
class FakeDesk:
    """Implements `RunDesk`. Change it only on its loop: `call` does that from another thread."""

    runs: dict[str, FakeRun] = field(default_factory=dict[str, FakeRun])
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """Every start, order and question with a body."""
    card: dict[str, Any] = field(default_factory=dict[str, Any])
    launch: dict[str, Any] = field(default_factory=dict[str, Any])
    """Laid over what a start answers."""
    refusal: RunRefused | None = None
    """What a start or check meets."""
    orders_refused: str | None = None
    """Why no order is carried out."""
    started: Callable[[FakeRun], None] | None = None
    """What happens to a run that was started."""
    following: int = 0
    """Who follows, now."""
    remembered: dict[tuple[str, str, str], Shown] = field(default_factory=dict[tuple[str, str, str], Shown])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop | None = None

    def add(self, id: str, owner: str = "alice", state: RunState = "running", **more: Any) -> FakeRun:
        """A run that is there."""
        record = {"id": id, "name": "audit", "state": state, "session": "s1", "user": owner, "created_ms": 1} | more
        run = self.runs[id] = FakeRun(id, owner, record)
        return run

    def happen(self, run: FakeRun, kind: str, **fields: Any) -> None:
        """A numbered event. `state` of it becomes the run's."""
        seq = len(run.events) + 1
        text = json.dumps({"type": kind, "seq": seq, "epoch": 1, "workflow_run_id": run.id} | fields).encode()
        run.events.append(RunEvent(kind, text, seq))
        if "state" in fields:
            run.record["state"] = fields["state"]
        self._wake()

    def show_progress(self, run: FakeRun) -> None:
        """A snapshot for who follows."""
        text = json.dumps({"type": "progress", "run": run.record}).encode()
        run.progress = RunEvent("progress", text)
        self._wake()

    def end(self, run: FakeRun, state: RunState = "completed", **more: Any) -> None:
        """It is over."""
        run.record |= more
        self.happen(run, "workflow_run.status_ended", state=state, result=state)

    def refuse_orders(self, why: str) -> None:
        """From now on."""
        self.orders_refused = why

    def call(self, change: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """`change` on the desk's own loop; returns when it is done."""
        assert self.loop is not None
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (change(*arguments, **named), done.set()))
        assert done.wait(10)

    async def start(self, principal: Principal, request: StartRun, *, idempotency: str | None) -> Shown:
        return self._once(principal, "start", idempotency, lambda: self._start(principal, request))

    async def check(self, principal: Principal, request: StartRun) -> Shown:
        self.asked.append(("check", request))
        self._refuse()
        return self.card

    async def card_of(self, principal: Principal, run: str) -> Shown:
        self.asked.append((f"card {self._find(principal, run).id}", None))
        return self.card

    async def draft(self, principal: Principal, request: DraftWorkflow) -> Shown:
        self.asked.append(("draft", request))
        return {"script": SCRIPT, "card": self.card, "tries": 2}

    async def plan_resume(self, principal: Principal, run: str, request: StartRun) -> Shown:
        self.asked.append((f"plan {self._find(principal, run).id}", request))
        return {"hits": 3, "misses": [{"index": 1, "label": "fix", "reason": "changed_prompt"}]}

    async def rows(
        self, principal: Principal, *, session: str | None, states: Sequence[RunState], before: str | None, most: int
    ) -> Sequence[Shown]:
        mine = [run for run in reversed(self.runs.values()) if principal.operator or run.owner == principal.user]
        ids = [run.id for run in mine]
        mine = mine[ids.index(before) + 1 :] if before is not None else mine
        found = (run.record for run in mine if session in (None, run.record["session"]))
        return [record for record in found if not states or record["state"] in states][:most]

    async def record(self, principal: Principal, run: str) -> Shown:
        return self._find(principal, run).record

    async def agents(self, principal: Principal, run: str, *, after: int | None, most: int) -> Sequence[Shown]:
        first = 0 if after is None else after + 1
        return self._find(principal, run).agents[first : first + most]

    async def agent(self, principal: Principal, run: str, index: int) -> Shown:
        found = self._find(principal, run).agents
        if index >= len(found):
            raise RunRefused(404, "not_found_error", f"run {run} has no agent {index}")
        return found[index] | {"prompt": "Look.", "value": msgspec.Raw(b'{"ok": true}')}

    async def result(self, principal: Principal, run: str) -> Shown:
        found = self._find(principal, run)
        if found.is_open:
            raise RunRefused(409, "conflict_error", f"run {run} is {found.record['state']}; it has no result yet")
        return {"state": found.record["state"], "value": found.value}

    async def follow_task(self, principal: Principal, run: str) -> AsyncGenerator[RunEvent]:
        record = self._find(principal, run).record

        async def told() -> AsyncGenerator[RunEvent]:
            for subtype in ("task_started", "task_notification"):
                yield RunEvent(subtype, json.dumps({"subtype": subtype, "task_id": record["id"]}).encode())

        return told()

    async def artefact(self, principal: Principal, run: str) -> bytes:
        return json.dumps((await self.result(principal, run))["value"]).encode()

    async def notification(self, principal: Principal, run: str) -> Shown:
        return {"run_id": run, "status": (await self.result(principal, run))["state"]}

    async def values(self, principal: Principal, run: str, *, after: int, offset: int, label: str | None) -> Shown:
        rows = self._find(principal, run).agents[after + 1 :]
        found = [row for row in rows if label in (None, row.get("label"))]
        return {"values": found, "after": None, "offset": offset}

    async def events(
        self, principal: Principal, run: str, *, after: int, types: Sequence[str], most: int
    ) -> Sequence[RunEvent]:
        found = self._find(principal, run).events[after:]
        return [event for event in found if not types or event.type in types][:most]

    async def follow(self, principal: Principal, run: str, *, after: int) -> AsyncGenerator[RunEvent]:
        return self._follow(self._find(principal, run), after)

    async def journal(self, principal: Principal, run: str, *, after: int, most: int) -> Sequence[bytes]:
        return self._find(principal, run).lines[after : after + most]

    async def control(self, principal: Principal, run: str, order: RunOrder, *, idempotency: str | None) -> Shown:
        found = self._find(principal, run)
        return self._once(principal, run, idempotency, lambda: self._control(found, order))

    async def control_agent(
        self, principal: Principal, run: str, index: int, order: AgentOrder, *, idempotency: str | None
    ) -> Shown:
        found = self._find(principal, run)
        return self._once(principal, f"{run}/{index}", idempotency, lambda: self._control_agent(found, index, order))

    async def _follow(self, run: FakeRun, after: int) -> AsyncGenerator[RunEvent]:
        self.following += 1
        self._wake()
        told: RunEvent | None = None
        try:
            while True:
                changed = self.changed
                for event in run.events[max(after, run.forgotten) :]:
                    after = event.seq or after
                    yield event
                if run.progress is not told:
                    told = run.progress
                    assert told is not None
                    yield told
                if not run.is_open:
                    return
                await changed.wait()
        finally:
            self.following -= 1
            self._wake()

    def _start(self, principal: Principal, request: StartRun) -> Shown:
        self.asked.append(("start", request))
        self._refuse()
        run = self.add(f"wf_{len(self.runs):06d}", principal.user)
        if self.started is not None:
            self.started(run)
        answer = {"status": "async_launched", "runId": run.id, "workflowName": "audit", "state": run.record["state"]}
        return answer | {"summary": "Look at it", "scriptPath": f"runs/{run.id}.js"} | self.launch

    def _control(self, run: FakeRun, order: RunOrder) -> Shown:
        if self.orders_refused is not None:
            raise RunRefused(503, "overloaded_error", self.orders_refused)
        self.asked.append((run.id, order))
        if isinstance(order, SaveRun):
            return {"name": order.name or "audit", "sha256": SHA256}
        after = TRANSITIONS.get((run.record["state"], type(order)))
        if after is None:
            raise RunRefused(409, "conflict_error", f"run {run.id} is {run.record['state']}: that cannot be done")
        if after in OPEN:
            self.happen(run, "workflow_run.status_changed", state=after)
        elif run.is_open:
            self.end(run, after)
        return dict(run.record)

    def _control_agent(self, run: FakeRun, index: int, order: AgentOrder) -> Shown:
        self.asked.append((f"{run.id}/{index}", order))
        agent = run.agents[index]
        if isinstance(order, RestartAgent) and agent["state"] != "running":
            raise RunRefused(409, "conflict_error", f"agent {index} is {agent['state']}: only a running one restarts")
        if isinstance(order, (StopAgent, SkipAgent)):
            agent["state"] = "stopped" if isinstance(order, StopAgent) else "skipped"
        self.happen(run, "agent_settled", index=index)
        return agent

    def _once(self, principal: Principal, what: str, key: str | None, act: Callable[[], Shown]) -> Shown:
        slot = (principal.user, what, key or "")
        if key is not None and slot in self.remembered:
            return self.remembered[slot]
        answer = act()
        if key is not None:
            self.remembered[slot] = answer
        return answer

    def _find(self, principal: Principal, id: str) -> FakeRun:
        run = self.runs.get(id)
        if run is None or not (principal.operator or run.owner == principal.user):
            raise unknown_run(id)
        return run

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, met: Callable[[], bool]) -> None:
        """Return once it is so."""
        while not met():
            await self.changed.wait()


class _Known:
    def authenticate(self, secret: str) -> Principal | None:
        return PEOPLE.get(secret)

    def run_of(self, secret: str) -> str | None:
        return "wf_000009" if secret == AGENT else None


class _Records:
    def begin(self) -> None: ...
    def record(self, ctx: RequestContext) -> None: ...


@contextlib.asynccontextmanager
async def serving_runs(desk: FakeDesk, streams: RunStreams | None = None) -> AsyncGenerator[str]:
    """The URL under which the paths of runs are served until the block ends."""
    streams = streams or RunStreams()
    middlewares = build_middlewares(_Known(), FakeClock(), _Records())
    api = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES_MAX)
    api.add_routes(build_run_routes(desk, streams))
    api.on_shutdown.append(streams.close)
    runner = web.AppRunner(api, access_log=None, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def served_runs(desk: FakeDesk) -> Generator[str]:
    """The same from a thread of its own."""
    ready: list[tuple[str, asyncio.Event]] = []
    is_ready = threading.Event()

    async def serve() -> None:
        desk.loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with serving_runs(desk) as url:
            ready.append((url, stop))
            is_ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_ready.wait(30)
    (url, stop), loop = ready[0], desk.loop
    assert loop is not None
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
