"""Processes of runs in one test: runs, desk, readings, sandboxes are real, agents are told by the test. No test here.

async with opened_site(home, "p1") as site:
    run = await site.start(SCRIPT)
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import msgspec

from gateway.tasks import Tasks
from runtime.attempts import Attempts, Places
from runtime.core.governor import Governor
from runtime.core.limits import Limits
from runtime.core.model import Finished, Owner, RunId
from runtime.desk import Desk
from runtime.launch import Launch, Settings
from runtime.library import Library
from runtime.lookup import Lookup
from runtime.planning import Planner
from runtime.ports import AgentTask, RunStore, Watch
from runtime.readings import Readings, Viewer
from runtime.runner import Ground, Runner
from runtime.runs import Runs
from runtime.sandbox.host import ChildSandboxes
from runtime.workspace import Folders, GitWorkspaces
from tests.runtime.crash_driver import finished_of
from tests.runtime.parts import Quiet, WallClock, Yes
from tests.runtime.stores.homes import Home

ALICE = Viewer("alice")
OWNER = Owner(user="alice", credential="alice-laptop")
SETTINGS = Settings(limits=Limits(stagger_ms=0), model="claude-opus-5-5")
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 30.0


class ToldAgents:
    """Implements `ports.Agents`: answers are a pure function of the prompt; one that `waits` does until let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Prompts, in the order in which their attempts began."""
        self.requests: list[str] = []
        """Prompts, once for each model request."""
        self.heard: list[str] = []
        """What people told agents."""
        self.let_go = asyncio.Event()

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        self.asked.append(task.prompt)
        await self._ask(task, watch)
        finished = finished_of(task.prompt)
        watch.began()
        watch.used(finished.usage)
        if "waits" in task.prompt:
            await self.let_go.wait()
            await self._ask(task, watch)
        return finished

    async def _ask(self, task: AgentTask, watch: Watch) -> None:
        self.heard += await watch.before_request()
        self.requests.append(task.prompt)


class NoPrices:
    """Implements `ports.Prices`."""

    def cost(self, model: str, tokens: Any) -> int | None:
        return None


class Site:
    """One process."""

    def __init__(self, store: RunStore, name: str, settings: Settings, clock: WallClock) -> None:
        self.tasks = Tasks()
        self.agents = ToldAgents()
        self.store = store
        self.clock = clock
        self.settings = settings
        listener, scripts = Quiet(), Library(store)
        attempts = Attempts(agents=self.agents, admission=Yes(), places=Places(Governor(64), clock), listener=listener)
        ground = Ground(
            store=store,
            sandboxes=ChildSandboxes(),
            attempts=attempts,
            lookup=Lookup(scripts),
            listener=listener,
            clock=clock,
            spawn=self.tasks.spawn,
        )
        self.runs = Runs(ground, Yes(), GitWorkspaces(Folders([])), settings=settings, me=name)
        self.readings = Readings(self.runs)
        self.desk = Desk(self.runs, self.readings, scripts, settings)
        self.planner = Planner(self.desk, scripts, NoPrices(), settings)
        self.answering = self.tasks.spawn("letters", self._answer())

    async def start(self, script: str | None = None, **launch: Any) -> RunId:
        """A run of alice's."""
        launch = {"owner": OWNER, "session": "s-1", **launch}
        answer = await self.desk.start(Launch(script=script, **launch), idempotency=None)
        return RunId(answer["runId"])

    async def record(self, run: str) -> dict[str, Any]:
        """As alice sees it here."""
        return await self.readings.record(ALICE, run)

    async def until(self, run: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The record, once it is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not met(record := await self.record(run)):
                await pass_seconds(LOOK_SECONDS)
        return record

    async def until_state(self, run: str, state: str) -> dict[str, Any]:
        """The record, once the run is in that state."""
        return await self.until(run, lambda record: record["state"] == state)

    async def value(self, run: str) -> Any:
        """What the script returned, once it has."""
        await self.until(run, lambda record: record["ended_ms"] is not None)
        return msgspec.json.decode((await self.readings.result(ALICE, run))["value"])

    async def take_over(self, home: Home) -> None:
        """Whatever nobody has driven for a minute."""
        home.pass_ms(60_000)
        self.clock.ahead_ms += 60_000
        await self.runs.take_over()

    async def die(self) -> None:
        """As if it had been killed: nothing more is written, no lease is let go."""
        self.answering.cancel()
        for runner in list(self.runs.driven.values()):
            runner.lose()
        await self.tasks.close(5.0)

    def driven(self, run: RunId) -> Runner:
        return self.runs.driven[run]

    async def _answer(self) -> None:
        while True:
            await self.desk.mailbox.answer()
            await pass_seconds(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def opened_site(
    home: Home, name: str, *, clock: WallClock | None = None, **settings: Any
) -> AsyncGenerator[Site]:
    """A process that shares the home with others, until the block ends."""
    site = Site(await home.open(), name, replace(SETTINGS, **settings), clock or WallClock())
    try:
        yield site
    finally:
        await site.die()


async def pass_seconds(seconds: float) -> None:
    """Let time go by."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)
