"""Prometheus metrics of the request path, in a registry of their own. No session, agent, user or credential is a label.

    name (prefix ringfence_)    unit     labels                                 what
    requests_total              -        dialect upstream model status reason   requests that ended; status 2xx..5xx
    request_duration_seconds    seconds  dialect upstream                       received to last byte
    first_byte_seconds          seconds  dialect upstream                       received to first byte to the client
    overhead_seconds            seconds  dialect                                first byte less the upstream's headers
    upstream_errors_total       -        upstream reason                        failed, or refused by the upstream
    upstream_attempts_total     -        upstream outcome                       requests sent: answered, or why not
    failovers_total             -        from to                                upstreams that were given up for another
    upstream_state              -        upstream state                         1 for what its breaker is, else 0
    upstream_in_use             -        upstream                               requests that it is at work on
    upstream_waiting            -        upstream                               requests that wait for a place
    bridged_total               -        upstream feature action                what a request lost or had changed
    decisions_total             -        kind outcome rule                      allow or deny; the rule that decided
    shadow_denials_total        -        kind rule                              what rules in shadow mode would deny
    policy_seconds              seconds  kind                                   time in the policy engine
    tool_calls_total            -        tool_class outcome                     calls in answers, allow or deny
    tokens_total                tokens   model kind                             as the upstream reported them
    cost_usd_total              dollars  model team                             as settled
    held_usd                    dollars  -                                      held and not settled yet
    fuses_blown_total           -        scope meter                            fuses that blew
    agents_seen_total           -        via                                    agents that came to life
    in_flight_requests          -        -                                      requests being answered
    active_sessions             -        -                                      sessions at work
    active_agents               -        -                                      agents at work
    audit_failures_total        -        -                                      audit records that were not written

Every label is bounded: models are those of the price catalogue, upstreams and teams those of the configuration, rules
and features the first `RULES_MAX` and `FEATURES_MAX` that were seen. Anything else is `other`, the unknown is `none`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.context import RequestContext
from gateway.core.breaker import STATES
from gateway.core.decision import Decision, Query
from gateway.core.usage import Tokens, Usage
from gateway.errors import Reason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NANOUSD_PER_USD = 1_000_000_000
RULES_MAX = 512
"""Distinct rules that become labels; a policy could make up names without end."""
FEATURES_MAX = 256
"""Distinct features that become labels; the names of betas are what clients write."""
MODEL_SPELLINGS_MAX = 1024
"""Spellings of models remembered with their label; clients choose them."""
OTHER = "other"
NONE = "none"
ANSWERED = "answered"
ABANDONED = "abandoned"
"""The client left before the upstream had answered."""

DURATION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
FIRST_BYTE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
POLICY_BUCKETS = (0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1)

_UPSTREAM_FAULTS = frozenset(
    {Reason.UPSTREAM_REFUSED, Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_BROKE}
)
_STATUS_CLASSES = {hundred: f"{hundred}xx" for hundred in range(1, 6)}
_TOKEN_KINDS = Tokens.__struct_fields__

Child = TypeVar("Child", Counter, Histogram)


def _zero() -> int:
    return 0


class UpstreamGauges(Protocol):
    """What is shown of an upstream at this moment."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def in_use(self) -> int: ...
    @property
    def waiting(self) -> int: ...


def _nothing() -> Sequence[UpstreamGauges]:
    return ()


@dataclass(frozen=True, slots=True)
class Live:
    """What is counted elsewhere and read only when the metrics are."""

    active_sessions: Callable[[], int] = _zero
    active_agents: Callable[[], int] = _zero
    audit_failures: Callable[[], int] = _zero
    upstreams: Callable[[], Sequence[UpstreamGauges]] = _nothing


