"""Runs as people read them."""

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.run_rows import AgentRow, Failures, PhaseRow
from gateway.commands.run_words import (
    agent_table,
    count_text,
    describe_run,
    dollars,
    duration,
    event_line,
    exit_code_of,
    phase_table,
    progress_text,
    run_table,
)
from tests.gateway.commands.test_run_rows import run


def drawn(table: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_w174_run_is_told_with_its_census_and_cost() -> None:
    told = "\n".join(describe_run(run()))
    for text in ("completed, 2 of 9 agents gave no result", "9: 7 done, 2 null", "3m05s, 1.2M tokens, $2.50"):
        assert text in told
    assert "wf_000000: 5.0k tokens taken over" in told and "ringfence runs resume-plan wf_000001" in told
    assert "warning   no_bound: a loop" in told and "warning   Large workflow" in told and "threw" not in told


def test_pause_and_failure_say_why() -> None:
    pauses = [{"reason": "quota", "by": None, "until_ms": 1_767_225_600_000, "message": "usage limit"}]
    failure = {"type": "program_error", "detail": "script_threw", "message": "x is not defined"}
    told = "\n".join(describe_run(run(pauses=pauses, failure=failure)))
    assert "paused    quota until 2026-01-01 00:00:00Z: usage limit" in told
    assert "failure   program_error (script_threw): x is not defined" in told


@pytest.mark.parametrize(
    ("state", "degraded", "code"),
    [
        ("completed", False, 0),
        ("completed", True, 3),
        ("failed", True, 4),
        ("stopped", False, 5),
        ("denied", False, 5),
        ("running", False, 0),
    ],
)
def test_w123_exit_code_tells_how_a_run_ended(state: str, degraded: bool, code: int) -> None:
    assert exit_code_of(run(state=state, degraded=degraded)) == code


def test_tables_hold_what_the_gateway_says() -> None:
    assert all(text in drawn(run_table([run()])) for text in ("wf_000001", "audit", "alice", "1.2M", "$2.50", "3m05s"))
    assert "5/9 done, 1 failed, 2 running" in drawn(phase_table(run().phases))
    agent = AgentRow(
        3, "error", "fix it", "Scan", "claude-opus-5-5", 1_500, 900_000_000, False, 4, 61_000, 1, "stalled"
    )
    texts = ("3", "fix it", "Scan", "error", "opus", "1.5k", "$0.9000+", "1m01s", "stalled")
    assert all(text in drawn(agent_table([agent])) for text in texts)


def test_w177_text_of_models_neither_steers_the_terminal_nor_is_markup() -> None:
    agent = AgentRow(0, "done", "\x1b[2J[red]x[/red]\u202egnp\nsecond")
    shown = drawn(agent_table([agent]))
    assert "\x1b" not in shown and "\u202e" not in shown and "[red]x[/red]" in shown
    assert len(shown.splitlines()) == len(drawn(agent_table([AgentRow(0, "done", "plain")])).splitlines())


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1_000, "1.0k"), (12_345, "12.3k"), (4_500_000, "4.5M")]
)
def test_count_is_short(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (940, "0.9s"), (59_999, "59s"), (60_000, "1m00s"), (3_725_000, "1h02m")]
)
def test_duration_is_short(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_money_is_rounded_and_phase_counts_what_was_taken_over() -> None:
    assert (dollars(1_239_000_000), dollars(123_450_000)) == ("$1.24", "$0.1235")
    assert progress_text(PhaseRow("a", {"done": 1, "cached": 2, "skipped": 1}, 4)) == "3/4 done, 1 stopped"


def test_event_is_one_line_of_what_it_says() -> None:
    fields = {"index": 0, "label": "fix", "state": "error", "reason": None, "tokens": 5}
    assert event_line("workflow_run.agent_settled", fields) == "agent_settled  0  fix  error"
    error = {"error": {"type": "program_error", "message": "it threw"}, "workflow_run_id": "wrun_1"}
    assert event_line("workflow_run.error", error) == "error  it threw"


@pytest.mark.parametrize(
    ("more", "step"),
    [
        ({"state": "pending_approval", "approval": {"by": "person"}}, "ringfence runs approve wf_000001"),
        ({"state": "pending_approval", "approval": {"by": "policy"}}, "ringfence approvals list"),
        ({"state": "paused", "pauses": [{"reason": "person"}]}, "ringfence runs resume wf_000001"),
        ({"state": "paused", "pauses": [{"reason": "quota"}]}, "it goes on by itself when it may"),
        (
            {
                "state": "paused",
                "pauses": [{"reason": "budget"}],
                "budget": {"cost": {"cap_nanousd": 5, "spent_nanousd": 5}},
            },
            "ringfence runs resume wf_000001 --max-cost USD",
        ),
        ({"state": "failed"}, "ringfence runs resume-plan wf_000001"),
        ({"degraded": False}, "ringfence runs result wf_000001"),
    ],
    ids=["approve", "policy", "paused", "quota", "cap", "failed", "completed"],
)
def test_run_says_what_to_do_next(more: dict[str, Any], step: str) -> None:
    assert describe_run(run(**more))[-1] == f"  next      {step}"


def test_w173_run_names_the_agents_that_gave_nothing_and_where_to_look() -> None:
    failed = Failures(("[fix] agent 3 error: api_error: 400: blocked",), 4)
    told = describe_run(run(), failed)
    assert "  failed    [fix] agent 3 error: api_error: 400: blocked" in told
    assert "            and 4 more; in full: ringfence runs show wf_000001 --agent INDEX" in told


def test_run_that_waits_says_for_what_and_one_with_a_cap_what_it_may_cost() -> None:
    asked = {"by": "person", "reason": "every run is approved by a person first"}
    told = "\n".join(
        describe_run(run(state="pending_approval", approval=asked, budget={"cost": {"cap_nanousd": 10**10}}))
    )
    assert "waits     for a person: every run is approved" in told and "$2.50 of at most $10.00" in told


@pytest.mark.parametrize(("driver", "told"), [("present", None), ("silent", "not heard of"), ("none", "no gateway")])
def test_w127_run_that_nobody_drives_says_so(driver: str, told: str | None) -> None:
    shown = [line for line in describe_run(run(state="running", driver=driver)) if line.startswith("  driver")]
    assert [told in line for line in shown if told] == [True] * bool(told) and len(shown) == bool(told)
    assert (f"(driver: {driver})" in drawn(run_table([run(driver=driver)]))) == bool(told)


def test_large_run_is_told_once() -> None:
    told = describe_run(run(warnings=["large_workflow: 30 agents so far", "other: x"], size_warning="30 agents: more"))
    assert [line for line in told if "warning" in line] == ["  warning   other: x", "  warning   30 agents: more"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_tables_of_a_narrow_terminal_leave_columns_out_and_break_no_word(width: int) -> None:
    agents = [AgentRow(n, "running", f"agent {n}", "Scan", "claude-sonnet-5-5", reason="api_error") for n in range(3)]
    runs = [run(id=f"wf_7f9196cceda3e3c{n}", name="audit", status={"text": "completed"}) for n in range(3)]
    for built in (run_table(runs, width), agent_table(agents, width)):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(built)
        lines = console.export_text().splitlines()
        assert len(lines) == 5 and max(map(len, lines)) <= width
    assert "running" in lines[-1] and "api_error" in lines[-1]


def test_list_of_several_users_says_whose_a_run_is_on_any_terminal() -> None:
    assert "bob" in drawn(run_table([run(), run(user="bob")], 80)) and "alice" not in drawn(run_table([run()], 80))
