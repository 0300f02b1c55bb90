"""What happens to runs, told to the gateway's metrics, audit trail and webhook. Implements `runtime.ports.Listener`."""

from dataclasses import dataclass
from typing import Any

from gateway.runs.told import Change, RunNews, RunTold
from gateway.telemetry.run_metrics import RunSums
from runtime.core.journal import StateLine
from runtime.core.model import FailureCode, RunSpec, Usage


@dataclass(frozen=True, slots=True)
class NewsListener:
    """Tells on."""

    news: RunNews

    def run_changed(self, spec: RunSpec, line: StateLine, record: dict[str, Any]) -> None:
        """A run went from one state to another."""
        change = Change(
            before=line.before,
            after=line.after,
            by=line.by,
            reason=line.reason,
            message=line.message,
            summary=record["status"]["text"],
            outcome=record["outcome"],
            sums=sums_of(record),
        )
        self.news.changed(told_of(spec), change)

    def call_settled(self, outcome: str, usage: Usage) -> None:
        """A call gave a value, or none."""
        self.news.call_settled(outcome, usage.tokens.total, usage.cost_nanousd)

    def sandbox_failed(self, code: FailureCode) -> None:
        """A script was ended from outside."""
        self.news.sandbox_failed(code)

    def governed(self, upstream: str, concurrency: int) -> None:
        """An upstream is given more or fewer requests at once."""
        self.news.governed(upstream, concurrency)

    def appended(self, seconds: float) -> None:
        """Lines of a journal are durable."""
        self.news.journal_appended(seconds)

    def taken_over(self, spec: RunSpec, state: str, since_ms: int) -> None:
        """A run that another process began is driven here."""
        self.news.taken_over(spec.id, state, since_ms)

    def let_go(self, spec: RunSpec) -> None:
        """It is driven here no more."""
        self.news.let_go(spec.id)


def told_of(spec: RunSpec) -> RunTold:
    """Which run it is, and whose."""
    return RunTold(
        run=spec.id,
        name=spec.name,
        session=spec.session,
        user=spec.owner.user,
        credential=spec.owner.credential,
        org=spec.owner.org,
        team=spec.owner.team,
        script_sha256=spec.script_sha256,
        source=spec.source,
        created_ms=spec.created_ms,
        resume_of=spec.resumed_from,
    )


def sums_of(record: dict[str, Any]) -> RunSums:
    """What the run has come to, by its record."""
    new, failure = record["usage"]["new"], record["failure"]
    return RunSums(
        degraded=record["degraded"],
        failure=None if failure is None else failure["detail"],
        phases=len(record["phases"]),
        agents=record["outcome"]["planned"],
        tokens=new["total_tokens"],
        cost_nanousd=new["cost_nanousd"] if new["cost_complete"] else None,
        seconds=record["elapsed_ms"] / 1000,
    )
