"""How calls end: the line that is durable first, then the settlement that the script gets, in the same order (W151)."""

import heapq
from collections.abc import Iterable
from typing import Literal

from runtime.core.calls import Call, agent_id_of
from runtime.core.happenings import AbortAttempt, StartAttempt
from runtime.core.journal import ErrorLine, RefusedLine, ResultLine, StartedLine, StoppedLine
from runtime.core.model import AgentState, Finished, NullReason, Thrown, Usage, json_of
from runtime.core.recovery import Settled, delivery_of
from runtime.core.replay import Hit
from runtime.core.run import Run

STALLS_MAX = 1
"""Fresh attempts after a stall (W57)."""
RECOVERABLE: frozenset[NullReason] = frozenset({"api_error", "empty"})
"""What `retries` of a call tries again, where a fresh attempt may do better."""
MORE_TOKENS = "look at budget.remaining() before a call, or start with more (budgetTokens, --budget-tokens)"
StopReason = Literal["stopped", "skipped", "restarted", "interrupted", "unawaited", "run_ended"]


def refuse(run: Run, call: Call, thrown: Thrown) -> None:
    """It never starts, and throws. Refusals for want of room are counted (W81, W99)."""
    _count_refusal(run, thrown)
    _close(run, call, "error")
    line = RefusedLine(
        at_ms=run.now_ms,
        index=call.index,
        key=call.key,
        seq=run.next_seq(),
        spent=run.spend.output_tokens,
        thrown=thrown,
    )
    _settle(run, call, line)


def over_budget(run: Run) -> Thrown | None:
    """The script's own token budget is used up."""
    total = run.spec.budget_tokens
    if total is None or run.spend.output_tokens < total:
        return None
    text = f"the token budget of {total} is used up ({run.spend.output_tokens} spent); {MORE_TOKENS}"
    return Thrown(code="budget_exhausted", message=text)


def too_dear(run: Run, call: Call) -> Thrown | None:
    """Why the call cannot start: the budget is used up, or leaves less than such a call takes (W114, W120)."""
    total, needed = run.spec.budget_tokens, run.spend.typical.output_mean(call.phase)
    if total is None or not run.spec.limits.admission_reserve or total - run.spend.output_tokens >= needed:
        return over_budget(run)
    left = max(0, total - run.spend.output_tokens)
    text = f"{left} of the token budget of {total} are left; an agent of this phase takes {needed:.0f} on average"
    return Thrown(code="budget_exhausted", message=f"{text}; {MORE_TOKENS}")


def let_go(run: Run, freed: Iterable[Call]) -> None:
    """Held calls may start. While nothing may, they wait in the queue again, where they were (W114, W129)."""
    for call in freed:
        if run.state == "running" and too_dear(run, call) is None:
            start(run, call)
        else:
            run.workforce.give_back(call)


def start(run: Run, call: Call) -> None:
    """A fresh attempt of a call that has a place."""
    call.attempt += 1
    call.began = False
    call.agent_id = agent_id_of(run.spec.id, call.index, call.attempt)
    run.write(StartedLine(at_ms=run.now_ms, index=call.index, attempt=call.attempt, agent_id=call.agent_id))
    run.order(StartAttempt(call.index, call.attempt, call.agent_id))


def end_attempt(run: Run, call: Call, finished: Finished) -> None:
    """The attempt ended by itself: the call is settled, or tried once more."""
    run.spend.closed(call, finished.usage)
    if finished.null is not None and _may_try_again(call, finished):
        run.write(_error_line(run, call, finished, settles=False))
        start(run, call)
        return
    _leave(run, call)
    run.spend.typical.finished(call.phase, finished.usage)
    if finished.value is not None:
        _close(run, call, "done")
        run.census.done += 1
        _settle(run, call, _result_line(run, call, finished))
        return
    _close(run, call, "error")
    _count_error(run, finished.thrown)
    _settle(run, call, _error_line(run, call, finished, settles=True))


def stop_call(run: Run, call: Call, reason: Literal["stopped", "skipped"], by: str) -> None:
    """A person ends the call: it is null (W132, W133)."""
    usage = abort(run, call)
    _close(run, call, reason)
    run.census.stopped += 1
    line = _stopped_line(run, call, reason, usage, by=by)
    _settle(run, call, line)


def restart_call(run: Run, call: Call, by: str) -> None:
    """A fresh attempt of the same call; its promise stays pending (W134)."""
    run.order(AbortAttempt(call.index, call.attempt))
    usage = call.live
    run.spend.closed(call, usage)
    run.write(_stopped_line(run, call, "restarted", usage, by=by))
    start(run, call)


def drop_call(run: Run, call: Call, reason: StopReason) -> None:
    """The run goes on without it, or ends: nobody waits for its value (W61, W131, W150).

    Of a call that had not started the last line of the run says enough, unless it was not awaited.
    """
    was_at_work = call.state == "running"
    usage = abort(run, call)
    _close(run, call, "stopped")
    run.census.stopped += 1
    if was_at_work or reason == "unawaited":
        run.write(_stopped_line(run, call, reason, usage))


def suspend(run: Run, call: Call) -> None:
    """Its process ends: the attempt is closed, and a fresh one starts when the run goes on elsewhere."""
    usage = call.live
    run.order(AbortAttempt(call.index, call.attempt))
    run.spend.closed(call, usage)
    run.write(_stopped_line(run, call, "interrupted", usage))
    call.state = "queued"


