"""The static profile of workflow scripts: recorded ones, hand-made ones, and text that is no script at all."""

from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decisions.decision import ScriptProfile
from runtime.check import Profile, check

WORKFLOWS = Path(__file__).parent.parent / "golden" / "workflows"
META = "export const meta = {name: 'n', description: 'd'}\n"


def test_profile_begins_with_the_fields_that_policies_know() -> None:
    known = [field.name for field in msgspec.structs.fields(ScriptProfile)]
    assert [field.name for field in fields(Profile)][: len(known)] == known


@pytest.mark.parametrize(
    ("file", "name", "agent_calls", "fan_out", "nested"),
    [
        ("01_missing_auth_audit", "missing-auth-audit", 3, None, 0),
        ("03_dead_code_candidates", "dead-code-candidates", 2, None, 0),
        ("05_security_review_scoping", "security-review-scope", 2, None, 0),
        ("06_port_two_reviewers", "port-with-two-reviewers", 3, None, 0),
        ("07_fix_until_check_passes", "fix-until-green", 2, None, 0),
        ("09_schema_fanout_merge", "review-and-merge", 2, None, 0),
        ("10_nested_workflow", "release-gate", 1, 1, 3),
        ("11_budget_aware_loop", "budget-aware-hunt", 3, None, 0),
    ],
)
def test_real_script_is_valid_and_profiled(
    file: str, name: str, agent_calls: int, fan_out: int | None, nested: int
) -> None:
    profile = check((WORKFLOWS / f"{file}.js").read_text())
    assert (profile.valid, profile.problems) == (True, ())
    assert (profile.name, profile.agent_calls, profile.fan_out) == (name, agent_calls, fan_out)
    assert profile.nested_workflows == nested


def test_real_script_tells_phases_and_isolation() -> None:
    profile = check((WORKFLOWS / "06_port_two_reviewers.js").read_text())
    assert profile.phases == ("Port", "Review", "Repair")
    assert profile.isolations == ("worktree",)


@pytest.mark.parametrize(
    ("body", "fan_out"),
    [
        ("log('nothing')", 0),
        ("agent('x')", 1),
        ("agent`x`", 1),
        ("if (a) agent(1); else { agent(2); agent(3) }", 2),
        ("const v = a ? await agent(1) : null", 1),
        ("switch (x) { case 1: await agent(1); break; default: await agent(2) }", 2),
        ("try { await agent(1) } catch (e) { await agent(2) }", 2),
        ("agent(1).then((v) => agent(v))", 2),
        (";(async () => { await agent(1) })()", 1),
        ("const f = (x) => agent(x); await f(1); await f(2)", 2),
        ("async function f() { await agent(1); return agent(2) }\nreturn await f()", 2),
        ("const go = agent; go(1); go(2)", 2),
        ("const o = { run: () => agent(1) }; o.run()", 1),
        ("const make = () => () => agent(1); const g = make(); g(); g()", 2),
        ("const text = " + " + ".join(["'x'"] * 900) + "; agent(text)", 1),
    ],
)
def test_calls_without_loops_are_counted(body: str, fan_out: int) -> None:
    assert check(META + body).fan_out == fan_out


@pytest.mark.parametrize(
    ("body", "fan_out"),
    [
        ("for (let i = 0; i < 5; i++) await agent(i)", 5),
        ("for (let i = 10; i >= 0; i -= 5) await agent(i)", 3),
        ("const N = 4; for (let i = 0; i < N; i++) for (const x of [1, 2, 3]) await agent(x)", 12),
        ("await parallel([() => agent(1), () => agent(2)])", 2),
        ("const a = ['x', 'y']; await parallel(a.map((i) => () => agent(i)))", 2),
        ("let a = ['x', 'y', 'z']; await parallel(a.map((i) => () => agent(i)))", 3),
        ("await Promise.all(['a', 'b', 'c'].map(agent))", 3),
        ("const f = (x) => agent(x); await Promise.all(['a', 'b'].map(f))", 2),
        ("await parallel(Array.from({ length: 40 }, (_, i) => () => agent(i)))", 40),
        ("await parallel([...Array(7).keys()].map((i) => () => agent(i)))", 7),
        ("const jobs = [1, 2].map((i) => () => agent(i)); await parallel(jobs); await parallel(jobs)", 4),
        ("const q = [1, 2, 3]; await parallel(q.flatMap((a) => [1, 2].map((b) => b)).map((j) => () => agent(j)))", 6),
        ("await pipeline(['a', 'b'], (x) => agent(x), (y) => agent(y))", 4),
        ("const r = await parallel([1, 2].map((i) => () => agent(i))); r.filter(Boolean).forEach((x) => agent(x))", 4),
        ("for (let i = 0; i < 1e9; i++) agent(i)", 1_000_000),
    ],
)
def test_literal_bounds_multiply(body: str, fan_out: int) -> None:
    assert check(META + body).fan_out == fan_out


