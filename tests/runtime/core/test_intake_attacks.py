"""Sandboxes that ask for more than any run can use, and ones that lie: the run ends or goes on within its bounds."""

from typing import Any

import pytest

from runtime.core import happenings as on
from runtime.core.journal import EndedLine, IssuedLine, LogLine, NestedLine, PhaseLine, RefusedLine, WarningLine
from runtime.core.limits import (
    MISTAKES_MAX,
    NARRATION_LINES_MAX,
    PROMPT_BYTES_MAX,
    PROMPTS_BYTES_MAX,
    TIMERS_MAX,
)
from runtime.core.model import Scope
from runtime.core.program import LogOp, Op, PhaseOp, TimerOp, WarnOp, WorkflowOp
from tests.runtime.core.play import RETURNED, Play, agent

REFUSALS = 64


def ended(play: Play) -> Any:
    """Why the run failed."""
    (line,) = play.all(EndedLine)
    return line.failure


@pytest.mark.parametrize("end", [None, RETURNED], ids=["waits", "returns"])
def test_w99_what_is_asked_for_after_the_last_refusal_is_not_looked_at(end: Any) -> None:
    play = Play(limits={"agents": 1})
    play.launched(*(agent(id) for id in range(5_000)), end=end)
    assert ended(play).detail == "agent_limit_error"
    assert (len(play.all(IssuedLine)), len(play.all(RefusedLine))) == (1 + REFUSALS, REFUSALS)


def test_w100_going_back_and_forth_between_two_phases_is_no_progress() -> None:
    play = Play(limits={"idle_deliveries": 4}).launched(TimerOp(id=0, ms=0))
    turns = 0
    while not play.all(EndedLine):
        play.tell(on.TimerFired(turns))
        play.drains(PhaseOp(title="ab"[turns % 2]), TimerOp(id=turns + 1, ms=0))
        turns += 1
    assert (ended(play).detail, turns) == ("runaway_script", 2 + 4)


def test_w90_flood_of_phases_and_logs_fills_no_journal() -> None:
    many: list[Op] = [PhaseOp(title=f"p{number}") for number in range(NARRATION_LINES_MAX)]
    play = Play().launched(*many, LogOp(text="one more"), PhaseOp(title="late"), agent(1))
    assert (len(play.all(PhaseLine)), play.all(LogLine)) == (NARRATION_LINES_MAX, [])
    assert [line.code for line in play.all(WarningLine)] == ["narration_cut"]
    assert play.all(IssuedLine)[0].phase == "late"


def test_w90_flood_that_was_cut_before_a_crash_is_cut_at_the_same_place_after_it() -> None:
    many: list[Op] = [LogOp(text="x") for _ in range(NARRATION_LINES_MAX + 5)]
    after = Play().launched(*many, agent(1)).crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(*many, agent(1), LogOp(text="new"))
    assert [line.text for line in after.all(LogLine)] == ["x"] * NARRATION_LINES_MAX
    assert [line.code for line in after.all(WarningLine)] == ["narration_cut"]


def test_w95_prompts_of_a_run_are_bounded_together() -> None:
    fitting = PROMPTS_BYTES_MAX // PROMPT_BYTES_MAX
    play = Play().launched(*(agent(id, "x" * PROMPT_BYTES_MAX) for id in range(fitting)), agent(fitting, "one more"))
    (refused,) = play.all(RefusedLine)
    assert (refused.index, refused.thrown.code) == (fitting, "limit")


def test_sandbox_that_sets_more_timers_than_it_can_is_not_believed() -> None:
    play = Play().launched(agent(999), *(TimerOp(id=id, ms=1) for id in range(TIMERS_MAX + 1)))
    assert ended(play).detail == "protocol"


def test_w106_nested_workflows_past_the_cap_are_refused_for_a_while_and_then_end_the_run() -> None:
    play = Play().launched(*(WorkflowOp(id=id, scope=Scope(""), name="none") for id in range(15_000)))
    assert (ended(play).detail, len(play.all(NestedLine))) == ("runaway_script", MISTAKES_MAX)


def test_w99_calls_that_could_never_begin_end_the_run_like_those_past_the_cap() -> None:
    play = Play().launched(*(agent(id, isolation="worktree") for id in range(15_000)))
    assert (ended(play).detail, len(play.all(RefusedLine))) == ("runaway_script", MISTAKES_MAX)


def test_w99_some_calls_that_could_never_begin_are_the_scripts_own_business() -> None:
    play = Play().launched(*(agent(id, isolation="worktree") for id in range(MISTAKES_MAX - 1)))
    assert (play.all(EndedLine), len(play.all(RefusedLine))) == ([], MISTAKES_MAX - 1)


def test_w49_flood_of_unknown_options_is_not_kept_in_mind() -> None:
    play = Play().launched(*(WarnOp(code="unknown_option", message=f"o{at}") for at in range(20_000)), agent(0))
    assert len(play.machine.run.brakes.ignored_options) == NARRATION_LINES_MAX
