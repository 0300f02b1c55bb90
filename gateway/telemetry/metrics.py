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
    policy_seconds              seconds  engine kind                            time in the policy engine
    policy_failures_total       -        kind                                   the engine could not decide
    policy_info                 -        engine mode revision                   1 for the policies that decide
    policy_memo_total           -        outcome                                decisions remembered (hit) or made
    policy_reloads_total        -        outcome                                new policy sets: taken or refused
    policy_reload_refused       -        -                                      1 while the latest one is refused
    opa_queries_total           -        outcome                                questions to an OPA server
    opa_up                      -        -                                      1 unless it gave no answer last
    approvals_total             -        kind change                            asked, approved, denied, expired ...
    approvals_waiting           -        -                                      streams that wait for a person
    approval_oldest_seconds     seconds  -                                      age of the oldest of them
    tool_calls_total            -        tool_class outcome                     calls in answers, allow or deny
    tokens_total                tokens   model kind                             as the upstream reported them
    cost_usd_total              dollars  model team agent_type                  as settled
    held_usd                    dollars  model team agent_type                  held and not settled yet
    budget_limit_usd            dollars  limit account window strict            what a budget allows
    budget_used_usd             dollars  limit account window strict            spent of it in its window
    budget_held_usd             dollars  limit account window strict            held of it
    budget_resets_timestamp_seconds Unix limit account window strict            when its window ends
    quota_limit                 -        limit account meter window             what a limit on counts allows
    quota_used                  -        limit account meter window             counted in its window
    quota_held                  -        limit account meter window             held of it
    limit_refusals_total        -        account meter window                   requests that a limit refused
    limit_warnings_total        -        account meter window                   requests that met a limit past a mark
    overshoot_usd_total         dollars  strict                                 settled past a limit
    max_tokens_clamped_total    -        -                                      requests made to fit a limit
    holds_open                  -        -                                      holds that have not ended
    hold_oldest_seconds         seconds  -                                      age of the oldest of them
    holds_expired_total         -        -                                      ended at their deadline
    holds_extended_total        -        -                                      raised while an answer ran
    streams_ended_total         -        reason                                 answers that we ended early
    drains_in_flight            -        -                                      read on after their client left
    drains_total                -        outcome                                client left: billed by usage or floor
    estimate_ratio              -        model                                  settled cost / expected hold
    hold_ratio                  -        model                                  settled cost / worst hold
    cache_saved_usd_total       dollars  model team                             by reads, against plain input
    cache_premium_usd_total     dollars  model team                             paid for writes, against plain input
    store_up                    -        -                                      1 while the store takes holds
    store_journal_entries       -        -                                      settlements to be replayed
    fuses_blown_total           -        scope meter                            fuses that blew
    fuses_standing              -        scope meter state                      fuses that warned or are blown
    fuse_headroom_ratio         -        scope meter                            smallest share left of any at work
    fuse_headroom_usd           dollars  -                                      what cost fuses of sessions leave
    unfused_sessions            -        -                                      at work without a fuse on cost
    controls_standing           -        kind state                             targets that people stopped or held
    agents_seen_total           -        via                                    agents that came to life
    spawns_total                -        via outcome                            agents asked for or come, allow or deny
    team_active_agents          -        team                                   agents at work
    blast_largest               -        scope size                             the most of any session or run at work
    agents_started              -        scope                                  agents of those that came to rest
    depth_reached               -        scope                                  their depth
    files_touched               -        scope                                  files that their calls named
    hosts_touched               -        scope                                  hosts that their calls named
    hooks_total                 -        event outcome                          hooks, by what they were answered
    runs_open                   -        state                                  runs that have not ended
    run_paused_oldest_seconds   seconds  -                                      how long the longest pause has lasted
    runs_ended_total            -        state                                  runs that ended
    run_failures_total          -        code                                   runs that failed, by why
    run_calls_total             -        outcome                                calls of agents: done, null, threw ...
    run_agents                  -        -                                      agents of a run that ended
    run_phases                  -        -                                      its phases
    run_tokens                  tokens   -                                      its new tokens
    run_cost_usd                dollars  -                                      their list price
    run_seconds                 seconds  -                                      from its start to its end
    run_saved_tokens_total      tokens   -                                      of calls that were replayed
    run_saved_usd_total         dollars  -                                      their list price
    run_concurrency             -        upstream                               agents that it is given at once
    run_journal_seconds         seconds  -                                      until lines of a journal are durable
    sandbox_failures_total      -        code                                   scripts that were ended from outside
    in_flight_requests          -        -                                      requests being answered
    active_sessions             -        -                                      sessions at work
    active_agents               -        -                                      agents at work
    audit_failures_total        -        -                                      audit records that were not written

