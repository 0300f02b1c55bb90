"""Text to a tree with places; references put in."""

from pathlib import Path

import pytest

from gateway.config.document import DEPTH_MAX, Entry, Source, parse_document

ENVIRON = {"NAME": "value", "EMPTY": ""}


def parse(text: str, folder: Path = Path("/etc/ringfence")) -> tuple[Entry | None, Source]:
    source = Source(folder / "ringfence.yaml", ENVIRON)
    return parse_document(text, source), source


def scalar(text: str, folder: Path = Path("/etc/ringfence")) -> tuple[str | None, list[str]]:
    root, source = parse(f"key: {text}", folder)
    assert root is not None
    read = root.members()["key"].text()
    return (None if read is None else read.value), [problem.message for problem in source.problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain", "plain"),
        ("off", "off"),
        ("0123", "0123"),
        ('"${NAME}"', "value"),
        ("${NAME}", "value"),
        ('"a ${NAME} b ${NAME}"', "a value b value"),
        ('"${EMPTY}"', ""),
        ('"$${NAME}"', "${NAME}"),
        ('"$NAME"', "$NAME"),
        ('"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    ],
)
def test_scalar_as_written_is_read_as_text(written: str, value: str) -> None:
    assert scalar(written) == (value, [])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"${UNSET}"', "environment variable UNSET is not set"),
        ('"${not a name}"', "begins a reference"),
        ('"${NAME"', "begins a reference"),
        ('"x${file:/etc/hostname}"', "must be the whole value"),
        ('"${file:/no/such/file}"', "cannot read /no/such/file: No such file or directory"),
        ('"\\ud83d"', "half a character"),
    ],
)
def test_unusable_reference_is_a_problem_that_names_it(written: str, said: str) -> None:
    value, problems = scalar(written)
    assert value is None
    assert len(problems) == 1 and said in problems[0]


def test_value_of_a_variable_is_not_read_again() -> None:
    source = Source(Path("/c"), {"A": "${B}", "B": "secret"})
    root = parse_document('key: "${A}"', source)
    assert root is not None
    read = root.members()["key"].text()
    assert read is not None and read.value == "${B}"
    assert read.written == "${A}"


def test_file_reference_is_relative_to_the_config_and_trimmed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  from a file\n")
    assert scalar('"${file:secret}"', tmp_path) == ("from a file", [])


def test_file_that_is_too_large_or_binary_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "larger than" in scalar('"${file:large}"', tmp_path)[1][0]
    assert "not UTF-8" in scalar('"${file:binary}"', tmp_path)[1][0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "not readable as YAML"),
        ("a: &x 1\nb: *x", "anchors"),
        ("a: !!python/object:os.system x", "tags"),
        ("a: 1\n---\nb: 2", "not readable as YAML"),
        ('a: "\\UFFFFFFFF"', "escape that is no character"),
        ("a: \x00", "character that it does not allow"),
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("[" * (DEPTH_MAX + 3) + "]" * (DEPTH_MAX + 3), "nested deeper"),
        ("[" * 5000, "nested deeper"),
    ],
)
def test_unreadable_text_is_one_problem(text: str, said: str) -> None:
    root, source = parse(text)
    assert root is None
    assert len(source.problems) == 1 and said in source.problems[0].message


def test_problem_of_syntax_names_file_line_and_column() -> None:
    _, source = parse("a: 1\nb: [1, 2")
    assert source.problems[0].place.startswith("/etc/ringfence/ringfence.yaml:2:")


def test_duplicate_key_is_a_problem_at_the_second() -> None:
    root, source = parse("a: 1\nb: 2\na: 3")
    assert root is not None and list(root.members()) == ["a", "b"]
    assert source.problems[0].place.endswith(":3:1") and ":1:1" in source.problems[0].message


def test_json_with_tabs_is_accepted() -> None:
    root, source = parse('{\n\t"a": {"b":"c\\/d"},\n\t"e": 1\n}')
    assert root is not None and source.problems == []
    read = root.members()["a"].members()["b"].text()
    assert read is not None and read.value == "c/d"


def test_wrong_shape_is_a_problem_and_gives_nothing() -> None:
    root, source = parse("a: {b: 1}\nc: [1]\nd: 1")
    assert root is not None
    entries = root.members()
    assert entries["a"].text() is None and entries["c"].members() == {} and entries["d"].elements() == []
    assert [problem.message for problem in source.problems] == [
        "a must be a single value, not a mapping",
        "c must be a mapping, not a list",
        "d must be a list, not a single value",
    ]
