"""What the workflow runtime costs beside the model: agents that answer at once, many runs, runs that only wait.

    scripts/bench --runs [--quick] [--json]

`overhead` is one run of 1,000 agents whose answers take no time: script, machine, journal on SQLite, and what people
are told. `many` is 50 runs of 16 agents at once, each followed by a reader that counts what it is shown. `idle` is what
a paused run holds, awake and asleep. `start` is the time until the first agent of a run begins. `agent` is what one
agent costs with the real SDK, over HTTP through the whole gateway, with the simulated model. Nothing is judged here.
"""

import asyncio
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.tasks import Tasks
from runtime.attempts import Attempts, Places
from runtime.core import happenings as on
from runtime.core.governor import Governor
from runtime.core.model import Finished, Owner, RunId, Tokens, Usage
from runtime.desk import Desk
from runtime.launch import Launch, Settings
from runtime.library import Library
from runtime.lookup import Lookup
from runtime.ports import AgentTask, EventRow, Watch
from runtime.readings import Readings, Viewer
from runtime.runner import Ground
from runtime.runs import SLEEP_MS, Runs
from runtime.sandbox.host import ChildSandboxes
from runtime.stores import open_run_store
from runtime.workspace import Folders, GitWorkspaces
from tests.bench.load import percentile
from tests.bench.measure import Figures, cpu_seconds, resident_kib
from tests.gateway.running import listening
from tests.runtime.parts import Quiet, Yes
from tests.support.gateway import CREDENTIAL

AGENTS = 1_000
MANY_RUNS, MANY_AGENTS = 50, 16
IDLE_RUNS, QUICK_IDLE_RUNS = 90, 40
STARTS, QUICK_STARTS = 40, 10
LOOP_AGENTS, QUICK_LOOP_AGENTS = 400, 100
ROUNDS = 5
OWNER = Owner(user="alice", credential="alice-laptop")
VIEWER = Viewer("alice")
USAGE = Usage(tokens=Tokens(input=100, output=10), cost_nanousd=1_000, requests=1)
MODEL = "claude-sonnet-5-5"
FAN_OUT = "return (await parallel(Array.from({length: %d}, (_, n) => () => agent('part ' + n)))).length"
WAITS = "await agent('first'); return await agent('second')"


@dataclass
class ShiftedClock:
    """The machine's clock, some time ahead when it is said so."""

    ahead_ms: int = 0

    def monotonic(self) -> float:
        return time.perf_counter()

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


