"""Events of a run: their order, whatever the run did, and their contents."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from anthropic.types.beta import sessions
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.journal import HeldLine, WarningLine
from runtime.core.model import CallIndex, Finished
from runtime.core.views.events import BUDGET_PERCENTS, Event, refused_start
from runtime.core.views.phases import workflow_run_id
from tests.runtime.core.play import NOW, RETURNED, Play, agent, null, thrown, value
from tests.runtime.core.story import Story, Told, stories, usage


def fields_of(story: Story, kind: str) -> list[dict[str, Any]]:
    return [dict(event.fields) for event in story.events() if event.type == f"workflow_run.{kind}"]


def phases_of(story: Story) -> list[str]:
    return [kind for kind in story.told() if kind.startswith("phase")]


def check_order(events: list[Event], *, ended: bool) -> None:
    """The rules of W180."""
    kinds = [event.type.removeprefix("workflow_run.") for event in events]
    assert kinds[0] == "created" and kinds.count("created") == 1
    assert kinds.count("status_ended") == ended
    running: Counter[str] = Counter()
    starts: dict[str, str] = {}
    for event in events:
        phase: str = event.fields.get("workflow_run_phase_id", "")
        if event.type == "workflow_run.phase_started":
            running[phase] += 1
            starts[event.id] = phase
            assert running[phase] == 1
        if event.type == "workflow_run.phase_ended":
            running[phase] -= 1
            assert running[phase] == 0 and starts.pop(event.fields["phase_started_id"]) == phase
    if ended:
        assert kinds[-1] == "status_ended" and not starts
        assert kinds.count("error") == (events[-1].fields["result"]["type"] == "error")
        assert "error" not in kinds[:-2]


@settings(max_examples=300, deadline=None)
@given(stories())
def test_w180_order_holds_whatever_the_run_did(story: Story) -> None:
    ended = story.record()["ended_ms"] is not None
    check_order(story.events(), ended=ended)


@pytest.mark.parametrize(
    ("finished", "reason", "message"),
    [
        (null("agent_type", detail="there is no agent type 'x'"), "agent_type", "there is no agent type 'x'"),
        (thrown("the last try had no name"), "schema_retries_exhausted", "the last try had no name"),
        (value(), None, ""),
    ],
    ids=["null", "thrown", "done"],
)
def test_w54_end_of_an_agent_tells_why_it_gave_nothing(finished: Finished, reason: str | None, message: str) -> None:
    play = Play().launched(agent(1))
    play.ends(0, finished)
    told = Told(play.machine.run.spec).feed_all(play.lines)
    [fields] = [event.fields for event in told if event.type == "workflow_run.agent_settled"]
    assert (fields["reason"], fields["message"]) == (reason, message)


@settings(max_examples=100, deadline=None)
@given(stories(ended=True))
def test_w184_run_is_told_to_be_created_and_to_have_ended_once(story: Story) -> None:
    told = Told(story.spec).feed_all(story.lines)
    ends = [event for event in told if event.type in ("workflow_run.created", "workflow_run.status_ended")]
    assert ends == [told[0], told[-1]]
    assert {event.fields["workflow_run_id"] for event in ends} == {workflow_run_id(story.spec.id)}


@settings(max_examples=100, deadline=None)
@given(stories(ended=True), st.data())
def test_w180_nothing_follows_the_end(story: Story, data: st.DataObject) -> None:
    telling = Told(story.spec)
    told = telling.feed_all(story.lines)
    late = data.draw(st.sampled_from(story.lines))
    assert told[-1].type == "workflow_run.status_ended"
    assert telling.narrator.feed(late) == []


@settings(max_examples=100, deadline=None)
@given(stories())
def test_same_lines_give_the_same_events_and_ids_are_unique(story: Story) -> None:
    first, second = story.events("one"), story.events("two")
    assert [event.id for event in first] == [event.id for event in second]
    assert len({event.id for event in first}) == len(first)


def test_w180_created_is_told_by_the_first_line_whatever_it_is() -> None:
    events = Told(Story().spec).feed_all(Story().logs().lines[-1:])
    assert [event.type for event in events] == ["workflow_run.created", "workflow_run.log"]


def test_w180_failed_run_tells_its_error_right_before_its_end() -> None:
    story = Story().runs().names_phase("Find").fails()
    assert story.told()[-3:] == ["phase_ended", "error", "status_ended"]
    assert fields_of(story, "error")[0]["error"] == {
        "type": "program_error",
        "detail": "script_threw",
        "message": "boom",
    }


def test_w119_what_running_attempts_use_reaches_no_mark_before_their_end() -> None:
    story = Story(max_cost_nanousd=1_000).runs().issues().issues()
    story.starts(0).starts(1)
    telling = Told(story.spec)
    telling.feed_all(story.lines)
    telling.view.progressed(CallIndex(1), usage(0, 900))
    ended = telling.feed_all(story.gives(0, used=usage(0, 100)).lines[-1:])
    assert [event.type for event in ended] == ["workflow_run.agent_settled"]


def test_w180_run_of_the_machine_is_told_in_order() -> None:
    play = Play().launched(agent(0, phase="Find"), agent(1, phase="Fix"))
    play.ends(0, value())
    play.ends(1, value())
    play.drains(end=RETURNED)
    events = Told(play.machine.run.spec).feed_all(play.lines)
    check_order(events, ended=True)
    assert Counter(event.type for event in events)["workflow_run.agent_settled"] == 2


def test_w179_created_names_the_run_and_its_phases() -> None:
    meta = b'{"phases":[{"title":"Find","detail":"look"},{"title":"Fix"}]}'
    story = Story(phases=("Find", "Fix"), meta=msgspec.Raw(meta), name="n" * 80)
    created = fields_of(story, "created")[0]
    assert created["workflow_run_id"] == workflow_run_id(story.spec.id) == "wrun_0123456789ab"
    assert [(phase["name"], phase["description"]) for phase in created["phases"]] == [("Find", "look"), ("Fix", "")]
    assert all(phase["id"].startswith("wrph_") for phase in created["phases"]) and len(created["name"]) == 64


def test_w179_phase_ends_when_another_was_started_and_nothing_of_it_is_open() -> None:
    story = Story().runs().issues(phase="A").starts(0).issues(phase="B").gives(0)
    assert phases_of(story) == [
        "phase_started",
        "phase_started",
        "phase_ended",
    ]
    ids = [fields["workflow_run_phase_id"] for fields in fields_of(story, "phase_started")]
    assert fields_of(story, "phase_ended")[0]["workflow_run_phase_id"] == ids[0]


def test_w179_phase_is_ended_by_the_last_of_its_calls_and_not_before() -> None:
    story = Story().runs().issues(phase="A").starts(0).issues(phase="B").gives(0)
    assert story.told()[-2:] == ["agent_settled", "phase_ended"]


def test_w179_phase_that_was_taken_up_again_goes_on() -> None:
    story = Story().runs().issues(phase="A").starts(0).issues(phase="B").issues(phase="A").gives(0).starts(2).gives(2)
    assert phases_of(story) == ["phase_started", "phase_started"]


def test_w179_phase_that_the_script_is_in_outlives_the_calls_of_others() -> None:
    story = Story().runs().names_phase("A").issues(phase="A").starts(0).issues(phase="B").gives(0)
    assert phases_of(story) == ["phase_started", "phase_started"]


def test_w179_phase_that_the_script_is_in_stays_open_between_calls() -> None:
    story = Story().runs().names_phase("A").issues(phase="A").starts(0).gives(0).issues(phase="A").starts(1).gives(1)
    assert phases_of(story) == ["phase_started"]
    story.names_phase("B")
    assert phases_of(story) == [
        "phase_started",
        "phase_started",
        "phase_ended",
    ]


def test_w179_phase_may_come_again() -> None:
    story = Story().runs().names_phase("A").names_phase("B").names_phase("A").ends()
    assert Counter(story.told())["phase_started"] == Counter(story.told())["phase_ended"] == 3


@pytest.mark.parametrize("reason", ["person", "budget", "quota", "operator", "host_restart", "threshold"])
def test_w179_pause_is_idle_with_its_reason_and_a_resume_is_running(reason: str) -> None:
    story = (
        Story().runs().goes("running", "paused", reason=reason, by="alice").goes("paused", "running", reason="resumed")
    )
    assert [fields["reason"] for fields in fields_of(story, "status_idle")] == [reason]
    assert len(fields_of(story, "status_running")) == 2


@pytest.mark.parametrize(
    ("state", "result"),
    [("completed", "completed"), ("failed", "error"), ("stopped", "stopped"), ("denied", "stopped")],
)
def test_w179_end_tells_the_result(state: Any, result: str) -> None:
    assert fields_of(Story().runs().ends(state), "status_ended")[0]["result"]["type"] == result


MANAGED = {
    "workflow_run.created": sessions.BetaManagedAgentsWorkflowRunCreatedEvent,
    "workflow_run.status_running": sessions.BetaManagedAgentsWorkflowRunStatusRunningEvent,
    "workflow_run.status_idle": sessions.BetaManagedAgentsWorkflowRunStatusIdleEvent,
    "workflow_run.phase_started": sessions.BetaManagedAgentsWorkflowRunPhaseStartedEvent,
    "workflow_run.phase_ended": sessions.BetaManagedAgentsWorkflowRunPhaseEndedEvent,
    "workflow_run.error": sessions.BetaManagedAgentsWorkflowRunErrorEvent,
    "workflow_run.status_ended": sessions.BetaManagedAgentsWorkflowRunStatusEndedEvent,
}


@pytest.mark.parametrize("failed", [True, False])
def test_w179_events_are_those_of_managed_agents_in_the_types_of_the_official_sdk(failed: bool) -> None:
    story = Story(phases=("Find",)).runs().goes("running", "paused", reason="person").goes("paused", "running")
    story.issues(phase="Find").starts(0).gives(0)
    story = story.fails() if failed else story.ends()
    seen: set[str] = set()
    for number, event in enumerate(story.events(), 1):
        if event.type in MANAGED:
            MANAGED[event.type].model_validate_json(bytes(event.numbered(number)))
            seen.add(event.type)
    assert seen == set(MANAGED) - (set() if failed else {"workflow_run.error"})


def test_w179_run_that_never_came_to_be_is_told_in_the_type_of_the_official_sdk() -> None:
    told = refused_start("max_workflow_runs_error", "too many", 1_767_225_600_000, epoch="host")
    read = sessions.BetaManagedAgentsWorkflowRunErrorEvent.model_validate_json(bytes(told.numbered(0)))
    assert read.workflow_run_id is None and read.processed_at.year == 2026


def test_w182_agents_are_told_from_queue_to_end() -> None:
    story = Story().runs().issues("find it").starts(0).tries_again(0, usage(1)).gives(0, used=usage(2))
    kinds = [kind for kind in story.told() if kind.startswith("agent")]
    assert kinds == ["agent_queued", "agent_started", "agent_retry", "agent_settled"]
    settled = fields_of(story, "agent_settled")[0]
    assert (settled["state"], settled["tokens"], settled["label"], settled["reason"]) == ("done", 3, "find it", None)


def test_w182_end_of_an_attempt_is_no_end_of_the_agent() -> None:
    story = Story().runs().issues().starts(0).is_stopped(0, "restarted").starts(0)
    assert "agent_settled" not in story.told()


def test_w68_tries_at_a_schema_are_told() -> None:
    story = Story().runs().issues().starts(0).gives(0, schema_attempts=5)
    assert fields_of(story, "agent_settled")[0]["schema_attempts"] == 5


def test_w182_logs_and_warnings_are_told_without_what_cannot_be_seen() -> None:
    story = Story().runs().logs("a\u202eb\nc").warns("odd", "d\x1be")
    assert fields_of(story, "log")[0]["text"] == "a\\u{202E}b\nc"
    assert fields_of(story, "warning")[0]["message"] == "d\\u{001B}e"


def test_w182_approval_is_asked_for_and_decided() -> None:
    story = Story().goes("queued", "pending_approval", reason="approval", message="new script")
    assert story.told()[-2:] == ["approval_required", "status_idle"]
    story.goes("pending_approval", "queued", reason="approved", by="bob")
    assert fields_of(story, "approval_decided")[0]["approved"] is True
    denied = Story().goes("queued", "pending_approval").goes("pending_approval", "denied", reason="denied", by="bob")
    assert fields_of(denied, "approval_decided")[0]["approved"] is False


def test_w182_held_agents_governor_and_plan_are_told() -> None:
    story = Story(resume_plan={"hits": 3}).runs().issues("find it")
    story.lines.append(HeldLine(at_ms=NOW, index=CallIndex(0)))
    story.lines.append(WarningLine(at_ms=NOW, code="concurrency_changed", message="8 at once"))
    assert fields_of(story, "resume_plan")[0]["plan"] == {"hits": 3}
    assert fields_of(story, "agent_held")[0]["label"] == "find it"
    assert fields_of(story, "concurrency_changed")[0]["message"] == "8 at once"


def test_w119_token_budget_is_told_at_its_marks_once() -> None:
    story = Story(budget_tokens=100).runs()
    for index, spent in enumerate((49, 50, 51, 79, 80, 99, 130, 140)):
        story.issues().starts(index).gives(index, spent=spent)
    budget = fields_of(story, "budget")
    assert [(event["percent"], event["spent"]) for event in budget] == [(50, 50), (80, 80), (100, 130)]


def test_w119_one_jump_over_all_marks_tells_each() -> None:
    story = Story(max_cost_nanousd=10).runs().issues().starts(0).gives(0, used=usage(1, 10))
    assert tuple(event["percent"] for event in fields_of(story, "budget")) == BUDGET_PERCENTS
    assert {event["budget"] for event in fields_of(story, "budget")} == {"cost"}


def test_w119_pause_at_the_cap_tells_that_all_of_it_is_used() -> None:
    story = Story(max_cost_nanousd=10).runs().goes("running", "paused", reason="budget")
    assert fields_of(story, "budget")[-1]["percent"] == 100
    story.goes("paused", "running", reason="resumed", max_cost_nanousd=40).issues().starts(0)
    story.gives(0, used=usage(1, 20))
    assert fields_of(story, "budget")[-1] | {"percent": 50, "total": 40} == fields_of(story, "budget")[-1]


def test_w119_run_without_a_budget_tells_of_none() -> None:
    story = Story().runs().issues().starts(0).gives(0, used=usage(10**9, 10**12), spent=10**9)
    assert fields_of(story, "budget") == []


def test_numbered_event_carries_its_number_and_the_host() -> None:
    event = Story().events("host-7")[0]
    text = msgspec.json.decode(event.numbered(1))
    assert (text["seq"], text["epoch"], text["type"], text["at_ms"]) == (1, "host-7", "workflow_run.created", NOW)
    assert text["workflow_run_id"] == "wrun_0123456789ab"


@pytest.mark.parametrize("kind", ["invalid_script", "max_workflow_runs_error"])
def test_w04_run_that_never_came_to_be_tells_one_error(kind: str) -> None:
    text = msgspec.json.decode(refused_start(kind, "2:1 no", NOW, epoch="host").numbered(1))
    assert text["type"] == "workflow_run.error" and text["workflow_run_id"] is None
    assert text["error"] == {"type": kind, "message": "2:1 no"}
