"""Warnings about scripts that can run, and the `require` that cannot."""

import pytest

from runtime.check import prepare

META = "export const meta = {name: 'n', description: 'd'};\n"


def warnings_of(body: str) -> list[str]:
    prepared = prepare(META + body)
    assert prepared.error is None
    return [warning.split(": ")[0] for warning in prepared.warnings]


def error_of(body: str) -> str:
    return str(prepare(META + body).error)


@pytest.mark.parametrize(
    "body",
    [
        "import x from 'y'",
        "import 'y'",
        "const x = await import('y')",
        "log(import.meta.url)",
        "export const z = 1",
        "export default 1",
        "export {log}",
        "const fs = require('fs')",
        "if (args) { require(args) }",
    ],
)
def test_w22_loading_of_modules_is_refused(body: str) -> None:
    assert error_of(body).split()[1] == "module_loading:"


@pytest.mark.parametrize(
    "body",
    [
        "log('import x from y; require(1); export const z')",
        "// import x from 'y'\n/* export default require('x') */",
        "const o = {import: 1, require: 2, export: 3}; log(o.import, o.require(1))",
        "const require = (x) => x; require('fs')",
        "function require() {} require('fs')",
        "class A { constructor() { log(new.target) } }",
    ],
)
def test_w22_the_same_words_elsewhere_are_fine(body: str) -> None:
    assert prepare(META + body).error is None


@pytest.mark.parametrize("call", ["Date.now()", "Math.random()", "new Date()", "new Date", "Date()"])
def test_w24_clock_and_dice_are_warned_of_with_their_place(call: str) -> None:
    assert warnings_of(f"log(1)\nlog({call})") == ["3:5 nondeterministic"]


@pytest.mark.parametrize(
    "body",
    [
        "new Date(args.now)",
        "Date.parse('2026-01-01')",
        "log('Date.now()') // Math.random()",
        "const Date = args.Date; Date.now()",
        "args.Math.random()",
        "const now = Date.now",
    ],
)
def test_w24_what_does_not_throw_is_not_warned_of(body: str) -> None:
    assert warnings_of(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "phase('Find', async () => { await agent('x') })",
        "phase('Find', function () {})",
        "const f = () => 1; phase('A', f)",
    ],
)
def test_w84_phase_with_a_body_is_told_of(body: str) -> None:
    assert [warning.split()[1] for warning in warnings_of(body)] == ["phase_wrapper"]


@pytest.mark.parametrize(
    "body", ["phase('Find')", "phase('Find', args)", "const phase = (t, f) => f(); phase('a', () => 1)"]
)
def test_w84_other_calls_of_phase_are_fine(body: str) -> None:
    assert warnings_of(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "while (budget.remaining() > 50_000) await agent('x')",
        "do { await agent('x') } while (budget.remaining())",
        "for (; budget.remaining() > 1 && budget.remaining() > 2; ) await agent('x')",
    ],
)
def test_w116_loop_that_only_the_rest_of_the_budget_ends_is_warned_of(body: str) -> None:
    assert warnings_of(body) == ["2:1 budget_loop"]


@pytest.mark.parametrize(
    "body",
    [
        "while (budget.total && budget.remaining() > 50_000) await agent('x')",
        "while (budget.total ? budget.remaining() > 1 : args.more) await agent('x')",
        "let n = 0; while (n++ < 5 && budget.remaining() > 1) await agent('x')",
        "if (budget.total) { while (budget.remaining() > 1) await agent('x') }",
        "while (budget.remaining() > 1) { if (!(await agent('x'))) break }",
        "if (budget.remaining() > 1) await agent('x')",
    ],
)
def test_w116_loop_with_another_end_is_fine(body: str) -> None:
    assert warnings_of(body) == []


def test_w26_call_sites_tell_loops_callbacks_and_the_budget() -> None:
    body = (
        "await agent('a')\nfor (const x of args) await agent(x)\n"
        "await parallel(args.map((x) => () => agent(x)))\nlog(budget.spent())"
    )
    profile = prepare(META + body).profile
    assert [site.inside for site in profile.sites] == ["", "loop", "callback"]
    assert profile.budgeted and not prepare(META + "log(1)").profile.budgeted
