"""What a script finds around it: the globals, and what of the language is closed (sections 3 and 4)."""

from typing import Any

import pytest

from runtime.core.model import Thrown
from runtime.core.program import AgentOp
from tests.runtime.sandbox.stage import echo, play


async def test_w27_globals_of_the_api_are_there() -> None:
    played = await play(
        "return [typeof agent, typeof parallel, typeof pipeline, typeof phase, typeof log, typeof workflow,"
        " typeof budget, typeof args, typeof meta, typeof console.error, typeof setTimeout, typeof clearTimeout]"
    )
    assert played.value == [*["function"] * 6, "object", "undefined", "object", *["function"] * 3]


async def test_w27_timer_fires_with_its_arguments_after_a_clamped_delay() -> None:
    played = await play(
        "const told = []\n"
        "setTimeout((...words) => told.push(words), 1e9, 'a', 'b')\nsetTimeout(() => told.push('now'), -5)\n"
        "setTimeout(() => told.push('odd'), 'soon')\n"
        "await new Promise((go) => setTimeout(go, 12.9))\nreturn told"
    )
    assert [getattr(op, "ms", None) for op in played.ops] == [600_000, 0, 0, 12]
    assert played.value == [["a", "b"], "now", "odd"]


async def test_w27_cleared_timer_is_told_and_does_not_fire() -> None:
    played = await play(
        "const told = []\nconst id = setTimeout(() => told.push('no'), 1)\nclearTimeout(id)\nclearTimeout(id)\n"
        "clearTimeout('x')\nawait new Promise((go) => setTimeout(go, 2))\nreturn told"
    )
    assert played.value == []
    assert [type(op).__name__ for op in played.ops] == ["TimerOp", "ClearOp", "TimerOp"]


async def test_w27_timer_that_throws_is_a_warning() -> None:
    played = await play("setTimeout(() => { throw new Error('late') }, 1)\nreturn await agent('x')")
    assert played.value == "x"
    assert played.warnings == [("unhandled_rejection", "a timer's function threw Error: late (line 1:30)")]


async def test_w27_pending_timer_does_not_keep_the_script_alive() -> None:
    played = await play("setTimeout(() => log('late'), 1)\nreturn 'done'")
    assert (played.value, played.logs) == ("done", [])


async def test_w27_console_speaks_like_log() -> None:
    played = await play("console.log('a', { b: 1 }, 2)\nconsole.info()\nconsole.warn([null])\nconsole.error('e')")
    assert played.logs == ['a {"b":1} 2', "", "[null]", "e"]


async def test_w28_globals_are_the_language_and_the_api_and_nothing_else() -> None:
    played = await play("return Reflect.ownKeys(globalThis).map(String).filter((name) => /^[a-z_$]/.test(name)).sort()")
    assert played.value == sorted(
        "agent args budget clearTimeout console decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval "
        "globalThis isFinite isNaN log meta parallel parseFloat parseInt phase pipeline setTimeout undefined unescape "
        "workflow".split()
    )


async def test_w29_script_may_shadow_the_api_with_its_own() -> None:
    played = await play("const agent = 1, log = 2, args = 3, meta = 4\nreturn [agent, log, args, meta]", {"a": 1})
    assert played.value == [1, 2, 3, 4]


async def test_w29_api_is_frozen_through_and_through() -> None:
    played = await play(
        "return [agent, agent.lastError, parallel, pipeline, phase, log, workflow, budget, budget.spent, console,"
        " console.log, meta, meta.phases, meta.phases[0], setTimeout, Object.getPrototypeOf(agent('x'))]"
        ".map(Object.isFrozen)",
        meta={"name": "x", "description": "y", "phases": [{"title": "a"}]},
    )
    assert played.value == [True] * 16


