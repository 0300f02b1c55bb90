"""Metrics: what is counted, under which labels, and that labels stay bounded."""

import re
from dataclasses import dataclass

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.context import Attempt, RequestContext, ToolCallOutcome
from gateway.core.decisions.decision import Decision, Lineage, Principal, Query, RuleReason, Spawn, Time, denied
from gateway.core.wire.body import peek
from gateway.core.wire.shapes import Change
from gateway.core.wire.usage import Iteration, Tokens, Usage
from gateway.errors import Reason
from gateway.telemetry import metrics as module
from gateway.telemetry.families import MODEL_SPELLINGS_MAX
from gateway.telemetry.metrics import CONTENT_TYPE, FEATURES_MAX, OPENMETRICS_CONTENT_TYPE, RULES_MAX, Live, Metrics

OPUS = "claude-opus-5-5"


def catalogue(model: str) -> str | None:
    return OPUS if model in (OPUS, f"{OPUS}-20260101") else None


@dataclass(frozen=True, slots=True)
class Gauges:
    id: str
    state: str = "closed"
    in_use: int = 0
    waiting: int = 0


def built(live: Live | None = None) -> Metrics:
    return Metrics(catalogue, ["platform"], live=live)


def context(model: str = OPUS, team: str | None = "platform", reason: Reason = Reason.COMPLETED) -> RequestContext:
    return RequestContext(
        id="dec_1",
        method="POST",
        path="/v1/messages",
        headers={},
        dialect="anthropic",
        received_unix_ms=1,
        received_monotonic=1.0,
        principal=Principal(org="acme", team=team, user="alice", credential="laptop"),
        lineage=Lineage("s", "main"),
        ask=peek(f'{{"model":"{model}","messages":[]}}'.encode()),
        upstream="claude",
        status=200,
        reason=reason,
        usage=Usage(tokens=Tokens(input=10, output=20, cache_read=5)),
        cost_nanousd=2_500_000_000,
        tool_calls=[ToolCallOutcome("Bash", "t1", "exec", False, "dec_2", "no")],
        upstream_headers_seconds=0.3,
        first_byte_seconds=0.3007,
        total_seconds=3.0,
    )


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and label values in order of the label names, to value."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[(sample.name, *(sample.labels[key] for key in sorted(sample.labels)))] = sample.value
    return found


def query() -> Query:
    principal = Principal(org="acme", team=None, user="alice", credential="laptop")
    return Query(Spawn(via="first_request"), principal, Lineage("s", "a"), {}, Time(1, "monday", 0))


def test_ended_request_is_counted_under_its_labels() -> None:
    metrics = built()
    metrics.request_started()
    metrics.request_started()
    metrics.request_ended(context())
    found = samples(metrics)
    assert found["ringfence_requests_total", "anthropic", OPUS, "completed", "2xx", "claude"] == 1
    assert found["ringfence_in_flight_requests",] == 1
    assert found["ringfence_tokens_total", "output", OPUS] == 20
    assert found["ringfence_cost_usd_total", "main", OPUS, "platform"] == 2.5
    assert found["ringfence_tool_calls_total", "deny", "exec"] == 1


def test_overhead_is_what_the_upstream_did_not_take() -> None:
    metrics = built()
    metrics.request_ended(context())
    found = samples(metrics)
    assert found["ringfence_overhead_seconds_sum", "anthropic"] == pytest.approx(0.0007)
    assert found["ringfence_overhead_seconds_bucket", "anthropic", "0.0005"] == 0
    assert found["ringfence_overhead_seconds_bucket", "anthropic", "0.001"] == 1


def test_request_that_ended_before_anything_was_learnt_is_counted() -> None:
    metrics = built()
    metrics.request_ended(
        RequestContext(
            id="dec_1",
            method="POST",
            path="/",
            headers={},
            dialect="anthropic",
            received_unix_ms=1,
            received_monotonic=1.0,
        )
    )
    found = samples(metrics)
    assert found["ringfence_requests_total", "anthropic", "none", "internal", "none", "none"] == 1


@pytest.mark.parametrize(
    ("reason", "counted"),
    [(Reason.UPSTREAM_REFUSED, 1), (Reason.UPSTREAM_BROKE, 1), (Reason.BUDGET_EXHAUSTED, 0), (Reason.COMPLETED, 0)],
)
def test_only_faults_of_the_upstream_are_upstream_errors(reason: Reason, counted: int) -> None:
    metrics = built()
    metrics.request_ended(context(reason=reason))
    assert samples(metrics).get(("ringfence_upstream_errors_total", str(reason), "claude"), 0) == counted


def test_request_that_was_answered_is_one_attempt() -> None:
    metrics = built()
    sent = context()
    sent.dispatched = True
    metrics.request_ended(sent)
    found = samples(metrics)
    assert found["ringfence_upstream_attempts_total", "answered", "claude"] == 1
    assert not [key for key in found if key[0] == "ringfence_failovers_total"]