@dataclass
class Cast:
    """Agents that answer at once; those named `first` when they may."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        await watch.before_request()
        watch.began()
        self.asked.set()
        if task.prompt == "first":
            await self.go.wait()
        watch.used(USAGE)
        return Finished(value=msgspec.Raw(msgspec.json.encode(f"re {task.prompt}")), usage=USAGE, model=MODEL)


@dataclass(slots=True)
class Stage:
    """Runs of this process."""

    runs: Runs
    desk: Desk
    readings: Readings
    cast: Cast
    clock: ShiftedClock
    tasks: Tasks

    async def start(self, body: str) -> RunId:
        script = f"export const meta = {{name: 'bench', description: 'd'}}\n{body}"
        started = await self.desk.start(Launch(owner=OWNER, script=script), idempotency=None)
        return RunId(started["runId"])

    async def follow(self, run: RunId) -> list[int]:
        """The numbers of all its events, as a reader gets them until the last one."""
        events = await self.readings.follow(VIEWER, run, after=0)
        return [event.seq async for event in events if isinstance(event, EventRow)]


@contextlib.asynccontextmanager
async def staged(folder: str) -> AsyncGenerator[Stage]:
    """Real scripts, machines and journals (SQLite); agents and admission that cost nothing."""
    tasks, clock, cast, door, ear = Tasks(), ShiftedClock(), Cast(), Yes(), Quiet()
    store = await open_run_store(f"sqlite:///{folder}/bench.db", spawn=tasks.spawn)
    settings, scripts = Settings(model=MODEL, open_per_session=10_000), Library(store)
    ground = Ground(
        store=store,
        sandboxes=ChildSandboxes(),
        attempts=Attempts(agents=cast, admission=door, places=Places(Governor(1_024), clock), listener=ear),
        lookup=Lookup(scripts),
        listener=ear,
        clock=clock,
        spawn=tasks.spawn,
    )
    runs = Runs(ground, door, GitWorkspaces(Folders([])), settings=settings, me="bench")
    readings = Readings(runs)
    try:
        yield Stage(runs, Desk(runs, readings, scripts, settings), readings, cast, clock, tasks)
    finally:
        await runs.close()
        await tasks.close(5.0)
        await store.close()


async def measure_runs(*, quick: bool) -> Figures:
    """All of it; medians where there is more than one round."""
    rounds = 1 if quick else ROUNDS
    figures: Figures = {}
    for name, measure, times in (
        ("overhead", measure_overhead, rounds),
        ("many", measure_many, rounds),
        ("idle", lambda: measure_idle(QUICK_IDLE_RUNS if quick else IDLE_RUNS), 1),
        ("start", lambda: measure_start(QUICK_STARTS if quick else STARTS), 1),
        ("agent", lambda: measure_agent(QUICK_LOOP_AGENTS if quick else LOOP_AGENTS), rounds),
    ):
        found: list[Figures] = []
        for number in range(times):
            print(f"  {name}, round {number + 1}", file=sys.stderr)
            found.append(await measure())
        figures[name] = {key: statistics.median(each[key] for each in found) for key in found[0]}
    return figures


async def measure_overhead() -> Figures:
    """From the first agent's start to the end of the run; and what the process and the script used meanwhile."""
    with tempfile.TemporaryDirectory(prefix="ringfence-runs-") as folder:
        async with staged(folder) as stage:
            run = await stage.start(FAN_OUT % AGENTS)
            following = stage.tasks.spawn("reader", stage.follow(run))
            await stage.cast.asked.wait()
            began, used = time.perf_counter(), time.process_time()
            runner = stage.runs.driven[run]
            while not runner.left:
                changed = runner.changed
                await changed.wait()
            wall, cpu = time.perf_counter() - began, time.process_time() - used
            seen = await following
            assert seen == list(range(1, len(seen) + 1)), "an event was missed"
            record = await stage.readings.record(VIEWER, run)
            assert record["outcome"]["done"] == AGENTS, record["outcome"]
    return {"wall_ms": 1000 * wall, "cpu_ms": 1000 * cpu, "events": len(seen)}


async def measure_many() -> Figures:
    """Until every reader has seen the last event of its run."""
    with tempfile.TemporaryDirectory(prefix="ringfence-runs-") as folder:
        async with staged(folder) as stage:
            began, used = time.perf_counter(), time.process_time()
            runs = await asyncio.gather(*(stage.start(FAN_OUT % MANY_AGENTS) for _ in range(MANY_RUNS)))
            started = time.perf_counter()
            seen = await asyncio.gather(*(stage.follow(run) for run in runs))
            wall, cpu = time.perf_counter() - began, time.process_time() - used
            lasts = [(await stage.readings.events(VIEWER, run, after=0, types=(), most=1_000))[-1].seq for run in runs]
    missed = sum(last - len(set(numbers)) for last, numbers in zip(lasts, seen, strict=True))
    disordered = sum(numbers != sorted(set(numbers)) for numbers in seen)
    figures = {"wall_ms": 1000 * wall, "starts_ms": 1000 * (started - began), "cpu_ms": 1000 * cpu}
    return {**figures, "events": sum(lasts), "missed": missed, "disordered": disordered}


async def measure_idle(count: int) -> Figures:
    """Resident memory of this process per paused run: with its script still there, and asleep."""
    with tempfile.TemporaryDirectory(prefix="ringfence-runs-") as folder:
        async with staged(folder) as stage:
            await _pause_all(stage, 5)
            await _sleep_all(stage)
            before = _resident()
            await _pause_all(stage, count)
            awake, children = _resident() - before, _children_kib()
            await _sleep_all(stage)
            asleep = _resident() - before
    return {"awake_kib": awake / count, "script_kib": children / count, "asleep_kib": asleep / count}


