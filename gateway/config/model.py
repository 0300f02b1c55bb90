"""What a checked configuration is: frozen, every path absolute, every amount in nano-dollars. No reading here."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from gateway.config.document import Problem
from gateway.core.fuses.fuse import FuseLimits
from gateway.core.money.limits import LimitRow

PolicyMode = Literal["enforce", "shadow"]
Engine = Literal["embedded", "opa"]
RuleMode = Literal["enforce", "shadow", "off"]
OnFailure = Literal["closed", "open"]
SizeGuideline = Literal["small", "medium", "large", "unrestricted"]
Confirm = Literal["warn", "pause"]
RunApproval = Literal["policy", "ask", "never"]
"""A person approves a run where a policy says so, or every run, or none: then what policy wants approved is denied."""
PipelineNull = Literal["stop", "pass"]


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


class Secret:
    """A text that is never shown: not in `repr`, not in a log, not in an error. `reveal` is the one way out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Only for the header that carries it, or for hashing."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Constant time, so that comparing does not tell how much of a guess was right."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a dict of secrets would compare in variable time


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server binds. Port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    drain_seconds: float = 30.0
    """How long running answers and their settlements may take when the gateway is told to stop."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where money, agents, fuses and credentials are kept. The path in `url` is absolute after loading."""

    url: str = field(default="sqlite:///ringfence.db", repr=False)
    """May hold a password."""
    on_failure: OnFailure = "closed"
    """When Postgres is away: `closed` refuses; `open` lets through what no strict limit guards."""
    journal: Path | None = None
    """Folder where what was spent while Postgres is away is written down."""


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """A policy set that is not a plain folder: the bundle of a server (`url`), or a commit of a checkout (`git`)."""

    url: str | None = None
    token: Secret | None = None
    git: Path | None = None
    ref: str = "HEAD"
    folder: str = ""
    """Of the policies within the checkout."""
    poll_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class DecisionLog:
    """A log of decisions in the format of OPA: appended to a file (`path`), or sent to a service (`url`)."""

    path: Path | None = None
    url: str | None = None
    token: Secret | None = None
    labels: Mapping[str, str] = field(default_factory=_empty)
    erase: tuple[str, ...] = ("/input/action/input",)
    """What is left out of every record, besides what looks like a secret."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`path` None: the policies that come with the package. `rules`: mode by `<category>/<rule>`.

    `push` False: the OPA server has policies of its own, and nothing is laid over them.
    """

    engine: Engine = "embedded"
    url: str | None = None
    token: Secret | None = None
    timeout_ms: int = 250
    push: bool = True
    path: Path | None = None
    bundle: PolicyBundle | None = None
    mode: PolicyMode = "enforce"
    rules: Mapping[str, RuleMode] = field(default_factory=_empty)
    settings: Mapping[str, Any] = field(default_factory=_empty)
    decision_log: DecisionLog | None = None

    @property
    def folder(self) -> Path:
        """Where the policies are: `path`, else those of the installed package, else those of the source tree."""
        packaged = Path(__file__).parents[1] / "_policies"
        return self.path or (packaged if packaged.is_dir() else Path(__file__).parents[2] / "policies")

    @property
    def overrides(self) -> dict[str, Any]:
        """What is laid over the policies' own defaults: `settings`, with the modes of `rules` under `modes`."""
        return {**self.settings, "modes": dict(self.rules)} if self.rules else dict(self.settings)


@dataclass(frozen=True, slots=True)
class Team:
    """A team and its members."""

    id: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Org:
    """The organisation. A user belongs to one team at most."""

    id: str = "default"
    teams: tuple[Team, ...] = ()
    time_zone: tzinfo = UTC
    """In which days, weeks and months of limits begin."""


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """A credential written in the configuration. `team` None: the user's team."""

    id: str
    secret: Secret
    user: str
    team: str | None = None
    operator: bool = False
    groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may connect, besides the credentials of the store."""

    credentials: tuple[CredentialConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When an upstream is cut out: after `failures` in a row, for `open_seconds`, doubled while probes fail."""

    failures: int = 5
    open_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One endpoint of a backend. At most one of `api_key` and `bearer`; `headers` may carry secrets: not shown.

    Without either, `bedrock`, `vertex`, `foundry` and `aws` take the credentials of their cloud's own chain.
    """

    id: str
    backend: str
    base_url: str | None = None
    api_key: Secret | None = None
    bearer: Secret | None = None
    region: str | None = None
    """AWS region of `bedrock` and `aws`; location of `vertex`: `global`, `us`, `eu` or a region."""
    project: str | None = None
    """Google Cloud project of `vertex`."""
    resource: str | None = None
    """Azure resource of `foundry`."""
    workspace: str | None = None
    """`wrkspc_...` of `aws`."""
    profile: str | None = None
    """Prefix of Bedrock's inference profiles (`us`, `eu`, `global`, ...) that model ids of the catalogue get."""
    models: Mapping[str, str] = field(default_factory=_empty)
    """Model id to what this upstream calls it: a deployment name, an inference-profile ARN."""
    capabilities: Mapping[str, bool | tuple[str, ...]] = field(default_factory=_empty)
    """Feature of the capability table to whether this upstream has it, or for which model globs."""
    betas: Mapping[str, str] = field(default_factory=_empty)
    """Beta name to `keep`, `drop` or the name it has here."""
    price_multiplier: int | None = None
    """Ten-thousandths of the list price; None: what region and geography make it."""
    concurrent_max: int | None = None
    queue_seconds: float = 30.0
    """Longest wait for one of `concurrent_max` places."""
    count_tokens: bool = False
    """Ask it how long a prompt is that a strict limit must bound and of which little is known."""
    breaker: BreakerConfig = BreakerConfig()
    scenario: Path | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Route:
    """Model globs to upstream ids, in order of preference.

    `weights` spreads sessions over those of the upstreams that have one; the others are used when these fail.
    `principals` (`team:x`, `user:x`, `credential:x`, `group:x`, `tag:name=value`) says whom it is for; empty: everyone.
    """

    models: tuple[str, ...]
    upstreams: tuple[str, ...]
    weights: Mapping[str, int] = field(default_factory=_empty)
    principals: tuple[str, ...] = ()


