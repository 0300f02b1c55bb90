"""Tells on what happens to runs: to the metrics, the audit trail, the configured webhook. Never waits, never raises.

Names of runs are words of a model or a client: they are recorded as they are and become no label. Nothing of a script,
its arguments or its result is told.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from gateway.ports import Clock
from gateway.telemetry.run_metrics import OPEN_STATES, RunMetrics, RunSums

OPEN_MAX = 20_000
"""Open runs that are counted by state; of more, these."""


class Sender(Protocol):
    """The webhook."""

    def send(self, kind: str, fields: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTold:
    """Which run it is, and whose."""

    run: str
    name: str
    session: str
    user: str
    credential: str
    org: str
    team: str | None
    script_sha256: str
    source: str
    """`api`, `tool` or `cli`."""
    created_ms: int
    resume_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of it. `by`: the person, when one did it."""

    before: str | None
    after: str
    by: str | None = None
    reason: str | None = None
    message: str = ""
    summary: str = ""
    """How it stands, in one line of our own."""
    outcome: Mapping[str, int] = field(default_factory=dict[str, int])
    """The census so far (W174)."""
    sums: RunSums = field(default_factory=RunSums)
    """What it has come to so far."""


@dataclass(slots=True)
class RunNews:
    """Implements what a runtime tells; `by_state` and `paused_oldest_seconds` are read by the metrics."""

    metrics: RunMetrics
    record: Callable[[str, Mapping[str, Any]], None]
    """The audit trail's."""
    webhook: Sender | None
    clock: Clock
    _open: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """State of each open run that is driven here, and since when."""

    def changed(self, told: RunTold, change: Change) -> None:
        """A run began, went from one state to another, or ended."""
        now_ms = self.clock.unix_ms()
        if change.after in OPEN_STATES:
            if told.run in self._open or len(self._open) < OPEN_MAX:
                self._open[told.run] = (change.after, now_ms)
        else:
            self._open.pop(told.run, None)
            self.metrics.ended(change.after, change.sums)
        fields = {**asdict(told), **asdict(change)}
        self.record("run", {"at_ms": now_ms, **fields})
        if self.webhook is not None:
            self.webhook.send(f"run.{change.after}", {"run": fields})

    def taken_over(self, run: str, state: str, since_ms: int) -> None:
        """A run that another process began is driven here now."""
        self._open[run] = (state, since_ms)

    def let_go(self, run: str) -> None:
        """It is driven here no more, and has not ended."""
        self._open.pop(run, None)

    def call_settled(self, outcome: str, tokens: int, cost_nanousd: int | None) -> None:
        """A call gave a value, or none; of a replayed one, what it had used then."""
        self.metrics.call_settled(outcome, tokens, cost_nanousd)

    def sandbox_failed(self, code: str) -> None:
        """A script was ended from outside."""
        self.metrics.sandbox_failed(code)

    def governed(self, upstream: str, concurrency: int) -> None:
        """An upstream is given more or fewer agents at once."""
        self.metrics.governed(upstream, concurrency)

    def journal_appended(self, seconds: float) -> None:
        """Lines of a journal are durable."""
        self.metrics.journal_appended(seconds)

    def by_state(self) -> Mapping[str, int]:
        """How many are open in each state."""
        return Counter(state for state, _ in self._open.values())

    def paused_oldest_seconds(self) -> float:
        """For how long the run has been paused that was paused first; 0 when none is."""
        since = [since_ms for state, since_ms in self._open.values() if state == "paused"]
        return max(0, self.clock.unix_ms() - min(since)) / 1000 if since else 0.0
