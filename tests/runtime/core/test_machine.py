"""The run machine, event by event: what is written, what is done, and in which order."""

import msgspec
import pytest

from runtime.core import happenings as on
from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    IssuedLine,
    MessageLine,
    RefusedLine,
    ResultLine,
    StartedLine,
    StateLine,
    StoppedLine,
    WarningLine,
)
from runtime.core.limits import MESSAGES_MAX
from runtime.core.model import CallIndex, Scope
from runtime.core.program import Drained, LogOp, PhaseOp, Returned, Threw, TimerOp, WorkflowOp
from runtime.core.transitions import Illegal
from tests.runtime.core.play import NOW, RETURNED, Play, agent, null, thrown, used, value


def test_w39_settlements_that_arrive_while_the_script_runs_are_delivered_together_in_their_order() -> None:
    play = Play().launched(agent(1), agent(2), agent(3))
    play.ends(1, value('"b"'))
    play.ends(0, value('"a"'))
    play.ends(2, value('"c"'))
    assert [len(each.deliveries) for each in play.all(on.Deliver)] == [1]
    play.drains()
    assert [each.id for command in play.all(on.Deliver) for each in command.deliveries] == [2, 1, 3]
    assert [line.seq for line in play.all(ResultLine)] == [0, 1, 2]


def test_w40_queued_calls_start_in_the_order_in_which_they_were_issued() -> None:
    play = Play(limits={"concurrency": 2}).launched(*(agent(id) for id in range(1, 6)))
    for index in (1, 0, 2):
        play.ends(index, value())
    assert [line.index for line in play.all(StartedLine)] == [0, 1, 2, 3, 4]


def test_w59_worktree_without_a_workspace_is_refused_with_the_reason() -> None:
    play = Play().launched(agent(1, isolation="worktree"))
    assert play.all(RefusedLine)[0].thrown.code == "workspace"
    assert play.all(StartedLine) == []


def test_w60_retries_do_not_count_towards_the_cap_of_agents() -> None:
    play = Play(limits={"agents": 2}).launched(agent(1, retries=3))
    play.ends(0, null("api_error", transient=True))
    play.ends(0, value())
    play.drains(agent(2), agent(3))
    assert [line.index for line in play.all(StartedLine)] == [0, 0, 1]
    assert [line.index for line in play.all(RefusedLine)] == [2]


def test_w61_calls_that_nobody_awaited_are_stopped_and_named() -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2), end=RETURNED)
    assert play.machine.state == "completed"
    assert [line.code for line in play.all(WarningLine)] == ["unawaited_agents"]
    assert play.states() == ["stopped", "stopped"]


def test_w63_schema_that_cannot_be_met_is_refused_and_not_counted() -> None:
    impossible = {"type": "object", "required": ["a"], "properties": {}, "additionalProperties": False}
    play = Play(limits={"agents": 1}).launched(agent(1, schema=impossible), agent(2))
    assert play.all(RefusedLine)[0].thrown.code == "schema_invalid"
    assert play.states() == ["error", "running"]


def test_w81_refusals_are_counted_apart_from_what_threw() -> None:
    play = Play(limits={"agents": 1}).launched(agent(1), agent(2))
    play.ends(0, thrown())
    play.drains()
    play.drains(end=RETURNED)
    outcome = play.all(EndedLine)[0].outcome
    assert (outcome.planned, outcome.refused, outcome.threw) == (2, 1, 1)


def test_w94_no_more_agents_work_at_once_than_the_run_may() -> None:
    play = Play(limits={"concurrency": 3}).launched(*(agent(id) for id in range(1, 9)))
    assert play.states().count("running") == 3
    play.ends(0, value())
    assert play.states().count("running") == 3


def test_w95_queued_calls_hold_nothing_but_their_prompt() -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2))
    assert play.states() == ["running", "queued"]
    assert len(play.all(on.StartAttempt)) == 1


def test_w97_siblings_of_one_prefix_wait_for_the_first_answer() -> None:
    play = Play(limits={"stagger_ms": 5_000}).launched(agent(1), agent(2), agent(3, model="haiku"))
    assert play.states() == ["running", "held", "running"]
    play.tell(on.FirstByteSeen(CallIndex(0), 1))
    assert play.states() == ["running", "running", "running"]


