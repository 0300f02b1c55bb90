"""Every Protocol the runner depends on, on one page. The runtime's own adapters stand beside it; the gateway's are
handed in by whoever mounts it. Nothing is implemented here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from runtime.core.journal import StateLine
from runtime.core.limits import Limits
from runtime.core.model import (
    AgentId,
    CallIndex,
    CallOptions,
    FailureCode,
    Finished,
    Owner,
    RunId,
    RunSpec,
    RunState,
    Tokens,
    Usage,
    Worktree,
)
from runtime.core.program import Delivery, Drained, Program


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def monotonic(self) -> float: ...
    def unix_ms(self) -> int: ...


class SandboxFailed(Exception):
    """The script broke a limit or its process is gone: the run fails."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code
        self.message = message


class Sandbox(Protocol):
    """One script in a process of its own."""

    async def start(self, program: Program) -> Drained:
        """Run it until it waits. Raises `SandboxFailed`, as `deliver` does."""
        ...

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Drained]:
        """One drain after each delivery, in order. Fewer: the script has ended, or was not told the rest yet."""
        ...

    async def close(self) -> None:
        """Kill it. May be called at any time and more than once."""
        ...


class Sandboxes(Protocol):
    """Where sandboxes come from."""

    async def open(self, limits: Limits) -> Sandbox:
        """Raises `SandboxFailed`."""
        ...


class LeaseLost(Exception):
    """Another process drives this run now: whatever was to be written was not."""


class StoreAway(Exception):
    """The store cannot be reached just now; the message says why."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive a run. `fence` grows with each holder; what an older one writes is refused."""

    run: RunId
    owner: str
    fence: int


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is listed of a run without reading its journal."""

    id: RunId
    owner: Owner
    session: str
    name: str
    state: RunState
    created_ms: int
    updated_ms: int
    script_sha256: str
    workspace: str | None = None
    record: msgspec.Raw = msgspec.Raw(b"{}")
    """The run as the API shows it, as of the last line of the journal."""


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """A numbered event of a run: `seq` is dense from 1."""

    seq: int
    type: str
    at_ms: int
    text: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is written at once, or not at all: lines with the events and the row that follow from them."""

    lines: Sequence[bytes] = ()
    events: Sequence[EventRow] = ()
    row: RunRow | None = None
    blobs: Sequence[tuple[str, bytes]] = ()
    """SHA-256 and content of what stands beside the journal."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What somebody wants of a run that another process drives."""

    id: int
    run: RunId
    text: bytes