LOOP_FUSES: Mapping[str, int] = MappingProxyType(
    {
        "identical_tool_calls": 10,
        "similar_tool_calls": 30,
        "alternating_tool_calls": 30,
        "consecutive_errors": 15,
        "rounds_without_progress": 15,
    }
)
"""What ends a loop when the configuration says nothing of agents' fuses."""


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """Who is told of what happens. `url` may carry a secret: not shown."""

    url: str = field(repr=False)
    secret: Secret
    """Signs each event."""


@dataclass(frozen=True, slots=True)
class Approvals:
    """How people are asked. A rule may ask for less time, and for four eyes where they are not wanted everywhere."""

    expires_seconds: int = 600
    four_eyes: bool = False
    webhook: WebhookConfig | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """How scripts are run by the gateway's own runtime, and what each run may be at most."""

    enabled: bool = True
    workspaces: tuple[Path, ...] = ()
    """Folders in which agents may be given a workspace; none: their tools have no files."""
    model: str = "claude-sonnet-5-5"
    """For calls that name none, in a run that names none."""
    workflow_model: str | None = None
    """In place of whatever a call names."""
    concurrency: int = 16
    agents_max: int = 1_000
    open_per_session: int = 10
    lifetime_seconds: float = 86_400.0
    max_cost_nanousd: int | None = None
    """At which a run that names no cap of its own is paused; it may name a lower one."""
    confirm_agents: int = 25
    confirm_tokens: int = 1_500_000
    size_guideline: SizeGuideline | None = None
    """What takes the place of `confirm_agents` where a run is called large, and what authors of scripts are told."""
    confirm: Confirm = "warn"
    """What becomes of a run that passes one of these."""
    approval: RunApproval = "policy"
    auto_resume: bool = False
    """Runs that an ended process left go on by themselves."""
    bash: bool = True
    """Agents may have a shell where it can be confined."""
    strict_options: bool = True
    pipeline_null: PipelineNull = "stop"
    stagger_ms: int = 5_000
    admission_reserve: bool = False
    """An agent begins only while the script's token budget leaves what an agent of its phase takes."""
    script_drain_seconds: float = 2.0
    script_cpu_seconds: float = 60.0
    script_heap_mib: int = 64
    script_stack_kib: int = 512
    keep_days: int = 30
    webhook: WebhookConfig | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """`path` is `stdout` or an absolute file path; `keep` rotated files stay beside it."""

    path: str = "stdout"
    rotate_bytes: int = 100 * 1024 * 1024
    keep: int = 10


@dataclass(frozen=True, slots=True)
class Prices:
    """`path` overrides prices of the package; `fallback_model` is whose price an unknown model is charged."""

    path: Path | None = None
    fallback_model: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything, checked. `warnings` are findings that do not stop the gateway from serving."""

    upstreams: tuple[UpstreamConfig, ...]
    routes: tuple[Route, ...]
    listen: Listen = Listen()
    metrics: Listen = Listen(port=9464)
    store: Store = Store()
    policy: Policy = Policy()
    org: Org = Org()
    identity: Identity = Identity()
    aliases: Mapping[str, str] = field(default_factory=_empty)
    budgets: tuple[LimitRow, ...] = ()
    fuses: FuseLimits = FuseLimits(agent=LOOP_FUSES)
    approvals: Approvals = Approvals()
    runs: Runs = Runs()
    audit: Audit = Audit()
    prices: Prices = Prices()
    warnings: tuple[Problem, ...] = ()
