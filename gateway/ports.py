"""Every Protocol the request path depends on, on one page: the whole outside world.

Adapters live in `upstreams/ policy/ identity/ stores/ telemetry/`; tests pass fakes. Nothing is implemented here.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from gateway.context import RequestContext
from gateway.core.budgets import AccountView, Hold
from gateway.core.decision import Decision, Principal, Query, ScriptProfile, ToolClass, ToolFacts
from gateway.core.fuse import FuseRecord
from gateway.core.lineage import AgentRecord
from gateway.core.shapes import Operation, Shape


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def monotonic(self) -> float: ...
    def unix_ms(self) -> int: ...


class Authenticator(Protocol):
    """Who shows this secret? None: nobody we know. Never blocks: answers from memory."""

    def authenticate(self, secret: str) -> Principal | None: ...


class PolicyEngine(Protocol):
    """Decides queries. Never raises: whatever goes wrong inside is a deny whose reason says so."""

    @property
    def revision(self) -> str: ...
    async def decide(self, query: Query) -> Decision: ...


class ToolDescriber(Protocol):
    """Static facts of a tool call: commands, paths, hosts, and what could not be told."""

    def __call__(self, tool: str, tool_input: Any, workspace: str | None) -> ToolFacts: ...


class ToolClassifier(Protocol):
    """Class of a tool by its name, and `mcp:<server>` for a tool of an MCP server."""

    def __call__(self, tool: str) -> tuple[ToolClass, str | None]: ...


class ScriptProfiler(Protocol):
    """Static profile of a workflow script. Never runs it, never raises."""

    def __call__(self, script: str) -> ScriptProfile: ...


class Ledger(Protocol):
    """Holds money before it is spent. Every hold ends exactly once: settle, release or expire."""

    async def reserve(self, hold: Hold) -> None:
        """Hold on every account of `hold` or on none; durable when it returns.

        Raises `core.budgets.Exhausted` when a limit would be passed, `Refused(STORE_UNAVAILABLE)` when it is not kept.
        """
        ...

    def settle(self, hold_id: str, cost_nanousd: int, now_ms: int) -> None:
        """Turn the hold into spend: at once for every later `reserve`, on disk soon after; once however often called.

        Never waits and never fails, so that no cancellation can come between an answer and its bill.
        """
        ...

    def release(self, hold_id: str) -> None:
        """Nothing was dispatched or nothing is billed: give the hold back. Never waits."""
        ...

    def views(self, accounts: Sequence[str] | None, now_ms: int) -> list[AccountView]:
        """Limits, spend and holds of the named accounts (None: every account with a limit), for people."""
        ...

    def is_strict(self, accounts: Sequence[str]) -> bool:
        """Does a strict limit hold for one of the accounts?"""
        ...

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all."""
        ...

    def held_total(self) -> int:
        """Nano-dollars held and not settled yet."""
        ...


class FuseStore(Protocol):
    """Remembers blown and replaced fuses across restarts."""

    def save_fuse(self, record: FuseRecord) -> None: ...


class LineageStore(Protocol):
    """Remembers agents and their meters across restarts."""

    def save_agent(self, record: AgentRecord) -> None: ...


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request in its upstream's shape, headers already chosen.

    `path` (with its query string) is for Anthropic-shaped backends: as the client sent it, when its dialect has it.
    The others build theirs of `model`, which is the id that this upstream knows, `stream` and `operation`.
    """

    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    model: str
    stream: bool
    operation: Operation = "messages"


class UpstreamAnswer(Protocol):
    """An answer that has begun. `close` may be called at any time and more than once."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...
    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `GatewayError(UPSTREAM_BROKE | UPSTREAM_TIMEOUT)`."""
        ...

    async def close(self) -> None: ...


class Upstream(Protocol):
    """One configured endpoint of a backend."""

    @property
    def id(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Raises `GatewayError`: UPSTREAM_UNREACHABLE (not billed), UPSTREAM_TIMEOUT or UPSTREAM_BROKE (perhaps)."""
        ...

    async def close(self) -> None: ...


class AuditSink(Protocol):
    """One line per record, in order, durable against a crash of the process when the call returns. Never raises."""

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None: ...
    def request(self, ctx: RequestContext) -> None: ...
    def fuse(self, record: FuseRecord) -> None: ...


class Telemetry(Protocol):
    """Metrics of the request path. Labels are bounded: never a session, agent, user or credential."""

    def request_started(self) -> None: ...
    def request_ended(self, ctx: RequestContext) -> None: ...
    def decided(self, query: Query, decision: Decision, seconds: float) -> None: ...
    def fuse_blown(self, scope: str, meter: str) -> None: ...
    def agent_seen(self, via: str) -> None: ...
    def held_nanousd(self, total: int) -> None: ...
