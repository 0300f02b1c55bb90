"""The words of a run: its states, its calls, what became of them. Values only; what happens when is `machine.py`."""

from typing import Any, Literal, NewType

import msgspec

from runtime.core.limits import Limits

RunId = NewType("RunId", str)
"""`wf_` and at least six of `[a-z0-9-]` (W03)."""
AgentId = NewType("AgentId", str)
CallIndex = NewType("CallIndex", int)
"""Which call of the run, in the order in which the script issued them, from 0; nested workflows included."""
Scope = NewType("Scope", str)
"""The branch of a script that a call belongs to (W157): `""` is the root.

`/<group>.<item>` is appended inside the item of a `parallel` or `pipeline` (groups counted per scope from 0),
`/b<batch>.<item>` for each of several calls issued in one drain, `/w<n>` inside the n-th nested workflow of a scope.
"""

Json = msgspec.Raw | msgspec.UnsetType
"""JSON as it came, in what is read back from a journal; unset: there is none. (`Raw | None` cannot be decoded.)"""

RunState = Literal["pending_approval", "queued", "running", "paused", "completed", "failed", "stopped", "denied"]
OPEN_STATES: frozenset[RunState] = frozenset({"pending_approval", "queued", "running", "paused"})
AgentState = Literal["queued", "held", "running", "done", "error", "stopped", "skipped", "cached"]
NullReason = Literal["stopped", "skipped", "api_error", "empty", "limit", "agent_type", "permission", "stalled"]
"""Why a call gave `null` (W54)."""
ThrowCode = Literal[
    "schema_retries_exhausted",
    "schema_missing_output",
    "schema_invalid",
    "budget_exhausted",
    "agent_limit",
    "limit",
    "workspace",
    "invalid_call",
    "nested_workflow",
    "run_stopped",
]
"""Why a call threw (W55)."""
PauseReason = Literal["person", "budget", "quota", "operator", "approval", "host_restart", "threshold"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
NANOUSD_PER_USD = 1_000_000_000
INHERIT = "inherit"
"""In place of a model: as if none were named."""
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")
ResumeMode = Literal["lineage", "prefix", "none"]
FailureType = Literal["program_error", "thread_limit_error", "timeout_error", "unknown_error"]
FailureCode = Literal[
    "script_threw",
    "script_timeout",
    "script_out_of_memory",
    "script_stalled",
    "script_killed",
    "runaway_script",
    "agent_limit_error",
    "budget_error",
    "result_not_serializable",
    "result_too_large",
    "lifetime",
    "journal_lost",
    "protocol",
]
"""`error.detail` of a failed run (W125)."""


class CallOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The options of `agent()` as the script gave them (W47, W48). JSON uses the script's own names."""

    label: str | None = None
    phase: str | None = None
    schema: dict[str, Any] | None = None
    model: str | None = None
    effort: Effort | None = None
    agent_type: str | None = None
    isolation: Literal["worktree"] | None = None
    tools: tuple[str, ...] | None = None
    disallowed_tools: tuple[str, ...] = ()
    max_turns: int | None = None
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    timeout_ms: int | None = None
    idle_timeout_ms: int | None = None
    retries: int | None = None
    on_limit: Literal["null", "throw", "partial"] = "null"
    cache: Literal["auto", "never"] = "auto"
    evidence: bool = False


def raw_of(json: Json) -> msgspec.Raw | None:
    """The JSON, if there is any."""
    return json if isinstance(json, msgspec.Raw) else None


def json_of(raw: msgspec.Raw | None) -> Json:
    """The other way."""
    return msgspec.UNSET if raw is None else raw


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Model tokens by kind."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def total(self) -> int:
        """All kinds."""
        return self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write_5m=self.cache_write_5m + other.cache_write_5m,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
        )


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt has used. `cost_nanousd` is at list price; None: no price is known for its model."""

    tokens: Tokens = Tokens()
    cost_nanousd: int | None = 0
    requests: int = 0
    tool_calls: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        known = self.cost_nanousd is not None and other.cost_nanousd is not None
        return Usage(
            tokens=self.tokens + other.tokens,
            cost_nanousd=(self.cost_nanousd or 0) + (other.cost_nanousd or 0) if known else None,
            requests=self.requests + other.requests,
            tool_calls=self.tool_calls + other.tool_calls,
        )


class Thrown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error that a call rejects with; `fields` become properties of the Error that the script sees."""

    code: ThrowCode
    message: str
    fields: dict[str, Any] = {}


