"""A run as people see it: phases, states, tokens, census, and that the fold of the journal is what was shown live."""

import itertools
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from runtime.core.journal import HeldLine, MessageLine
from runtime.core.limits import INLINE_BYTES_MAX
from runtime.core.model import CallIndex, Outcome, RunState, Usage, Worktree
from runtime.core.views.view import WARNINGS_MAX, View, aged
from tests.runtime.core.play import NOW, RETURNED, Play, agent, null, thrown, value
from tests.runtime.core.story import SECOND_MS, Story, stories, usage


def phase_of(record: dict[str, Any], title: str) -> dict[str, Any]:
    return next(phase for phase in record["phases"] if phase["title"] == title)


def titles(record: dict[str, Any]) -> list[str]:
    return [phase["title"] for phase in record["phases"]]


def test_w91_phase_counts_agents_by_state_with_tokens_and_time() -> None:
    story = Story(phases=("Find",)).runs().issues(phase="Find").issues(phase="Find").issues(phase="Find")
    story.starts(0).starts(1).gives(0, used=usage(30))
    phase = phase_of(story.record(), "Find")
    assert phase["agents"] == {"queued": 1, "running": 1, "done": 1}
    assert (phase["total"], phase["tokens"], phase["elapsed_ms"]) == (3, 30, 5 * SECOND_MS)


def test_w91_time_of_a_phase_stops_when_nothing_of_it_is_open() -> None:
    story = Story().runs().issues(phase="Find").starts(0).gives(0).logs().logs()
    phase = phase_of(story.record(), "Find")
    assert phase["elapsed_ms"] == 2 * SECOND_MS and phase["ended_ms"] is not None


def test_w91_agent_row_tells_what_is_known_of_it() -> None:
    story = Story().runs().issues("look\n at it", phase="Find", model="opus").starts(0)
    story.gives(0, '{"a":1}', usage(9, 5, tools=2), model="claude-opus-5", schema_attempts=2)
    row = story.view().agents(story.now_ms)[0]
    assert (row["index"], row["agent_id"], row["label"], row["phase"]) == (0, "a0-1", "look at it", "Find")
    assert (row["state"], row["model"], row["tokens"], row["tool_calls"]) == ("done", "claude-opus-5", 9, 2)
    assert (row["elapsed_ms"], row["schema_attempts"], row["reason"]) == (SECOND_MS, 2, None)


def test_w91_agent_detail_has_prompt_result_and_past_attempts() -> None:
    story = Story().runs().issues("p" * 5_000, model="opus").starts(0).tries_again(0, usage(3)).gives(0, '"fine"')
    detail = story.view().agent(0, story.now_ms)
    assert detail is not None and detail["prompt_chars"] == 5_000 and len(detail["prompt"]) < 5_000
    assert (detail["result_preview"], detail["options"]) == ("fine", {"model": "opus"})
    assert [past["end"] for past in detail["past_attempts"]] == ["stalled", "done"]


def test_w91_recent_tools_are_shown_while_the_agent_works() -> None:
    story = Story().runs().issues().starts(0)
    view = story.view()
    for number in range(7):
        view.progressed(CallIndex(0), Usage(), f"Read f{number}")
    detail = view.agent(0, story.now_ms)
    assert detail is not None and detail["recent_tools"] == [f"Read f{number}" for number in range(2, 7)]
    assert detail["tool_calls"] == 7
    view.feed(story.gives(0).lines[-1])
    assert (view.agent(0, story.now_ms) or {})["recent_tools"] == []


