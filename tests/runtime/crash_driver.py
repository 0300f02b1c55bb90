"""A process that drives one run until it ends or is killed: real runs, sandboxes and stores, agents that are a pure
function of their prompt. For `crashing.py`; no test here.

It reads one `Order` a line and forks a child for each, so that a start costs little. The child says a `.` at every
point where it matters to be killed before and after.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from gateway.tasks import Tasks
from runtime.attempts import Attempts, Places
from runtime.check import prepare
from runtime.core import happenings as on
from runtime.core.governor import Governor
from runtime.core.journal import Line, StateLine
from runtime.core.limits import Limits
from runtime.core.model import OPEN_STATES, Finished, Owner, RunId, RunSpec, Thrown, Tokens, Usage
from runtime.core.program import Delivery, Drained, Program
from runtime.launch import Launch, RunError, Settings, build_spec
from runtime.library import Library
from runtime.lookup import Lookup
from runtime.ports import AgentTask, Entry, Lease, RunRow, RunStore, Sandbox, StoreAway, Watch
from runtime.runner import Ground, Runner
from runtime.runs import Runs
from runtime.sandbox.host import ChildSandboxes
from runtime.stores import open_run_store
from runtime.workspace import Folders, GitWorkspaces
from tests.runtime.crash_scripts import CHILD, SHAPES
from tests.runtime.parts import Quiet, WallClock, Yes

RUN = RunId("wf_crash000001")
OWNER = Owner(user="alice", credential="alice-laptop")
SETTINGS = Settings(limits=Limits(concurrency=4), auto_resume=True)
LARGE_CHARS = 300_000

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True):
    """What the child is to do. `pauses`: a person pauses the run now and then, and resumes it."""

    url: str
    log: str
    shape: str
    pauses: bool = False
    auto_resume: bool = True


class Ended(msgspec.Struct, frozen=True):
    """An attempt began (`at` 0) or ended, as the log of the agents has it."""

    index: int
    attempt: int
    at: int


def finished_of(prompt: str) -> Finished:
    """What an agent makes of a prompt, and what it costs: the same whenever it is asked."""
    dice = sha256(prompt.encode()).digest()
    tokens = Tokens(input=100 + dice[0], output=10 + dice[1])
    usage = Usage(tokens=tokens, cost_nanousd=tokens.total * 1_000, requests=1)
    if "throws" in prompt:
        return Finished(thrown=Thrown(code="schema_retries_exhausted", message=f"no: {prompt}"), usage=usage)
    if "null" in prompt:
        return Finished(null="api_error", detail="it broke off", usage=usage)
    said = "x" * LARGE_CHARS if "large" in prompt else f"{prompt[:40]} {dice.hex()[:8]}"
    return Finished(value=msgspec.Raw(msgspec.json.encode(said)), usage=usage, model="claude-opus-5-5")


def point() -> None:
    """It matters to be killed just before and just after."""
    os.write(1, b".")


async def pointed(work: Awaitable[T]) -> T:
    """Two points around it."""
    point()
    done = await work
    point()
    return done


class LoggedAgents:
    """Implements `ports.Agents`. Every attempt is in the log before it begins and when it has ended."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        self._note(Ended(task.index, task.attempt, 0))
        point()
        finished = finished_of(task.prompt)
        await watch.before_request()
        for turn in range(sha256(task.prompt.encode()).digest()[2] % 40):
            if turn == 3:
                watch.began()
            await asyncio.sleep(0)
        watch.used(finished.usage)
        self._note(Ended(task.index, task.attempt, 1))
        point()
        return finished

    def _note(self, what: Ended) -> None:
        os.write(self._log, msgspec.json.encode(what) + b"\n")
        os.fsync(self._log)


class PointedSandbox:
    """A real one."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def start(self, program: Program) -> Drained:
        return await pointed(self._sandbox.start(program))

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Drained]:
        return await pointed(self._sandbox.deliver(deliveries))

    async def close(self) -> None:
        await self._sandbox.close()


class PointedSandboxes:
    """Real ones."""

    def __init__(self) -> None:
        self._sandboxes = ChildSandboxes()

    async def open(self, limits: Limits) -> Sandbox:
        return PointedSandbox(await pointed(self._sandboxes.open(limits)))


class PointedStore:
    """A real one: everything that is written has a point before and after."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, row: RunRow, entry: Entry, *, owner: str, idempotency: str | None, now_ms: int) -> Lease:
        made = self._store.create(row, entry, owner=owner, idempotency=idempotency, now_ms=now_ms)
        return await pointed(made)

    async def append(self, lease: Lease, entry: Entry) -> None:
        await pointed(self._store.append(lease, entry))


