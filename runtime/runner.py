"""Drives one run: events into the machine, its lines into the journal, then its commands carried out. Decides nothing.

One loop takes all events that wait, writes what follows of them at once, and only then lets anything happen. Whoever
changes the run from outside waits until the change is durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from runtime.attempts import Attempts
from runtime.core import happenings as on
from runtime.core.aside import put_aside
from runtime.core.journal import EndedLine, Line, PhaseLine, StateLine, encode_line
from runtime.core.machine import Machine
from runtime.core.model import OPEN_STATES, RunSpec
from runtime.core.run import Step
from runtime.core.transitions import Illegal
from runtime.core.views.view import View
from runtime.lookup import Lookup
from runtime.ports import (
    Clock,
    Entry,
    EventRow,
    Lease,
    LeaseLost,
    Listener,
    RunRow,
    RunStore,
    Sandbox,
    Sandboxes,
    SandboxFailed,
    StoreAway,
)
from runtime.telling import Telling

LEASE_MS = 15_000
"""How long a run stays with a process that does not answer any more."""
RECENT_EVENTS = 256
"""Kept in memory for those who listen."""
STORE_AWAY_SECONDS = 0.5
"""Pause before a journal that could not be reached is tried again."""
GOING_ON = on.Begun | on.ResumeAsked | on.Unblocked
"""What a run begins with, or goes on after a pause."""
ROW_SECONDS = 0.5
"""How old the row of a run may be that lists show, between its changes of state."""
SNAPSHOT_SECONDS = 0.25
"""At most four a second (W182)."""

Spawn = Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every run of a process stands on."""

    store: RunStore
    sandboxes: Sandboxes
    attempts: Attempts
    lookup: Lookup
    listener: Listener
    clock: Clock
    spawn: Spawn
    """Starts a named task that is kept and awaited."""


