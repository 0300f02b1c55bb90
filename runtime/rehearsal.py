"""Runs a script against agents that only pretend: a dry run (W144), and the plan of a resume (W162). No model is asked.

The script is real and so is its sandbox; answers, time and money are not. What stands for an agent's answer is the
smallest value of its schema, or what an earlier run got in its place.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import msgspec

from runtime.check import prepare
from runtime.core.branches import Batches
from runtime.core.limits import NESTED_CALLS_MAX, Limits
from runtime.core.model import CallIndex, Owner, ResumeMode, Scope, Thrown, raw_of
from runtime.core.plans.casting import Cast, Stubs, Understudies
from runtime.core.plans.forecast import Ending, Plan, Rehearsal, diff_scripts
from runtime.core.plans.tally import Tally
from runtime.core.program import (
    AgentOp,
    ClearOp,
    Delivery,
    Drained,
    End,
    GroupOp,
    Op,
    PhaseOp,
    Program,
    Threw,
    TimerOp,
    WarnOp,
    WorkflowOp,
)
from runtime.core.recorded import Recorded
from runtime.core.replay import Replay, check_resumable
from runtime.core.schemas import preflight
from runtime.core.throws import STALLED, throw_text
from runtime.ports import Sandbox, Sandboxes, SandboxFailed, ScriptMissing, Scripts

CALLS_MAX = 1_000
SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a script is rehearsed with."""

    sandboxes: Sandboxes
    scripts: Scripts
    owner: Owner
    workspace: str | None = None
    limits: Limits = field(default_factory=Limits)
    calls_max: int = CALLS_MAX
    seconds_max: float = SECONDS_MAX


async def dry_run(program: Program, stage: Stage, *, earlier: Recorded | None = None) -> Rehearsal:
    """What the script does when its agents answer at once. `earlier`: a run whose answers are used where they fit.

    Never raises for what the script does.
    """
    return await _Play(stage, Stubs(earlier)).perform(program)


async def plan_resume(
    program: Program, stage: Stage, recorded: Recorded, *, mode: ResumeMode, gone: Container[CallIndex] = ()
) -> Plan:
    """What a resume of this run with this program takes over. Values beside the journal are back in their lines.

    Raises `NothingToResume`.
    """
    check_resumable(recorded)
    args_changed = _plain(program.args) != _plain(raw_of(recorded.spec.args))
    cast = Understudies(recorded, Replay(recorded, mode, gone=gone, args_changed=args_changed))
    rehearsal = await _Play(stage, cast).perform(program)
    return Plan(
        resumed_from=recorded.spec.id,
        mode=mode,
        hits=cast.hits,
        misses=cast.reasons.total(),
        reasons=dict(cast.reasons),
        missed=tuple(cast.missed),
        saved=cast.saved,
        estimate=cast.estimate,
        script_changed=program.source != recorded.spec.script,
        args_changed=args_changed,
        diff=diff_scripts(recorded.spec.script, program.source),
        rehearsal=rehearsal,
    )


