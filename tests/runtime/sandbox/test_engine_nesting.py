"""workflow(): another script in a context of its own, inside the same sandbox (section 10)."""

import pytest

from runtime.core.program import WorkflowOp
from runtime.ports import SandboxFailed
from tests.runtime.sandbox.stage import play

SUB = {
    "echo": "return { got: args, kind: typeof args, name: meta.name }",
    "talk": "phase('inside')\nlog('hello')\n"
    "return [await agent('a'), await parallel([() => agent('b'), () => agent('c')])]",
    "throws": "throw new RangeError('too far')",
    "broken": "return )",
    "deeper": "return await workflow('echo').catch((e) => [e.code, e.message])",
    "leaves": "agent('left behind')\nreturn 'done'",
    "odd": "return 1n",
    "budget": "return [budget.total, budget.spent()]",
}


async def test_w107_value_of_the_other_workflow_comes_back() -> None:
    played = await play("return await workflow('echo', { list: [1] })", saved=SUB)
    assert played.value == {"got": {"list": [1]}, "kind": "object", "name": "play"}


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("workflow('echo')", "undefined"),
        ("workflow('echo', undefined)", "undefined"),
        ("workflow('echo', null)", "object"),
    ],
    ids=["omitted", "undefined", "null"],
)
async def test_w107_args_that_are_omitted_are_undefined_there(call: str, kind: str) -> None:
    assert (await play(f"return (await {call}).kind", saved=SUB)).value == kind


async def test_w107_workflow_may_be_named_by_its_path() -> None:
    played = await play("return await workflow({ scriptPath: 'echo' }, 1)", saved=SUB)
    [op] = [op for op in played.ops if isinstance(op, WorkflowOp)]
    assert (op.name, op.script_path, played.value["got"]) == (None, "echo", 1)


async def test_w107_result_is_a_copy() -> None:
    body = "const data = { a: 1 }\nconst got = await workflow('echo', data)\ngot.got.a = 2\nreturn [data, got.got]"
    assert (await play(body, saved=SUB)).value == [{"a": 1}, {"a": 2}]


WRONG = {
    "nothing": "workflow()",
    "empty": "workflow(' ')",
    "a number": "workflow(5)",
    "an inherited path": "workflow(Object.create({ scriptPath: 'x' }))",
    "args that are no JSON": "workflow('echo', { n: 1n })",
    "args that are a function": "workflow('echo', () => 1)",
    "args that are too large": "workflow('echo', 'x'.repeat(1024 * 1024))",
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
async def test_w107_wrong_reference_or_args_are_refused_at_once(call: str) -> None:
    played = await play(f"return await {call}.catch((e) => e.name)", saved=SUB)
    assert (played.value, played.ops) == ("TypeError", [])


async def test_w108_calls_of_the_child_are_those_of_the_run() -> None:
    body = "await agent('before')\nconst r = await workflow('talk')\nreturn [r, await agent('after')]"
    played = await play(body, saved=SUB)
    assert played.value == [["a", ["b", "c"]], "after"]
    assert [(op.id, op.prompt, op.nested) for op in played.agents] == [
        (0, "before", 0), (2, "a", 2), (3, "b", 2), (4, "c", 2), (5, "after", 0),
    ]  # fmt: skip
    assert (played.phases, played.logs) == ([("inside", 2)], ["hello"])


async def test_w108_child_has_branches_of_its_own_and_the_parent_goes_on_in_its() -> None:
    played = await play(
        "await workflow('talk')\nawait parallel([() => workflow('talk').then(() => agent('x'))])\n"
        "await workflow('leaves')\n"
        "await agent('y')",
        saved=SUB,
    )
    assert [(op.prompt, op.scope) for op in played.agents] == [
        ("a", "/w0"), ("b", "/w0/0.0"), ("c", "/w0/0.1"),
        ("a", "/0.0/w0"), ("b", "/0.0/w0/0.0"), ("c", "/0.0/w0/0.1"), ("x", "/0.0"),
        ("left behind", "/w1"), ("y", ""),
    ]  # fmt: skip


async def test_w108_budget_is_that_of_the_run() -> None:
    played = await play("return await workflow('budget')", saved=SUB, budget_total=70)
    assert played.value == [70, 0]


async def test_w109_workflow_inside_a_child_says_that_there_is_one_level() -> None:
    played = await play("return await workflow('deeper')", saved=SUB)
    code, message = played.value
    assert code == "nested_workflow"
    assert message.startswith("workflow() cannot be called inside a workflow")


THROWS = {
    "an unknown name": ("missing", ["nested_workflow", "there is no workflow missing"]),
    "a throw": ("throws", ["nested_workflow", "RangeError: too far (line 1:11 of the nested workflow)"]),
    "a syntax error": (
        "broken",
        ["nested_workflow", "SyntaxError: unexpected token in expression: ')' (line 1:8 of the nested workflow)"],
    ),
    "a result that is no JSON": ("odd", ["result_not_serializable", "the result cannot be JSON: a BigInt at $"]),
}


@pytest.mark.parametrize(("name", "expected"), THROWS.values(), ids=THROWS.keys())
async def test_w110_failure_of_the_child_rejects_in_the_parent(name: str, expected: list[str]) -> None:
    body = f"try {{ await workflow('{name}') }} catch (e) {{ return [e.code, e.message, e instanceof Error] }}"
    played = await play(body, saved=SUB)
    assert played.value == [*expected, True]


async def test_w111_child_has_a_global_scope_of_its_own() -> None:
    played = await play(
        "globalThis.shared = 1\nArray.prototype.extra = 2\n"
        "return [await workflow('look'), globalThis.left, {}.polluted ?? 'clean']",
        saved={"look": "globalThis.left = 3\nObject.prototype.polluted = 4\nreturn [typeof shared, typeof [].extra]"},
    )
    assert played.value == [["undefined", "undefined"], None, "clean"]


async def test_w111_children_run_side_by_side() -> None:
    played = await play(
        "return await Promise.all([workflow('talk'), workflow('talk'), workflow('echo', 1)])", saved=SUB
    )
    assert [value for value in played.value[:2]] == [["a", ["b", "c"]]] * 2
    assert played.value[2]["got"] == 1
    assert sorted({op.scope.split("/")[1] for op in played.agents}) == ["w0", "w1"]


async def test_w111_memory_is_one_for_all_of_them() -> None:
    hoard = {
        "hoard": "globalThis.held = []\nfor (let i = 0; i < 150000; i++) held.push({ i })\nreturn await agent('x')"
    }
    alone = await play("return await workflow('hoard')", saved=hoard, limits={"heap_bytes": 24 << 20})
    assert alone.value == "x"
    with pytest.raises(SandboxFailed) as caught:
        body = "return await Promise.all([1, 2, 3].map(() => workflow('hoard')))"
        await play(body, saved=hoard, limits={"heap_bytes": 24 << 20})
    assert caught.value.code == "script_out_of_memory"


async def test_w111_cpu_is_one_for_all_of_them() -> None:
    with pytest.raises(SandboxFailed) as caught:
        await play("await workflow('spin')", saved={"spin": "for (;;);"}, limits={"drain_cpu_seconds": 0.2})
    assert caught.value.code == "script_timeout"
