"""A process of runs in a test's own loop: real runs, sandboxes and stores; agents and admission that a test plays.

async with driving(lambda task: f"re {task.prompt}") as site:
    run = await site.start("return await agent('look')")
    assert (await site.ended(run))["state"] == "completed"
No test lives here.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.tasks import Tasks
from runtime.attempts import Attempts, Places
from runtime.core.governor import Governor
from runtime.core.journal import Line, StateLine
from runtime.core.model import OPEN_STATES, FailureCode, Finished, Owner, RunId, RunSpec, RunState, Tokens, Usage
from runtime.desk import Desk
from runtime.launch import Launch, Settings
from runtime.library import Library
from runtime.lookup import Lookup
from runtime.planning import Planner
from runtime.ports import AgentTask, RunStore, Verdict, Watch
from runtime.readings import Readings, Viewer
from runtime.runner import Ground
from runtime.runs import Runs
from runtime.sandbox.host import ChildSandboxes
from runtime.stores import MemoryRunStore
from runtime.workspace import Folders, GitWorkspaces
from tests.support.clock import FakeClock

OWNER = Owner(user="alice", credential="alice-laptop")
ALICE, BOB, OLGA = Viewer("alice"), Viewer("bob"), Viewer("olga", operator=True)
USAGE = Usage(tokens=Tokens(input=100, output=20), cost_nanousd=1_000, requests=1)
MODEL = "claude-sonnet-5-5"

Say = Callable[[AgentTask], Any]
"""The value of a call, or the `Finished` that an attempt ends as."""


def script(body: str, name: str = "sweep") -> str:
    """A whole script. What begins with a `meta` has one."""
    return body if "export const meta" in body else f"export const meta = {{name: '{name}', description: 'd'}}\n{body}"


def launch(body: str | None = None, **fields: Any) -> Launch:
    """Alice asks for it. `args` may be given as plain values."""
    if "args" in fields:
        fields |= {"args": msgspec.Raw(json.dumps(fields["args"]).encode()), "has_args": True}
    return Launch(owner=fields.pop("owner", OWNER), script=None if body is None else script(body), **fields)


@dataclass
class Cast:
    """Implements `ports.Agents`. A prompt that has a gate waits there after its first byte."""

    say: Say
    asked: list[AgentTask] = field(default_factory=list[AgentTask])
    heard: list[str] = field(default_factory=list[str])
    gates: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self, prompt: str) -> asyncio.Event:
        """Until it is set."""
        return self.gates.setdefault(prompt, asyncio.Event())

    def prompts(self) -> list[str]:
        """Of all attempts, in the order in which they began."""
        return [task.prompt for task in self.asked]

    async def until_asked(self, prompt: str, times: int = 1) -> None:
        """It has been asked so often."""
        while self.prompts().count(prompt) < times:
            await self.came.wait()

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        self.heard += await watch.before_request()
        self.asked.append(task)
        came, self.came = self.came, asyncio.Event()
        came.set()
        watch.began()
        if task.prompt in self.gates:
            await self.gates[task.prompt].wait()
        said = self.say(task)
        done = Finished(value=msgspec.Raw(msgspec.json.encode(said)), usage=USAGE, model=MODEL)
        ended = said if isinstance(said, Finished) else done
        watch.used(ended.usage)
        return ended


@dataclass
class Doorkeeper:
    """Implements `ports.Admission`: says what a test has put here."""

    run: Verdict = Verdict(True)
    spawn: Verdict = Verdict(True)
    approval: asyncio.Future[Verdict] | None = None
    left: int = 0
    stopper: str | None = None
    opened: list[str] = field(default_factory=list[str])
    closed: list[str] = field(default_factory=list[str])
    ended: list[str] = field(default_factory=list[str])

    async def decide_run(self, spec: RunSpec) -> Verdict:
        return self.run

    async def approve_run(self, spec: RunSpec) -> Verdict:
        return self.run if self.approval is None else await self.approval

    async def decide_spawn(self, task: AgentTask) -> Verdict:
        return self.spawn

    def open_bearer(self, spec: RunSpec) -> str:
        self.opened.append(spec.id)
        return f"rf_run_{spec.id}"

    def close_bearer(self, run: RunId) -> None:
        self.closed.append(run)

    def end_agent(self, task: AgentTask) -> None:
        self.ended.append(task.agent_id)

    def stopped_by(self, spec: RunSpec) -> str | None:
        return self.stopper

    async def room(self, spec: RunSpec) -> object:
        return self.left

    async def has_room(self, spec: RunSpec, since: object) -> bool:
        return isinstance(since, int) and self.left > since

    async def left_nanousd(self, spec: RunSpec) -> int | None:
        return self.left


@dataclass
class Ear:
    """Implements `ports.Listener`: keeps what it is told."""

    states: list[tuple[str | None, str]] = field(default_factory=list[tuple[str | None, str]])
    settled: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])
    limits: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    taken: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])
    appends: int = 0

    def run_changed(self, spec: RunSpec, line: StateLine, record: dict[str, Any]) -> None:
        self.states.append((line.before, line.after))

    def call_settled(self, outcome: str, usage: Usage) -> None:
        self.settled.append(outcome)

    def sandbox_failed(self, code: FailureCode) -> None:
        self.failed.append(code)

    def governed(self, upstream: str, concurrency: int) -> None:
        self.limits.append((upstream, concurrency))

    def appended(self, seconds: float) -> None:
        self.appends += 1

    def taken_over(self, spec: RunSpec, state: RunState, since_ms: int) -> None:
        self.taken.append(state)

    def let_go(self, spec: RunSpec) -> None:
        self.left.append(spec.id)


class Penny:
    """Implements `ports.Prices`: a nano-dollar a token, of models that are known."""

    def cost(self, model: str, tokens: Tokens) -> int | None:
        return tokens.total if model.startswith("claude-") else None


@dataclass
class Site:
    """The process, and alice who starts runs."""

    runs: Runs
    desk: Desk
    readings: Readings
    planner: Planner
    cast: Cast
    admission: Doorkeeper
    ear: Ear
    clock: FakeClock
    tasks: Tasks

    @property
    def store(self) -> RunStore:
        return self.runs.ground.store

    async def start(self, body: str | None = None, **fields: Any) -> RunId:
        """Its id."""
        answer = await self.desk.start(launch(body, **fields), idempotency=None)
        return RunId(answer["runId"])

    async def show(self, run: str) -> dict[str, Any]:
        """Its record."""
        return await self.readings.record(OLGA, run)

    async def until(self, run: RunId, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Its record, once it is so; looked at whenever something is written."""
        while True:
            runner = self.runs.driven.get(run)
            changed = None if runner is None else runner.changed
            record = await self.show(run)
            if seen(record):
                return record
            assert changed is not None, record
            await changed.wait()

    async def in_state(self, run: RunId, *states: str) -> dict[str, Any]:
        """Once it is in one of these."""
        return await self.until(run, lambda record: record["state"] in states)

    async def ended(self, run: RunId) -> dict[str, Any]:
        """Once it is over."""
        return await self.until(run, lambda record: record["state"] not in OPEN_STATES)

    async def value(self, run: RunId) -> Any:
        """What it returned, once it is over."""
        await self.ended(run)
        result = await self.readings.result(OLGA, run)
        assert result["state"] == "completed", result
        return msgspec.json.decode(result["value"])

    async def outcome(self, body: str, **fields: Any) -> Any:
        """Start, wait, and read what it returned."""
        return await self.value(await self.start(body, **fields))

    async def lines(self, run: RunId) -> Sequence[Line]:
        """Its journal."""
        return await self.runs.lines(run)

    async def at_rest(self, run: RunId) -> None:
        """Nothing is at work for it, and it is driven on."""
        runner = self.runs.driven[run]
        while runner.idle_since_ms is None:
            await runner.changed.wait()


