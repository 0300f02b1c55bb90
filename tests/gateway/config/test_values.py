"""Typed reading of one mapping."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config.document import Source, parse_document
from gateway.config.values import Table, closest, is_loopback, read_any, read_usd


def table(text: str) -> tuple[Table, Source]:
    source = Source(Path("/etc/ringfence.yaml"), {"PORT": "8443", "TOKEN": "hunter2-hunter2"})
    root = parse_document(text, source)
    assert root is not None
    return Table(root), source


def test_unknown_key_is_reported_with_the_nearest_known_one() -> None:
    row, source = table("hots: x\nport: 1")
    row.text("host")
    row.integer("port", 1, low=0, high=9)
    row.done()
    assert [(p.message, p.suggestion) for p in source.problems] == [("unknown key hots", "did you mean host?")]
    assert source.problems[0].place.endswith(":1:1")


def test_null_is_the_same_as_absent() -> None:
    row, source = table("a: ~\nb:\nc: null\nd: ''")
    assert [row.text(key) for key in "abc"] == [None, None, None]
    assert row.text("d") == "" and source.problems[0].message == "d is empty"


@pytest.mark.parametrize("written", ["true", "'8'", "0x10", "1.0", "1e3", "-1", "99999", "9" * 40, "[1]"])
def test_integer_that_is_none_or_out_of_range_is_a_problem(written: str) -> None:
    row, source = table(f"port: {written}")
    row.integer("port", 8080, low=0, high=65535)
    assert len(source.problems) == 1 and "port" in source.problems[0].message


def test_integer_may_come_from_a_variable() -> None:
    row, source = table('port: "${PORT}"\nsize: 1_000')
    assert row.integer("port", 1, low=0, high=65535) == 8443
    assert row.integer("size", 1, low=0, high=65535) == 1000 and source.problems == []


@pytest.mark.parametrize("written", ["yes", "on", "'true'", "1", "True"])
def test_flag_that_is_not_true_or_false_is_a_problem(written: str) -> None:
    row, source = table(f"strict: {written}")
    row.flag("strict", False)
    assert len(source.problems) == 1


@pytest.mark.parametrize(
    ("written", "nanousd"),
    [
        ("50000", 50_000_000_000_000),
        ("0.1", 100_000_000),
        ("0.30", 300_000_000),
        ("1e-9", 1),
        ("2.5e1", 25_000_000_000),
    ],
)
def test_dollars_become_nano_dollars_exactly(written: str, nanousd: int) -> None:
    row, source = table(f"limit_usd: {written}")
    entry = row.find("limit_usd")
    assert entry is not None and read_usd(entry) == nanousd
    assert source.problems == []


@pytest.mark.parametrize(
    "written",
    ["0", "-1", "1e10", "0.0000000001", "0.1000000000000000000000000001", ".nan", ".inf", "1e999", "$5", "'5'"],
)
def test_dollars_that_are_no_amount_are_a_problem(written: str) -> None:
    row, source = table(f"limit_usd: {written}")
    entry = row.find("limit_usd")
    assert entry is not None
    read_usd(entry)
    assert len(source.problems) == 1


def test_problem_shows_the_reference_and_not_what_it_stands_for() -> None:
    row, source = table('a: "${TOKEN}"\nb: "${TOKEN}"\nc: "${TOKEN}"\nd: "${TOKEN}"')
    readers: list[Callable[[], Any]] = [
        lambda: row.integer("a", 1, low=0, high=9),
        lambda: row.flag("b", False),
        lambda: row.choice("c", ("x", "y"), "x"),
        lambda: row.seconds("d", 1.0),
    ]
    for read in readers:
        read()
    assert len(source.problems) == 4
    assert all("hunter2" not in str(problem) and "${TOKEN}" in str(problem) for problem in source.problems)


@pytest.mark.parametrize("written", ['"with space"', '"line\\nbreak"', '"\\u00e9"', '""'])
def test_secret_that_no_header_carries_is_a_problem_without_the_secret(written: str) -> None:
    row, source = table(f"secret: {written}")
    row.secret("secret")
    assert len(source.problems) == 1
    assert "with" not in source.problems[0].message


def test_free_value_keeps_its_types() -> None:
    row, _ = table("settings: {a: [1, 2.5, true, ~, off, '3'], b: {c: \"x\"}}")
    entry = row.find("settings")
    assert entry is not None
    assert read_any(entry) == {"a": [1, 2.5, True, None, "off", "3"], "b": {"c": "x"}}


def test_list_with_repeats_or_blanks_is_a_problem() -> None:
    row, source = table("users: [a, b, a, '']")
    assert row.texts("users") == ("a", "b")
    assert [problem.message for problem in source.problems] == ["users names 'a' twice", "users[3] is empty"]


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True)]
    + [("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example.com", False), ("", False)],
)
def test_loopback_is_recognised(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_closest_of_nothing_says_nothing() -> None:
    assert closest("x", ()) == ""
    assert closest("zzz", ("alpha", "beta")) == "one of: alpha, beta"
