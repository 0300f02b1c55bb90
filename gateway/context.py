"""The one object per request: what has been learnt so far. Access log, audit record and metrics are read from it.

Not a place for behaviour.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.agents.lineage import AgentNode
from gateway.core.decisions.decision import Decision, Lineage, Principal
from gateway.core.estimates.estimate import Shape as Sized
from gateway.core.estimates.known import Outline
from gateway.core.fuses.loops import Streaks
from gateway.core.money.budgets import Hold, LimitView
from gateway.core.money.prices import UNIT, Price
from gateway.core.routes.places import Place
from gateway.core.routes.routing import Route
from gateway.core.wire.body import Ask
from gateway.core.wire.messages import Tap
from gateway.core.wire.shapes import IN_BODY, OLD_VERSION, Asked, Change, Shape
from gateway.core.wire.usage import Usage
from gateway.errors import Reason

Dialect = Shape | Literal["operator"]


@dataclass(slots=True)
class ToolCallOutcome:
    """One tool call of this request's answer and what became of it."""

    tool: str
    tool_use_id: str
    tool_class: str
    allowed: bool
    decision: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One upstream that was tried and did not answer for good."""

    upstream: str
    status: int | None
    reason: Reason


@dataclass(slots=True)
class RequestContext:
    """What is known of one request. `None` means not learnt (yet)."""

    id: str
    """`dec_<hex>`: the decision id that every answer carries."""
    method: str
    path: str
    """Path and query as sent, without the `/gw/<tag>` prefix."""
    headers: Mapping[str, str]
    """The client's headers: looked up in any case, `items()` in order and with repeats."""
    dialect: Dialect
    received_unix_ms: int
    received_monotonic: float
    client_name: str = ""
    client_version: str = ""
    tag: str | None = None
    source: Literal["request", "hook", "api", "runtime"] = "request"
    """What is decided: what passes through, what a client's hook tells, what another harness or our runtime asks."""

    principal: Principal | None = None
    bearer_run: str | None = None
    """The run of our own whose secret was shown: its runtime leaves no request that it still wants the answer of."""
    asked: Asked = IN_BODY
    body: bytes = b""
    """Starts as what the client sent; admission edits it. Always in the client's dialect."""
    ask: Ask | None = None
    model: str = ""
    """The model to use, as the price table spells it: aliases resolved, obligations met."""
    betas: tuple[str, ...] = ()
    version: str = OLD_VERSION
    """The API version asked for, as the Claude API writes it."""
    max_tokens: int | None = None
    """What an obligation clamped `max_tokens` to."""
    lineage: Lineage | None = None
    agent: AgentNode | None = None
    began: bool = False
    """The agent counts this request as in flight."""
    side: str | None = None
    """What the client asks beside its agents' work (`title`, `web_search`, ...); None: an agent's own request."""
    streaks: Streaks | None = None
    decision: Decision | None = None
    restored_denials: int = 0
    notices: int = 0
    """Notices that stand in the body."""
    wrapping_up: bool = False
    """The last request of an agent whose fuse has blown: it may sum up, and call no tool."""
    closing: str | None = None
    """The agent's turn ends with these words instead of an answer."""

    route: Route | None = None
    places: Mapping[str, Place] = field(default_factory=dict[str, Place])
    """Each upstream of the route, and what the model is there."""
    price: Price | None = None
    hold: Hold | None = None
    limits: tuple[LimitView, ...] = ()
    """The limits that apply, as they stood before the hold."""
    covered_chars: int | None = None
    """Output, in characters, that the hold is for; past it the hold must be extended. None: for all there can be."""
    extensions: int = 0
    """How often the hold was extended."""
    clamped_from: int | None = None
    """The `max_tokens` that was lowered so that the request fits a limit."""
    cut: bool = False
    """The stream was ended as `max_tokens`, because the hold ran out and could not be extended."""
    sized: Sized | None = None
    """What the request may use, as it was held."""
    multiplier: int = UNIT
    """What the dearest upstream it may go to charges of the list price, in ten-thousandths."""
    counted_tokens: int | None = None
    """The prompt's tokens as the upstream counted them beforehand."""
    outline: Outline | None = None
    """Set when a strict limit applies, and the next prompt may begin with this one."""
    dispatched: bool = False
    """The request may have reached the upstream, so it may be billed."""
    upstream: str | None = None
    upstream_model: str | None = None
    """The model as the upstream was asked for it."""
    shape: Shape = "anthropic"
    """The shape of the upstream that answered."""
    bridged: tuple[Change, ...] = ()
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    """Upstreams that were tried and failed."""
    gave_up: bool = False
    """More than one upstream was tried, and all failed."""
    upstream_request_id: str | None = None
    tap: Tap | None = None
    drain: Callable[[], Awaitable[None]] | None = None
    """Set when the client left first: reads the rest of the answer for its usage."""
    drained_later: bool = False
    """The rest of the answer is read in the background; the request is settled and recorded after it."""

    status: int | None = None
    reason: Reason | None = None
    message: str = ""
    usage: Usage | None = None
    lost_nanousd: int = 0
    """Billed, as far as can be told, by attempts that failed after they were sent."""
    cost_nanousd: int = 0
    cost_estimated: bool = False
    """A final usage never came; the cost, or its part for an attempt that was lost, is the floor estimate."""
    tool_calls: list[ToolCallOutcome] = field(default_factory=list[ToolCallOutcome])

    policy_seconds: float = 0.0
    upstream_headers_seconds: float | None = None
    first_byte_seconds: float | None = None
    total_seconds: float | None = None
    bytes_out: int = 0