@pytest.mark.parametrize(
    "body",
    [
        "while (true) await agent(1)",
        "for (const x of args.files) await agent(x)",
        "for (const k in { a: 1 }) await agent(k)",
        "for (let i = 0; i < 5; i++) { i -= 1; await agent(i) }",
        "for (let i = 0; i < 5; i--) await agent(i)",
        "args.files.forEach((x) => agent(x))",
        "await pipeline(args.files, (x) => agent(x))",
        "const a = ['x']; a.push('y'); a.map((i) => agent(i))",
        "const a = [1]; const grow = (z) => z.push(2); grow(a); a.map((x) => agent(x))",
        "const r = () => { agent(1); r() }; r()",
        "let f = () => agent(1); f = () => 0; f()",
        "const jobs = []; jobs.push(() => agent(1)); jobs.forEach((j) => j())",
        "for (const j of [() => agent(1)]) { j(); j() }",
        "const twice = (f) => { f(); f() }; twice(() => agent(1))",
        "setTimeout(() => agent(1))",
        "class A { m() { agent(1) } }",
        "eval('agent(1)')",
        "globalThis.agent(1)",
        "agent.call(null, 1)",
        "const f = (x = agent(1)) => x; f()",
    ],
)
def test_unseen_bound_is_no_bound(body: str) -> None:
    assert check(META + body).fan_out is None


def test_options_are_collected_wherever_they_are_built() -> None:
    body = """
    const base = { model: 'opus', isolation: 'worktree' }
    agent('a', { ...base, agentType: kind || 'Explore' })
    agent('b', { model: hard === 'x' ? "sonnet" : `haiku`, agentType: other })
    base.model = 'fable'
    """
    profile = check(META + body)
    assert profile.models == ("opus", "sonnet", "haiku", "fable")
    assert (profile.agent_types, profile.isolations) == (("Explore",), ("worktree",))


@pytest.mark.parametrize(
    ("script", "place", "code"),
    [
        ("", "1:1", "meta_missing"),
        ("const x = 1", "1:1", "meta_missing"),
        ("let y\nexport const meta = {name: 'a', description: 'b'}", "2:1", "meta_not_first"),
        ("export const meta = {name: 'a', description: f()}", "1:46", "meta_not_literal"),
        ("export const meta = {name: 'a', description: `b${c}`}", "1:46", "meta_not_literal"),
        ("export const meta = {...x}", "1:22", "meta_not_literal"),
        ("export const meta = {get name() { return 'a' }}", "1:22", "meta_not_literal"),
        ("export const meta = {['name']: 'a'}", "1:22", "meta_not_literal"),
        ("export const meta = {name: 'a', description: 'b', n: 1n}", "1:54", "meta_not_literal"),
        ("export const meta = {'__proto__': {}}", "1:22", "meta_reserved_key"),
        ("export const meta = {__pr\\u006fto__: {}}", "1:22", "meta_reserved_key"),
        ("export const meta = {name: 'a', name: 'b'}", "1:33", "meta_duplicate_key"),
        ("export const meta = {name: ' ', description: 'b'}", "1:21", "meta_missing_name"),
        ("export const meta = {name: 'a'}", "1:21", "meta_missing_description"),
        ("export const meta = {name: 'a', description: 'b', phases: ['x']}", "1:21", "meta_invalid_phases"),
        (META + "import x from 'y'", "2:1", "module_loading"),
        (META + "await import('x')", "2:7", "module_loading"),
        (META + "export const z = 1", "2:1", "module_loading"),
        (META + "const a: string = 'x'", "2:7", "syntax_error"),
        (META + "agent('x'", "2:1", "syntax_error"),
        (META + "log('a\u202eb')", "2:7", "hidden_characters"),
        ("\ud800", "1:1", "not_unicode"),
    ],
)
def test_faulty_script_is_invalid_with_place_and_code(script: str, place: str, code: str) -> None:
    profile = check(script)
    assert not profile.valid
    assert any(problem.startswith(f"{place} {code}:") for problem in profile.problems), profile.problems


def test_words_of_modules_in_texts_are_no_problem() -> None:
    assert check(META + "log('import x from y; export const z')\n// import()\nconst o = { import: 1 }").valid


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_foreign_line_ends_change_nothing(newline: str) -> None:
    script = META + "agent('x')\nagent('y')"
    assert check("\ufeff" + script.replace("\n", newline)) == check(script)


def test_meta_escapes_are_decoded_and_not_evaluated() -> None:
    profile = check(r"export const meta = {name: '\x61\u0062\u{63}\n\'', description: `\ud83d\ude00`}")
    assert (profile.name, profile.description) == ("abc\n'", "😀")


@pytest.mark.parametrize("text", ["x" * 600_000, "[" * 300_000, "a;" * 250_000, "a<b" * 100_000])
def test_oversized_script_is_refused_in_time(text: str) -> None:
    profile = check(text)
    assert not profile.valid
    assert profile.fan_out is None


def test_deep_script_has_no_bound_instead_of_an_error() -> None:
    profile = check(META + "f(" * 600 + "agent(1)" + ")" * 600)
    assert (profile.agent_calls, profile.fan_out) == (1, None)


@given(st.text(max_size=200) | st.text("export const meta={}()[]=>;'`$\\agent\n", max_size=200))
def test_any_text_is_profiled_without_an_error(text: str) -> None:
    profile = check(text)
    assert profile.valid == (not profile.problems)


@given(st.text("(){}[]=>,.;'`$?:&|+-!<agentmapforofletconst1 \n", max_size=120))
def test_any_body_behind_a_meta_is_profiled_without_an_error(body: str) -> None:
    profile = check(META + body)
    assert profile.fan_out is None or profile.fan_out >= 0
