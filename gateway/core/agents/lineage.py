"""The tree of agents: all sessions in memory, their agents, the runs these belong to, and the people behind them.

Ids are the client's claims. A session belongs to the credential that first used it: the caller refuses anybody else's
claim to it, so that nobody can spend another's session or blow its fuses. Sums are what was counted here, from where
the store stood (`used`), and what others have counted since (`elsewhere`): meters add the two, records carry only the
first. Time is an argument.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from heapq import nlargest
from typing import Literal

from gateway.contract import MAIN_AGENT
from gateway.core.agents.meters import IDLE_SECONDS, Crew, Used
from gateway.core.agents.nodes import AgentNode, Person, SessionNode
from gateway.core.agents.records import AgentRecord, Claimed
from gateway.core.agents.spawns import PROMPT_CHARS, Opening, PendingMessage, PendingSpawn
from gateway.core.agents.workflow_runs import Ended, Launched, Owner, PendingRun, RunNode

__all__ = [
    "IDLE_SECONDS",
    "INFERRED_PREFIX",
    "PROMPT_CHARS",
    "AgentNode",
    "AgentRecord",
    "Claimed",
    "Opening",
    "PendingMessage",
    "PendingRun",
    "PendingSpawn",
    "Person",
    "RunNode",
    "SessionNode",
    "Tree",
    "Used",
    "first_of",
    "inferred_session",
]

SESSIONS_MAX = 20_000
"""Sessions kept in memory; the one unused for longest is forgotten first (its spend stays in the ledger)."""
PERSON_SESSIONS_MAX = SESSIONS_MAX // 4
"""Who has more of them in memory makes room for new ones alone, so that nobody's are pushed out by another's."""
AGENTS_MAX = 200_000
"""Agents of all sessions together; past it sessions are forgotten in the same order."""
AGENTS_PER_SESSION_MAX = 10_000
"""Past it the agent of a session that is idle for longest is forgotten; it stays counted."""
PEOPLE_MAX = 20_000
RUNS_MAX = 20_000
"""Runs that can be found by their id."""

INFERRED_PREFIX = "inferred-"
"""Of session ids that no client may claim: they can be computed, so that anybody could be there first."""

Order = Literal["last_seen", "cost", "agents", "active_agents", "denials", "files"]


class Tree:
    """All sessions in memory, by id."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, SessionNode] = OrderedDict()
        self._people: OrderedDict[str, Person] = OrderedDict()
        self._runs: OrderedDict[str, RunNode] = OrderedDict()
        self._everybody: Crew[object] = Crew()
        self._agents = 0

    def session(self, session: str) -> SessionNode | None:
        """A session that has been seen; looking at it keeps it from being forgotten."""
        found = self._sessions.get(session)
        if found is not None:
            self._sessions.move_to_end(session)
            found.person.held.move_to_end(session)
        return found

    def run(self, run: str) -> RunNode | None:
        """A run by its id."""
        return self._runs.get(run)

    def add(self, session: SessionNode, agent: str, parent: str | None, now_ms: int) -> AgentNode:
        """Count an agent that was not seen before. Depth: the parent's plus one, main's without."""
        held = self._sessions.get(session.id)
        if held is None:
            held = self._begin(session, now_ms)
        if len(held.agents) >= AGENTS_PER_SESSION_MAX:
            self._forget_idle(held, now_ms)
        node = AgentNode(held, agent, parent, 0, now_ms, now_ms)
        held.branches.hang(node, parent)
        self._agents += 1
        if agent != MAIN_AGENT:
            held.pace.note(now_ms)
            held.person.spawns.note(now_ms)
        while len(self._sessions) > SESSIONS_MAX or (self._agents > AGENTS_MAX and len(self._sessions) > 1):
            own = held.person.held
            self._forget(next(iter(own if len(own) > PERSON_SESSIONS_MAX else self._sessions)))
        return node

    def remove(self, node: AgentNode) -> None:
        """Take back an agent whose spawn was denied: it does not count, and what asked for it is awaited again."""
        held = node.session
        if held.agents.get(node.id) is not node:
            return
        for crew in node.crews:
            crew.end(node, node.last_seen_ms, owes=False)
        node.leave()
        held.branches.drop(node)
        if self._sessions.get(held.id) is held:
            self._agents -= 1
        if node.id != MAIN_AGENT:
            held.counted = max(0, held.counted - node.claimed)
            held.pace.take_back(node.first_seen_ms)
            held.person.spawns.take_back(node.first_seen_ms)
        if node.asked is not None:
            held.expect(node.asked)
        if not held.agents and self._sessions.get(held.id) is held:
            self._forget(held.id)
            held.person.sessions.take_back(held.first_seen_ms)

    def merge(self, node: AgentNode, claimed: Claimed, *, alone: bool) -> None:
        """Take over what the store knows of an agent that was just counted.

        `alone`: no other agent of the session was being claimed here meanwhile, so that the store's count is the last.
        """
        session, seen = node.session, claimed.seen
        if not session.claimed and (seen is not None or claimed.agents > session.spawned_here()):
            session.person.sessions.take_back(session.first_seen_ms)
        session.claimed = node.claimed = True
        if seen is not None:
            session.forgotten = max(0, session.forgotten - 1)
            self._recall(node, seen)
            node.adopt(seen)
            session.pace.take_back(node.first_seen_ms)
            session.person.spawns.take_back(node.first_seen_ms)
            node.first_seen_ms = seen.first_seen_ms
        session.counted = claimed.agents if alone else max(session.counted, claimed.agents)

    def learn_elsewhere(self, records: Iterable[AgentRecord]) -> None:
        """Take over what other gateways counted of the agents of sessions that are known here."""
        for record in records:
            session = self._sessions.get(record.session)
            if session is None:
                continue
            node = session.agents.get(record.agent)
            (node or self._revive(session, record)).hear(record)

    def restore(self, records: Iterable[AgentRecord]) -> None:
        """Put stored agents back."""
        for record in records:
            session = self._sessions.get(record.session)
            if session is None:
                new = SessionNode(record.session, record.credential, record.user, record.client, record.inferred)
                session = self._begin(new, record.first_seen_ms)
            self._revive(session, record).adopt(record)
            session.claimed = session.opened = True
            if record.first_seen_ms < session.first_seen_ms:
                session.person.sessions.take_back(session.first_seen_ms)
                session.first_seen_ms = record.first_seen_ms
                session.person.sessions.note(record.first_seen_ms)

    def join(self, node: AgentNode, run: RunNode, *, inferred: bool = False) -> None:
        """An agent belongs to a run, which can be found by its id from then on."""
        node.join(run, inferred=inferred)
        if self._runs.setdefault(run.id, run) is run:
            self._runs.move_to_end(run.id)
        while len(self._runs) > RUNS_MAX:
            self._runs.popitem(last=False)

    def named_run(self, session: SessionNode, run: str, now_ms: int) -> RunNode | None:
        """The run that a client names in a header; None: another credential used that id first."""
        found = self._runs.get(run)
        if found is None:
            found = self._runs[run] = _run_of(session, run, now_ms)
        if found.owner.credential != session.credential:
            return None
        if run not in session.runs:
            session.runs.keep(found)
        return found

    def hear(self, session: SessionNode, news: Launched | Ended, now_ms: int) -> None:
        """The client tells what a run that a tool call asked for is called, that there is none, or that it is over."""
        run = next((each for each in session.runs.open if each.tool_use_id == news.tool_use_id), None)
        if run is None or (isinstance(news, Launched) and run.client_id is not None):
            return
        if isinstance(news, Ended) or news.client_id is None:
            session.runs.end(news.tool_use_id, now_ms)
            return
        run.client_id, run.task_id, run.name = news.client_id, news.task_id, run.name or news.name
        if not run.agents and news.client_id not in self._runs:
            run.id = news.client_id
            session.runs.keep(run)

    def join_hook(self, session: str, agent: str, run: str) -> bool:
        """A hook of the client tells which run an agent belongs to (by any of the run's names): that is exact.

        False: the run or the session is not known. An agent that has not come yet joins when it does.
        """
        held = self._sessions.get(session)
        found = None if held is None else held.runs.find(run)
        if held is None or found is None:
            return False
        node = held.agents.get(agent)
        if node is None:
            held.runs.hook(agent, found.id)
        else:
            node.workflow = True
            self.join(node, found)
        return True

    def user_meters(self, user: str, now_ms: int) -> dict[str, int]:
        """Sessions and agents of a person, by meter name."""
        return (self._people.get(user) or Person()).meters(now_ms)

    def sessions(self) -> Iterator[SessionNode]:
        """Sessions, the last used first."""
        return reversed(self._sessions.values())

    def top(self, order: Order, most: int, now_ms: int) -> list[SessionNode]:
        """The first sessions in an order, the greatest first."""
        return nlargest(most, self.sessions(), key=_rank(order, now_ms))

    def active_sessions(self, now_ms: int) -> int:
        """Sessions with an agent at work."""
        return len(self.at_work(now_ms))

    def active_agents(self, now_ms: int) -> int:
        """Agents at work, main ones included."""
        return self._everybody.count(now_ms)

    def at_work(self, now_ms: int) -> list[str]:
        """Ids of the sessions with an agent at work."""
        return sorted({node.session.id for node in self._everybody.members(now_ms) if isinstance(node, AgentNode)})

    def lately_used(self, now_ms: int) -> list[str]:
        """Ids of the sessions whose use elsewhere matters here: at work, or used here within the last minutes.

        Without the latter, short requests that take gateways in turn would be over whenever somebody looks.
        """
        since_ms = now_ms - IDLE_SECONDS * 1000
        lately = {session.id for session in self._sessions.values() if session.used_ms > since_ms}
        return sorted(lately.union(self.at_work(now_ms)))

    def _begin(self, session: SessionNode, now_ms: int) -> SessionNode:
        person = self._people.get(session.user)
        if person is None:
            person = self._people[session.user] = Person(everybody=self._everybody)
        self._people.move_to_end(session.user)
        while len(self._people) > PEOPLE_MAX:
            self._people.popitem(last=False)
        session.person = person
        session.first_seen_ms = session.first_seen_ms or now_ms
        person.sessions.note(session.first_seen_ms)
        self._sessions[session.id] = session
        person.held[session.id] = None
        return session

    def _forget(self, session: str) -> None:
        forgotten = self._sessions.pop(session)
        del forgotten.person.held[session]
        self._agents -= len(forgotten.agents)

    def _revive(self, session: SessionNode, record: AgentRecord) -> AgentNode:
        node = AgentNode(session, record.agent, record.parent, 0, record.first_seen_ms, record.last_seen_ms)
        node.claimed = True
        session.branches.hang(node, record.parent, record.depth)
        self._agents += 1
        self._recall(node, record)
        if node.id != MAIN_AGENT:
            session.pace.note(record.first_seen_ms)
            session.person.spawns.note(record.first_seen_ms)
        return node

    def _recall(self, node: AgentNode, record: AgentRecord) -> None:
        """What an agent is, as the store had it."""
        node.agent_type, node.model = record.agent_type or node.agent_type, record.model
        node.workspace = record.workspace or node.workspace
        node.spawned_by = node.spawned_by or record.spawned_by
        node.background = record.background if node.background is None else node.background
        node.prompt_sha256 = record.prompt_sha256 or node.prompt_sha256
        node.parent_inferred, node.forked_from = record.parent_inferred, record.forked_from
        node.unasked, node.workflow = record.unasked, record.workflow
        node.routed_model = record.routed_model
        node.prompt_tokens, node.prompt_tokens_base = record.prompt_tokens, record.prompt_tokens_base
        if record.run is not None and node.run is None:
            run = self._runs.get(record.run)
            if run is None:
                run = _run_of(node.session, record.run, record.first_seen_ms)
                run.source = "claude-code" if record.workflow else "runtime"
            if run.owner.credential == node.session.credential:
                self.join(node, run, inferred=record.run_inferred)
                node.session.runs.keep(run)

    def _forget_idle(self, session: SessionNode, now_ms: int) -> None:
        idle = (node for node in session.agents.values() if node.id != MAIN_AGENT and not node.is_active(now_ms))
        found = min(idle, key=lambda node: node.last_seen_ms, default=None)
        if found is not None:
            session.branches.drop(found)
            session.forgotten += 1
            self._agents -= 1


def _run_of(session: SessionNode, run: str, now_ms: int) -> RunNode:
    """A run of which no tool call is known."""
    return RunNode(run, Owner(session.id, session.credential, session.user), now_ms, source="runtime")


def _rank(order: Order, now_ms: int) -> Callable[[SessionNode], int]:
    match order:
        case "last_seen":
            return lambda session: max((node.last_seen_ms for node in session.agents.values()), default=0)
        case "cost":
            return lambda session: session.used.cost_nanousd + session.elsewhere.cost_nanousd
        case "agents":
            return lambda session: session.spawned()
        case "active_agents":
            return lambda session: session.active(now_ms)
        case "denials":
            return lambda session: session.used.denials + session.elsewhere.denials
        case "files":
            return lambda session: len(session.reach.files)


def first_of(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of several headers that is present and not empty."""
    for name in names:
        value = headers.get(name)
        if value:
            return value
    return None


def inferred_session(credential: str, opening: bytes) -> str:
    """A session id for a client that sends none: the same for every conversation of a credential that begins so."""
    return INFERRED_PREFIX + sha256(credential.encode() + b"\0" + opening).hexdigest()[:16]
