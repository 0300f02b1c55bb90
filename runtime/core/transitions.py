"""The states of a run and every way from one to another (W121). An illegal transition is a missing key.

pending_approval  a person has to say yes            queued   waits for a place among the runs
running           the script and its agents go on    paused   no agent starts, nothing reaches the script
completed         the script returned                failed   it threw, broke a limit or outlived its time
stopped           a person ended it                  denied   a person or a policy said no
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from runtime.core.model import RunState

Trigger = Literal["approve", "deny", "begin", "pause", "resume", "stop", "complete", "fail"]

TRANSITIONS: Mapping[tuple[RunState, Trigger], RunState] = MappingProxyType(
    {
        ("pending_approval", "approve"): "queued",
        ("pending_approval", "deny"): "denied",
        ("pending_approval", "stop"): "stopped",
        ("queued", "begin"): "running",
        ("queued", "stop"): "stopped",
        ("queued", "fail"): "failed",
        ("running", "pause"): "paused",
        ("running", "complete"): "completed",
        ("running", "fail"): "failed",
        ("running", "stop"): "stopped",
        ("paused", "resume"): "running",
        ("paused", "stop"): "stopped",
        ("paused", "fail"): "failed",
    }
)


class Illegal(Exception):
    """This cannot be done to a run in this state; nothing was changed."""

    def __init__(self, state: RunState, trigger: str) -> None:
        super().__init__(f"a run that is {state.replace('_', ' ')} takes no {trigger}")
        self.state: RunState = state


def next_state(state: RunState, trigger: Trigger) -> RunState:
    """Raises `Illegal`."""
    after = TRANSITIONS.get((state, trigger))
    if after is None:
        raise Illegal(state, trigger)
    return after