Every label is bounded: models are those of the price catalogue, upstreams and teams those of the configuration; rules,
features, types of agents and limits the first `RULES_MAX`, `FEATURES_MAX`, `AGENT_TYPES_MAX` and `LIMITS_MAX` that were
seen. Anything else is `other`, the unknown is `none`. An account is named when it is a pool that people share; of
people, their credentials, sessions, runs and agents a label has the kind alone, and the gauges show the account that is
nearest to its limit.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import Any, cast

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from gateway.context import RequestContext
from gateway.core.decisions.decision import Decision, Query
from gateway.core.money.limits import LimitRow, Series
from gateway.core.wire.usage import Tokens, Usage
from gateway.errors import Reason
from gateway.telemetry.blast_metrics import BlastMetrics
from gateway.telemetry.families import NONE, OTHER, Families, Labels, bounded
from gateway.telemetry.live import Live as Live
from gateway.telemetry.live import LiveCollector
from gateway.telemetry.policy_metrics import RULES_MAX as RULES_MAX
from gateway.telemetry.policy_metrics import PolicyMetrics
from gateway.telemetry.run_metrics import RunMetrics
from gateway.telemetry.spend_metrics import SpendMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
FEATURES_MAX = 256
"""Distinct features that become labels; the names of betas are what clients write."""
DECISION = "decision"
"""What exemplars carry: the id by which the audit trail has a request."""
ANSWERED = "answered"
ABANDONED = "abandoned"
"""The client left before the upstream had answered."""

DURATION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
FIRST_BYTE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)

_OPENMETRICS, _TEXT = (each.partition(";")[0] for each in (OPENMETRICS_CONTENT_TYPE, CONTENT_TYPE))
_UPSTREAM_FAULTS = frozenset(
    {Reason.UPSTREAM_REFUSED, Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_BROKE}
)
_STATUS_CLASSES = {hundred: f"{hundred}xx" for hundred in range(1, 6)}
_TOKEN_KINDS = Tokens.__struct_fields__


