"""What an ended run hands back: result, notification, values."""

import json
import re
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.journal import EndedLine
from runtime.core.limits import RESULT_BYTES_MAX
from runtime.core.model import Failure, RunId, Worktree
from runtime.report import (
    FAILURES_CHARS_MAX,
    FAILURES_MAX,
    PAGE_CHARS_MAX,
    PAGE_ROWS_MAX,
    RESULT_CHARS_MAX,
    WORKTREES_MAX,
    NotEnded,
    Notification,
    build_notification,
    notification_row,
    page_values,
    render,
    result_of,
)
from tests.runtime.core.story import Story, stories, usage


def notified(story: Story) -> Notification:
    end = story.lines[-1]
    assert isinstance(end, EndedLine)
    return build_notification(story.view(), end, task_id="w1", tool_use_id="toolu_1")


def rendered(story: Story) -> ElementTree.Element:
    return ElementTree.fromstring(render(notified(story)))


def finished(**changed: Any) -> Story:
    return (
        Story(**changed).runs().issues("look", label="scan").starts(0).gives(0, used=usage(9, 1_500_000_001, tools=2))
    )


def test_w173_notification_tells_how_it_went() -> None:
    told = rendered(finished().ends(value='{"found":[1]}'))
    texts = {child.tag: child.text for child in told}
    assert (texts["task-id"], texts["tool-use-id"], texts["status"]) == ("w1", "toolu_1", "completed")
    assert texts["run-id"] == "wf_0123456789ab" and texts["summary"] == 'Dynamic workflow "Audits" completed'
    assert json.loads(texts["result"] or "") == {"found": [1]}


def test_w173_usage_has_every_count() -> None:
    story = Story().runs()
    for _ in range(8):
        story.issues()
    story.starts(0).gives(0, used=usage(10, 5, tools=3)).starts(1).gives_null(1, "api_error", usage(1))
    story.starts(2).gives_null(2, "empty").starts(3).throws(3).is_refused(4).is_stopped(5, "skipped")
    story.is_stopped(6, "stopped").gives_cached(7, usage(40))
    assert notified(story.ends()).usage == {
        "agent_count": 8,
        "agents_done": 1,
        "agents_error": 2,
        "agents_skipped": 2,
        "agents_empty_result": 1,
        "agents_refused": 1,
        "agents_cached": 1,
        "subagent_tokens": 11,
        "tokens_replayed": 40,
        "tool_uses": 3,
        "duration_ms": 21_000,
        "list_cost_usd": "0.0001",
    }


@pytest.mark.parametrize(
    ("cost_nanousd", "text"),
    [(0, "0.0000"), (1, "0.0001"), (1_500_000_000, "1.5000"), (1_500_000_001, "1.5001"), (None, "at least 0.0000")],
)
def test_w173_cost_is_never_shown_lower_than_it_is(cost_nanousd: int | None, text: str) -> None:
    story = Story().runs().issues().starts(0).gives(0, used=usage(1, cost_nanousd)).ends()
    assert notified(story).usage["list_cost_usd"] == text


def test_w173_failures_name_agent_and_reason_and_the_rest_is_counted() -> None:
    story = Story().runs()
    for index in range(FAILURES_MAX + 5):
        story.issues(label=f"scan:{index}").starts(index).gives_null(index, "api_error", detail="429 no")
    told = notified(story.ends())
    assert told.failures[0] == "[scan:0] agent 0 error: api_error: 429 no"
    assert (len(told.failures), told.failures_left) == (FAILURES_MAX, 5)
    assert (rendered(story).findtext("failures") or "").endswith("and 5 more")


def test_w173_block_of_failures_stays_small_however_long_they_are() -> None:
    story = Story().runs()
    for index in range(FAILURES_MAX):
        story.issues(label="<" * 60).starts(index).gives_null(index, "api_error", detail="&" * 900)
    told = notified(story.ends())
    block = re.search(r"<failures>(.*)</failures>", render(told), re.DOTALL)
    assert block is not None and len(block[1]) <= FAILURES_CHARS_MAX + len("\nand 10 more")
    assert len(told.failures) + told.failures_left == FAILURES_MAX and told.failures


def test_w173_run_without_failures_has_no_such_block() -> None:
    assert rendered(finished().ends()).find("failures") is None


