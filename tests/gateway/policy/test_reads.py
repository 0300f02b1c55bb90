"""What modules read and call, from their syntax tree."""

import pytest

from gateway.policy.evaluator import build_evaluator, syntax_tree
from gateway.policy.reads import ModuleReads, read_modules, reads_by_kind


def read(text: str) -> ModuleReads:
    [module] = read_modules(syntax_tree(build_evaluator({"m.rego": text}, "{}")))
    return module


def inputs(body: str, kind: str = "infer") -> list[str]:
    return [".".join(path) for path in reads_by_kind([read(f"package a.b\n\n{body}\n")])[kind]]


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ("x if input.a.b == 1", ["a.b"]),
        ('x if input["a"].b == 1', ["a.b"]),
        ("x if input.a[y].b == 1\ny := input.k", ["a", "k"]),
        ("x if input.a[_] == 1", ["a"]),
        ("x := input", [""]),
        ("x if input[k] == 1\nk := 1", [""]),
        ("x if f(input.a)\nf(v) if v.b == 1", ["a"]),
        ("x := [v | some v in input.a]", ["a"]),
        ("x := {v: 1 | v := input.a.b}", ["a.b"]),
        ('x := {"a": input.b}', ["b"]),
        ("x contains input.a if input.b", ["a", "b"]),
        ("x[input.a] := input.b if true", ["a", "b"]),
        ("default x := false\nx if not input.a", ["a"]),
        ("x if every v in input.a { v == input.b }", ["a", "b"]),
        ("x := 1 if input.a else := input.b if input.c", ["a", "b", "c"]),
        ("x if input.a; y if input.a.b", ["a"]),
        ('x if sprintf("%s", [input.a]) == "b"', ["a"]),
        ("x if input.a in input.b", ["a", "b"]),
        ("x if 1 + input.a > -input.b", ["a", "b"]),
        ("x := y if y := input.a", ["a"]),
        ("x := input.a", ["a"]),
        ("x if data.c with input.a as input.b", ["a", "b"]),
    ],
)
def test_every_read_of_the_input_is_found(body: str, paths: list[str]) -> None:
    assert inputs(body.replace("; y if", "\ny if")) == paths


def test_import_of_the_input_counts_as_read() -> None:
    module = read("package a\n\nimport input.b.c\nimport input.d as e\n\nx if c.f == e.g\n")
    assert {("b", "c"), ("d",)} <= set(module.inputs["infer"])


def test_body_guarded_by_kind_reads_for_that_kind_only() -> None:
    body = 'x if {\n\tinput.action.kind == "spawn"\n\tinput.a\n}'
    assert inputs(body, "spawn") == ["a", "action.kind"]
    assert inputs(body, "infer") == []


@pytest.mark.parametrize(
    "body",
    [
        'x if {\n\tinput.a\n\tinput.action.kind == "spawn"\n}',
        'x if {\n\tinput.action.kind != "spawn"\n\tinput.a\n}',
        'x if {\n\tnot input.action.kind == "spawn"\n\tinput.a\n}',
        'x if {\n\tinput.action.kind == k\n\tinput.a\n}\nk := "spawn"',
        'x if {\n\tinput.action.kind == "spawn" with input.a as 1\n\tinput.a\n}',
    ],
)
def test_guard_that_does_not_come_first_is_no_guard(body: str) -> None:
    assert "a" in inputs(body, "infer")


def test_head_reads_for_every_kind_of_its_bodies() -> None:
    body = 'violations contains input.h if {\n\tinput.action.kind == "spawn"\n}'
    assert inputs(body, "spawn") == ["action.kind", "h"] and inputs(body, "run") == []


def test_module_fires_for_the_kinds_of_what_it_collects() -> None:
    guarded = 'package ringfence.rules.a.b\n\nviolations contains 1 if {\n\tinput.action.kind == "run"\n}\n'
    assert read(guarded).fires_for == {"run"}
    assert read(guarded + "limits contains 1 if input.a\n").fires_for == {"infer", "spawn", "tool_call", "run"}
    assert read(guarded + "helper if input.a\n").fires_for == {"run"}
    assert read("package ringfence.rules.a.b\n\nviolations := {1}\n").fires_for == {
        "infer",
        "spawn",
        "tool_call",
        "run",
    }


def test_calls_are_functions_of_the_language_only() -> None:
    rules = ["x if lib.f(count(input.a))", "y if g(1)", "g(v) if regex.match(`a`, v)"]
    module = read("package a\n\nimport data.lib\n\n" + "\n".join(rules))
    assert set(module.calls) == {"count", "regex.match"}
    assert ("lib", "f") in module.data


def test_place_names_file_and_line() -> None:
    module = read("package a\n\nx if {\n\tinput.b\n}\n")
    place = module.inputs["infer"][("b",)]
    assert (place.file, place.line) == ("m.rego", 4)
