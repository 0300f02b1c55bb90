"""Audit records for the tests of the demo's evidence. Not read from a gateway."""

from gateway.commands.demo.evidence import DecidedCall, Figures, Hold, Lineage, Request, Worst
from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow
from gateway.core.money.standing import Standing, tell

USD = 1_000_000_000


def hold(worst: int, created_ms: int) -> Hold:
    """What was held for a request."""
    return Hold(Worst(worst), created_ms)


def request(
    agent: str = "main", *, reason: str = "completed", hold: Hold | None = None, cost: int = 0, seconds: float = 0.0
) -> Request:
    """A request of session s1 that began when its hold did."""
    return Request(
        at_ms=0 if hold is None else hold.created_ms,
        status=200,
        reason=reason,
        message="",
        lineage=Lineage("s1", agent),
        hold=hold,
        cost_nanousd=cost,
        tool_calls=(),
        restored_denials=0,
        total_seconds=seconds,
    )


def call(tool: str, *, denied_by: str = "", decision: str = "dec_1.1") -> DecidedCall:
    """A decided tool call."""
    return DecidedCall(tool, not denied_by, decision, f"{denied_by}: because" if denied_by else "")


def limit(spent: int, *, held: int = 0, cap: int = USD) -> Standing:
    """A strict limit that never resets."""
    row = LimitRow("team:research", cap, strict=True)
    (told,) = tell([LimitView(row.series(row.account), row, spent, held, None)])
    return told


def row(*, peak: int = 0, spent: int = 0, cap: int = USD) -> Figures:
    """A row of the table."""
    return Figures(
        requests=2,
        tool_calls=1,
        asked=3,
        allowed=2,
        denied=1,
        why={"fuse_blown": 2, "shell/pipe_to_shell": 1},
        held_nanousd=peak,
        peak_nanousd=peak,
        spent_nanousd=spent,
        cap_nanousd=cap,
    )
