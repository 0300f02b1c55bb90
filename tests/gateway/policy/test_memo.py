"""Memory of decisions: keys hold exactly the parts that are read, and the memory stays small."""

from typing import Any

from gateway.core.decisions.decision import Decision
from gateway.policy.memo import BYTES_MAX, ENTRIES_MAX, KEY_BYTES_MAX, Memo, key_builder
from tests.support.policies import build_query

ALLOWED = Decision(allow=True)
CALL = {"kind": "tool_call", "tool": "x"}


def key(paths: list[tuple[str, ...]], action: dict[str, Any] | None = None, **parts: Any) -> bytes:
    action = action or {"kind": "infer"}
    return key_builder(action["kind"], paths)(build_query(action, **parts))


def test_key_holds_the_parts_that_are_read() -> None:
    assert key([("action", "model"), ("principal", "user")]) == b'infer:["claude-opus-4-8","alice"]'


def test_key_ignores_what_is_not_read() -> None:
    paths = [("action", "model")]
    assert key(paths, time={"hour": 1}) == key(paths, time={"hour": 2})


def test_field_that_the_kind_never_has_is_left_out() -> None:
    assert key([("action", "facts"), ("action", "kind")]) == b"infer:[]"


def test_missing_member_differs_from_null_and_from_empty() -> None:
    paths = [("action", "input", "a")]
    inputs = [{}, {"a": None}, {"a": []}, {"a": [None]}, {"a": {}}, {"a": "null"}, "a", None, []]
    keys = {key(paths, action={**CALL, "input": one}) for one in inputs}
    assert len(keys) == 6 and key(paths, action={**CALL, "input": "a"}) == key(paths, action={**CALL, "input": {}})


def test_renamed_field_and_nested_struct_are_found() -> None:
    assert key([("action", "class")], action={**CALL, "input": {}}) == b'tool_call:["other"]'
    assert key([("lineage", "client", "name")]) == b'infer:["claude-cli"]'
    assert key([("action", "profile", "valid")], action={"kind": "run", "profile": None}) == b"run:[[]]"


def test_whole_input_can_be_the_key() -> None:
    assert b'"hour":9' in key([()]) and key([()], time={"hour": 1}) != key([()], time={"hour": 2})


def test_least_recently_used_goes_first() -> None:
    memo = Memo()
    for index in range(ENTRIES_MAX):
        memo.add(b"%d" % index, ALLOWED)
    assert memo.find(b"0") is ALLOWED
    memo.add(b"one more", ALLOWED)
    assert len(memo) == ENTRIES_MAX
    assert memo.find(b"1") is None and memo.find(b"0") is ALLOWED


def test_memory_is_bounded_by_bytes() -> None:
    memo = Memo()
    for index in range(2 * BYTES_MAX // KEY_BYTES_MAX):
        memo.add(b"%08d" % index + b"x" * (KEY_BYTES_MAX - 8), ALLOWED)
    assert len(memo) * KEY_BYTES_MAX <= BYTES_MAX


def test_long_key_is_not_remembered() -> None:
    memo = Memo()
    memo.add(b"x" * (KEY_BYTES_MAX + 1), ALLOWED)
    assert len(memo) == 0