class Runner:
    """One run that this process drives."""

    def __init__(self, machine: Machine, lease: Lease, ground: Ground, telling: Telling) -> None:
        self.machine = machine
        self.telling = telling
        self.lease = lease
        self.recent: deque[EventRow] = deque(maxlen=RECENT_EVENTS)
        self.changed = asyncio.Event()
        """Set and replaced whenever there is something new to be seen."""
        self.left = False
        """It ended, was let go of, or another process drives it."""
        self._ground = ground
        self._waiting: list[tuple[on.Event, asyncio.Future[None] | None]] = []
        self._came = asyncio.Event()
        """Something waits."""
        self._sandbox: Sandbox | None = None
        self._tasks: dict[tuple[int, int], asyncio.Task[Any]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._looking = asyncio.Lock()
        """Nested workflows are found in the order in which the script asks for them, whenever it runs (W41)."""
        self._snapshot: tuple[float, dict[str, Any]] | None = None
        self._row_at = 0.0
        self._row_is_old = False
        """Something has happened that lists do not show yet."""
        self._writing = asyncio.Lock()
        """Held while the view is ahead of the journal."""
        self.room: object | None = None
        """What spending limits left when they paused it."""
        self.idle_since_ms: int | None = None
        """Since when it only waits for people, for money or for a place."""
        self.held_at = ground.clock.monotonic()
        """When it was last sure that this process drives the run."""
        self._crew = ground.attempts.crew(self.spec, self.tell, telling.view, confirm=self.confirm)

    @property
    def view(self) -> View:
        """The run as people see it."""
        return self.telling.view

    def snapshot(self) -> dict[str, Any]:
        """The run as people see it: one for all who look, until it is old."""
        now = self._ground.clock.monotonic()
        if self._snapshot is None or now - self._snapshot[0] >= SNAPSHOT_SECONDS:
            self._snapshot = (now, self.view.record(self._ground.clock.unix_ms()))
        return self._snapshot[1]

    @property
    def spec(self) -> RunSpec:
        """Of the run."""
        return self.machine.run.spec

    @property
    def has_script(self) -> bool:
        """Its script has a process, or gets one with what waits."""
        return self.machine.has_script or any(isinstance(event, GOING_ON) for event, _ in self._waiting)

    @property
    def _rests(self) -> bool:
        return self.machine.is_idle and self.machine.state in OPEN_STATES - {"running"} and not self._waiting

    def take_room(self) -> object | None:
        """What spending limits left when they refused an agent, before the run was paused for it; once."""
        room, self._crew.room = self._crew.room, None
        return room

    async def durable(self) -> View | None:
        """The run as its journal has it, good until the next await. None: it is not driven here any more."""
        async with self._writing:
            return None if self.left else self.view

    def tell(self, event: on.Event) -> None:
        """Something happened. Never waits."""
        self._waiting.append((event, None))
        self._came.set()

    async def ask(self, event: on.Event) -> None:
        """A person wants something. Returns when it is durable; raises `Illegal`, `LeaseLost`."""
        if self.left:
            raise LeaseLost
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        self._came.set()
        await done

    async def drive(self, first: Step | None = None) -> None:
        """Until the run ends or is let go of. `first`: lines that are not written yet, with what follows of them."""
        try:
            if first is not None:
                await self._carry(first)
                self._note_idle()
            while not self.left:
                await self._turn()
        except LeaseLost:
            _log.warning("run %s is driven by another process now", self.spec.id)
        finally:
            await self._let_go()

    async def confirm(self) -> None:
        """Return once it is sure that no other process drives the run: no agent asks a model before.

        A process that stood still, or was cut off from the store, for as long as a lease has to ask the store first.
        Of a run with a cap all that its agents have used by now is counted then, and has frozen them if it is too much
        (W118). Never returns when the run is lost: its agents are ended.
        """
        clock = self._ground.clock
        while (began := clock.monotonic()) - self.held_at >= LEASE_MS / 1000:
            try:
                held = await self._ground.store.renew([self.lease], clock.unix_ms(), ttl_ms=LEASE_MS)
            except StoreAway as error:
                _log.warning("agents of run %s wait: %s", self.spec.id, error)
                await asyncio.sleep(STORE_AWAY_SECONDS)
                continue
            if not held:
                self.lose()
                await asyncio.Event().wait()
            self.held_at = began
        if self.machine.run.max_cost_nanousd is not None:
            try:
                await self.ask(on.Ticked())
            except LeaseLost:
                await asyncio.Event().wait()

    def refresh(self) -> None:
        """Let lists show what has happened since, if anything has."""
        if self._row_is_old and not self.left:
            self.tell(on.Ticked())

    def lose(self) -> None:
        """Another process has it: nothing more is done for it here."""
        self.left = True
        self.tell(on.Ticked())

    async def retire(self) -> bool:
        """Give back everything but the lease; False: it has woken meanwhile."""
        if not self._rests:
            return False
        self.left = True
        self.tell(on.Ticked())
        return True

    async def hand_over(self) -> None:
        """This process ends: another one, or a person, takes the run up again from its journal (W127)."""
        try:
            if self.machine.state == "running":
                await self.ask(on.HandedOver())
            await self._ground.store.release(self.lease)
        except (Illegal, LeaseLost, StoreAway) as error:
            _log.warning("run %s was not handed over: %s", self.spec.id, error)
        self.left = True
        self.tell(on.Ticked())

    async def _turn(self) -> None:
        await self._came.wait()
        waiting = self._take_waiting()
        if self.left:
            for _, future in waiting:
                _answer(future, LeaseLost())
            return
        self._row_is_old = self._row_is_old or any(not isinstance(event, on.Ticked) for event, _ in waiting)
        asked = [future for event, future in waiting if self._take(event, future)]
        try:
            await self._carry(self._advance())
        except BaseException:
            for future in asked:
                _answer(future, LeaseLost())
            raise
        for future in asked:
            _answer(future, None)
        self._note_idle()

    def _take_waiting(self) -> list[tuple[on.Event, asyncio.Future[None] | None]]:
        self._came.clear()
        waiting, self._waiting = self._waiting, []
        return waiting

    def _take(self, event: on.Event, future: asyncio.Future[None] | None) -> bool:
        """False: nothing follows from it, and whoever asked knows why."""
        try:
            self.machine.take(event, self._ground.clock.unix_ms())
        except Illegal as error:
            _answer(future, error)
        except Exception:  # noqa: BLE001  # whatever it is, the run ends with it
            self._break()
            _answer(future, LeaseLost())
        else:
            return True
        return False

    def _advance(self) -> Step:
        try:
            return self.machine.advance()
        except Exception:  # noqa: BLE001  # whatever it is, the run ends with it
            self._break()
        return self.machine.advance()

    def _break(self) -> None:
        """Taken up again, such a run would only come here again."""
        _log.exception("run %s cannot take in what happened", self.spec.id)
        text = "the run got into a state that it cannot go on from"
        self.machine.take(on.SandboxLost("protocol", text), self._ground.clock.unix_ms())

    def _note_idle(self) -> None:
        self.idle_since_ms = (self.idle_since_ms or self._ground.clock.unix_ms()) if self._rests else None

    async def _carry(self, step: Step) -> None:
        if step.lines or self._row_is_due():
            await self._write(step.lines)
        for command in step.commands:
            self._do(command)

    async def _write(self, lines: list[Line]) -> None:
        async with self._writing:
            entry = self.entry(lines)
            began = self._ground.clock.monotonic()
            while True:
                try:
                    await self._ground.store.append(self.lease, entry)
                    break
                except StoreAway as error:
                    _log.warning("the journal of run %s waits: %s", self.spec.id, error)
                    await asyncio.sleep(STORE_AWAY_SECONDS)
            self._ground.listener.appended(self._ground.clock.monotonic() - began)
        self.wrote(entry, lines)

    def wrote(self, entry: Entry, lines: Sequence[Line]) -> None:
        """The lines are durable: tell everybody."""
        self.recent.extend(entry.events)
        for line in lines:
            self.telling.report(line, self._ground.listener, self._ground.clock.unix_ms())
        self.show()

    def show(self) -> None:
        """Wake whoever listens."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def entry(self, lines: Sequence[Line]) -> Entry:
        """What is written for these lines, in one piece."""
        blobs: list[tuple[str, bytes]] = []
        events: list[EventRow] = []
        kept: list[bytes] = []
        for line in lines:
            events.extend(self.telling.feed(line))
            small, blob = put_aside(line)
            kept.append(encode_line(small))
            if blob is not None:
                blobs.append(blob)
        is_news = any(isinstance(line, StateLine | EndedLine | PhaseLine) for line in lines)
        row = None
        if is_news or self._row_is_due():
            self._row_at, row, self._row_is_old = self._ground.clock.monotonic(), self.row(), False
        return Entry(lines=kept, events=events, row=row, blobs=blobs)

    def _row_is_due(self) -> bool:
        return self._row_is_old and self._ground.clock.monotonic() - self._row_at >= ROW_SECONDS

    def row(self) -> RunRow:
        """As lists show it."""
        spec, now_ms = self.spec, self._ground.clock.unix_ms()
        return RunRow(
            id=spec.id,
            owner=spec.owner,
            session=spec.session,
            name=spec.name,
            state=self.machine.state,
            created_ms=spec.created_ms,
            updated_ms=now_ms,
            script_sha256=spec.script_sha256,
            workspace=spec.workspace,
            record=msgspec.Raw(msgspec.json.encode(self.view.record(now_ms))),
        )

    def _do(self, command: on.Command) -> None:  # noqa: C901  # the table of commands
        match command:
            case on.OpenSandbox():
                self._ground.spawn(f"script of {self.spec.id}", self._open(command))
            case on.Deliver():
                self._ground.spawn(f"script of {self.spec.id}", self._deliver(command))
            case on.CloseSandbox():
                self._close_sandbox()
            case on.StartAttempt():
                call = self.machine.run.calls[command.index]
                work = self._crew.work(call, command.attempt, command.agent_id)
                task = self._ground.spawn(f"agent {command.agent_id}", work)
                at = (command.index, command.attempt)
                self._tasks[at] = task
                task.add_done_callback(lambda _: self._tasks.pop(at, None))
            case on.AbortAttempt():
                task = self._tasks.pop((command.index, command.attempt), None)
                if task is not None:
                    task.cancel()
            case on.SetFrozen(frozen=frozen):
                self._crew.freeze(frozen)
            case on.TellAgent(index=index, text=text):
                self._crew.say(index, text)
            case on.FindWorkflow():
                self._ground.spawn(f"workflow of {self.spec.id}", self._find(command))
            case on.SetTimer(id=id, at_ms=at_ms):
                self._timers[id] = self._later(at_ms, on.TimerFired(id))
            case on.ClearTimer(id=id):
                timer = self._timers.pop(id, None)
                if timer is not None:
                    timer.cancel()
            case on.WakeAt(at_ms=at_ms):
                if self._alarm is not None:
                    self._alarm.cancel()
                self._alarm = self._later(at_ms, on.Ticked())
            case on.Ended():
                self.left = True

    def _later(self, at_ms: int, event: on.Event) -> asyncio.TimerHandle:
        delay_seconds = max(0.0, (at_ms - self._ground.clock.unix_ms()) / 1000)
        return asyncio.get_running_loop().call_later(delay_seconds, self.tell, event)

    async def _open(self, command: on.OpenSandbox) -> None:
        try:
            self._sandbox = sandbox = await self._ground.sandboxes.open(self.spec.limits)
            if self.left:
                self._close_sandbox()
                return
            drained = await sandbox.start(command.program)
        except SandboxFailed as error:
            self._lose(error)
        else:
            self.tell(on.ScriptDrained((drained,)))

    async def _deliver(self, command: on.Deliver) -> None:
        sandbox = self._sandbox
        if sandbox is None:
            return
        try:
            drains = await sandbox.deliver(command.deliveries)
        except SandboxFailed as error:
            self._lose(error)
        else:
            self.tell(on.ScriptDrained(tuple(drains)))

    def _lose(self, error: SandboxFailed) -> None:
        if not self.left:
            self._ground.listener.sandbox_failed(error.code)
            self._close_sandbox()
            self.tell(on.SandboxLost(error.code, error.message))

    async def _find(self, command: on.FindWorkflow) -> None:
        async with self._looking:
            while not self.left:
                try:
                    self.tell(await self._ground.lookup.find(self.spec, command))
                    return
                except StoreAway as error:
                    _log.warning("a workflow of run %s is looked for again: %s", self.spec.id, error)
                    await asyncio.sleep(STORE_AWAY_SECONDS)
                except Exception:  # noqa: BLE001  # the script waits for an answer, whatever happened
                    _log.exception("a workflow of run %s cannot be looked for", self.spec.id)
                    self.tell(on.NestedMissing(command.id, "workflow(): it cannot be looked for here"))
                    return

    def _close_sandbox(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            self._ground.spawn(f"end of the script of {self.spec.id}", sandbox.close())

    async def _release(self) -> None:
        try:
            await self._ground.store.release(self.lease)
        except StoreAway as error:
            _log.warning("the lease of run %s runs out by itself: %s", self.spec.id, error)

    async def _let_go(self) -> None:
        """End whatever still works for the run here; its journal says how far it came."""
        self.left = True
        for timer in self._timers.values():
            timer.cancel()
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._tasks.values():
            task.cancel()
        self._crew.close()
        self._close_sandbox()
        if self.machine.state in OPEN_STATES:
            self._ground.listener.let_go(self.spec)
        else:
            await self._release()
        for _, future in self._take_waiting():
            _answer(future, LeaseLost())
        self.show()


def _answer(future: asyncio.Future[None] | None, error: Exception | None) -> None:
    """Whoever asked may have left."""
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
