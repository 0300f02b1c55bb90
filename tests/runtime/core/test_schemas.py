"""What an output schema must be before a call is counted."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError

from runtime.core.limits import SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX
from runtime.core.schemas import preflight

OBJECT: dict[str, Any] = {"type": "object"}


def needs(schema: Any) -> dict[str, Any]:
    """An object that cannot do without a value of this schema."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


def nested(depth: int) -> dict[str, Any]:
    """So many objects within each other."""
    schema: dict[str, Any] = {"title": "x"}
    for _ in range(depth - 1):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        OBJECT,
        {"type": ["object"]},
        needs({"type": "string", "enum": ["a"]}),
        needs({"$ref": "#/$defs/x"}) | {"$defs": {"x": {"type": "integer"}}},
        needs({"$ref": "#/definitions/a~1b"}) | {"definitions": {"a/b": True}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"type": "object", "required": ["x"]},
        {"type": "object", "required": ["x1"], "patternProperties": {"^x": {}}, "additionalProperties": False},
        needs({"minimum": 1, "maximum": 1, "minLength": 0}),
        needs({"type": ["number", "null"], "enum": [1.5, None]}),
        needs({"type": "integer", "const": 1.0}),
    ],
    ids=json.dumps,
)
def test_w63_usable_schema_passes_in_silence(schema: dict[str, Any]) -> None:
    assert (preflight(schema).problem, preflight(schema).warnings) == (None, ())


