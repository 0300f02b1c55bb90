"""Plays a run against the machine: what a script asks for is written as operations, what agents do as their ends."""

from typing import Any, TypeVar

import msgspec

from runtime.core import happenings as on
from runtime.core.happenings import Command
from runtime.core.journal import Line, decode_line, encode_line
from runtime.core.limits import Limits
from runtime.core.machine import Machine
from runtime.core.model import (
    CallIndex,
    CallOptions,
    Finished,
    NullReason,
    Owner,
    RunId,
    RunSpec,
    Scope,
    Thrown,
    Tokens,
    Usage,
)
from runtime.core.program import AgentOp, Drained, End, Op, Returned
from runtime.core.recovery import recover
from runtime.core.replay import Replay
from runtime.core.run import Step

NOW = 1_800_000_000_000
T = TypeVar("T")


def spec(**changed: Any) -> RunSpec:
    """A run with nothing special to it."""
    limits = Limits(**{"stagger_ms": 0, **changed.pop("limits", {})})
    fields: dict[str, Any] = {
        "id": RunId("wf_0123456789ab"),
        "owner": Owner(user="alice", credential="alice-laptop"),
        "session": "s-1",
        "name": "audit",
        "description": "Audits",
        "script": "export const meta = {}",
        "body": "",
        "meta": msgspec.Raw(b"{}"),
        "script_sha256": "0" * 64,
        "created_ms": NOW,
        "limits": limits,
    }
    return RunSpec(**{**fields, **changed})


def agent(id: int, prompt: str = "", *, scope: str = "", **options: Any) -> AgentOp:
    """`agent(prompt, options)` as the sandbox tells of it."""
    return AgentOp(id=id, scope=Scope(scope), prompt=prompt or f"prompt {id}", options=CallOptions(**options))


def used(output: int = 0, cost_nanousd: int = 0) -> Usage:
    """What an attempt took."""
    return Usage(tokens=Tokens(output=output), cost_nanousd=cost_nanousd, requests=1)


def value(text: str = '"ok"', output: int = 0, cost_nanousd: int = 0) -> Finished:
    """An attempt that gave a value."""
    return Finished(value=msgspec.Raw(text.encode()), usage=used(output, cost_nanousd))


def null(reason: NullReason, **fields: Any) -> Finished:
    """An attempt that gave none."""
    return Finished(null=reason, **fields)


def thrown(message: str = "no") -> Finished:
    """An attempt that throws."""
    return Finished(thrown=Thrown(code="schema_retries_exhausted", message=message))


RETURNED = Returned(value=msgspec.Raw(b'"done"'))


class Play:
    """One run. `lines` and `commands` hold everything so far."""

    def __init__(self, machine: Machine | None = None, *, replay: Replay | None = None, **changed: Any) -> None:
        self.machine = machine or Machine(spec(**changed), replay=replay)
        self.lines: list[Line] = []
        self.commands: list[Command] = []
        self.now = NOW

    def launched(self, *ops: Op, end: End | None = None) -> "Play":
        """Opened, begun, and the script has run until it waits."""
        self.take(self.machine.open(self.now, ask=None))
        self.tell(on.Begun())
        self.drains(*ops, end=end)
        return self

    def take(self, step: Step) -> Step:
        """What follows is kept."""
        self.lines += [decode_line(encode_line(line)) for line in step.lines]
        self.commands += step.commands
        return step

    def tell(self, event: on.Event, later_ms: int = 0) -> Step:
        """Something happens."""
        self.now += later_ms
        return self.tell_at_once(event)

    def tell_at_once(self, *events: on.Event) -> Step:
        """These happen before anything follows of them."""
        for event in events:
            self.machine.take(event, self.now)
        return self.take(self.machine.advance())

    def drains(self, *ops: Op, end: End | None = None, cpu_seconds: float = 0.0) -> Step:
        """The script answers."""
        return self.tell(on.ScriptDrained((Drained(ops=ops, end=end, cpu_seconds=cpu_seconds),)))

    def ends(self, index: int, finished: Finished, later_ms: int = 0) -> Step:
        """The running attempt of a call is over."""
        attempt = self.machine.run.calls[index].attempt
        return self.tell(on.AttemptEnded(CallIndex(index), attempt, finished), later_ms)

    def all(self, kind: type[T]) -> list[T]:
        """Every line or command of a kind, in order."""
        return [each for each in (*self.lines, *self.commands) if isinstance(each, kind)]

    def states(self) -> list[str]:
        """Of the calls, by index."""
        return [call.state for call in self.machine.run.calls]

    def crashed(self) -> "Play":
        """Another process goes on from what is written."""
        after = Play(Machine(self.machine.run.spec, recovered=recover(self.lines)))
        after.lines, after.now = list(self.lines), self.now
        after.take(after.machine.recover(after.now))
        return after
