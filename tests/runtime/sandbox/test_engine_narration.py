"""phase and log (section 8)."""

import pytest

from runtime.core.limits import LOG_BYTES_MAX, LOG_CHARS_MAX, LOG_LINES_MAX
from runtime.core.program import AgentOp, LogOp, PhaseOp
from tests.runtime.sandbox.stage import play


async def test_w83_phase_gives_nothing_and_may_be_entered_again() -> None:
    played = await play("return [typeof phase('a'), typeof phase('b'), typeof phase('a')]")
    assert played.value == ["undefined"] * 3
    assert played.phases == [("a", 0), ("b", 0), ("a", 0)]


@pytest.mark.parametrize("title", ["", "''", "'  '", "5", "null", "{}"])
async def test_w83_title_must_be_a_text(title: str) -> None:
    played = await play(f"try {{ phase({title}) }} catch (e) {{ return `${{e}}` }}")
    assert played.value == "TypeError: phase() expects a title, a string that is not empty"
    assert played.ops == []


async def test_w83_long_title_is_cut() -> None:
    played = await play("phase('x'.repeat(100000))")
    assert played.phases == [("x" * 1_024, 0)]


async def test_w84_phase_as_a_wrapper_is_refused_with_the_reason() -> None:
    played = await play("let ran = false\ntry { phase('a', () => { ran = true }) } catch (e) { return [`${e}`, ran] }")
    message, ran = played.value
    assert message.startswith("TypeError: phase() is not a wrapper")
    assert (ran, played.ops) == (False, [])


async def test_w85_w86_phases_and_calls_keep_their_order() -> None:
    played = await play(
        "phase('one')\nagent('a')\nphase('two')\nagent('b', { phase: 'one' })\nagent('c')\nawait agent('d')"
    )
    told = [
        (op.title if isinstance(op, PhaseOp) else op.prompt) for op in played.ops if isinstance(op, PhaseOp | AgentOp)
    ]
    assert told == ["one", "a", "two", "b", "c", "d"]
    assert [op.options.phase for op in played.agents] == [None, "one", None, None]


LINES = {
    "text": ("'plain'", "plain"),
    "nothing": ("", "undefined"),
    "a number": ("1.5", "1.5"),
    "a record": ("{ b: [1, { c: null }], a: undefined }", '{"b":[1,{"c":null}]}'),
    "a BigInt": ("12n", "12"),
    "a symbol": ("Symbol('s')", "Symbol(s)"),
    "an error": ("new TypeError('bad')", "TypeError: bad"),
    "a cycle": ("(() => { const a = {}; a.a = a; return a })()", "[object Object]"),
    "a trap": ("{ toJSON() { throw 1 }, toString() { throw 2 } }", "[unprintable]"),
    "a record without a prototype": ("Object.create(null)", "{}"),
    "a function": ("parallel", "parallel"),
    "half a character": ("'\\ud800'", "\ufffd"),
    "control characters": ("'a\\u0000\\u202eb'", "a\x00\u202eb"),
}


@pytest.mark.parametrize(("message", "line"), LINES.values(), ids=LINES.keys())
async def test_w89_anything_can_be_logged(message: str, line: str) -> None:
    played = await play(f"return typeof log({message})")
    assert played.value == "undefined"
    assert [line in text for text in played.logs] == [True]


async def test_w90_long_line_is_cut_with_a_mark() -> None:
    played = await play(
        f"log('x'.repeat({LOG_CHARS_MAX}))\nlog('y'.repeat({LOG_CHARS_MAX + 1}))\nlog('😀'.repeat(4000))"
    )
    exact, cut, pairs = played.logs
    assert exact == "x" * LOG_CHARS_MAX
    assert cut == "y" * (LOG_CHARS_MAX - 9) + "... [cut]"
    assert len(pairs) <= LOG_CHARS_MAX and pairs.endswith("... [cut]")


async def test_w90_lines_beyond_the_most_are_counted_and_not_kept() -> None:
    played = await play(
        f"for (let i = 0; i < {LOG_LINES_MAX + 3}; i++) log('line ' + i)\n"
        "await agent('a')\nlog('more')\nawait agent('b')"
    )
    lines = [op for op in played.ops if isinstance(op, LogOp)]
    assert [op.text for op in lines if not op.dropped] == [f"line {i}" for i in range(LOG_LINES_MAX)]
    assert [(op.text, op.dropped) for op in lines if op.dropped] == [("", 3), ("", 4)]


async def test_w90_bytes_beyond_the_most_are_counted_and_not_kept() -> None:
    played = await play("for (let i = 0; i < 100; i++) log('好'.repeat(4000))\nlog('small')")
    lines = [op for op in played.ops if isinstance(op, LogOp)]
    kept = [op.text for op in lines if not op.dropped]
    assert len(kept) == LOG_BYTES_MAX // 12_000
    assert [op.dropped for op in lines if op.dropped] == [101 - len(kept)]
