"""Sessions and their agents, as they live in memory. Time is an argument; nothing is stored here.

A session is a tree: `main` at depth 0, every other agent below the one that asked for it (`branches.py`). Parents
are claims of the client where the gateway did not see the call that asked.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from gateway.contract import MAIN_AGENT
from gateway.core.agents.branches import Branches
from gateway.core.agents.meters import HOUR_MS, IDLE_SECONDS, MINUTE_MS, Crew, Pace, Reach, Used
from gateway.core.agents.records import AgentRecord
from gateway.core.agents.spawns import Expected, Opening, PendingMessage, PendingSpawn
from gateway.core.agents.workflow_runs import Owner, PendingRun, RunNode, Runs
from gateway.core.decisions.decision import ToolClass, ToolFacts
from gateway.core.estimates.known import KNOWN_MAX, Known
from gateway.core.gate.notices import Notice
from gateway.core.wire.usage import Tokens


@dataclass(slots=True, eq=False)
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
    asked: PendingSpawn | None = None
    """The tool call that asked for it, as far as this process saw it."""
    spawned_by: str | None = None
    """Id of that tool call."""
    background: bool | None = None
    prompt_sha256: str | None = None
    parent_inferred: bool = False
    """The client did not name its parent, or named one that cannot be."""
    unasked: bool = False
    """Nobody asked for it: everything its parent ever did went through here, and no tool call asks for this prompt."""
    workflow: bool = False
    """A workflow script asked for it."""
    run: RunNode | None = None
    run_inferred: bool = False
    """Several runs were open, and nothing told which of them asked."""
    forked_from: str | None = None
    resumes: int = 0
    """How often a message woke it after its turn had ended."""
    resumed_by: str | None = None
    """Id of the tool call that sent the last of these."""
    adopted: bool = False
    """It was seen before, by an earlier process or on another gateway."""
    used: Used = field(default_factory=Used)
    """What this process counted, and what the store had of it when it came."""
    elsewhere: Used = field(default_factory=Used)
    """What other gateways have counted since."""
    counters: tuple[Used, ...] = ()
    """What to add to when it uses something: its own sums, its session's, its run's."""
    last_tokens: Tokens | None = None
    """Of its latest response: what of its prompt the upstream has in its cache."""
    known: tuple[Known, ...] = ()
    """Of its latest prompts, one of each kind, the newest first: how long they were."""
    prompt_tokens: int = 0
    prompt_tokens_base: int | None = None
    """Its first prompt's, or the first one's after a compaction."""
    in_flight: int = 0
    owes_tool_result: bool = False
    claimed: bool = False
    """The store has counted it."""
    admitted: bool = False
    """Its spawn was allowed; the main agent needs no spawn."""
    first_token: bool = False
    routed_model: str | None = None
    """The model that the decision about its spawn sends it to."""
    notices: tuple[Notice, ...] = ()
    """What it has been told, and where."""
    to_say: list[str] = field(default_factory=list[str])
    """What it is told as soon as its conversation lets it be."""
    revision: str | None = None
    """Of the policies that decided its latest request."""

    def __post_init__(self) -> None:
        self.counters = (self.used, self.session.used)

    @property
    def key(self) -> str:
        """`<session>/<agent>`: the holder of the agent's fuses and the id of its account."""
        return f"{self.session.id}/{self.id}"

    @property
    def own_type(self) -> str | None:
        """`main`, or the type it was asked for with."""
        return MAIN_AGENT if self.id == MAIN_AGENT else self.agent_type

    @property
    def seen_whole(self) -> bool:
        """Everything it ever did went through this process."""
        return not self.adopted and self.elsewhere == Used()

    @property
    def parent_type(self) -> str | None:
        """Type of the agent that asked for it; None: not known."""
        if self.parent == MAIN_AGENT:
            return MAIN_AGENT
        above = self.session.agents.get(self.parent or "")
        return above.own_type if above is not None else None

    def meters(self, now_ms: int) -> dict[str, int]:
        """What this agent has used, by meter name."""
        meters = self.used.meters(self.elsewhere, (now_ms - self.first_seen_ms) // 1000, self.depth)
        meters["context_growth"] = max(0, self.prompt_tokens - (self.prompt_tokens_base or self.prompt_tokens))
        return meters

    def learn(self, prompt: Known) -> None:
        """Remember a prompt in place of an earlier one with the same system, tools and settings."""
        others = [each for each in self.known if each.fixed != prompt.fixed]
        self.known = (prompt, *others[: KNOWN_MAX - 1])

    def measure_prompt(self, prompt_tokens: int) -> None:
        """How long its latest prompt was. Not for side requests: their prompts are others."""
        self.prompt_tokens = prompt_tokens
        if self.prompt_tokens_base is None or prompt_tokens < self.prompt_tokens_base:
            self.prompt_tokens_base = prompt_tokens

    def compact(self) -> None:
        """The client sums its conversation up: what grows from here on counts anew."""
        self.prompt_tokens_base = None

    def touch(self, facts: ToolFacts, tool_class: ToolClass) -> None:
        """A tool call of it was released."""
        self.session.reach.touch(facts, tool_class)
        if self.run is not None:
            self.run.reach.touch(facts, tool_class)

    def begin(self, now_ms: int) -> None:
        """A request of this agent starts."""
        self.in_flight += 1
        self.last_seen_ms = self.session.used_ms = now_ms
        if self.in_flight == 1:
            for crew in self.crews:
                crew.begin(self)

    def end(self, now_ms: int, *, owes_tool_result: bool) -> None:
        """A request of this agent ended; after tool calls the client owes results and will come back."""
        self.in_flight -= 1
        self.last_seen_ms = self.session.used_ms = now_ms
        self.owes_tool_result = owes_tool_result
        if self.in_flight == 0:
            for crew in self.crews:
                crew.end(self, now_ms, owes=owes_tool_result)

    def is_active(self, now_ms: int) -> bool:
        """A request is in flight, or it owes a tool result and was seen lately."""
        return self.in_flight > 0 or (self.owes_tool_result and now_ms - self.last_seen_ms < IDLE_SECONDS * 1000)

    @property
    def crews(self) -> tuple[Crew[object], ...]:
        """Where it counts as at work. A main agent works for itself, others for whoever started them too."""
        everybody = self.session.person.everybody
        crews = (everybody,) if self.id == MAIN_AGENT else (everybody, self.session.crew, self.session.person.crew)
        return crews if self.run is None else (*crews, self.run.crew)

    def join(self, run: RunNode, *, inferred: bool = False) -> None:
        """It belongs to this run, with all it has used so far."""
        if self.run is not run:
            self.leave()
            self.run, self.counters = run, (self.used, self.session.used, run.used)
            run.agents.add(self.key)
            run.used.add(self.used)
            run.elsewhere.add(self.elsewhere)
            run.pace.note(self.first_seen_ms)
            run.deepest = max(run.deepest, self.depth)
            if self.in_flight:
                run.crew.begin(self)
            elif self.owes_tool_result:
                run.crew.end(self, self.last_seen_ms, owes=True)
        self.run_inferred = inferred

    def leave(self) -> None:
        """It does not belong to its run after all."""
        run = self.run
        if run is not None:
            self.run, self.run_inferred, self.counters = None, False, (self.used, self.session.used)
            run.agents.discard(self.key)
            run.used.add(self.used, -1)
            run.elsewhere.add(self.elsewhere, -1)
            run.pace.take_back(self.first_seen_ms)
            run.crew.end(self, self.last_seen_ms, owes=False)

    def adopt(self, record: AgentRecord) -> None:
        """Go on counting from what the store had of it: in its own records this is included from now on."""
        for used in self.counters:
            used.add(used_of(record))
        self.adopted = True
        self.owes_tool_result = record.active
        self._note(record)

    def hear(self, record: AgentRecord) -> None:
        """What others counted of it meanwhile. Their sums only grow, so what comes late takes nothing back."""
        grown = Used(*map(max, self.elsewhere.amounts, used_of(record).amounts))
        for used in (self.session.elsewhere, *(() if self.run is None else (self.run.elsewhere,))):
            used.add(self.elsewhere, -1)
            used.add(grown)
        self.elsewhere = grown
        self._note(record)

    def _note(self, record: AgentRecord) -> None:
        self.admitted = self.admitted or record.admitted
        self.first_token = self.first_token or record.first_token
        self.notices = self.notices or record.notices or ()
        self.resumes = max(self.resumes, record.resumes)
        self.last_seen_ms = max(self.last_seen_ms, record.last_seen_ms)
        for crew in self.crews:
            crew.hear(self, record.last_seen_ms, active=record.active or self.owes_tool_result)

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
            stream_ms=used.stream_ms,
            spawned_by=self.spawned_by,
            background=self.background,
            prompt_sha256=self.prompt_sha256,
            parent_inferred=self.parent_inferred,
            unasked=self.unasked,
            workflow=self.workflow,
            run=None if self.run is None else self.run.id,
            run_inferred=self.run_inferred,
            forked_from=self.forked_from,
            resumes=self.resumes,
            routed_model=self.routed_model,
            prompt_tokens_base=self.prompt_tokens_base,
            prompt_tokens=self.prompt_tokens,
            active=self.in_flight > 0 or self.owes_tool_result,
            admitted=self.admitted,
            first_token=self.first_token,
            notices=self.notices or None,
        )


