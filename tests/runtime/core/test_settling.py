"""What becomes of a call when its attempt ends."""

import msgspec
import pytest

from runtime.core import happenings as on
from runtime.core.journal import ErrorLine, RefusedLine, ResultLine, StartedLine, StateLine, StoppedLine, WarningLine
from runtime.core.model import CallIndex, NullReason
from runtime.core.recorded import fold_journal
from runtime.core.replay import Replay
from tests.runtime.core.play import RETURNED, Play, agent, null, thrown, used, value

STAGGERED = {"stagger_ms": 5_000}


@pytest.mark.parametrize("reason", ["api_error", "empty", "limit", "agent_type", "permission", "stalled"])
def test_w54_every_null_has_its_reason_in_the_journal_and_for_the_script(reason: NullReason) -> None:
    play = Play().launched(agent(1))
    play.ends(0, null(reason))
    if reason == "stalled":
        play.ends(0, null(reason))
    assert [line.null for line in play.all(ErrorLine)][-1] == reason
    assert play.all(on.Deliver)[0].deliveries[0].reason == reason


def test_w55_what_throws_is_delivered_as_an_error() -> None:
    play = Play().launched(agent(1))
    play.ends(0, thrown("five times"))
    delivery = play.all(on.Deliver)[0].deliveries[0]
    assert delivery.thrown is not None and delivery.thrown.message == "five times"


@pytest.mark.parametrize(("retries", "attempts"), [(None, 1), (2, 3)], ids=["none", "two"])
def test_w48_recoverable_failures_are_tried_again_as_often_as_the_call_says(retries: int | None, attempts: int) -> None:
    play = Play().launched(agent(1, retries=retries))
    while play.states() == ["running"]:
        play.ends(0, null("api_error", transient=True))
    assert len(play.all(ErrorLine)) == attempts
    assert [line.seq for line in play.all(ErrorLine)] == [None] * (attempts - 1) + [0]


def test_w93_totals_include_attempts_that_failed() -> None:
    play = Play().launched(agent(1, retries=1))
    play.ends(0, null("api_error", transient=True, usage=used(3)))
    play.ends(0, value(output=4))
    assert play.machine.run.spend.output_tokens == 7
    assert play.all(ResultLine)[0].usage.tokens.output == 4


def test_w117_the_script_sees_what_was_spent_at_each_settlement() -> None:
    play = Play(budget_tokens=100).launched(agent(1), agent(2))
    play.ends(0, value(output=10))
    play.drains()
    play.ends(1, value(output=5))
    assert [each.spent for command in play.all(on.Deliver) for each in command.deliveries] == [10, 15]


def test_w127_end_that_comes_after_the_run_was_handed_over_is_not_counted_again() -> None:
    play = Play().launched(agent(1))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(6)))
    play.tell_at_once(on.HandedOver(), on.AttemptEnded(CallIndex(0), 1, value(output=6)))
    assert not play.all(ResultLine)
    assert play.machine.run.spend.output_tokens == play.crashed().machine.run.spend.output_tokens == 6


def test_end_of_an_attempt_that_was_replaced_changes_nothing() -> None:
    play = Play().launched(agent(1))
    play.tell(on.AgentRestartAsked(CallIndex(0), "alice"))
    written = len(play.lines)
    play.tell(on.AttemptEnded(CallIndex(0), 1, value(output=9)))
    assert (len(play.lines), play.states()) == (written, ["running"])


def test_w48_failure_that_a_fresh_attempt_would_meet_again_is_not_tried_again() -> None:
    play = Play().launched(agent(1, retries=3))
    play.ends(0, null("api_error"))
    assert [line.seq for line in play.all(ErrorLine)] == [0]


FREEING = {
    "first_byte": on.FirstByteSeen(CallIndex(0), 1),
    "hold_is_over": on.Ticked(),
    "first_ends": on.AttemptEnded(CallIndex(0), 1, null("api_error")),
    "first_is_stopped": on.AgentStopAsked(CallIndex(0), "alice"),
}


@pytest.mark.parametrize("freeing", FREEING.values(), ids=FREEING.keys())
def test_w129_held_call_of_a_paused_run_starts_only_when_it_goes_on(freeing: on.Event) -> None:
    play = Play(limits=STAGGERED).launched(agent(1), agent(2))
    play.tell(on.PauseAsked("person", by="alice"))
    play.tell(freeing, later_ms=5_000)
    assert (play.states()[1], len(play.all(StartedLine))) == ("queued", 1)
    play.tell(on.ResumeAsked("alice"))
    assert play.states()[1] in ("held", "running")


