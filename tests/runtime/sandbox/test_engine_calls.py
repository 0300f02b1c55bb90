"""agent(): what it accepts, what it refuses, and what comes out of it as an operation (sections 5 and 11)."""

from typing import Any

import pytest

from runtime.core.limits import PROMPT_BYTES_MAX
from runtime.core.model import CallOptions, Thrown
from runtime.core.program import AgentOp
from tests.runtime.sandbox.stage import Null, agents_of, opened, play, program, value_for, value_of

GIVEN = {
    "nothing": ("agent('x')", CallOptions()),
    "null as options": ("agent('x', null)", CallOptions()),
    "options that are undefined or null": ("agent('x', { label: undefined, model: null })", CallOptions()),
    "names": (
        "agent('x', { label: 'a b', phase: 'p', model: 'm', agentType: 't' })",
        CallOptions(label="a b", phase="p", model="m", agent_type="t"),
    ),
    "a schema": (
        "agent('x', { schema: { type: 'object', properties: { a: { enum: [1, null] } }, description: undefined } })",
        CallOptions(schema={"type": "object", "properties": {"a": {"enum": [1, None]}}}),
    ),
    "effort in any case": ("agent('x', { effort: 'XHigh' })", CallOptions(effort="xhigh")),
    "tools": (
        "agent('x', { tools: ['Read', 'Grep'], disallowedTools: [] })",
        CallOptions(tools=("Read", "Grep"), disallowed_tools=()),
    ),
    "a worktree": ("agent('x', { isolation: 'worktree' })", CallOptions(isolation="worktree")),
    "fuses": (
        "agent('x', { maxTurns: 3, maxTokens: 1000, maxCostUsd: 0.25, timeoutMs: 5, idleTimeoutMs: 6, retries: 0 })",
        CallOptions(max_turns=3, max_tokens=1_000, max_cost_usd=0.25, timeout_ms=5, idle_timeout_ms=6, retries=0),
    ),
    "what happens at a limit": (
        "agent('x', { onLimit: 'partial', cache: 'never', evidence: true })",
        CallOptions(on_limit="partial", cache="never", evidence=True),
    ),
    "own keys only": (
        "agent('x', Object.assign(Object.create({ label: 'no' }), { phase: 'p' }))",
        CallOptions(phase="p"),
    ),
}


@pytest.mark.parametrize(("call", "options"), GIVEN.values(), ids=GIVEN.keys())
async def test_w47_w48_options_come_out_as_they_were_given(call: str, options: CallOptions) -> None:
    played = await play(f"return await {call}")
    assert [(op.id, op.prompt, op.options, op.scope, op.nested) for op in played.agents] == [(0, "x", options, "", 0)]
    assert played.value == "x"


WRONG_PROMPTS = {
    "none": "agent()",
    "empty": "agent('')",
    "white space": "agent(' \\n\\t')",
    "a number": "agent(5)",
    "an object": "agent({ prompt: 'x' })",
    "a String": "agent(new String('x'))",
}


@pytest.mark.parametrize("call", WRONG_PROMPTS.values(), ids=WRONG_PROMPTS.keys())
async def test_w44_prompt_that_is_none_is_refused_before_anything_is_queued(call: str) -> None:
    played = await play(f"return await {call}.catch((e) => [e instanceof TypeError, e.message])")
    assert played.value == [True, "agent() expects a prompt, a string that is not empty, as the first argument"]
    assert played.ops == []


@pytest.mark.parametrize(
    ("letter", "each"), [("x", 1), ("é", 2), ("好", 3), ("😀", 4)], ids=["one", "two", "three", "four"]
)
async def test_w44_prompt_is_measured_in_bytes(letter: str, each: int) -> None:
    fits = PROMPT_BYTES_MAX // each
    played = await play(
        f"const fits = '{letter}'.repeat({fits})\n"
        "return [await agent(fits) === fits, await agent(fits + 'abcd').catch((e) => e.name)]"
    )
    assert played.value == [True, "TypeError"]
    assert len(played.agents) == 1


