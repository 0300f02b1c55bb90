"""Any run, any order of events, a crash at any moment: what must hold of a run in every case."""

import random

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.core import happenings as on
from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    IssuedLine,
    RefusedLine,
    ResultLine,
    StartedLine,
    StoppedLine,
)
from runtime.core.model import OPEN_STATES, CallIndex, Finished, Usage
from runtime.core.program import Delivery, Drained, LogOp, Op, PhaseOp, Returned, TimerOp
from runtime.core.transitions import Illegal
from tests.runtime.core.play import Play, agent, null, thrown, used, value

CALLS_MAX = 12
CONCURRENCY = 3
SETTLED = (ResultLine, ErrorLine, RefusedLine, StoppedLine)


class Script:
    """A script that asks for things by chance: the same ones again when it is told the same things."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ids = 0
        self.open = 0

    def start(self) -> Drained:
        """Its first drain."""
        return Drained(ops=tuple(self._ops(1 + self.chance.randrange(4))))

    def told(self, delivery: Delivery) -> Drained:
        """What it does with a settlement."""
        self.open -= 1
        seen = self.chance.randrange(100) + len(bytes(delivery.value or b""))
        ops = self._ops(seen % 3 if self.ids < CALLS_MAX else 0)
        done = self.open == 0
        return Drained(ops=tuple(ops), end=Returned(value=msgspec.Raw(b"1")) if done else None, cpu_seconds=0.001)

    def _ops(self, many: int) -> list[Op]:
        ops: list[Op] = []
        for _ in range(many):
            self.ids += 1
            self.open += 1
            kind = self.chance.randrange(6)
            if kind == 0:
                ops.append(TimerOp(id=self.ids, ms=self.chance.randrange(50)))
            else:
                ops.append(agent(self.ids, model=("a", None)[kind % 2]))
            if kind == 1:
                ops.append(PhaseOp(title=f"phase {self.ids}"))
            if kind == 2:
                ops.append(LogOp(text=f"line {self.ids}"))
        return ops


def end_of(how: int, output: int) -> Finished:
    """Of an attempt."""
    ends = (
        value('"ok"', output=output),
        value('"other"', output=output),
        null("api_error", transient=True, usage=used(output)),
        null("stalled", transient=True, usage=used(output)),
        thrown(),
        null("empty"),
    )
    return ends[how]


class AnyRun(RuleBasedStateMachine):
    """One run, its script, and every process that ever drove it."""

    def __init__(self) -> None:
        super().__init__()
        self.seed, self.eager = 0, False
        self.play = Play(limits={"concurrency": CONCURRENCY, "agents": 9, "stagger_ms": 20}, budget_tokens=60)
        self.play.take(self.play.machine.open(self.play.now, ask=None))
        self.play.tell(on.Begun())
        self.script: Script | None = None
        self.seen = 0
        self.told: list[int] = []
        self.stray: list[on.Event] = []

    @property
    def run_is_open(self) -> bool:
        return self.play.machine.state in OPEN_STATES

    def waiting(self) -> list[on.Command]:
        """Commands of this process that have not been answered."""
        return self.play.commands[self.seen :]

    @initialize(seed=st.integers(0, 2**16), eager=st.booleans())
    def choose_a_script(self, seed: int, eager: bool) -> None:
        self.seed, self.eager = seed, eager
        self.the_script_answers()

    def hurry(self) -> None:
        """An eager script answers at once."""
        while self.eager and self.play.machine.run.busy and self.run_is_open:
            self.the_script_answers()

    @rule()
    @precondition(lambda self: self.play.machine.run.busy and self.run_is_open)
    def the_script_answers(self) -> None:
        asked = next(each for each in self.waiting() if isinstance(each, on.OpenSandbox | on.Deliver))
        self.seen = self.play.commands.index(asked, self.seen) + 1
        if isinstance(asked, on.OpenSandbox):
            self.script, self.told = Script(self.seed), []
            self.play.tell(on.ScriptDrained((self.script.start(),)))
            return
        assert self.script is not None
        drains: list[Drained] = []
        for delivery in asked.deliveries:
            self.told.append(delivery.id)
            drains.append(self.script.told(delivery))
            if drains[-1].end is not None:
                break
        self.play.tell(on.ScriptDrained(tuple(drains)))

    @rule(which=st.integers(0, 20), how=st.integers(0, 5), output=st.integers(0, 9))
    @precondition(lambda self: any(state == "running" for state in self.play.states()))
    def an_agent_ends(self, which: int, how: int, output: int) -> None:
        running = [call for call in self.play.machine.run.calls if call.state == "running"]
        call = running[which % len(running)]
        self.play.tell(on.AttemptEnded(call.index, call.attempt, end_of(how, output)))
        self.hurry()

    @rule(hows=st.lists(st.integers(0, 5), min_size=CONCURRENCY, max_size=CONCURRENCY), then=st.integers(0, 5))
    @precondition(lambda self: self.play.states().count("running") > 1)
    def agents_end_at_once(self, hows: list[int], then: int) -> None:
        running = [call for call in self.play.machine.run.calls if call.state == "running"]
        events: list[on.Event] = [
            on.AttemptEnded(call.index, call.attempt, end_of(how, 2)) for call, how in zip(running, hows, strict=False)
        ]
        if then == 0:
            events.insert(1, on.PauseAsked("budget"))
        elif then == 1:
            events.insert(1, on.StopAsked("alice"))
        self.play.tell_at_once(*events)
        self.hurry()

    @rule(which=st.integers(0, 20), output=st.integers(0, 5))
    @precondition(lambda self: bool(self.play.machine.run.calls))
    def an_agent_works(self, which: int, output: int) -> None:
        call = self.play.machine.run.calls[which % len(self.play.machine.run.calls)]
        self.play.tell(on.FirstByteSeen(call.index, call.attempt))
        self.play.tell(on.RequestAnswered(call.index, call.attempt, used(output)))

    @rule(which=st.integers(0, 20))
    @precondition(lambda self: bool(self.play.machine.run.timers))
    def a_timer_fires(self, which: int) -> None:
        timers = sorted(self.play.machine.run.timers)
        self.play.tell(on.TimerFired(timers[which % len(timers)]))
        self.hurry()

    @rule(later_ms=st.integers(0, 40))
    def time_goes_by(self, later_ms: int) -> None:
        self.play.tell(on.Ticked(), later_ms=later_ms)

    @rule(which=st.integers(0, 20), what=st.integers(0, 8))
    def a_person_says_something(self, which: int, what: int) -> None:
        index = CallIndex(which % (len(self.play.machine.run.calls) + 1))
        events: tuple[on.Event, ...] = (
            on.PauseAsked("person", by="alice"),
            on.PauseAsked("person", by="alice", freeze=True),
            on.ResumeAsked("alice"),
            on.ResumeAsked("alice"),
            on.AgentStopAsked(index, "alice"),
            on.AgentRestartAsked(index, "alice"),
            on.MessageSent(index, "go on", "alice"),
            on.PauseAsked("quota", until_ms=self.play.now + 10),
            on.Unblocked("quota"),
        )
        written = len(self.play.lines)
        try:
            self.play.tell(events[what])
        except Illegal:
            assert len(self.play.lines) == written
        self.hurry()

    @rule(chance=st.integers(0, 20))
    @precondition(lambda self: self.run_is_open)
    def a_person_stops_it(self, chance: int) -> None:
        if chance == 5:
            self.play.tell(on.StopAsked("alice"))

    @rule()
    @precondition(lambda self: self.run_is_open and self.play.machine.state != "queued")
    def the_process_dies(self) -> None:
        self.play = self.play.crashed()
        self.script, self.seen, self.told = None, 0, []
        try:
            self.play.tell(on.ResumeAsked("alice"))
        except Illegal:
            assert self.play.machine.state != "paused"
        self.hurry()

    def teardown(self) -> None:
        """Whatever has happened, the run can be brought to its end."""
        for _ in range(500):
            run = self.play.machine.run
            if not self.run_is_open:
                break
            if run.state == "paused":
                self.play.tell(on.ResumeAsked("alice"))
            elif run.busy:
                self.the_script_answers()
            elif "running" in self.play.states():
                self.an_agent_ends(0, 0, 0)
            elif run.timers:
                self.a_timer_fires(0)
            else:
                self.time_goes_by(40)
        assert not self.run_is_open
        self.an_ended_run_has_one_end_and_nothing_open()
        self.what_is_counted_is_what_the_lines_say()
        self.every_call_is_settled_at_most_once_and_never_started_again()

    @invariant()
    def no_more_work_at_once_than_may(self) -> None:
        states = self.play.states()
        assert states.count("running") + states.count("held") <= CONCURRENCY
        assert self.play.machine.run.workforce.working == states.count("running") + states.count("held")

    @invariant()
    def settlements_have_one_dense_order(self) -> None:
        seqs = [seq for line in self.play.lines if (seq := getattr(line, "seq", None)) is not None]
        assert seqs == list(range(len(seqs)))

    @invariant()
    def every_call_is_settled_at_most_once_and_never_started_again(self) -> None:
        settled: set[int] = set()
        for line in self.play.lines:
            if isinstance(line, StartedLine):
                assert line.index not in settled
            if isinstance(line, SETTLED) and line.seq is not None:
                assert line.index not in settled
                settled.add(line.index)

    @invariant()
    def the_script_is_told_in_the_order_of_the_journal(self) -> None:
        issued = {line.index: line.id for line in self.play.all(IssuedLine)}
        order = [
            issued[line.index] if isinstance(line, SETTLED) else getattr(line, "id", -1)
            for line in self.play.lines
            if getattr(line, "seq", None) is not None
        ]
        assert self.told == order[: len(self.told)]

    @invariant()
    def what_is_counted_is_what_the_lines_say(self) -> None:
        ended = [line.usage for line in self.play.lines if isinstance(line, ResultLine | ErrorLine | StoppedLine)]
        live = sum(self.play.machine.run.spend.live.values(), Usage())
        assert self.play.machine.run.spend.total() == sum(ended, Usage()) + live

    @invariant()
    def an_ended_run_has_one_end_and_nothing_open(self) -> None:
        ends = self.play.all(EndedLine)
        assert len(ends) == (0 if self.run_is_open else 1)
        if ends:
            started = {(line.index, line.attempt) for line in self.play.all(StartedLine)}
            closed = {
                (line.index, line.attempt)
                for line in self.play.lines
                if isinstance(line, ResultLine | ErrorLine | StoppedLine) and line.attempt
            }
            assert started == closed
            outcome = ends[0].outcome
            parts = outcome.done + outcome.null + outcome.threw + outcome.refused + outcome.stopped + outcome.cached
            assert parts == outcome.planned == len(self.play.machine.run.calls)


TestAnyRun = AnyRun.TestCase
TestAnyRun.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