def test_upstreams_that_were_given_up_are_attempts_and_failovers() -> None:
    metrics = built()
    sent = context()
    sent.dispatched, sent.upstream = True, "last"
    sent.attempts = [
        Attempt("main", None, Reason.UPSTREAM_UNREACHABLE),
        Attempt("spare", 529, Reason.UPSTREAM_REFUSED),
    ]
    metrics.request_ended(sent)
    found = samples(metrics)
    attempts = {key[1:]: value for key, value in found.items() if key[0] == "ringfence_upstream_attempts_total"}
    assert attempts == {("upstream_unreachable", "main"): 1, ("upstream_refused", "spare"): 1, ("answered", "last"): 1}
    failovers = {key[1:]: value for key, value in found.items() if key[0] == "ringfence_failovers_total"}
    assert failovers == {("main", "spare"): 1, ("spare", "last"): 1}


def test_upstream_that_failed_last_is_not_counted_twice() -> None:
    metrics = built()
    sent = context(reason=Reason.UPSTREAM_REFUSED)
    sent.dispatched, sent.upstream = True, "main"
    sent.attempts = [Attempt("main", 429, Reason.UPSTREAM_REFUSED), Attempt("spare", 503, Reason.UPSTREAM_REFUSED)]
    metrics.request_ended(sent)
    found = samples(metrics)
    attempts = {key[1:]: value for key, value in found.items() if key[0] == "ringfence_upstream_attempts_total"}
    assert attempts == {("upstream_refused", "main"): 1, ("upstream_refused", "spare"): 1}
    assert found["ringfence_failovers_total", "main", "spare"] == 1


@pytest.mark.parametrize(
    ("reason", "headers_seconds", "outcome"),
    [
        (Reason.CLIENT_GONE, None, "abandoned"),
        (Reason.CLIENT_GONE, 0.3, "answered"),
        (Reason.UPSTREAM_BROKE, 0.3, "upstream_broke"),
    ],
)
def test_attempt_has_the_outcome_of_its_upstream(reason: Reason, headers_seconds: float | None, outcome: str) -> None:
    metrics = built()
    sent = context(reason=reason)
    sent.dispatched, sent.upstream_headers_seconds = True, headers_seconds
    metrics.request_ended(sent)
    assert samples(metrics)["ringfence_upstream_attempts_total", outcome, "claude"] == 1


def test_request_that_was_not_sent_is_no_attempt() -> None:
    metrics = built()
    metrics.request_ended(context(reason=Reason.BUDGET_EXHAUSTED))
    assert not [key for key in samples(metrics) if key[0] == "ringfence_upstream_attempts_total"]


def test_what_was_bridged_is_counted_by_upstream_feature_and_action() -> None:
    metrics = built()
    sent = context()
    sent.bridged = (Change("web_fetch", "dropped"), Change("tool_search", "renamed"))
    metrics.request_ended(sent)
    found = samples(metrics)
    assert found["ringfence_bridged_total", "dropped", "web_fetch", "claude"] == 1
    assert found["ringfence_bridged_total", "renamed", "tool_search", "claude"] == 1


def test_features_past_the_limit_are_other() -> None:
    metrics = built()
    sent = context()
    sent.bridged = tuple(Change(f"made-up-{number}", "dropped") for number in range(FEATURES_MAX + 7))
    metrics.request_ended(sent)
    bridged = {key[2]: value for key, value in samples(metrics).items() if key[0] == "ringfence_bridged_total"}
    assert bridged["other"] == 7 and len(bridged) == FEATURES_MAX + 1


def test_iterations_are_counted_at_their_own_model_instead_of_the_whole() -> None:
    metrics = built()
    ended = context()
    ended.usage = Usage(
        tokens=Tokens(output=99),
        iterations=(Iteration(Tokens(output=3)), Iteration(Tokens(output=4), model="claude-unknown")),
    )
    metrics.request_ended(ended)
    found = samples(metrics)
    assert found["ringfence_tokens_total", "output", OPUS] == 3
    assert found["ringfence_tokens_total", "output", "other"] == 4


def test_models_of_clients_do_not_become_labels() -> None:
    metrics = built()
    for number in range(MODEL_SPELLINGS_MAX + 50):
        metrics.request_ended(context(model=f"made-up-{number}"))
    metrics.request_ended(context(model=f"{OPUS}-20260101"))
    requests = {key[2]: value for key, value in samples(metrics).items() if key[0] == "ringfence_requests_total"}
    assert requests == {"other": MODEL_SPELLINGS_MAX + 50, OPUS: 1}


def test_team_that_is_not_configured_is_other_and_no_team_is_none() -> None:
    metrics = built()
    for team in ("platform", "made-up", None):
        metrics.request_ended(context(team=team))
    teams = {key[3] for key in samples(metrics) if key[0] == "ringfence_cost_usd_total"}
    assert teams == {"platform", "other", "none"}


