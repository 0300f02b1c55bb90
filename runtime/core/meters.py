"""What a run has used, by what its budgets count; and the brakes that end a script which only spins. Sums only."""

from dataclasses import dataclass, field

from runtime.core.calls import Call
from runtime.core.limits import MISTAKES_MAX, PHASES_MAX, Limits
from runtime.core.model import Failure, Usage

NOTHING = Usage()
IN_VAIN = "without starting an agent or a phase; bound its loops and timers"


@dataclass(slots=True)
class Took:
    """What the finished calls of a phase took, and how many are still to finish."""

    finished: int = 0
    tokens: int = 0
    output_tokens: int = 0
    open: int = 0


@dataclass(slots=True)
class Typical:
    """What calls take, by phase: so what those will take that are not done (W120, W193)."""

    _phases: dict[str | None, Took] = field(default_factory=dict[str | None, Took])
    _all: Took = field(default_factory=Took)

    def opened(self, phase: str | None) -> None:
        """A call was issued."""
        self._phases.setdefault(phase, Took()).open += 1

    def closed(self, phase: str | None) -> None:
        """It has its end."""
        self._phases[phase].open -= 1

    def finished(self, phase: str | None, usage: Usage) -> None:
        """It gave a value or an error."""
        for took in (self._phases[phase], self._all):
            took.finished += 1
            took.tokens += usage.tokens.total
            took.output_tokens += usage.tokens.output

    def output_mean(self, phase: str | None) -> float:
        """As the script's budget counts; 0 before any call of the phase has finished."""
        took = self._phases.get(phase)
        return took.output_tokens / took.finished if took is not None and took.finished else 0.0

    def ahead(self, live_tokens: int) -> int:
        """Tokens that open calls will take, besides those that they have taken already (W193)."""
        if not self._all.finished:
            return 0
        overall = self._all.tokens / self._all.finished
        means = ((took, took.tokens / took.finished if took.finished else overall) for took in self._phases.values())
        return max(0, round(sum(took.open * mean for took, mean in means)) - live_tokens)


@dataclass(slots=True)
class Spend:
    """Of all attempts: those that ended, those that run, and what a resume took over."""

    ended: Usage = field(default_factory=Usage)
    replayed: Usage = field(default_factory=Usage)
    live: dict[int, Usage] = field(default_factory=dict[int, Usage])
    """By call index, of running attempts."""
    typical: Typical = field(default_factory=Typical)
    _output: int = 0
    _cost_nanousd: int = 0

    @property
    def output_tokens(self) -> int:
        """What `budget.spent()` counts (W113): also of running attempts, and what was replayed (W117)."""
        return self._output + self.replayed.tokens.output

    @property
    def cost_nanousd(self) -> int:
        """At list price, of what was really asked; models without a price count nothing."""
        return self._cost_nanousd

    def ran(self, call: Call, usage: Usage) -> None:
        """A running attempt used this much more."""
        call.live = call.live + usage
        self.live[call.index] = call.live
        self._count(usage, NOTHING)

    def closed(self, call: Call, usage: Usage) -> None:
        """The attempt is over; `usage` is all that it used, and what was counted before is part of it."""
        self._count(usage, call.live)
        self.ended = self.ended + usage
        self.live.pop(call.index, None)
        call.live = NOTHING

    def add(self, usage: Usage) -> None:
        """An attempt that ended before this process drove the run."""
        self._count(usage, NOTHING)
        self.ended = self.ended + usage

    def reused(self, usage: Usage) -> None:
        """A result of an earlier run was taken over."""
        self.replayed = self.replayed + usage

    def total(self) -> Usage:
        """Of all attempts of this run."""
        return sum(self.live.values(), self.ended)

    def _count(self, usage: Usage, before: Usage) -> None:
        self._output += usage.tokens.output - before.tokens.output
        self._cost_nanousd += (usage.cost_nanousd or 0) - (before.cost_nanousd or 0)


@dataclass(slots=True)
class Brakes:
    """Counts what a script does that leads nowhere (W99, W100, W101)."""

    limits: Limits
    refusals: int = 0
    mistakes: int = 0
    """Calls that no cap and no budget has refused, but what they ask for."""
    idle_deliveries: int = 0
    idle_cpu_seconds: float = 0.0
    total_cpu_seconds: float = 0.0
    prompts_bytes: int = 0
    """Of the calls that were accepted."""
    ignored_options: set[str] = field(default_factory=set[str])
    """What was said of options that there are not."""
    narrated: int = 0
    """Phases, logs and warnings of the script so far."""
    _entered: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    """Phases that were new when they began."""

    def refused(self) -> None:
        """A call did not start."""
        self.refusals += 1

    def mistaken(self) -> None:
        """A call asked for what cannot be."""
        self.mistakes += 1

    @property
    def is_refused_out(self) -> bool:
        """So many calls came to nothing that the run ends (W99)."""
        return self.refusals >= self.limits.refusals or self.mistakes >= MISTAKES_MAX

    def advanced(self) -> None:
        """A call was accepted, or a new phase begun."""
        self.idle_deliveries = 0
        self.idle_cpu_seconds = 0.0

    def entered(self, nested: int, title: str) -> None:
        """A phase began. Only one that is new leads anywhere: to go back and forth between two is to spin."""
        if (nested, title) not in self._entered and len(self._entered) < PHASES_MAX:
            self._entered.add((nested, title))
            self.advanced()

    def drained(self, deliveries: int, cpu_seconds: float) -> None:
        """The script ran."""
        self.idle_deliveries += deliveries
        self.idle_cpu_seconds += cpu_seconds
        self.total_cpu_seconds += cpu_seconds

    def tripped(self, last_refusal: str) -> Failure | None:
        """Why the run has to end now. `last_refusal` is the code of the last refused call."""
        limits = self.limits
        if self.mistakes >= MISTAKES_MAX:
            text = f"{self.mistakes} calls could not begin for what they ask, and the script asks for more; mend them"
            return Failure(type="program_error", detail="runaway_script", message=text)
        if self.is_refused_out:
            over = "agent_limit_error" if last_refusal == "agent_limit" else "budget_error"
            text = f"{self.refusals} agent calls were refused and the script still asks for more; bound its loops"
            kind = "thread_limit_error" if over == "agent_limit_error" else "program_error"
            return Failure(type=kind, detail=over, message=text)
        if self.idle_deliveries >= limits.idle_deliveries:
            text = f"the script was woken {self.idle_deliveries} times {IN_VAIN}"
            return Failure(type="program_error", detail="runaway_script", message=text)
        if self.idle_cpu_seconds >= limits.idle_cpu_seconds:
            text = f"the script computed for {self.idle_cpu_seconds:.0f} s {IN_VAIN}"
            return Failure(type="program_error", detail="runaway_script", message=text)
        if self.total_cpu_seconds >= limits.total_cpu_seconds:
            text = f"the script has used its {limits.total_cpu_seconds:.0f} s of CPU; leave to agents what takes long"
            return Failure(type="program_error", detail="script_timeout", message=text)
        return None
