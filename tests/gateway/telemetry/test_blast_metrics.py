"""Blast radius: what is at work, how near fuses are, what stands, and what was touched by the time of rest."""

from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.boards.fuseboard import holders_of, meters_of
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode, SessionNode, Tree
from gateway.core.decisions.decision import PathUse, ToolFacts
from gateway.core.fuses.fuse import FuseBox, FuseLimits
from gateway.core.oversight.controls import ControlRecord
from gateway.telemetry import blast_metrics
from gateway.telemetry.blast_metrics import BlastSources
from gateway.telemetry.live import Live
from gateway.telemetry.metrics import Metrics

USD = 1_000_000_000
NOW = 1_795_356_000_000


@dataclass
class Bench:
    """Trees, fuses and controls, and the metrics page over them."""

    limits: FuseLimits = field(default_factory=FuseLimits)
    now_ms: int = NOW
    controls: list[ControlRecord] = field(default_factory=list[ControlRecord])

    def __post_init__(self) -> None:
        self.tree, self.box, self.live = Tree(), FuseBox(self.limits), Live()
        self.live.blast = BlastSources(
            tree=self.tree,
            fuses=self.box,
            holders=holders_of,
            meters=meters_of,
            controls=lambda: self.controls,
            team_of=lambda: {"laptop": "platform", "gone": "dissolved", "own": None},
            unix_ms=lambda: self.now_ms,
        )
        self.metrics = Metrics(lambda model: model, ["platform", "research"], live=self.live)

    def agent(self, session: str = "s", agent: str = "main", credential: str = "laptop") -> AgentNode:
        """A new agent with a request in flight."""
        known = self.tree.session(session) or SessionNode(session, credential, "alice", "", inferred=False)
        node = self.tree.add(known, agent, None if agent == "main" else "main", self.now_ms)
        node.begin(self.now_ms)
        return node

    def end(self, node: AgentNode, *, owes: bool = False) -> None:
        """Its request ends."""
        node.end(self.now_ms, owes_tool_result=owes)
        ctx = RequestContext("dec_1", "POST", "/", {}, "anthropic", self.now_ms, 1.0)
        ctx.agent = node
        self.metrics.request_ended(ctx)

    def shown(self, name: str) -> dict[tuple[str, ...], float]:
        """Label values in order of the label names, to value; without what is 0."""
        samples = [
            sample
            for family in text_string_to_metric_families(self.metrics.render().decode())
            for sample in family.samples
            if sample.name == f"ringfence_{name}" and sample.value
        ]
        return {tuple(sample.labels[key] for key in sorted(sample.labels)): sample.value for sample in samples}


def facts(*paths: str, host: str = "") -> ToolFacts:
    return ToolFacts(
        paths=tuple(PathUse(path=path, access="write", inside_workspace=True) for path in paths),
        hosts=(host,) if host else (),
    )


def test_agents_at_work_are_shown_by_configured_team() -> None:
    bench = Bench()
    main = bench.agent()
    for session, agent, credential in (("s", "a", "laptop"), ("t", "main", "gone"), ("u", "main", "own")):
        bench.agent(session, agent, credential)
    assert bench.shown("team_active_agents") == {("platform",): 2, ("other",): 1, ("none",): 1}
    bench.end(main)
    assert bench.shown("team_active_agents")["platform",] == 1


def test_team_without_agents_is_shown_as_zero() -> None:
    page = Bench().metrics.render().decode()
    assert 'ringfence_team_active_agents{team="research"} 0.0' in page


def test_largest_is_of_one_session_and_only_of_those_at_work() -> None:
    bench = Bench()
    for agent in ("main", "a", "b"):
        bench.agent("s", agent)
    other = bench.agent("t")
    other.touch(facts("/a", "/b", host="example.org"), "write")
    found = bench.shown("blast_largest")
    assert (found["session", "agents"], found["session", "active_agents"], found["session", "depth"]) == (2, 3, 1)
    assert (found["session", "files"], found["session", "written_files"], found["session", "hosts"]) == (2, 2, 1)
    bench.end(other)
    assert ("session", "files") not in bench.shown("blast_largest")


def test_looking_does_not_change_which_session_was_used_last() -> None:
    bench = Bench()
    bench.agent("first")
    bench.agent("second")
    bench.shown("blast_largest")
    assert [session.id for session in bench.tree.sessions()] == ["second", "first"]


