"""What becomes of what a script asks for in one drain."""

import msgspec
import pytest

from runtime.core import happenings as on
from runtime.core.intake import Strayed, take_in
from runtime.core.journal import IssuedLine, LogLine, RefusedLine, TimerLine, WarningLine
from runtime.core.limits import PROMPT_BYTES_MAX
from runtime.core.model import ResumeMode, Scope
from runtime.core.program import ClearOp, Drained, LogOp, PhaseOp, TimerOp, WarnOp, WorkflowOp
from runtime.core.recorded import fold_journal
from runtime.core.replay import Replay
from tests.runtime.core.play import RETURNED, Play, agent, value
from tests.runtime.core.resuming import MODES


def test_w86_the_phase_of_a_call_is_the_one_at_its_issue() -> None:
    play = Play().launched(PhaseOp(title="a"), agent(1), PhaseOp(title="b"), agent(2), agent(3, phase="c"))
    assert [line.phase for line in play.all(IssuedLine)] == ["a", "b", "c"]


def test_w108_phases_of_a_nested_workflow_are_its_own() -> None:
    play = Play().launched(PhaseOp(title="a"), PhaseOp(title="child", nested=4), agent(1))
    assert play.all(IssuedLine)[0].phase == "a"


def test_w157_calls_of_one_drain_are_branches_of_their_own() -> None:
    play = Play().launched(agent(1), agent(2))
    play.ends(0, value())
    play.drains(agent(3, scope="/b0.0"))
    assert [line.scope for line in play.all(IssuedLine)] == ["/b0.0", "/b0.1", "/b0.0"]


def test_w158_a_settlement_is_delivered_with_the_branch_of_its_call() -> None:
    play = Play().launched(agent(1, scope="/0.3"))
    play.ends(0, value())
    assert play.all(on.Deliver)[0].deliveries[0].scope == "/0.3"


def test_w44_a_prompt_past_its_size_is_refused_also_by_the_host() -> None:
    play = Play().launched(agent(1, "x" * (PROMPT_BYTES_MAX + 1)), agent(2))
    assert [line.thrown.code for line in play.all(RefusedLine)] == ["invalid_call"]


def test_cleared_timer_fires_no_more() -> None:
    play = Play().launched(TimerOp(id=1, ms=5), ClearOp(id=1), agent(2))
    play.tell(on.TimerFired(1))
    assert play.all(on.ClearTimer) == [on.ClearTimer(1)]
    assert play.all(TimerLine) == []


def test_call_that_is_not_the_recorded_one_strays() -> None:
    after = Play().launched(agent(1, "one")).crashed()
    with pytest.raises(Strayed):
        take_in(after.machine.run, Drained(ops=(agent(1, "two"),)))


def test_w49_ignored_option_is_told_once_also_of_nested_workflows_and_after_a_crash() -> None:
    wrong, other = (WarnOp(code="unknown_option", message=f"no option {name}") for name in ("modle", "efort"))
    play = Play().launched(wrong, other, wrong, agent(1))
    after = play.crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(wrong, other, wrong, agent(1), LogOp(text="new"))
    assert [line.message for line in after.all(WarningLine)] == ["no option modle", "no option efort"]
    assert [line.text for line in after.all(LogLine)] == ["new"]


def test_w64_keyword_of_a_schema_that_says_nothing_is_warned_of_once_also_after_a_crash() -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{}]}}, "xyz": 1}
    ops = (agent(1, schema=odd), agent(2, schema=odd))
    after = Play().launched(*ops).crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(*ops)
    told = [f"{line.code}: {line.message}" for line in after.all(WarningLine)]
    assert len(told) == len(set(told)) == 2
    assert {word for word in ("prefixItems", "xyz") for text in told if word in text} == {"prefixItems", "xyz"}


def found(id: int) -> on.NestedFound:
    return on.NestedFound(id, f"child {id}", "src", f"{id:064}", "body", msgspec.Raw(b"{}"))


def told_ids(play: Play) -> list[int]:
    return [delivery.id for each in play.all(on.Deliver) for delivery in each.deliveries]


@pytest.mark.parametrize("mode", MODES)
def test_w39_nested_workflows_of_a_resume_are_told_in_the_order_of_the_earlier_run(mode: ResumeMode) -> None:
    asked = [WorkflowOp(id=id, scope=Scope(f"/0.{id}"), name=f"child {id}") for id in (1, 2)]
    calls = {id: agent(id + 2, scope=f"/0.{id}/w0") for id in (1, 2)}
    old = Play().launched(*asked)
    for id in (2, 1):
        old.tell(found(id))
        old.drains(calls[id])
    for index in (0, 1):
        old.ends(index, value())
        old.drains(end=RETURNED if index else None)
    new = Play(replay=Replay(fold_journal(old.lines), mode)).launched(*asked)
    new.tell(found(1))
    assert told_ids(new) == []
    new.tell(found(2))
    for id in (2, 1):
        assert told_ids(new)[-1] == id
        new.drains(calls[id])
    new.drains()
    new.drains(end=RETURNED)
    assert (told_ids(new), new.states()) == (told_ids(old), ["cached", "cached"])