def test_w97_held_calls_start_when_the_hold_is_over_or_the_first_fails() -> None:
    late = Play(limits={"stagger_ms": 5_000}).launched(agent(1), agent(2))
    late.tell(on.Ticked(), later_ms=5_000)
    assert late.states() == ["running", "running"]
    failed = Play(limits={"stagger_ms": 5_000}).launched(agent(1), agent(2))
    failed.ends(0, null("api_error"))
    assert failed.states() == ["error", "running"]


def test_w97_a_warm_prefix_holds_nobody_and_zero_switches_it_off() -> None:
    warm = Play(limits={"stagger_ms": 5_000}).launched(agent(1))
    warm.tell(on.FirstByteSeen(CallIndex(0), 1))
    warm.ends(0, value())
    warm.drains(agent(2), agent(3))
    assert warm.states() == ["done", "running", "running"]
    off = Play(limits={"stagger_ms": 0}).launched(agent(1), agent(2))
    assert off.states() == ["running", "running"]


def test_w98_the_call_past_the_cap_throws() -> None:
    play = Play(limits={"agents": 2}).launched(agent(1), agent(2), agent(3))
    refused = play.all(RefusedLine)
    assert [(line.index, line.thrown.code) for line in refused] == [(2, "agent_limit")]
    assert play.all(on.Deliver)[0].deliveries[0].thrown is not None


def test_w99_a_script_that_only_collects_refusals_is_ended() -> None:
    play = Play(limits={"agents": 1, "refusals": 64}).launched(agent(1))
    play.ends(0, value())
    for id in range(2, 66):
        play.drains(agent(id))
    ended = play.all(EndedLine)[0]
    assert ended.failure is not None
    assert (ended.failure.type, ended.failure.detail) == ("thread_limit_error", "agent_limit_error")


def test_w99_refusals_of_a_token_budget_end_it_as_a_budget_error() -> None:
    play = Play(budget_tokens=10, limits={"refusals": 2}).launched(agent(1))
    play.ends(0, value(output=10))
    play.drains(agent(2), agent(3))
    play.drains()
    failure = play.all(EndedLine)[0].failure
    assert failure is not None and failure.detail == "budget_error"


def test_w100_a_script_that_is_woken_without_getting_on_is_ended() -> None:
    play = Play(limits={"idle_deliveries": 5}).launched(TimerOp(id=1, ms=0))
    for id in range(1, 6):
        play.tell(on.TimerFired(id))
        play.drains(TimerOp(id=id + 1, ms=0))
    failure = play.all(EndedLine)[0].failure
    assert failure is not None and failure.detail == "runaway_script"


def test_w100_a_phase_or_an_agent_counts_as_getting_on() -> None:
    play = Play(limits={"idle_deliveries": 3}).launched(TimerOp(id=1, ms=0))
    for id in range(1, 20):
        play.tell(on.TimerFired(id))
        play.drains(PhaseOp(title=f"round {id}"), TimerOp(id=id + 1, ms=0))
    assert play.machine.state == "running"


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"idle_cpu_seconds": 1.0}, "runaway_script"), ({"total_cpu_seconds": 1.0}, "script_timeout")],
    ids=["idle", "total"],
)
def test_w101_computing_time_is_limited_in_all(limits: dict[str, float], code: str) -> None:
    play = Play(limits=limits).launched(TimerOp(id=1, ms=0))
    play.tell(on.TimerFired(1))
    play.drains(TimerOp(id=2, ms=0), cpu_seconds=1.0)
    failure = play.all(EndedLine)[0].failure
    assert failure is not None and failure.detail == code


def test_w103_a_sandbox_that_was_killed_fails_the_run() -> None:
    play = Play().launched(agent(1))
    play.tell(on.SandboxLost("script_killed", "no answer for 5 s"))
    assert play.machine.state == "failed"
    assert [line.reason for line in play.all(StoppedLine)] == ["run_ended"]


