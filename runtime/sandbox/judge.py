"""Decides whether what a sandbox says can be believed: every drain is decoded strictly and held to its bounds.

Pure. The child is taken for hostile, also where its own prelude has checked the same thing before.
"""

import math
import re

import msgspec

from runtime.core.limits import (
    ARGS_BYTES_MAX,
    ARTEFACT_BYTES_MAX,
    ITEMS_MAX,
    LOG_CHARS_MAX,
    PROMPT_BYTES_MAX,
    TIMER_MS_MAX,
)
from runtime.core.model import CallOptions, Json, Scope, raw_of
from runtime.core.program import (
    AgentOp,
    ClearOp,
    Drained,
    End,
    GroupOp,
    LogOp,
    Op,
    PhaseOp,
    Returned,
    TimerOp,
    WarnOp,
    WorkflowOp,
)

OPS_PER_DRAIN_MAX = 20_000
CHARS_PER_DRAIN_MAX = 16 * 1024 * 1024
"""Of the JSON of the operations that a script may queue before it waits."""
SCOPE_CHARS_MAX = 8_192
TEXT_CHARS_MAX = 1_024
"""Of names, labels and titles."""
ERROR_CHARS_MAX = 4_000
TOOLS_MAX = 256
RETRIES_MAX = 5
OPS_OF_THE_PRELUDE = 64
"""What the prelude itself may add to a drain: warnings, dropped lines."""
WARNINGS = frozenset({"unhandled_rejection", "unknown_option", "result_lossy", "item_threw"})


class _Nesting(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="workflow"):
    """`WorkflowOp` as it is decoded: `Raw | None` cannot be."""

    id: int
    scope: Scope
    name: str | None = None
    script_path: str | None = None
    args: Json = msgspec.UNSET


class _Drain(msgspec.Struct, frozen=True, kw_only=True):
    ops: tuple[AgentOp | _Nesting | TimerOp | ClearOp | PhaseOp | LogOp | GroupOp | WarnOp, ...]
    end: End | None
    cpu_seconds: float


_decoder = msgspec.json.Decoder(_Drain)
_LONE_SURROGATES = re.compile(rb"\\u[dD][89a-fA-F]")


class Disbelieved(Exception):
    """The sandbox said what it cannot say; the message says what."""


class Judge:
    """Follows one sandbox, so that its ids stay dense and its nested workflows are ones that it asked for."""

    def __init__(self) -> None:
        self._next_id = 0
        self._nests: set[int] = {0}

    def drained(self, payload: bytes) -> Drained:
        """Raises `Disbelieved`."""
        try:
            payload.decode()
            drain = _decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise Disbelieved(f"its answer is not what it should be: {fault}") from None
        _require(len(drain.ops) <= OPS_PER_DRAIN_MAX + OPS_OF_THE_PRELUDE, "too many operations")
        _require(math.isfinite(drain.cpu_seconds) and drain.cpu_seconds >= 0, "a strange time")
        ops = tuple(_whole(op) if isinstance(op, _Nesting) else op for op in drain.ops)
        for op in ops:
            self._check(op)
        if drain.end is not None:
            _check_end(drain.end)
        return Drained(ops=ops, end=drain.end, cpu_seconds=drain.cpu_seconds)

    def _check(self, op: Op) -> None:
        match op:
            case AgentOp():
                self._check_agent(op)
            case WorkflowOp():
                self._check_workflow(op)
            case TimerOp():
                self._check_id(op.id)
                _require(0 <= op.ms <= TIMER_MS_MAX, "a timer out of bounds")
                _check_scope(op.scope)
            case ClearOp():
                _require(0 <= op.id < self._next_id, "a timer that is none")
            case PhaseOp():
                self._check_nested(op.nested)
                _require(0 < len(op.title) <= TEXT_CHARS_MAX, "a title out of bounds")
            case LogOp():
                self._check_nested(op.nested)
                _require(len(op.text) <= LOG_CHARS_MAX and op.dropped >= 0, "a log line out of bounds")
            case GroupOp():
                _check_scope(op.scope)
                _check_scope(op.group)
                _require(1 <= op.items <= ITEMS_MAX and op.group.startswith(f"{op.scope}/"), "a strange group")
            case WarnOp():
                _require(op.code in WARNINGS and len(op.message) <= ERROR_CHARS_MAX, "a strange warning")

    def _check_agent(self, op: AgentOp) -> None:
        self._check_id(op.id)
        self._check_nested(op.nested)
        _check_scope(op.scope)
        _require(op.prompt.strip() != "" and len(op.prompt) <= PROMPT_BYTES_MAX, "a prompt out of bounds")
        _check_options(op.options)

    def _check_workflow(self, op: WorkflowOp) -> None:
        self._check_id(op.id)
        self._nests.add(op.id + 1)
        _check_scope(op.scope)
        wanted = op.name if op.script_path is None else op.script_path
        _require((op.name is None) != (op.script_path is None), "a workflow without a name")
        _require(wanted is not None and 0 < len(wanted) <= TEXT_CHARS_MAX, "the name of a workflow out of bounds")
        if op.args is not None:
            _check_json(op.args, ARGS_BYTES_MAX)

    def _check_id(self, id: int) -> None:
        _require(id == self._next_id, f"operation {id} where {self._next_id} is next")
        self._next_id += 1

    def _check_nested(self, nested: int) -> None:
        _require(nested in self._nests, f"nested workflow {nested}, which was not asked for")


def _whole(op: _Nesting) -> WorkflowOp:
    return WorkflowOp(id=op.id, scope=op.scope, name=op.name, script_path=op.script_path, args=raw_of(op.args))


def _check_options(options: CallOptions) -> None:
    names = [options.label, options.phase, options.model, options.agent_type]
    tools = [*(options.tools or ()), *options.disallowed_tools]
    _require(all(len(name) <= TEXT_CHARS_MAX for name in [*names, *tools] if name is not None), "a name out of bounds")
    _require(len(tools) <= 2 * TOOLS_MAX, "too many tools")
    counts = [options.max_turns, options.max_tokens, options.timeout_ms, options.idle_timeout_ms]
    _require(all(count is None or 1 <= count < 2**53 for count in counts), "a limit out of bounds")
    cost = options.max_cost_usd
    _require(cost is None or (math.isfinite(cost) and cost > 0), "a cost out of bounds")
    _require(options.retries is None or 0 <= options.retries <= RETRIES_MAX, "retries out of bounds")


def _check_end(end: End) -> None:
    if isinstance(end, Returned):
        _check_json(end.value, ARTEFACT_BYTES_MAX)
    else:
        _require(len(end.message) <= ERROR_CHARS_MAX and len(end.stack) <= ERROR_CHARS_MAX, "an error out of bounds")


def _check_scope(scope: str) -> None:
    _require(len(scope) <= SCOPE_CHARS_MAX, "a branch out of bounds")


def _check_json(raw: msgspec.Raw, most: int) -> None:
    """The decoder has skipped over it as JSON; half characters can still stand in its strings."""
    content = bytes(raw)
    _require(len(content) <= most, "a value out of bounds")
    if _LONE_SURROGATES.search(content):
        try:
            msgspec.json.decode(content)
        except msgspec.MsgspecError as fault:
            raise Disbelieved(f"a value is not JSON: {fault}") from None


def _require(believed: bool, what: str) -> None:
    if not believed:
        raise Disbelieved(f"it sent {what}")