def test_w173_failed_run_tells_its_error_instead_of_a_result() -> None:
    told = rendered(finished().fails())
    assert told.findtext("status") == "failed" and told.find("result") is None
    assert told.findtext("error") == "Error: boom (program_error, script_threw)"


@pytest.mark.parametrize(("state", "word"), [("stopped", "stopped"), ("denied", "stopped")])
def test_w173_stopped_run_says_so(state: Any, word: str) -> None:
    told = rendered(finished().ends(state, message="by alice"))
    assert (told.findtext("status"), told.findtext("error")) == (word, "Error: by alice")


def test_w172_long_result_is_clipped_with_a_pointer() -> None:
    told = notified(finished().ends(value='"' + "x" * 100_000 + '"'))
    text = re.search(r"<result>(.*)</result>", render(told), re.DOTALL)
    assert text is not None and len(text[1]) < RESULT_CHARS_MAX + 120
    assert "100002 characters in all, at /ringfence/v1/runs/wf_0123456789ab/result" in text[1]


def test_w172_result_of_the_size_limit_is_not_clipped() -> None:
    told = notified(finished().ends(value='"' + "x" * (RESULT_CHARS_MAX - 2) + '"'))
    assert "[cut:" not in render(told)


def test_w172_result_is_in_place_up_to_a_mebibyte_and_referenced_beyond() -> None:
    def end(size: int) -> dict[str, Any]:
        line = finished().ends(value='"' + "x" * (size - 2) + '"').lines[-1]
        assert isinstance(line, EndedLine)
        return result_of(line, RunId("wf_0123456789ab"))

    assert end(RESULT_BYTES_MAX)["artefact"] is None and end(RESULT_BYTES_MAX)["value"] is not None
    beyond = end(RESULT_BYTES_MAX + 1)
    assert beyond["value"] is None and beyond["artefact"]["bytes"] == RESULT_BYTES_MAX + 1
    assert len(beyond["artefact"]["sha256"]) == 64


def test_w172_failed_run_has_its_failure_for_a_result() -> None:
    line = finished().fails().lines[-1]
    assert isinstance(line, EndedLine)
    assert (result_of(line, RunId("wf_1"))["value"], result_of(line, RunId("wf_1"))["failure"].message) == (
        None,
        "boom",
    )


def test_w175_resume_is_told_as_something_for_the_user_to_ask_for() -> None:
    assert (rendered(finished().ends("stopped")).findtext("resume") or "").startswith("Only if the user asks")
    assert rendered(Story().runs().ends("stopped")).find("resume") is None


def test_w59_worktrees_that_are_kept_are_told_with_path_branch_and_base() -> None:
    kept = Worktree(path="/w/a", branch="ringfence/a", base="abc", changed=True)
    gone = Worktree(path=None, branch=None, base="abc", changed=False)
    story = Story().runs().issues(label="port").issues().starts(0).starts(1)
    told = notified(story.gives(0, worktree=kept).gives(1, worktree=gone).ends())
    assert told.worktrees == ("[port] agent 0: /w/a, branch ringfence/a, from abc",)
    assert rendered(story).findtext("worktree") == told.worktrees[0]


def test_w59_more_worktrees_than_are_told_are_counted() -> None:
    story = Story().runs()
    for index in range(WORKTREES_MAX + 3):
        kept = Worktree(path=f"/w/{index}", branch="b", base="abc", changed=True)
        story.issues().starts(index).gives(index, worktree=kept)
    assert (len(notified(story.ends()).worktrees), notified(story).worktrees[-1]) == (WORKTREES_MAX + 1, "and 3 more")


def test_w173_notification_is_had_as_members_and_as_the_text_for_the_parent() -> None:
    row = notification_row(notified(finished().ends(value='"' + "x" * 20_000 + '"')))
    assert (row["status"], row["usage"]["agents_done"], len(row["result"])) == ("completed", 1, RESULT_CHARS_MAX)
    assert row["result_chars"] == 20_002 and row["text"].startswith("<task-notification>")


@settings(max_examples=200)
@given(st.text(max_size=60), st.text(max_size=60))
def test_w177_nothing_that_is_written_leaves_the_envelope(text: str, more: str) -> None:
    value = msgspec.json.encode({"a": text.encode(errors="replace").decode(), "</result>": "</task-notification>"})
    story = Story(name=text or "n", description=more).runs().issues(label=more or "l").starts(0)
    story.gives_null(0, "api_error", detail=text).warns("odd", more).ends(value=value.decode())
    root = rendered(story)
    assert [child.tag for child in root if child.tag in ("result", "failures", "usage", "note")] == [
        "note",
        "result",
        "failures",
        "usage",
    ]
    assert json.loads(root.findtext("result") or "") == json.loads(value)