def test_decision_is_counted_under_the_first_rule_and_shadow_apart() -> None:
    metrics = built()
    metrics.decided(query(), denied("spawn/limits", "too deep"), 0.0002)
    metrics.decided(query(), Decision(allow=True, shadow=(RuleReason("shell/unclear", "x"),)), 0.0)
    found = samples(metrics)
    assert found["ringfence_decisions_total", "spawn", "deny", "spawn/limits"] == 1
    assert found["ringfence_decisions_total", "spawn", "allow", "none"] == 1
    assert found["ringfence_shadow_denials_total", "spawn", "shell/unclear"] == 1
    assert found["ringfence_policy_seconds_count", "none", "spawn"] == 1


def test_rules_past_the_limit_are_other() -> None:
    metrics = built()
    for number in range(RULES_MAX + 7):
        metrics.decided(query(), denied(f"made/up-{number}", "x"), 0.0)
    found = samples(metrics)
    assert found["ringfence_decisions_total", "spawn", "deny", "other"] == 7
    assert len([key for key in found if key[0] == "ringfence_decisions_total"]) == RULES_MAX + 1


def test_fuses_and_agents_are_counted() -> None:
    metrics = built()
    metrics.fuse_blown("session", "agents")
    metrics.agent_seen("tool_use")
    found = samples(metrics)
    assert found["ringfence_fuses_blown_total", "agents", "session"] == 1
    assert found["ringfence_agents_seen_total", "tool_use"] == 1


def test_live_figures_are_read_when_somebody_looks() -> None:
    agents = [3]
    metrics = built(Live(active_sessions=lambda: 2, active_agents=lambda: agents[0], audit_failures=lambda: 1))
    agents[0] = 4
    found = samples(metrics)
    assert found["ringfence_active_sessions",] == 2 and found["ringfence_active_agents",] == 4
    assert found["ringfence_audit_failures_total",] == 1


def test_upstreams_are_shown_as_they_are_now() -> None:
    metrics = built(Live(upstreams=lambda: [Gauges("main", "half_open", in_use=4, waiting=9), Gauges("spare")]))
    found = samples(metrics)
    states = {key[1:]: value for key, value in found.items() if key[0] == "ringfence_upstream_state"}
    assert {key for key, value in states.items() if value == 1} == {("half_open", "main"), ("closed", "spare")}
    assert len(states) == 6 and sum(states.values()) == 2
    assert (found["ringfence_upstream_in_use", "main"], found["ringfence_upstream_waiting", "main"]) == (4, 9)


def test_every_metric_is_in_the_table_once_and_nothing_else() -> None:
    described = re.findall(r"^    (\w+)(?: {2,}\S| Unix )", module.__doc__ or "", re.MULTILINE)
    rendered = re.findall(r"^# TYPE ringfence_(\w+) ", built().render().decode(), re.MULTILINE)
    assert sorted(described) == sorted(rendered)


def test_label_values_hold_no_id_of_a_person_or_an_agent() -> None:
    metrics = built()
    metrics.request_ended(context())
    assert "alice" not in metrics.render().decode() and "laptop" not in metrics.render().decode()
    assert "_created" not in metrics.render().decode()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", CONTENT_TYPE),
        ("*/*", CONTENT_TYPE),
        ("text/plain;version=0.0.4;q=0.3,application/openmetrics-text;q=0.2", CONTENT_TYPE),
        ("application/vnd.google.protobuf, text/plain;version=0.0.4", CONTENT_TYPE),
        ("application/openmetrics-text", OPENMETRICS_CONTENT_TYPE),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1", OPENMETRICS_CONTENT_TYPE),
    ],
)
def test_page_is_openmetrics_for_whom_that_is_first(accept: str, content_type: str) -> None:
    body, told = built().page(accept)
    assert told == content_type
    assert body.endswith(b"# EOF\n") == (content_type == OPENMETRICS_CONTENT_TYPE)


def test_exemplars_carry_the_decision_and_no_label_does() -> None:
    metrics = built()
    metrics.request_ended(context())
    page = metrics.page(OPENMETRICS_CONTENT_TYPE)[0].decode()
    seen = [
        (sample.name, sample.exemplar.labels)
        for family in parse_openmetrics(page)
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert {name for name, _ in seen} == {
        "ringfence_request_duration_seconds_bucket",
        "ringfence_first_byte_seconds_bucket",
    }
    assert all(labels == {"decision": "dec_1"} for _, labels in seen)
    assert "dec_1" not in metrics.render().decode()


def test_both_pages_have_the_same_samples() -> None:
    metrics = built()
    metrics.request_ended(context())
    opened = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(metrics.page(OPENMETRICS_CONTENT_TYPE)[0].decode())
        for sample in family.samples
    }
    plain = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.page("")[0].decode())
        for sample in family.samples
    }
    assert opened == plain and len(plain) > 100
