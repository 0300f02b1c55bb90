"""What a run has used, by what its budgets count; and the brakes that end a script which only spins. Sums only."""

from dataclasses import dataclass, field

from runtime.core.calls import Call
from runtime.core.limits import Limits
from runtime.core.model import Failure, Usage

NOTHING = Usage()


@dataclass(slots=True)
class Spend:
    """Of all attempts: those that ended, those that run, and what a resume took over."""

    ended: Usage = field(default_factory=Usage)
    replayed: Usage = field(default_factory=Usage)
    live: dict[int, Usage] = field(default_factory=dict[int, Usage])
    """By call index, of running attempts."""
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
    idle_deliveries: int = 0
    idle_cpu_seconds: float = 0.0
    total_cpu_seconds: float = 0.0

    def refused(self) -> None:
        """A call did not start."""
        self.refusals += 1

    def advanced(self) -> None:
        """A call was accepted, or a phase begun."""
        self.idle_deliveries = 0
        self.idle_cpu_seconds = 0.0

    def drained(self, deliveries: int, cpu_seconds: float) -> None:
        """The script ran."""
        self.idle_deliveries += deliveries
        self.idle_cpu_seconds += cpu_seconds
        self.total_cpu_seconds += cpu_seconds

    def tripped(self, last_refusal: str) -> Failure | None:
        """Why the run has to end now. `last_refusal` is the code of the last refused call."""
        limits = self.limits
        if self.refusals >= limits.refusals:
            over = "agent_limit_error" if last_refusal == "agent_limit" else "budget_error"
            text = f"{self.refusals} agent calls were refused and the script still asks for more; bound its loops"
            kind = "thread_limit_error" if over == "agent_limit_error" else "program_error"
            return Failure(type=kind, detail=over, message=text)
        if self.idle_deliveries >= limits.idle_deliveries:
            text = f"the script was woken {self.idle_deliveries} times without starting an agent or a phase"
            return Failure(type="program_error", detail="runaway_script", message=text)
        if self.idle_cpu_seconds >= limits.idle_cpu_seconds:
            text = f"the script computed for {self.idle_cpu_seconds:.0f} s without starting an agent or a phase"
            return Failure(type="program_error", detail="runaway_script", message=text)
        if self.total_cpu_seconds >= limits.total_cpu_seconds:
            text = f"the script has used its {limits.total_cpu_seconds:.0f} s of computing time"
            return Failure(type="program_error", detail="script_timeout", message=text)
        return None
