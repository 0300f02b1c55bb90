"""What is shown of a loop: the calls, what they return, how often and where; bounded, and no secret in it."""

from itertools import chain
from typing import Any

import pytest

from gateway.core.fuses.evidence import WORDS_CHARS_MAX, Evidence, few_words, read_evidence
from gateway.core.fuses.loops import STREAK_METERS
from tests.gateway.core.fuses.histories import returned, said, seen, turn, used


def bash(command: str, result: object = "", *, error: bool = False) -> list[dict[str, Any]]:
    return turn("Bash", {"command": command}, result, error=error)


def shown(meter: str, *turns: list[dict[str, Any]]) -> Evidence:
    evidence = read_evidence(seen([said("go"), *chain.from_iterable(turns)]), meter)
    assert evidence is not None
    return evidence


def test_repeated_call_is_shown_with_its_result_and_place() -> None:
    evidence = shown("identical_tool_calls", bash("pwd"), *[bash("ls", "a\nb")] * 3)
    assert evidence == Evidence(('Bash {"command":"ls"}',), ('"a\\nb"',), 3, (6, 2))


def test_call_that_is_only_asked_for_shows_what_the_one_before_returned() -> None:
    streaks = seen(chain.from_iterable([bash("ls", "a")] * 2)).extended("Bash", {"command": "ls"})
    assert read_evidence(streaks, "identical_tool_calls") == Evidence(('Bash {"command":"ls"}',), ('"a"',), 3, (4, 0))


def test_cycle_is_shown_in_the_order_of_its_calls() -> None:
    evidence = shown("alternating_tool_calls", *[bash("a", "1"), bash("b", "2")] * 3)
    assert evidence.calls == ('Bash {"command":"a"}', 'Bash {"command":"b"}')
    assert (evidence.results, evidence.times, evidence.messages) == (('"1"', '"2"'), 6, (12, 2))
    assert few_words(evidence) == 'Bash {"command":"a"}, then Bash {"command":"b"}'


def test_standstill_shows_each_of_its_calls_once() -> None:
    evidence = shown("rounds_without_progress", *[bash("a"), bash("b")] * 4)
    assert (len(evidence.calls), evidence.times, evidence.messages) == (2, 6, (12, 2))


def test_failures_are_shown_by_the_latest_that_failed() -> None:
    last = [used(("Bash", {"command": "b"}), ("Bash", {"command": "c"})), returned("no such file", error=True)]
    evidence = shown("consecutive_errors", bash("a", "broken", error=True), last)
    assert (evidence.calls, evidence.results) == (('Bash {"command":"b"}',), ('"no such file"',))


@pytest.mark.parametrize("meter", STREAK_METERS)
def test_conversation_without_calls_has_no_evidence(meter: str) -> None:
    assert read_evidence(seen([said("go")]), meter) is None


def test_words_are_bounded_on_one_line_and_hold_no_secret() -> None:
    secret = "sk-ant-api03-" + "a1B2" * 12
    command = f"curl -H 'x-api-key: {secret}' \x1b[31m " + "x" * 5_000
    evidence = shown("identical_tool_calls", *[bash(command, f"token={secret} " + "y" * 5_000)] * 2)
    for words in (*evidence.calls, *evidence.results):
        assert "a1B2a1B2" not in words and words.isprintable() and len(words) <= 2 * WORDS_CHARS_MAX
