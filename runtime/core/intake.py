"""What the script asked for in one drain, in program order: calls, phases, logs, timers, nested workflows."""

import heapq
from collections.abc import Sequence

import msgspec

from runtime.core.calls import Call
from runtime.core.happenings import ClearTimer, FindWorkflow, NestedFound, SetTimer
from runtime.core.journal import (
    IssuedLine,
    LogLine,
    NestedLine,
    PhaseLine,
    RefusedLine,
    TimerLine,
    WarningLine,
    call_key,
)
from runtime.core.limits import NARRATION_LINES_MAX, NESTED_CALLS_MAX, PROMPT_BYTES_MAX, PROMPTS_BYTES_MAX, TIMERS_MAX
from runtime.core.model import CallIndex, Scope, Thrown, json_of
from runtime.core.program import AgentOp, ClearOp, Drained, GroupOp, LogOp, PhaseOp, TimerOp, WarnOp, WorkflowOp
from runtime.core.recovery import Settled, nested_delivery, timer_delivery
from runtime.core.replay import Hit
from runtime.core.run import Run, SameNested
from runtime.core.schemas import preflight
from runtime.core.settling import adopt, over_budget, refuse, take_over

UNKNOWN_OPTION = "unknown_option"
"""A warning that is given once per run and key (W49); nested workflows do not know what the others were told."""
NARRATION_CUT = "narration_cut"


class Strayed(Exception):
    """The script does not ask again for what its journal says it had asked for, or asks for what it cannot."""


def take_in(run: Run, drained: Drained) -> None:
    """Raises `Strayed`. What a script asks for after the refusal that ends it is not looked at any more (W99)."""
    if run.brakes.is_refused_out:
        return
    scopes = iter(run.batches.assign([op.scope for op in drained.ops if isinstance(op, AgentOp)]))
    if run.replay is not None:
        run.replay.next_drain()
    for op in drained.ops:
        if run.brakes.is_refused_out:
            return
        if isinstance(op, AgentOp):
            _issue(run, op, next(scopes))
        else:
            _take(run, op)
    run.end = drained.end or run.end


def fire(run: Run, id: int) -> None:
    """A timer is due, if it was not cleared meanwhile."""
    scope = run.timers.pop(id, None)
    if scope is None:
        return
    line = TimerLine(at_ms=run.now_ms, id=id, scope=scope, seq=run.next_seq(), spent=run.spend.output_tokens)
    run.write(line)
    run.outbox.append(timer_delivery(line))


def answer_nested(run: Run, id: int, answer: NestedFound | str) -> None:
    """What was looked for is found, or not. The answer that an earlier run got is given in its turn (W39)."""
    op = run.wanted.pop(id, None)
    if op is None:
        return
    seq = None
    if run.replay is not None:
        seq = run.replay.nested_found(op, answer.source_sha256 if isinstance(answer, NestedFound) else None)
    if seq is None:
        tell_nested(run, op, answer)
    else:
        heapq.heappush(run.hits, (seq, op.id, SameNested(op, answer)))


def tell_nested(run: Run, op: WorkflowOp, answer: NestedFound | str) -> None:
    """The script gets the program, or an error that it can catch."""
    found = answer if isinstance(answer, NestedFound) else None
    line = NestedLine(
        at_ms=run.now_ms,
        id=op.id,
        scope=op.scope,
        seq=run.next_seq(),
        spent=run.spend.output_tokens,
        wanted=op.name or op.script_path or "",
        name=found.name if found else None,
        source_sha256=found.source_sha256 if found else None,
        source=found.source if found else None,
        body=found.body if found else None,
        meta=found.meta if found else msgspec.UNSET,
        args=json_of(op.args) if found else msgspec.UNSET,
        error=None if found else str(answer),
    )
    run.write(line)
    run.outbox.append(nested_delivery(line))


def _take(run: Run, op: GroupOp | PhaseOp | LogOp | WarnOp | TimerOp | ClearOp | WorkflowOp) -> None:
    match op:
        case GroupOp():
            if run.replay is not None:
                run.replay.group(op.scope, op.group)
        case PhaseOp():
            run.phase[op.nested] = op.title
            run.brakes.entered(op.nested, op.title)
            _narrate(run, PhaseLine(at_ms=run.now_ms, title=op.title, nested=op.nested))
        case LogOp():
            _narrate(run, LogLine(at_ms=run.now_ms, text=op.text, dropped=op.dropped, nested=op.nested))
        case WarnOp():
            _warn(run, op)
        case TimerOp():
            _set_timer(run, op)
        case ClearOp():
            if run.timers.pop(op.id, None) is not None:
                run.order(ClearTimer(op.id))
        case WorkflowOp():
            _look_for(run, op)


def _warn(run: Run, op: WarnOp) -> None:
    if op.code == UNKNOWN_OPTION:
        if op.message in run.brakes.ignored_options:
            return
        if run.brakes.narrated < NARRATION_LINES_MAX:
            run.brakes.ignored_options.add(op.message)
    _narrate(run, WarningLine(at_ms=run.now_ms, code=op.code, message=op.message, from_script=True))


def _set_timer(run: Run, op: TimerOp) -> None:
    if op.id not in run.recovered.answered:
        if len(run.timers) >= TIMERS_MAX:
            raise Strayed(f"more than {TIMERS_MAX} timers are pending, so this is not the sandbox that was started")
        run.timers[op.id] = op.scope
        run.order(SetTimer(op.id, run.now_ms + op.ms))


