"""The lines of a run's journal (W148 to W152): append-only, one JSON object each, `type` says which. Shapes only.

A settlement has a `seq`, dense over the run: the order in which the script got them, which a replay repeats (W39).
`seq` None: an attempt ended and its call goes on. `ref` is the SHA-256 of a value that stands beside the journal.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec

from runtime.core.model import (
    AgentId,
    CallIndex,
    CallOptions,
    Failure,
    Json,
    NullReason,
    Outcome,
    PauseReason,
    RunSpec,
    RunState,
    Scope,
    Thrown,
    Usage,
    Worktree,
)

KEY_VERSION = "1"
"""Part of every key: a change of what belongs to a key makes all old ones miss."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    at_ms: int


class RunLine(_Line, frozen=True, kw_only=True, tag="run"):
    """The header."""

    spec: RunSpec


class StateLine(_Line, frozen=True, kw_only=True, tag="state"):
    """The run went from one state to another."""

    before: RunState
    after: RunState
    reason: PauseReason | Literal["approved", "denied", "started", "resumed", "raised"] | None = None
    by: str | None = None
    until_ms: int | None = None
    """When it goes on by itself."""
    message: str = ""
    max_cost_nanousd: int | None = None
    """The run's own cap from now on."""


class IssuedLine(_Line, frozen=True, kw_only=True, tag="issued"):
    """The script called `agent()`."""

    id: int
    """Of the operation in the sandbox."""
    index: CallIndex
    key: str
    scope: Scope
    prompt: str
    options: CallOptions
    phase: str | None = None
    nested: int = 0


class StartedLine(_Line, frozen=True, kw_only=True, tag="started"):
    """An attempt of a call got its place."""

    index: CallIndex
    attempt: int
    agent_id: AgentId


class HeldLine(_Line, frozen=True, kw_only=True, tag="held"):
    """A call has a place, but waits for a sibling to warm their prompt cache (W97)."""

    index: CallIndex


class ResultLine(_Line, frozen=True, kw_only=True, tag="result"):
    """The call gave a value."""

    index: CallIndex
    key: str
    scope: Scope
    seq: int
    spent: int
    value: Json = msgspec.UNSET
    ref: str | None = None
    attempt: int = 0
    agent_id: AgentId | None = None
    usage: Usage = Usage()
    model: str | None = None
    cached: bool = False
    schema_attempts: int = 0
    steered: bool = False
    worktree: Worktree | None = None
    transcript_sha256: str | None = None
    detail: str = ""


class ErrorLine(_Line, frozen=True, kw_only=True, tag="error"):
    """An attempt gave none; with a `seq` the call is `null` for a reason, or throws."""

    index: CallIndex
    key: str
    seq: int | None = None
    spent: int = 0
    null: NullReason | None = None
    thrown: Thrown | None = None
    detail: str = ""
    attempt: int = 0
    agent_id: AgentId | None = None
    usage: Usage = Usage()
    model: str | None = None
    worktree: Worktree | None = None


class RefusedLine(_Line, frozen=True, kw_only=True, tag="refused"):
    """The call never started, and throws."""

    index: CallIndex
    key: str
    seq: int
    spent: int
    thrown: Thrown


class StoppedLine(_Line, frozen=True, kw_only=True, tag="stopped"):
    """Somebody or something ended an attempt (`attempt` 0: the call waited in the queue)."""

    index: CallIndex
    key: str
    reason: Literal["stopped", "skipped", "restarted", "interrupted", "unawaited", "run_ended"]
    seq: int | None = None
    spent: int = 0
    by: str | None = None
    attempt: int = 0
    agent_id: AgentId | None = None
    usage: Usage = Usage()


class NestedLine(_Line, frozen=True, kw_only=True, tag="nested"):
    """The script called `workflow()`: what was found for it, or why nothing."""

    id: int
    scope: Scope
    seq: int
    spent: int
    wanted: str
    """The name or path."""
    name: str | None = None
    source_sha256: str | None = None
    source: str | None = None
    body: str | None = None
    meta: Json = msgspec.UNSET
    args: Json = msgspec.UNSET
    error: str | None = None


class TimerLine(_Line, frozen=True, kw_only=True, tag="timer"):
    """A timer fired."""

    id: int
    scope: Scope = Scope("")
    seq: int
    spent: int


class PhaseLine(_Line, frozen=True, kw_only=True, tag="phase"):
    """`phase(title)`."""

    title: str
    nested: int = 0


class LogLine(_Line, frozen=True, kw_only=True, tag="log"):
    """`log(message)`."""

    text: str
    dropped: int = 0
    nested: int = 0


class WarningLine(_Line, frozen=True, kw_only=True, tag="warning"):
    """Something to tell of."""

    code: str
    message: str
    from_script: bool = False
    """It came out of the sandbox, and comes again in a replay."""


class MessageLine(_Line, frozen=True, kw_only=True, tag="message"):
    """A person steered an agent (W136)."""

    index: CallIndex
    text: str
    by: str


class EndedLine(_Line, frozen=True, kw_only=True, tag="ended"):
    """The run is over."""

    state: RunState
    outcome: Outcome
    usage: Usage
    value: Json = msgspec.UNSET
    ref: str | None = None
    failure: Failure | None = None
    by: str | None = None
    message: str = ""


Line = (
    RunLine
    | StateLine
    | IssuedLine
    | StartedLine
    | HeldLine
    | ResultLine
    | ErrorLine
    | RefusedLine
    | StoppedLine
    | NestedLine
    | TimerLine
    | PhaseLine
    | LogLine
    | WarningLine
    | MessageLine
    | EndedLine
)

_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode_line(line: Line) -> bytes:
    """One line without its end."""
    return msgspec.json.encode(line)


def decode_line(text: bytes) -> Line:
    """Raises `msgspec.MsgspecError`."""
    return _decoder.decode(text)


def lifted_line(at_ms: int, reason: PauseReason) -> StateLine:
    """One reason of several for which a run is paused is gone; `message` names it."""
    return StateLine(at_ms=at_ms, before="paused", after="paused", reason="raised", message=reason)


def is_lifted(line: StateLine) -> bool:
    """Such a line."""
    return line.before == line.after == "paused" and line.reason == "raised"


def call_key(prompt: str, options: CallOptions) -> str:
    """What makes two calls the same for a resume (W152): not their label, phase, time limits or resolved model."""
    identity: Mapping[str, Any] = {
        "prompt": prompt,
        "schema": options.schema,
        "model": options.model,
        "effort": options.effort,
        "agentType": options.agent_type,
        "isolation": options.isolation,
        "tools": options.tools,
        "disallowedTools": options.disallowed_tools,
    }
    text = msgspec.json.encode([KEY_VERSION, identity], order="deterministic")
    return sha256(text).hexdigest()
