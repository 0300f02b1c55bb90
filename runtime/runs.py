"""All runs that a process drives: begins them, takes up what was left, lets idle ones sleep, passes on what people ask.

A run is driven by whoever holds its lease. One that waits for people needs no process and no memory but its lease: its
journal is enough to go on. Nor does one that waits for a place, since only so many scripts have a process at once: the
oldest goes first. How one is driven is `runner.py`, what people read of it `readings.py`.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from runtime.core import happenings as on
from runtime.core.aside import put_back, ref_of
from runtime.core.journal import Line, RunLine, decode_line
from runtime.core.machine import Machine
from runtime.core.model import OPEN_STATES, CallIndex, RunId, RunSpec, raw_of
from runtime.core.pausing import over_ms
from runtime.core.recorded import Recorded, fold_journal
from runtime.core.recovery import recover
from runtime.core.replay import Replay
from runtime.core.run import Step
from runtime.core.transitions import Illegal
from runtime.launch import RunError, Settings
from runtime.ports import Admission, Lease, LeaseLost, RunExists, RunRow, StoreAway, Workspaces
from runtime.runner import LEASE_MS, Ground, Runner
from runtime.telling import Telling

SLEEP_MS = 60_000
"""How long a run waits for people before its process and its memory are given back, while nobody else needs them."""
AWAKE_MAX = 200
"""Runs whose script has a process at once. One takes 11 MB and more, so all of them some 2 GB, however many runs a
restart, a new month or a raised limit lets go on together."""

_log = logging.getLogger(__name__)


class DrivenElsewhere(RunError):
    """Another process drives this run, as far as is known here."""

    def __init__(self, run: RunId) -> None:
        super().__init__("unavailable", f"run {run} is driven by another process just now; ask again")


@dataclass(slots=True)
class Sleeping:
    """A run that waits, held by its lease alone."""

    lease: Lease
    created_ms: int
    ends_ms: int
    """When its time is over."""
    goes_on_ms: int | None
    """From when on it needs nothing but a place to go on. None: something else has to happen first."""
    spec: RunSpec | None = None
    """Of one that goes on when a spending limit lets go."""
    room: object | None = None
    """What that limit left when it was first looked at."""


class Runs:
    """Those of this process."""

    def __init__(
        self, ground: Ground, admission: Admission, workspaces: Workspaces, settings: Settings, me: str
    ) -> None:
        """`me` names this process among all that share the store."""
        self.ground = ground
        self.admission = admission
        self.workspaces = workspaces
        self.settings = settings
        self.awake_max = AWAKE_MAX
        self.driven: dict[RunId, Runner] = {}
        self.sleeping: dict[RunId, Sleeping] = {}
        self.me = me
        self._waking: dict[RunId, asyncio.Lock] = {}
        self._asking: dict[RunId, asyncio.Task[None]] = {}
        """Questions to whoever approves runs."""
        self._closing = False

    async def begin(self, spec: RunSpec, *, ask: str | None, idempotency: str | None) -> RunId:
        """Write the first lines and go. The id of the run that this idempotency key had started, if it had."""
        replay = None if spec.resumed_from is None else await self._replay_of(spec)
        runner, first = self._build(spec, Machine(spec, replay=replay), ask=ask)
        entry = runner.entry(first.lines)
        now_ms = self.ground.clock.unix_ms()
        try:
            lease = await self.ground.store.create(
                runner.row(), entry, owner=self.me, idempotency=idempotency, now_ms=now_ms
            )
        except RunExists as known:
            return known.run
        runner.lease = lease
        runner.wrote(entry, first.lines)
        self._drive(runner, Step(commands=first.commands))
        self._ask_or_start(runner)
        return spec.id

    async def find(self, run: RunId) -> RunRow:
        """Raises `RunError`."""
        row = await self.ground.store.find(run)
        if row is None:
            raise unknown(run)
        return row

    async def tell(self, run: RunId, event: on.Event) -> Runner:
        """What a person wants of a run; it is durable then. Raises `RunError`, also `DrivenElsewhere`."""
        runner = await self.wake(run)
        if isinstance(event, on.ResumeAsked) and runner.machine.state == "paused" and not self._has_place(runner):
            text = f"{self.awake_max} runs are at work in this gateway, as many as may be; resume {run} when one ends"
            raise RunError("max_workflow_runs", text)
        try:
            await runner.ask(event)
        except Illegal as error:
            raise RunError("conflict", f"run {run}: {error}", state=error.state) from None
        except LeaseLost:
            raise DrivenElsewhere(run) from None
        return runner

    async def wake(self, run: RunId) -> Runner:
        """The run, driven here. Raises `RunError`, also `DrivenElsewhere`."""
        lock = self._waking.setdefault(run, asyncio.Lock())
        async with lock:
            runner = self.driven.get(run)
            if runner is not None and not runner.left:
                return runner
            sleeping = self.sleeping.pop(run, None)
            lease = sleeping.lease if sleeping is not None else await self._acquire(run)
            return await self._take_up(lease)

    def go_on(self, runner: Runner) -> None:
        """Begin what is queued, end pauses that are over, as soon as there is a place for its script."""
        goes_on_ms = self._goes_on_ms(runner.machine)
        if goes_on_ms is None or goes_on_ms > self.ground.clock.unix_ms() or runner.has_script or not self._places():
            return
        if runner.machine.state == "queued":
            runner.tell(on.Begun())
        for reason in runner.machine.run.pauses:
            runner.tell(on.Unblocked(reason))

    async def recorded(self, run: RunId) -> Recorded:
        """Its journal folded, values included. Raises `RunError`."""
        return fold_journal(await self.lines(run))

    async def lines(self, run: RunId) -> list[Line]:
        """Its journal with every value in place."""
        store = self.ground.store
        kept = [decode_line(text) for _, text in await store.lines(run)]
        if not kept:
            raise unknown(run)
        blobs = await self._blobs(ref for line in kept if (ref := ref_of(line)) is not None)
        return [put_back(line, blobs) for line in kept]

    async def gone_worktrees(self, recorded: Recorded) -> frozenset[CallIndex]:
        """Calls whose worktree is not as they left it (W161)."""
        there = self.workspaces.still_there
        return frozenset([index for index, worktree in recorded.worktrees() if not await there(worktree)])

    # Chores, each about once a second.

    async def renew(self) -> None:
        """Hold on to what is driven here; what was lost is let go of."""
        leases = [runner.lease for runner in self.driven.values() if not runner.left]
        leases += [sleeping.lease for sleeping in self.sleeping.values()]
        now_ms, began = self.ground.clock.unix_ms(), self.ground.clock.monotonic()
        held = set(await self.ground.store.renew(leases, now_ms, ttl_ms=LEASE_MS))
        lost = set(leases) - held
        for runner in list(self.driven.values()):
            if runner.lease in held:
                runner.held_at = began
            elif runner.lease in lost and not runner.left:
                runner.lose()
        for run in [run for run, sleeping in self.sleeping.items() if sleeping.lease in lost]:
            del self.sleeping[run]
            self._take_back(run)

    async def refresh(self) -> None:
        """Those who do not drive a run see what its agents use meanwhile."""
        for runner in list(self.driven.values()):
            runner.refresh()

    async def take_over(self) -> None:
        """Take up what nobody drives any more (W127)."""
        for row in await self.ground.store.abandoned(self.ground.clock.unix_ms()):
            if self._closing or row.id in self.driven or row.id in self.sleeping:
                continue
            try:
                runner = await self.wake(row.id)
            except DrivenElsewhere:
                continue
            except StoreAway:
                raise
            except Exception as error:  # noqa: BLE001  # one that cannot be read keeps no other from going on
                _log.warning("run %s cannot be taken over (%s: %s)", row.id, type(error).__name__, error)
            else:
                self.go_on(runner)
                await self._lay_down()

    async def let_sleep(self) -> None:
        """Give back what idle runs hold, and let those go on whose time has come, the oldest first."""
        await self._lay_down()
        now_ms = self.ground.clock.unix_ms()
        for runner in sorted(self.driven.values(), key=lambda each: each.spec.created_ms):
            self.go_on(runner)
        for run, sleeping in self._by_age():
            if sleeping.ends_ms <= now_ms:
                (await self.wake(run)).tell(on.Ticked())
            elif sleeping.goes_on_ms is not None and sleeping.goes_on_ms <= now_ms and self._places():
                self.go_on(await self.wake(run))

    async def look_for_room(self) -> None:
        """Runs that a spending limit has paused go on when it lets go (W118)."""
        for runner in sorted(self.driven.values(), key=lambda each: each.spec.created_ms):
            if not runner.machine.waits_for_room or runner.left:
                runner.room = None
            elif runner.room is None:
                runner.room = runner.take_room() or await self.admission.room(runner.spec)
            elif await self.admission.has_room(runner.spec, runner.room) and self._has_place(runner):
                runner.tell(on.Unblocked("budget"))
        for run, sleeping in self._by_age():
            if sleeping.spec is None:
                continue
            if sleeping.room is None:
                sleeping.room = await self.admission.room(sleeping.spec)
            elif self._places() and await self.admission.has_room(sleeping.spec, sleeping.room):
                (await self.wake(run)).tell(on.Unblocked("budget"))

    async def purge(self) -> None:
        """Forget what ended long ago (W153)."""
        days_ms = self.settings.keep_days * 86_400_000
        await self.ground.store.purge(self.ground.clock.unix_ms() - days_ms)

    async def close(self) -> None:
        """Leave every run so that it can be taken up again."""
        self._closing = True
        await asyncio.gather(*(runner.hand_over() for runner in list(self.driven.values())))
        for run in list(self._asking):
            self._take_back(run)
        sleeping, self.sleeping = self.sleeping, {}
        for each in sleeping.values():
            try:
                await self.ground.store.release(each.lease)
            except StoreAway as error:
                _log.warning("the lease of run %s runs out by itself: %s", each.lease.run, error)

    # Places.

    def _places(self) -> int:
        """For scripts of runs that have no process yet."""
        awake = sum(runner.has_script and not runner.left for runner in self.driven.values())
        return max(0, self.awake_max - awake)

    def _has_place(self, runner: Runner) -> bool:
        return runner.has_script or self._places() > 0

    def _goes_on_ms(self, machine: Machine) -> int | None:
        """As in `Sleeping`."""
        if machine.state == "queued":
            return 0
        if machine.state != "paused":
            return None
        return over_ms(machine.run, ("host_restart",) if self.settings.auto_resume else ())

    async def _lay_down(self) -> None:
        """Runs that rest sleep after a while; at once while more are awake than there are places."""
        now_ms, driven = self.ground.clock.unix_ms(), list(self.driven.items())
        rest_ms = SLEEP_MS if self._places() and len(driven) <= self.awake_max else 0
        for run, runner in driven:
            if runner.idle_since_ms is None or now_ms - runner.idle_since_ms < rest_ms:
                continue
            machine, lease = runner.machine, runner.lease
            sleeping = Sleeping(lease, runner.spec.created_ms, machine.deadline_ms, self._goes_on_ms(machine))
            if machine.waits_for_room:
                sleeping.spec, sleeping.room = runner.spec, runner.room
            if await runner.retire():
                self.sleeping[run] = sleeping

    def _by_age(self) -> list[tuple[RunId, Sleeping]]:
        return sorted(self.sleeping.items(), key=lambda item: item[1].created_ms)

    # Building.

    def _build(self, spec: RunSpec, machine: Machine, *, ask: str | None) -> tuple[Runner, Step]:
        runner = Runner(machine, Lease(spec.id, self.me, 0), self.ground, Telling(spec, self.me))
        return runner, machine.open(self.ground.clock.unix_ms(), ask=ask)

    async def _take_up(self, lease: Lease) -> Runner:
        """Go on from the journal."""
        lines = await self.lines(lease.run)
        header = lines[0]
        assert isinstance(header, RunLine)
        spec = header.spec
        replay = None if spec.resumed_from is None else await self._replay_of(spec)
        machine = Machine(spec, replay=replay, recovered=recover(lines))
        telling = Telling(spec, self.me)
        for line in lines:
            telling.feed(line)
        runner = Runner(machine, lease, self.ground, telling)
        now_ms = self.ground.clock.unix_ms()
        self.ground.listener.taken_over(spec, machine.state, now_ms)
        self._drive(runner, machine.recover(now_ms))
        if machine.state in ("pending_approval", "queued"):
            self._ask_or_start(runner)
        return runner

    def _drive(self, runner: Runner, first: Step) -> None:
        run = runner.spec.id
        self.driven[run] = runner
        task = self.ground.spawn(f"run {run}", runner.drive(first))
        task.add_done_callback(lambda _: self._forget(run, runner))

    def _forget(self, run: RunId, runner: Runner) -> None:
        if self.driven.get(run) is runner:
            del self.driven[run]
        lock = self._waking.get(run)
        if lock is not None and not lock.locked():
            del self._waking[run]
        if run not in self.driven and run not in self.sleeping:
            self._take_back(run)

    def _ask_or_start(self, runner: Runner) -> None:
        run = runner.spec.id
        if runner.machine.state == "queued":
            self.go_on(runner)
        elif runner.spec.approval == "policy" and run not in self._asking:
            self._asking[run] = self.ground.spawn(f"approval of {run}", self._ask_policy(runner.spec))

    async def _ask_policy(self, spec: RunSpec) -> None:
        """However long it takes: the run may sleep meanwhile."""
        verdict = await self.admission.approve_run(spec)
        self._asking.pop(spec.id, None)
        try:
            if verdict.allow:
                self.go_on(await self.tell(spec.id, on.Approved(verdict.by or "policy")))
            else:
                await self.tell(spec.id, on.Denied(verdict.by, verdict.message))
        except (RunError, StoreAway) as error:
            _log.warning("what was decided about run %s came too late: %s", spec.id, error)

    def _take_back(self, run: RunId) -> None:
        """Nobody here waits for the approval any more."""
        asking = self._asking.pop(run, None)
        if asking is not None:
            asking.cancel()

    async def _acquire(self, run: RunId) -> Lease:
        row = await self.find(run)
        if row.state not in OPEN_STATES:
            raise RunError("conflict", f"run {run} is {row.state}; nothing changes it any more", state=row.state)
        lease = await self.ground.store.acquire(run, self.me, self.ground.clock.unix_ms(), ttl_ms=LEASE_MS)
        if lease is None:
            raise DrivenElsewhere(run)
        return lease

    async def _replay_of(self, spec: RunSpec) -> Replay:
        assert spec.resumed_from is not None
        recorded = await self.recorded(spec.resumed_from)
        gone = await self.gone_worktrees(recorded)
        changed = plain_args(recorded.spec) != plain_args(spec)
        return Replay(recorded, spec.resume_mode, gone=gone, args_changed=changed)

    async def _blobs(self, refs: Iterable[str]) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        for ref in set(refs):
            content = await self.ground.store.blob(ref)
            if content is None:
                raise RunError("unavailable", f"a value of this run is missing from the store ({ref[:12]})")
            found[ref] = content
        return found


def plain_args(spec: RunSpec) -> object:
    """What the script gets, however it is spelt."""
    args = raw_of(spec.args)
    return msgspec.UNSET if args is None else msgspec.json.decode(args)


def unknown(run: str) -> RunError:
    """The one answer for runs that are not there and for those of others (W137)."""
    return RunError("not_found", f"there is no run {run[:64]} that you may see")