class _Play:
    """One rehearsal."""

    def __init__(self, stage: Stage, cast: Cast) -> None:
        self._stage = stage
        self._cast = cast
        self._batches = Batches()
        self._tally = Tally()
        self._is_cut_off = False
        self._spent = 0
        self._budget: int | None = None
        self._phase: dict[int, str] = {}
        self._first: list[tuple[int, int, Delivery, int]] = []
        """Answers with a place of their own: a heap. The last is the output tokens that come with it."""
        self._then: deque[tuple[Delivery, int]] = deque()
        self._wanted: deque[WorkflowOp] = deque()
        self._timers: list[tuple[int, int, Scope]] = []
        self._cleared: set[int] = set()

    async def perform(self, program: Program) -> Rehearsal:
        """To its end, or to the end of what a rehearsal may take."""
        self._budget = program.budget_total
        try:
            async with asyncio.timeout(self._stage.seconds_max):
                ending, message = await self._open(program)
        except TimeoutError:
            ending, message = "seconds", f"it did not end within {self._stage.seconds_max:g} s"
        except SandboxFailed as error:
            ending, message = "sandbox", f"{error.code}: {error.message}"
        return self._tally.told(ending, message)

    async def _open(self, program: Program) -> tuple[Ending, str]:
        sandbox = await self._stage.sandboxes.open(self._stage.limits)
        try:
            return await self._play(sandbox, program)
        finally:
            await sandbox.close()

    async def _play(self, sandbox: Sandbox, program: Program) -> tuple[Ending, str]:
        drains: Sequence[Drained] = [await sandbox.start(program)]
        untold: list[Delivery] = []
        while True:
            for drained in drains:
                self._take_in(drained)
                if drained.end is not None:
                    return _ended(drained.end, program)
            if self._is_cut_off:
                return "calls", f"it had not ended after {self._stage.calls_max} calls"
            deliveries = untold or await self._next()
            if not deliveries:
                return "stalled", f"it {STALLED}"
            drains = await sandbox.deliver(deliveries)
            untold = deliveries[len(drains) :]

    def _take_in(self, drained: Drained) -> None:
        self._cast.next_drain()
        calls = [op for op in drained.ops if isinstance(op, AgentOp)]
        scopes = self._batches.assign([op.scope for op in calls])
        self._tally.batches(calls, scopes)
        assigned = iter(scopes)
        for op in drained.ops:
            if isinstance(op, AgentOp):
                self._issue(op, next(assigned))
            else:
                self._note(op)

    def _note(self, op: Op) -> None:
        match op:
            case GroupOp():
                self._cast.group(op)
                self._tally.group(op.group, op.items)
            case PhaseOp():
                self._phase[op.nested] = op.title
            case WorkflowOp():
                self._cast.nested_asked(op)
                self._wanted.append(op)
            case TimerOp():
                heapq.heappush(self._timers, (op.ms, op.id, op.scope))
            case ClearOp():
                self._cleared.add(op.id)
            case WarnOp():
                self._tally.warn(f"{op.code}: {op.message}")
            case _:
                pass

    def _issue(self, op: AgentOp, scope: Scope) -> None:
        phase = op.options.phase or self._phase.get(op.nested)
        thrown = self._objection(op)
        if thrown is not None:
            self._cast.refuse(scope)
            self._tally.warn(f"{thrown.code}: {thrown.message}")
            self._then.append((Delivery(id=op.id, scope=scope, thrown=thrown), 0))
            return
        if self._tally.calls >= self._stage.calls_max:
            self._is_cut_off = True
            return
        self._tally.call(op.options, phase)
        cue = self._cast.answer(op, scope, phase)
        delivery = Delivery(id=op.id, scope=scope, value=cue.value)
        if cue.seq is None:
            self._then.append((delivery, cue.output_tokens))
        else:
            heapq.heappush(self._first, (cue.seq, op.id, delivery, cue.output_tokens))

    def _objection(self, op: AgentOp) -> Thrown | None:
        """Why no agent would start for it."""
        if self._budget is not None and self._spent >= self._budget:
            return Thrown(code="budget_exhausted", message=f"the token budget of {self._budget} is used up")
        problem = None if op.options.schema is None else preflight(op.options.schema).problem
        return None if problem is None else Thrown(code="schema_invalid", message=f"agent({{schema}}): {problem}")

    async def _next(self) -> list[Delivery]:
        """What the script is told next. Answers with a place go one by one: each may lead to one that was earlier."""
        while self._wanted:
            op = self._wanted.popleft()
            delivery, seq = await self._find(op)
            if seq is None:
                return [self._spend(delivery, 0)]
            heapq.heappush(self._first, (seq, op.id, delivery, 0))
        if self._first:
            _, _, delivery, tokens = heapq.heappop(self._first)
            return [self._spend(delivery, tokens)]
        if self._then:
            told = [self._spend(delivery, tokens) for delivery, tokens in self._then]
            self._then.clear()
            return told
        while self._timers:
            _, id, scope = heapq.heappop(self._timers)
            if id not in self._cleared:
                return [self._spend(Delivery(id=id, scope=scope), 0)]
        return []

    def _spend(self, delivery: Delivery, tokens: int) -> Delivery:
        self._spent += tokens
        return msgspec.structs.replace(delivery, spent=self._spent)

    async def _find(self, op: WorkflowOp) -> tuple[Delivery, int | None]:
        """What the script is told, and the place that it has among the answers of an earlier run."""
        self._tally.nested += 1
        found = await self._program_of(op)
        if isinstance(found, str):
            thrown = Thrown(code="nested_workflow", message=found)
            return Delivery(id=op.id, scope=op.scope, thrown=thrown), self._cast.nested_found(op, None)
        program, source_sha256 = found
        return Delivery(id=op.id, scope=op.scope, program=program), self._cast.nested_found(op, source_sha256)

    async def _program_of(self, op: WorkflowOp) -> tuple[Program, str] | str:
        """The nested workflow and the hash of its source, or why there is none."""
        if self._tally.nested > NESTED_CALLS_MAX:
            return f"a run calls workflow() at most {NESTED_CALLS_MAX} times"
        stage = self._stage
        try:
            found = await stage.scripts.find(stage.owner, stage.workspace, name=op.name, path=op.script_path)
        except ScriptMissing as error:
            return str(error)
        prepared = await asyncio.to_thread(prepare, found.source)
        if prepared.error is not None:
            return str(prepared.error)
        meta = msgspec.Raw(msgspec.json.encode(prepared.meta))
        return Program(source=prepared.source, body=prepared.body, meta=meta, args=op.args), prepared.sha256


def _ended(end: End, program: Program) -> tuple[Ending, str]:
    return ("threw", throw_text(end, program)) if isinstance(end, Threw) else ("returned", "")


def _plain(args: msgspec.Raw | None) -> object:
    """What the script sees; the absence of arguments differs from `null`."""
    return () if args is None else msgspec.json.decode(args)