@pytest.mark.parametrize(
    "schema", [None, [], "object", {}, {"type": "array"}, {"type": ["object", "null"]}], ids=json.dumps
)
def test_w63_root_must_be_an_object_schema(schema: object) -> None:
    problem = preflight(schema).problem
    assert problem is not None and problem.startswith("schema")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({**OBJECT, "required": ["x"], "additionalProperties": False}, "schema: required names 'x'"),
        (needs({"enum": []}), "schema.properties.a: enum"),
        (needs({"minimum": 3, "maximum": 2}), "schema.properties.a: minimum 3"),
        (needs({"exclusiveMinimum": 2, "maximum": 2}), "schema.properties.a: exclusiveMinimum 2"),
        (needs({"minLength": 3, "maxLength": 2}), "schema.properties.a: minLength"),
        (needs({"minItems": 3, "maxItems": 2}), "schema.properties.a: minItems"),
        (needs({"type": "string", "enum": [1, 2]}), "schema.properties.a: no value of enum"),
        (needs({"type": "string", "const": True}), "schema.properties.a: const"),
        (needs({"type": "integer", "enum": [True]}), "schema.properties.a: no value of enum"),
        (needs({"not": {}}), "schema.properties.a: not"),
        (needs(False), "schema.properties.a: `false`"),
        (needs(needs({"enum": []})), "schema.properties.a.properties.a: enum"),
        (needs({"allOf": [{"enum": []}]}), "schema.properties.a.allOf[0]: enum"),
        (needs({"type": "array", "minItems": 1, "items": {"enum": []}}), "schema.properties.a.items: enum"),
        (needs({"$ref": "#/$defs/x"}) | {"$defs": {"x": {"enum": []}}}, "schema.properties.a(#/$defs/x): enum"),
        (
            {**OBJECT, "minProperties": 2, "properties": {"a": {}}, "additionalProperties": False},
            "schema: minProperties",
        ),
        ({**OBJECT, "required": ["a", "b"], "maxProperties": 1}, "schema: required names more"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_w63_schema_that_nothing_can_satisfy_is_refused_with_its_path(schema: dict[str, Any], path: str) -> None:
    problem = preflight(schema).problem
    assert problem is not None and problem.startswith(path)


@pytest.mark.parametrize(
    "schema",
    [
        {**OBJECT, "properties": {"a": {"enum": []}}},
        needs({"anyOf": [{"enum": []}, {"type": "string"}]}),
        needs({"type": "array", "items": {"enum": []}}),
        needs({"not": {"enum": []}}),
        needs({"properties": {"b": False}, "required": ["b"]}),
    ],
    ids=json.dumps,
)
def test_w63_impossible_part_that_an_answer_can_avoid_is_a_warning(schema: dict[str, Any]) -> None:
    found = preflight(schema)
    assert found.problem is None and [text.split(":")[0] for text in found.warnings] == ["schema_impossible"]


@pytest.mark.parametrize(
    "reference",
    [
        "http://example.com/s",
        "other.json",
        "https://example.com/s#",
        "#/$defs/none",
        "#/properties/a/0",
    ],
)
def test_w63_reference_that_leads_nowhere_or_away_is_refused(reference: str) -> None:
    problem = preflight({**OBJECT, "properties": {"a": {"$ref": reference}}}).problem
    assert problem is not None and problem.startswith("schema.properties.a.$ref: ")


def test_w63_references_that_lead_to_each_other_are_refused() -> None:
    schema = needs({"$ref": "#/$defs/x"}) | {"$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"$ref": "#/$defs/x"}}}
    assert "leads back to itself" in (preflight(schema).problem or "")


def test_w63_size_is_that_of_the_json() -> None:
    room = SCHEMA_BYTES_MAX - len(json.dumps({**OBJECT, "title": ""}, separators=(",", ":")))
    assert preflight({**OBJECT, "title": "x" * room}).problem is None
    assert "bytes" in (preflight({**OBJECT, "title": "x" * (room + 1)}).problem or "")
    assert "bytes" in (preflight({**OBJECT, "title": "é" * room}).problem or "")


def test_w63_nesting_is_bounded() -> None:
    assert preflight({**nested(SCHEMA_DEPTH_MAX), **OBJECT}).problem is None
    assert "levels" in (preflight({**nested(SCHEMA_DEPTH_MAX + 1), **OBJECT}).problem or "")
    assert "levels" in (preflight({**nested(900), **OBJECT}).problem or "")


def test_w63_what_is_no_json_is_refused() -> None:
    assert "is not JSON" in (preflight({**OBJECT, "default": object()}).problem or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []},
        {"properties": {"a": 5}},
        {"required": "a"},
        {"required": [1]},
        {"enum": "a"},
        {"minLength": -1},
        {"minLength": "1"},
        {"minimum": True},
        {"pattern": 5},
        {"anyOf": []},
        {"allOf": {}},
        {"items": 5},
        {"properties": {"a": {"type": "text"}}},
        {"properties": {"a": {"type": []}}},
    ],
    ids=json.dumps,
)
def test_w63_form_that_a_validator_cannot_work_with_is_refused(schema: dict[str, Any]) -> None:
    assert preflight({**OBJECT, **schema}).problem is not None


def test_w64_unknown_keywords_are_warned_of_and_formats_are_not() -> None:
    found = preflight({**OBJECT, "colour": 1, "prefixItems": [{}], "properties": {"a": {"format": "uri"}}})
    assert found.problem is None
    assert found.warnings == (
        "schema_unknown_keyword: schema.colour is not known and ignored",
        "schema_unknown_keyword: schema.prefixItems is ignored",
    )


def test_w64_property_may_have_the_name_of_a_keyword() -> None:
    schema = {**OBJECT, "properties": {"enum": {"type": "string"}, "$ref": {"type": "string"}, "colour": {}}}
    assert preflight(schema).warnings == ()


KEYWORDS = st.sampled_from(
    ["type", "enum", "const", "minimum", "maximum", "required", "properties", "items", "anyOf", "not", "$ref", "odd"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["object", "string", "a", "#", "#/$defs/x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.just("a"), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400)
@given(st.dictionaries(KEYWORDS, JSON, max_size=5))
def test_w63_whatever_is_given_is_answered_and_what_passes_is_a_schema(schema: dict[str, Any]) -> None:
    if preflight({**schema, "type": "object"}).problem is not None:
        return
    try:
        Draft7Validator.check_schema({**schema, "type": "object"})
    except SchemaError as error:
        raise AssertionError(f"{schema}: {error.message}") from None