async def _pause_all(stage: Stage, count: int) -> None:
    stage.cast.go.clear()
    runs = [await stage.start(WAITS) for _ in range(count)]
    for run in runs:
        await _until(stage, run, lambda record: record["agents"].get("running"))
        await stage.runs.tell(run, on.PauseAsked("person", by="alice"))
    stage.cast.go.set()
    for run in runs:
        await _until(stage, run, lambda record: record["outcome"]["done"])


async def _sleep_all(stage: Stage) -> None:
    while stage.runs.driven:
        stage.clock.ahead_ms += SLEEP_MS
        await stage.runs.let_sleep()
        await asyncio.sleep(0)


async def _until(stage: Stage, run: RunId, met: Any) -> None:
    while (runner := stage.runs.driven.get(run)) is not None:
        changed = runner.changed
        if met(runner.view.record(stage.clock.unix_ms())):
            return
        await changed.wait()


def _resident() -> int:
    gc.collect()
    return resident_kib(os.getpid())


def _children_kib() -> int:
    """Of the scripts: what each child holds by itself."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(_private_kib(pid) for pid in pids)


def _private_kib(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


async def measure_start(count: int) -> Figures:
    """From the request for a run until its first agent begins, one run after another."""
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="ringfence-runs-") as folder:
        async with staged(folder) as stage:
            for _ in range(count):
                stage.cast.asked.clear()
                began = time.perf_counter()
                run = await stage.start("return await agent('part')")
                await stage.cast.asked.wait()
                took.append(time.perf_counter() - began)
                await _until(stage, run, lambda record: record["ended_ms"])
    return {"p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}


async def measure_agent(count: int) -> Figures:
    """CPU and wall time per agent of a run in a whole gateway, whose simulated model answers at once."""
    with tempfile.TemporaryDirectory(prefix="ringfence-runs-") as folder:
        place = Path(folder)
        scenario = place / "scenario.yaml"
        scenario.write_text("pace: 0\nturns: [{reply: [{text: done}]}]\n")
        upstreams = [{"id": "main", "backend": "simulated", "scenario": str(scenario)}]
        many = {"settings": {"workflows": {"fan_out": AGENTS}}}
        async with listening(place, "", upstreams=upstreams, policy=many) as (serving, built):
            runs = built.mounted.runs
            await _play(serving, runs, 16)
            began, used = time.perf_counter(), cpu_seconds(os.getpid())
            await _play(serving, runs, count)
            wall, cpu = time.perf_counter() - began, cpu_seconds(os.getpid()) - used
    return {"wall_ms": 1000 * wall / count, "cpu_ms": 1000 * cpu / count}


async def _play(serving: Any, runs: Runs, agents: int) -> None:
    script = "export const meta = {name: 'bench', description: 'd'}\n" + FAN_OUT % agents
    url, headers = f"{serving.url}/ringfence/v1/runs", {"x-api-key": CREDENTIAL}
    async with serving.client.post(url, json={"script": script}, headers=headers) as response:
        started = await response.json()
    run = RunId(started["runId"])
    runner = runs.driven[run]
    while not runner.left:
        changed = runner.changed
        await changed.wait()
    assert runner.view.outcome.done == agents, runner.view.outcome


def print_runs(figures: Figures) -> None:
    """One line per figure."""
    texts: Sequence[tuple[str, str]] = (
        ("overhead", "1,000 agents: {wall_ms:.0f} ms, {cpu_ms:.0f} ms of CPU, {events:.0f} events"),
        (
            "many",
            "50 runs of 16 agents: {wall_ms:.0f} ms ({starts_ms:.0f} until all had begun), {cpu_ms:.0f} ms of CPU",
        ),
        ("many", "their {events:.0f} events: {missed:.0f} missed, {disordered:.0f} readers out of order"),
        ("idle", "paused run: {awake_kib:.0f} KiB and {script_kib:.0f} of its script awake, {asleep_kib:.0f} asleep"),
        ("start", "until the first agent begins: {p50_ms:.0f} ms p50, {p99_ms:.0f} ms p99"),
        ("agent", "one agent through the gateway: {wall_ms:.2f} ms, {cpu_ms:.2f} ms of CPU"),
    )
    for name, text in texts:
        print(f"{name:10}{text.format(**figures[name])}")
