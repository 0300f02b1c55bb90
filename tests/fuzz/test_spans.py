"""Whatever bytes a client sends: spans or our error, and every span is exactly its value."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.fuses.loops import streaks
from gateway.core.wire.body import latest_messages, peek
from gateway.core.wire.spans import Malformed, elements, members, splice

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")])


@given(st.binary())
def test_any_bytes_give_spans_or_our_error(raw: bytes) -> None:
    for read in (members, elements, peek):
        try:
            read(raw)
        except Malformed:
            pass


@given(st.dictionaries(st.text(), JSON), SEPARATORS, st.booleans())
def test_spans_of_an_object_are_its_values(value: dict[str, object], separators: tuple[str, str], ascii: bool) -> None:
    raw = json.dumps(value, separators=separators, ensure_ascii=ascii).encode()
    assert {name: json.loads(raw[slice(*span)]) for name, span in members(raw).items()} == value


@given(st.lists(JSON), SEPARATORS)
def test_spans_of_an_array_are_its_elements(value: list[object], separators: tuple[str, str]) -> None:
    raw = json.dumps(value, separators=separators).encode()
    assert [json.loads(raw[slice(*span)]) for span in elements(raw)] == value


@given(st.dictionaries(st.text(), JSON, min_size=1), st.data())
def test_duplicate_of_any_key_is_found_wherever_it_stands(value: dict[str, object], data: st.DataObject) -> None:
    pairs = [(json.dumps(key), json.dumps(each)) for key, each in value.items()]
    twin = data.draw(st.sampled_from(pairs))
    pairs.insert(data.draw(st.integers(0, len(pairs))), (twin[0], json.dumps(data.draw(JSON))))
    raw = "{" + ",".join(f"{key}:{each}" for key, each in pairs) + "}"
    try:
        members(raw.encode())
    except Malformed:
        return
    raise AssertionError(raw)


@given(st.dictionaries(st.text(), JSON, min_size=1), JSON, st.data())
def test_splice_changes_one_value_and_nothing_else(value: dict[str, object], new: object, data: st.DataObject) -> None:
    raw = json.dumps(value).encode()
    key = data.draw(st.sampled_from(sorted(value)))
    edited = splice(raw, [(*members(raw)[key], json.dumps(new).encode())])
    assert json.loads(edited) == value | {key: new}


@given(
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": JSON})),
    SEPARATORS,
)
def test_latest_messages_are_all_messages_reversed(
    history: list[dict[str, object]], separators: tuple[str, str]
) -> None:
    raw = json.dumps(history, separators=separators).encode()
    found = [
        {"role": entry.role, "content": json.loads(bytes(entry.content))}
        for entry in latest_messages(raw, (0, len(raw)))
    ]
    assert found == history[::-1]


@given(st.lists(JSON))
def test_any_history_has_streaks_or_our_error(history: list[object]) -> None:
    raw = json.dumps(history, separators=(",", ":")).encode()
    try:
        seen = streaks(latest_messages(raw, (0, len(raw))))
    except Malformed:
        return
    assert seen.identical_tool_calls >= 0 and seen.consecutive_errors >= 0