class RunStore(Protocol):
    """Journals, rows, events and leases of runs. Every method raises `StoreAway`."""

    async def create(self, row: RunRow, entry: Entry, *, owner: str, idempotency: str | None, now_ms: int) -> Lease:
        """A new run with its first lines and blobs, held by `owner`. The row of `entry` is not used.

        Raises `RunExists` when this principal has used the idempotency key before.
        """
        ...

    async def append(self, lease: Lease, entry: Entry) -> None:
        """Durable when it returns. Raises `LeaseLost`."""
        ...

    async def acquire(self, run: RunId, owner: str, now_ms: int, *, ttl_ms: int) -> Lease | None:
        """The run's lease, if nobody holds it or its holder has let it expire; with a new fence."""
        ...

    async def renew(self, leases: Sequence[Lease], now_ms: int, *, ttl_ms: int) -> Sequence[Lease]:
        """Those that are still held."""
        ...

    async def release(self, lease: Lease) -> None:
        """Let others have it."""
        ...

    async def held_ms(self, runs: Sequence[RunId], now_ms: int) -> Mapping[RunId, int]:
        """For how much longer each of them is its holder's, if nothing more is heard of that; 0: it is nobody's."""
        ...

    async def abandoned(self, now_ms: int) -> Sequence[RunRow]:
        """Open runs whose lease has expired or was let go."""
        ...

    async def find(self, run: RunId) -> RunRow | None: ...
    async def rows(
        self, *, user: str | None, session: str | None, states: Sequence[RunState], before: RunId | None, most: int
    ) -> Sequence[RunRow]:
        """Newest first; None and empty mean any."""
        ...

    async def completed(self, user: str, name: str, *, most: int) -> Sequence[RunRow]:
        """What this user's workflows of that name have completed, newest first."""
        ...

    async def open_runs(self, session: str, user: str) -> int: ...
    async def lines(self, run: RunId, *, after: int = 0, most: int | None = None) -> Sequence[tuple[int, bytes]]:
        """Numbered from 1, in order."""
        ...

    async def events(self, run: RunId, *, after: int, types: Sequence[str], most: int) -> Sequence[EventRow]: ...
    async def blob(self, sha256: str) -> bytes | None: ...
    async def started(self, user: str, idempotency: str) -> RunId | None:
        """The run that this user has started with this key (W138)."""
        ...

    async def outcome(self, run: RunId, key: str) -> bytes | None:
        """What a control with this idempotency key answered (W138)."""
        ...

    async def remember_outcome(self, run: RunId, key: str, answer: bytes, now_ms: int) -> bytes:
        """Keep it; the first one that was kept wins and is returned."""
        ...

    async def post(self, run: RunId, text: bytes, now_ms: int) -> int:
        """Leave a letter for whoever drives the run; its number."""
        ...

    async def take(self, owner: str, now_ms: int, *, ttl_ms: int) -> Sequence[Letter]:
        """Letters to the runs that `owner` drives, oldest first, each once; those older than `ttl_ms` are dropped."""
        ...

    async def consent(self, project: str, name: str, sha256: str) -> str | None:
        """Who said "always" to this script here (W142)."""
        ...

    async def give_consent(self, project: str, name: str, sha256: str, *, by: str, now_ms: int) -> None: ...
    async def save_script(self, owner: str, name: str, script: str, *, replace: bool, now_ms: int) -> bool:
        """Put it into the owner's library; False: there is another one under this name and `replace` is off."""
        ...

    async def saved_script(self, owner: str, name: str) -> str | None: ...
    async def saved_scripts(self, owner: str) -> Sequence[tuple[str, str, int]]:
        """Name, SHA-256 and when it was saved."""
        ...

    async def purge(self, ended_before_ms: int) -> int:
        """Forget runs that ended before; how many."""
        ...

    async def close(self) -> None: ...


class RunExists(Exception):
    """This idempotency key started a run before."""

    def __init__(self, run: RunId) -> None:
        super().__init__(run)
        self.run = run


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTask:
    """One attempt of a call, as the agent loop gets it."""

    run: RunSpec
    index: CallIndex
    attempt: int
    agent_id: AgentId
    prompt: str
    options: CallOptions
    label: str
    phase: str | None
    bearer: str = field(repr=False)
    """Credential of the run towards the gateway."""


@dataclass(frozen=True, slots=True)
class Limited:
    """The gateway or its upstream will not take more just now."""

    kind: Literal["quota", "budget", "throttled", "held"]
    """Account limit of the provider (W126), a spending limit (W118), a burst (W96), a person who holds the agent."""
    message: str
    until_ms: int | None = None


class Watch(Protocol):
    """What an agent loop tells its run while it works."""

    async def before_request(self) -> Sequence[str]:
        """Called before each model request: waits while the run is frozen or paused; what people tell the agent."""
        ...

    def began(self) -> None:
        """The first byte of an answer is there."""
        ...

    def used(self, usage: Usage) -> None:
        """A model request was answered; `usage` is what it alone took."""
        ...

    def used_tool(self, name: str, title: str, *, failed: bool) -> None:
        """A tool ran."""
        ...

    def warn(self, code: str, message: str) -> None:
        """Something to tell of, such as a model that was substituted."""
        ...

    async def limited(self, limit: Limited) -> None:
        """A request was refused for now: returns when it may be asked again. The transcript is kept."""
        ...


class Agents(Protocol):
    """Runs attempts. Cancelling the call ends the attempt at once, with its model request."""

    async def attempt(self, task: AgentTask, watch: Watch) -> Finished:
        """Never raises for what an agent or an upstream did: that is in `Finished`."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy says. `ask` set: a person has to approve first, for that reason."""

    allow: bool
    message: str = ""
    ask: str | None = None
    by: str | None = None
    """Who decided, if a person did."""