async def test_w45_every_refusal_is_a_rejection() -> None:
    played = await play(
        "const calls = [agent(), agent('x', 5), agent('x', { retries: 9 }), workflow(), parallel(), pipeline()]\n"
        "const kinds = calls.map((call) => call instanceof Promise)\n"
        "const names = await Promise.all(calls.map((call) => call.catch((e) => e.name)))\nreturn [...kinds, ...names]"
    )
    assert played.value == [*[True] * 6, *["TypeError"] * 6]


async def test_w45_refusal_can_be_caught_by_await() -> None:
    played = await play("try { await agent() } catch (e) { return e.name }\nreturn 'not caught'")
    assert played.value == "TypeError"


WRONG_OPTIONS = {
    "options as text": ("'fast'", "agent() expects an object of options"),
    "options as list": ("[]", "agent() expects an object of options"),
    "options as function": ("() => 1", "agent() expects an object of options"),
    "label": ("{ label: 5 }", '"label" must be a string that is not empty'),
    "phase": ("{ phase: ' ' }", '"phase" must be a string that is not empty'),
    "model": ("{ model: {} }", '"model" must be a string'),
    "a long name": ("{ agentType: 'x'.repeat(2000) }", '"agentType" must be at most 1024 characters'),
    "schema as text": ("{ schema: 'object' }", '"schema" must be a JSON Schema object'),
    "schema as list": ("{ schema: [] }", '"schema" must be a JSON Schema object'),
    "schema with a function": (
        "{ schema: { type: String } }",
        '"schema" is not JSON: something that JSON cannot hold at $.type',
    ),
    "schema with a cycle": ("{ schema: (() => { const s = {}; s.s = s; return s })() }", "a cycle at $.s"),
    "effort": ("{ effort: 'extreme' }", '"effort" must be one of low, medium, high, xhigh, max'),
    "effort as number": ("{ effort: 3 }", '"effort" must be one of'),
    "isolation": ("{ isolation: 'container' }", '"isolation" must be one of worktree'),
    "tools as text": ("{ tools: 'Read' }", '"tools" must be an array'),
    "tools of numbers": ("{ disallowedTools: [1] }", '"disallowedTools" must be a string'),
    "turns": ("{ maxTurns: 0 }", '"maxTurns" must be a whole number, at least 1'),
    "turns as text": ("{ maxTurns: '5' }", '"maxTurns" must be a whole number'),
    "half a token": ("{ maxTokens: 1.5 }", '"maxTokens" must be a whole number'),
    "cost": ("{ maxCostUsd: -1 }", '"maxCostUsd" must be a number above 0'),
    "cost without end": ("{ maxCostUsd: Infinity }", '"maxCostUsd" must be a number above 0'),
    "retries": ("{ retries: 6 }", '"retries" must be a whole number from 0 to 5'),
    "limit": ("{ onLimit: 'ignore' }", '"onLimit" must be one of null, throw, partial'),
    "cache": ("{ cache: true }", '"cache" must be one of auto, never'),
    "evidence": ("{ evidence: 1 }", '"evidence" must be true or false'),
}


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
async def test_w49_wrong_option_is_named_before_the_call_counts(options: str, message: str) -> None:
    played = await play(f"return await agent('x', {options}).catch((e) => [e instanceof TypeError, e.message])")
    is_type_error, told = played.value
    assert is_type_error and message in told
    assert played.ops == []


async def test_w49_unknown_option_is_refused_with_those_that_there_are() -> None:
    played = await play("return await agent('x', { modle: 'm' }).catch((e) => `${e}`)")
    assert played.value.startswith('TypeError: agent() has no option "modle"; it has label, phase, schema, model')
    assert played.ops == []


async def test_w49_unknown_option_is_one_warning_per_key_where_it_may_be() -> None:
    played = await play(
        "await agent('a', { modle: 1, label: 'l' })\nawait agent('b', { modle: 2, other: 3 })", strict_options=False
    )
    assert [op.options for op in played.agents] == [CallOptions(label="l"), CallOptions()]
    assert [code for code, _ in played.warnings] == ["unknown_option"] * 2
    assert ['"modle"' in played.warnings[0][1], '"other"' in played.warnings[1][1]] == [True, True]