def interrupted_line(run: Run, started: StartedLine) -> StoppedLine:
    """The line that is missing, of an attempt whose process died (W127, W150)."""
    return StoppedLine(
        at_ms=run.now_ms,
        index=started.index,
        key=run.recovered.issued[started.index].key,
        reason="interrupted",
        attempt=started.attempt,
        agent_id=started.agent_id,
    )


def abort(run: Run, call: Call) -> Usage:
    """End what is at work; what it has used."""
    usage = call.live
    if call.state == "running" and call.attempt:
        run.order(AbortAttempt(call.index, call.attempt))
        run.spend.closed(call, usage)
    _leave(run, call)
    return usage


def take_over(run: Run, hit: Hit, call: Call) -> None:
    """A result of an earlier run is this call's: it is delivered before anything new starts (W39)."""
    heapq.heappush(run.hits, (hit.seq, call.index, hit))


def adopt(run: Run, call: Call, line: Settled) -> None:
    """The journal has its end already; the script gets it in its turn."""
    match line:
        case ResultLine(cached=True):
            _close(run, call, "cached")
            run.census.cached += 1
        case ResultLine():
            _close(run, call, "done")
            run.census.done += 1
            run.spend.typical.finished(call.phase, line.usage)
        case ErrorLine():
            _close(run, call, "error")
            _count_error(run, line.thrown)
            run.spend.typical.finished(call.phase, line.usage)
        case RefusedLine():
            _close(run, call, "error")
            _count_refusal(run, line.thrown)
        case StoppedLine():
            _close(run, call, "skipped" if line.reason == "skipped" else "stopped")
            run.census.stopped += 1


def settle_hit(run: Run, call: Call, hit: Hit) -> None:
    """Copy an old result into this journal (W155)."""
    _close(run, call, "cached")
    run.census.cached += 1
    run.spend.reused(hit.usage)
    line = ResultLine(
        at_ms=run.now_ms,
        index=call.index,
        key=call.key,
        scope=call.scope,
        seq=run.next_seq(),
        spent=run.spend.output_tokens,
        value=json_of(hit.value),
        ref=hit.ref,
        usage=hit.usage,
        model=hit.model,
        cached=True,
        schema_attempts=hit.result.schema_attempts,
        worktree=hit.worktree,
        transcript_sha256=hit.result.transcript_sha256,
        detail=hit.result.detail,
    )
    _settle(run, call, line)


def _count_refusal(run: Run, thrown: Thrown) -> None:
    if thrown.code in ("agent_limit", "budget_exhausted"):
        run.census.refused += 1
        run.brakes.refused()
        run.last_refusal = thrown.code
    else:
        run.census.threw += 1
        run.brakes.mistaken()


def _count_error(run: Run, thrown: Thrown | None) -> None:
    if thrown is not None:
        run.census.threw += 1
    else:
        run.census.null += 1


def _settle(run: Run, call: Call, line: Settled) -> None:
    run.write(line)
    run.outbox.append(delivery_of(line, call.id, call.scope))


def _leave(run: Run, call: Call) -> None:
    freed = run.workforce.leave(call)
    if not run.is_closing:
        let_go(run, freed)


def _close(run: Run, call: Call, state: AgentState) -> None:
    call.state = state
    run.open_calls -= 1
    run.spend.typical.closed(call.phase)


def _may_try_again(call: Call, finished: Finished) -> bool:
    if finished.null == "stalled":
        call.stalls += 1
        return call.stalls <= STALLS_MAX
    if finished.null in RECOVERABLE and finished.transient and call.retries < (call.options.retries or 0):
        call.retries += 1
        return True
    return False


def _result_line(run: Run, call: Call, finished: Finished) -> ResultLine:
    return ResultLine(
        at_ms=run.now_ms,
        index=call.index,
        key=call.key,
        scope=call.scope,
        seq=run.next_seq(),
        spent=run.spend.output_tokens,
        value=json_of(finished.value),
        attempt=call.attempt,
        agent_id=call.agent_id,
        usage=finished.usage,
        model=finished.model,
        schema_attempts=finished.schema_attempts,
        steered=call.steered or finished.steered,
        worktree=finished.worktree,
        transcript_sha256=finished.transcript_sha256,
        detail=finished.detail,
    )


def _error_line(run: Run, call: Call, finished: Finished, *, settles: bool) -> ErrorLine:
    return ErrorLine(
        at_ms=run.now_ms,
        index=call.index,
        key=call.key,
        seq=run.next_seq() if settles else None,
        spent=run.spend.output_tokens,
        null=finished.null,
        thrown=finished.thrown,
        detail=finished.detail,
        attempt=call.attempt,
        agent_id=call.agent_id,
        usage=finished.usage,
        model=finished.model,
        worktree=finished.worktree,
    )


def _stopped_line(run: Run, call: Call, reason: StopReason, usage: Usage, *, by: str | None = None) -> StoppedLine:
    settles = reason in ("stopped", "skipped")
    return StoppedLine(
        at_ms=run.now_ms,
        index=call.index,
        key=call.key,
        reason=reason,
        seq=run.next_seq() if settles else None,
        spent=run.spend.output_tokens,
        by=by,
        attempt=call.attempt,
        agent_id=call.agent_id,
        usage=usage,
    )
