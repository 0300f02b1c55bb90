"""Samples are judged by an independent validator."""

import re
from typing import Any

import jsonschema
import pytest

from gateway.upstreams.simulation.pattern import text_for_pattern
from gateway.upstreams.simulation.sample import sample

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"], "properties": {"a": {"enum": ["low", "high"]}, "b": {"const": 4}}},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "maxItems": 2},
        {"type": "array", "maxItems": 0},
        {"type": "integer", "minimum": 10, "maximum": 12},
        {"type": "integer", "exclusiveMinimum": 10},
        {"type": "integer", "maximum": -4},
        {"type": "integer", "minimum": 1, "multipleOf": 7},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "minimum": 0.25, "maximum": 0.5},
        {"type": "string", "minLength": 30},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": "^[A-Z]{2,3}-\\d+$"},
        {"type": ["null", "string"]},
        {"type": "null"},
        {"anyOf": [{"type": "null"}, {"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}}}]},
        {"oneOf": [{"const": "a"}, {"const": "b"}]},
        {
            "allOf": [{"required": ["a"], "properties": {"a": {"type": "integer"}}}, {"required": ["b"]}],
            "type": "object",
        },
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
        {"properties": {"a": {"minimum": 3}}, "required": ["a", "undeclared"]},
        NODE,
    ],
)
def test_sample_fits_its_schema_and_is_always_the_same(schema: dict[str, Any]) -> None:
    value = sample(schema)
    jsonschema.validate(value, schema)
    assert sample(schema) == value


@pytest.mark.parametrize(
    "schema", [None, True, [], {"$ref": "#"}, {"$ref": "http://x/y"}, {"enum": []}, {"type": "odd"}]
)
def test_odd_schema_gives_a_value_and_no_error(schema: Any) -> None:
    assert sample(schema) == sample(schema)


@pytest.mark.parametrize(
    "pattern",
    [
        "^a+$",
        "^[a-z0-9_-]{3,16}$",
        r"^\d{4}-\d{2}-\d{2}$",
        "^(GET|POST) /",
        "x",
        "",
        r"^wf_[a-z0-9-]{6,}$",
        "^[^a]b?c*$",
    ]
    + [r"^(?:v)?\d+\.\d+$", r"^[\]a]$", r"^#(?P<hex>[0-9a-f]{6})$", "^.{5}$"],
)
def test_text_for_pattern_matches_it(pattern: str) -> None:
    assert re.search(pattern, text_for_pattern(pattern))


@pytest.mark.parametrize("pattern", ["(", "[", "(?=a)b", "\\", "a{99999999}", "*"])
def test_pattern_that_is_not_understood_gives_a_text(pattern: str) -> None:
    assert text_for_pattern(pattern, least=3)


def test_open_repeat_is_stretched_to_the_least_length() -> None:
    assert len(text_for_pattern("^[a-z]+$", least=40)) >= 40
    assert re.search("^[a-z]+$", text_for_pattern("^[a-z]+$", least=40))
