"""What is told of a run, line by line."""

import msgspec

from runtime.telling import Telling
from tests.runtime.core.story import Story
from tests.runtime.driving import Ear


def test_w179_events_are_numbered_densely_over_all_lines() -> None:
    story = Story().runs().issues().starts(0).gives(0).ends()
    telling = Telling(story.spec, "host")
    rows = [row for line in story.lines for row in telling.feed(line)]
    assert [row.seq for row in rows] == list(range(1, telling.seq + 1))
    assert [msgspec.json.decode(row.text)["seq"] for row in rows] == [row.seq for row in rows]
    assert rows[-1].type == "workflow_run.status_ended"


def test_w93_view_stands_where_the_events_do() -> None:
    story = Story().runs().issues().starts(0).gives(0)
    telling = Telling(story.spec, "host")
    for line in story.lines:
        telling.feed(line)
    assert telling.view.record(story.now_ms) == story.record()


def test_w190_each_call_is_told_once_by_its_end_and_tries_are_not() -> None:
    story = Story().runs()
    for _ in range(6):
        story.issues()
    story.starts(0).tries_again(0).gives(0).gives_cached(1).is_refused(2).starts(3).gives_null(3, "empty")
    story.starts(4).throws(4).starts(5).is_stopped(5, "restarted").starts(5).is_stopped(5)
    telling, ear = Telling(story.spec, "host"), Ear()
    for line in story.lines:
        telling.feed(line)
        telling.report(line, ear, story.now_ms)
    assert ear.settled == ["done", "cached", "refused", "null", "threw", "stopped"]
