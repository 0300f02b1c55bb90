"""Runs, phases and agents as the gateway shows them, read back. How people see them is `run_words.py`."""

import msgspec

OPEN_STATES = frozenset({"pending_approval", "queued", "running", "paused"})
STOPPED_STATES = frozenset({"stopped", "skipped"})
WORKING_STATES = frozenset({"queued", "held", "running"})


class Status(msgspec.Struct, frozen=True):
    """The words of others for the state."""

    text: str = ""


class PhaseRow(msgspec.Struct, frozen=True):
    """One phase."""

    title: str
    agents: dict[str, int] = {}
    """By state."""
    total: int = 0
    tokens: int = 0
    cost_nanousd: int = 0
    cost_complete: bool = True
    elapsed_ms: int = 0
    workflow: str | None = None


class Spent(msgspec.Struct, frozen=True):
    """Tokens and money."""

    total_tokens: int = 0
    cost_nanousd: int = 0
    cost_complete: bool = True
    tool_calls: int = 0


class UsageRow(msgspec.Struct, frozen=True):
    """What this run paid for, and what it took over from the one it resumes."""

    new: Spent = Spent()
    replayed: Spent = Spent()


class PauseRow(msgspec.Struct, frozen=True):
    """Why it is paused."""

    reason: str
    by: str | None = None
    until_ms: int | None = None
    message: str = ""


class ApprovalRow(msgspec.Struct, frozen=True):
    """What it waits for before it begins. `by`: whoever a policy wants, or its owner."""

    by: str | None = None
    reason: str = ""


class CostBudget(msgspec.Struct, frozen=True):
    """The run's own cap on money."""

    cap_nanousd: int | None = None
    spent_nanousd: int = 0

    @property
    def is_spent(self) -> bool:
        """The cap has been reached."""
        return self.cap_nanousd is not None and self.spent_nanousd >= self.cap_nanousd


class BudgetRow(msgspec.Struct, frozen=True):
    """Its budgets."""

    cost: CostBudget = CostBudget()


class FailureRow(msgspec.Struct, frozen=True):
    """Why it failed."""

    type: str
    detail: str
    message: str


class RunRow(msgspec.Struct, frozen=True):
    """One run."""

    id: str
    name: str
    state: str
    status: Status = Status()
    description: str = ""
    session: str = ""
    user: str = ""
    created_ms: int | None = None
    elapsed_ms: int = 0
    phases: list[PhaseRow] = []
    agents: dict[str, int] = {}
    outcome: dict[str, int] = {}
    driver: str | None = None
    """Whether the gateway that drives it is there: `present`, `silent`, `none`; None: it has ended."""
    degraded: bool = False
    usage: UsageRow = UsageRow()
    size_warning: str | None = None
    warnings: list[str] = []
    approval: ApprovalRow | None = None
    pauses: list[PauseRow] = []
    budget: BudgetRow = BudgetRow()
    failure: FailureRow | None = None
    resumed_from: str | None = None
    resume_hint: str | None = None

    @property
    def is_open(self) -> bool:
        """Not ended."""
        return self.state in OPEN_STATES


class AgentRow(msgspec.Struct, frozen=True):
    """One call of `agent()`."""

    index: int
    state: str
    label: str = ""
    phase: str = ""
    model: str | None = None
    tokens: int = 0
    cost_nanousd: int = 0
    cost_complete: bool = True
    tool_calls: int = 0
    elapsed_ms: int = 0
    attempts: int = 0
    reason: str | None = None
    answering: bool = False
    """The first byte of an answer is there."""


class Failures(msgspec.Struct, frozen=True):
    """Of the notification of an ended run: which agents gave nothing, and why."""

    failures: tuple[str, ...] = ()
    failures_left: int = 0
