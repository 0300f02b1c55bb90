"""What a journal says of a run whose process died."""

import msgspec

from runtime.core import happenings as on
from runtime.core.journal import encode_line
from runtime.core.model import CallIndex, Scope
from runtime.core.program import LogOp, PhaseOp, TimerOp, WorkflowOp
from runtime.core.recovery import recover
from runtime.core.views.view import View
from tests.runtime.core.play import NOW, Play, agent, null, used, value


def test_w127_what_the_script_was_told_is_told_again_in_the_same_order() -> None:
    play = Play().launched(agent(1), TimerOp(id=2, ms=5), WorkflowOp(id=3, scope=Scope(""), name="child"))
    play.tell(on.TimerFired(2))
    play.tell(on.NestedFound(3, "child", "source", "ab" * 32, "body", msgspec.Raw(b"{}")))
    play.ends(0, null("empty", usage=used(4)))
    found = recover(play.lines)
    assert [delivery.id for delivery in found.deliveries] == [2, 3, 1]
    assert found.deliveries[1].program is not None and found.deliveries[1].program.body == "body"
    assert (found.deliveries[2].reason, found.seq) == ("empty", 3)


def test_w150_only_attempts_without_an_end_are_interrupted() -> None:
    play = Play().launched(agent(1), agent(2))
    play.ends(0, value())
    play.tell(on.AgentRestartAsked(CallIndex(1), "alice"))
    found = recover(play.lines)
    assert [(line.index, line.attempt) for line in found.interrupted.values()] == [(1, 2)]


def test_lines_of_the_scripts_own_are_counted_so_that_they_are_not_written_twice() -> None:
    play = Play().launched(PhaseOp(title="a"), LogOp(text="b"), agent(1))
    after = play.crashed()
    after.tell(on.ResumeAsked("alice"))
    after.drains(PhaseOp(title="a"), LogOp(text="b"), agent(1))
    kinds = [type(line).__name__ for line in after.lines]
    assert (kinds.count("PhaseLine"), kinds.count("LogLine"), kinds.count("IssuedLine")) == (1, 1, 1)


def test_pauses_and_a_raised_cap_are_remembered() -> None:
    play = Play(max_cost_nanousd=100).launched(agent(1))
    play.tell(on.PauseAsked("person", by="alice"))
    play.tell(on.ResumeAsked("alice", max_cost_nanousd=900))
    play.tell(on.PauseAsked("quota", until_ms=NOW + 5))
    found = recover(play.lines)
    assert (found.state, found.pauses, found.max_cost_nanousd) == ("paused", {"quota": NOW + 5}, 900)


def test_spend_of_before_counts_on() -> None:
    play = Play().launched(agent(1))
    play.ends(0, value(output=7, cost_nanousd=70))
    found = recover(play.lines)
    assert (found.spend.output_tokens, found.spend.cost_nanousd) == (7, 70)


def test_journal_of_a_run_that_was_recovered_twice_is_read_like_any_other() -> None:
    play = Play().launched(agent(1))
    for _ in range(2):
        play = play.crashed()
        play.tell(on.ResumeAsked("alice"))
        play.drains(agent(1))
    assert [encode_line(line) for line in play.lines].count(b"") == 0
    assert play.machine.run.calls[0].attempt == 3


def test_pause_that_was_lifted_while_another_stood_is_not_back_after_a_crash() -> None:
    play = Play().launched(agent(1))
    play.tell(on.PauseAsked("quota", until_ms=NOW + 5))
    play.tell(on.PauseAsked("person", by="alice"))
    play.tell(on.Unblocked("quota"))
    assert recover(play.lines).pauses == {"person": None}
    view = View(play.machine.run.spec)
    for line in play.lines:
        view.feed(line)
    assert [pause["reason"] for pause in view.record(play.now)["pauses"]] == ["person"]
