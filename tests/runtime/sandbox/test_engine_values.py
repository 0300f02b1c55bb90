"""What a script returns, as JSON, and what it says when that cannot be (W170, W171)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.limits import ARTEFACT_BYTES_MAX
from tests.runtime.sandbox.stage import play

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=25)
@given(st.lists(json_values, max_size=6))
async def test_w170_json_comes_out_as_it_went_in(values: list[Any]) -> None:
    played = await play("return await parallel(args.map((value) => () => value))", values)
    assert played.value == values
    assert played.warnings == []


RESULTS: dict[str, tuple[str, Any]] = {
    "undefined": ("return", None),
    "a date by its toJSON": ("return { at: new Date(0) }", {"at": "1970-01-01T00:00:00.000Z"}),
    "a toJSON of its own": ("return [{ toJSON(key) { return `key ${key}` } }]", ["key 0"]),
    "boxed values": ("return [new String('a'), Object(1), Object(false)]", ["a", 1, False]),
    "own keys only": ("return Object.assign(Object.create({ inherited: 1 }), { own: 2 })", {"own": 2}),
    "no symbols as keys": ("return { [Symbol('x')]: 1, y: 2 }", {"y": 2}),
    "keys in their order": ("return Object.keys({ b: 1, a: 2, 1: 3 })", ["1", "b", "a"]),
    "the same object twice": ("const x = { y: 1 }\nreturn [x, x, { x }]", [{"y": 1}, {"y": 1}, {"x": {"y": 1}}]),
    "as deep as it may be": (
        "let list = 0\nfor (let i = 0; i < 200; i++) list = [list]\nreturn JSON.stringify(list).length",
        401,
    ),
    "a null prototype": ("return Object.assign(Object.create(null), { a: 1 })", {"a": 1}),
    "a proxy": ("return new Proxy([1, 2], {})", [1, 2]),
    "odd keys": ("return { '': 1, '\\u0000': 2, '\"': 3 }", {"": 1, "\x00": 2, '"': 3}),
}


@pytest.mark.parametrize(("body", "value"), RESULTS.values(), ids=RESULTS.keys())
async def test_w170_result_is_what_json_makes_of_it(body: str, value: Any) -> None:
    played = await play(body)
    assert played.value == value
    assert played.warnings == []


async def test_w170_what_json_drops_is_told_with_its_paths() -> None:
    played = await play(
        "return { a: undefined, b: () => 1, c: [Symbol('s'), NaN, undefined], d: { 'e f': Infinity }, g: 1 }"
    )
    assert played.value == {"c": [None, None, None], "d": {"e f": None}, "g": 1}
    text = 'JSON does not hold all of the result: $.a, $.b, $.c[0], $.c[1], $.c[2], $.d["e f"]'
    assert played.warnings == [("result_lossy", text)]


HOLLOW = {
    "a promise": ("{ a: agent('x') }", "$.a (a promise, which has to be awaited)"),
    "a map": ("[new Map([[1, 2]])]", "$[0] (a Map)"),
    "a set": ("new Set([1])", "$ (a Set)"),
}


@pytest.mark.parametrize(("result", "told"), HOLLOW.values(), ids=HOLLOW.keys())
async def test_w170_what_json_takes_for_an_empty_object_is_told(result: str, told: str) -> None:
    played = await play(f"return {result}")
    assert played.warnings == [("result_lossy", f"JSON does not hold all of the result: {told}")]


async def test_w170_ten_paths_are_told_and_the_rest_counted() -> None:
    played = await play("return Array(13).fill(undefined)")
    [(code, message)] = played.warnings
    assert (code, message.count("$[")) == ("result_lossy", 10)
    assert message.endswith("$[9] and 3 more")


async def test_w170_half_characters_are_replaced_and_told() -> None:
    played = await play("return { a: 'x\\ud800', '\\udc00': 1 }")
    assert played.value == {"a": "x\ufffd", "\ufffd": 1}
    assert played.warnings == [("result_lossy", "JSON does not hold all of the result: $.a")]


UNSERIALIZABLE = {
    "a cycle": ("const a = { b: { c: [] } }\na.b.c.push(a)\nreturn a", "a cycle at $.b.c[0]"),
    "a BigInt": ("return { n: [1, 2n] }", "a BigInt at $.n[1]"),
    "a getter that throws": ("return { a: { get b() { throw new Error('no') } } }", "Error: no at $.a.b"),
    "a toJSON that throws": ("return [{ toJSON() { throw new Error('no') } }]", "Error: no at $[0]"),
    "a function": ("return () => 1", "a function at $"),
    "a symbol": ("return Symbol('s')", "a symbol at $"),
    "a BigInt alone": ("return 1n", "a BigInt at $"),
    "too deep": ("let a = 0\nfor (let i = 0; i < 201; i++) a = { a }\nreturn a", "nesting deeper than 200 at $.a.a"),
}


@pytest.mark.parametrize(("body", "problem"), UNSERIALIZABLE.values(), ids=UNSERIALIZABLE.keys())
async def test_w171_result_that_cannot_be_json_names_its_path(body: str, problem: str) -> None:
    played = await play(body)
    assert played.threw.code == "result_not_serializable"
    assert played.threw.message.startswith(f"the result cannot be JSON: {problem}")


async def test_w171_result_of_two_hundred_levels_is_one() -> None:
    played = await play("let list = 0\nfor (let i = 0; i < 200; i++) list = [list]\nreturn list")
    assert msgspec.json.encode(played.value) == b"[" * 200 + b"0" + b"]" * 200


async def test_w172_result_above_the_bound_is_refused_with_its_size() -> None:
    played = await play(f"return 'x'.repeat({ARTEFACT_BYTES_MAX})")
    assert played.threw.code == "result_too_large"
    assert f"{ARTEFACT_BYTES_MAX + 2} bytes" in played.threw.message


async def test_w172_result_of_megabytes_comes_whole() -> None:
    played = await play("return Array.from({ length: 60000 }, (_, i) => ({ i, name: `item ${i}` }))")
    assert played.value[59_999] == {"i": 59_999, "name": "item 59999"}


THROWN = {
    "an error": ("throw new RangeError('too far')", "RangeError: too far"),
    "a text": ("throw 'text'", "text"),
    "an object": ("throw { code: 1 }", '{"code":1}'),
    "nothing": ("throw undefined", "undefined"),
    "a rejection": ("await Promise.reject(new Error('later'))", "Error: later"),
    "half a character": ("throw new Error('\\ud800')", "Error: \ufffd"),
    "an error of its own kind": (
        "class Odd extends Error { get name() { return 'Odd' } }\nthrow new Odd('x')",
        "Odd: x",
    ),
    "a long one": ("throw new Error('x'.repeat(5000))", "Error: " + "x" * 3_993),
}


@pytest.mark.parametrize(("body", "message"), THROWN.values(), ids=THROWN.keys())
async def test_w125_what_a_script_throws_is_shown(body: str, message: str) -> None:
    played = await play(body)
    assert (played.threw.code, played.threw.message) == ("script_threw", message)