def test_w104_a_script_that_waits_for_nothing_fails_at_once() -> None:
    play = Play().launched()
    failure = play.all(EndedLine)[0].failure
    assert failure is not None and failure.detail == "script_stalled"
    assert Play().launched(TimerOp(id=1, ms=10)).machine.state == "running"


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_w105_a_run_that_outlives_its_time_fails(paused: bool) -> None:
    play = Play(limits={"lifetime_seconds": 60.0}).launched(agent(1))
    if paused:
        play.tell(on.PauseAsked("person", by="alice"))
    play.tell(on.Ticked(), later_ms=60_000)
    failure = play.all(EndedLine)[0].failure
    assert failure is not None and failure.type == "timeout_error"


def test_w105_a_run_that_nobody_approves_in_its_time_is_denied() -> None:
    play = Play(limits={"lifetime_seconds": 60.0})
    play.take(play.machine.open(NOW, ask="ask"))
    play.tell(on.Ticked(), later_ms=60_000)
    assert play.machine.state == "denied"


def test_w106_nested_workflows_past_their_number_are_an_error_that_the_script_can_catch() -> None:
    play = Play().launched(*(WorkflowOp(id=id, scope=Scope(""), name="a") for id in range(1, 258)))
    assert len(play.all(on.FindWorkflow)) == 256
    (delivery,) = play.all(on.Deliver)[0].deliveries
    assert delivery.thrown is not None and delivery.thrown.code == "nested_workflow"


def test_w108_calls_of_a_nested_workflow_share_the_cap_of_the_run() -> None:
    play = Play(limits={"agents": 1}).launched(WorkflowOp(id=1, scope=Scope(""), name="child"))
    play.tell(on.NestedFound(1, "child", "src", "ab" * 32, "body", msgspec.Raw(b"{}")))
    play.drains(agent(2, scope="/w0"), agent(3, scope="/w0"))
    assert play.states() == ["running", "error"]


def test_w110_a_workflow_that_is_not_there_rejects_in_the_parent() -> None:
    play = Play().launched(WorkflowOp(id=1, scope=Scope(""), name="gone"))
    play.tell(on.NestedMissing(1, "there is no workflow gone"))
    (delivery,) = play.all(on.Deliver)[0].deliveries
    assert delivery.thrown is not None and "gone" in delivery.thrown.message


def test_w113_what_running_agents_have_used_counts_at_once() -> None:
    play = Play(budget_tokens=100).launched(agent(1))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(output=100)))
    assert play.machine.run.spend.output_tokens == 100
    play.ends(0, value(output=120))
    assert play.machine.run.spend.output_tokens == 120


def test_w114_queued_calls_are_refused_when_the_budget_is_gone_at_their_start() -> None:
    play = Play(budget_tokens=100, limits={"concurrency": 1}).launched(agent(1), agent(2))
    play.ends(0, value(output=150))
    assert play.states() == ["done", "error"]
    assert play.all(RefusedLine)[0].thrown.code == "budget_exhausted"


def test_w121_what_the_table_does_not_have_is_refused_and_changes_nothing() -> None:
    play = Play().launched(agent(1))
    written = len(play.lines)
    for event in (on.ResumeAsked("alice"), on.Approved("alice"), on.Denied("alice", "")):
        with pytest.raises(Illegal):
            play.tell(event)
    assert (play.machine.state, len(play.lines)) == ("running", written)


def test_w121_an_ended_run_changes_no_more_and_a_second_stop_is_fine() -> None:
    play = Play().launched(agent(1))
    play.tell(on.StopAsked("alice"))
    written = len(play.lines)
    play.tell(on.StopAsked("alice"))
    with pytest.raises(Illegal):
        play.tell(on.ResumeAsked("alice"))
    assert (play.machine.state, len(play.lines)) == ("stopped", written)


def test_w122_a_run_ends_with_exactly_one_line() -> None:
    play = Play().launched(agent(1), end=RETURNED)
    play.tell(on.SandboxLost("script_killed", "late"))
    play.tell(on.AttemptEnded(CallIndex(0), 1, value()))
    assert len(play.all(EndedLine)) == 1