class Metrics:
    """Implements `ports.Telemetry`. Used on the event loop only."""

    def __init__(
        self, catalogue: Callable[[str], str | None], teams: Collection[str], *, live: Live | None = None
    ) -> None:
        """`catalogue` gives the id of a model that has a price, whatever its spelling, and None for any other."""
        self._labels = Labels(catalogue, teams)
        self._features: set[str] = set()
        self._registry = CollectorRegistry()
        families, live = Families(self._registry), live or Live()
        self._define_requests(families)
        self._define_upstreams(families)
        self._tool_calls = families.counters("tool_calls", "Tool calls in answers.", ("tool_class", "outcome"))
        self._fuses_blown = families.counters("fuses_blown", "Fuses that blew.", ("scope", "meter"))
        self._agents_seen = families.counters("agents_seen", "Agents that came to life.", ("via",))
        self._hooks = families.counters("hooks", "Hooks that clients sent.", ("event", "outcome"))
        self._spend = SpendMetrics(families, self._labels)
        self._policy = PolicyMetrics(families, lambda: live.policy)
        self._blast = BlastMetrics(families, lambda: live.blast, self._labels)
        self.runs = RunMetrics(families, lambda: live.runs)
        self._registry.register(LiveCollector(live))

    def _define_requests(self, families: Families) -> None:
        where = ("dialect", "upstream")
        self._requests = families.counters("requests", "Requests that ended.", (*where, "model", "status", "reason"))
        self._duration = families.histograms(
            "request_duration_seconds", "From the request's arrival to its last byte.", where, DURATION_BUCKETS
        )
        self._first_byte = families.histograms(
            "first_byte_seconds", "From the request's arrival to the first byte sent.", where, FIRST_BYTE_BUCKETS
        )
        self._overhead = families.histograms(
            "overhead_seconds", "Time to first byte less the upstream's headers.", ("dialect",), OVERHEAD_BUCKETS
        )
        self._tokens = families.counters("tokens", "Model tokens as reported by the upstream.", ("model", "kind"))
        self._in_flight = Gauge("ringfence_in_flight_requests", "Requests being answered.", registry=self._registry)

    def _define_upstreams(self, families: Families) -> None:
        self._upstream_errors = families.counters(
            "upstream_errors", "Requests that an upstream failed or refused.", ("upstream", "reason")
        )
        self._attempts = families.counters(
            "upstream_attempts", "Requests sent, by what became of them.", ("upstream", "outcome")
        )
        self._failovers = families.counters("failovers", "Upstreams given up for another one.", ("from", "to"))
        self._bridged = families.counters(
            "bridged",
            "What requests lost or had changed because an upstream lacks it.",
            ("upstream", "feature", "action"),
        )

    def request_started(self) -> None:
        """Count a request in; `request_ended` counts it out."""
        self._in_flight.inc()

    def request_ended(self, ctx: RequestContext) -> None:
        """Count a request from what its context says."""
        self._in_flight.dec()
        dialect, upstream = ctx.dialect, ctx.upstream or NONE
        reason = ctx.reason or Reason.INTERNAL
        model = self._labels.model(ctx.ask.model) if ctx.ask is not None else NONE
        status = NONE if ctx.status is None else _STATUS_CLASSES.get(ctx.status // 100, OTHER)
        self._requests[dialect, upstream, model, status, reason].inc()
        if reason in _UPSTREAM_FAULTS:
            self._upstream_errors[upstream, reason].inc()
        self._count_attempts(ctx, reason)
        for change in ctx.bridged:
            feature = bounded(change.feature, self._features, FEATURES_MAX)
            self._bridged[upstream, feature, change.action].inc()
        self._observe_times(ctx, dialect, upstream)
        for call in ctx.tool_calls:
            self._tool_calls[call.tool_class, _outcome(call.allowed)].inc()
        if ctx.usage is not None:
            self._count_tokens(ctx.usage, model)
        self._spend.request_ended(ctx, model)
        if ctx.agent is not None:
            self._blast.worked(ctx.agent)

    def decided(self, query: Query, decision: Decision, seconds: float) -> None:
        """Count a decision; `seconds` is 0 for one that the engine was not asked for."""
        self._policy.decided(query, decision, seconds)

    def opa_asked(self, outcome: str, _seconds: float) -> None:
        """Count a question to an OPA server; its time is part of the decision's."""
        self._policy.opa_asked(outcome)

    def approval_changed(self, kind: str, change: str) -> None:
        """Count a word on an approval, or the end of its time."""
        self._policy.approval_changed(kind, change)

    def policies_reloaded(self, *, taken: bool) -> None:
        """A new policy set has taken over, or was refused."""
        self._policy.policies_reloaded(taken=taken)

    def fuse_blown(self, scope: str, meter: str) -> None:
        """Count a fuse that blew."""
        self._fuses_blown[scope, meter].inc()

    def agent_seen(self, via: str) -> None:
        """Count an agent that came to life."""
        self._agents_seen[via,].inc()

    def hook_received(self, event: str, outcome: str) -> None:
        """Count a hook of a client; events that nobody asked for are `other`."""
        self._hooks[event, outcome].inc()

    def held(self, ctx: RequestContext) -> None:
        """A request holds money: show how much, whatever becomes of its hold, until `request_ended`."""
        self._spend.held(ctx)

    def limit_refused(self, series: Series) -> None:
        """Count a request that a limit refused."""
        self._spend.limit_refused(series)

    def overshot(self, limit: LimitRow, amount: int) -> None:
        """Count how far a settlement went past a limit."""
        self._spend.overshot(limit, amount)

    def hold_expired(self, count: int) -> None:
        """Count holds that ended at their deadline."""
        self._spend.hold_expired(count)

    def render(self) -> bytes:
        """Everything in the text format; the answer's type is `CONTENT_TYPE`."""
        self._blast.observe_rested()
        return generate_latest(_WithoutCreated(self._registry))

    def page(self, accept: str) -> tuple[bytes, str]:
        """Everything, and its type: OpenMetrics, which has exemplars, for whom it is the first of what `accept` names.

        Who names several has them in the order of preference; what else it says of them is not read.
        """
        named = [each.partition(";")[0].strip() for each in accept.split(",")]
        known = [each for each in named if each in (_OPENMETRICS, _TEXT)]
        if known[:1] != [_OPENMETRICS]:
            return self.render(), CONTENT_TYPE
        self._blast.observe_rested()
        page = cast("Any", openmetrics).generate_latest(_WithoutCreated(self._registry))
        return page, OPENMETRICS_CONTENT_TYPE

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
            self._duration[dialect, upstream].observe(ctx.total_seconds, {DECISION: ctx.id})
        if ctx.first_byte_seconds is not None:
            self._first_byte[dialect, upstream].observe(ctx.first_byte_seconds, {DECISION: ctx.id})
            waited_seconds = ctx.upstream_headers_seconds or 0.0
            self._overhead[dialect,].observe(max(0.0, ctx.first_byte_seconds - waited_seconds))

    def _count_tokens(self, usage: Usage, model: str) -> None:
        """Iterations are what is billed; when there are none, the response as a whole."""
        for iteration in usage.iterations:
            self._add_tokens(iteration.tokens, self._labels.model(iteration.model) if iteration.model else model)
        if not usage.iterations:
            self._add_tokens(usage.tokens, model)

    def _add_tokens(self, tokens: Tokens, model: str) -> None:
        counts = (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h)
        for kind, count in zip(_TOKEN_KINDS, counts, strict=True):
            if count > 0:
                self._tokens[model, kind].inc(count)


class _WithoutCreated(Collector):
    """Leaves out the creation time that the library adds to every child: a third more series, which nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _outcome(allow: bool) -> str:
    return "allow" if allow else "deny"
