"""Values of any shape, taken as what is expected."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.simulation.values import as_list, as_object, as_objects

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("value", [None, 0, "text", [{"a": 1}], True])
def test_what_is_no_object_counts_as_an_empty_one(value: Any) -> None:
    assert as_object(value) == {}
    assert as_object({"a": value}) == {"a": value}


@pytest.mark.parametrize("value", [None, 0, "text", {"a": 1}])
def test_what_is_no_list_counts_as_an_empty_one(value: Any) -> None:
    assert as_list(value) == [] == as_objects(value)
    assert as_list([value]) == [value]


def test_objects_of_a_mixed_list_are_kept_in_order() -> None:
    assert as_objects([{"a": 1}, None, "x", [], {"b": 2}]) == [{"a": 1}, {"b": 2}]


@given(JSON)
def test_any_value_has_its_expected_shape_afterwards(value: Any) -> None:
    assert isinstance(as_object(value), dict) and isinstance(as_list(value), list)
    assert all(isinstance(item, dict) for item in as_objects(value))
