"""Policy metrics: decisions that failed, OPA, approvals, reloads, and which policies decide."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.decisions.decision import Decision, Infer, Lineage, Principal, Query, Spawn, Time, denied
from gateway.telemetry.live import Live
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.policy_metrics import PolicySources


def built(**sources: Any) -> Metrics:
    return Metrics(lambda model: model, ["platform"], live=Live(policy=PolicySources(**sources)))


def shown(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Label values in order of the label names, to value; without what is 0."""
    samples = (
        sample
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == f"ringfence_{name}"
    )
    found = {tuple(sample.labels[key] for key in sorted(sample.labels)): sample.value for sample in samples}
    assert found, name
    return {labels: value for labels, value in found.items() if value}


def query(action: Spawn | Infer) -> Query:
    principal = Principal(org="acme", team=None, user="alice", credential="laptop")
    return Query(action, principal, Lineage("s", "a"), {}, Time(1, "monday", 0))


SPAWN = query(Spawn(via="tool_use"))


@pytest.mark.parametrize("rule", ["engine/failed", "engine/obligation", "engine/depth"])
def test_query_that_could_not_be_decided_is_a_failure(rule: str) -> None:
    metrics = built()
    metrics.decided(SPAWN, denied(rule, "x"), 0.1)
    assert shown(metrics, "policy_failures_total") == {("spawn",): 1}
    assert shown(metrics, "decisions_total") == {("spawn", "deny", rule): 1}


def test_denial_of_a_rule_is_no_failure() -> None:
    metrics = built()
    metrics.decided(SPAWN, denied("spawn/limits", "x"), 0.1)
    assert shown(metrics, "policy_failures_total") == {}


def test_spawns_are_counted_by_where_they_were_asked_about() -> None:
    metrics = built()
    metrics.decided(SPAWN, denied("spawn/limits", "x"), 0.1)
    metrics.decided(query(Spawn(via="first_request")), Decision(allow=True), 0.1)
    assert shown(metrics, "spawns_total") == {("deny", "tool_use"): 1, ("allow", "first_request"): 1}


def test_time_is_shown_by_engine() -> None:
    metrics = built(engine="opa")
    metrics.decided(SPAWN, Decision(allow=True), 0.2)
    metrics.decided(SPAWN, Decision(allow=True), 0.0)
    assert shown(metrics, "policy_seconds_count") == {("opa", "spawn"): 1}


@pytest.mark.parametrize("outcome", ["timeout", "unreachable", "refused", "open"])
def test_opa_server_is_down_until_it_answers(outcome: str) -> None:
    metrics = built()
    assert shown(metrics, "opa_up") == {(): 1}
    metrics.opa_asked(outcome, 0.25)
    assert shown(metrics, "opa_up") == {}
    metrics.opa_asked("answered", 0.001)
    assert shown(metrics, "opa_up") == {(): 1}
    assert shown(metrics, "opa_queries_total") == {(outcome,): 1, ("answered",): 1}


@pytest.mark.parametrize("outcome", ["undefined", "failed", "invalid", "stale"])
def test_opa_server_that_answers_badly_is_up(outcome: str) -> None:
    metrics = built()
    metrics.opa_asked(outcome, 0.001)
    assert shown(metrics, "opa_up") == {(): 1}


def test_refused_policies_are_told_until_others_are_taken() -> None:
    metrics = built()
    metrics.policies_reloaded(taken=False)
    metrics.policies_reloaded(taken=False)
    assert shown(metrics, "policy_reload_refused") == {(): 1}
    metrics.policies_reloaded(taken=True)
    assert shown(metrics, "policy_reload_refused") == {}
    assert shown(metrics, "policy_reloads_total") == {("refused",): 2, ("taken",): 1}


def test_approvals_are_counted_by_what_became_of_them() -> None:
    metrics = built(approvals_waiting=lambda: 2, approval_oldest_seconds=lambda: 61.5)
    for change in ("asked", "asked", "expired"):
        metrics.approval_changed("run", change)
    assert shown(metrics, "approvals_total") == {("asked", "run"): 2, ("expired", "run"): 1}
    assert shown(metrics, "approvals_waiting") == {(): 2}
    assert shown(metrics, "approval_oldest_seconds") == {(): 61.5}


def test_revision_is_one_series_that_follows_the_policies() -> None:
    revisions = ["aaa", "bbb"]
    metrics = built(engine="embedded", mode="shadow", revision=lambda: revisions[0], memo=lambda: (7, 3))
    assert shown(metrics, "policy_info") == {("embedded", "shadow", "aaa"): 1}
    revisions.pop(0)
    assert shown(metrics, "policy_info") == {("embedded", "shadow", "bbb"): 1}
    assert shown(metrics, "policy_memo_total") == {("hit",): 7, ("miss",): 3}
