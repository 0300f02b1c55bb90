"""Plays scripts in real sandboxes: agents answer at once, in the order in which they were issued. No test here."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runtime.core.limits import Limits
from runtime.core.model import Scope, Thrown
from runtime.core.program import (
    AgentOp,
    Delivery,
    Drained,
    End,
    GroupOp,
    LogOp,
    Op,
    PhaseOp,
    Program,
    Returned,
    Threw,
    TimerOp,
    WarnOp,
    WorkflowOp,
)
from runtime.sandbox.host import ChildSandbox, ChildSandboxes

META = {"name": "play", "description": "a script of a test"}
SILENCE_SECONDS_MAX = 30.0
"""Of a script that works, on a machine that has much else to do: what it may take is processor time."""


class Null:
    """An agent's answer: `null`, for a reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


Answer = Callable[[AgentOp], Any]
"""Gives the value of a call; or `Null`, or `Thrown`."""


def echo(op: AgentOp) -> Any:
    """An agent that says its prompt."""
    return op.prompt


def program(body: str, args: Any = msgspec.UNSET, **rest: Any) -> Program:
    """A script without `meta`, which its lines and columns do not notice."""
    raw = None if args is msgspec.UNSET else msgspec.Raw(msgspec.json.encode(args))
    meta = msgspec.Raw(msgspec.json.encode(rest.pop("meta", META)))
    return Program(source=body, body=body, meta=meta, args=raw, **rest)


@dataclass(slots=True)
class Played:
    """All that a script did."""

    ops: list[Op] = field(default_factory=list[Op])
    end: End | None = None

    @property
    def value(self) -> Any:
        """What it returned."""
        return value_of(Drained(end=self.end))

    @property
    def threw(self) -> Threw:
        """What it threw."""
        assert isinstance(self.end, Threw), self.end
        return self.end

    @property
    def agents(self) -> list[AgentOp]:
        return [op for op in self.ops if isinstance(op, AgentOp)]

    @property
    def prompts(self) -> list[str]:
        return [op.prompt for op in self.agents]

    @property
    def scopes(self) -> dict[str, str]:
        """By prompt."""
        return {op.prompt: op.scope for op in self.agents}

    @property
    def groups(self) -> list[tuple[str, str, int]]:
        return [(op.scope, op.group, op.items) for op in self.ops if isinstance(op, GroupOp)]

    @property
    def logs(self) -> list[str]:
        return [op.text for op in self.ops if isinstance(op, LogOp)]

    @property
    def phases(self) -> list[tuple[str, int]]:
        return [(op.title, op.nested) for op in self.ops if isinstance(op, PhaseOp)]

    @property
    def warnings(self) -> list[tuple[str, str]]:
        return [(op.code, op.message) for op in self.ops if isinstance(op, WarnOp)]


@asynccontextmanager
async def opened(**limits: Any) -> AsyncGenerator[ChildSandbox]:
    """A sandbox with these limits, closed in the end."""
    limits.setdefault("heartbeat_seconds", SILENCE_SECONDS_MAX)
    sandbox = await ChildSandboxes().open(Limits(**limits))
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def play(
    body: str,
    args: Any = msgspec.UNSET,
    *,
    answer: Answer = echo,
    saved: Mapping[str, str] | None = None,
    limits: Mapping[str, Any] | None = None,
    **rest: Any,
) -> Played:
    """Run a script to its end, or until it waits for nothing that comes. `saved`: bodies of workflows by name."""
    played = Played()
    async with opened(**(limits or {})) as sandbox:
        waiting = deque(_take(played, await sandbox.start(program(body, args, **rest))))
        while waiting and played.end is None:
            delivery = _settled(waiting.popleft(), answer, saved or {})
            for drained in await sandbox.deliver([delivery]):
                waiting.extend(_take(played, drained))
    return played


def agents_of(drained: Drained) -> list[AgentOp]:
    """The calls that a drain issued."""
    return [op for op in drained.ops if isinstance(op, AgentOp)]


def value_of(drained: Drained) -> Any:
    """What the script returned in this drain."""
    assert isinstance(drained.end, Returned), drained.end
    return msgspec.json.decode(drained.end.value)


def value_for(op: AgentOp, value: Any, **rest: Any) -> Delivery:
    """A call resolves."""
    return Delivery(id=op.id, scope=op.scope, value=msgspec.Raw(msgspec.json.encode(value)), **rest)


def _take(played: Played, drained: Drained) -> list[AgentOp | WorkflowOp | TimerOp]:
    played.ops += drained.ops
    played.end = drained.end
    return [op for op in drained.ops if isinstance(op, AgentOp | WorkflowOp | TimerOp)]


def _settled(op: AgentOp | WorkflowOp | TimerOp, answer: Answer, saved: Mapping[str, str]) -> Delivery:
    if isinstance(op, TimerOp):
        return Delivery(id=op.id, scope=op.scope)
    if isinstance(op, WorkflowOp):
        return _found(op, saved)
    given = answer(op)
    if isinstance(given, Thrown):
        return Delivery(id=op.id, scope=op.scope, thrown=given)
    if isinstance(given, Null):
        return Delivery(id=op.id, scope=op.scope, value=msgspec.Raw(b"null"), reason=given.reason)
    return value_for(op, given)


def _found(op: WorkflowOp, saved: Mapping[str, str]) -> Delivery:
    body = saved.get(op.name or op.script_path or "")
    if body is None:
        thrown = Thrown(code="nested_workflow", message=f"there is no workflow {op.name or op.script_path}")
        return Delivery(id=op.id, scope=op.scope, thrown=thrown)
    found = msgspec.structs.replace(program(body), args=op.args)
    return Delivery(id=op.id, scope=Scope(op.scope), program=found)
