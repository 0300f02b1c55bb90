"""What is asked of the policy engine and what it answers: query, decision, obligation. Default deny.

Shapes are DESIGN 5; `policies/schema/input.json` is the same in JSON Schema and tests hold the two together.
No engine here, and no evaluation.
"""

from typing import Annotated, Any, Literal

import msgspec

from gateway.core.money.limits import KINDS, LimitRow, Meter, OnReach
from gateway.core.money.windows import Window, is_window

ToolClass = Literal["read", "write", "exec", "network", "agent", "other"]


class Principal(msgspec.Struct, frozen=True):
    """Whom a request acts for."""

    org: str
    team: str | None
    user: str
    credential: str
    groups: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    operator: bool = False
    """May use the operator paths (`/ringfence/v1/...`)."""

    def tagged(self, name: str, value: str) -> "Principal":
        """The same principal with one more tag."""
        return msgspec.structs.replace(self, tags={**self.tags, name: value})


class Client(msgspec.Struct, frozen=True):
    """The program that connects, as its user-agent says: `claude-cli`, `2.1.330`."""

    name: str = ""
    version: str = ""


class Lineage(msgspec.Struct, frozen=True):
    """Where in the tree of agents a request stands. Ids are the client's claims."""

    session: str
    agent: str
    run: str | None = None
    parent: str | None = None
    depth: int = 0
    agent_type: str | None = None
    client: Client = Client()
    inferred: bool = False
    """The session id was derived from the conversation because the client sent none."""
    workspace: str | None = None
    """Absolute path of the agent's working directory, as the client's environment text says; None: not known."""


class Infer(msgspec.Struct, frozen=True, tag_field="kind", tag="infer"):
    """A model request."""

    model: str
    stream: bool
    max_tokens: int | None
    effort: str | None
    speed: str | None
    tools: tuple[str, ...]
    server_tools: tuple[str, ...]
    """Types of the tools that the upstream runs itself, such as `web_search_20250305`."""
    mcp_servers: tuple[str, ...]
    betas: tuple[str, ...]
    body_bytes: int
    dialect: str = "anthropic"


class Spawn(msgspec.Struct, frozen=True, tag_field="kind", tag="spawn"):
    """An agent coming to life."""

    via: Literal["first_request", "tool_use", "runtime"]
    agent_type: str | None = None
    model: str | None = None
    prompt_bytes: int | None = None
    prompt_sha256: str | None = None
    label: str | None = None
    phase: str | None = None
    isolation: str | None = None
    background: bool | None = None
    parent_type: str | None = None
    """Type of the agent that asks: `main`, or None when it is not known."""
    workflow: bool = False
    """The agent belongs to the run of a workflow script."""


class Command(msgspec.Struct, frozen=True):
    """One simple command found in a shell line, after quotes, env prefixes and wrappers were taken off."""

    program: str
    """Base name: `/usr/bin/rm` and `\\rm` are `rm`."""
    argv: tuple[str, ...]
    """Words after expansion of quotes; a word that cannot be known statically is `\\ufffd`."""
    piped_from: str | None = None
    """Program on the left of the pipe that feeds it, so that `curl | sh` can be seen."""


class PathUse(msgspec.Struct, frozen=True):
    """One file path a tool call names, normalised (`.` and `..` resolved, `~` kept as `~`)."""

    path: str
    access: Literal["read", "write"]
    inside_workspace: bool | None
    """None when the workspace is not known and the path is absolute."""


class ToolFacts(msgspec.Struct, frozen=True):
    """What can be told of a tool call without running it, so that rules need not parse shell or paths."""

    commands: tuple[Command, ...] = ()
    paths: tuple[PathUse, ...] = ()
    hosts: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    """What a parser could not tell (`eval of a variable`, `syntax error`): rules decide what to make of it."""


class ToolCall(msgspec.Struct, frozen=True, tag_field="kind", tag="tool_call"):
    """A model's request to use a tool."""

    tool: str
    input: Any
    """The input object, decoded; never deeper than `contract.TOOL_INPUT_DEPTH_MAX`."""
    tool_use_id: str
    server: str | None
    """`mcp:<name>` for `mcp__<name>__<tool>`, else None."""
    tool_class: ToolClass = msgspec.field(name="class")
    facts: ToolFacts = ToolFacts()


class PlannedPhase(msgspec.Struct, frozen=True):
    """A phase as the `meta` of a script announces it."""

    title: str
    detail: str | None = None
    model: str | None = None


class CallSite(msgspec.Struct, frozen=True):
    """One `agent(...)` of a script and its options. None: not given; what cannot be known statically is `\ufffd`."""

    line: int
    label: str | None = None
    phase: str | None = None
    model: str | None = None
    agent_type: str | None = None
    isolation: str | None = None
    effort: str | None = None
    schema: bool = False
    """The answer must have a given form."""
    more: bool = False
    """Options may be given that cannot be seen."""


