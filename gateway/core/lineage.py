"""The tree of agents: sessions, their agents, and the meters of each. Time is an argument; nothing is stored here.

Ids are the client's claims. A session belongs to the user who first used it: the caller refuses anybody else's claim
to it, so that one user can neither spend another's session nor blow its fuses.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec

from gateway.contract import MAIN_AGENT
from gateway.core.known import KNOWN_MAX, Known
from gateway.core.usage import Tokens

SESSIONS_MAX = 20_000
"""Sessions kept in memory; the one unused for longest is forgotten first (its spend stays in the ledger)."""
PENDING_SPAWNS_MAX = 256
"""Asked-for agents of one session that have not made their first request yet."""
IDLE_SECONDS = 300
"""An agent that owes a tool result counts as active for this long."""
PROMPT_CHARS = 200
"""How much of a spawn's prompt is kept to recognise the agent by."""


class AgentRecord(msgspec.Struct, frozen=True):
    """One agent as the store keeps it."""

    session: str
    agent: str
    credential: str
    user: str
    client: str
    parent: str | None
    depth: int
    agent_type: str | None
    model: str | None
    workspace: str | None
    inferred: bool
    first_seen_ms: int
    last_seen_ms: int
    requests: int
    tool_calls: int
    denials: int
    output_tokens: int
    total_tokens: int
    cost_nanousd: int


@dataclass(slots=True)
class Used:
    """Running meters of one agent, or of all agents of a session together."""

    requests: int = 0
    tool_calls: int = 0
    denials: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cost_nanousd: int = 0

    def meters(self, seconds: int, depth: int) -> dict[str, int]:
        """By the names that policies and fuses use."""
        return {
            "requests": self.requests,
            "tool_calls": self.tool_calls,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "cost": self.cost_nanousd,
            "seconds": seconds,
            "depth": depth,
        }