async def test_w30_error_of_a_call_is_made_in_the_realm_of_the_script() -> None:
    def refuse(op: AgentOp) -> Any:
        fields = {"rawText": "{}", "validationErrors": [{"path": "$"}], "message": "not this", "stack": "nor this"}
        return Thrown(code="schema_retries_exhausted", message="no valid answer", fields=fields)

    played = await play(
        "const e = await agent('x').catch((e) => e)\n"
        "return [e instanceof Error, Object.getPrototypeOf(e) === Error.prototype, e.code, e.message, e.stack,"
        " e.rawText, e.validationErrors instanceof Array]",
        answer=refuse,
    )
    stack = "    at workflow.js:1:16\n"
    assert played.value == [True, True, "schema_retries_exhausted", "no valid answer", stack, "{}", True]


async def test_w30_invalid_call_of_the_host_is_a_type_error() -> None:
    played = await play(
        "return await agent('x').catch((e) => [e instanceof TypeError, e.code])",
        answer=lambda op: Thrown(code="invalid_call", message="no"),
    )
    assert played.value == [True, "invalid_call"]


async def test_w31_code_out_of_strings_is_an_eval_error_that_says_so() -> None:
    played = await play("try { new Function('return 1') } catch (e) { return `${e}` }")
    assert played.value == "EvalError: code generation is disabled in workflow scripts"


async def test_w31_functions_still_know_their_kind() -> None:
    played = await play(
        "const f = async () => {}\n"
        "return [f instanceof Function, (() => {}).constructor === Function, f.constructor.name]"
    )
    assert played.value == [True, True, "AsyncFunction"]


async def test_w31_direct_eval_sees_no_local_names() -> None:
    played = await play("const secret = 1\ntry { return eval('secret') } catch (e) { return e.name }")
    assert played.value == "EvalError"


async def test_w32_changing_a_result_changes_no_other() -> None:
    shared = {"list": [1]}
    played = await play(
        "const [a, b] = [await agent('a'), await agent('b')]\na.list.push(2)\nargs.list.push(3)\nreturn [a, b, args]",
        shared,
        answer=lambda op: shared,
    )
    assert played.value == [{"list": [1, 2]}, {"list": [1]}, {"list": [1, 3]}]


async def test_w32_key_named_proto_is_a_key() -> None:
    data = {"__proto__": {"x": 1}, "y": 2}
    played = await play(
        "const got = await agent('a')\nreturn [Object.keys(args), Object.keys(got), got.x === undefined, got]",
        data,
        answer=lambda op: data,
    )
    assert played.value == [["__proto__", "y"], ["__proto__", "y"], True, data]


@pytest.mark.parametrize(
    "value", [0, "", False, None, [], {}, "text", [1, {"a": None}], 1e300], ids=lambda value: repr(value)
)
async def test_w33_args_are_the_value_that_was_given(value: Any) -> None:
    assert (await play("return { it: args }", value)).value == {"it": value}


async def test_w33_args_that_were_not_given_are_undefined() -> None:
    assert (await play("return [typeof args, 'args' in globalThis]")).value == ["undefined", True]


async def test_w37_clock_and_dice_say_what_to_do_instead() -> None:
    played = await play(
        "const say = (f) => { try { f() } catch (e) { return `${e}` } }\n"
        "return [say(() => Date.now()), say(() => new Date()), say(() => Date()), say(() => Math.random())]"
    )
    why = "is unavailable in workflow scripts, because a resumed run would go another way"
    assert played.value == [
        f"Error: Date.now() {why}; pass a timestamp in args",
        f"Error: new Date() without arguments {why}; pass a timestamp in args",
        f"Error: Date() {why}; pass a timestamp in args",
        f"Error: Math.random() {why}; vary by index, or pass a seed in args",
    ]


async def test_w38_dates_with_arguments_work_in_utc() -> None:
    played = await play(
        "return [new Date(2026, 0, 2, 3).toISOString(), new Date('2026-01-02').getTime(), Date.UTC(2026, 0, 2),"
        " Date.parse('2026-01-02T00:00:00Z'), new Date(0).getTimezoneOffset(), new Date(0).toString()]"
    )
    day = 1767312000000
    assert played.value[:5] == ["2026-01-02T03:00:00.000Z", day, day, day, 0]
    assert played.value[5].startswith("Thu Jan 01 1970 00:00:00 GMT+0000")