def test_w91_agents_are_paged_and_filtered() -> None:
    story = Story().runs()
    for _ in range(5):
        story.issues()
    view = story.starts(3).view()
    assert [row["index"] for row in view.agents(NOW, after=1, most=2)] == [2, 3]
    assert [row["index"] for row in view.agents(NOW, state="running")] == [3]
    assert view.agent(5, NOW) is None and view.agent(-1, NOW) is None


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (lambda story: story.gives(0), "done", None),
        (lambda story: story.gives_null(0, "api_error"), "error", "api_error"),
        (lambda story: story.gives_null(0, "empty"), "error", "empty"),
        (lambda story: story.throws(0), "error", "schema_retries_exhausted"),
        (lambda story: story.is_refused(0), "error", "agent_limit"),
        (lambda story: story.is_stopped(0, "stopped"), "stopped", "stopped"),
        (lambda story: story.is_stopped(0, "skipped"), "skipped", "skipped"),
        (lambda story: story.is_stopped(0, "unawaited"), "stopped", "unawaited"),
        (lambda story: story.is_stopped(0, "restarted"), "queued", None),
        (lambda story: story.is_stopped(0, "interrupted"), "queued", None),
        (lambda story: story.gives_cached(0), "cached", None),
        (lambda story: story, "queued", None),
        (lambda story: story.starts(0), "running", None),
    ],
    ids=["value", "null", "empty", "throw", "refused", "stopped", "skipped", "unawaited", "restarted", "interrupted",
         "cached", "issued", "started"],
)  # fmt: skip
def test_w92_every_end_has_its_state(end: Any, state: str, reason: str | None) -> None:
    row = end(Story().runs().issues()).view().agents(NOW)[0]
    assert (row["state"], row["reason"]) == (state, reason)


def test_w92_held_agent_is_shown_until_it_starts() -> None:
    story = Story().runs().issues().issues()
    view = story.view()
    view.feed(HeldLine(at_ms=NOW, index=CallIndex(1)))
    assert [row["state"] for row in view.agents(NOW)] == ["queued", "held"]
    view.feed(story.starts(1).lines[-1])
    assert view.agents(NOW)[1]["state"] == "running"


def test_w92_answering_agent_is_told_from_one_that_waits_for_its_first_byte() -> None:
    story = Story().runs().issues().starts(0)
    view = story.view()
    assert not view.agents(NOW)[0]["answering"]
    view.began(CallIndex(0))
    assert view.agents(NOW)[0]["answering"]


def test_w93_live_tokens_count_and_give_way_to_what_was_settled() -> None:
    story = Story().runs().issues(phase="Find").starts(0)
    view = story.view()
    view.progressed(CallIndex(0), usage(10, 100))
    view.progressed(CallIndex(0), usage(5, None))
    live = view.record(story.now_ms)
    assert (live["usage"]["new"]["total_tokens"], live["usage"]["new"]["cost_complete"]) == (15, False)
    assert (phase_of(live, "Find")["tokens"], view.agents(NOW)[0]["tokens"]) == (15, 15)
    view.feed(story.gives(0, used=usage(17, 170)).lines[-1])
    settled = view.record(story.now_ms)["usage"]["new"]
    assert (settled["total_tokens"], settled["cost_nanousd"], settled["cost_complete"]) == (17, 170, True)


def test_w93_totals_include_attempts_that_led_to_nothing() -> None:
    story = Story().runs().issues().issues().issues().issues().starts(0).starts(1).starts(2).starts(3)
    story.tries_again(0, usage(1, 1)).is_stopped(0, "restarted", usage(2, 2)).starts(0).gives(0, used=usage(4, 4))
    story.is_stopped(1, "stopped", usage(8, 8)).throws(2, used=usage(16, 16)).gives_null(3, "api_error", usage(32, 32))
    record = story.ends().record()
    assert (record["usage"]["new"]["total_tokens"], record["usage"]["new"]["cost_nanousd"]) == (63, 63)
    assert story.view().agents(NOW)[0]["tokens"] == 7


def test_w93_late_progress_of_an_ended_attempt_counts_nothing() -> None:
    story = Story().runs().issues().starts(0).gives(0, used=usage(3))
    view = story.view()
    view.progressed(CallIndex(0), usage(99), "Read late")
    assert view.record(NOW)["usage"]["new"]["total_tokens"] == 3


def test_w87_calls_outside_every_phase_stand_under_their_own_name() -> None:
    record = Story(phases=("Find",)).runs().issues().record()
    assert titles(record) == ["Find", "(no phase)"]


