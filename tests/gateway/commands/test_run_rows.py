"""Runs as the gateway shows them, read back."""

from typing import Any

import msgspec

from gateway.commands.run_rows import RunRow
from gateway.commands.run_words import describe_run

RUN: dict[str, Any] = {
    "id": "wf_000001",
    "name": "audit",
    "description": "Look at it",
    "state": "completed",
    "status": {"text": "completed, 2 of 9 agents gave no result"},
    "user": "alice",
    "session": "s1",
    "created_ms": 1_767_225_600_000,
    "elapsed_ms": 185_000,
    "phases": [{"title": "Scan", "agents": {"done": 5, "error": 1, "running": 2}, "total": 9, "tokens": 1_234}],
    "agents": {"total": 9},
    "outcome": {"planned": 9, "done": 7, "null": 2, "threw": 0},
    "degraded": True,
    "usage": {"new": {"total_tokens": 1_234_567, "cost_nanousd": 2_500_000_000}, "replayed": {"total_tokens": 5_000}},
    "warnings": ["no_bound: a loop"],
    "size_warning": "Large workflow: 30 agents",
    "resumed_from": "wf_000000",
    "resume_hint": "Only if the user asks",
}


def run(**more: Any) -> RunRow:
    return msgspec.convert(RUN | more, RunRow)


def test_record_of_the_fewest_members_is_enough() -> None:
    row = msgspec.convert({"id": "wf_000001", "name": "a", "state": "queued", "more": 1}, RunRow)
    assert row.is_open and describe_run(row)[0] == "wf_000001  a"
