"""THE path of a run: `take` what happened, then `advance` to the lines and commands that follow. No I/O, no clock.

    launch     open -> pending_approval | queued;  Approved, Denied;  Begun -> running, OpenSandbox
    a drain    ScriptDrained: `intake.py` takes in what the script asked for, in program order
    a call     issued -> (refused | taken over | queued) -> StartAttempt -> AttemptEnded: `settling.py`, `calls.py`
    a pause    by a person, a cap, a quota, a restart, until that is lifted: `pausing.py`
    delivery   one settlement, one drain, in `seq` order: first recorded, then taken-over, then live ones (W39)
    an end     the script returns or throws, a brake trips, time is over, a person stops it: exactly one `ended` line

Which state may follow which is `transitions.py`. While paused nothing is delivered and nothing starts; what agents
finish meanwhile is written down at once. After a crash `recover` goes on: the script runs again and is told the same.
"""

import heapq
from typing import assert_never

import msgspec

from runtime.core import happenings as on
from runtime.core.calls import Call
from runtime.core.happenings import CloseSandbox, Deliver, Event, OpenSandbox, WakeAt
from runtime.core.intake import Strayed, answer_nested, fire, take_in, tell_nested
from runtime.core.journal import EndedLine, HeldLine, MessageLine, RunLine, StateLine, WarningLine
from runtime.core.limits import ARTEFACT_BYTES_MAX, MESSAGE_CHARS_MAX, MESSAGES_MAX
from runtime.core.model import (
    OPEN_STATES,
    CallIndex,
    Failure,
    FailureCode,
    Finished,
    RunSpec,
    RunState,
    Usage,
    json_of,
)
from runtime.core.pausing import dues, lift, lift_due, pause, pause_at_cap, resume, waits_for_room
from runtime.core.program import Delivery, Returned, program_of
from runtime.core.recovery import Recovered
from runtime.core.replay import Replay
from runtime.core.run import Run, SameNested, Step
from runtime.core.settling import (
    drop_call,
    end_attempt,
    interrupted_line,
    let_go,
    refuse,
    restart_call,
    settle_hit,
    start,
    stop_call,
    suspend,
    too_dear,
)
from runtime.core.sizes import confirm_text, large_warning
from runtime.core.throws import STALLED, throw_text, unawaited_text
from runtime.core.transitions import Illegal, Trigger, next_state

DELIVERIES_MAX = 100
"""In one message to the sandbox: what follows of them comes back in one message too."""
LARGE = "large_workflow"