@pytest.mark.parametrize(
    ("end", "state"),
    [(RETURNED, "completed"), (Threw(message="boom"), "failed")],
    ids=["returned", "threw"],
)
def test_w123_the_end_of_the_script_is_the_end_of_the_run(end: Returned | Threw, state: str) -> None:
    play = Play().launched(agent(1))
    play.ends(0, null("api_error"))
    play.drains(end=end)
    assert play.machine.state == state
    assert play.all(EndedLine)[0].outcome.degraded


def test_w127_a_run_whose_process_died_is_paused_and_its_attempts_are_closed() -> None:
    after = Play(limits={"concurrency": 1}).launched(agent(1), agent(2)).crashed()
    assert after.machine.state == "paused"
    assert [(line.index, line.reason) for line in after.all(StoppedLine)] == [(0, "interrupted")]
    assert after.all(StateLine)[-1].reason == "host_restart"


def test_w127_after_a_resume_the_script_is_told_the_same_and_only_open_calls_start() -> None:
    before = Play().launched(agent(1), agent(2), LogOp(text="two"))
    before.ends(1, value('"b"'))
    after = before.crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(agent(1), agent(2), LogOp(text="two"))
    (delivery,) = after.all(on.Deliver)[0].deliveries
    assert (delivery.id, bytes(delivery.value or b"")) == (2, b'"b"')
    after.drains()
    assert [command.index for command in after.all(on.StartAttempt)] == [0]
    assert len(after.all(IssuedLine)) == 2
    assert [line.attempt for line in after.all(StartedLine) if line.index == 0] == [1, 2]


def test_w127_a_script_that_goes_another_way_than_its_journal_is_not_continued() -> None:
    after = Play().launched(agent(1, "one")).crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(agent(1, "two"))
    failure = after.all(EndedLine)[0].failure
    assert failure is not None and failure.detail == "protocol"


def test_w128_a_stop_aborts_everything_and_delivers_nothing_more() -> None:
    play = Play().launched(agent(1), agent(2))
    play.ends(0, value())
    delivered = len(play.all(on.Deliver))
    play.tell(on.StopAsked("alice"))
    play.drains(agent(3))
    assert play.all(on.AbortAttempt) == [on.AbortAttempt(CallIndex(1), 1)]
    assert len(play.all(on.Deliver)) == delivered
    assert len(play.machine.run.calls) == 2


def test_w131_a_stopped_run_keeps_what_was_completed_and_counts_nobody_as_failed() -> None:
    play = Play().launched(agent(1), agent(2))
    play.ends(0, value())
    play.tell(on.StopAsked("alice"))
    outcome = play.all(EndedLine)[0].outcome
    assert (outcome.done, outcome.stopped, outcome.null, outcome.threw) == (1, 1, 0, 0)
    assert len(play.all(ResultLine)) == 1


@pytest.mark.parametrize("skip", [False, True], ids=["stop", "skip"])
def test_w132_w133_a_stopped_agent_is_null_for_the_script(skip: bool) -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2))
    play.tell(on.AgentStopAsked(CallIndex(1), "alice", skip=skip))
    play.tell(on.AgentStopAsked(CallIndex(0), "alice", skip=skip))
    reason = "skipped" if skip else "stopped"
    assert [(line.index, line.reason) for line in play.all(StoppedLine)] == [(1, reason), (0, reason)]
    assert play.all(on.AbortAttempt) == [on.AbortAttempt(CallIndex(0), 1)]
    assert play.all(on.Deliver)[0].deliveries[0].reason == reason


def test_w134_a_restarted_agent_gets_a_fresh_attempt_and_its_spend_stays_counted() -> None:
    play = Play().launched(agent(1))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(output=7)))
    play.tell(on.AgentRestartAsked(CallIndex(0), "alice"))
    play.tell(on.AttemptEnded(CallIndex(0), 1, value('"old"')))
    assert play.states() == ["running"]
    play.ends(0, value('"new"', output=5))
    assert [bytes(line.value or b"") for line in play.all(ResultLine)] == [b'"new"']
    assert play.machine.run.spend.output_tokens == 12


