"""Everything that is known of a run while it is driven, and the two things a step leaves behind: lines and commands."""

from collections import deque
from dataclasses import dataclass, field

from runtime.core.branches import Batches
from runtime.core.calls import Call, Workforce
from runtime.core.happenings import Command, NestedFound
from runtime.core.journal import Line
from runtime.core.meters import Brakes, Spend
from runtime.core.model import Failure, Outcome, PauseReason, RunSpec, RunState, Scope
from runtime.core.program import Delivery, End, WorkflowOp
from runtime.core.recovery import Recovered
from runtime.core.replay import Hit, Replay


@dataclass(slots=True)
class Step:
    """What follows from events. The lines are durable before the first command is carried out (W151)."""

    lines: list[Line] = field(default_factory=list[Line])
    commands: list[Command] = field(default_factory=list[Command])


@dataclass(slots=True)
class Census:
    """Counts of calls by what became of them (W174)."""

    planned: int = 0
    done: int = 0
    null: int = 0
    threw: int = 0
    refused: int = 0
    stopped: int = 0
    cached: int = 0

    def outcome(self) -> Outcome:
        """As it is written down."""
        return Outcome(
            planned=self.planned,
            done=self.done,
            null=self.null,
            threw=self.threw,
            refused=self.refused,
            stopped=self.stopped,
            cached=self.cached,
        )


@dataclass(frozen=True, slots=True)
class SameNested:
    """What was found for `workflow()` is what an earlier run found: a program, or why there is none."""

    op: WorkflowOp
    answer: NestedFound | str


class Run:
    """The state of the machine. Only `machine.py`, `intake.py`, `settling.py` and `pausing.py` change it."""

    def __init__(self, spec: RunSpec, replay: Replay | None, recovered: Recovered) -> None:
        self.spec = spec
        self.state: RunState = recovered.state
        self.pauses: dict[PauseReason, int | None] = dict(recovered.pauses)
        """Why the run is paused, and until when if it goes on by itself."""
        self.frozen = False
        self.max_cost_nanousd = recovered.max_cost_nanousd or spec.max_cost_nanousd
        self.calls: list[Call] = []
        self.accepted = 0
        """Calls that count towards the cap (W60)."""
        self.census = Census()
        self.workforce = Workforce(spec.limits)
        self.spend: Spend = recovered.spend
        self.brakes = Brakes(spec.limits)
        self.last_refusal = ""
        self.batches = Batches()
        self.phase: dict[int, str] = {}
        """Current phase of the script (0) and of each nested workflow."""
        self.seq = recovered.seq
        self.outbox: deque[Delivery] = deque(recovered.deliveries)
        """Settlements that the script has not seen, in their order."""
        self.hits: list[tuple[int, int, Hit | SameNested]] = []
        """Old order of what is told again, with the index of a call, or the operation of a nested workflow; a heap."""
        self.replay = replay
        self.recovered = recovered
        self.nested = 0
        self.timers: dict[int, Scope] = {}
        """That the script waits for, by operation."""
        self.wanted: dict[int, WorkflowOp] = {}
        """Nested workflows that are looked for."""
        self.confirmed = recovered.confirmed
        """A person was asked once more, past the thresholds."""
        self.told: set[str] = set(recovered.told)
        """Warnings that are given once."""
        self.is_open = False
        """There is a sandbox."""
        self.busy = False
        """The script runs: what it asks for comes back soon."""
        self.in_flight: tuple[Delivery, ...] = ()
        """Settlements that it is being told."""
        self.left_to_tell = len(recovered.deliveries)
        """Settlements of before a crash that it has not seen again."""
        self.open_calls = 0
        self.alarm_ms = 0
        self.end: End | None = None
        self.failing: Failure | None = None
        """The run cannot go on, and fails as soon as it may."""
        self.is_closing = False
        self.now_ms = spec.created_ms
        self.out = Step()

    def write(self, line: Line) -> None:
        """Into the journal."""
        self.out.lines.append(line)

    def order(self, command: Command) -> None:
        """To be done after the lines of this step are durable."""
        self.out.commands.append(command)

    def next_seq(self) -> int:
        """Of the next settlement."""
        self.seq += 1
        return self.seq - 1

    @property
    def is_replaying(self) -> bool:
        """What was settled before is being told again: nothing new starts."""
        return self.left_to_tell > 0 or bool(self.hits)