async def test_w53_call_that_gives_nothing_is_null() -> None:
    played = await play("return [await agent('x')]", answer=lambda op: Null("empty"))
    assert played.value == [None]


def stopped(op: AgentOp) -> Any:
    return {"a": Null("stopped"), "b": Null("api_error"), "c": Thrown(code="limit", message="no")}.get(
        op.prompt[0], "v"
    )


async def test_w54_reason_of_a_null_can_be_asked_for_by_label() -> None:
    played = await play(
        "await agent('a', { label: 'one' })\nawait agent('b   folded  ' + 'x'.repeat(80))\n"
        "await parallel([() => agent('c', { label: 'three' })])\nawait agent('d', { label: 'four' })\n"
        "const e = agent.lastError\n"
        "return [e('one'), e('b folded ' + 'x'.repeat(51)), e('three'), e('four'), e('unknown'), e('__proto__')]",
        answer=stopped,
    )
    assert played.value == ["stopped", "api_error", "limit", None, None, None]


async def test_w54_reason_is_forgotten_when_the_label_gives_a_value() -> None:
    answers = iter([Null("stalled"), "v"])
    played = await play(
        "await agent('a', { label: 'l' })\nconst first = [agent.lastError('l'), agent.lastError()]\n"
        "await agent('a', { label: 'l' })\nreturn [...first, agent.lastError('l'), agent.lastError()]",
        answer=lambda op: next(answers),
    )
    assert played.value == ["stalled", "stalled", None, None]


async def test_w61_rejection_that_nobody_handles_is_a_warning() -> None:
    played = await play(
        "agent('a')\nconst kept = agent('b')\nagent('c').catch(() => 0)\nawait agent('d')\n"
        "try { await kept } catch {}\nreturn 'done'",
        answer=lambda op: "v" if op.prompt == "d" else Thrown(code="limit", message=f"no {op.prompt}"),
    )
    assert played.value == "done"
    assert played.warnings == [("unhandled_rejection", "Error: no a")]


async def test_w61_call_that_was_not_awaited_does_not_hold_the_result() -> None:
    played = await play("agent('a')\nagent('b')\nreturn 'done'")
    assert (played.value, played.prompts) == ("done", ["a", "b"])


async def test_w61_nothing_is_asked_for_after_the_script_has_returned() -> None:
    played = await play(
        "const late = async () => { await null; await null; await null; await null; await null; agent('late') }\n"
        "late()\nreturn { toJSON: () => 'done' }"
    )
    assert (played.value, played.prompts) == ("done", [])


async def test_w59_ids_are_dense_and_shared_with_timers_and_workflows() -> None:
    played = await play(
        "agent('a')\nsetTimeout(() => 0, 1)\nworkflow('none').catch(() => 0)\nagent()\nagent('b')\n"
        "await new Promise((go) => setTimeout(go, 1))"
    )
    ids = [getattr(op, "id", None) for op in played.ops if type(op).__name__ != "WarnOp"]
    assert ids == [0, 1, 2, 3, 4]
    assert len(played.warnings) == 1


async def test_w112_budget_is_total_spent_and_the_rest() -> None:
    body = "const see = () => [budget.total, budget.spent(), budget.remaining()]\nconst first = see()\n"
    body += "await agent('a')\nconst second = see()\nawait agent('b')\nreturn [first, second, see()]"
    async with opened() as sandbox:
        drained = await sandbox.start(program(body, budget_total=1_000))
        [drained] = await sandbox.deliver([value_for(agents_of(drained)[0], "v", spent=400)])
        [drained] = await sandbox.deliver([value_for(agents_of(drained)[0], "v", spent=1_200)])
    assert value_of(drained) == [[1000, 0, 1000], [1000, 400, 600], [1000, 1200, 0]]


async def test_w112_budget_without_total_never_ends() -> None:
    played = await play("return [budget.total, budget.remaining() === Infinity, budget.remaining() > 1e300]")
    assert played.value == [None, True, True]


async def test_w116_guard_by_total_does_not_run_without_one() -> None:
    played = await play("while (budget.total && budget.remaining() > 50_000) await agent('x')\nreturn 'skipped'")
    assert (played.value, played.prompts) == ("skipped", [])
