"""What policy decided and how long it took, what became of approvals and of new policy sets. One part of `Metrics`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Gauge, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.core.decisions.decision import Decision, Query, Spawn
from gateway.telemetry.families import NONE, Families, bounded

RULES_MAX = 512
"""Distinct rules that become labels; a policy could make up names without end."""
ENGINE_RULES = "engine/"
"""Before the names that the engine itself gives as reasons: it could not decide, or not do what was decided."""
KINDS = ("infer", "spawn", "tool_call", "run")
APPROVAL_CHANGES = ("asked", "remembered", "approved", "denied", "expired", "withdrawn", "revoked")
ANSWERED = "answered"
OPA_UNANSWERED = frozenset({"timeout", "unreachable", "refused", "open"})
"""Of questions to an OPA server: those that it gave no answer to."""
POLICY_BUCKETS = (
    *(0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)


def _no_revision() -> str:
    return NONE


def _none_found() -> tuple[int, int]:
    return 0, 0


def _zero() -> float:
    return 0


@dataclass(slots=True)
class PolicySources:
    """What is counted elsewhere and read only when the metrics are."""

    engine: str = NONE
    mode: str = NONE
    revision: Callable[[], str] = _no_revision
    memo: Callable[[], tuple[int, int]] = _none_found
    """Decisions that were remembered, and those that were not, since the policies in use took over."""
    approvals_waiting: Callable[[], float] = _zero
    approval_oldest_seconds: Callable[[], float] = _zero


class PolicyMetrics:
    """Fed by `Metrics`."""

    def __init__(self, families: Families, sources: Callable[[], PolicySources]) -> None:
        self._sources = sources
        self._rules: set[str] = set()
        self._decisions = families.counters("decisions", "Policy decisions.", ("kind", "outcome", "rule"))
        self._shadow_denials = families.counters(
            "shadow_denials", "Denials of rules in shadow mode, recorded and not acted on.", ("kind", "rule")
        )
        self._seconds = families.histograms(
            "policy_seconds", "Time in the policy engine.", ("engine", "kind"), POLICY_BUCKETS
        )
        self._failures = families.counters(
            "policy_failures", "Decisions that the engine could not make or that could not be met.", ("kind",)
        )
        self._spawns = families.counters("spawns", "Agents that were asked for or came.", ("via", "outcome"))
        self._opa = families.counters("opa_queries", "Questions to an OPA server.", ("outcome",))
        self._opa_up = Gauge("ringfence_opa_up", "1 unless OPA gave no answer last.", registry=families.registry)
        self._define_people(families)
        families.registry.register(_PolicyCollector(sources))

    def _define_people(self, families: Families) -> None:
        """Who rolls out and who approves; each child is there from the start, so that its first event is a change."""
        self._approvals = families.counters("approvals", "What became of approvals.", ("kind", "change"))
        self._reloads = families.counters("policy_reloads", "New policy sets.", ("outcome",))
        self._refused = Gauge(
            "ringfence_policy_reload_refused",
            "1 while the latest policy set is not the one in use, as it was refused.",
            registry=families.registry,
        )
        self._opa_up.set(1)
        self._opa[ANSWERED,].inc(0)
        for kind in KINDS:
            self._failures[kind,].inc(0)
        for outcome in ("taken", "refused"):
            self._reloads[outcome,].inc(0)
        for kind in KINDS[1:]:
            for change in APPROVAL_CHANGES:
                self._approvals[kind, change].inc(0)

    def decided(self, query: Query, decision: Decision, seconds: float) -> None:
        """Count a decision under the first rule that spoke, and each rule in shadow mode that would have denied."""
        kind = str(query.action.__struct_config__.tag)
        first = decision.reasons[0].rule if decision.reasons else NONE
        outcome = "allow" if decision.allow else "deny"
        self._decisions[kind, outcome, bounded(first, self._rules, RULES_MAX)].inc()
        if first.startswith(ENGINE_RULES) and not decision.allow:
            self._failures[kind,].inc()
        if isinstance(query.action, Spawn):
            self._spawns[query.action.via, outcome].inc()
        for reason in decision.shadow:
            self._shadow_denials[kind, bounded(reason.rule, self._rules, RULES_MAX)].inc()
        if seconds > 0:
            self._seconds[self._sources().engine, kind].observe(seconds)

    def opa_asked(self, outcome: str) -> None:
        """Count a question to an OPA server by what became of it."""
        self._opa[outcome,].inc()
        self._opa_up.set(outcome not in OPA_UNANSWERED)

    def approval_changed(self, kind: str, change: str) -> None:
        """Count a word on an approval, or the end of its time."""
        self._approvals[kind, change].inc()

    def policies_reloaded(self, *, taken: bool) -> None:
        """A new policy set has taken over, or was refused."""
        self._reloads["taken" if taken else "refused",].inc()
        self._refused.set(not taken)


class _PolicyCollector(Collector):
    """Asks its sources at each scrape."""

    def __init__(self, sources: Callable[[], PolicySources]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Every live metric, also when there is nothing to show."""
        sources = self._sources()
        about = GaugeMetricFamily(
            "ringfence_policy_info", "1 for the policies that decide.", labels=("engine", "mode", "revision")
        )
        about.add_metric((sources.engine, sources.mode, sources.revision()), 1)
        yield about
        lookups = CounterMetricFamily(
            "ringfence_policy_memo", "Decisions that were remembered or had to be made.", labels=("outcome",)
        )
        for outcome, count in zip(("hit", "miss"), sources.memo(), strict=True):
            lookups.add_metric((outcome,), count)
        yield lookups
        yield GaugeMetricFamily(
            "ringfence_approvals_waiting", "Streams that wait for a person.", sources.approvals_waiting()
        )
        yield GaugeMetricFamily(
            "ringfence_approval_oldest_seconds", "Age of the oldest of them.", sources.approval_oldest_seconds()
        )