class Worktree(msgspec.Struct, frozen=True, kw_only=True):
    """A git worktree of an attempt (W59). `path` None: it was unchanged and is gone."""

    path: str | None
    branch: str | None
    base: str
    changed: bool


class Finished(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt ended. Exactly one of `value`, `null` and `thrown` is set."""

    value: msgspec.Raw | None = None
    """JSON of what the call resolves to."""
    null: NullReason | None = None
    thrown: Thrown | None = None
    detail: str = ""
    """One sentence for people: why it is null, or what was odd."""
    usage: Usage = Usage()
    model: str | None = None
    """The one that answered."""
    schema_attempts: int = 0
    steered: bool = False
    worktree: Worktree | None = None
    transcript_sha256: str | None = None
    transient: bool = False
    """A fresh attempt may do better (W57: after a stall, W48: `retries`)."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed (W125)."""

    type: FailureType
    detail: FailureCode
    message: str


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a run works."""

    user: str
    credential: str
    org: str = ""
    team: str | None = None
    groups: tuple[str, ...] = ()
    tags: dict[str, str] = {}


class RunSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that was decided at launch. The first line of the journal."""

    id: RunId
    owner: Owner
    session: str
    name: str
    description: str
    script: str
    """Normalised (W13), as it was checked and hashed."""
    body: str
    """The script with its `meta` blanked out, as it is run."""
    meta: msgspec.Raw
    script_sha256: str
    created_ms: int
    args: Json = msgspec.UNSET
    """Unset: the script sees `undefined`."""
    phases: tuple[str, ...] = ()
    """Declared titles, in order."""
    limits: Limits = Limits()
    model: str | None = None
    """Session model: for calls that name none."""
    forced_model: str | None = None
    models: dict[str, str] = {}
    """What short names of models stand for, such as `haiku`."""
    effort: Effort | None = None
    budget_tokens: int | None = None
    """`budget.total` (W112)."""
    max_cost_nanousd: int | None = None
    """Operator's cap for the run, which pauses it (W118)."""
    workspace: str | None = None
    """Folder of the agents' tools; None: they have no tools of their own."""
    script_path: str | None = None
    source: Literal["api", "tool", "cli"] = "api"
    resumed_from: RunId | None = None
    resume_mode: ResumeMode = "lineage"
    resume_plan: dict[str, Any] = {}
    """What the resume was said to take over, when it was launched (W162)."""
    pipeline_null: Literal["stop", "pass"] = "stop"
    strict_options: bool = True
    confirm_agents: int | None = None
    """Past so many calls the run waits for a person once more (W145)."""
    confirm_tokens: int | None = None
    approval: Literal["policy", "person"] | None = None
    """Who has to approve it before it begins: whoever a policy wants, or its owner."""
    title: str | None = None
    warnings: tuple[str, ...] = ()
    """Of the check and of the launch; `<code>: <text>`."""

    def model_of(self, named: str | None) -> str | None:
        """The model to ask for when a call names this one, or none (W50)."""
        for model in (self.forced_model, named, self.model):
            if model and model != INHERIT:
                return self.models.get(model, model)
        return None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The census (W174): what became of the calls."""

    planned: int = 0
    done: int = 0
    null: int = 0
    threw: int = 0
    refused: int = 0
    stopped: int = 0
    cached: int = 0

    @property
    def degraded(self) -> bool:
        """Not every call gave a value (W123)."""
        return bool(self.null or self.threw or self.refused or self.stopped)