def test_w129_paused_run_whose_agents_are_done_holds_no_place() -> None:
    play = Play(limits=STAGGERED).launched(agent(1), agent(2))
    play.tell(on.PauseAsked("person", by="alice"))
    play.ends(0, value())
    assert (play.machine.is_idle, play.states()) == (True, ["done", "queued"])


def test_w114_held_call_is_refused_when_the_budget_is_gone_at_its_start() -> None:
    play = Play(budget_tokens=100, limits=STAGGERED).launched(agent(1), agent(2))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(150)))
    play.tell(on.FirstByteSeen(CallIndex(0), 1))
    assert [(line.index, line.thrown.code) for line in play.all(RefusedLine)] == [(1, "budget_exhausted")]


def test_w118_agent_that_a_pause_lets_finish_does_not_pass_the_cap() -> None:
    play = Play(max_cost_nanousd=1_000).launched(agent(1))
    play.tell(on.PauseAsked("person", by="alice"))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(cost_nanousd=1_000)))
    assert [line.reason for line in play.all(StateLine)][-2:] == ["person", "budget"]
    assert play.all(on.SetFrozen) == [on.SetFrozen(True)]


def test_w68_result_that_is_taken_over_keeps_what_was_odd_about_it() -> None:
    old = Play().launched(agent(1))
    finished = value()
    odd = msgspec.structs.replace(finished, schema_attempts=5, detail="cut", transcript_sha256="ab")
    old.ends(0, odd)
    old.drains(end=RETURNED)
    new = Play(replay=Replay(fold_journal(old.lines), "lineage")).launched(agent(1))
    (taken,) = new.all(ResultLine)
    assert (taken.cached, taken.schema_attempts, taken.detail, taken.transcript_sha256) == (True, 5, "cut", "ab")


def test_w136_call_that_was_steered_before_a_crash_stays_so() -> None:
    play = Play().launched(agent(1))
    play.tell(on.MessageSent(CallIndex(0), "look again", "alice"))
    after = play.crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(agent(1))
    after.ends(0, value())
    assert after.all(ResultLine)[0].steered


RESERVING = {"concurrency": 1, "admission_reserve": True}


@pytest.mark.parametrize(("reserve", "refused"), [(True, [1]), (False, [])], ids=["with_reserve", "without"])
def test_w120_call_starts_only_while_the_budget_leaves_what_its_phase_takes(reserve: bool, refused: list[int]) -> None:
    limits = {"concurrency": 1, "admission_reserve": reserve}
    play = Play(budget_tokens=100, limits=limits).launched(agent(1, phase="a"), agent(2, phase="a"))
    play.ends(0, value(output=60))
    assert [line.index for line in play.all(RefusedLine)] == refused
    assert all("60 on average" in line.thrown.message for line in play.all(RefusedLine))


def test_w120_reserve_is_that_of_the_calls_own_phase_and_is_known_after_a_crash() -> None:
    ops = (agent(1, phase="a"), agent(2, phase="b"), agent(3, phase="a"))
    play = Play(budget_tokens=100, limits=RESERVING).launched(*ops)
    play.ends(0, value(output=60))
    assert play.states() == ["done", "running", "queued"]
    after = play.crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(*ops)
    after.drains()
    after.ends(1, value(output=1))
    assert after.states() == ["done", "done", "error"]


@pytest.mark.parametrize(("confirm", "state"), [(None, "running"), (1_000, "paused")], ids=["warns", "pauses"])
def test_w192_w145_tokens_that_are_expected_make_a_run_large_before_they_are_spent(
    confirm: int | None, state: str
) -> None:
    limits = {"concurrency": 1, "warn_tokens": 1_000}
    play = Play(confirm_tokens=confirm, limits=limits).launched(*(agent(id) for id in range(1, 12)))
    play.ends(0, value(output=100))
    play.drains()
    assert [line.code for line in play.all(WarningLine)] == ["large_workflow"]
    assert play.machine.state == state


def test_w61_w150_call_that_nobody_awaited_says_so_also_when_it_had_not_started() -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2))
    play.drains(end=RETURNED)
    assert [(line.attempt, line.reason) for line in play.all(StoppedLine)] == [(1, "unawaited"), (0, "unawaited")]