def test_headroom_is_the_smallest_share_of_any_at_work() -> None:
    bench = Bench(FuseLimits(session={"cost": 10 * USD}, agent={"requests": 4}))
    for session, dollars, requests in (("s", 2, 1), ("t", 9, 3)):
        node = bench.agent(session)
        node.session.used.cost_nanousd = dollars * USD
        node.used.requests = requests
    assert bench.shown("fuse_headroom_ratio") == {
        ("cost", "session"): pytest.approx(0.1),
        ("requests", "agent"): pytest.approx(0.25),
    }
    assert bench.shown("fuse_headroom_usd") == {(): pytest.approx(9)}
    assert bench.shown("unfused_sessions") == {}


def test_fuse_that_is_passed_leaves_nothing_and_no_negative_money() -> None:
    bench = Bench(FuseLimits(session={"cost": 10 * USD}))
    bench.agent("s").session.used.cost_nanousd = 12 * USD
    bench.agent("t").session.used.cost_nanousd = 4 * USD
    assert bench.shown("fuse_headroom_usd") == {(): pytest.approx(6)}
    assert 'ringfence_fuse_headroom_ratio{meter="cost",scope="session"} 0.0' in bench.metrics.render().decode()


def test_sessions_without_a_fuse_on_cost_are_counted() -> None:
    bench = Bench(FuseLimits(session={"agents": 5}))
    bench.agent("s")
    bench.agent("t")
    assert bench.shown("unfused_sessions") == {(): 2}


def test_fuses_that_warned_or_blew_stand() -> None:
    bench = Bench(FuseLimits(agent={"requests": 10}))
    bench.box.check("agent", "s/main", {"requests": 9}, NOW)
    bench.box.check("agent", "s/a", {"requests": 11}, NOW)
    (blown,) = (record for record in bench.box.records() if record.state == "blown")
    assert bench.shown("fuses_standing") == {("requests", "agent", "warned"): 1, ("requests", "agent", "blown"): 1}
    bench.box.replace(blown.id, "olga", "it was right", NOW)
    assert bench.shown("fuses_standing") == {("requests", "agent", "warned"): 1}


def test_controls_are_counted_by_kind_and_state() -> None:
    bench = Bench()
    bench.controls += [
        ControlRecord("session:s", "stopped", "olga", NOW, "why", 1),
        ControlRecord("session:t", "stopped", "olga", NOW, "why", 1),
        ControlRecord("org", "held", "olga", NOW, "why", 1),
    ]
    assert bench.shown("controls_standing") == {("session", "stopped"): 2, ("org", "held"): 1}


def test_session_is_observed_when_it_comes_to_rest_and_not_before() -> None:
    bench = Bench()
    main, other = bench.agent(), bench.agent("s", "a")
    main.touch(facts("/a", "/b", "/c"), "write")
    bench.end(main)
    assert bench.shown("files_touched_count") == {}
    bench.end(other)
    assert bench.shown("files_touched_sum") == {("session",): 3}
    assert bench.shown("agents_started_sum") == {("session",): 1} == bench.shown("depth_reached_sum")
    assert bench.shown("files_touched_count") == {("session",): 1}


def test_session_that_owes_a_tool_result_rests_when_its_time_is_over() -> None:
    bench = Bench()
    bench.end(bench.agent(), owes=True)
    assert bench.shown("files_touched_count") == {}
    bench.now_ms += 301_000
    assert bench.shown("files_touched_count") == {("session",): 1}


def test_run_is_observed_apart_from_its_session() -> None:
    bench = Bench()
    main, worker = bench.agent(), bench.agent("s", "a")
    run = bench.tree.named_run(main.session, "run-1", NOW)
    assert run is not None
    bench.tree.join(worker, run)
    worker.touch(facts("/a", host="example.org"), "write")
    bench.end(worker)
    assert bench.shown("hosts_touched_count") == {("run",): 1} == bench.shown("hosts_touched_sum")
    bench.end(main)
    assert bench.shown("hosts_touched_count") == {("run",): 1, ("session",): 1}


def test_sessions_that_are_watched_are_bounded() -> None:
    bench = Bench()
    for number in range(blast_metrics.WATCHED_MAX + 3):
        bench.end(bench.agent(f"s{number}"))
    assert bench.shown("files_touched_count") == {("session",): blast_metrics.WATCHED_MAX}


def test_no_id_is_on_the_page() -> None:
    bench = Bench(FuseLimits(session={"cost": USD}, agent={"requests": 1}, user={"active_agents": 1}))
    for agent in ("main", "agent-secret-id"):
        node = bench.agent("session-secret-id", agent)
        node.used.requests = 3
        bench.end(node)
    bench.controls.append(ControlRecord("session:session-secret-id", "stopped", "olga", NOW, "why", 1))
    page = bench.metrics.page("application/openmetrics-text")[0].decode()
    assert "secret-id" not in page and "alice" not in page and "laptop" not in page
