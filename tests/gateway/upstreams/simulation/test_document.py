"""A YAML text whose values know their places: strict, and every problem kept."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.simulation.document import NUMBER_MAX, Document
from gateway.upstreams.simulation.scenario import ScenarioInvalid


def node_of(text: str) -> tuple[Document, yaml.Node]:
    """A document and its root."""
    document = Document("s.yaml")
    root = document.compose(text)
    assert root is not None, document.problems
    return document, root


def told(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


def test_value_is_the_json_that_is_written() -> None:
    document, root = node_of("a: [1, 2.5, true, null, x]\nb: {c: '1', d: 2024-01-01}\n")
    assert document.plain(root) == {"a": [1, 2.5, True, None, "x"], "b": {"c": "1", "d": "2024-01-01"}}
    assert document.problems == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1\n", "s.yaml:2:1"),
        ("a: &x 1\nb: *x\n", "s.yaml:2:4"),
        ("a: 1\n\tb: 2\n", "s.yaml:2:1"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2:1"),
    ],
)
def test_what_is_no_yaml_is_one_problem_at_its_place(text: str, place: str) -> None:
    document = Document("s.yaml")
    assert document.compose(text) is None
    assert [problem.place for problem in document.problems] == [place]


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_empty_text_says_what_to_write(text: str) -> None:
    document = Document("s.yaml")
    assert document.compose(text) is None
    assert "turns" in told(document)[0]


def test_text_nested_beyond_reading_is_a_problem_and_no_crash() -> None:
    document = Document("s.yaml")
    assert document.compose("[" * 5_000) is None
    assert len(document.problems) == 1


def test_fields_report_unknown_repeated_and_missing_keys_at_once() -> None:
    document, root = node_of("pase: 1\npace: 2\npace: 3\n")
    assert list(document.fields(root, ("pace", "turns"), required=("turns",))) == ["pace"]
    assert [problem.place for problem in document.problems] == ["s.yaml:1:1", "s.yaml:3:1", "s.yaml:1:1"]
    assert "did you mean `pace`?" in told(document)[0] and "`turns` is missing" in told(document)[2]


def test_first_of_two_equal_keys_is_kept() -> None:
    document, root = node_of("pace: 2\npace: 3\n")
    assert document.whole(document.fields(root, ("pace",))["pace"]) == 2
    assert "given twice" in told(document)[0]


READERS: list[tuple[str, str, Any]] = [
    ("whole", "1.5", 0),
    ("whole", "-1", 0),
    ("whole", "true", 0),
    ("whole", str(NUMBER_MAX + 1), 0),
    ("number", "-0.1", 0.0),
    ("number", ".inf", 0.0),
    ("number", "true", 0.0),
    ("flag", "1", False),
    ("flag", "'true'", False),
    ("text", "[a]", ""),
    ("mapping", "[a]", {}),
    ("items", "a", []),
]


@pytest.mark.parametrize(("reader", "text", "harmless"), READERS)
def test_wrong_value_is_a_problem_and_reads_as_a_harmless_one(reader: str, text: str, harmless: Any) -> None:
    document, root = node_of(text)
    read: Callable[[yaml.Node], Any] = getattr(document, reader)
    assert read(root) == harmless
    assert document.problems and all(problem.place == "s.yaml:1:1" for problem in document.problems)


@pytest.mark.parametrize("limit", [0, NUMBER_MAX])
def test_numbers_at_the_edge_are_read(limit: int) -> None:
    document, root = node_of(str(limit))
    assert (document.whole(root), document.number(root), document.problems) == (limit, float(limit), [])


@pytest.mark.parametrize("text", ["(", "a{2,1}", "[z-a]", "(?P<n>a)(?P<n>b)"])
def test_bad_expression_is_a_problem_and_matches_nothing_special(text: str) -> None:
    document, root = node_of(f"'{text}'")
    assert document.pattern(root).pattern == ""
    assert "not a regular expression" in told(document)[0]


def test_dot_of_an_expression_crosses_lines() -> None:
    document, root = node_of("'a.b'")
    assert document.pattern(root).fullmatch("a\nb") and document.problems == []


@pytest.mark.parametrize(
    "text", [".nan", "-.inf", "!!binary aGk=", "!!python/name:os.system ''", "!!timestamp x", "!!bool x", "!!int x"]
)
def test_value_that_json_has_not_is_a_problem(text: str) -> None:
    document, root = node_of(f"a: {text}")
    assert document.mapping(root) == {"a": None}
    assert [problem.place for problem in document.problems] == ["s.yaml:1:4"]


def test_tag_of_a_mapping_builds_nothing() -> None:
    document, root = node_of("!!python/object/apply:os.system {a: 1}")
    assert document.plain(root) == {"a": 1}


def test_optional_key_is_read_only_when_it_is_there() -> None:
    document, root = node_of("a: 1")
    fields = document.fields(root, ("a", "b"))
    assert (document.optional(fields, "a", document.whole), document.optional(fields, "b", document.whole)) == (1, None)


def test_problems_are_raised_together_and_none_raises_nothing() -> None:
    document, root = node_of("a: 1")
    document.raise_problems()
    document.problem(root, "first")
    document.problem(root, "second", "do so")
    with pytest.raises(ScenarioInvalid) as invalid:
        document.raise_problems()
    assert len(invalid.value.problems) == 2 and "second" in str(invalid.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_reported(text: str) -> None:
    document = Document("s.yaml")
    root = document.compose(text)
    if root is None:
        assert document.problems
    else:
        document.plain(root)
        document.fields(root, ("a",))
        document.items(root)
