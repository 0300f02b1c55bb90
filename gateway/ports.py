"""Every Protocol the request path depends on, on one page: the whole outside world.

Adapters live in `upstreams/ policy/ identity/ stores/ telemetry/`; tests pass fakes. Nothing is implemented here.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentRecord, Claimed
from gateway.core.decisions.decision import Decision, Principal, Query, ScriptProfile, ToolClass, ToolFacts
from gateway.core.fuses.fuse import FuseRecord
from gateway.core.money.budgets import Expired, Hold, LimitView
from gateway.core.money.limits import Amounts, LimitRow, Series
from gateway.core.money.stored_limits import AuditedChange, Author, LimitChange, StoredLimit
from gateway.core.wire.shapes import Operation, Shape


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def monotonic(self) -> float: ...
    def unix_ms(self) -> int: ...


class Authenticator(Protocol):
    """Who shows this secret? None: nobody we know. Never blocks: answers from memory."""

    def authenticate(self, secret: str) -> Principal | None: ...
    def run_of(self, secret: str) -> str | None:
        """The run that alone may use this secret; None: it is no run's."""
        ...


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


def _untold(*_: object) -> None:
    """For a ledger that nobody listens to."""


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told what settlements did."""

    overshot: Callable[[LimitRow, int], None] = _untold
    """Of each that took spend past a limit, and by how much."""
    corrected: Callable[[str], None] = _untold
    """Of each that came for an expired hold, by its id: the true cost counts now."""


NOBODY_TOLD = Told()


class Ledger(Protocol):
    """Holds money before it is spent. Every hold ends exactly once: settle, release or expire."""

    async def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        """Hold on every limit of `hold` or on none; durable when it returns. The limits as they stood before.

        Raises `core.money.budgets.Exhausted` when a limit would be passed, `Refused(STORE_UNAVAILABLE)` when it is
        not kept.
        """
        ...

    async def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        """Raise an open hold to these amounts; False: it has ended. Raises as `reserve`: then it stays as it was."""
        ...

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> None:
        """Turn the hold into spend: at once for every later `reserve` here, on disk soon after. Once.

        Never waits and never fails, so that no cancellation can come between an answer and its bill. Of a hold that
        had expired it corrects what was counted.
        """
        ...

    def release(self, hold_id: str) -> None:
        """Nothing was dispatched or nothing is billed: give the hold back. Never waits."""
        ...

    def is_strict(self, accounts: Sequence[str], model: str, backends: Sequence[str]) -> bool:
        """Does a strict limit apply?"""
        ...

    def views(self, now_ms: int) -> list[LimitView]:
        """Every limit that names its account, and the others that were met lately; as last known, for metrics."""
        ...

    async def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        """Every limit that a request on these accounts can meet, for people. Raises `Refused(STORE_UNAVAILABLE)`."""
        ...

    async def used(self, series: Sequence[Series], now_ms: int) -> list[int]:
        """What each series has used, limited or not, for people. Raises `Refused(STORE_UNAVAILABLE)`."""
        ...

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all, as last known."""
        ...

    def held_total(self) -> int:
        """Nano-dollars held by this process and not settled yet."""
        ...


class LimitStore(Protocol):
    """Keeps the limits that operators set, and what changed. The ledger of the same store applies them at once."""

    async def stored_limits(self) -> list[StoredLimit]:
        """In the order of creation. Raises `Refused(STORE_UNAVAILABLE)`, as all of these."""
        ...

    async def change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        """Replace the limit whose id or slot is `which` by what `change` makes of it, with its audit record.

        What `change` raises passes on, and nothing is changed.
        """
        ...

    async def limit_audit(self, after: int, most: int) -> list[AuditedChange]:
        """Up to `most` changes whose number is greater than `after`, oldest first."""
        ...


RecordKind = Literal["fuse", "control", "approval", "script"]
RecordChange = Callable[[bytes | None], bytes | None]
"""From the record as it stands to what it shall be; None: there is none. What it raises passes on."""