def spec_of(shape: str) -> RunSpec:
    """The run of a shape; always the same id."""
    launch = Launch(owner=OWNER, script=SHAPES[shape], session="s-1")
    clock = WallClock()
    spec = build_spec(launch, prepare(SHAPES[shape]), SETTINGS, now_ms=clock.unix_ms(), script_path=None)
    return msgspec.structs.replace(spec, id=RUN)


def build_runs(store: RunStore, agents: LoggedAgents, tasks: Tasks, *, auto_resume: bool = True) -> Runs:
    """Those of this process."""
    clock, admission, listener = WallClock(), Yes(), Quiet()
    attempts = Attempts(agents=agents, admission=admission, places=Places(Governor(64), clock), listener=listener)
    ground = Ground(
        store=store,
        sandboxes=PointedSandboxes(),
        attempts=attempts,
        lookup=Lookup(Library(store)),
        listener=listener,
        clock=clock,
        spawn=tasks.spawn,
    )
    settings = Settings(limits=SETTINGS.limits, auto_resume=auto_resume)
    return Runs(ground, admission, GitWorkspaces(Folders([])), settings=settings, me=f"process {os.getpid()}")


async def runner_of(runs: Runs, order: Order) -> Runner | None:
    """The run, driven here: begun, or taken over. None: it has ended."""
    store = runs.ground.store
    row = await store.find(RUN)
    if row is None:
        await store.save_script(OWNER.user, "child", CHILD, replace=True, now_ms=0)
        await runs.begin(spec_of(order.shape), ask=None, idempotency="start")
        return runs.driven.get(RUN)
    while row is not None and row.state in OPEN_STATES:
        await runs.take_over()
        if RUN in runs.driven:
            return runs.driven[RUN]
        # A script's process that was just being made when its parent was killed may hold the file a moment longer.
        await pass_seconds(0.1)
        row = await store.find(RUN)
    return None


async def person(runs: Runs, runner: Runner, lines: Sequence[Line]) -> None:
    """Pauses the run whenever two more agents are done, and resumes it when nothing is at work any more."""
    paused = sum(isinstance(line, StateLine) and line.reason == "person" for line in lines)
    while not runner.left:
        changed, state = runner.changed, runner.machine.state
        try:
            if state == "paused" and runner.machine.is_idle:
                await pass_seconds(0.01)
                await pointed(runs.tell(RUN, on.ResumeAsked("alice")))
            elif state == "running" and runner.machine.run.census.done >= 2 * (paused + 1):
                await pointed(runs.tell(RUN, on.PauseAsked("person", by="alice")))
                paused += 1
            else:
                await until_changed(changed)
        except RunError:
            return


async def until_changed(changed: asyncio.Event) -> None:
    """Something happened, or a little time has passed: that nothing is at work any more is told to nobody."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), 0.02)


async def pass_seconds(seconds: float) -> None:
    """Let time go by."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


async def drive(order: Order) -> None:
    """Until the run has ended."""
    tasks = Tasks()
    store = await open_run_store(order.url, spawn=tasks.spawn)
    agents = LoggedAgents(Path(order.log))
    runs = build_runs(cast("RunStore", PointedStore(store)), agents, tasks, auto_resume=order.auto_resume)
    runner = await runner_of(runs, order)
    if runner is not None:
        chores = [tasks.spawn("leases", keep_renewing(runs))]
        if order.pauses:
            chores.append(tasks.spawn("person", person(runs, runner, await runs.lines(RUN))))
        while not runner.left:
            await runner.changed.wait()
        for chore in chores:
            chore.cancel()
    await tasks.close(5.0)
    await store.close()


async def keep_renewing(runs: Runs) -> None:
    """As a gateway does."""
    while True:
        await pass_seconds(0.2)
        with contextlib.suppress(StoreAway):
            await runs.renew()


def fork(work: Callable[[], None]) -> int:
    """The exit status of a child that did it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(1, b"p%d\n" % os.getpid())
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """One child after the other."""
    for text in sys.stdin.buffer:
        order = msgspec.json.decode(text, type=Order)
        status = fork(lambda order=order: asyncio.run(drive(order)))
        os.write(1, b"x%d\n" % status)


if __name__ == "__main__":
    main()
