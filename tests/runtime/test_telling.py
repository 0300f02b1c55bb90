"""What is told of a run, line by line."""

import msgspec

from runtime.telling import Telling
from tests.runtime.core.story import Story


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