def test_w87_declared_phase_without_calls_is_hidden_once_the_run_has_ended() -> None:
    story = Story(phases=("Find", "Never")).runs().issues(phase="Find")
    assert titles(story.record()) == ["Find", "Never"]
    assert titles(story.ends().record()) == ["Find"]


def test_w85_same_title_is_the_same_group_wherever_it_comes_from() -> None:
    story = Story(phases=("Find",)).runs().names_phase("Find").issues(phase="Find").names_phase("Find")
    record = story.record()
    assert titles(record) == ["Find"] and record["phases"][0]["total"] == 1


def test_w108_phases_of_a_nested_workflow_stand_under_its_name() -> None:
    story = Story(phases=("Find",)).runs().nests(7, "child").names_phase("Find", nested=8)
    story.issues(phase="Find", nested=8).issues(phase="Find")
    record = story.record()
    assert [(phase["title"], phase["workflow"], phase["total"]) for phase in record["phases"]] == [
        ("Find", None, 1),
        ("Find", "child", 1),
    ]


def test_w21_names_and_descriptions_are_cut_for_display() -> None:
    record = Story(name="n" * 100, description="d" * 400, phases=("p" * 100,)).record()
    assert (len(record["name"]), len(record["description"]), len(record["phases"][0]["title"])) == (64, 256, 64)
    assert record["name"].startswith("nnn")


def test_w177_what_cannot_be_seen_is_shown_as_its_number() -> None:
    story = Story(name="a\u202eb").runs().issues("x", label="l\x1b[2J").warns("odd", "w\u200b")
    record = story.record()
    assert (record["name"], record["warnings"]) == ("a\\u{202E}b", ["odd: w\\u{200B}"])
    assert story.view().agents(NOW)[0]["label"] == "l\\u{001B}[2J"


def test_w174_census_adds_up_and_is_in_the_record() -> None:
    story = Story().runs()
    for _ in range(7):
        story.issues()
    story.starts(0).gives(0).starts(1).gives_null(1, "api_error").starts(2).throws(2).is_refused(3)
    story.is_stopped(4, "stopped").gives_cached(5)
    record = story.ends().record()
    assert record["outcome"] == {
        "planned": 7, "done": 1, "null": 1, "threw": 1, "refused": 1, "stopped": 2, "cached": 1,
    }  # fmt: skip
    assert record["degraded"] and sum(record["outcome"].values()) == 2 * record["outcome"]["planned"]


def test_w174_census_of_the_view_is_that_of_the_machine() -> None:
    play = Play().launched(*(agent(id) for id in range(5)))
    play.ends(0, value())
    play.ends(1, null("api_error"))
    play.ends(2, thrown())
    play.drains(end=RETURNED)
    view = View(play.machine.run.spec)
    for line in play.lines:
        view.feed(line)
    assert view.counts.outcome() == view.outcome == play.machine.run.census.outcome()
    assert view.outcome == Outcome(planned=5, done=1, null=1, threw=1, stopped=2)


def test_w123_completed_run_without_a_value_says_so() -> None:
    story = Story().runs().issues().starts(0).gives_null(0, "api_error").ends()
    status = story.record()["status"]
    assert status["text"] == "completed with no usable results" and status["result"] == "completed"


@pytest.mark.parametrize(
    ("state", "claude_code", "managed", "result"),
    [
        ("pending_approval", "pending", "idle", None),
        ("queued", "pending", "idle", None),
        ("running", "running", "running", None),
        ("paused", "paused", "idle", None),
        ("completed", "completed", "ended", "completed"),
        ("failed", "failed", "ended", "error"),
        ("stopped", "killed", "ended", "stopped"),
        ("denied", "killed", "ended", "stopped"),
    ],
)
def test_w124_state_is_told_in_the_words_of_others(
    state: RunState, claude_code: str, managed: str, result: str | None
) -> None:
    status = Story().goes("queued", state).record()["status"]
    assert (status["claude_code"], status["managed"], status["result"]) == (claude_code, managed, result)