def test_w177_envelope_says_that_it_holds_data_before_anything_else_that_was_written() -> None:
    tags = [child.tag for child in rendered(finished().ends())]
    assert tags.index("note") < tags.index("summary") < tags.index("result")


def test_w177_what_cannot_be_seen_is_shown() -> None:
    text = render(notified(finished(description="a\u202eb").warns("odd", "\u200bx").ends(value='"\u2066"')))
    assert not set(text) & set("\u202e\u200b\u2066")
    assert "\\u{202E}" in text and "\\u2066" in text


@settings(max_examples=100, deadline=None)
@given(stories(ended=True))
def test_w173_every_ended_run_can_be_told(story: Story) -> None:
    told = rendered(story)
    usage_block = told.find("usage")
    assert usage_block is not None and int(usage_block.findtext("agent_count") or "-1") == len(story.calls)


def test_w173_open_run_is_not_told() -> None:
    story = Story().runs()
    end = finished().ends().lines[-1]
    assert isinstance(end, EndedLine)
    with pytest.raises(NotEnded):
        build_notification(story.view(), end, task_id="w1")


def many(count: int, size: int = 3) -> Story:
    story = Story().runs()
    for index in range(count):
        story.issues(label=f"l{index % 2}").starts(index).gives(index, '"' + "x" * (size - 2) + '"')
    return story.ends()


def test_w176_values_come_fifty_at_a_time() -> None:
    story = many(PAGE_ROWS_MAX + 2)
    first = page_values(story.lines)
    assert (len(first.rows), first.after, first.offset) == (PAGE_ROWS_MAX, PAGE_ROWS_MAX - 1, 0)
    rest = page_values(story.lines, after=first.after or 0)
    assert [row["index"] for row in rest.rows] == [50, 51] and rest.after is None


def test_w176_page_holds_so_many_characters() -> None:
    story = many(5, PAGE_CHARS_MAX // 2)
    page = page_values(story.lines)
    assert ([row["index"] for row in page.rows], page.after) == ([0, 1], 1)


def test_w176_value_larger_than_a_page_is_read_piece_by_piece() -> None:
    story = many(2, PAGE_CHARS_MAX * 2 + 10)
    after, offset = -1, 0
    pieces: list[tuple[int, str]] = []
    while True:
        page = page_values(story.lines, after=after, offset=offset)
        pieces += [(row["index"], row["json"]) for row in page.rows]
        if page.after is None or page.offset is None:
            break
        after, offset = page.after, page.offset
    whole = ["".join(text for number, text in pieces if number == index) for index in (0, 1)]
    assert [len(json.loads(text)) for text in whole] == [PAGE_CHARS_MAX * 2 + 8] * 2
    assert max(len(text) for _, text in pieces) <= PAGE_CHARS_MAX


def test_w176_values_are_found_by_label() -> None:
    page = page_values(many(6).lines, label="l1")
    assert [(row["index"], row["label"]) for row in page.rows] == [(1, "l1"), (3, "l1"), (5, "l1")]


def test_w176_call_without_a_value_tells_why() -> None:
    story = Story().runs().issues().issues().issues().issues().starts(0).gives_null(0, "empty").is_refused(1)
    story.is_stopped(2, "skipped").ends()
    page = page_values(story.lines)
    assert [(row["json"], row["state"], row["reason"]) for row in page.rows] == [
        ("null", "error", "empty"),
        ("null", "error", "agent_limit"),
        ("null", "skipped", "skipped"),
        ("null", "stopped", "run_ended"),
    ]


def test_w176_values_of_an_open_run_are_not_handed_out() -> None:
    with pytest.raises(NotEnded):
        page_values(finished().lines)


def test_w173_error_that_names_itself_is_not_called_an_error_twice() -> None:
    failure = Failure(type="program_error", detail="script_threw", message="TypeError: no x")
    story = Story().runs().ends("failed", failure=failure)
    assert "<error>TypeError: no x (program_error, script_threw)</error>" in render(notified(story))
