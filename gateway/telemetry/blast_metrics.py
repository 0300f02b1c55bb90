"""How far agents reach: the trees at work now, their fuses and controls, and what sessions and runs had touched by the
time they came to rest. One part of `Metrics`. Which session it is tells the API (`web/top.py`), never a label.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import AgentNode, RunNode, SessionNode, Tree
from gateway.core.fuses.fuse import FuseBox, Scope
from gateway.core.money.pricing import NANOUSD_PER_USD
from gateway.core.oversight.controls import EVERYTHING, ControlRecord
from gateway.telemetry.families import Families, Labels

WATCHED_MAX = 20_000
"""Sessions and runs, of each, that are watched until they rest; those that are more are not counted in histograms."""
AGENTS_READ_MAX = 5_000
"""Agents whose own fuses are read at one scrape; of more at work at once, the fuses of these."""
COUNT_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
DEPTH_BUCKETS = (0, 1, 2, 3, 4, 5, 6, 8, 10)
SIZES = ("agents", "active_agents", "depth", "files", "written_files", "hosts", "tool_classes")
RESTS = ("session", "run")


@dataclass(frozen=True, slots=True)
class BlastSources:
    """Where all of it is counted."""

    tree: Tree
    fuses: FuseBox
    holders: Callable[[AgentNode], Iterable[tuple[Scope, str]]]
    """Whose fuses an agent stands under."""
    meters: Callable[[AgentNode, Scope, int], Mapping[str, int]]
    controls: Callable[[], Sequence[ControlRecord]]
    team_of: Callable[[], Mapping[str, str | None]]
    """Team of each credential."""
    unix_ms: Callable[[], int]


class BlastMetrics:
    """Fed by `Metrics`; without sources there is nothing to show."""

    def __init__(self, families: Families, sources: Callable[[], BlastSources | None], labels: Labels) -> None:
        self._sources = sources
        self._sessions: dict[str, SessionNode] = {}
        self._runs: dict[tuple[str, str], RunNode] = {}
        scope = ("scope",)
        self._agents = families.histograms("agents_started", "Agents by the time of rest.", scope, COUNT_BUCKETS)
        self._depth = families.histograms("depth_reached", "Depth by the time of rest.", scope, DEPTH_BUCKETS)
        self._files = families.histograms("files_touched", "Files by the time of rest.", scope, COUNT_BUCKETS)
        self._hosts = families.histograms("hosts_touched", "Hosts by the time of rest.", scope, COUNT_BUCKETS)
        for each in RESTS:
            for histogram in (self._agents, self._depth, self._files, self._hosts):
                histogram[each,]
        families.registry.register(_BlastCollector(sources, labels))

    def worked(self, agent: AgentNode) -> None:
        """A request of this agent ended: its session and run are watched until they come to rest."""
        session, run = agent.session, agent.run
        if len(self._sessions) < WATCHED_MAX:
            self._sessions[session.id] = session
        if run is not None and len(self._runs) < WATCHED_MAX:
            self._runs[run.owner.credential, run.id] = run

    def observe_rested(self) -> None:
        """Count what those have touched that nobody is at work in now. Who works on later is counted again."""
        sources = self._sources()
        if sources is None:
            return
        now_ms = sources.unix_ms()
        for key, session in [each for each in self._sessions.items() if not at_work(each[1], now_ms)]:
            del self._sessions[key]
            self._observe("session", session.blast(), session.branches.deepest)
        for key, run in [each for each in self._runs.items() if not each[1].crew.count(now_ms)]:
            del self._runs[key]
            self._observe("run", run.blast(), run.deepest)

    def _observe(self, scope: str, blast: Mapping[str, int], depth: int) -> None:
        self._agents[scope,].observe(blast["agents"])
        self._depth[scope,].observe(depth)
        self._files[scope,].observe(blast["files"])
        self._hosts[scope,].observe(blast["hosts"])


def at_work(session: SessionNode, now_ms: int) -> int:
    """Agents of a session at work, its main one included."""
    main = session.agents.get(MAIN_AGENT)
    return session.active(now_ms) + (main is not None and main.is_active(now_ms))


class _BlastCollector(Collector):
    """Asks its sources at each scrape."""

    def __init__(self, sources: Callable[[], BlastSources | None], labels: Labels) -> None:
        self._sources = sources
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        """Every live metric, also when there is nothing to show."""
        sources = self._sources()
        now_ms = 0 if sources is None else sources.unix_ms()
        sessions: list[SessionNode] = []
        if sources is not None:
            working = frozenset(sources.tree.at_work(now_ms))
            sessions = [session for session in sources.tree.sessions() if session.id in working]
        yield self._by_team(sessions, {} if sources is None else sources.team_of(), now_ms)
        yield _largest(sessions, now_ms)
        yield from _headroom(sources, sessions, now_ms)
        yield _standing_fuses(sources)
        yield _standing_controls(() if sources is None else sources.controls())

    def _by_team(self, sessions: Iterable[SessionNode], team_of: Mapping[str, str | None], now_ms: int) -> Metric:
        counts = dict.fromkeys(self._labels.teams, 0)
        for session in sessions:
            team = self._labels.known_team(team_of.get(session.credential))
            counts[team] = counts.get(team, 0) + at_work(session, now_ms)
        agents = GaugeMetricFamily("ringfence_team_active_agents", "Agents at work, by team.", labels=("team",))
        for team, count in counts.items():
            agents.add_metric((team,), count)
        return agents


def _largest(sessions: Iterable[SessionNode], now_ms: int) -> Metric:
    largest = {(scope, size): 0 for scope in RESTS for size in SIZES}
    for session in sessions:
        sizes = session.meters(now_ms) | session.blast() | {"active_agents": at_work(session, now_ms)}
        _raise(largest, "session", sizes)
    runs = {
        (node.run.owner.credential, node.run.id): node.run
        for session in sessions
        for node in session.agents.values()
        if node.run is not None and node.is_active(now_ms)
    }
    for run in runs.values():
        _raise(largest, "run", run.meters(now_ms) | run.blast())
    shown = GaugeMetricFamily(
        "ringfence_blast_largest", "The most that any session or run at work has.", labels=("scope", "size")
    )
    for labels, count in largest.items():
        shown.add_metric(labels, count)
    return shown


def _raise(largest: dict[tuple[str, str], int], scope: str, sizes: Mapping[str, int]) -> None:
    for size in SIZES:
        largest[scope, size] = max(largest[scope, size], sizes.get(size, 0))


def _headroom(sources: BlastSources | None, sessions: Sequence[SessionNode], now_ms: int) -> Iterator[Metric]:
    """What fuses of those at work leave: the smallest share, and the dollars that sessions may still spend."""
    smallest: dict[tuple[str, str], float] = {}
    left_nanousd: dict[str, int] = {}
    for scope, holder, meter, limit, value in () if sources is None else _readings(sources, sessions, now_ms):
        left = max(0, limit - value)
        share = left / limit if limit else 0.0
        smallest[scope, meter] = min(share, smallest.get((scope, meter), 1.0))
        if (scope, meter) == ("session", "cost"):
            left_nanousd[holder] = left
    ratio = GaugeMetricFamily(
        "ringfence_fuse_headroom_ratio",
        "The smallest share that is left of any fuse of agents, sessions, runs and users at work.",
        labels=("scope", "meter"),
    )
    for labels, share in smallest.items():
        ratio.add_metric(labels, share)
    yield ratio
    yield GaugeMetricFamily(
        "ringfence_fuse_headroom_usd",
        "Dollars that the cost fuses of sessions at work still let through.",
        sum(left_nanousd.values()) / NANOUSD_PER_USD,
    )
    yield GaugeMetricFamily(
        "ringfence_unfused_sessions", "Sessions at work without a fuse on cost.", len(sessions) - len(left_nanousd)
    )


def _readings(
    sources: BlastSources, sessions: Iterable[SessionNode], now_ms: int
) -> Iterator[tuple[str, str, str, int, int]]:
    """Scope, holder, meter, limit and value of every fuse whose value is known, each once."""
    seen: set[tuple[Scope, str]] = set()
    agents = (node for session in sessions for node in session.agents.values() if node.is_active(now_ms))
    for node, _ in zip(agents, range(AGENTS_READ_MAX), strict=False):
        for scope, holder in sources.holders(node):
            if (scope, holder) in seen or not sources.fuses.guards(scope, holder):
                continue
            seen.add((scope, holder))
            for each in sources.fuses.readings(scope, holder, sources.meters(node, scope, now_ms)):
                if each.value is not None:
                    yield scope, holder, each.meter, each.limit, each.value


def _standing_fuses(sources: BlastSources | None) -> Metric:
    records = () if sources is None else sources.fuses.records()
    counts = Counter((each.scope, each.meter, each.state) for each in records if each.state != "intact")
    standing = GaugeMetricFamily(
        "ringfence_fuses_standing", "Fuses that have warned or are blown.", labels=("scope", "meter", "state")
    )
    for labels, count in counts.items():
        standing.add_metric(labels, count)
    return standing


def _standing_controls(records: Iterable[ControlRecord]) -> Metric:
    counts = Counter((each.target.partition(":")[0], each.state) for each in records)
    standing = GaugeMetricFamily(
        "ringfence_controls_standing", "Targets that people have stopped or held.", labels=("kind", "state")
    )
    for state in ("stopped", "held"):
        counts[EVERYTHING, state] += 0
    for labels, count in counts.items():
        standing.add_metric(labels, count)
    return standing
