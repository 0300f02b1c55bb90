"""Sizes and loop counts that literals make visible: exact where they can be seen, None where not, never too small."""

import pytest
from tree_sitter import Node

from runtime.check.sizes import SIZE_MAX, Bindings, collect_bindings, trip_count
from runtime.check.syntax import Script, parse_script, walk


def read(script: str) -> tuple[Bindings, Node]:
    parsed = parse_script(script)
    assert isinstance(parsed, Script) and not parsed.broken, script
    return collect_bindings(parsed.root), parsed.root


def size_of(expression: str, before: str = "", after: str = "") -> int | None:
    """Most elements of `expression`, handed to an agent, in a script that has statements around it."""
    bindings, root = read(f"{before};\nagent({expression});\n{after}")
    return bindings.size_of(next(node for node in map(_handed, walk(root)) if node is not None))


def _handed(node: Node) -> Node | None:
    callee, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    given = arguments is not None and callee is not None and callee.text == b"agent"
    return arguments.named_children[0] if given and arguments is not None else None


def trips(loop: str, before: str = "", after: str = "") -> int | None:
    """How often the first loop of a script runs at most."""
    bindings, root = read(f"{before};\n{loop}\n{after}")
    found = next(node for node in walk(root) if node.type.endswith(("for_statement", "for_in_statement")))
    return trip_count(found, bindings)


@pytest.mark.parametrize(
    ("expression", "size"),
    [
        ("[]", 0),
        ("[1, [2, 3], 'x']", 3),
        ("[1, /* two */ 2]", 2),
        ("[...[1, 2], 3]", 3),
        ("([1, 2])", 2),
        ("await [1, 2]", 2),
        ("Array(7)", 7),
        ("new Array(7)", 7),
        ("Array(7, 8)", 2),
        ("Array.from({length: 0x10})", 16),
        ("Array.from([1, 2], (x) => x)", 2),
        ("new Set([1, 2, 2])", 3),
        ("Object.keys({a: 1, b: 2})", 2),
        ("Object.entries({a: 1, b() {}})", 2),
        ("[1, 2].map((x) => [x, x])", 2),
        ("[1, 2, 3].filter(Boolean).slice(1).sort()", 3),
        ("[1, 2].concat([3], [4, 5])", 5),
        ("[1, 2].flatMap((x) => [x, x, x])", 6),
        ("[...Array(3).keys()]", 3),
        ("ready ? [1] : [1, 2]", 2),
        ("args.files ?? [1, 2]", None),
        ("[] || [1, 2]", 2),
        ("Promise.all([1, 2, 3])", 3),
        ("parallel()", 0),
    ],
)
def test_size_of_a_literal_is_seen(expression: str, size: int | None) -> None:
    assert size_of(expression) == size


@pytest.mark.parametrize(
    "expression",
    [
        "args.files",
        "files",
        "'text'",
        "[...files]",
        "[...'text']",
        "Array(count)",
        "Array.from({length: count})",
        "Array.from({length: 2, ...more})",
        "Object.keys({a: 1, ...more})",
        "[1].concat(files)",
        "[1].flatMap((x) => files)",
        "[1].flat()",
        "ready ? [1] : files",
        "new Map([[1, 2]])",
        "text.split(',')",
        "count > 1 && [1]",
    ],
)
def test_size_that_cannot_be_seen_is_none(expression: str) -> None:
    assert size_of(expression) is None


@pytest.mark.parametrize(
    "before",
    [
        "const a = [1, 2]",
        "let a = [1, 2]",
        "const b = [1, 2]; const a = b.map((x) => x)",
        "const a = [1, 2]; log(a); log(a.length, a[0], a.join())",
        "const a = [1, 2]; for (const x of a) log(x)",
        "const a = [1, 2]; const c = [...a]",
        "const a = [1, 2]; parallel(a); JSON.stringify(a)",
    ],
)
def test_steady_name_is_followed(before: str) -> None:
    assert size_of("a", before) == 2


@pytest.mark.parametrize(
    "before",
    [
        "let a = [1]; a = [1, 2]",
        "const a = [1]; { const a = [1, 2] }",
        "const a = [1]; a.push(2)",
        "const a = [1]; a.splice(0, 0, 2)",
        "const a = [1]; a[5] = 2",
        "const a = [1]; a.length = 5",
        "const a = [1]; grow(a)",
        "const a = [1]; const b = a; b.push(2)",
        "const a = [1]; const o = {a}; o.a.push(2)",
        "const a = [1]; const o = {b: a}; o.b.push(2)",
        "const f = (a) => a; const a = [1]",
        "const f = ({a}) => a; const a = [1]",
        "let a = [1]; [a] = [[1, 2]]",
        "let a = [1]; ({a} = {a: [1, 2]})",
        "let a = [1]; for (a of [[1, 2]]) log(a)",
        "try { x() } catch (a) { x(a) } const a = [1]",
        "const a = a",
        "const a = b; const b = a",
    ],
)
def test_name_that_may_change_is_not_followed(before: str) -> None:
    assert size_of("a", before) is None


