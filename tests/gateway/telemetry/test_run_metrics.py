"""Metrics of runs: what each counts, and that no label grows."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.telemetry.families import Families
from gateway.telemetry.run_metrics import FAILURE_CODES, OUTCOMES, UPSTREAMS_MAX, RunMetrics, RunSums


class Page:
    """Metrics and what a scrape of them shows."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = RunMetrics(Families(self._registry), lambda: None)

    def value(self, sample: str) -> float:
        """Of one sample, written as on the page without its prefix."""
        lines = generate_latest(self._registry).decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"ringfence_{sample} ")).rpartition(" ")[2])

    def count(self, name: str) -> int:
        """Series of a metric."""
        lines = generate_latest(self._registry).decode().splitlines()
        return sum(line.startswith(f"ringfence_{name}{{") for line in lines)


def test_run_that_ended_is_observed_with_all_it_came_to() -> None:
    page = Page()
    page.metrics.ended("completed", RunSums(phases=3, agents=40, tokens=1_000, cost_nanousd=2_500_000_000, seconds=90))
    sums = [page.value(f"run_{name}_sum") for name in ("phases", "agents", "tokens", "cost_usd", "seconds")]
    assert sums == [3, 40, 1_000, 2.5, 90]


def test_run_without_a_price_counts_in_everything_but_cost_and_a_denied_one_in_nothing() -> None:
    page = Page()
    page.metrics.ended("stopped", RunSums(tokens=5, cost_nanousd=None))
    page.metrics.ended("denied", RunSums())
    assert [page.value(f"run_{name}_count") for name in ("tokens", "cost_usd", "seconds")] == [1, 0, 1]
    assert page.value('runs_ended_total{state="denied"}') == 1


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_census_is_there_from_the_start_and_counts(outcome: str) -> None:
    page = Page()
    assert page.value(f'run_calls_total{{outcome="{outcome}"}}') == 0
    page.metrics.call_settled(outcome, 10, 5)
    assert page.value(f'run_calls_total{{outcome="{outcome}"}}') == 1
    assert page.value("run_saved_tokens_total") == (10 if outcome == "cached" else 0)


def test_w117_replayed_calls_are_savings_in_dollars_and_tokens() -> None:
    page = Page()
    page.metrics.call_settled("cached", 1_000, 3_000_000_000)
    page.metrics.call_settled("cached", 1_000, None)
    assert (page.value("run_saved_tokens_total"), page.value("run_saved_usd_total")) == (2_000, 3)


def test_why_runs_fail_is_a_closed_list() -> None:
    page = Page()
    for code in (*FAILURE_CODES, "made up", "made up too"):
        page.metrics.ended("failed", RunSums(failure=code))
        page.metrics.sandbox_failed(code)
    assert page.value('run_failures_total{code="other"}') == page.value('sandbox_failures_total{code="other"}') == 2
    assert page.count("run_failures_total") == page.count("sandbox_failures_total") == len(FAILURE_CODES) + 1


def test_upstreams_and_outcomes_stay_few() -> None:
    page = Page()
    for number in range(UPSTREAMS_MAX + 5):
        page.metrics.governed(f"u{number}", 16)
        page.metrics.call_settled(f"o{number}", 0, 0)
    page.metrics.governed("u1", 8)
    assert page.count("run_concurrency") == UPSTREAMS_MAX + 1
    assert page.count("run_calls_total") == len(OUTCOMES) + 1
    assert page.value('run_concurrency{upstream="u1"}') == 8


def test_appends_of_the_journal_are_timed() -> None:
    page = Page()
    page.metrics.journal_appended(0.002)
    assert page.value('run_journal_seconds_bucket{le="0.0025"}') == 1
    assert page.value('run_journal_seconds_bucket{le="0.001"}') == 0