class SharedRecord(NamedTuple):
    """One small record; `text` None: it was removed."""

    kind: RecordKind
    id: str
    text: bytes | None


class SharedRecords(Protocol):
    """Small records that survive restarts and that every gateway on one store knows within a second."""

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        """Write it soon, as the latest. Never waits, never fails."""
        ...

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        """Replace it by what `change` makes of it, against every other gateway; durable when it returns.

        Raises `Refused(STORE_UNAVAILABLE)`, and what `change` raises.
        """
        ...

    async def load_records(self) -> list[SharedRecord]:
        """All of them. Raises `Refused(STORE_UNAVAILABLE)`."""
        ...

    async def changed_records(self) -> list[SharedRecord]:
        """Those that another gateway has written since the last call (or since `load_records`), in order."""
        ...


class LineageStore(Protocol):
    """Remembers sessions and agents: across restarts, and across the gateways of one store."""

    async def claim_agent(self, record: AgentRecord) -> Claimed:
        """Tell what is known of a session and agent that this process has not seen; if nobody has, they are new.

        Two gateways that claim at once get one order. Raises `Refused(STORE_UNAVAILABLE)`.
        """
        ...

    def release_agent(self, session: str, agent: str) -> None:
        """Its spawn was denied: it does not count any more. Soon; never waits, never fails."""
        ...

    def save_agent(self, record: AgentRecord) -> None:
        """Write what this process counted of an agent soon. Never waits, never fails."""
        ...

    async def used_elsewhere(self, sessions: Sequence[str]) -> list[AgentRecord]:
        """What other gateways counted of the agents of these sessions; several records of an agent are added up."""
        ...


class StoredCredential(Protocol):
    """A credential of the store, as far as identity goes."""

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def team(self) -> str | None: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def revoked_ms(self) -> int | None: ...
    @property
    def operator(self) -> bool: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


class Store(Ledger, LimitStore, SharedRecords, LineageStore, Protocol):
    """Everything that outlives a process, in one place."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be kept just now, for the operator; None when it can."""
        ...

    @property
    def journal_entries(self) -> int:
        """What was spent while the store was away and is not in it yet."""
        ...

    @property
    def expired_at_open(self) -> Sequence[Expired]:
        """Holds that a dead owner had left; they are spend now."""
        ...

    def open_holds(self) -> tuple[int, int | None]:
        """How many holds of this process have not ended, and when the oldest was made, in Unix milliseconds."""
        ...

    async def expire(self, now_ms: int) -> Sequence[Expired]:
        """Settle what is overdue at the held amount, and whatever else is done about once a second."""
        ...

    async def load_agents(self, since_ms: int) -> list[AgentRecord]: ...
    async def load_credentials(self) -> Sequence[StoredCredential]: ...
    async def credentials_version(self) -> object: ...
    async def close(self) -> None: ...


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


class DecisionSink(Protocol):
    """Told of every decision. Never raises, never waits."""

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None: ...


class AuditSink(Protocol):
    """One line per record, in order, durable against a crash of the process when the call returns. Never raises."""

    def decision(self, ctx: RequestContext, query: Query, decision: Decision, *, decision_id: str) -> None: ...
    def request(self, ctx: RequestContext) -> None: ...
    def fuse(self, record: FuseRecord) -> None: ...
    def expired(self, expired: Expired, at_ms: int) -> None: ...
    def corrected(self, hold_id: str, at_ms: int) -> None: ...


class Telemetry(Protocol):
    """Metrics of the request path. Labels are bounded: never a session, agent, user or credential."""

    def request_started(self) -> None: ...
    def request_ended(self, ctx: RequestContext) -> None: ...
    def decided(self, query: Query, decision: Decision, seconds: float) -> None: ...
    def fuse_blown(self, scope: str, meter: str) -> None: ...
    def agent_seen(self, via: str) -> None: ...
    def held(self, ctx: RequestContext) -> None: ...
    def limit_refused(self, series: Series) -> None: ...
    def overshot(self, limit: LimitRow, amount: int) -> None: ...
    def hold_expired(self, count: int) -> None: ...
