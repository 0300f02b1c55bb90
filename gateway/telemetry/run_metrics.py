"""Runs of our own runtime: how many are open and how they end, what became of their agents, what they cost.

Fed by `runs/told.py`; the gauges are read live. Which run it is tells the API, never a label.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Gauge, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.core.money.pricing import NANOUSD_PER_USD
from gateway.telemetry.families import OTHER, Families, bounded

OPEN_STATES = ("pending_approval", "queued", "running", "paused")
END_STATES = ("completed", "degraded", "failed", "stopped", "denied")
"""`degraded` is completed, with calls that gave no value."""
OUTCOMES = ("done", "null", "threw", "refused", "stopped", "cached")
SANDBOX_CODES = ("script_timeout", "script_out_of_memory", "script_stalled", "script_killed", "runaway_script")
"""Why a script is ended from outside, mostly."""
FAILURE_CODES = (
    *("script_threw", *SANDBOX_CODES, "agent_limit_error", "budget_error", "result_not_serializable"),
    *("result_too_large", "lifetime", "journal_lost", "protocol"),
)
UPSTREAMS_MAX = 64
AGENTS_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
PHASES_BUCKETS = (0, 1, 2, 3, 5, 8, 13, 21, 50, 100, 256)
TOKENS_BUCKETS = (0, 1e3, 1e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 5e7, 1e8)
USD_BUCKETS = (0, 0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 500)
SECONDS_BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
JOURNAL_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class OpenRuns(Protocol):
    """What is read only when the metrics are."""

    def by_state(self) -> Mapping[str, int]: ...
    def paused_oldest_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSums:
    """What a run has come to. `cost_nanousd` None: it used a model without a price."""

    degraded: bool = False
    failure: str | None = None
    """The code of why it failed."""
    phases: int = 0
    agents: int = 0
    tokens: int = 0
    """New ones: what was replayed is not in it."""
    cost_nanousd: int | None = 0
    seconds: float = 0.0


class RunMetrics:
    """One part of `Metrics`."""

    def __init__(self, families: Families, sources: Callable[[], OpenRuns | None]) -> None:
        self._upstreams: set[str] = set()
        self._define_counts(families)
        self._agents_of = families.histogram("run_agents", "Agents of a run that ended.", AGENTS_BUCKETS)
        self._phases = families.histogram("run_phases", "Phases of a run that ended.", PHASES_BUCKETS)
        self._tokens = families.histogram("run_tokens", "New tokens of a run that ended.", TOKENS_BUCKETS)
        self._cost = families.histogram("run_cost_usd", "List price of those, in dollars.", USD_BUCKETS)
        self._seconds = families.histogram("run_seconds", "From its start to its end.", SECONDS_BUCKETS)
        self._journal = families.histogram(
            "run_journal_seconds", "Until lines of a journal are durable.", JOURNAL_BUCKETS
        )
        self._concurrency = Gauge(
            "ringfence_run_concurrency",
            "Agents of runs that an upstream is given at once.",
            ("upstream",),
            registry=families.registry,
        )
        families.registry.register(_OpenRunsCollector(sources))

    def _define_counts(self, families: Families) -> None:
        """Each child is there from the start, so that its first event is a change."""
        self._ended = families.counters("runs_ended", "Runs that ended.", ("state",))
        self._failures = families.counters("run_failures", "Runs that failed, by why.", ("code",))
        self._calls = families.counters("run_calls", "Calls of agents, by what became of them.", ("outcome",))
        self._sandbox = families.counters("sandbox_failures", "Scripts that were ended from outside.", ("code",))
        self._saved_tokens = families.counter("run_saved_tokens", "Tokens of calls that were replayed.")
        self._saved_usd = families.counter("run_saved_usd", "List price of those, in dollars.")
        for state in END_STATES:
            self._ended[state,].inc(0)
        for outcome in OUTCOMES:
            self._calls[outcome,].inc(0)
        for code in FAILURE_CODES:
            self._failures[code,].inc(0)
        for code in SANDBOX_CODES:
            self._sandbox[code,].inc(0)

    def ended(self, state: str, sums: RunSums) -> None:
        """Count a run that ended, and what it came to."""
        self._ended["degraded" if state == "completed" and sums.degraded else state,].inc()
        if sums.failure is not None:
            self._failures[_code(sums.failure),].inc()
        if state == "denied":
            return
        self._agents_of.observe(sums.agents)
        self._phases.observe(sums.phases)
        self._tokens.observe(sums.tokens)
        self._seconds.observe(sums.seconds)
        if sums.cost_nanousd is not None:
            self._cost.observe(sums.cost_nanousd / NANOUSD_PER_USD)

    def call_settled(self, outcome: str, tokens: int, cost_nanousd: int | None) -> None:
        """Count a call; of a replayed one, what it saved."""
        self._calls[outcome if outcome in OUTCOMES else OTHER,].inc()
        if outcome == "cached":
            self._saved_tokens.inc(tokens)
            self._saved_usd.inc((cost_nanousd or 0) / NANOUSD_PER_USD)

    def sandbox_failed(self, code: str) -> None:
        """Count a script that was ended from outside."""
        self._sandbox[_code(code),].inc()

    def governed(self, upstream: str, concurrency: int) -> None:
        """An upstream is given more or fewer agents at once."""
        self._concurrency.labels(bounded(upstream, self._upstreams, UPSTREAMS_MAX)).set(concurrency)

    def journal_appended(self, seconds: float) -> None:
        """Lines of a journal are durable."""
        self._journal.observe(seconds)


def _code(code: str) -> str:
    return code if code in FAILURE_CODES else OTHER


class _OpenRunsCollector(Collector):
    """Asks its source at each scrape."""

    def __init__(self, sources: Callable[[], OpenRuns | None]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Both gauges, also when no run is open."""
        runs = self._sources()
        counts: Mapping[str, int] = {} if runs is None else runs.by_state()
        gauge = GaugeMetricFamily("ringfence_runs_open", "Runs that have not ended.", labels=("state",))
        for state in OPEN_STATES:
            gauge.add_metric((state,), counts.get(state, 0))
        yield gauge
        yield GaugeMetricFamily(
            "ringfence_run_paused_oldest_seconds",
            "For how long the run has been paused that was paused first.",
            0 if runs is None else runs.paused_oldest_seconds(),
        )
