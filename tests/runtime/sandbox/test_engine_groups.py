"""parallel and pipeline, and the branches that their items work in (section 7, W157, W158)."""

from typing import Any

import pytest

from runtime.core.limits import ITEMS_MAX
from runtime.core.model import Scope, Thrown
from runtime.core.program import AgentOp, Delivery
from tests.runtime.sandbox.stage import Null, agents_of, opened, play, program, value_for, value_of


def failing(op: AgentOp) -> Any:
    return Thrown(code="limit", message="refused") if op.prompt.startswith("bad") else op.prompt


async def test_w70_failed_thunk_is_null_and_the_rest_goes_on() -> None:
    played = await play("return await parallel(['a', 'bad', 'c'].map((p) => () => agent(p)))", answer=failing)
    assert played.value == ["a", None, "c"]


async def test_w70_results_stand_in_the_order_of_the_input() -> None:
    body = "return await parallel(['a', 'b', 'c'].map((p) => () => agent(p)))"
    async with opened() as sandbox:
        drained = await sandbox.start(program(body))
        agents = agents_of(drained)
        drains = await sandbox.deliver([value_for(op, op.prompt) for op in reversed(agents)])
    assert [drain.end is None for drain in drains] == [True, True, False]
    assert value_of(drains[-1]) == ["a", "b", "c"]


WRONG_GROUPS = {
    "no list": ("parallel('abc')", "parallel() expects an array as the first argument"),
    "an array-like": ("parallel({ length: 1, 0: () => 1 })", "parallel() expects an array as the first argument"),
    "a promise": (
        "parallel([() => 1, agent('x')])",
        "parallel(): element 1 is not a function but a promise; write () => agent(...)",
    ),
    "a hole": ("parallel([,])", "parallel(): element 0 is not a function but undefined"),
    "no items": ("pipeline(5, () => 1)", "pipeline() expects an array as the first argument"),
    "no stages": ("pipeline([1])", "pipeline() expects at least one stage"),
    "no function": ("pipeline([1], () => agent('x'), 'two')", "pipeline(): stage 2 is not a function but string"),
}


@pytest.mark.parametrize(("call", "message"), WRONG_GROUPS.values(), ids=WRONG_GROUPS.keys())
async def test_w71_w78_wrong_group_is_refused_before_anything_runs(call: str, message: str) -> None:
    played = await play(f"return await {call}.catch((e) => [e instanceof TypeError, e.message])")
    is_type_error, told = played.value
    assert is_type_error and told.startswith(message)
    assert played.groups == []


async def test_w72_thunks_are_called_in_order_in_one_job() -> None:
    played = await play(
        "const order = []\nPromise.resolve().then(() => order.push('job'))\n"
        "await parallel([() => { order.push(0); throw 1 }, async () => order.push(1), () => order.push(2)])\n"
        "return order"
    )
    assert played.value == [0, 1, 2, "job"]


async def test_w72_thunk_may_return_anything() -> None:
    played = await play("return await parallel([() => 1, () => undefined, async () => ({ a: 1 }), () => { throw 1 }])")
    assert played.value == [1, None, {"a": 1}, None]


async def test_w73_empty_groups_are_empty_lists() -> None:
    played = await play("return [await parallel([]), await pipeline([], () => 1)]")
    assert (played.value, played.groups) == ([[], []], [])


@pytest.mark.parametrize("call", ["parallel(many)", "pipeline(many, (x) => agent('x'))"], ids=["parallel", "pipeline"])
async def test_w74_group_of_too_many_items_is_refused_whole(call: str) -> None:
    body = f"const many = Array({ITEMS_MAX + 1}).fill(() => agent('x'))\nreturn await {call}.catch((e) => `${{e}}`)"
    played = await play(body)
    assert f"takes at most {ITEMS_MAX} items, not {ITEMS_MAX + 1}" in played.value
    assert played.ops == []


async def test_w74_group_of_as_many_items_as_there_may_be_runs() -> None:
    played = await play(f"return (await parallel(Array({ITEMS_MAX}).fill(() => 1))).length")
    assert (played.value, played.groups) == (ITEMS_MAX, [("", "/0", ITEMS_MAX)])


async def test_w75_stage_gets_previous_item_and_index() -> None:
    played = await play(
        "const seen = []\n"
        "const out = await pipeline(['x', 'y'], (...a) => { seen.push(a); return agent(a[1] + 1) },"
        " (...a) => { seen.push(a); return a[0] + 2 })\nreturn [out, seen]"
    )
    out, seen = played.value
    assert out == ["x12", "y12"]
    assert seen == [["x", "x", 0], ["y", "y", 1], ["x1", "x", 0], ["y1", "y", 1]]


async def test_w75_item_does_not_wait_for_the_others() -> None:
    body = "await pipeline(['x', 'y'], (p) => agent(`one ${p}`), (p) => agent(`two ${p}`))"
    async with opened() as sandbox:
        drained = await sandbox.start(program(body))
        first = agents_of(drained)
        [drained] = await sandbox.deliver([value_for(first[1], "y")])
        prompts = [op.prompt for op in agents_of(drained)]
    assert prompts == ["two y"]


async def test_w76_stage_that_throws_makes_its_item_null() -> None:
    played = await play(
        "return await pipeline([1, 2, 3], (x) => { if (x === 2) throw new Error('two'); return x },"
        " (x) => agent(x === 3 ? 'bad' : `${x}`), (x) => x + '!')",
        answer=failing,
    )
    assert played.value == ["1!", None, None]


def null_for_b(op: AgentOp) -> Any:
    return Null("empty") if op.prompt == "b" else op.prompt


