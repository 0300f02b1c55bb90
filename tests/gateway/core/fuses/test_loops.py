"""Streaks read off a conversation: what counts as a loop, and what must not."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import LOOP_FUSES
from gateway.core.fuses.history import CALLS_MAX
from gateway.core.fuses.loops import STREAK_METERS, Streaks, streaks
from gateway.core.gate.denial import Denial, denied_input
from gateway.core.wire.body import latest_messages
from tests.gateway.core.fuses.histories import raw, returned, said, seen, turn, used

GOLDEN = Path(__file__).parents[3] / "golden" / "loops" / "claude_code.json"
CONVERSATIONS: dict[str, list[list[dict[str, Any]]]] = json.loads(GOLDEN.read_text())


def bash(command: str, result: object = "", *, error: bool = False) -> list[dict[str, Any]]:
    return turn("Bash", {"command": command}, result, error=error)


def over(limits: dict[str, int], history: list[dict[str, Any]]) -> set[str]:
    """The meters above their limit."""
    counted = seen(history).meters()
    return {meter for meter, limit in limits.items() if counted[meter] > limit}


def ever_over(limits: dict[str, int], history: list[dict[str, Any]]) -> set[str]:
    """Those that were above it at any point of the conversation."""
    return set().union(*(over(limits, history[:end]) for end in range(len(history) + 1)))


def counted(*turns: list[dict[str, Any]]) -> Streaks:
    return seen([said("go"), *chain.from_iterable(turns)])


def test_identical_calls_in_a_row_are_counted() -> None:
    found = counted(bash("x"), bash("ls"), bash("ls"))
    assert (found.identical_tool_calls, found.consecutive_errors) == (2, 0)


def test_parallel_identical_calls_count_each() -> None:
    assert seen([used(*[("Bash", {"command": "ls"})] * 3), returned("", "", "")]).identical_tool_calls == 3


def test_spelling_and_key_order_do_not_hide_a_repetition() -> None:
    messages = (
        b'[{"role":"assistant","content":[{"type":"tool_use","name":"T","input":{"a":1,"b":"x"}}]},'
        b'{"role":"assistant","content":[{"type":"tool_use","name":"T","input":{ "b":"\\u0078","a":1}}]}]'
    )
    assert streaks(latest_messages(messages, (0, len(messages)))).identical_tool_calls == 2


def test_denied_calls_count_as_the_calls_that_were_asked_for() -> None:
    def denied(number: int) -> list[dict[str, Any]]:
        stand_in = denied_input("Bash", {"command": "rm -rf /"}, Denial("no", f"dec_{number}"))
        return turn("ringfence_denied", stand_in, "No such tool available", error=True)

    found = counted(*(denied(number) for number in range(3)))
    assert found.identical_tool_calls == found.consecutive_errors == found.rounds_without_progress == 3
    assert found.extended("Bash", {"command": "rm -rf /"}).identical_tool_calls == 4


def test_errors_in_a_row_are_counted_up_to_the_last_success() -> None:
    found = counted(bash("a"), bash("b", error=True), bash("c", error=True))
    assert (found.identical_tool_calls, found.consecutive_errors) == (1, 2)


def test_new_words_of_the_user_break_every_streak() -> None:
    history = [*bash("a", error=True), *bash("a", error=True), said("go on"), used(("Bash", {"command": "a"}))]
    assert list(seen(history).meters().values()) == [1, 1, 0, 0, 0]


def test_interruption_beside_a_result_breaks_every_streak() -> None:
    interrupted = returned("", error=True)
    interrupted["content"].append({"type": "text", "text": "[Request interrupted by user for tool use]"})
    assert seen([*bash("a", error=True), used(("Bash", {"command": "a"})), interrupted]).consecutive_errors == 0
    quoted = returned("[Request interrupted by user for tool use]", error=True)
    assert seen([*bash("a", error=True), used(("Bash", {"command": "a"})), quoted]).consecutive_errors == 2


def test_system_entries_and_spoken_words_break_nothing() -> None:
    entry = {"role": "system", "content": "tokens left"}
    words = {"role": "assistant", "content": "let me look again"}
    assert counted(bash("a"), [entry], [words], bash("a"), [entry]).identical_tool_calls == 2


@pytest.mark.parametrize("content", [5, None, [5], [{"type": 3}], {"type": "tool_use"}])
def test_unreadable_content_counts_nothing(content: object) -> None:
    assert set(seen([{"role": "assistant", "content": content}]).meters().values()) == {0}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("curl localhost:3000/health", "curl localhost:3001/health"),
        ("git show 3f2a9c1d", "git show 99bb00aa"),
        ("rm 0b7c3a52-1111-4222-8333-444455556666", "rm 9d0fe2aa-5555-4666-9777-888899990000"),
        ("sleep 5;  make", "sleep 10; make"),
        ('grep "x" a', "grep 'x' a"),
    ],
)
def test_calls_that_differ_in_nothing_that_matters_are_similar(one: str, other: str) -> None:
    found = counted(bash(one, "refused"), bash(other, "refused"), bash(one, "refused"))
    assert (found.similar_tool_calls, found.identical_tool_calls) == (3, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("done in 1.5s", "done in 12.25s"),
        ("2026-11-22T10:00:01Z down", "2026-11-22T10:00:09Z down"),
        ("at 10:15:00 id 3f2a9c1d", "at 10:16:20 id 99bb00aa"),
    ],
)
def test_results_that_differ_in_time_and_ids_do_not_hide_a_repetition(one: str, other: str) -> None:
    assert counted(bash("make", one), bash("make", other)).similar_tool_calls == 2
    assert counted(bash("make", one), bash("make", other)).rounds_without_progress == 1


def test_result_with_another_number_is_progress() -> None:
    found = counted(bash("pytest", "9 failed"), bash("pytest", "3 failed"), bash("pytest", "1 failed"))
    assert (found.similar_tool_calls, found.rounds_without_progress) == (1, 0)
    assert found.identical_tool_calls == 3


def test_same_words_of_another_tool_are_another_call() -> None:
    found = counted(turn("Grep", {"pattern": "x"}), turn("Glob", {"pattern": "x"}))
    assert (found.similar_tool_calls, found.identical_tool_calls) == (1, 1)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_calls_that_go_round_are_counted_once_the_cycle_has_been_gone_through_twice(length: int) -> None:
    circle = [bash(f"step {letter}", str(letter)) for letter in "abcd"[:length]]
    assert counted(*circle, *circle[:-1]).alternating_tool_calls == 0
    found = counted(bash("before"), *(circle * 3))
    assert (found.alternating_tool_calls, found.cycle) == (3 * length, length)


def test_calls_that_are_all_the_same_are_no_cycle() -> None:
    assert counted(*[bash("a")] * 9).alternating_tool_calls == 0
    assert counted(bash("b"), *[bash("a")] * 9).alternating_tool_calls == 0


def test_cycle_of_five_calls_is_none() -> None:
    assert counted(*([bash(f"step {letter}") for letter in "abcde"] * 4)).alternating_tool_calls == 0


def test_rounds_that_repeat_calls_and_results_bring_no_progress() -> None:
    pair = [bash("a", "same"), turn("Read", {"file_path": "/x"}, "same too")]
    assert counted(*(pair * 4)).rounds_without_progress == 6
    assert counted(*(pair * 4), bash("a", "new")).rounds_without_progress == 0


def test_rounds_that_fail_as_a_whole_bring_no_progress() -> None:
    failing = [bash(f"try {number}", error=True) for number in range(5)]
    assert counted(bash("x"), *failing).rounds_without_progress == 5
    half = [used(("Bash", {"command": "a"}), ("Bash", {"command": "b"})), returned("no", error=True)]
    half[1]["content"].append({"type": "tool_result", "tool_use_id": "t1", "content": "fine"})
    assert counted(*failing, half).rounds_without_progress == 0


@pytest.mark.parametrize(
    ("tool", "command", "extended"),
    [
        ("Bash", "b 9", (1, 2, 0)),
        ("Bash", "a 1", (1, 1, 5)),
        ("Bash", "b 2", (2, 2, 0)),
        ("Read", "b 2", (1, 1, 0)),
    ],
)
def test_one_more_call_extends_what_it_repeats(tool: str, command: str, extended: tuple[int, int, int]) -> None:
    found = counted(bash("a 1"), bash("b 2"), bash("a 1"), bash("b 2"))
    assert (found.identical_tool_calls, found.similar_tool_calls, found.alternating_tool_calls) == (1, 1, 4)
    more = found.extended(tool, {"command": command})
    assert (more.identical_tool_calls, more.similar_tool_calls, more.alternating_tool_calls) == extended


def test_calls_of_one_answer_add_up() -> None:
    found = counted(bash("ls"))
    for _ in range(3):
        found = found.extended("Bash", {"command": "ls"})
    assert (found.identical_tool_calls, found.similar_tool_calls) == (4, 4)


def test_first_calls_of_a_conversation_extend_nothing() -> None:
    found = seen([said("go")]).extended("Bash", {"command": "ls"})
    assert (found.identical_tool_calls, found.similar_tool_calls, found.alternating_tool_calls) == (1, 1, 0)


def work() -> Iterator[tuple[str, list[list[dict[str, Any]]]]]:
    """Long runs of calls that are work."""
    yield (
        "forty files of one folder",
        [turn("Read", {"file_path": f"/src/part_{number}.py"}, f"class Part{number}: ...") for number in range(40)],
    )
    yield (
        "one long file, page by page",
        [turn("Read", {"file_path": "/log", "offset": 100 * n, "limit": 100}, f"line {100 * n}") for n in range(40)],
    )
    yield (
        "forty edits of one file",
        [
            turn("Edit", {"file_path": "/a.py", "old_string": f"x{n} = 1", "new_string": f"x{n} = 2"}, "updated")
            for n in range(40)
        ],
    )
    yield (
        "forty new files",
        [turn("Write", {"file_path": f"/m/{n}.sql", "content": f"-- {n}"}, "created") for n in range(40)],
    )
    yield (
        "edit and test",
        list(
            chain.from_iterable(
                (
                    turn("Edit", {"file_path": "/a.py", "old_string": "a" * n, "new_string": "b" * n}, "updated"),
                    bash("pytest -q", f"{40 - n} failed"),
                )
                for n in range(1, 40)
            )
        ),
    )
    yield "forty searches", [turn("Grep", {"pattern": f"name{n}"}, f"/src/{n}.py") for n in range(40)]


@pytest.mark.parametrize("turns", [pytest.param(turns, id=name) for name, turns in work()])
def test_work_blows_none_of_the_fuses_that_are_there_by_default(turns: list[list[dict[str, Any]]]) -> None:
    history = [said("go"), *chain.from_iterable(turns)]
    assert ever_over(dict(LOOP_FUSES), history) == set()


def loops() -> Iterator[tuple[str, str, list[list[dict[str, Any]]]]]:
    """Runs of calls that are none, and the meter that says so."""
    yield "identical_tool_calls", "the same call", [bash("ls", str(number)) for number in range(11)]
    yield "similar_tool_calls", "one port after another", [bash(f"curl :{n}", "refused") for n in range(31)]
    yield "alternating_tool_calls", "two calls", [bash("a" if n % 2 else "b", str(n)) for n in range(31)]
    yield "consecutive_errors", "one failure after another", [bash(f"{chr(97 + n)}", error=True) for n in range(16)]
    yield (
        "rounds_without_progress",
        "in any order",
        [bash("abc"[(n * n) % 3], "nothing") for n in range(18)],
    )


@pytest.mark.parametrize(("meter", "turns"), [pytest.param(each[0], each[2], id=each[1]) for each in loops()])
def test_loop_passes_its_default_limit(meter: str, turns: list[list[dict[str, Any]]]) -> None:
    assert meter in over(dict(LOOP_FUSES), [said("go"), *chain.from_iterable(turns)])


def test_there_is_a_default_for_every_streak() -> None:
    assert set(LOOP_FUSES) == set(STREAK_METERS)


@pytest.mark.parametrize("scenario", sorted(CONVERSATIONS))
def test_recorded_conversations_are_no_loops(scenario: str) -> None:
    near = {meter: limit // 2 for meter, limit in LOOP_FUSES.items()}
    for messages in CONVERSATIONS[scenario]:
        assert ever_over(near, messages) == set()


def test_recorded_conversations_hold_calls() -> None:
    newest = [seen(messages).newest for messages in chain.from_iterable(CONVERSATIONS.values())]
    assert len(newest) > 40 and sum(each is not None for each in newest) > 30


def test_walk_is_bounded_however_long_the_conversation() -> None:
    found = counted(*[bash("a", "same", error=True)] * (CALLS_MAX + 50))
    assert set(found.meters().values()) == {CALLS_MAX, 0}
    many = [("Bash", {"command": "a"})] * (CALLS_MAX + 50)
    assert seen([used(*many), returned(*[""] * len(many))]).identical_tool_calls == CALLS_MAX


def test_conversation_that_repeats_nothing_is_read_no_further_than_five_rounds() -> None:
    messages = raw(chain.from_iterable(bash(f"step {chr(97 + number)}") for number in range(20)))
    taken = 0

    def counting() -> Iterator[Any]:
        nonlocal taken
        for message in latest_messages(messages, (0, len(messages))):
            taken += 1
            yield message

    assert set(streaks(counting()).meters().values()) == {0, 1}
    assert taken == 10


calls = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from("xy"), st.booleans()), max_size=14
)


@settings(max_examples=200, deadline=None)
@given(calls, st.data())
def test_streaks_are_what_a_plain_count_says(made: list[tuple[str, str, str, bool]], data: st.DataObject) -> None:
    history = list(
        chain.from_iterable(turn(f"T{tool}", {"x": word}, result, error=error) for tool, word, result, error in made)
    )
    found, backwards = seen(history), made[::-1]
    keys = [(tool, word) for tool, word, _, _ in backwards]
    assert found.identical_tool_calls == next((n for n, key in enumerate(keys) if key != keys[0]), len(keys))
    assert found.consecutive_errors == next((n for n, each in enumerate(backwards) if not each[3]), len(keys))
    still = [each[3] or each in backwards[index + 1 : index + 5] for index, each in enumerate(backwards)]
    assert found.rounds_without_progress == next((n for n, stands in enumerate(still) if not stands), len(still))
    assert found.alternating_tool_calls == plain_cycle(keys)
    tool, word = data.draw(st.sampled_from("ab")), data.draw(st.sampled_from("12"))
    more = found.extended(f"T{tool}", {"x": word})
    again = seen([*history, used((f"T{tool}", {"x": word}))])
    assert more.identical_tool_calls == again.identical_tool_calls
    assert more.alternating_tool_calls == again.alternating_tool_calls == plain_cycle([(tool, word), *keys])


def plain_cycle(keys: list[tuple[str, str]]) -> int:
    """The longest tail that goes round in two to four calls, at least twice, and is not one call only."""
    best = 0
    for length in (2, 3, 4):
        tail = length + len(list(islice(_same_so_far(keys, length), None)))
        if tail >= 2 * length and tail <= len(keys) and len(set(keys[:tail])) > 1:
            best = max(best, tail)
    return best


def _same_so_far(keys: list[tuple[str, str]], length: int) -> Iterator[None]:
    for later, earlier in zip(keys, keys[length:], strict=False):
        if later != earlier:
            return
        yield None