class Width(msgspec.Struct, frozen=True):
    """How much one `parallel` or `pipeline` has side by side; None: cannot be seen."""

    line: int
    call: str
    width: int | None


class Unbounded(msgspec.Struct, frozen=True):
    """A place that starts agents and shows no bound: `while`, `for-of`, `map`, `recursion`, `unseen`, ..."""

    line: int
    what: str


class ScriptProfile(msgspec.Struct, frozen=True):
    """Static facts of a workflow script, which was parsed and never run."""

    valid: bool
    """The syntax tree has no error and `meta` is a literal."""
    name: str | None = None
    description: str | None = None
    phases: tuple[str, ...] = ()
    agent_calls: int = 0
    """Call sites of `agent(...)`."""
    fan_out: int | None = 0
    """Most agents that the literals of the script can start; None when a loop or array has no visible bound."""
    models: tuple[str, ...] = ()
    agent_types: tuple[str, ...] = ()
    isolations: tuple[str, ...] = ()
    nested_workflows: int = 0
    problems: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    planned: tuple[PlannedPhase, ...] = ()
    """The phases once more, with all that is said of them."""
    sites: tuple[CallSite, ...] = ()
    """The first of the call sites."""
    widths: tuple[Width, ...] = ()
    unbounded: tuple[Unbounded, ...] = ()


class Registration(msgspec.Struct, frozen=True):
    """A script that a named person approved for good."""

    name: str | None
    by: str
    at_ms: int


class Run(msgspec.Struct, frozen=True, tag_field="kind", tag="run"):
    """A workflow script about to be executed."""

    name: str | None
    script_sha256: str | None
    """None when the script is opaque: the call named it instead of carrying it."""
    profile: ScriptProfile | None
    args_bytes: int
    source: Literal["runtime", "claude-code"]
    resume_of: str | None = None
    opaque: bool = False
    registered: Registration | None = None
    """The registry's entry for this hash."""


Action = Infer | Spawn | ToolCall | Run


class Time(msgspec.Struct, frozen=True):
    """UTC. `weekday` is `monday`..`sunday`, `hour` 0..23."""

    unix_ms: int
    weekday: str
    hour: int


Meters = dict[str, dict[str, int]]
"""Last known meters by `agent`, `session`, `run`, `user`, `team`, `org`; cost in nano-dollars under `cost`."""


class Query(msgspec.Struct, frozen=True):
    """What we ask the policy engine."""

    action: Action
    principal: Principal
    lineage: Lineage
    meters: Meters
    time: Time


class RuleReason(msgspec.Struct, frozen=True):
    """One rule's word: `rule` is `<category>/<rule>`, `message` one sentence that says what is allowed instead."""

    rule: str
    message: str


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A limit that a decision adds to those of the configuration. `max` is nano-dollars or a count.

    It holds when `account` is one of the request's own. A misspelt key would make another limit than was meant.
    """

    account: str
    meter: Meter
    window: Window
    max: Annotated[int, msgspec.Meta(ge=0)]
    on_reach: OnReach = "refuse"
    strict: bool = False

    def row(self) -> LimitRow:
        """As the ledger takes it.

        Raises:
            ValueError: there is no such account or window.
        """
        kind, _, name = self.account.partition(":")
        if kind not in KINDS or (not name and self.account != "org") or (name and kind == "org"):
            raise ValueError(f"{self.account!r} is no account, such as org or user:alice")
        if not is_window(self.window):
            raise ValueError(f"{self.window!r} is no window")
        return LimitRow(
            account=self.account,
            max=self.max,
            window=self.window,
            meter=self.meter,
            strict=self.strict,
            on_reach=self.on_reach,
            id="policy",
            source="policy",
        )


class Obligation(msgspec.Struct, frozen=True):
    """Something that must be done for the decision to hold."""

    kind: str
    value: Any = None


OBLIGATIONS = frozenset({"strip_tools", "clamp_max_tokens", "set_model", "notice", "require_approval", "log_full"})
"""All that we know (DESIGN 5). Which of them a path can carry out is that path's; what it cannot, denies."""


class Decision(msgspec.Struct, frozen=True):
    """The engine's answer."""

    allow: bool
    reasons: tuple[RuleReason, ...] = ()
    shadow: tuple[RuleReason, ...] = ()
    """What rules in shadow mode would have said; recorded, never acted on."""
    obligations: tuple[Obligation, ...] = ()
    limits: tuple[Limit, ...] = ()
    revision: str = ""

    @property
    def message(self) -> str:
        """The reasons as one line for people: `tools/secrets: ...; spawn/depth: ...`."""
        return "; ".join(f"{reason.rule}: {reason.message}" for reason in self.reasons)


def denied(rule: str, message: str, revision: str = "") -> Decision:
    """A decision that denies for one reason."""
    return Decision(allow=False, reasons=(RuleReason(rule=rule, message=message),), revision=revision)
