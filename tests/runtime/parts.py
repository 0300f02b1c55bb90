"""What a process of runs needs beside its own parts: a clock, an admission that says yes, a listener. No test here."""

import time
from typing import Any

from runtime.core.journal import StateLine
from runtime.core.model import FailureCode, RunId, RunSpec, RunState, Usage
from runtime.ports import AgentTask, Verdict


class WallClock:
    """Implements `ports.Clock`."""

    ahead_ms = 0
    """How much later it is here than elsewhere."""

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_ms / 1000

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


class Yes:
    """Implements `ports.Admission`: everything is allowed."""

    async def decide_run(self, spec: RunSpec) -> Verdict:
        return Verdict(True)

    async def approve_run(self, spec: RunSpec) -> Verdict:
        return Verdict(True)

    async def decide_spawn(self, task: AgentTask) -> Verdict:
        return Verdict(True)

    def open_bearer(self, spec: RunSpec) -> str:
        return "rf_of_a_run"

    def close_bearer(self, run: RunId) -> None: ...
    def end_agent(self, task: AgentTask) -> None: ...
    def stopped_by(self, spec: RunSpec) -> str | None:
        return None

    async def room(self, spec: RunSpec) -> object:
        return None

    async def has_room(self, spec: RunSpec, since: object) -> bool:
        return True

    async def left_nanousd(self, spec: RunSpec) -> int | None:
        return None


class Quiet:
    """Implements `ports.Listener`: nobody listens."""

    def run_changed(self, spec: RunSpec, line: StateLine, record: dict[str, Any]) -> None: ...
    def call_settled(self, outcome: str, usage: Usage) -> None: ...
    def sandbox_failed(self, code: FailureCode) -> None: ...
    def governed(self, upstream: str, concurrency: int) -> None: ...
    def appended(self, seconds: float) -> None: ...
    def taken_over(self, spec: RunSpec, state: RunState, since_ms: int) -> None: ...
    def let_go(self, spec: RunSpec) -> None: ...
