"""What the sandbox and its host say to each other. Shapes only; `sandbox/` speaks them, `machine.py` understands them.

The script runs until it waits (a *drain*); what it asked for meanwhile comes out as operations, in program order. Then
one settlement is delivered, which begins the next drain. Nothing else crosses, and everything that does is JSON.
"""

from typing import Literal

import msgspec

from runtime.core.model import CallOptions, RunSpec, Scope, Thrown, raw_of


class AgentOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="agent"):
    """`agent(prompt, opts)`. `id` is dense over all contexts of the run, shared with timers and nested workflows."""

    id: int
    scope: Scope
    prompt: str
    options: CallOptions
    nested: int = 0
    """Which nested workflow issued it, by the id of its operation + 1; 0: the run's own script."""


class WorkflowOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="workflow"):
    """`workflow(name or {scriptPath}, args)`."""

    id: int
    scope: Scope
    name: str | None = None
    script_path: str | None = None
    args: msgspec.Raw | None = None


class TimerOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="timer"):
    """`setTimeout`."""

    id: int
    ms: int
    scope: Scope = Scope("")


class ClearOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="clear"):
    """`clearTimeout`: timer `id` fires no more."""

    id: int


class PhaseOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="phase"):
    """`phase(title)`."""

    title: str
    nested: int = 0


class LogOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="log"):
    """`log(message)`; cut to its limits by the sandbox. `dropped`: how many lines were not kept so far (W90)."""

    text: str
    dropped: int = 0
    nested: int = 0


class GroupOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="group"):
    """A `parallel` or `pipeline` begins: `group` is its scope without the item."""

    scope: Scope
    group: str
    items: int


class WarnOp(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="warn"):
    """Something to tell of: `unhandled_rejection`, `unknown_option`, `result_lossy`."""

    code: str
    message: str


Op = AgentOp | WorkflowOp | TimerOp | ClearOp | PhaseOp | LogOp | GroupOp | WarnOp


class Returned(msgspec.Struct, frozen=True, kw_only=True, tag_field="end", tag="returned"):
    """The script returned; `value` is JSON (`null` for undefined)."""

    value: msgspec.Raw


class Threw(msgspec.Struct, frozen=True, kw_only=True, tag_field="end", tag="threw"):
    """The script threw, or its result cannot be JSON (`code` is then `result_not_serializable`)."""

    message: str
    code: Literal["script_threw", "result_not_serializable", "result_too_large"] = "script_threw"
    stack: str = ""


End = Returned | Threw


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """One drain: what the script asked for, in order, and how it stands now. `end` None: it waits."""

    ops: tuple[Op, ...] = ()
    end: End | None = None
    cpu_seconds: float = 0.0
    """Of this drain."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One settlement for the script: operation `id` resolves to `value`, or rejects with `thrown`, or fires.

    `value` None without `thrown`: JavaScript's `undefined`; a call that gives null has the JSON `null`.
    """

    id: int
    scope: Scope
    """Becomes the script's current branch before it goes on."""
    value: msgspec.Raw | None = None
    thrown: Thrown | None = None
    spent: int = 0
    """What `budget.spent()` says from now on."""
    reason: str | None = None
    """Why the value is null, for `agent.lastError(label)`."""
    program: "Program | None" = None
    """Source of a nested workflow that was found: it is started instead of being resolved."""


class Program(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A script to be started. Line and column of its errors are those of `source`."""

    source: str
    """As checked: with `export const meta = ...`."""
    body: str
    """The same with that statement blanked out, so that lines and columns stay."""
    meta: msgspec.Raw
    args: msgspec.Raw | None = None
    budget_total: int | None = None
    pipeline_null: Literal["stop", "pass"] = "stop"
    strict_options: bool = True


def program_of(spec: RunSpec) -> Program:
    """The script of a run."""
    return Program(
        source=spec.script,
        body=spec.body,
        meta=spec.meta,
        args=raw_of(spec.args),
        budget_total=spec.budget_tokens,
        pipeline_null=spec.pipeline_null,
        strict_options=spec.strict_options,
    )
