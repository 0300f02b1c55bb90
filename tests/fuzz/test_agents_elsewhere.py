"""What several gateways count of the agents of one session, against a plain sum; claims, restarts and lost nodes."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.stores.postgres.agents import Agents
from gateway.stores.postgres.lines import Line
from gateway.stores.postgres.schema import migrate
from tests.support.agents import NOW, agent_record
from tests.support.postgres import postgres_server

REPLICAS = 3
replicas = st.integers(0, REPLICAS - 1)
actions = st.sampled_from(["use", "use", "use", "write", "hear", "forget", "die"])
agents = st.sampled_from(["main", "a"])

_numbers = count(1)


@cache
def database() -> str:
    """One for all examples: each has a session of its own."""
    url = postgres_server().url(postgres_server().fresh())
    asyncio.run(migrate(url))
    return url


@dataclass
class Node:
    """An agent in the memory of a gateway."""

    used: int
    elsewhere: int = 0


@dataclass
class Replica:
    """A gateway: what it remembers, and what it has counted by itself."""

    store: Agents
    claims: "asyncio.Task[None]"
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    counted: Counter[str] = field(default_factory=Counter[str])
    written: Counter[str] = field(default_factory=Counter[str])
    forgotten: set[str] = field(default_factory=set[str])
    """What it hears of these it keeps for when they are claimed anew."""


class Gateways(RuleBasedStateMachine):
    """At no time does a gateway take an agent to have used more than it has; once all have told all, it is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        number = next(_numbers)
        self.session = f"s{number}"
        self.began_ms = self.clock_ms = NOW + number * 1_000_000
        self.dead: Counter[str] = Counter()
        self.claimed: set[str] = set()
        self.line = Line(database(), "test")
        self.gateways = [self.runner.run(self.start()) for _ in range(REPLICAS)]

    async def start(self) -> Replica:
        store = Agents(self.line, f"{self.session}-{next(_numbers)}", lambda: False, "closed")
        claims = asyncio.get_running_loop().create_task(store.run_claims())
        loaded = await store.load_agents(self.began_ms)
        return Replica(store, claims, {record.agent: Node(record.requests) for record in loaded})

    async def stop(self, replica: Replica) -> None:
        replica.claims.cancel()
        await asyncio.wait([replica.claims])

    def used(self, agent: str) -> int:
        """The plain sum."""
        return self.dead[agent] + sum(replica.counted[agent] for replica in self.gateways)

    @rule(what=actions, which=replicas, agent=agents, amount=st.integers(1, 9))
    def step(self, what: str, which: int, agent: str, amount: int) -> None:
        """One rule for all, because an example without one of them finds little."""
        match what:
            case "use":
                self.use(which, agent, amount)
            case "write":
                self.write(which)
            case "hear":
                self.hear(which)
            case "forget":
                self.forget(which, agent)
            case _:
                self.die(which)

    def use(self, which: int, agent: str, amount: int) -> None:
        replica = self.gateways[which]
        self.clock_ms += 1
        if agent not in replica.nodes:
            self.runner.run(self.claim(replica, agent))
        replica.nodes[agent].used += amount
        replica.counted[agent] += amount
        used = replica.nodes[agent].used
        replica.store.save_agent(agent_record(agent, self.session, requests=used, last_seen_ms=self.clock_ms))

    async def claim(self, replica: Replica, agent: str) -> None:
        claimed = await replica.store.claim_agent(agent_record(agent, self.session))
        self.claimed.add(agent)
        replica.forgotten.discard(agent)
        replica.nodes[agent] = Node(claimed.seen.requests if claimed.seen else 0)
        assert claimed.agents == len(self.claimed - {"main"})

    def write(self, which: int) -> None:
        replica = self.gateways[which]
        self.runner.run(replica.store.flush())
        replica.written = replica.counted.copy()

    def hear(self, which: int) -> None:
        replica = self.gateways[which]
        for record in self.runner.run(replica.store.used_elsewhere([self.session])):
            if record.agent in replica.forgotten:
                continue
            node = replica.nodes.setdefault(record.agent, Node(0))
            node.elsewhere = record.requests

    def forget(self, which: int, agent: str) -> None:
        if self.gateways[which].nodes.pop(agent, None) is not None:
            self.gateways[which].forgotten.add(agent)

    def die(self, which: int) -> None:
        """What it had not written is lost; another takes its place."""
        replica = self.gateways[which]
        self.dead += replica.written
        self.runner.run(self.stop(replica))
        self.gateways[which] = self.runner.run(self.start())

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        for replica in self.gateways:
            for agent, node in replica.nodes.items():
                assert node.used + node.elsewhere <= self.used(agent)

    def teardown(self) -> None:
        try:
            self.all_know_all()
        finally:
            for replica in self.gateways:
                self.runner.run(self.stop(replica))
            self.runner.run(self.line.close())
            self.runner.close()

    def all_know_all(self) -> None:
        for which in range(REPLICAS):
            self.write(which)
        for which in range(REPLICAS):
            self.hear(which)
        for replica in self.gateways:
            known = {agent: node.used + node.elsewhere for agent, node in replica.nodes.items()}
            assert known == {agent: self.used(agent) for agent in known}


TestGateways = Gateways.TestCase
TestGateways.settings = settings(stateful_step_count=25)
