"""Recorded sessions of the real client, replayed through the look-up of agents; and what that is tried with.

What the model answered stands in the history of the client's next request: from there the released tool calls are
taken, as the gate would have let them through.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode, PendingMessage, PendingRun, PendingSpawn, SessionNode, Tree
from gateway.core.agents.records import AgentRecord, Claimed
from gateway.core.decisions.decision import Principal
from gateway.core.wire.body import peek
from gateway.lineages import Lineages
from tests.support.clock import FakeClock

GOLDEN = Path(__file__).parents[2] / "golden" / "claude-code"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))


@dataclass
class FakeLineageStore:
    """What several gateways on one store would be told: keeps its promises, and counts what it was asked."""

    claims: list[AgentRecord] = field(default_factory=list[AgentRecord])
    released: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    sessions: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    agents: dict[str, dict[str, AgentRecord | None]] = field(default_factory=dict[str, dict[str, AgentRecord | None]])
    gate: asyncio.Event | None = None
    """Claims wait for it when it is set."""
    problem: Exception | None = None

    async def claim_agent(self, record: AgentRecord) -> Claimed:
        self.claims.append(record)
        if self.gate is not None:
            await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        credential, user = self.sessions.setdefault(record.session, (record.credential, record.user))
        agents = self.agents.setdefault(record.session, {})
        seen = agents.setdefault(record.agent, None) if credential == record.credential else None
        return Claimed(credential, user, len(agents) - ("main" in agents), seen)

    def save_agent(self, record: AgentRecord) -> None:
        self.agents.setdefault(record.session, {})[record.agent] = record

    def release_agent(self, session: str, agent: str) -> None:
        self.released.append((session, agent))
        self.agents.get(session, {}).pop(agent, None)

    async def used_elsewhere(self, sessions: object) -> list[AgentRecord]:
        return []


@dataclass
class House:
    """One gateway's look-up of agents, with its tree; several may share a store."""

    store: FakeLineageStore = field(default_factory=FakeLineageStore)
    clock: FakeClock = field(default_factory=FakeClock)
    tree: Tree = field(default_factory=Tree)
    retired: set[str] = field(default_factory=set[str])
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @cached_property
    def lineages(self) -> Lineages:
        """The look-up."""
        return Lineages(
            self.tree, self.store, self.clock, tell_refused=self._tell, is_retired=self.retired.__contains__
        )

    def _tell(self, _ctx: RequestContext, what: str, holder: str) -> None:
        self.refused.append((what, holder))

    async def ask(self, headers: Mapping[str, str], body: Any, **who: str) -> RequestContext:
        """One request as far as its agent, with what the pipeline notes of it."""
        ctx = self.arrived(headers, body, **who)
        assert ctx.ask is not None
        ctx.agent = await self.lineages.find(ctx, ctx.ask)
        return ctx

    def arrived(
        self, headers: Mapping[str, str], body: Any, *, credential: str = "laptop", user: str = "alice"
    ) -> RequestContext:
        """A request of which only the principal and the body are known."""
        raw = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        ctx = RequestContext(
            id="dec_1",
            method="POST",
            path="/v1/messages",
            headers=CIMultiDict(headers),
            dialect="anthropic",
            received_unix_ms=self.clock.now_ms,
            received_monotonic=0.0,
            client_name="claude-cli",
            principal=Principal(org="acme", team=None, user=user, credential=credential),
            body=raw,
        )
        ctx.ask = peek(raw)
        ctx.model = ctx.ask.model
        return ctx

    def session(self, session: str) -> SessionNode:
        """A session that there is."""
        found = self.tree.session(session)
        assert found is not None
        return found


@dataclass(frozen=True)
class Recorded:
    """One recorded request to the model."""

    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def agent(self) -> str:
        """Whose it is, as its headers say."""
        return self.headers.get("x-claude-code-agent-id", "main")

    @property
    def session(self) -> str:
        """Of which session."""
        return self.headers["x-claude-code-session-id"]


@dataclass(frozen=True)
class Scenario:
    """One recorded session, and what the client said about it in the end."""

    document: dict[str, Any]

    @cached_property
    def requests(self) -> list[Recorded]:
        """Requests to the model in the order of their arrival; a body that was left out is that of an agent alike."""
        asked = [each for each in self.document["requests"] if each["path"] == "/v1/messages"]
        asked.sort(key=lambda each: each["t_start_s"])
        recorded = [Recorded(CIMultiDict(each["headers"]), each.get("body", {})) for each in asked]
        scripted = next((each.body for each in recorded if each.body and each.agent != "main"), {})
        return [each if each.body else Recorded(each.headers, scripted) for each in recorded]

    @property
    def stats(self) -> dict[str, Any]:
        """What the client counted of its subagents."""
        return self.document["client_outcome"]["result"]["subagent_stats"]

    def calls_after(self, request: Recorded) -> Iterator[dict[str, Any]]:
        """The tool calls of the answer to a request, as its agent's next one repeats them."""
        mine = [each for each in self.requests if each.agent == request.agent and is_turn(each)]
        after = next((later for one, later in pairwise(mine) if one is request), None)
        for message in after.body["messages"][len(request.body["messages"]) :] if after is not None else ():
            if message["role"] == "assistant" and isinstance(message["content"], list):
                yield from (block for block in message["content"] if block["type"] == "tool_use")


def is_turn(request: Recorded) -> bool:
    """Not a search that the client makes beside."""
    return "tool_choice" not in request.body


def scenario(name: str) -> Scenario:
    """One of the recorded sessions."""
    return Scenario(json.loads((GOLDEN / f"{name}.json").read_text()))


async def replay(recorded: Scenario, house: House) -> list[RequestContext]:
    """Every request of a session in turn, and the calls that each answer releases."""
    contexts: list[RequestContext] = []
    for request in recorded.requests:
        ctx = await house.ask(request.headers, request.body)
        contexts.append(ctx)
        node = ctx.agent
        assert node is not None
        node.begin(house.clock.now_ms)
        node.admitted = True
        for used in node.counters:
            used.requests += 1
        calls = list(recorded.calls_after(request)) if is_turn(request) else []
        for call in calls:
            release(node, call)
        node.end(house.clock.now_ms, owes_tool_result=bool(calls))
        house.store.save_agent(node.record())
        house.clock.advance(0.1)
    return contexts


def release(node: AgentNode, call: dict[str, Any]) -> None:
    """What becomes of the tree when a tool call goes to the client."""
    asked = call["input"]
    match call["name"]:
        case "Agent" | "Task":
            spawn = PendingSpawn(
                asked.get("subagent_type"),
                asked["prompt"],
                tool_use_id=call["id"],
                parent=node.id,
                model=asked.get("model"),
                background=asked.get("run_in_background"),
            )
            node.session.expect(spawn)
        case "Workflow":
            node.session.launch(PendingRun(call["id"], None, asked.get("script")))
        case "SendMessage":
            node.session.wake(PendingMessage(call["id"], asked["message"]))
        case _:
            pass