def test_w134_only_a_running_agent_can_be_restarted() -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2))
    for index in (1, 7):
        with pytest.raises(Illegal):
            play.tell(on.AgentRestartAsked(CallIndex(index), "alice"))
    assert len(play.all(StartedLine)) == 1


def test_w136_a_steered_agent_is_marked_and_takes_a_limited_number_of_messages() -> None:
    play = Play().launched(agent(1))
    for _ in range(MESSAGES_MAX):
        play.tell(on.MessageSent(CallIndex(0), "look at b too", "alice"))
    with pytest.raises(Illegal):
        play.tell(on.MessageSent(CallIndex(0), "once more", "alice"))
    play.ends(0, value())
    assert play.all(ResultLine)[0].steered
    assert len(play.all(MessageLine)) == len(play.all(on.TellAgent)) == MESSAGES_MAX


def test_w145_past_the_threshold_the_run_waits_for_a_person_once() -> None:
    play = Play(confirm_agents=2, limits={"concurrency": 1}).launched(agent(1), agent(2), agent(3))
    assert play.machine.state == "paused"
    last = play.all(StateLine)[-1]
    assert (last.reason, last.message.startswith("3 agents: past 2 (runs.confirm_agents)")) == ("threshold", True)
    play.tell(on.ResumeAsked("alice"))
    play.ends(0, value())
    play.drains(agent(4))
    assert play.machine.state == "running"


def test_w150_every_attempt_that_started_has_an_end() -> None:
    play = Play(limits={"concurrency": 3}).launched(*(agent(id, retries=1) for id in range(1, 6)))
    play.ends(0, null("api_error", transient=True))
    play.tell(on.AgentRestartAsked(CallIndex(1), "alice"))
    play.ends(2, value())
    play.tell(on.StopAsked("alice"))
    started = {(line.index, line.attempt) for line in play.all(StartedLine)}
    ended = {
        (line.index, line.attempt)
        for line in play.lines
        if isinstance(line, ResultLine | ErrorLine | StoppedLine) and line.attempt
    }
    assert started == ended


def test_w151_the_result_is_in_the_lines_of_the_step_that_delivers_it() -> None:
    play = Play().launched(agent(1))
    step = play.ends(0, value('"kept"'))
    assert [bytes(line.value or b"") for line in step.lines if isinstance(line, ResultLine)] == [b'"kept"']
    assert any(isinstance(command, on.Deliver) for command in step.commands)


def test_w57_a_stalled_attempt_is_tried_once_more_and_then_null() -> None:
    play = Play().launched(agent(1))
    play.ends(0, null("stalled", transient=True))
    assert play.states() == ["running"]
    play.ends(0, null("stalled", transient=True))
    assert [(line.null, line.seq) for line in play.all(ErrorLine)] == [("stalled", None), ("stalled", 0)]


def test_w192_a_large_run_is_told_of_once() -> None:
    play = Play(limits={"warn_agents": 2, "concurrency": 1}).launched(*(agent(id) for id in range(1, 6)))
    play.ends(0, value())
    told = [(line.code, line.message) for line in play.all(WarningLine)]
    assert told == [("large_workflow", "5 agents: more than 2 are a large workflow")]


def test_w41_the_same_settlements_lead_to_the_same_lines() -> None:
    def played() -> list[bytes]:
        play = Play(limits={"concurrency": 2}).launched(agent(1), agent(2), PhaseOp(title="b"))
        play.ends(1, value('"x"', output=3))
        play.drains(agent(3), LogOp(text="more"))
        play.ends(0, null("empty"))
        play.tell(on.ScriptDrained((Drained(end=RETURNED),)))
        return [msgspec.json.encode(line) for line in play.lines]

    assert played() == played()


def test_w39_what_the_script_was_not_told_yet_is_told_next_in_the_same_order() -> None:
    play = Play().launched(*(agent(id) for id in range(1, 5)))
    for index in range(4):
        play.ends(index, value())
    first = play.all(on.Deliver)[-1].deliveries
    play.drains()
    told = play.all(on.Deliver)[-1].deliveries
    assert len(first) == 1 and [each.id for each in told] == [2, 3, 4]
    play.drains()
    assert [each.id for each in play.all(on.Deliver)[-1].deliveries] == [3, 4]
