"""The promises about workflow scripts break when what they promise did not happen."""

import msgspec
import pytest

from gateway.commands.demo.evidence import Lineage, Request, Trail
from gateway.commands.demo.workflows import (
    QUICK,
    SCRIPTS,
    SECRET,
    SLOW,
    Ended,
    Survey,
    hostile_checks,
    resume_checks,
    survey_checks,
)
from gateway.commands.run_rows import AgentRow, FailureRow, Spent, UsageRow
from tests.gateway.commands.demo.records import call, request

DENIED = call("Read", denied_by="files/secrets")
AGENTS = [
    AgentRow(0, "done", "api.py"),
    AgentRow(1, "done", ".env"),
    AgentRow(2, "error", "release", reason="permission"),
]
SURVEY = Survey(
    Ended("wf_1", "survey", "completed", outcome={"done": 2, "null": 1}, degraded=True), AGENTS, ["x", "y", None]
)
TIMED_OUT = FailureRow("program_error", "script_timeout", "too long")
ENDLESS = Ended("wf_2", "endless", "failed", failure=TIMED_OUT, started_ms=1_000, ended_ms=3_000)
STOPPED = Ended("wf_3", "handbook", "stopped", outcome={"done": 2, "stopped": 1})
RESUMED = Ended("wf_4", "handbook", "completed", outcome={"done": 1, "cached": 2}, usage=UsageRow(Spent(10), Spent(20)))


def of_run(run: str, at_ms: int = 1_500, **changes: object) -> Request:
    return msgspec.structs.replace(request(), lineage=Lineage("s1", "a1", run), at_ms=at_ms, **changes)


SURVEYED = Trail((of_run("wf_1", tool_calls=(call("Read"),)), of_run("wf_1", tool_calls=(DENIED,))))


def survey_kept(survey: Survey = SURVEY, trail: Trail = SURVEYED) -> list[bool]:
    return [check.kept for check in survey_checks(survey, trail)]


def test_governed_script_keeps_all_promises() -> None:
    assert survey_kept() == [True] * 4


def test_call_that_no_rule_denied_breaks_a_promise() -> None:
    allowed = Trail((of_run("wf_1", tool_calls=(call("Read"), call("Read"))),))
    elsewhere = Trail((of_run("wf_1", tool_calls=(call("Read"),)), of_run("wf_9", tool_calls=(DENIED,))))
    assert survey_kept(trail=allowed) == survey_kept(trail=elsewhere) == [True, False, True, True]


def test_secret_in_the_result_breaks_a_promise() -> None:
    assert survey_kept(Survey(SURVEY.run, AGENTS, [f"PASSWORD={SECRET}"])) == [True, True, False, True]


def test_agent_that_was_let_through_breaks_promises() -> None:
    run = Ended("wf_1", "survey", "completed", outcome={"done": 3})
    assert survey_kept(Survey(run, [*AGENTS[:2], AgentRow(2, "done", "release")], [])) == [False, True, True, False]


@pytest.mark.parametrize("code", ["script_timeout", "script_killed"])
def test_endless_script_that_was_ended_keeps_both_promises(code: str) -> None:
    ended = msgspec.structs.replace(ENDLESS, failure=FailureRow("program_error", code, "too long"))
    assert [check.kept for check in hostile_checks(ended, SURVEY.run, SURVEYED)] == [True, True]


def test_endless_script_that_ended_otherwise_breaks_a_promise() -> None:
    other = msgspec.structs.replace(ENDLESS, state="completed", failure=None)
    assert [check.kept for check in hostile_checks(other, SURVEY.run, SURVEYED)] == [False, True]


def test_other_run_that_had_to_wait_breaks_a_promise() -> None:
    late = Trail((of_run("wf_1", 500), of_run("wf_1", 2_900, total_seconds=0.2), of_run("wf_1", 3_100)))
    assert [check.kept for check in hostile_checks(ENDLESS, SURVEY.run, late)] == [True, False]


def test_resume_that_paid_for_the_rest_alone_keeps_both_promises() -> None:
    trail = Trail((of_run("wf_3"), of_run("wf_3"), of_run("wf_4")))
    assert [check.kept for check in resume_checks(STOPPED, RESUMED, trail)] == [True, True]


def test_resume_that_paid_twice_breaks_a_promise() -> None:
    trail = Trail((of_run("wf_4"), of_run("wf_4")))
    assert [check.kept for check in resume_checks(STOPPED, RESUMED, trail)] == [True, False]
    anew = msgspec.structs.replace(RESUMED, outcome={"done": 3})
    assert [check.kept for check in resume_checks(STOPPED, anew, Trail((of_run("wf_4"),)))] == [True, False]


def test_stopped_run_that_lost_a_result_breaks_a_promise() -> None:
    lost = msgspec.structs.replace(STOPPED, outcome={"done": 1, "stopped": 2})
    assert not resume_checks(lost, RESUMED, Trail((of_run("wf_4"),)))[0].kept


def test_the_edit_of_the_resume_changes_the_last_call_alone() -> None:
    script = (SCRIPTS / "handbook.js").read_text()
    assert script.count(SLOW) == 1 and script.replace(SLOW, QUICK).count(QUICK) == 1
