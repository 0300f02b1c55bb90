"""What becomes of news about runs: a record, figures, a signed event."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.runs.told import OPEN_MAX, Change, RunNews, RunTold
from gateway.telemetry.families import Families
from gateway.telemetry.run_metrics import RunMetrics, RunSums
from tests.support.clock import FakeClock

TOLD = RunTold(
    run="wf_a",
    name="sweep",
    session="s1",
    user="alice",
    credential="alice-laptop",
    org="acme",
    team="platform",
    script_sha256="ab" * 32,
    source="api",
    created_ms=1,
)


@dataclass
class Told:
    """Everybody who is told."""

    clock: FakeClock = field(default_factory=FakeClock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    records: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    sent: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    news: RunNews = field(init=False)

    def __post_init__(self) -> None:
        metrics = RunMetrics(Families(self.registry), lambda: self.news)
        self.news = RunNews(metrics, self.record, self, self.clock)

    def record(self, event: str, fields: Mapping[str, Any]) -> None:
        self.records.append((event, fields))

    def send(self, kind: str, fields: Mapping[str, Any]) -> None:
        self.sent.append((kind, fields))

    def go(self, *states: str, run: str = "wf_a", **fields: Any) -> None:
        """A run goes through states."""
        before = None
        for state in states:
            self.news.changed(replace(TOLD, run=run), Change(before=before, after=state, **fields))
            before = state

    def page(self) -> str:
        return generate_latest(self.registry).decode()


def test_each_change_is_a_record_and_an_event_that_say_who_what_and_which_script() -> None:
    told = Told()
    told.go("paused", by="olga", reason="person")
    ((event, fields),), ((kind, sent),) = told.records, told.sent
    assert (event, kind) == ("run", "run.paused") and fields["at_ms"] == told.clock.now_ms
    assert (fields["run"], fields["user"], fields["by"], fields["reason"]) == ("wf_a", "alice", "olga", "person")
    assert (fields["before"], fields["after"], fields["script_sha256"]) == (None, "paused", "ab" * 32)
    assert {"at_ms": told.clock.now_ms, **sent["run"]} == fields


def test_gateway_without_a_webhook_only_records() -> None:
    told = Told()
    told.news.webhook = None
    told.go("queued", "running")
    assert [fields["after"] for _, fields in told.records] == ["queued", "running"] and told.sent == []


def test_open_runs_are_counted_in_the_state_they_are_in() -> None:
    told = Told()
    told.go("queued", "running")
    told.go("queued", "running", "paused", run="wf_b")
    told.go("pending_approval", run="wf_c")
    assert told.news.by_state() == {"running": 1, "paused": 1, "pending_approval": 1}
    told.go("completed", sums=RunSums())
    assert 'ringfence_runs_open{state="running"} 0.0' in told.page()
    assert 'ringfence_runs_open{state="paused"} 1.0' in told.page()


def test_longest_pause_is_shown_until_it_ends() -> None:
    told = Told()
    told.go("paused", run="wf_a")
    told.clock.advance(60)
    told.go("paused", run="wf_b")
    told.clock.advance(60)
    assert told.news.paused_oldest_seconds() == 120
    told.go("running", run="wf_a")
    assert told.news.paused_oldest_seconds() == 60
    told.go("stopped", run="wf_b")
    assert told.news.paused_oldest_seconds() == 0


def test_run_that_another_process_takes_over_is_counted_there() -> None:
    here, there = Told(), Told()
    here.go("queued", "running")
    here.news.let_go("wf_a")
    here.news.let_go("wf_a")
    there.news.taken_over("wf_a", "paused", there.clock.now_ms - 5_000)
    assert (dict(here.news.by_state()), dict(there.news.by_state())) == ({}, {"paused": 1})
    assert there.news.paused_oldest_seconds() == 5


def test_open_runs_that_are_remembered_are_bounded() -> None:
    told = Told()
    told.news.webhook = None
    for number in range(OPEN_MAX + 1):
        told.news.taken_over(f"wf_{number}", "paused", 0)
    told.go("queued", run="wf_new")
    assert "wf_new" not in str(told.news.by_state()) and told.news.by_state()["queued"] == 0


@pytest.mark.parametrize(
    ("after", "sums", "label"),
    [
        ("completed", RunSums(), "completed"),
        ("completed", RunSums(degraded=True), "degraded"),
        ("failed", RunSums(degraded=True, failure="script_threw"), "failed"),
        ("stopped", RunSums(), "stopped"),
        ("denied", RunSums(), "denied"),
    ],
    ids=["completed", "degraded", "failed", "stopped", "denied"],
)
def test_end_is_counted_once_under_its_state(after: str, sums: RunSums, label: str) -> None:
    told = Told()
    told.go("running", after, sums=sums)
    ended = [line for line in told.page().splitlines() if line.startswith("ringfence_runs_ended_total{")]
    assert [line for line in ended if not line.endswith(" 0.0")] == [
        f'ringfence_runs_ended_total{{state="{label}"}} 1.0'
    ]