def test_w117_new_and_replayed_tokens_are_apart() -> None:
    story = Story(budget_tokens=1_000).runs().issues().issues().gives_cached(0, usage(40, 4))
    record = story.starts(1).gives(1, used=usage(2, 1), spent=42).record()
    assert (record["usage"]["new"]["total_tokens"], record["usage"]["replayed"]["total_tokens"]) == (2, 40)
    assert record["budget"]["tokens"] == {"total": 1_000, "spent": 42}
    assert record["budget"]["cost"]["spent_nanousd"] == 1


def test_w118_raised_cap_is_the_one_that_is_shown() -> None:
    story = Story(max_cost_nanousd=5).runs().goes("running", "paused", reason="budget", message="cap")
    assert story.record()["pauses"][0]["reason"] == "budget"
    record = story.goes("paused", "running", reason="resumed", max_cost_nanousd=9).record()
    assert (record["budget"]["cost"]["cap_nanousd"], record["pauses"]) == (9, [])


def test_w192_large_run_is_told_of_and_a_small_one_is_not() -> None:
    story = Story(limits={"warn_agents": 2}).runs().issues().issues()
    assert story.record()["size_warning"] is None
    assert "3 agents" in story.issues().record()["size_warning"]


def test_w192_refused_calls_do_not_make_a_run_large() -> None:
    story = Story(limits={"warn_agents": 2}).runs().issues().issues().issues().is_refused(2)
    assert story.record()["size_warning"] is None


def test_w193_projection_stands_in_the_record() -> None:
    story = Story().runs().issues().issues().issues().starts(0).gives(0, used=usage(100))
    assert story.record()["projection"] == {"tokens": 300}


def test_w125_failure_and_its_detail_are_shown() -> None:
    record = Story().runs().fails().record()
    assert record["failure"] == {"type": "program_error", "detail": "script_threw", "message": "boom"}
    assert record["result"] is None


def test_w176_record_never_holds_the_result() -> None:
    story = Story().runs().ends(value='"the secret answer"')
    assert "secret" not in msgspec.json.encode(story.record()).decode()
    assert story.record()["result"] == {"ref": None}


def test_w172_large_result_is_named_by_its_hash_live_and_from_the_store() -> None:
    story = Story().runs().ends(value='"' + "x" * INLINE_BYTES_MAX + '"')
    live = story.record()
    end: Any = story.lines[-1]
    story.lines[-1] = msgspec.structs.replace(end, value=msgspec.UNSET, ref=live["result"]["ref"])
    assert len(live["result"]["ref"]) == 64 and story.record() == live


def test_w175_resume_hint_is_there_only_when_something_can_be_kept() -> None:
    assert Story().runs().issues().ends("stopped").record()["resume_hint"] is None
    hint = Story().runs().issues().starts(0).gives(0).ends("stopped").record()["resume_hint"]
    assert hint.startswith("Only if the user asks")


def test_w136_messages_mark_the_call_as_steered() -> None:
    story = Story().runs().issues().starts(0).add(MessageLine, index=CallIndex(0), text="go left", by="alice")
    detail = story.view().agent(0, NOW)
    assert detail is not None and detail["steered"] and detail["messages"] == 1


def test_w59_kept_worktree_is_on_the_agent() -> None:
    tree = Worktree(path="/w/x", branch="b", base="c", changed=True)
    story = Story().runs().issues().starts(0).gives(0, worktree=tree)
    assert (story.view().agent(0, NOW) or {})["worktree"]["branch"] == "b"


def test_w90_logs_are_counted_with_those_that_were_dropped() -> None:
    assert Story().runs().logs().logs(dropped=3).record()["logs"] == {"lines": 2, "dropped": 3}


def test_warnings_are_kept_up_to_a_limit_and_counted_beyond() -> None:
    story = Story().runs()
    for number in range(WARNINGS_MAX + 3):
        story.warns("odd", str(number))
    record = story.record()
    assert (len(record["warnings"]), record["warnings_dropped"]) == (WARNINGS_MAX, 3)