async def test_w38_subclass_of_date_works_with_arguments_only() -> None:
    played = await play(
        "class Day extends Date { get name() { return 'day' } }\n"
        "const d = new Day(5)\nlet empty\ntry { new Day() } catch (e) { empty = e.name }\n"
        "return [d.getTime(), d.name, d instanceof Date, new Date(undefined).getTime(), empty]"
    )
    assert played.value == [5, "day", True, None, "Error"]


async def test_w41_same_script_asks_for_the_same_twice() -> None:
    body = (
        "const seen = new Set()\nphase('a')\nlog({ z: 1, a: [1.5, 'é'] })\n"
        "const all = await pipeline([3, 1, 2], (x) => agent(`one ${x}`),"
        " (r, x, i) => { seen.add(r); return agent(`two ${i}`) })\n"
        "await parallel([...seen].map((s) => () => agent(s, { schema: { type: 'object', b: 1, a: 2 } })))\n"
        "return all.sort((x, y) => x.localeCompare(y))"
    )
    first, second = await play(body), await play(body)
    assert first.ops == second.ops
    assert (first.value, second.value) == (["two 0", "two 1", "two 2"],) * 2


async def test_w42_locale_methods_say_what_plain_ones_say() -> None:
    played = await play(
        "const d = new Date(0), n = 1234567.5\n"
        "return [d.toLocaleString('de') === d.toString(), d.toLocaleDateString() === d.toDateString(),"
        " d.toLocaleTimeString() === d.toTimeString(), n.toLocaleString('de'), 12345678901234567890n.toLocaleString(),"
        " [1234.5, d].toLocaleString() === `1234.5,${d}`, 'I'.toLocaleLowerCase('tr')]"
    )
    assert played.value == [True, True, True, "1234567.5", "12345678901234567890", True, "i"]


async def test_w42_locale_compare_sorts_the_same_everywhere() -> None:
    played = await play("return ['b', 'a', 'é', 'e', 'Z'].sort((x, y) => x.localeCompare(y))")
    assert played.value == ["Z", "a", "b", "e", "é"]


async def test_w42_stack_shows_lines_of_the_script_and_nothing_else() -> None:
    played = await play(
        "/* meta */ const f = () => { throw new TypeError('bad') }\n"
        "function outer(x) { return [x].map(f) }\n"
        "await agent('x')\n\n  outer(1)"
    )
    assert played.threw.message == "TypeError: bad"
    assert played.threw.stack.splitlines() == [
        "    at f (workflow.js:1:40)",
        "    at outer (workflow.js:2:36)",
        "    at workflow.js:5:3",
    ]


async def test_w42_stack_of_an_error_inside_a_group_hides_the_group() -> None:
    played = await play("let stack\nawait parallel([\n  () => { stack = new Error('x').stack },\n])\nreturn stack")
    assert played.value == "    at workflow.js:3:23\n    at workflow.js:2:7\n"


async def test_w42_error_of_a_call_shows_where_it_was_called() -> None:
    played = await play("await null\n\n  await agent('x')", answer=lambda op: Thrown(code="limit", message="no"))
    assert (played.threw.message, played.threw.stack) == ("Error: no", "    at workflow.js:3:9\n")


async def test_w42_place_in_a_text_that_was_parsed_is_no_place_in_the_script() -> None:
    played = await play("\nJSON.parse('{\\n  x')")
    assert (played.threw.message.split(":")[0], played.threw.stack) == ("SyntaxError", "    at workflow.js:2:6\n")


async def test_w42_place_of_a_syntax_error_is_the_one_in_the_script() -> None:
    played = await play("const a = 1\n\nconst b = ]", answer=echo)
    assert played.threw.message.startswith("SyntaxError")
    assert "workflow.js:3:1" in played.threw.stack
