"""What `meta` may be: a pure literal, first, parsed and never evaluated."""

import pytest

from runtime.check import prepare
from runtime.check.syntax import DEPTH_MAX
from runtime.core.limits import DECLARED_PHASES_MAX


def code_of(script: str) -> str | None:
    error = prepare(script).error
    return None if error is None else error.code


def with_value(value: str) -> str:
    return f"export const meta = {{name: 'n', description: 'd', x: {value}}}\n"


@pytest.mark.parametrize(
    "script",
    [
        "",
        "// nothing\n",
        "log('x')",
        "const meta = {name: 'n', description: 'd'}",
        "export let meta = {name: 'n', description: 'd'}",
        "export var meta = {name: 'n', description: 'd'}",
        "export default {name: 'n', description: 'd'}",
        "export {meta} from 'x'",
        "export * from 'x'",
        "export const meta = {name: 'n', description: 'd'}, more = 1",
        "export const other = {name: 'n', description: 'd'}",
        "export function meta() {}",
    ],
)
def test_w16_script_without_meta_is_refused(script: str) -> None:
    assert code_of(script) == "meta_missing"


@pytest.mark.parametrize("before", ["let x = 1\n", "log('x');", "{}\n"])
def test_w16_meta_behind_a_statement_is_refused(before: str) -> None:
    assert code_of(before + "export const meta = {name: 'n', description: 'd'}") == "meta_not_first"


@pytest.mark.parametrize("before", ["// a\n/* b */\n", "'use strict'\n", "'use strict';\n\"use x\";\n", ";;"])
def test_w16_meta_behind_comments_and_directives_is_first(before: str) -> None:
    assert code_of(before + "export const meta = {name: 'n', description: 'd'}") is None


@pytest.mark.parametrize(
    "value",
    [
        "y", "f()", "a.b", "[...a]", "(1)", "() => 1", "function () {}", "class {}", "`a${1}`", "/x/", "1n", "new X()",
        "1 + 1", "(1, 2)", "a ? 1 : 2", "!0", "+1", "-y", "typeof 1", "tag`x`", "await 1", "undefined",
    ],
)  # fmt: skip
def test_w17_value_that_would_be_evaluated_is_refused(value: str) -> None:
    assert code_of(with_value(value)) == "meta_not_literal"


@pytest.mark.parametrize(
    "member", ["get x() { return 1 }", "set x(v) {}", "x() {}", "async x() {}", "...y", "[k]: 1", "['k']: 1", "y"]
)
def test_w17_member_that_would_be_evaluated_is_refused(member: str) -> None:
    assert code_of(f"export const meta = {{name: 'n', description: 'd', {member}}}") == "meta_not_literal"


@pytest.mark.parametrize(
    "value", ["'a'", '"a"', "`a`", "1", "-1.5e3", "0x1f", "true", "null", "[1, [2]]", "{a: {b: 1}}"]
)
def test_w17_literals_are_taken(value: str) -> None:
    assert code_of(with_value(value)) is None


def test_w17_error_names_the_construct() -> None:
    error = prepare(with_value("f()")).error
    assert error is not None and "call expression" in error.message


def test_w18_nothing_of_meta_is_executed() -> None:
    script = "export const meta = {get name() { while (true) {} }, description: 'd'}"
    assert code_of(script) == "meta_not_literal"


@pytest.mark.parametrize(
    "key", ["__proto__", "constructor", "prototype", "'__proto__'", "__pr\\u006fto__", "'\\x5f_proto__'"]
)
@pytest.mark.parametrize("depth", ["{%s: 1}", "{a: [{%s: 1}]}"], ids=["outer", "inner"])
def test_w19_reserved_key_is_refused_at_any_depth(key: str, depth: str) -> None:
    assert code_of(with_value(depth % key)) == "meta_reserved_key"


@pytest.mark.parametrize("key", ["name", "'name'", "na\\u006de"])
def test_w19_key_given_twice_is_refused(key: str) -> None:
    assert code_of(f"export const meta = {{name: 'n', description: 'd', {key}: 'm'}}") == "meta_duplicate_key"


@pytest.mark.parametrize("name", ["", "name: '',", "name: ' \\n\\t',", "name: 5,", "name: null,", "name: ['n'],"])
def test_w20_name_is_needed(name: str) -> None:
    assert code_of(f"export const meta = {{{name} description: 'd'}}") == "meta_missing_name"


@pytest.mark.parametrize("description", ["", "description: '  '", "description: 1"])
def test_w20_description_is_needed(description: str) -> None:
    assert code_of(f"export const meta = {{name: 'n', {description}}}") == "meta_missing_description"


@pytest.mark.parametrize(
    "phases",
    ["'a'", "{}", "['a']", "[{}]", "[{title: ''}]", "[{title: ' '}]", "[{title: 1}]", "[{title: 'a', detail: 1}]",
     "[{title: 'a', model: {}}]", "[null]"],
)  # fmt: skip
def test_w20_phases_of_another_form_are_refused(phases: str) -> None:
    assert code_of(f"export const meta = {{name: 'n', description: 'd', phases: {phases}}}") == "meta_invalid_phases"


def test_w20_unknown_keys_and_double_phases_are_warnings() -> None:
    phases = "[{title: 'a', model: 'opus'}, {title: 'a', colour: 'red'}]"
    prepared = prepare(
        f"export const meta = {{name: 'n', description: 'd', whenToUse: 1, icon: 'x', phases: {phases}}}"
    )
    assert prepared.error is None
    assert [warning.split(":")[0] for warning in prepared.warnings] == [
        "meta_unknown_key",
        "meta_unknown_key",
        "meta_unused_value",
        "meta_duplicate_phase",
    ]


@pytest.mark.parametrize(
    ("count", "code"), [(DECLARED_PHASES_MAX, None), (DECLARED_PHASES_MAX + 1, "meta_invalid_phases")]
)
def test_w21_phases_are_counted(count: int, code: str | None) -> None:
    phases = ", ".join(f"{{title: 'p{i}'}}" for i in range(count))
    assert code_of(f"export const meta = {{name: 'n', description: 'd', phases: [{phases}]}}") == code


def test_w17_literal_too_deep_to_be_meant_is_refused() -> None:
    depth = DEPTH_MAX // 20
    assert code_of(with_value("[" * depth + "]" * depth)) == "meta_not_literal"