def _narrate(run: Run, line: PhaseLine | LogLine | WarningLine) -> None:
    """Write it, unless it stands in the journal already: the script says the same things again."""
    run.brakes.narrated += 1
    if run.brakes.narrated > NARRATION_LINES_MAX:
        _tell_cut(run)
        return
    if run.recovered.narrated:
        run.recovered.narrated -= 1
    else:
        run.write(line)


def _tell_cut(run: Run) -> None:
    """Once, also when the script runs again after a crash."""
    if NARRATION_CUT not in run.told:
        run.told.add(NARRATION_CUT)
        text = f"of its phases, logs and warnings the first {NARRATION_LINES_MAX} are kept"
        run.write(WarningLine(at_ms=run.now_ms, code=NARRATION_CUT, message=text))


def _look_for(run: Run, op: WorkflowOp) -> None:
    run.nested += 1
    if run.nested > NESTED_CALLS_MAX:
        run.brakes.mistaken()
    if run.replay is not None:
        run.replay.nested_asked(op)
    if op.id in run.recovered.answered:
        if run.replay is not None:
            run.replay.nested_found(op, run.recovered.answered[op.id])
        return
    run.wanted[op.id] = op
    if run.nested > NESTED_CALLS_MAX:
        answer_nested(run, op.id, f"a run calls workflow() at most {NESTED_CALLS_MAX} times")
    else:
        run.order(FindWorkflow(op.id, op.name, op.script_path))


def _issue(run: Run, op: AgentOp, scope: Scope) -> None:
    call = Call(
        index=CallIndex(len(run.calls)),
        id=op.id,
        key=call_key(op.prompt, op.options),
        scope=scope,
        prompt=op.prompt,
        options=op.options,
        phase=op.options.phase or run.phase.get(op.nested),
        nested=op.nested,
    )
    run.calls.append(call)
    run.open_calls += 1
    run.spend.typical.opened(call.phase)
    run.census.planned += 1
    known = run.recovered.calls.pop(op.id, None)
    if known is None:
        run.write(_issued_line(run, call))
    elif (known.key, known.index) != (call.key, call.index):
        raise Strayed(f"call {call.index} is not the one that the journal has, so the run cannot go on")
    settled = run.recovered.settled.get(call.index)
    thrown = _objection(run, call) if settled is None else settled.thrown if isinstance(settled, RefusedLine) else None
    if thrown is None:
        _accept(run, call, settled)
        return
    if run.replay is not None:
        run.replay.refused(call.scope)
    if settled is None:
        refuse(run, call, thrown)
    else:
        adopt(run, call, settled)


def _objection(run: Run, call: Call) -> Thrown | None:
    """Why this call cannot be accepted (W44, W59, W63, W98, W114)."""
    prompt_bytes = len(call.prompt.encode("utf-8", "surrogatepass"))
    if prompt_bytes > PROMPT_BYTES_MAX:
        return Thrown(code="invalid_call", message=f"the prompt of an agent has at most {PROMPT_BYTES_MAX} bytes")
    if run.brakes.prompts_bytes + prompt_bytes > PROMPTS_BYTES_MAX:
        text = f"the prompts of a run have at most {PROMPTS_BYTES_MAX} bytes together: hand large input over as files"
        return Thrown(code="limit", message=text)
    if call.options.schema is not None:
        checked = preflight(call.options.schema)
        if checked.problem is not None:
            return Thrown(code="schema_invalid", message=f"agent({{schema}}): {checked.problem}")
        _tell_once(run, checked.warnings)
    if call.options.isolation is not None and run.spec.workspace is None:
        text = "isolation 'worktree' needs a workspace, and this run was started without one"
        return Thrown(code="workspace", message=text)
    if run.accepted >= run.spec.limits.agents:
        text = f"this run may start {run.spec.limits.agents} agents, and has; bound the fan-out of the script"
        return Thrown(code="agent_limit", message=text)
    return over_budget(run)


def _tell_once(run: Run, warnings: Sequence[str]) -> None:
    """What is odd about a schema that can be used all the same (W64)."""
    for warning in warnings:
        if warning not in run.told:
            run.told.add(warning)
            code, _, message = warning.partition(": ")
            run.write(WarningLine(at_ms=run.now_ms, code=code, message=message))


def _accept(run: Run, call: Call, settled: Settled | None) -> None:
    run.accepted += 1
    run.brakes.prompts_bytes += len(call.prompt.encode("utf-8", "surrogatepass"))
    run.brakes.advanced()
    answer = None
    if run.replay is not None:
        answer = run.replay.issued(call.key, call.scope, call.options)
    if settled is not None:
        adopt(run, call, settled)
    elif isinstance(answer, Hit):
        take_over(run, answer, call)
    else:
        attempt = run.recovered.attempts.get(call.index)
        call.attempt = attempt.attempt if attempt is not None else 0
        call.messages = run.recovered.messages.get(call.index, 0)
        run.workforce.add(call)


def _issued_line(run: Run, call: Call) -> IssuedLine:
    return IssuedLine(
        at_ms=run.now_ms,
        id=call.id,
        index=call.index,
        key=call.key,
        scope=call.scope,
        prompt=call.prompt,
        options=call.options,
        phase=call.phase,
        nested=call.nested,
    )