@pytest.mark.parametrize("after", ["a.push(2)", "function f() { a.push(2) }", "a = [1, 2]"])
def test_change_counts_wherever_it_stands(after: str) -> None:
    assert size_of("a", "let a = [1]", after) is None


@pytest.mark.parametrize(
    ("expression", "before", "least"),
    [
        ("Array.from({length}, f)", "const length = 40", 40),
        ("Array.from({'length': 40}, f)", "", 40),
        ("Array.from({['length']: 40}, f)", "", 40),
        ("Array.from({length: 2, length: 40}, f)", "", 40),
        ("Object.keys({length: 1, a: 2, b: 3})", "", 3),
        ("Array.from([, , , 1])", "", 4),
        ("a", "const a = [1]; a['push'](2)", 2),
        ("a", "const a = [1]; a.forEach((x, index, all) => all.push(2))", 2),
    ],
)
def test_told_size_is_never_below_the_real_one(expression: str, before: str, least: int) -> None:
    size = size_of(expression, before)
    assert size is None or size >= least


def test_huge_size_is_told_as_the_limit() -> None:
    assert size_of("Array(999999999)") == SIZE_MAX
    assert size_of("Array(9999999).flatMap((x) => [x, x])") == SIZE_MAX


@pytest.mark.parametrize(
    ("loop", "count"),
    [
        ("for (let i = 0; i < 5; i++) {}", 5),
        ("for (let i = 0; i <= 5; i++) {}", 6),
        ("for (let i = 5; i > 0; i--) {}", 5),
        ("for (let i = 5; i >= 0; --i) {}", 6),
        ("for (let i = 0; i < 10; i += 3) {}", 4),
        ("for (let i = 10; i > 0; i -= 4) {}", 3),
        ("for (let i = 9; i < 5; i++) {}", 0),
        ("for (let i = 0; i < [1, 2].length; i++) {}", 2),
        ("for (const x of [1, 2, 3]) {}", 3),
        ("for (let i = 0; i < 1e12; i++) {}", SIZE_MAX),
    ],
)
def test_trips_of_a_literal_loop_are_counted(loop: str, count: int) -> None:
    assert trips(loop) == count


@pytest.mark.parametrize(
    "loop",
    [
        "for (const x of files) {}",
        "for (const k in {a: 1}) {}",
        "for (;;) {}",
        "for (let i = 0; ; i++) {}",
        "for (let i = 0; i < 5; ) {}",
        "for (let i = 0; i < 5; i--) {}",
        "for (let i = 5; i > 0; i++) {}",
        "for (let i = 0; i < 5; j++) {}",
        "for (let i = 0; j < 5; i++) {}",
        "for (let i = 0; i != 5; i++) {}",
        "for (let i = 0; i < 5; i *= 2) {}",
        "for (let i = 0; i < 5; i += 0) {}",
        "for (let i = 0; i < 5; i += step) {}",
        "for (let i = 0; i < 5; i = next(i)) {}",
        "for (let i = start; i < 5; i++) {}",
        "for (let i = 0, j = 1; i < 5; i++) {}",
        "for (let i = 0; i < limit; i++) {}",
        "for (let i = 0; i < 5 || more; i++) {}",
        "for (let i = 0; i < 5; i++) { i = 0 }",
        "for (let i = 0; i < 5; i++) { i-- }",
        "for (let i = 0; i < 5; i++) { const back = () => { [i] = [0] }; back() }",
    ],
)
def test_loop_without_a_visible_end_has_no_count(loop: str) -> None:
    assert trips(loop) is None


def test_limit_by_a_name_is_followed_only_while_it_is_steady() -> None:
    loop = "for (let i = 0; i < N; i++) {}"
    assert (trips(loop, "const N = 4"), trips(loop, "let N = 4; N = 5"), trips(loop, "let N = 4; N++")) == (
        4,
        None,
        None,
    )


def test_counter_that_is_set_back_from_outside_the_loop_has_no_count() -> None:
    back = "function back() { i = 0 }"
    assert trips("for (var i = 0; i < 3; i++) { back() }", after=back) is None
