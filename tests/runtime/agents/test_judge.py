"""What a schema means: Draft 7 with `$defs`, patterns of JavaScript, nothing coerced, nothing fetched."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agents.judge import mismatches

KEYWORDS = (
    "type properties items required enum const anyOf oneOf allOf not if then else minimum maximum multipleOf "
    "minLength maxLength pattern patternProperties additionalProperties additionalItems propertyNames contains "
    "dependencies uniqueItems minItems maxItems $ref $defs $id definitions exclusiveMinimum a"
).split()


def paths(schema: dict[str, Any], value: Any) -> list[str]:
    return [path for path, _ in mismatches(schema, value)]


def test_w64_references_to_definitions_are_followed() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/name"}}, "$defs": {"name": {"type": "string"}}}
    assert paths(schema, {"a": "x"}) == [] and paths(schema, {"a": 1}) == ["/a"]


def test_w64_format_says_nothing() -> None:
    assert paths({"properties": {"a": {"type": "string", "format": "email"}}}, {"a": "nobody"}) == []


def test_w64_unknown_keywords_and_prefix_items_say_nothing() -> None:
    assert paths({"novelty": 5, "properties": {"a": {"prefixItems": [{"type": "string"}]}}}, {"a": [1]}) == []


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("^\\p{Lu}$", "É", "é"),
        ("^.$", "😀", "ab"),
        ("^\\d+$", "12", "١٢"),
        ("^[\\w\\-]+$", "a-b", "a b"),
        ("b", "abc", "ac"),
        ("^(?<y>\\d{4})-\\k<y>$", "2026-2026", "2026-2025"),
    ],
    ids=["property", "astral", "ascii-digits", "loose-escape", "anywhere", "named-group"],
)
def test_w64_patterns_mean_what_they_mean_in_javascript(pattern: str, fits: str, fits_not: str) -> None:
    schema = {"properties": {"a": {"pattern": pattern}}}
    assert paths(schema, {"a": fits}) == [] and paths(schema, {"a": fits_not}) == ["/a"]


def test_w64_members_are_matched_by_pattern() -> None:
    schema = {"patternProperties": {"^x-": {"type": "integer"}}, "properties": {"a": {}}, "additionalProperties": False}
    assert paths(schema, {"x-a": 1, "a": 2}) == []
    assert paths(schema, {"x-a": "1", "b": 2}) == ["", "/x-a"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": 5},
        {"type": "strin"},
        {"properties": {"a": {"minLength": "x"}}},
        {"properties": {"n": {"multipleOf": 0}}},
    ],
    ids=["remote", "missing", "endless", "bad-pattern", "odd-properties", "odd-type", "odd-length", "by-zero"],
)
def test_w64_a_schema_without_a_meaning_is_said_to_be_unusable(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        mismatches(schema, {"a": "x", "n": 5})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "object", "#", "string", "["]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=12,
)


@given(schema=st.dictionaries(st.sampled_from(KEYWORDS), JSON, max_size=5), value=JSON)
def test_w64_any_schema_gives_an_answer_or_is_unusable(schema: dict[str, Any], value: Any) -> None:
    try:
        told = mismatches(schema, value)
    except ValueError as fault:
        assert str(fault)
    else:
        assert all(isinstance(path, str) and message for path, message in told)


def test_w65_all_failing_paths_are_named_once_in_order() -> None:
    schema = {
        "type": "object",
        "properties": {"list": {"items": {"type": "integer"}}, "a/b": {"type": "string"}},
        "required": ["n"],
    }
    assert paths(schema, {"list": ["x", 1, "y"], "a/b": 1}) == ["", "/a~1b", "/list/0", "/list/2"]


def test_w65_alternatives_are_told() -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "string"}, {"minimum": 5, "type": "integer"}]}}}
    told = mismatches(schema, {"a": 3})
    assert ("/a", "3 is less than the minimum of 5") in told and ("/a", "3 is not of type 'string'") in told


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integer", "5"), ("string", 5), ("boolean", 1), ("boolean", "true"), ("number", True), ("null", "")],
    ids=["text-5", "number-5", "one", "text-true", "true", "empty"],
)
def test_w69_nothing_is_coerced(kind: str, value: Any) -> None:
    assert paths({"properties": {"a": {"type": kind}}}, {"a": value}) == ["/a"]


def test_w69_defaults_are_not_filled_in_and_extras_are_kept() -> None:
    value = {"extra": 1}
    assert paths({"properties": {"a": {"default": 5}}}, value) == [] and value == {"extra": 1}
