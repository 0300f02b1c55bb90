"""What pauses a run, whom it lets finish, and what lets it go on."""

import pytest

from runtime.core import happenings as on
from runtime.core.model import CallIndex, PauseReason
from runtime.core.pausing import over_ms
from runtime.core.transitions import Illegal
from tests.runtime.core.play import NOW, RETURNED, Play, agent, used, value


def test_w118_the_cost_cap_of_a_run_pauses_it_and_raising_it_goes_on() -> None:
    play = Play(max_cost_nanousd=1_000, limits={"concurrency": 1}).launched(agent(1), agent(2))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(cost_nanousd=1_000)))
    assert play.machine.state == "paused"
    assert play.all(on.SetFrozen) == [on.SetFrozen(True)]
    with pytest.raises(
        Illegal, match=r"has reached its cap \(.*raise the cap with a resume \(maxCostUsd, --max-cost\)"
    ):
        play.tell(on.ResumeAsked("alice"))
    play.tell(on.ResumeAsked("alice", max_cost_nanousd=5_000))
    assert play.machine.state == "running"
    assert play.all(on.SetFrozen)[-1] == on.SetFrozen(False)


def test_w118_a_limit_that_lets_go_leaves_a_run_paused_that_a_person_paused_too() -> None:
    play = Play().launched(agent(1))
    play.tell(on.PauseAsked("budget"))
    play.tell(on.PauseAsked("person", by="alice"))
    play.tell(on.Unblocked("budget"))
    assert play.machine.state == "paused"
    play.tell(on.ResumeAsked("alice"))
    assert play.machine.state == "running"


def test_w126_a_quota_pauses_the_run_until_it_is_reset_and_drops_nobody() -> None:
    play = Play().launched(agent(1))
    play.tell(on.PauseAsked("quota", until_ms=NOW + 9_000))
    assert play.all(on.WakeAt)[-1] == on.WakeAt(NOW + 9_000)
    play.tell(on.Ticked(), later_ms=9_000)
    assert (play.machine.state, play.states()) == ("running", ["running"])


def test_w129_a_paused_run_starts_nothing_and_lets_running_agents_finish() -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2))
    play.tell(on.PauseAsked("person", by="alice"))
    play.ends(0, value())
    assert play.states() == ["done", "queued"]
    assert play.all(on.Deliver) == []
    assert play.all(on.SetFrozen) == []


def test_w129_freeze_stops_agents_after_their_request() -> None:
    play = Play().launched(agent(1))
    play.tell(on.PauseAsked("person", by="alice", freeze=True))
    assert play.all(on.SetFrozen) == [on.SetFrozen(True)]
    play.tell(on.ResumeAsked("alice"))
    assert play.all(on.SetFrozen)[-1] == on.SetFrozen(False)


def test_w130_a_resumed_run_goes_on_in_place() -> None:
    play = Play(limits={"concurrency": 1}).launched(agent(1), agent(2))
    play.tell(on.PauseAsked("person", by="alice"))
    play.ends(0, value())
    play.tell(on.ResumeAsked("alice"))
    assert play.states() == ["done", "running"]
    assert len(play.all(on.Deliver)) == 1
    assert len(play.all(on.OpenSandbox)) == 1


def test_w130_a_script_that_returns_while_paused_completes_at_the_resume() -> None:
    play = Play().launched(agent(1))
    play.ends(0, value())
    play.tell(on.PauseAsked("person", by="alice"))
    play.drains(end=RETURNED)
    assert play.machine.state == "paused"
    play.tell(on.ResumeAsked("alice"))
    assert play.machine.state == "completed"


def test_w118_limit_that_is_reset_while_the_own_cap_is_reached_asks_for_no_alarm() -> None:
    play = Play(max_cost_nanousd=1_000).launched(agent(1))
    play.tell(on.PauseAsked("budget", until_ms=NOW + 5_000))
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(cost_nanousd=1_000)))
    for _ in range(3):
        play.tell(on.Ticked(), later_ms=5_000)
    assert play.machine.state == "paused"
    assert all(wake.at_ms >= play.machine.deadline_ms for wake in play.all(on.WakeAt)[-2:])


def test_w126_quota_of_a_run_without_a_process_is_over_when_it_is_told_so() -> None:
    before = Play().launched(agent(1))
    before.tell(on.PauseAsked("quota", until_ms=NOW + 5_000))
    play = before.crashed()
    play.tell(on.Ticked(), later_ms=9_000)
    assert play.machine.state == "paused" and not play.machine.has_script
    assert play.all(on.WakeAt)[-1].at_ms == play.machine.deadline_ms
    play.tell(on.Unblocked("quota"))
    assert play.machine.state == "running" and play.machine.has_script


def test_w126_quota_is_over_by_itself_while_something_else_holds_the_run() -> None:
    before = Play().launched(agent(1))
    before.tell(on.PauseAsked("quota", until_ms=NOW + 5_000))
    before.tell(on.PauseAsked("person", by="alice"))
    play = before.crashed()
    play.tell(on.Ticked(), later_ms=9_000)
    assert play.machine.run.pauses == {"person": None}


@pytest.mark.parametrize(
    ("pauses", "lifted", "over"),
    [
        ([("quota", NOW + 5)], (), NOW + 5),
        ([("quota", NOW + 5), ("quota", NOW + 9)], (), NOW + 5),
        ([("quota", NOW + 5), ("person", None)], (), None),
        ([("host_restart", None)], (), None),
        ([("host_restart", None)], ("host_restart",), 0),
        ([("host_restart", None), ("quota", NOW + 5)], ("host_restart",), NOW + 5),
    ],
)
def test_run_waits_for_nothing_more_once_all_its_pauses_are_over(
    pauses: list[tuple[PauseReason, int | None]], lifted: tuple[PauseReason, ...], over: int | None
) -> None:
    play = Play().launched(agent(1))
    for reason, until_ms in pauses:
        play.tell(on.PauseAsked(reason, until_ms=until_ms))
    assert over_ms(play.machine.run, lifted) == over


def test_w118_own_cap_is_never_over_by_itself() -> None:
    play = Play(max_cost_nanousd=1_000).launched(agent(1))
    play.tell(on.PauseAsked("budget", until_ms=NOW + 5))
    assert over_ms(play.machine.run) == NOW + 5
    play.tell(on.RequestAnswered(CallIndex(0), 1, used(cost_nanousd=1_000)))
    assert over_ms(play.machine.run) is None