@dataclass(slots=True)
class AgentNode:
    """One agent of a session and what it has done."""

    session: "SessionNode"
    id: str
    parent: str | None
    depth: int
    first_seen_ms: int
    last_seen_ms: int
    agent_type: str | None = None
    model: str | None = None
    workspace: str | None = None
    used: Used = field(default_factory=Used)
    last_tokens: Tokens | None = None
    """Of its latest response: what of its prompt the upstream has in its cache."""
    known: tuple[Known, ...] = ()
    """Of its latest prompts, one of each kind, the newest first: how long they were."""
    in_flight: int = 0
    owes_tool_result: bool = False
    admitted: bool = False
    """Its spawn was allowed; the main agent needs no spawn."""

    @property
    def key(self) -> str:
        """`<session>/<agent>`: the holder of the agent's fuses and the id of its account."""
        return f"{self.session.id}/{self.id}"

    @property
    def counters(self) -> tuple[Used, Used]:
        """What to add to when this agent uses something: its own meters and its session's."""
        return self.used, self.session.used

    def meters(self, now_ms: int) -> dict[str, int]:
        """What this agent has used, by meter name."""
        return self.used.meters((now_ms - self.first_seen_ms) // 1000, self.depth)

    def learn(self, prompt: Known) -> None:
        """Remember a prompt in place of an earlier one with the same system, tools and settings."""
        others = [each for each in self.known if each.fixed != prompt.fixed]
        self.known = (prompt, *others[: KNOWN_MAX - 1])

    def begin(self, now_ms: int) -> None:
        """A request of this agent starts."""
        self.in_flight += 1
        self.last_seen_ms = now_ms
        self.session.at_work[self.id] = self

    def end(self, now_ms: int, *, owes_tool_result: bool) -> None:
        """A request of this agent ended; after tool calls the client owes results and will come back."""
        self.in_flight -= 1
        self.last_seen_ms = now_ms
        self.owes_tool_result = owes_tool_result

    def is_active(self, now_ms: int) -> bool:
        """A request is in flight, or it owes a tool result and was seen lately."""
        return self.in_flight > 0 or (self.owes_tool_result and now_ms - self.last_seen_ms < IDLE_SECONDS * 1000)

    def record(self) -> AgentRecord:
        """The node as the store keeps it."""
        session, used = self.session, self.used
        return AgentRecord(
            session=session.id,
            agent=self.id,
            credential=session.credential,
            user=session.user,
            client=session.client,
            parent=self.parent,
            depth=self.depth,
            agent_type=self.agent_type,
            model=self.model,
            workspace=self.workspace,
            inferred=session.inferred,
            first_seen_ms=self.first_seen_ms,
            last_seen_ms=self.last_seen_ms,
            requests=used.requests,
            tool_calls=used.tool_calls,
            denials=used.denials,
            output_tokens=used.output_tokens,
            total_tokens=used.total_tokens,
            cost_nanousd=used.cost_nanousd,
        )


@dataclass(frozen=True, slots=True)
class PendingSpawn:
    """An agent that was asked for by a released tool call and has not been seen yet."""

    agent_type: str | None
    prompt: str


@dataclass(slots=True)
class SessionNode:
    """One client session."""

    id: str
    credential: str
    user: str
    client: str
    inferred: bool
    agents: dict[str, AgentNode] = field(default_factory=dict[str, AgentNode])
    at_work: dict[str, AgentNode] = field(default_factory=dict[str, AgentNode])
    pending: list[PendingSpawn] = field(default_factory=list[PendingSpawn])
    upstreams: dict[str, str] = field(default_factory=dict[str, str])
    """Model to the upstream that answered last: prompt caches and thinking blocks are bound to it."""
    used: Used = field(default_factory=Used)
    first_seen_ms: int = 0
    deepest: int = 0

    def spawned(self) -> int:
        """Agents other than main."""
        return len(self.agents) - (MAIN_AGENT in self.agents)

    def active(self, now_ms: int) -> int:
        """Agents other than main that are at work."""
        for idle in [node for node in self.at_work.values() if not node.is_active(now_ms)]:
            del self.at_work[idle.id]
        return len(self.at_work) - (MAIN_AGENT in self.at_work)

    def meters(self, now_ms: int) -> dict[str, int]:
        """Sums over the agents, and the shape of the tree."""
        meters = self.used.meters((now_ms - self.first_seen_ms) // 1000, self.deepest)
        meters["agents"] = self.spawned()
        meters["active_agents"] = self.active(now_ms)
        return meters

    def expect(self, spawn: PendingSpawn) -> None:
        """Remember a spawn that was allowed; the oldest is forgotten when too many wait."""
        del self.pending[: max(0, len(self.pending) - PENDING_SPAWNS_MAX + 1)]
        self.pending.append(spawn)

    def claim(self, first_text: str) -> PendingSpawn | None:
        """The waiting spawn whose prompt stands in the agent's first message."""
        for index, spawn in enumerate(self.pending):
            if spawn.prompt and spawn.prompt in first_text:
                return self.pending.pop(index)
        return None


class Tree:
    """All sessions in memory, by id."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, SessionNode] = OrderedDict()

    def session(self, session: str) -> SessionNode | None:
        """A session that has been seen; looking at it keeps it from being forgotten."""
        found = self._sessions.get(session)
        if found is not None:
            self._sessions.move_to_end(session)
        return found

    def add(self, session: SessionNode, agent: str, parent: str | None, now_ms: int) -> AgentNode:
        """Count an agent that was not seen before. Depth: the parent's plus one, main's without."""
        held = self._sessions.setdefault(session.id, session)
        above = held.agents.get(parent or MAIN_AGENT)
        depth = 0 if agent == MAIN_AGENT else (above.depth if above else 0) + 1
        node = AgentNode(held, agent, None if agent == MAIN_AGENT else parent or MAIN_AGENT, depth, now_ms, now_ms)
        held.first_seen_ms = held.first_seen_ms or now_ms
        held.deepest = max(held.deepest, depth)
        held.agents[agent] = node
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return node

    def remove(self, node: AgentNode) -> None:
        """Take back an agent whose spawn was denied."""
        held = node.session
        held.agents.pop(node.id, None)
        held.at_work.pop(node.id, None)
        held.deepest = max((other.depth for other in held.agents.values()), default=0)

    def sessions(self) -> Iterator[SessionNode]:
        """Sessions, the last used first."""
        return reversed(self._sessions.values())

    def active_sessions(self, now_ms: int) -> int:
        """Sessions with an agent at work."""
        return sum(any(node.is_active(now_ms) for node in each.at_work.values()) for each in self._sessions.values())

    def active_agents(self, now_ms: int) -> int:
        """Agents at work, main ones included."""
        return sum(node.is_active(now_ms) for each in self._sessions.values() for node in each.at_work.values())

    def restore(self, records: Iterable[AgentRecord]) -> None:
        """Put stored agents back."""
        for row in records:
            blank = SessionNode(row.session, row.credential, row.user, row.client, row.inferred)
            session = self._sessions.setdefault(row.session, blank)
            node = self.add(session, row.agent, row.parent, row.first_seen_ms)
            node.depth, node.parent = row.depth, row.parent
            session.deepest = max(session.deepest, row.depth)
            node.last_seen_ms = row.last_seen_ms
            node.admitted = True
            node.agent_type, node.model, node.workspace = row.agent_type, row.model, row.workspace
            for used in node.counters:
                used.requests += row.requests
                used.tool_calls += row.tool_calls
                used.denials += row.denials
                used.output_tokens += row.output_tokens
                used.total_tokens += row.total_tokens
                used.cost_nanousd += row.cost_nanousd


def first_of(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of several headers that is present and not empty."""
    for name in names:
        value = headers.get(name)
        if value:
            return value
    return None


def inferred_session(user: str, first_words: str) -> str:
    """A session id for a client that sends none: the same for every request of one conversation of one user."""
    return "inferred-" + sha256(f"{user}\0{first_words}".encode()).hexdigest()[:16]
