"""What happens to a run (events, past tense) and what is to be done for it (commands). Shapes only: `machine.py`."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from runtime.core.model import AgentId, CallIndex, FailureCode, Finished, PauseReason, Usage
from runtime.core.program import Delivery, Drained, Program

Moved = Literal["approved", "denied", "started"]
"""Why a run changed its state, besides pauses."""
Resumption = Literal["resumed", "raised"]

# Events.


@dataclass(frozen=True, slots=True)
class Approved:
    """A person said yes."""

    by: str


@dataclass(frozen=True, slots=True)
class Denied:
    """A person or a policy said no."""

    by: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Begun:
    """There is a place for the run."""


@dataclass(frozen=True, slots=True)
class ScriptDrained:
    """The sandbox answered: one drain per delivery, or the first of a start."""

    drains: tuple[Drained, ...]


@dataclass(frozen=True, slots=True)
class SandboxLost:
    """The script broke a limit, or its process is gone."""

    code: FailureCode
    message: str


@dataclass(frozen=True, slots=True)
class NestedFound:
    """A workflow that the script asked for was found and checked."""

    id: int
    name: str
    source: str
    source_sha256: str
    body: str
    meta: msgspec.Raw


@dataclass(frozen=True, slots=True)
class NestedMissing:
    """It was not, or is no valid script."""

    id: int
    message: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer of the script is due."""

    id: int


@dataclass(frozen=True, slots=True)
class FirstByteSeen:
    """An answer to the first request of an attempt has begun."""

    index: CallIndex
    attempt: int


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """A model request of an attempt was answered."""

    index: CallIndex
    attempt: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt is over."""

    index: CallIndex
    attempt: int
    finished: Finished


@dataclass(frozen=True, slots=True)
class Ticked:
    """The time that `WakeAt` asked for has come, or nothing has happened for a while."""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """By a person, or because something will not go on just now. `freeze`: also agents stop, after their request."""

    reason: PauseReason
    by: str | None = None
    freeze: bool = False
    until_ms: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """By a person; `max_cost_nanousd` raises the run's own cap."""

    by: str
    max_cost_nanousd: int | None = None


@dataclass(frozen=True, slots=True)
class Unblocked:
    """What the run was paused for is over: the quota was reset, a limit was raised."""

    reason: PauseReason


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A person ends the run."""

    by: str


@dataclass(frozen=True, slots=True)
class AgentStopAsked:
    """A person ends one call: it gives null."""

    index: CallIndex
    by: str
    skip: bool = False


@dataclass(frozen=True, slots=True)
class AgentRestartAsked:
    """A person wants a fresh attempt of a running call."""

    index: CallIndex
    by: str


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A person tells a running agent something."""

    index: CallIndex
    text: str
    by: str


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The process that drives the run ends in good order."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something to tell of that changes nothing."""

    code: str
    message: str


Event = (
    Approved
    | Denied
    | Begun
    | ScriptDrained
    | SandboxLost
    | NestedFound
    | NestedMissing
    | TimerFired
    | FirstByteSeen
    | RequestAnswered
    | AttemptEnded
    | Ticked
    | PauseAsked
    | ResumeAsked
    | Unblocked
    | StopAsked
    | AgentStopAsked
    | AgentRestartAsked
    | MessageSent
    | HandedOver
    | Noticed
)

# Commands. They are carried out in order, after the lines of the same step are durable.


@dataclass(frozen=True, slots=True)
class OpenSandbox:
    """Start the script; its first drain comes back as `ScriptDrained`."""

    program: Program


@dataclass(frozen=True, slots=True)
class Deliver:
    """Tell the script; the drains come back as `ScriptDrained`."""

    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class CloseSandbox:
    """Nothing of the script goes on."""


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Ask policy and let the agent work; `AttemptEnded` comes back."""

    index: CallIndex
    attempt: int
    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class AbortAttempt:
    """End an attempt at once; nothing comes back."""

    index: CallIndex
    attempt: int


@dataclass(frozen=True, slots=True)
class SetFrozen:
    """Agents wait before their next model request, or go on."""

    frozen: bool


@dataclass(frozen=True, slots=True)
class TellAgent:
    """Give a running agent a text before its next request."""

    index: CallIndex
    text: str


@dataclass(frozen=True, slots=True)
class FindWorkflow:
    """Find and check a script; `NestedFound` or `NestedMissing` comes back."""

    id: int
    name: str | None
    path: str | None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """`TimerFired` comes back then."""

    id: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class ClearTimer:
    """It comes no more."""

    id: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """`Ticked` comes back then, in place of an earlier one that is due later."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The last line is written: let go of everything."""


Command = (
    OpenSandbox
    | Deliver
    | CloseSandbox
    | StartAttempt
    | AbortAttempt
    | SetFrozen
    | TellAgent
    | FindWorkflow
    | SetTimer
    | ClearTimer
    | WakeAt
    | Ended
)
