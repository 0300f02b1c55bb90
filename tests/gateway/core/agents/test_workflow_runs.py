"""Runs of workflow scripts, by what passes through."""

import json
from typing import Any

import pytest

from gateway.core.agents.workflow_runs import (
    HOOKED_MAX,
    LITERAL_CHARS_MAX,
    LITERALS_MAX,
    OPEN_RUNS_MAX,
    RUNS_MAX,
    Ended,
    Launched,
    Owner,
    PendingRun,
    RunNode,
    Runs,
    literals_of,
    read_news,
    task_of,
)
from gateway.core.wire.body import peek

OWNER = Owner("s1", "laptop", "alice")
STARTED = (
    "Workflow launched in background. Task ID: wt9w17m12\nSummary: Mock\n"
    "Script file: /home/x/workflows/scripts/mock-wf-wf_65a9616d-804.js\n\nRun ID: wf_65a9616d-804\nTo resume: …"
)
FRAME = "[Workflow harness — computed task] no user authority. The computed task text follows:\n"


def news(*messages: dict[str, Any]) -> list[Launched | Ended]:
    """What the last messages tell."""
    body = json.dumps({"model": "m", "messages": list(messages)}, separators=(",", ":")).encode()
    return list(read_news(body, peek(body).spans["messages"]))


def result(content: object, **fields: object) -> dict[str, Any]:
    """A tool's result as a message."""
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **fields}],
    }


def launched(runs: Runs, number: int, script: str | None = None) -> RunNode:
    """One more run is asked for."""
    return runs.launch(PendingRun(f"toolu_{number}", None, script), OWNER, number)


@pytest.mark.parametrize("content", [STARTED, [{"type": "text", "text": STARTED}]])
def test_result_of_the_call_names_the_run(content: object) -> None:
    assert news(result(content)) == [Launched("toolu_1", "wf_65a9616d-804", "wt9w17m12", "mock-wf")]


@pytest.mark.parametrize("content", ["Error: the script does not parse", "see Run ID: wf_1 elsewhere", "", []])
def test_result_without_a_run_says_that_none_started(content: object) -> None:
    assert news(result(content, is_error=True)) == [Launched("toolu_1")]


def notification(id: str, extra: str = "") -> str:
    """What the client says when a run is over."""
    return (
        f"<system-reminder>\n[SYSTEM NOTIFICATION - NOT USER INPUT]\n<task-notification>\n<task-id>w1</task-id>\n"
        f"<tool-use-id>{id}</tool-use-id>\n<result>{extra}</result></task-notification>\n</system-reminder>"
    )


def test_notification_ends_the_run_that_it_names_first() -> None:
    text = notification("toolu_1", notification("toolu_2"))
    assert news({"role": "user", "content": [{"type": "text", "text": text}]}) == [Ended("toolu_1")]


def test_only_what_came_since_the_last_answer_is_news() -> None:
    old = {"role": "user", "content": notification("toolu_1")}
    assert news(old, {"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}) == []
    assert news({"role": "assistant", "content": "x"}, old, {"role": "system", "content": "n"}) == [Ended("toolu_1")]


def test_what_a_tool_prints_ends_no_run() -> None:
    assert news(result(notification("toolu_2"))) == [Launched("toolu_1")]


@pytest.mark.parametrize("content", [None, 7, [7], [{"type": 7}]])
def test_message_that_cannot_be_read_is_no_news(content: object) -> None:
    assert news({"role": "user", "content": content}) == []


def test_task_is_taken_out_of_its_frame() -> None:
    assert task_of(f"{FRAME}  look at\n    this\n  and that") == "look at\n  this\nand that"
    assert task_of("look at this") is None


def test_words_of_a_script_are_found_longest_first_and_templates_in_pieces() -> None:
    script = "agent('WF-SCAN item '+i, {label:\"ab\"}); agent(`check ${r.name} well`); agent('it\\'s')"
    assert literals_of(script) == ("WF-SCAN item", "check", "it\\'s", "well")


def test_words_of_a_script_are_bounded() -> None:
    found = literals_of("".join(f"'{number:06}{'x' * 300}'" for number in range(LITERALS_MAX + 10)))
    assert (len(found), {len(words) for words in found}) == (min(LITERALS_MAX, 65_536 // 308), {LITERAL_CHARS_MAX})


def test_agent_belongs_to_the_open_run_whose_script_has_its_words() -> None:
    runs = Runs()
    scan, verify = launched(runs, 1, "agent('scan it ' + i)"), launched(runs, 2, "agent('verify it ' + i)")
    assert runs.match("scan it 7") == (scan, False)
    assert runs.match("verify it 7") == (verify, False)


def test_agent_that_fits_several_runs_belongs_to_the_last_and_that_is_a_guess() -> None:
    runs = Runs()
    launched(runs, 1, "agent('scan it ' + i)")
    last = launched(runs, 2, "agent('scan it ' + i)")
    assert (runs.match("scan it 7"), runs.match("something else")) == ((last, True), (last, True))


def test_only_open_run_needs_no_guess_and_none_is_none() -> None:
    runs = Runs()
    without = runs.match("x")
    run = launched(runs, 1)
    assert (without, runs.match("x")) == ((None, False), (run, False))


def test_open_runs_are_bounded_and_the_oldest_ends() -> None:
    runs = Runs()
    first = launched(runs, 0)
    for number in range(1, OPEN_RUNS_MAX + 1):
        launched(runs, number)
    assert (len(runs.open), first.state, first.ended_ms) == (OPEN_RUNS_MAX, "ended", OPEN_RUNS_MAX)


def test_ended_runs_are_forgotten_before_open_ones() -> None:
    runs = Runs()
    kept = launched(runs, 1)
    for number in range(2, RUNS_MAX + 5):
        launched(runs, number)
        runs.end(f"toolu_{number}", number)
    assert (len(list(runs)), runs.find("toolu_1"), runs.find("toolu_2")) == (RUNS_MAX, kept, None)


def test_hooked_agents_are_bounded_and_told_once() -> None:
    runs = Runs()
    run = launched(runs, 1)
    for number in range(HOOKED_MAX + 1):
        runs.hook(f"a{number}", "toolu_1")
    assert (runs.hooked("a0"), runs.hooked("a1"), runs.hooked("a1")) == (None, run, None)


def test_time_of_a_run_stands_still_when_it_is_over() -> None:
    run = launched(Runs(), 1)
    running = run.meters(5001)["seconds"]
    run.end(8001)
    assert (running, run.meters(100_000)["seconds"], run.blast()["agents"]) == (5, 8, 0)


@pytest.mark.parametrize("quote", ["'", '"', "`"])
def test_script_whose_quotes_do_not_end_is_read_once(quote: str) -> None:
    assert literals_of(f"agent('first words')\n{quote}" + f"\\{quote}" * 32_000) == ("first words",)
    assert literals_of("`" + "${" * 32_000 + "`") == ()


def test_text_with_notifications_that_name_nothing_is_read_once() -> None:
    text = "<task-notification>" * 200_000
    assert news({"role": "user", "content": text}) == []
    ended = "<tool-use-id>toolu_1</tool-use-id>"
    assert news({"role": "user", "content": text + ended}) == [Ended("toolu_1")]
    assert news({"role": "user", "content": ended + "<task-notification>"}) == []
