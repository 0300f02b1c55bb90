"""One agent before a scripted upstream: everything an attempt works with, faked but for HTTP and the SDK."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runtime.agents import GatewayClient, LocalAgents, Means, SchemaJudge
from runtime.core.limits import Limits
from runtime.core.model import AgentId, CallIndex, CallOptions, Finished, Owner, RunId, RunSpec, Tokens, Usage, Worktree
from runtime.ports import AgentTask, Limited, ToolAnswer, WorkspaceRefused
from tests.support.clock import FakeClock
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block

MODEL = "claude-opus-5-5"
BEARER = "rfr_secret_of_this_run"
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"finding": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["finding", "n"],
}


@dataclass(slots=True)
class FakeWatch:
    """Remembers what it was told. `leave` is waited for before each request; `texts` are said at the next ones."""

    texts: deque[Sequence[str]] = field(default_factory=deque[Sequence[str]])
    leave: Callable[[], Awaitable[None]] | None = None
    on_limited: Callable[[Limited], Awaitable[None]] | None = None
    events: list[str] = field(default_factory=list[str])
    usages: list[Usage] = field(default_factory=list[Usage])
    tools: list[tuple[str, str, bool]] = field(default_factory=list[tuple[str, str, bool]])
    warnings: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    limits: list[Limited] = field(default_factory=list[Limited])

    async def before_request(self) -> Sequence[str]:
        self.events.append("before_request")
        if self.leave is not None:
            await self.leave()
        return self.texts.popleft() if self.texts else ()

    def began(self) -> None:
        self.events.append("began")

    def used(self, usage: Usage) -> None:
        self.usages.append(usage)

    def used_tool(self, name: str, title: str, *, failed: bool) -> None:
        self.tools.append((name, title, failed))

    def warn(self, code: str, message: str) -> None:
        self.warnings.append((code, message))

    async def limited(self, limit: Limited) -> None:
        self.limits.append(limit)
        if self.on_limited is not None:
            await self.on_limited(limit)


ToolRun = Callable[[str, dict[str, Any]], Awaitable[ToolAnswer]]


async def echo(name: str, tool_input: dict[str, Any]) -> ToolAnswer:
    """What a tool gives that a test has no other idea for."""
    return ToolAnswer(content=f"{name} ran")


@dataclass(slots=True)
class FakeTools:
    """Tools of the given names. `calls`: name, input and idempotency key of each call that was executed."""

    names: Sequence[str]
    run: ToolRun = echo
    calls: list[tuple[str, dict[str, Any], str]] = field(default_factory=list[tuple[str, dict[str, Any], str]])
    closed: int = 0

    @property
    def definitions(self) -> Sequence[dict[str, Any]]:
        return [
            {"name": name, "description": f"The tool {name}.", "input_schema": {"type": "object"}}
            for name in self.names
        ]

    async def call(self, name: str, tool_input: dict[str, Any], *, idempotency_key: str) -> ToolAnswer:
        self.calls.append((name, tool_input, idempotency_key))
        return await self.run(name, tool_input)

    async def close(self) -> None:
        self.closed += 1


@dataclass(slots=True)
class FakeToolboxes:
    """Gives the same tools every time, and remembers what it was asked for."""

    tools: FakeTools
    refusal: str = ""
    opened: list[tuple[str | None, Sequence[str] | None]] = field(
        default_factory=list[tuple[str | None, Sequence[str] | None]]
    )

    async def open(self, folder: str | None, names: Sequence[str] | None) -> FakeTools:
        if self.refusal:
            raise WorkspaceRefused(self.refusal)
        self.opened.append((folder, names))
        return self.tools


@dataclass(slots=True)
class FakeCheckout:
    """A worktree that was changed."""

    folder: str = "/worktrees/one"
    finished: int = 0

    async def finish(self) -> Worktree:
        self.finished += 1
        return Worktree(path=self.folder, branch="ringfence/one", base="0" * 40, changed=True)


@dataclass(slots=True)
class FakeWorkspaces:
    """Worktrees of any folder; with a `refusal` of none."""

    checkout: FakeCheckout = field(default_factory=FakeCheckout)
    refusal: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def check(self, folder: str) -> str:
        return folder

    async def branch_off(self, folder: str, name: str) -> FakeCheckout:
        self.asked.append((folder, name))
        if self.refusal:
            raise WorkspaceRefused(self.refusal)
        return self.checkout

    async def still_there(self, worktree: Worktree) -> bool:
        return False


@dataclass(slots=True)
class FlatPrices:
    """A price for every token of every kind; None: no model has a price."""

    nanousd_per_token: int | None = 1_000

    def cost(self, model: str, tokens: Tokens) -> int | None:
        return None if self.nanousd_per_token is None else tokens.total * self.nanousd_per_token


@dataclass(slots=True)
class Scene:
    """The stage of a test."""

    upstream: ScriptedUpstream
    agents: LocalAgents
    watch: FakeWatch
    tools: FakeTools
    toolboxes: FakeToolboxes
    workspaces: FakeWorkspaces
    prices: FlatPrices
    clock: FakeClock
    waits: list[float]
    """Seconds that were waited between tries; the clock has moved on by them."""

    async def attempt(self, task: AgentTask | None = None) -> Finished:
        return await self.agents.attempt(task or make_task(), self.watch)

    def messages(self, request: int = -1) -> list[dict[str, Any]]:
        """Of a request, without the marks for the prompt cache."""
        return without_marks(self.upstream.received[request].json()["messages"])


@asynccontextmanager
async def staged(*tool_names: str) -> AsyncGenerator[Scene]:
    """A scene whose agents have tools of these names."""
    clock, waits = FakeClock(), list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)
        await asyncio.sleep(0)

    tools = FakeTools(tool_names)
    toolboxes, workspaces, prices = FakeToolboxes(tools), FakeWorkspaces(), FlatPrices()
    async with ScriptedUpstream(lambda _: stream_answer([text_block("Done.")])) as upstream:
        client, judge = GatewayClient(upstream.base_url), SchemaJudge()
        means = Means(
            client=client,
            judge=judge,
            toolboxes=toolboxes,
            workspaces=workspaces,
            prices=prices,
            clock=clock,
            wait=wait,
            jitter=lambda: 0.0,
        )
        try:
            agents = LocalAgents(means)
            yield Scene(upstream, agents, FakeWatch(), tools, toolboxes, workspaces, prices, clock, waits)
        finally:
            await judge.close()
            await client.close()


def make_task(
    prompt: str = "Find it.", *, attempt: int = 1, run: dict[str, Any] | None = None, **options: Any
) -> AgentTask:
    """Attempt 1 of call 3; `options` as `CallOptions` takes them, `run` replaces members of the run."""
    return AgentTask(
        run=make_run(**(run or {})),
        index=CallIndex(3),
        attempt=attempt,
        agent_id=AgentId("a0123456789abcdef"),
        prompt=prompt,
        options=CallOptions(**options),
        label="find",
        phase=None,
        bearer=BEARER,
    )


def make_run(**members: Any) -> RunSpec:
    """A run without a workspace."""
    spec = RunSpec(
        id=RunId("wf_test01"),
        owner=Owner(user="alice", credential="alice-laptop"),
        session="session-1",
        name="demo",
        description="A demonstration.",
        script="",
        body="",
        meta=msgspec.Raw(b"{}"),
        script_sha256="0" * 64,
        created_ms=0,
        model=MODEL,
        limits=Limits(),
    )
    return msgspec.structs.replace(spec, **members)


def value_of(finished: Finished) -> Any:
    """What the call resolves to."""
    assert finished.value is not None, (finished.null, finished.thrown, finished.detail)
    return msgspec.json.decode(finished.value)


def without_marks(value: Any) -> Any:
    """Without `cache_control`, which says where the prompt cache may be cut and nothing else."""
    if isinstance(value, dict):
        return {name: without_marks(each) for name, each in value.items() if name != "cache_control"}
    return [without_marks(each) for each in value] if isinstance(value, list) else value