class Metrics:
    """Implements `ports.Telemetry`. Used on the event loop only."""

    def __init__(
        self, catalogue: Callable[[str], str | None], teams: Collection[str], *, live: Live | None = None
    ) -> None:
        """`catalogue` gives the id of a model that has a price, whatever its spelling, and None for any other."""
        self._catalogue = catalogue
        self._teams = frozenset(teams)
        self._model_labels: dict[str, str] = {}
        self._rules: set[str] = set()
        self._features: set[str] = set()
        self._registry = CollectorRegistry()
        self._define_requests()
        self._define_upstreams()
        self._define_decisions()
        self._registry.register(_LiveCollector(live or Live()))

    def _define_requests(self) -> None:
        where = ("dialect", "upstream")
        self._requests = self._counters("requests", "Requests that ended.", (*where, "model", "status", "reason"))
        self._duration = self._histograms(
            "request_duration_seconds", "From the request's arrival to its last byte.", where, DURATION_BUCKETS
        )
        self._first_byte = self._histograms(
            "first_byte_seconds", "From the request's arrival to the first byte sent.", where, FIRST_BYTE_BUCKETS
        )
        self._overhead = self._histograms(
            "overhead_seconds", "Time to first byte less the upstream's headers.", ("dialect",), OVERHEAD_BUCKETS
        )
        self._tokens = self._counters("tokens", "Model tokens as reported by the upstream.", ("model", "kind"))
        self._cost = self._counters("cost_usd", "Settled cost in dollars.", ("model", "team"))
        self._held = Gauge("ringfence_held_usd", "Dollars held and not settled yet.", registry=self._registry)
        self._in_flight = Gauge("ringfence_in_flight_requests", "Requests being answered.", registry=self._registry)

    def _define_upstreams(self) -> None:
        self._upstream_errors = self._counters(
            "upstream_errors", "Requests that an upstream failed or refused.", ("upstream", "reason")
        )
        self._attempts = self._counters(
            "upstream_attempts", "Requests sent, by what became of them.", ("upstream", "outcome")
        )
        self._failovers = self._counters("failovers", "Upstreams given up for another one.", ("from", "to"))
        self._bridged = self._counters(
            "bridged",
            "What requests lost or had changed because an upstream lacks it.",
            ("upstream", "feature", "action"),
        )

    def _define_decisions(self) -> None:
        self._decisions = self._counters("decisions", "Policy decisions.", ("kind", "outcome", "rule"))
        self._shadow_denials = self._counters(
            "shadow_denials", "Denials of rules in shadow mode, recorded and not acted on.", ("kind", "rule")
        )
        self._policy = self._histograms("policy_seconds", "Time in the policy engine.", ("kind",), POLICY_BUCKETS)
        self._tool_calls = self._counters("tool_calls", "Tool calls in answers.", ("tool_class", "outcome"))
        self._fuses_blown = self._counters("fuses_blown", "Fuses that blew.", ("scope", "meter"))
        self._agents_seen = self._counters("agents_seen", "Agents that came to life.", ("via",))

    def request_started(self) -> None:
        """Count a request in; `request_ended` counts it out."""
        self._in_flight.inc()

    def request_ended(self, ctx: RequestContext) -> None:
        """Count a request from what its context says."""
        self._in_flight.dec()
        dialect, upstream = ctx.dialect, ctx.upstream or NONE
        reason = ctx.reason or Reason.INTERNAL
        model = self._model_label(ctx.ask.model) if ctx.ask is not None else NONE
        status = NONE if ctx.status is None else _STATUS_CLASSES.get(ctx.status // 100, OTHER)
        self._requests[dialect, upstream, model, status, reason].inc()
        if reason in _UPSTREAM_FAULTS:
            self._upstream_errors[upstream, reason].inc()
        self._count_attempts(ctx, reason)
        for change in ctx.bridged:
            feature = _bounded(change.feature, self._features, FEATURES_MAX)
            self._bridged[upstream, feature, change.action].inc()
        self._observe_times(ctx, dialect, upstream)
        for call in ctx.tool_calls:
            self._tool_calls[call.tool_class, _outcome(call.allowed)].inc()
        if ctx.usage is not None:
            self._count_tokens(ctx.usage, model)
        if ctx.cost_nanousd:
            team = ctx.principal.team if ctx.principal is not None else None
            label = NONE if team is None else team if team in self._teams else OTHER
            self._cost[model, label].inc(ctx.cost_nanousd / NANOUSD_PER_USD)

    def decided(self, query: Query, decision: Decision, seconds: float) -> None:
        """Count a decision under the first rule that spoke, and each rule in shadow mode that would have denied.

        `seconds` is 0 for a decision that the engine was not asked for.
        """
        kind = str(query.action.__struct_config__.tag)
        rule = _bounded(decision.reasons[0].rule, self._rules, RULES_MAX) if decision.reasons else NONE
        self._decisions[kind, _outcome(decision.allow), rule].inc()
        for reason in decision.shadow:
            self._shadow_denials[kind, _bounded(reason.rule, self._rules, RULES_MAX)].inc()
        if seconds > 0:
            self._policy[kind,].observe(seconds)

    def fuse_blown(self, scope: str, meter: str) -> None:
        """Count a fuse that blew."""
        self._fuses_blown[scope, meter].inc()

    def agent_seen(self, via: str) -> None:
        """Count an agent that came to life."""
        self._agents_seen[via,].inc()

    def held_nanousd(self, total: int) -> None:
        """What is held now, on all accounts once."""
        self._held.set(total / NANOUSD_PER_USD)

    def render(self) -> bytes:
        """Everything in the text format; the answer's type is `CONTENT_TYPE`."""
        return generate_latest(_WithoutCreated(self._registry))

    def _count_attempts(self, ctx: RequestContext, reason: Reason) -> None:
        """Those that were given up, each under its reason, and the one that the request ended with."""
        for attempt in ctx.attempts:
            self._attempts[attempt.upstream, attempt.reason].inc()
        tried = [attempt.upstream for attempt in ctx.attempts]
        if ctx.upstream is not None and ctx.dispatched and ctx.upstream not in tried:
            answered = ANSWERED if ctx.upstream_headers_seconds is not None else ABANDONED
            self._attempts[ctx.upstream, reason if reason in _UPSTREAM_FAULTS else answered].inc()
            tried.append(ctx.upstream)
        for given_up, taken in pairwise(tried):
            self._failovers[given_up, taken].inc()

    def _observe_times(self, ctx: RequestContext, dialect: str, upstream: str) -> None:
        if ctx.total_seconds is not None:
            self._duration[dialect, upstream].observe(ctx.total_seconds)
        if ctx.first_byte_seconds is not None:
            self._first_byte[dialect, upstream].observe(ctx.first_byte_seconds)
            waited_seconds = ctx.upstream_headers_seconds or 0.0
            self._overhead[dialect,].observe(max(0.0, ctx.first_byte_seconds - waited_seconds))

    def _count_tokens(self, usage: Usage, model: str) -> None:
        """Iterations are what is billed; when there are none, the response as a whole."""
        for iteration in usage.iterations:
            self._add_tokens(iteration.tokens, self._model_label(iteration.model) if iteration.model else model)
        if not usage.iterations:
            self._add_tokens(usage.tokens, model)

    def _add_tokens(self, tokens: Tokens, model: str) -> None:
        counts = (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h)
        for kind, count in zip(_TOKEN_KINDS, counts, strict=True):
            if count > 0:
                self._tokens[model, kind].inc(count)

    def _model_label(self, model: str) -> str:
        label = self._model_labels.get(model)
        if label is None:
            label = self._catalogue(model) or OTHER
            if len(self._model_labels) < MODEL_SPELLINGS_MAX:
                self._model_labels[model] = label
        return label

    def _counters(self, name: str, meaning: str, labels: tuple[str, ...]) -> "_Children[Counter]":
        return _Children(Counter(f"ringfence_{name}", meaning, labels, registry=self._registry))

    def _histograms(
        self, name: str, meaning: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> "_Children[Histogram]":
        return _Children(Histogram(f"ringfence_{name}", meaning, labels, registry=self._registry, buckets=buckets))


class _Children(dict[tuple[str, ...], Child]):
    """One metric's children by label values: a plain lookup after the first use, where the library takes a lock."""

    def __init__(self, family: Child) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, labels: tuple[str, ...]) -> Child:
        child = self._family.labels(*labels)
        self[labels] = child
        return child


class _LiveCollector(Collector):
    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        live = self._live
        yield GaugeMetricFamily("ringfence_active_sessions", "Sessions at work.", live.active_sessions())
        yield GaugeMetricFamily("ringfence_active_agents", "Agents at work.", live.active_agents())
        yield CounterMetricFamily(
            "ringfence_audit_failures", "Audit records that could not be written.", live.audit_failures()
        )
        yield from _upstream_gauges(live.upstreams())


class _WithoutCreated(Collector):
    """Leaves out the creation time that the library adds to every child: a third more series, which nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _upstream_gauges(upstreams: Sequence[UpstreamGauges]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "ringfence_upstream_state", "1 for the state of the upstream's breaker.", labels=("upstream", "state")
    )
    in_use = GaugeMetricFamily("ringfence_upstream_in_use", "Requests it is at work on.", labels=("upstream",))
    waiting = GaugeMetricFamily("ringfence_upstream_waiting", "Requests that wait for a place.", labels=("upstream",))
    for upstream in upstreams:
        for each in STATES:
            state.add_metric((upstream.id, each), float(each == upstream.state))
        in_use.add_metric((upstream.id,), upstream.in_use)
        waiting.add_metric((upstream.id,), upstream.waiting)
    yield from (state, in_use, waiting)


def _bounded(text: str, seen: set[str], most: int) -> str:
    """`text` while it is among the first `most` that were seen, else `other`."""
    if text not in seen:
        if len(seen) >= most:
            return OTHER
        seen.add(text)
    return text


def _outcome(allow: bool) -> str:
    return "allow" if allow else "deny"
