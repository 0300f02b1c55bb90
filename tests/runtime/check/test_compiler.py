"""The verdict of the engine's compiler: its places, its words, its bounds, and that nothing ever runs."""

import pytest

from runtime.check import prepare
from runtime.check.compiler import NAMES_MAX, compile_fault
from runtime.check.sizes import collect_bindings
from runtime.check.syntax import Script, parse_script

META = "export const meta = {name: 'n', description: 'd'};\n"


def error_of(body: str) -> str:
    return str(prepare(META + body).error)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ("let a\nlet a", "3:6"),
        ("const x = {a: 1 b: 2}", "2:17"),
        ("const é = 'éé😀' 5", "2:17"),
        ("agent('a') agent('b')", "2:12"),
        ("var a = 010", "2:9"),
        ("delete x", "2:9"),
        ("for (const x of y {\n}", "2:19"),
        ("const meta = 5", "2:12"),
        ("return 1;\n/(/u", "3:1"),
        ("\nobj.#x", "3:5"),
        ("if (x) {\n  y()", "3:6"),
    ],
)
def test_w15_syntax_error_has_its_place(body: str, place: str) -> None:
    assert error_of(body).startswith(f"{place} syntax_error: ")


def test_w15_error_on_the_first_line_has_its_place() -> None:
    error = prepare("export const meta = {name: 'n' description: 'd'}").error
    assert error is not None and (error.line, error.column) == (1, 32)


def test_w15_error_found_only_at_the_end_keeps_its_own_words() -> None:
    assert "redefinition" in error_of("let a\nlet a")
    assert "not closed" in error_of("if (x) {\n  y()")


@pytest.mark.parametrize("body", ["let x = = 5 // here", "f(a: Thing)", "return <div/>"])
def test_w15_message_shows_the_line_and_blames_nothing_else(body: str) -> None:
    assert body in error_of("\n" + body + "\nlog('after')")
    assert "TypeScript" not in error_of(body)


@pytest.mark.parametrize(
    "line",
    [
        "const a: string = 'x'",
        "let a!: string",
        "const f = (a: string, b?: number) => a",
        "function f(a: number): void {}",
        "async function f(): Promise<void> {}",
        "function g<T>(x) { return x }",
        "interface X { a: string }",
        "type X = 'a' | 'b'",
        "enum A { B }",
        "let x = y as string",
        "let x = y satisfies Y",
        "foo(<T>x)",
        "x!.y",
        "class A { private x = 1 }",
        "declare const x",
    ],
)
def test_w15_typescript_is_called_by_its_name(line: str) -> None:
    error = error_of(line)
    assert "syntax_error" in error and "TypeScript" in error


@pytest.mark.parametrize(
    "body",
    [
        "return await agent('x')",
        "await agent<string>('x')",
        "for await (const x of y) {}",
        "class A { #p = 1; static { this.q = 2 } get p() { return this.#p } }",
        "const {a = 1, ...rest} = args ?? {}; return a?.b ?? rest",
        "const s = 'const a: string; interface X {}'",
        "label: for (;;) { break label }",
        "return [1, 2].at(-1) ** 2n",
        "const agent2 = agent; let args2 = args",
        "return new Map([[1, `a${`b`}`]])",
    ],
)
def test_w15_plain_javascript_passes(body: str) -> None:
    assert prepare(META + body).error is None


@pytest.mark.parametrize("body", ["return await agent('x')", "await agent('x'); return"], ids=["value", "nothing"])
def test_w23_await_and_return_stand_at_top_level(body: str) -> None:
    assert prepare(META + body).error is None


def test_w23_body_is_strict() -> None:
    assert "syntax_error" in error_of("with (args) { log(1) }")


@pytest.mark.parametrize(
    "body",
    [
        "}); while (true) {} (async function () {",
        "}\nwhile (true) {}\n{",
        "}, x = () => { while (true) {} }, function () {",
        "*/ }); while (true) {} /*",
        "`}); while (true) {} (async function () {",
    ],
)
def test_w15_text_that_closes_the_function_is_refused_and_not_run(body: str) -> None:
    assert "syntax_error" in error_of(body)


def test_w15_compiler_alone_runs_nothing_of_what_it_reads() -> None:
    script = parse_script(META + "}); while (true) {} (async function () {")
    assert isinstance(script, Script)
    assert compile_fault(script, collect_bindings(script.root)) is None


@pytest.mark.parametrize(
    "body",
    [
        "let " + ", ".join(f"a{i}" for i in range(NAMES_MAX + 1)),
        "class A {" + "".join(f"#a{i};" for i in range(NAMES_MAX + 1)) + "}",
        "let {" + ", ".join(f"a{i}" for i in range(NAMES_MAX + 1)) + "} = args",
        "f(" * 600 + ")" * 600,
        "/[\\p{L}\\p{N}]" + "[\\p{L}\\p{N}]" * 9_000 + "/ui",
    ],
    ids=["names", "private names", "pattern", "nesting", "regex"],
)
def test_what_costs_the_compiler_too_much_is_refused(body: str) -> None:
    assert "script_too_complex" in error_of(body)