@pytest.mark.parametrize(("mode", "second"), [("stop", None), ("pass", "null!")], ids=["stop", "pass"])
async def test_w77_stage_that_gives_null_ends_its_item_or_passes_it_on(mode: Any, second: Any) -> None:
    played = await play(
        "return await pipeline(['a', 'b'], (x) => agent(x), (x) => `${x}!`)", answer=null_for_b, pipeline_null=mode
    )
    assert played.value == ["a!", second]


async def test_w77_other_empty_values_pass_on() -> None:
    played = await play("return await pipeline([undefined, false, 0, ''], (x) => x, (x) => `${x}.`)")
    assert played.value == ["undefined.", "false.", "0.", "."]


async def test_w77_item_that_is_null_reaches_the_first_stage() -> None:
    assert (await play("return await pipeline([null], (x) => `${x}`)")).value == ["null"]


async def test_w79_first_stages_are_called_in_order_in_one_job() -> None:
    played = await play(
        "const order = []\nPromise.resolve().then(() => order.push('job'))\n"
        "await pipeline([0, 1, 2], (x) => { order.push(x) })\nreturn order"
    )
    assert played.value == [0, 1, 2, "job"]


async def test_w81_refusal_in_a_thunk_is_null_without_a_warning() -> None:
    played = await play("return await parallel([() => agent('bad')])", answer=failing)
    assert (played.value, played.warnings) == ([None], [])


async def test_w81_fault_of_the_script_in_an_item_is_told() -> None:
    played = await play("\nreturn await parallel([() => agent('a').then((text) => text.nothing.at(0))])")
    assert played.value == [None]
    [(code, message)] = played.warnings
    assert code == "item_threw"
    assert message.startswith("item 0 of parallel() (line 2:14) is null, because it threw TypeError: ")
    assert message.endswith("'at' of undefined (line 2:56)")


async def test_w81_ten_faults_are_told_and_no_more() -> None:
    played = await play("return (await parallel(Array(50).fill(() => { throw 1 }))).length")
    assert (played.value, len(played.warnings)) == (50, 10)


async def test_w82_groups_nest() -> None:
    played = await play(
        "return await parallel(['a', 'b'].map((x) => () => pipeline([1, 2], (y) => agent(`${x}${y}`),"
        " (z) => parallel([() => agent(z + '!'), () => z]))))"
    )
    assert played.value == [[["a1!", "a1"], ["a2!", "a2"]], [["b1!", "b1"], ["b2!", "b2"]]]


async def test_w157_each_item_has_a_branch_and_groups_are_counted_in_theirs() -> None:
    played = await play(
        "await agent('root')\n"
        "await parallel([() => agent('p0'),"
        " async () => { await agent('p1'); return parallel([() => agent('inner')]) }])\n"
        "await pipeline([0, 1], (x) => agent(`s${x}`), (r, x) => agent(`t${x}`))\nawait agent('end')"
    )
    assert played.scopes == {
        "root": "", "p0": "/0.0", "p1": "/0.1", "inner": "/0.1/0.0",
        "s0": "/1.0", "s1": "/1.1", "t0": "/1.0", "t1": "/1.1", "end": "",
    }  # fmt: skip
    assert played.groups == [("", "/0", 2), ("/0.1", "/0.1/0", 1), ("", "/1", 2)]


async def test_w158_branch_of_a_delivery_is_that_of_what_follows() -> None:
    body = "const on = async (p) => { await agent(p); await agent(p + '!') }\nawait Promise.all([on('a'), on('b')])"
    async with opened() as sandbox:
        drained = await sandbox.start(program(body))
        a, b = agents_of(drained)
        again = [
            Delivery(id=a.id, scope=Scope("/b0.0"), value=None),
            Delivery(id=b.id, scope=Scope("/b0.1"), value=None),
        ]
        drains = await sandbox.deliver(again)
    assert (a.scope, b.scope) == ("", "")
    assert [op.scope for drain in drains for op in agents_of(drain)] == ["/b0.0", "/b0.1"]


async def test_w158_after_a_group_the_branch_is_the_parent_again() -> None:
    played = await play(
        "await parallel([async () => { await parallel([() => agent('a')]); await agent('b') }, () => { throw 1 }])\n"
        "await agent('c')\nawait parallel([() => 1])\nawait agent('d')\nparallel([() => agent('e')])\nawait agent('f')"
    )
    assert played.scopes == {"a": "/0.0/0.0", "b": "/0.0", "c": "", "d": "", "e": "/2.0", "f": ""}


async def test_w158_timer_goes_on_in_the_branch_that_set_it() -> None:
    played = await play(
        "await parallel([() => new Promise((go) => setTimeout(() => go(agent('later')), 5))])\nawait agent('end')"
    )
    assert played.scopes == {"later": "/0.0", "end": ""}


async def test_w157_groups_nested_beyond_reason_are_refused() -> None:
    played = await play(
        "let deepest = 0\n"
        "const down = async (n) => {\n"
        "  await agent('x')\n  deepest = n\n"
        "  return await parallel([() => down(n + 1)]).catch((e) => { log(`${e.code} at ${n}`) })\n}\n"
        "await down(0)\nreturn deepest"
    )
    longest = max(len(group) for _, group, _ in played.groups)
    assert 8_180 < longest <= 8_192
    assert played.logs == [f"limit at {played.value}"]


@pytest.mark.parametrize("catch", ["try { await agent('x') } finally { await agent('late') }"], ids=["finally"])
async def test_w80_w128_stopped_script_never_goes_on(catch: str) -> None:
    async with opened() as sandbox:
        drained = await sandbox.start(program(f"await parallel([async () => {{ {catch} }}])\nawait agent('never')"))
        assert len(drained.ops) == 2
        await sandbox.close()
        await sandbox.close()
