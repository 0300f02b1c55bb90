"""What others call the states of a run (W123, W124), and the sentences about how it stands. Tables only."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from runtime.core.model import OPEN_STATES, Outcome, RunState

TaskStatus = Literal["pending", "running", "paused", "completed", "failed", "killed"]
ManagedStatus = Literal["idle", "running", "ended"]
ManagedResult = Literal["completed", "stopped", "error"]

TASK_STATUS: Mapping[RunState, TaskStatus] = MappingProxyType(
    {
        "pending_approval": "pending",
        "queued": "pending",
        "running": "running",
        "paused": "paused",
        "completed": "completed",
        "failed": "failed",
        "stopped": "killed",
        "denied": "killed",
    }
)
"""Claude Code's tasks. The notification says `stopped` for `killed`."""
MANAGED_STATUS: Mapping[RunState, ManagedStatus] = MappingProxyType(
    {
        "pending_approval": "idle",
        "queued": "idle",
        "running": "running",
        "paused": "idle",
        "completed": "ended",
        "failed": "ended",
        "stopped": "ended",
        "denied": "ended",
    }
)
MANAGED_RESULT: Mapping[RunState, ManagedResult] = MappingProxyType(
    {"completed": "completed", "failed": "error", "stopped": "stopped", "denied": "stopped"}
)


def notified_status(state: RunState) -> str:
    """The word of the notification, for a run that has ended."""
    status = TASK_STATUS[state]
    return "stopped" if status == "killed" else status


def headline(state: RunState, outcome: Outcome) -> str:
    """One line on how a run stands; `completed` alone only when every call gave a value (W123)."""
    if state != "completed":
        return state.replace("_", " ")
    values = outcome.done + outcome.cached
    if outcome.planned and not values:
        return "completed with no usable results"
    if outcome.degraded:
        return f"completed, {outcome.planned - values} of {outcome.planned} agents gave no result"
    return "completed"


def resume_hint(run: str, state: RunState, outcome: Outcome) -> str | None:
    """How to go on from an ended run, if anything of it can be kept. Never phrased as something to do now (W175)."""
    values = outcome.done + outcome.cached
    if state in OPEN_STATES or state == "denied" or not values:
        return None
    return (
        f"Only if the user asks: starting the script again with resumeFromRunId '{run}' takes over what is unchanged "
        f"of {values} finished agents and runs the rest."
    )
