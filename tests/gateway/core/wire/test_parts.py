"""Reading and cutting members and elements where they stand."""

import json

import pytest

from gateway.core.wire.parts import cut_elements, cut_members, elements_at, found_between, members_at, string_at
from gateway.core.wire.spans import Malformed, splice

OBJECT = b' {"a":1, "b":[2] ,"c":{"d":3}\n}'
ARRAY = b"[ 1 ,[2], 3]"


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ({"a"}, {"b": [2], "c": {"d": 3}}),
        ({"b"}, {"a": 1, "c": {"d": 3}}),
        ({"c"}, {"a": 1, "b": [2]}),
        ({"a", "b"}, {"c": {"d": 3}}),
        ({"a", "c"}, {"b": [2]}),
        ({"b", "c"}, {"a": 1}),
        ({"a", "b", "c"}, {}),
        (set[str](), {"a": 1, "b": [2], "c": {"d": 3}}),
    ],
)
def test_cut_members_leave_the_others(names: set[str], left: object) -> None:
    spans = members_at(OBJECT, (1, len(OBJECT)), "")
    cut = splice(OBJECT, cut_members(OBJECT, 2, spans, names))
    assert json.loads(cut) == left
    assert all(OBJECT[slice(*span)] in cut for name, span in spans.items() if name not in names)


@pytest.mark.parametrize(
    ("indexes", "left"),
    [({0}, [[2], 3]), ({1}, [1, 3]), ({2}, [1, [2]]), ({0, 1}, [3]), ({0, 2}, [[2]]), ({0, 1, 2}, [])],
)
def test_cut_elements_leave_the_others(indexes: set[int], left: object) -> None:
    spans = elements_at(ARRAY, (0, len(ARRAY)), "")
    assert json.loads(splice(ARRAY, cut_elements(ARRAY, 1, spans, indexes))) == left


def test_spans_count_from_the_beginning_of_the_body() -> None:
    spans = members_at(OBJECT, (1, len(OBJECT)), "")
    assert OBJECT[slice(*spans["b"])] == b"[2]"
    assert [OBJECT[slice(*span)] for span in elements_at(OBJECT, spans["b"], "b")] == [b"2"]


def test_other_kinds_of_value_have_no_parts() -> None:
    assert members_at(ARRAY, (0, len(ARRAY)), "") == {} and elements_at(OBJECT, (1, len(OBJECT)), "") == []
    assert string_at(b"12", (0, 2)) == "" and string_at(b'"a\\"b"', (0, 6)) == 'a\\"b' and string_at(b"", None) == ""


def test_repeated_key_is_refused_with_its_place() -> None:
    with pytest.raises(Malformed, match=r"messages\[1\]\.role: the key occurs twice"):
        members_at(b'{"role":1,"role":2}', (0, 19), "messages[1]")


def test_mark_counts_inside_the_span_only() -> None:
    assert found_between(b"abcdef", (2, 6), [b"x", b"de"])
    assert not found_between(b"abcdef", (2, 4), [b"de"])