class Machine:
    """One run. What happens at once is taken one by one and followed by one step."""

    def __init__(self, spec: RunSpec, *, replay: Replay | None = None, recovered: Recovered | None = None) -> None:
        """`replay` holds the results of the run that this one resumes; `recovered` what its own journal says."""
        self.run = Run(spec, replay, recovered or Recovered())

    @property
    def state(self) -> RunState:
        """As the table has it."""
        return self.run.state

    @property
    def is_idle(self) -> bool:
        """Nothing is at work: a paused run needs no process (its journal is enough)."""
        return not self.run.busy and self.run.workforce.working == 0

    @property
    def has_script(self) -> bool:
        """Its script has a process, or gets one with the next step."""
        return self.run.is_open or self.run.state == "running"

    @property
    def waits_for_room(self) -> bool:
        """A limit on its owner's spending has paused it, not its own cap (W118)."""
        return waits_for_room(self.run)

    def open(self, now_ms: int, *, ask: str | None) -> Step:
        """The first lines. `ask`: why a person has to approve it first."""
        run = self.run
        run.now_ms = now_ms
        run.write(RunLine(at_ms=now_ms, spec=run.spec))
        run.state = "pending_approval" if ask is not None else "queued"
        for text in run.spec.warnings:
            code, _, message = text.partition(": ")
            run.write(WarningLine(at_ms=now_ms, code=code.split()[-1], message=message))
        self._set_alarm()
        if ask is not None:
            line = StateLine(at_ms=now_ms, before="queued", after="pending_approval", reason="approval", message=ask)
            run.write(line)
        return self._done()

    def recover(self, now_ms: int) -> Step:
        """After the process that drove it died (W127): a run that ran is paused, its attempts are closed."""
        run = self.run
        run.now_ms = now_ms
        for started in run.recovered.interrupted.values():
            run.write(interrupted_line(run, started))
        if run.state == "running":
            pause(run, on.PauseAsked("host_restart", message="the process that drove this run ended"))
        self._set_alarm()
        return self._done()

    def take(self, event: Event, now_ms: int) -> None:
        """It happened. Raises `Illegal`, before anything has changed, for what a person may not do now."""
        run = self.run
        run.now_ms = max(run.now_ms, now_ms)
        if run.state in OPEN_STATES:
            self._take(event)
        else:
            self._refuse_late(event)

    def advance(self) -> Step:
        """Whatever can go on now, does. All that follows from what was taken."""
        run = self.run
        if run.state == "running":
            self._go_on()
        if run.state in OPEN_STATES:
            self._set_alarm()
        return self._done()

    def _refuse_late(self, event: Event) -> None:
        """What comes after the end changes nothing; a person is told, but for a second stop (W121)."""
        if isinstance(event, on.StopAsked) and self.run.state == "stopped":
            return
        asked = (on.Approved, on.Denied, on.ResumeAsked, on.StopAsked, on.AgentStopAsked, on.AgentRestartAsked)
        by_person = isinstance(event, on.PauseAsked) and event.by is not None
        if by_person or isinstance(event, (*asked, on.MessageSent)):
            raise Illegal(self.run.state, "change")

    def _take(self, event: Event) -> None:  # noqa: C901  # the table of events
        run = self.run
        match event:
            case on.Approved(by=by, message=message):
                self._move("approve", "approved", by=by, message=message)
            case on.Denied(by=by, message=message):
                self._move("deny", "denied", by=by, message=message)
                self._close(None, by=by, message=message)
            case on.Begun():
                self._move("begin", "started")
            case on.ScriptDrained():
                self._drained(event)
            case on.SandboxLost(code=code, message=message):
                self._lost(code, message)
            case on.NestedFound():
                answer_nested(run, event.id, event)
            case on.NestedMissing(id=id, message=message):
                answer_nested(run, id, message)
            case on.TimerFired(id=id):
                fire(run, id)
            case on.FirstByteSeen(index=index, attempt=attempt):
                self._began(self._working(index, attempt))
            case on.RequestAnswered(index=index, attempt=attempt, usage=usage):
                self._answered(self._working(index, attempt), usage)
            case on.AttemptEnded(index=index, attempt=attempt, finished=finished):
                self._attempt_ended(self._working(index, attempt), finished)
            case on.Ticked():
                self._tick()
            case on.PauseAsked():
                pause(run, event)
            case on.ResumeAsked():
                resume(run, event)
            case on.Unblocked(reason=reason):
                lift(run, reason)
            case on.StopAsked(by=by, message=message):
                self._move("stop", None, by=by, message=message)
                self._close(None, by=by, message=message)
            case on.AgentStopAsked(index=index, by=by, skip=skip):
                stop_call(run, self._open_call(index, "stop"), "skipped" if skip else "stopped", by)
            case on.AgentRestartAsked(index=index, by=by):
                restart_call(run, self._running_call(index, "restart"), by)
            case on.MessageSent():
                self._message(event)
            case on.HandedOver():
                self._hand_over()
            case on.Noticed(code=code, message=message):
                self._notice(code, message)
            case _:
                assert_never(event)

    def _notice(self, code: str, message: str) -> None:
        """The same thing is told once."""
        if (told := f"{code}: {message}") not in self.run.told:
            self.run.told.add(told)
            self.run.write(WarningLine(at_ms=self.run.now_ms, code=code, message=message))

    # The script.

    def _drained(self, event: on.ScriptDrained) -> None:
        run = self.run
        run.busy = False
        delivered = min(len(run.in_flight), len(event.drains))
        run.outbox.extendleft(reversed(run.in_flight[delivered:]))
        run.in_flight = ()
        run.left_to_tell = max(0, run.left_to_tell - delivered)
        run.brakes.drained(delivered, sum(drained.cpu_seconds for drained in event.drains))
        try:
            for drained in event.drains:
                take_in(run, drained)
        except Strayed as error:
            run.failing = Failure(type="unknown_error", detail="protocol", message=str(error))
        self._warn_if_large()

    def _lost(self, code: FailureCode, message: str) -> None:
        run = self.run
        run.busy, run.is_open = False, False
        run.failing = Failure(type="program_error", detail=code, message=message)

    def _go_on(self) -> None:
        run = self.run
        if not run.is_open and run.failing is None:
            run.is_open = run.busy = True
            run.order(OpenSandbox(program_of(run.spec)))
            return
        failing = run.failing or (None if run.end is not None else run.brakes.tripped(run.last_refusal))
        if failing is not None:
            self._fail(failing)
        elif run.end is not None:
            self._end()
        else:
            self._tell()
            if not run.is_replaying and (run.replay is None or not run.busy):
                self._start_calls()
                self._tell()
            if self._is_stuck():
                self._fail(Failure(type="program_error", detail="script_stalled", message=f"the script {STALLED}"))

    def _tell(self) -> None:
        """Deliver what is settled. Taken-over results go one by one: each may lead to one that came earlier."""
        run = self.run
        if run.busy:
            return
        if not run.outbox and run.hits and not run.wanted:
            _, index, known = heapq.heappop(run.hits)
            if isinstance(known, SameNested):
                tell_nested(run, known.op, known.answer)
            else:
                settle_hit(run, run.calls[index], known)
        if run.outbox:
            some = min(len(run.outbox), DELIVERIES_MAX)
            deliveries: tuple[Delivery, ...] = tuple(run.outbox.popleft() for _ in range(some))
            run.in_flight, run.busy = deliveries, True
            run.order(Deliver(deliveries))

    def _start_calls(self) -> None:
        run = self.run
        while (call := run.workforce.next_queued()) is not None:
            thrown = too_dear(run, call)
            if thrown is not None:
                refuse(run, call, thrown)
            elif run.workforce.place(call, run.now_ms):
                start(run, call)
            else:
                run.write(HeldLine(at_ms=run.now_ms, index=call.index))

    def _is_stuck(self) -> bool:
        run = self.run
        return not (run.busy or run.outbox or run.hits or run.timers or run.wanted or run.open_calls)

    # Agents.

    def _working(self, index: CallIndex, attempt: int) -> Call | None:
        """The call, if this attempt is still the one that counts."""
        call = self.run.calls[index] if index < len(self.run.calls) else None
        return call if call is not None and call.state == "running" and call.attempt == attempt else None

    def _began(self, call: Call | None) -> None:
        if call is None or call.began:
            return
        call.began = True
        let_go(self.run, self.run.workforce.warmed(call, self.run.now_ms))

    def _answered(self, call: Call | None, usage: Usage) -> None:
        run = self.run
        if call is None:
            return
        run.spend.ran(call, usage)
        pause_at_cap(run)
        self._warn_if_large()

    def _attempt_ended(self, call: Call | None, finished: Finished) -> None:
        if call is not None:
            end_attempt(self.run, call, finished)

    def _open_call(self, index: CallIndex, verb: str) -> Call:
        call = self.run.calls[index] if 0 <= index < len(self.run.calls) else None
        if call is None or not call.is_open:
            raise Illegal(self.run.state, f"{verb} of agent {index}, which is not open")
        return call

    def _running_call(self, index: CallIndex, verb: str) -> Call:
        call = self._open_call(index, verb)
        if call.state != "running":
            raise Illegal(self.run.state, f"{verb} of agent {index}, which is {call.state}")
        return call

    def _message(self, event: on.MessageSent) -> None:
        call = self._running_call(event.index, "message")
        if call.messages >= MESSAGES_MAX or len(event.text) > MESSAGE_CHARS_MAX:
            limit = f"message: an agent takes {MESSAGES_MAX} of {MESSAGE_CHARS_MAX} characters"
            raise Illegal(self.run.state, limit)
        call.messages += 1
        self.run.write(MessageLine(at_ms=self.run.now_ms, index=call.index, text=event.text, by=event.by))
        self.run.order(on.TellAgent(call.index, event.text))

    # Time, limits, people.

    @property
    def deadline_ms(self) -> int:
        """When its time is over, whatever it does by then."""
        spec = self.run.spec
        return spec.created_ms + int(spec.limits.lifetime_seconds * 1000)

    def _set_alarm(self) -> None:
        run = self.run
        due = [self.deadline_ms, run.workforce.next_due_ms(), *dues(run)]
        alarm_ms = min(at_ms for at_ms in due if at_ms is not None)
        if alarm_ms != run.alarm_ms:
            run.alarm_ms = alarm_ms
            run.order(WakeAt(alarm_ms))

    def _tick(self) -> None:
        run = self.run
        run.alarm_ms = 0
        if run.now_ms >= self.deadline_ms:
            self._expire()
            return
        let_go(run, run.workforce.overdue(run.now_ms))
        lift_due(run)

    def _expire(self) -> None:
        hours = self.run.spec.limits.lifetime_seconds / 3600
        text = f"the run did not end within {hours:g} h of its launch"
        if self.run.state == "pending_approval":
            self._move("deny", "denied", message=text)
            self._close(None, message=text)
        else:
            self._fail(Failure(type="timeout_error", detail="lifetime", message=text))

    def _warn_if_large(self) -> None:
        """Past the thresholds a run is told of once, and waits for a person where policy wants that (W145, W192)."""
        run, spec, limits = self.run, self.run.spec, self.run.spec.limits
        if LARGE in run.told and (run.confirmed or (spec.confirm_agents is None and spec.confirm_tokens is None)):
            return
        tokens = run.spend.total().tokens.total if run.spend.output_tokens else 0
        tokens += run.spend.typical.ahead(sum(usage.tokens.total for usage in run.spend.live.values()))
        large = large_warning(run.accepted, tokens, limits)
        if large is not None and LARGE not in run.told:
            run.told.add(LARGE)
            run.write(WarningLine(at_ms=run.now_ms, code=LARGE, message=large))
        why = confirm_text(run.accepted, tokens, spec)
        if why is not None and not run.confirmed and run.state == "running":
            run.confirmed = True
            pause(run, on.PauseAsked("threshold", message=why))

    def _hand_over(self) -> None:
        """Attempts are closed and the run waits, as if the process had died (W127)."""
        run = self.run
        for call in run.calls:
            if call.state == "running":
                suspend(run, call)
        pause(run, on.PauseAsked("host_restart", message="the process that drove this run was stopped"))

    # The end.

    def _move(self, trigger: Trigger, reason: on.Moved | None, *, by: str | None = None, message: str = "") -> None:
        run = self.run
        after = next_state(run.state, trigger)
        run.write(StateLine(at_ms=run.now_ms, before=run.state, after=after, reason=reason, by=by, message=message))
        run.state = after

    def _fail(self, failure: Failure) -> None:
        self._move("fail", None, message=failure.message)
        self._close(None, failure=failure)

    def _end(self) -> None:
        run = self.run
        end = run.end
        assert end is not None
        if not isinstance(end, Returned):
            text = throw_text(end, program_of(run.spec))
            self._fail(Failure(type="program_error", detail=end.code, message=text))
        elif len(bytes(end.value)) > ARTEFACT_BYTES_MAX:
            text = f"the result has {len(bytes(end.value))} bytes; at most {ARTEFACT_BYTES_MAX} are kept"
            self._fail(Failure(type="program_error", detail="result_too_large", message=text))
        else:
            self._drop_unawaited()
            self._move("complete", None)
            self._close(end.value)

    def _drop_unawaited(self) -> None:
        """Nobody waits for them any more (W61)."""
        run = self.run
        run.is_closing = True
        left = [call for call in run.calls if call.is_open]
        for call in left:
            drop_call(run, call, "unawaited")
        if left:
            run.write(WarningLine(at_ms=run.now_ms, code="unawaited_agents", message=unawaited_text(left)))

    def _close(
        self, value: msgspec.Raw | None, *, failure: Failure | None = None, by: str | None = None, message: str = ""
    ) -> None:
        run = self.run
        run.is_closing = True
        for call in run.calls:
            if call.is_open:
                drop_call(run, call, "run_ended")
        run.write(
            EndedLine(
                at_ms=run.now_ms,
                state=run.state,
                outcome=run.census.outcome(),
                usage=run.spend.total(),
                value=json_of(value),
                failure=failure,
                by=by,
                message=message,
            )
        )
        run.order(CloseSandbox())
        run.order(on.Ended())

    def _done(self) -> Step:
        step, self.run.out = self.run.out, Step()
        return step
