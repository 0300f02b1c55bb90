"""The shapes of Claude Code's stream."""

from typing import Any

import pytest

from runtime.core.views.taskstream import (
    LATE_MS,
    task_notification,
    task_progress,
    task_started,
    task_updated,
)
from tests.runtime.core.story import Story, usage


def snapshot(story: Story, now_ms: int | None = None) -> dict[str, Any]:
    found = task_progress(story.view(), story.now_ms if now_ms is None else now_ms, task_id="w1")
    assert found is not None
    return found


def test_w181_start_names_the_workflow() -> None:
    started = task_started(Story().spec, task_id="w1", tool_use_id="toolu_1")
    assert (started["subtype"], started["task_type"], started["task_id"]) == ("task_started", "local_workflow", "w1")
    assert (started["workflow_name"], started["description"], started["tool_use_id"]) == ("audit", "Audits", "toolu_1")


def test_w181_progress_is_a_whole_snapshot() -> None:
    story = Story(phases=("Find",)).runs().issues("look", phase="Find").issues("more").starts(0)
    story.gives(0, '"found"', usage(12, tools=3))
    progress = snapshot(story)
    assert progress["usage"] == {"total_tokens": 12, "tool_uses": 3, "duration_ms": 4_000}
    phases = [row for row in progress["workflow_progress"] if row["type"] == "workflow_phase"]
    agents = [row for row in progress["workflow_progress"] if row["type"] == "workflow_agent"]
    assert [(row["index"], row["title"]) for row in phases] == [(0, "Find"), (1, "(no phase)")]
    assert [(row["label"], row["phaseIndex"], row["phaseTitle"]) for row in agents] == [
        ("look", 0, "Find"),
        ("more", 1, "(no phase)"),
    ]
    assert (agents[0]["agentId"], agents[0]["tokens"], agents[0]["resultPreview"]) == ("a0-1", 12, "found")


def test_w92_states_have_the_names_of_the_stream() -> None:
    story = Story().runs()
    for _ in range(6):
        story.issues()
    story.starts(0).gives(0).starts(1).throws(1).gives_cached(2).is_stopped(3, "skipped").starts(4)
    states = [row["state"] for row in snapshot(story)["workflow_progress"] if row["type"] == "workflow_agent"]
    assert states == ["done", "error", "cached", "error", "start", "start"]


def test_w181_update_is_a_patch() -> None:
    assert task_updated(Story().runs().view(), task_id="w1")["patch"] == {"status": "running", "end_time": None}
    story = Story().runs().ends("stopped")
    assert task_updated(story.view(), task_id="w1")["patch"] == {"status": "killed", "end_time": story.now_ms}


def test_w181_notification_says_how_it_ended() -> None:
    story = Story().runs().ends("stopped")
    told = task_notification(story.view(), task_id="w1", output_file="/x")
    assert (told["status"], told["summary"]) == ("stopped", 'Dynamic workflow "Audits" stopped')
    assert told["output_file"] == "/x"


def test_w181_run_that_goes_on_has_no_notification() -> None:
    with pytest.raises(ValueError, match="nothing to notify"):
        task_notification(Story().runs().view(), task_id="w1", output_file=None)


def test_w181_late_snapshot_is_allowed_for_a_while() -> None:
    story = Story().runs().ends()
    assert snapshot(story, story.now_ms + LATE_MS)["usage"]["duration_ms"] == 1_000
    assert task_progress(story.view(), story.now_ms + LATE_MS + 1, task_id="w1") is None