class Admission(Protocol):
    """The gateway's decisions about runs and their agents. Never raises: what goes wrong is a denial."""

    async def decide_run(self, spec: RunSpec) -> Verdict: ...
    async def approve_run(self, spec: RunSpec) -> Verdict:
        """The same, with whoever policy wants to approve it asked and waited for."""
        ...

    async def decide_spawn(self, task: AgentTask) -> Verdict: ...
    def open_bearer(self, spec: RunSpec) -> str:
        """A secret that the gateway takes for the owner, in this run only, until it is closed."""
        ...

    def close_bearer(self, run: RunId) -> None: ...
    def end_agent(self, task: AgentTask) -> None:
        """It asks nothing more."""
        ...

    def stopped_by(self, spec: RunSpec) -> str | None:
        """Who has stopped the run, or the session, user or team that it belongs to; None: nobody."""
        ...

    async def room(self, spec: RunSpec) -> object:
        """What the owner's spending limits leave the run; kept when they have paused it."""
        ...

    async def has_room(self, spec: RunSpec, since: object) -> bool:
        """Have they let go since?"""
        ...

    async def left_nanousd(self, spec: RunSpec) -> int | None:
        """What the tightest of them leaves in money; None: none stands, or nobody can tell."""
        ...


class Prices(Protocol):
    """List prices."""

    def cost(self, model: str, tokens: Tokens) -> int | None:
        """Nano-dollars; None: no price is known."""
        ...


class ToolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave, as the content of a `tool_result`."""

    content: str | list[dict[str, Any]]
    is_error: bool = False


class Tools(Protocol):
    """The tools of one agent in one folder. Every call was decided by the gateway before it gets here."""

    @property
    def definitions(self) -> Sequence[dict[str, Any]]:
        """As the Messages API takes them: `name`, `description`, `input_schema`."""
        ...

    async def call(self, name: str, tool_input: dict[str, Any], *, idempotency_key: str) -> ToolAnswer:
        """Never raises for what the agent asked. An unknown name is an error for the agent."""
        ...

    async def close(self) -> None:
        """End what still runs."""
        ...


class Toolboxes(Protocol):
    """Where tools come from."""

    async def open(self, folder: str | None, names: Sequence[str] | None) -> Tools:
        """The tools of a folder, at most those named. Raises `WorkspaceRefused`."""
        ...


class WorkspaceRefused(Exception):
    """The folder cannot be worked in; the message says why and what to do."""


class Workspaces(Protocol):
    """Folders of agents."""

    def check(self, folder: str) -> str:
        """The folder as it really is, if agents may work there. Raises `WorkspaceRefused`."""
        ...

    async def branch_off(self, folder: str, name: str) -> "Checkout":
        """A fresh git worktree of the folder's HEAD (W59). Raises `WorkspaceRefused`."""
        ...

    async def still_there(self, worktree: Worktree) -> bool:
        """May a result that was made in it be replayed (W161)?"""
        ...


class Checkout(Protocol):
    """A worktree while it is used."""

    @property
    def folder(self) -> str: ...
    async def finish(self) -> Worktree:
        """Remove it if nothing was changed in it, else keep it."""
        ...


class Scripts(Protocol):
    """Finds scripts by name or path for a run (W02, W06, W07, W107)."""

    async def find(self, owner: Owner, workspace: str | None, *, name: str | None, path: str | None) -> "Found":
        """Raises `ScriptMissing`."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A script and where it came from."""

    source: str
    path: str | None


class ScriptMissing(Exception):
    """No such script, or one that may not be read; the message says what was looked for."""


class Listener(Protocol):
    """Told of what happens to runs: metrics, audit trail, webhook. Never waits, never raises."""

    def run_changed(self, spec: RunSpec, line: StateLine, record: dict[str, Any]) -> None: ...
    def call_settled(self, outcome: str, usage: Usage) -> None: ...
    def sandbox_failed(self, code: FailureCode) -> None: ...
    def governed(self, upstream: str, concurrency: int) -> None: ...
    def appended(self, seconds: float) -> None:
        """Lines of a journal are durable."""
        ...

    def taken_over(self, spec: RunSpec, state: RunState, since_ms: int) -> None:
        """A run that this process did not begin is driven here."""
        ...

    def let_go(self, spec: RunSpec) -> None:
        """It is driven here no more."""
        ...
