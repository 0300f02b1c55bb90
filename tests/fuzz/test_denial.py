"""Fuzz of denials: what was written is restored exactly, and nothing else is touched, whatever the history is."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import DENIED_TOOL
from gateway.core.gate.denial import Denial, denied_input, needs_restoring, restore
from tests.support.streams import golden

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(words, json_values, max_size=4)
tools = words.filter(lambda name: name != DENIED_TOOL)
denials = st.builds(Denial, reason=words, decision=words)
ids = st.from_regex(r"toolu_[A-Za-z0-9]{1,12}", fullmatch=True)
layouts = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
extras = st.dictionaries(st.sampled_from(["cache_control", "caller", "é"]), json_values, max_size=2)


def written(value: object, layout: tuple[str, str], ascii_only: bool) -> bytes:
    """JSON in one of the layouts clients use."""
    return json.dumps(value, separators=layout, ensure_ascii=ascii_only).encode()


@given(st.tuples(tools, inputs), denials, ids, st.tuples(layouts, st.booleans()), extras)
def test_written_denial_is_restored_to_the_call(
    call: tuple[str, Any], denial: Denial, call_id: str, writing: Any, extra: dict[str, Any]
) -> None:
    def message(name: str, value: object) -> bytes:
        block = extra | {"type": "tool_use", "id": call_id, "name": name, "input": value}
        return written({"role": "assistant", "content": [{"type": "text", "text": "x"}, block]}, *writing)

    tool, tool_input = call
    denied = message(DENIED_TOOL, denied_input(tool, tool_input, denial))
    assert needs_restoring(denied)
    assert restore([denied]) == [message(tool, tool_input)]
    assert restore([denied]) == restore([bytes(denied)])
    assert restore([message(tool, tool_input)]) == [None]


@given(tools, denials, ids, layouts, st.tuples(extras, extras))
def test_moved_members_leave_the_told_bytes_the_same(
    tool: str, denial: Denial, call_id: str, layout: Any, members: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    before, after = members
    call = {"type": "tool_use", "id": call_id, "name": DENIED_TOOL, "input": denied_input(tool, {}, denial)}
    asked = written({"role": "assistant", "content": [call]}, layout, False)

    def answer(extra: dict[str, Any], content: object) -> bytes:
        block = {"type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": True} | extra
        return written({"role": "user", "content": [block]}, layout, False)

    first, second = (restore([asked, answer(extra, "No such tool")])[1] for extra in (before, after))
    told = json.loads(first or b"")["content"][0]["content"]
    assert (first, second) == (answer(before, told), answer(after, told))
    assert denial.reason in told


@given(st.lists(json_values | st.just(DENIED_TOOL), max_size=3), st.binary(max_size=20))
def test_any_history_is_taken(values: list[Any], garbage: bytes) -> None:
    messages = [written(value, (",", ":"), False) for value in values] + [garbage, garbage + DENIED_TOOL.encode()]
    assert restore(messages) == [None] * len(messages)


@given(st.data())
def test_damaged_history_changes_nothing_or_restores(data: st.DataObject) -> None:
    history = json.loads(golden("denied_history.json"))
    messages = [written(message, (",", ":"), False) for message in history]
    which = data.draw(st.sampled_from([2, 3]))
    at = data.draw(st.integers(0, len(messages[which])))
    damage = data.draw(st.sampled_from([b'"', b"}", b",", b'"tool":"x",', b"\\ud800", b"\xff"]) | st.binary(max_size=3))
    messages[which] = messages[which][:at] + damage + messages[which][at + data.draw(st.integers(0, 4)) :]
    once = [new or old for new, old in zip(restore(messages), messages, strict=True)]
    assert restore(once) == [None] * len(once)
