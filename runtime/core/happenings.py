"""What happens to a run (events, past tense) and what is to be done for it (commands). Shapes only: `machine.py`."""

from typing import Literal

import msgspec

from runtime.core.model import AgentId, CallIndex, FailureCode, Finished, PauseReason, Usage
from runtime.core.program import Delivery, Drained, Program

Moved = Literal["approved", "denied", "started"]
"""Why a run changed its state, besides pauses."""

# Events.


class Approved(msgspec.Struct, frozen=True):
    """A person said yes."""

    by: str
    message: str = ""


class Denied(msgspec.Struct, frozen=True):
    """A person or a policy said no."""

    by: str | None
    message: str


class Begun(msgspec.Struct, frozen=True):
    """There is a place for the run."""


class ScriptDrained(msgspec.Struct, frozen=True):
    """The sandbox answered: one drain per delivery, or the first of a start."""

    drains: tuple[Drained, ...]


class SandboxLost(msgspec.Struct, frozen=True):
    """The script broke a limit, or its process is gone."""

    code: FailureCode
    message: str


class NestedFound(msgspec.Struct, frozen=True):
    """A workflow that the script asked for was found and checked."""

    id: int
    name: str
    source: str
    source_sha256: str
    body: str
    meta: msgspec.Raw


class NestedMissing(msgspec.Struct, frozen=True):
    """It was not, or is no valid script."""

    id: int
    message: str


class TimerFired(msgspec.Struct, frozen=True):
    """A timer of the script is due."""

    id: int


class FirstByteSeen(msgspec.Struct, frozen=True):
    """An answer to the first request of an attempt has begun."""

    index: CallIndex
    attempt: int


class RequestAnswered(msgspec.Struct, frozen=True):
    """A model request of an attempt was answered."""

    index: CallIndex
    attempt: int
    usage: Usage


class AttemptEnded(msgspec.Struct, frozen=True):
    """An attempt is over."""

    index: CallIndex
    attempt: int
    finished: Finished


class Ticked(msgspec.Struct, frozen=True):
    """The time that `WakeAt` asked for has come, or nothing has happened for a while."""


class PauseAsked(msgspec.Struct, frozen=True):
    """By a person, or because something will not go on just now. `freeze`: also agents stop, after their request."""

    reason: PauseReason
    by: str | None = None
    freeze: bool = False
    until_ms: int | None = None
    message: str = ""


class ResumeAsked(msgspec.Struct, frozen=True):
    """By a person; `max_cost_nanousd` raises the run's own cap."""

    by: str
    max_cost_nanousd: int | None = None
    message: str = ""


class Unblocked(msgspec.Struct, frozen=True):
    """What the run was paused for is over: the quota was reset, a limit was raised."""

    reason: PauseReason


class StopAsked(msgspec.Struct, frozen=True):
    """A person ends the run."""

    by: str
    message: str = ""


class AgentStopAsked(msgspec.Struct, frozen=True):
    """A person ends one call: it gives null."""

    index: CallIndex
    by: str
    skip: bool = False


class AgentRestartAsked(msgspec.Struct, frozen=True):
    """A person wants a fresh attempt of a running call."""

    index: CallIndex
    by: str


class MessageSent(msgspec.Struct, frozen=True):
    """A person tells a running agent something."""

    index: CallIndex
    text: str
    by: str


class HandedOver(msgspec.Struct, frozen=True):
    """The process that drives the run ends in good order."""


class Noticed(msgspec.Struct, frozen=True):
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


class OpenSandbox(msgspec.Struct, frozen=True):
    """Start the script; its first drain comes back as `ScriptDrained`."""

    program: Program


class Deliver(msgspec.Struct, frozen=True):
    """Tell the script; the drains come back as `ScriptDrained`."""

    deliveries: tuple[Delivery, ...]


class CloseSandbox(msgspec.Struct, frozen=True):
    """Nothing of the script goes on."""


class StartAttempt(msgspec.Struct, frozen=True):
    """Ask policy and let the agent work; `AttemptEnded` comes back."""

    index: CallIndex
    attempt: int
    agent_id: AgentId


class AbortAttempt(msgspec.Struct, frozen=True):
    """End an attempt at once; nothing comes back."""

    index: CallIndex
    attempt: int


class SetFrozen(msgspec.Struct, frozen=True):
    """Agents wait before their next model request, or go on."""

    frozen: bool


class TellAgent(msgspec.Struct, frozen=True):
    """Give a running agent a text before its next request."""

    index: CallIndex
    text: str


class FindWorkflow(msgspec.Struct, frozen=True):
    """Find and check a script; `NestedFound` or `NestedMissing` comes back."""

    id: int
    name: str | None
    path: str | None


class SetTimer(msgspec.Struct, frozen=True):
    """`TimerFired` comes back then."""

    id: int
    at_ms: int


class ClearTimer(msgspec.Struct, frozen=True):
    """It comes no more."""

    id: int


class WakeAt(msgspec.Struct, frozen=True):
    """`Ticked` comes back then, in place of an earlier one that is due later."""

    at_ms: int


class Ended(msgspec.Struct, frozen=True):
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