def test_elapsed_time_runs_from_the_start_to_the_end() -> None:
    story = Story().goes("queued", "pending_approval").goes("pending_approval", "queued").runs().logs().ends()
    record = story.view().record(story.now_ms + 99_999)
    assert record["elapsed_ms"] == 2 * SECOND_MS
    paused = Story().runs().goes("running", "paused", reason="person").goes("paused", "running", reason="resumed")
    assert paused.record()["elapsed_ms"] == 2 * SECOND_MS
    assert Story().view().record(NOW + 5)["elapsed_ms"] == 0


@settings(max_examples=200, deadline=None)
@given(stories(ended=True))
def test_fold_from_the_store_is_what_was_shown_live(story: Story) -> None:
    live = View(story.spec)
    for line in story.lines:
        live.feed(line)
        for index, call in live.counts.calls.items():
            if call.state == "running":
                live.progressed(CallIndex(index), usage(7, None), "Read x")
                live.began(CallIndex(index))
    assert live.record(0) == story.view().record(0)
    assert live.agents(0) == story.view().agents(0)


@settings(max_examples=200, deadline=None)
@given(stories())
def test_parts_always_add_up(story: Story) -> None:
    record = story.record()
    agents = record["agents"]
    assert sum(agents.get(state, 0) for state in STATES) == agents["total"] == record["outcome"]["planned"]
    assert sum(phase["tokens"] for phase in record["phases"]) == record["usage"]["new"]["total_tokens"]
    assert record["projection"]["tokens"] >= record["usage"]["new"]["total_tokens"]


STATES = ("queued", "held", "running", "done", "error", "stopped", "skipped", "cached")


def test_thousand_calls_are_folded_and_shown_in_little_time() -> None:
    story = Story(phases=("Find",)).runs()
    for index in range(1_000):
        story.issues(phase="Find").starts(index)
    for index in range(1_000):
        story.gives(index, used=usage(3, 5))
    begun = time.process_time()
    view = story.view()
    for _ in range(100):
        view.record(NOW)
    seconds = time.process_time() - begun
    assert view.record(NOW)["phases"][0]["agents"] == {"done": 1_000}
    assert seconds < 1.0
    assert len(list(itertools.chain(view.agents(NOW, most=600), view.agents(NOW, after=599)))) == 1_000


def test_w81_refusals_are_told_by_their_reason() -> None:
    story = Story().runs().issues().issues().issues().is_refused(0).is_refused(1, "budget_exhausted").is_refused(2)
    record = story.ends().record()
    assert record["refusals"] == {"agent_limit": 2, "budget_exhausted": 1}
    assert record["outcome"]["refused"] == 3


def test_w91_record_that_was_written_down_goes_on_in_time_while_the_run_is_open() -> None:
    story = Story().runs().issues(phase="Find").starts(0).issues(phase="Fix").starts(1).gives(1)
    written = story.record()
    later = aged(msgspec.json.decode(msgspec.json.encode(written)), story.now_ms + 60 * SECOND_MS)
    assert later["elapsed_ms"] == written["elapsed_ms"] + 60 * SECOND_MS
    assert phase_of(later, "Find")["elapsed_ms"] == phase_of(written, "Find")["elapsed_ms"] + 60 * SECOND_MS
    assert phase_of(later, "Fix") == phase_of(written, "Fix")


def test_w91_record_of_an_ended_run_does_not_age() -> None:
    record = Story().runs().issues(phase="Find").starts(0).gives(0).ends().record()
    assert aged(dict(record), 10**15) == record


def test_w140_record_of_a_run_that_waits_for_an_approval_says_why() -> None:
    story = Story(approval="person").goes("queued", "pending_approval", reason="approval", message="every run is")
    asked = story.record()["approval"]
    assert (asked["by"], asked["reason"], asked["since_ms"]) == ("person", "every run is", story.now_ms)
    assert story.goes("pending_approval", "queued", reason="approved", by="bob").record()["approval"] is None
    denied = Story().goes("queued", "pending_approval").ends("denied")
    assert denied.record()["approval"] is None
