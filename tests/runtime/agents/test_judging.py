"""No schema holds up the event loop, and a child that judges is never left behind."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from runtime.agents.judging import SchemaJudge, SchemaUnusable
from runtime.agents.structured import Mismatch

CATASTROPHIC = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
ENDLESS_TEXT = {"a": "a" * 60 + "!"}
DOUBLING = {
    "allOf": [{"$ref": "#/$defs/d0"}],
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)},
        "d40": {"type": "object"},
    },
}


@pytest.fixture
async def judge() -> AsyncGenerator[SchemaJudge]:
    made = SchemaJudge()
    yield made
    await made.close()


async def test_plain_schema_is_judged_at_once(judge: SchemaJudge) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert await judge.mismatches(schema, {"n": 1}) == ()
    assert await judge.mismatches(schema, {"n": "1"}) == (Mismatch("/n", "'1' is not of type 'integer'"),)


async def test_w64_pattern_is_judged_by_the_child(judge: SchemaJudge) -> None:
    assert await judge.mismatches(CATASTROPHIC, {"a": "aaa"}) == ()
    assert [each.path for each in await judge.mismatches(CATASTROPHIC, {"a": "b"})] == ["/a"]


@pytest.mark.waits
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (CATASTROPHIC, ENDLESS_TEXT),
        (DOUBLING, {}),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"n": n} for n in range(20_000)]}),
    ],
    ids=["pattern", "references", "unique-items"],
)
async def test_w64_costly_schema_is_given_up_while_the_loop_goes_on(
    judge: SchemaJudge, schema: dict[str, Any], value: Any
) -> None:
    longest = 0.0

    async def watch_the_loop() -> None:
        nonlocal longest
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    watching = asyncio.create_task(watch_the_loop())
    with pytest.raises(SchemaUnusable, match="took more than 1 s"):
        await judge.mismatches(schema, value)
    watching.cancel()
    assert longest < 0.5
    assert await judge.mismatches(CATASTROPHIC | {"title": "another"}, {"a": "aaa"}) == ()


@pytest.mark.waits
async def test_w64_costly_schema_costs_its_second_once(judge: SchemaJudge) -> None:
    for _ in range(20):
        with pytest.raises(SchemaUnusable):
            await judge.mismatches(CATASTROPHIC, ENDLESS_TEXT)
    assert judge.child_pid is None


async def test_unusable_schema_is_told_from_here_and_from_the_child(judge: SchemaJudge) -> None:
    with pytest.raises(SchemaUnusable, match="cannot be applied"):
        await judge.mismatches({"properties": 5}, {})
    with pytest.raises(SchemaUnusable, match="leads nowhere"):
        await judge.mismatches({"$ref": "#/nowhere"}, {})


async def test_question_that_is_cancelled_leaves_no_answer_for_the_next(judge: SchemaJudge) -> None:
    assert await judge.mismatches(CATASTROPHIC, {"a": "aaa"}) == ()
    asking = asyncio.create_task(judge.mismatches(CATASTROPHIC, ENDLESS_TEXT))
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await judge.mismatches(CATASTROPHIC, {"a": "aaa"}) == ()


async def test_many_questions_are_answered_each_with_its_own(judge: SchemaJudge) -> None:
    texts = ["a" * n + ("" if n % 2 else "b") for n in range(1, 20)]
    answers = await asyncio.gather(*(judge.mismatches(CATASTROPHIC, {"a": text}) for text in texts))
    assert [bool(answer) for answer in answers] == ["b" in text for text in texts]


async def test_large_value_is_judged_by_the_child(judge: SchemaJudge) -> None:
    schema = {"properties": {"list": {"items": {"type": "integer", "description": "x" * 300}}}}
    value = {"list": list(range(5_000)) + ["odd"]}
    assert len(json.dumps(value)) * len(json.dumps(schema)) > 1_000_000
    assert [each.path for each in await judge.mismatches(schema, value)] == ["/list/5000"]
    assert judge.child_pid is not None


async def test_closing_twice_is_no_fault() -> None:
    judge = SchemaJudge()
    await judge.mismatches(CATASTROPHIC, {"a": "aaa"})
    await judge.close()
    await judge.close()
    assert judge.child_pid is None