def used_of(record: AgentRecord) -> Used:
    """The sums of a record."""
    return Used(
        record.requests,
        record.tool_calls,
        record.denials,
        record.output_tokens,
        record.total_tokens,
        record.cost_nanousd,
        record.stream_ms,
    )


@dataclass(slots=True, eq=False)
class Person:
    """Who uses sessions: how many new ones, and how many agents of all of them."""

    crew: Crew[object] = field(default_factory=Crew[object])
    everybody: Crew[object] = field(default_factory=Crew[object])
    """The agents of all people, main ones included; one object for all."""
    sessions: Pace = field(default_factory=lambda: Pace(HOUR_MS))
    spawns: Pace = field(default_factory=lambda: Pace(MINUTE_MS))
    held: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    """Ids of those sessions that are in memory, the one unused for longest first."""

    def meters(self, now_ms: int) -> dict[str, int]:
        """By meter name; over all sessions of the person."""
        return {
            "sessions_per_hour": self.sessions.count(now_ms),
            "active_agents": self.crew.count(now_ms),
            "agents_per_minute": self.spawns.count(now_ms),
        }


@dataclass(slots=True, eq=False)
class SessionNode:
    """One client session."""

    id: str
    credential: str
    user: str
    client: str
    inferred: bool
    runs: Runs = field(default_factory=Runs)
    expected: Expected = field(default_factory=Expected)
    upstreams: dict[str, str] = field(default_factory=dict[str, str])
    """Model to the upstream that answered last: prompt caches and thinking blocks are bound to it."""
    person: Person = field(default_factory=Person)
    used: Used = field(default_factory=Used)
    elsewhere: Used = field(default_factory=Used)
    crew: Crew[object] = field(default_factory=Crew[object])
    pace: Pace = field(default_factory=lambda: Pace(MINUTE_MS))
    reach: Reach = field(default_factory=Reach)
    first_seen_ms: int = 0
    used_ms: int = 0
    """When a request of it last began or ended here."""
    counted: int = 0
    """Agents other than main on all gateways, as the store said last."""
    forgotten: int = 0
    """Agents that are no longer in memory."""
    claimed: bool = False
    """The store knows it."""
    opened: bool = False
    """Its conversation has been held against other sessions'."""
    forked_from: str | None = None
    """The session whose conversation this one went on with when it began."""
    branches: Branches[AgentNode] = field(default_factory=Branches[AgentNode])

    @property
    def agents(self) -> dict[str, AgentNode]:
        """By id."""
        return self.branches.agents

    def spawned(self) -> int:
        """Agents other than main, on all gateways."""
        return max(self.spawned_here(), self.counted)

    def spawned_here(self) -> int:
        """Those that were counted here."""
        return len(self.agents) - (MAIN_AGENT in self.agents) + self.forgotten

    def active(self, now_ms: int) -> int:
        """Agents other than main that are at work."""
        return self.crew.count(now_ms)

    def meters(self, now_ms: int) -> dict[str, int]:
        """Sums over the agents, and the shape of the tree."""
        meters = self.used.meters(self.elsewhere, (now_ms - self.first_seen_ms) // 1000, self.branches.deepest)
        meters["agents"] = self.spawned()
        meters["active_agents"] = self.crew.count(now_ms)
        meters["agents_per_minute"] = self.pace.count(now_ms)
        return meters

    def blast(self) -> dict[str, int]:
        """How much its tool calls name, and how many agents it has."""
        return self.reach.blast() | {"agents": self.spawned()}

    def expect(self, spawn: PendingSpawn) -> None:
        """Remember a spawn that was allowed."""
        self.expected.add(spawn)

    def claim(self, opening: Opening, parent: str | None = None) -> PendingSpawn | None:
        """The waiting spawn that an agent's first request answers to."""
        return self.expected.claim(opening, parent)

    def wake(self, message: PendingMessage) -> None:
        """Remember a message to an agent that was there before."""
        self.expected.wake(message)

    def launch(self, pending: PendingRun) -> RunNode:
        """A script was released: from now on agents may belong to its run."""
        asker = self.agents.get(pending.parent)
        now_ms = self.first_seen_ms if asker is None else asker.last_seen_ms
        return self.runs.launch(pending, Owner(self.id, self.credential, self.user), now_ms)
