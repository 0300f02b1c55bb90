"""Rounds of calls and results, read from the end."""

from itertools import chain

from gateway.core.fuses.history import Call, History
from gateway.core.wire.body import latest_messages
from tests.gateway.core.fuses.histories import raw, returned, said, turn, used


def history(*messages: dict[str, object]) -> History:
    written = raw(messages)
    return History(latest_messages(written, (0, len(written))))


def test_rounds_come_newest_first_with_their_place_and_results() -> None:
    found = history(
        said("go"), *turn("Bash", {"command": "a"}, "x"), *turn("Read", {"file_path": "b"}, "y", error=True)
    )
    newest, oldest = found.rounds()
    assert [(each.position, each.calls[0].name, each.results.failed) for each in (newest, oldest)] == [
        (2, "Read", True),
        (4, "Bash", False),
    ]
    result = oldest.calls[0].result
    assert result is not None and result.content == b'"x"'
    assert found.round(2) is None


def test_parallel_calls_find_their_own_results_however_these_are_ordered() -> None:
    answers = returned("first", "second")
    answers["content"].reverse()
    found = history(used(("A", {}), ("B", {})), answers).round(0)
    assert found is not None
    assert [(call.name, call.result and call.result.content) for call in found.calls] == [
        ("B", b'"second"'),
        ("A", b'"first"'),
    ]


def test_results_in_several_messages_belong_to_one_round() -> None:
    found = history(used(("A", {}), ("B", {})), returned("x"), returned("y", first=1)).round(0)
    assert found is not None and all(call.result is not None for call in found.calls)


def test_results_without_their_calls_make_a_round_of_their_own() -> None:
    found = history(said("go"), returned("x", error=True)).round(0)
    assert found is not None and (found.calls, found.results.failed) == ((), True)


def test_reading_ends_where_somebody_speaks() -> None:
    pasted = {"role": "user", "content": [{"type": "text", "text": 'what is "tool_result"?'}]}
    for words in (said("go on"), said('"tool_result"'), pasted):
        turns = [*turn("A", {}), words, *turn("B", {})]
        assert [call.name for call in history(*turns).calls()] == ["B"]


def test_round_that_returned_nothing_yet_repeats_none() -> None:
    newest, before = history(*turn("A", {}, "x"), used(("A", {}))).rounds()
    assert not newest.repeats(before) and newest.calls[0].same(before.calls[0])


def test_order_of_keys_is_no_difference_and_an_unreadable_input_is_compared_as_it_is() -> None:
    assert Call("A", b'{"a":1,"b":2}').same(Call("A", b'{"b": 2, "a": 1}'))
    assert Call("A", b"{1").same(Call("A", b"{1")) and not Call("A", b"{1").same(Call("A", b"{2"))


def test_history_is_read_once_however_often_it_is_asked() -> None:
    written = raw(chain.from_iterable(turn("A", {"n": number}) for number in range(3)))
    taken = list(latest_messages(written, (0, len(written))))
    found = History(iter(taken))
    assert len(list(found.rounds())) == len(list(found.rounds())) == 3