def echo(task: AgentTask) -> str:
    """What an agent says that is told nothing else."""
    return f"re {task.prompt}"


@contextlib.asynccontextmanager
async def driving(
    say: Say = echo,
    *,
    settings: Settings | None = None,
    store: RunStore | None = None,
    me: str = "process a",
    folders: Sequence[str] = (),
) -> AsyncGenerator[Site]:
    """At work until the block ends. With the `store` of another site: one more process beside it."""
    tasks, clock, cast, admission, ear = Tasks(), FakeClock(), Cast(say), Doorkeeper(), Ear()
    store = store or MemoryRunStore()
    settings, scripts = settings or Settings(model=MODEL), Library(store)
    ground = Ground(
        store=store,
        sandboxes=ChildSandboxes(),
        attempts=Attempts(agents=cast, admission=admission, places=Places(Governor(64), clock), listener=ear),
        lookup=Lookup(scripts),
        listener=ear,
        clock=clock,
        spawn=tasks.spawn,
    )
    runs = Runs(ground, admission, GitWorkspaces(Folders(folders)), settings=settings, me=me)
    readings = Readings(runs)
    desk = Desk(runs, readings, scripts, settings)
    planner = Planner(desk, scripts, Penny(), settings)
    try:
        yield Site(runs, desk, readings, planner, cast, admission, ear, clock, tasks)
    finally:
        await runs.close()
        await tasks.close(5.0)


def with_limits(settings: Settings | None = None, **limits: Any) -> Settings:
    """The settings with other limits of a run."""
    settings = settings or Settings(model=MODEL)
    return replace(settings, limits=msgspec.structs.replace(settings.limits, **limits))
