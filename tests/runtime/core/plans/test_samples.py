"""Values for agents that only pretend: they fit the schemas that scripts have, and no schema breaks them."""

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.plans.samples import sample_value

OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"const": {"a": [1]}}, id="const"),
        pytest.param({"enum": ["low", "high"]}, id="enum"),
        pytest.param({"type": "boolean"}, id="boolean"),
        pytest.param({"type": ["null", "integer"]}, id="types"),
        pytest.param({"type": "null"}, id="null"),
        pytest.param({"type": "integer", "minimum": 3, "multipleOf": 4}, id="multiple"),
        pytest.param({"type": "integer", "exclusiveMinimum": 3}, id="above"),
        pytest.param({"type": "integer", "maximum": -5, "multipleOf": 2}, id="below"),
        pytest.param({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, id="between"),
        pytest.param({"type": "string", "minLength": 12}, id="long"),
        pytest.param({"type": "string", "maxLength": 2}, id="short"),
        pytest.param({"type": "string", "pattern": r"^[A-Z]{3}-\d+\.x$"}, id="pattern"),
        pytest.param({"type": "string", "pattern": r"^(?:v)?[^a-f]\w{2,4}$"}, id="class"),
        pytest.param({"type": "string", "format": "date-time"}, id="format"),
        pytest.param({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}, id="unique"),
        pytest.param({"type": "array", "items": {"type": "string"}, "maxItems": 0}, id="empty"),
        pytest.param({"type": "array", "prefixItems": [{"type": "string"}, {"const": 2}]}, id="tuple"),
        pytest.param({"allOf": [{"properties": {"a": OBJECT}}, {"required": ["a", "b"]}]}, id="all"),
        pytest.param({"oneOf": [{"type": "integer"}, {"type": "string"}]}, id="one"),
        pytest.param({"$ref": "#/$defs/n~1m", "$defs": {"n/m": {"type": "integer", "minimum": 2}}}, id="reference"),
    ],
)
def test_w144_sample_fits_its_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(sample_value(schema))


def test_w144_sample_has_every_declared_property_and_an_item_of_every_array() -> None:
    item = {
        "type": "object",
        "required": ["line"],
        "properties": {"line": {"type": "integer"}, "why": {"type": "string"}},
    }
    schema = {"type": "object", "properties": {"issues": {"type": "array", "items": item}}}
    assert sample_value(schema) == {"issues": [{"line": 0, "why": "sample"}]}


def test_w144_schema_of_itself_ends() -> None:
    tree: dict[str, Any] = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
    }
    jsonschema.Draft202012Validator(tree).validate(sample_value(tree))


def test_w144_schema_that_holds_itself_many_times_stays_small() -> None:
    wide = {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefghij"}, "required": list("abc")}
    assert len(msgspec.json.encode(sample_value(wide))) < 20_000


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.sampled_from(["object", "#"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    "type properties required items enum const allOf anyOf $ref pattern minimum maximum multipleOf "
                    "minLength maxLength minItems maxItems exclusiveMinimum prefixItems uniqueItems format".split()
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_w144_no_schema_breaks_it(schema: Any) -> None:
    root = schema if isinstance(schema, dict) else {"properties": schema}
    msgspec.json.encode(sample_value(root))
