"""A model request is asked until it is answered or cannot be, and nothing said so far is lost."""

import asyncio
import json
from typing import Any

import pytest

from runtime.core.limits import Limits
from runtime.core.model import Tokens
from runtime.ports import Limited
from tests.runtime.agents.scene import BEARER, Scene, make_task, staged, value_of
from tests.support.upstream import (
    SSE_HEADERS,
    Answer,
    error_answer,
    error_event,
    event,
    ping,
    stream,
    stream_answer,
    text_block,
    tool_block,
)

OVERLOADED = error_answer(529, "overloaded_error", "busy", [("retry-after", "5")])
NO_RETRY = [("x-should-retry", "false")]
STOPPED = [*NO_RETRY, ("x-ringfence-reason", "stopped")]
BLOWN = [*NO_RETRY, ("x-ringfence-reason", "fuse_blown")]
EXHAUSTED = error_answer(429, "billing_error", "the daily limit is used up", [*NO_RETRY, ("retry-after", "3600")])


def later(seconds: float, happening: asyncio.Event) -> asyncio.Event:
    """The event, which happens after so much real time."""
    asyncio.get_running_loop().call_later(seconds, happening.set)
    return happening


async def test_w56_overload_is_waited_out_as_long_as_it_asks() -> None:
    async with staged() as scene:
        scene.upstream.queue(OVERLOADED, OVERLOADED)
        assert value_of(await scene.attempt()) == "Done."
    assert scene.waits == [5.0, 5.0] and len(scene.upstream.received) == 3


async def test_w56_retry_continues_the_partial_transcript() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer([tool_block("Read", {"file_path": "/a"})]))
        scene.upstream.queue(
            error_answer(500, "api_error", "oops"), Answer(chunks=stream([text_block("Do")])[:3], cut=True)
        )
        assert value_of(await scene.attempt()) == "Done."
    first, *retries = [request.json()["messages"] for request in scene.upstream.received[1:]]
    assert len(scene.tools.calls) == 1 and retries == [first, first] and len(first) == 3


async def test_w56_fault_in_a_stream_that_has_begun_is_tried_again() -> None:
    frames = stream([text_block("Do")])[:3]
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=[*frames, error_event("overloaded_error", "busy")]))
        assert value_of(await scene.attempt()) == "Done."
    assert [limit.kind for limit in scene.watch.limits] == ["throttled"]


async def test_w56_stream_that_just_ends_is_tried_again() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=stream([text_block("Do")])[:-1]))
        assert value_of(await scene.attempt()) == "Done."
    assert scene.waits == [0.5]


async def test_w56_unreadable_answer_is_tried_again() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=[b"event: message_start\ndata: {broken\n\n"]))
        assert value_of(await scene.attempt()) == "Done."
    assert len(scene.upstream.received) == 2


async def test_w56_gateway_that_is_away_is_waited_for() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(cut=True), Answer(chunks=[], cut=True))
        assert value_of(await scene.attempt()) == "Done."


async def test_w56_answer_that_asks_for_no_retry_gets_none() -> None:
    async with staged() as scene:
        scene.upstream.queue(error_answer(500, "api_error", "broken for good", NO_RETRY))
        finished = await scene.attempt()
    assert (finished.null, finished.transient) == ("api_error", False) and "broken for good" in finished.detail
    assert len(scene.upstream.received) == 1 and scene.waits == []


async def test_w56_trying_ends_at_the_time_bound() -> None:
    async with staged() as scene:
        scene.upstream.responder = lambda _: error_answer(503, "api_error", "down")
        finished = await scene.attempt(make_task(run={"limits": Limits(retry_seconds=60.0)}))
    assert (finished.null, finished.transient) == ("api_error", True)
    assert 30.0 < sum(scene.waits) <= 60.0 and "down" in finished.detail


async def test_w56_wait_beyond_the_bound_is_not_begun() -> None:
    async with staged() as scene:
        scene.upstream.queue(error_answer(529, "overloaded_error", "busy", [("retry-after", "7200")]))
        finished = await scene.attempt()
    assert finished.null == "api_error" and scene.waits == []


async def test_w56_each_request_has_the_whole_patience() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(*[OVERLOADED] * 2, stream_answer([tool_block("Read", {})]), *[OVERLOADED] * 2)
        finished = await scene.attempt(make_task(run={"limits": Limits(retry_seconds=12.0)}))
    assert value_of(finished) == "Done."


async def test_w96_burst_is_told_and_the_rest_of_the_delay_waited() -> None:
    async with staged() as scene:

        async def governed(limit: Limited) -> None:
            scene.clock.advance(2.0)

        scene.watch.on_limited = governed
        scene.upstream.queue(error_answer(429, "rate_limit_error", "slow down", [("retry-after", "5")]))
        now_ms = scene.clock.unix_ms()
        assert value_of(await scene.attempt()) == "Done."
    assert scene.watch.limits == [Limited("throttled", "slow down", now_ms + 5_000)] and scene.waits == [3.0]


async def test_w118_spending_limit_waits_for_the_run_and_asks_the_same_again() -> None:
    async with staged() as scene:
        raised = asyncio.Event()

        async def pause(limit: Limited) -> None:
            await raised.wait()
            scene.clock.advance(90_000.0)

        scene.watch.on_limited = pause
        scene.upstream.queue(EXHAUSTED)
        attempt = asyncio.create_task(scene.attempt(make_task(timeout_ms=60_000)))
        await scene.upstream.wait_for_requests(1)
        raised.set()
        assert value_of(await attempt) == "Done."
    first, second = scene.upstream.received
    assert first.body == second.body and [limit.kind for limit in scene.watch.limits] == ["budget"]


async def test_w118_run_that_lets_go_at_once_is_not_asked_without_a_pause() -> None:
    async with staged() as scene:
        scene.upstream.queue(*[EXHAUSTED] * 3)
        assert value_of(await scene.attempt()) == "Done."
    assert scene.waits == [1.0, 1.0, 1.0]


async def test_agent_that_a_person_holds_asks_again_for_as_long_as_it_takes_and_loses_no_time() -> None:
    held = error_answer(
        429, "rate_limit_error", "held by olga", [("x-ringfence-reason", "held"), ("retry-after", "30")]
    )
    async with staged() as scene:
        scene.upstream.queue(*[held] * 50)
        assert value_of(await scene.attempt(make_task(timeout_ms=60_000))) == "Done."
    assert {limit.kind for limit in scene.watch.limits} == {"held"} and scene.waits == [30.0] * 50


async def test_w126_account_limit_pauses_and_drops_nothing() -> None:
    unified = [("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", "1767229200")]
    async with staged() as scene:
        scene.upstream.queue(error_answer(429, "rate_limit_error", "usage limit reached", unified))
        assert value_of(await scene.attempt()) == "Done."
    assert scene.watch.limits == [Limited("quota", "usage limit reached", 1_767_229_200_000)]


async def test_w57_silence_ends_the_attempt_and_its_request() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(never=True))
        finished = await scene.attempt(make_task(idle_timeout_ms=50))
        await scene.upstream.received[0].gone.wait()
    assert (finished.null, finished.transient) == ("stalled", True) and "0.05 s" in finished.detail


async def test_w57_silence_within_an_answer_ends_it_too() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=[*stream([text_block("Do")])[:3], asyncio.Event()]))
        finished = await scene.attempt(make_task(run={"limits": Limits(idle_seconds=0.05)}))
    assert finished.null == "stalled" and finished.usage.tokens == Tokens(input=100, output=1)


@pytest.mark.waits
async def test_w57_bytes_that_arrive_are_activity() -> None:
    async with staged() as scene:
        chunks: list[bytes | asyncio.Event] = []
        for beat in range(1, 9):
            chunks += [later(beat * 0.1, asyncio.Event()), ping() if beat % 2 else b": still here\n\n"]
        scene.upstream.queue(Answer(chunks=[*chunks, *stream([text_block("Slow.")])]))
        assert value_of(await scene.attempt(make_task(idle_timeout_ms=400))) == "Slow."


async def test_w57_running_tool_is_activity() -> None:
    async with staged("Bash") as scene:

        async def take_long(name: str, tool_input: dict[str, Any]) -> Any:
            await later(0.2, asyncio.Event()).wait()
            return await type(scene.tools)(["Bash"]).run(name, tool_input)

        scene.tools.run = take_long
        scene.upstream.queue(stream_answer([tool_block("Bash", {"command": "make"})]))
        assert value_of(await scene.attempt(make_task(idle_timeout_ms=100))) == "Done."


async def test_w93_broken_answer_is_counted() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=stream([text_block("Do")])[:4], cut=True))
        finished = await scene.attempt()
    assert finished.usage.requests == 2 and finished.usage.tokens == Tokens(input=200, output=21)
    assert finished.usage.cost_nanousd == 221_000 and len(scene.watch.usages) == 2


async def test_w93_refused_request_costs_nothing() -> None:
    async with staged() as scene:
        scene.upstream.queue(OVERLOADED)
        finished = await scene.attempt()
    assert finished.usage.requests == 1 and scene.watch.usages == [finished.usage]


async def test_w97_first_byte_of_an_answer_is_told() -> None:
    async with staged() as scene:
        go_on = asyncio.Event()
        scene.upstream.queue(Answer(chunks=[stream([text_block("x")])[0], go_on, *stream([text_block("x")])[1:]]))
        attempt = asyncio.create_task(scene.attempt())
        await scene.upstream.wait_for_requests(1)
        while "began" not in scene.watch.events:
            await asyncio.sleep(0)
        assert not attempt.done()
        go_on.set()
        await attempt
    assert scene.watch.events == ["before_request", "began"]


async def test_w129_frozen_agent_goes_on_from_its_transcript() -> None:
    async with staged("Read") as scene:
        thaw = asyncio.Event()

        async def freeze() -> None:
            if scene.watch.events.count("before_request") == 2:
                await thaw.wait()
                scene.clock.advance(3_600.0)

        scene.watch.leave = freeze
        scene.upstream.queue(stream_answer([tool_block("Read", {})]))
        attempt = asyncio.create_task(scene.attempt(make_task(timeout_ms=60_000)))
        while scene.watch.events.count("before_request") < 2:
            await asyncio.sleep(0)
        assert len(scene.upstream.received) == 1
        thaw.set()
        assert value_of(await attempt) == "Done."
    assert [message["role"] for message in scene.messages()] == ["user", "assistant", "user"]


async def test_w129_retry_of_a_frozen_agent_waits_too() -> None:
    async with staged() as scene:
        scene.upstream.queue(OVERLOADED)
        await scene.attempt()
    assert scene.watch.events.count("before_request") == 2


async def test_w136_message_is_delivered_at_the_next_step() -> None:
    async with staged("Read") as scene:
        scene.watch.texts.extend([(), ("Look at b.py too.", "And be quick.")])
        scene.upstream.queue(stream_answer([tool_block("Read", {})]))
        finished = await scene.attempt()
    kinds = [block.get("text", block["type"]) for block in scene.messages()[-1]["content"]]
    assert kinds == ["tool_result", "Look at b.py too.", "And be quick."] and finished.steered


async def test_w136_agent_that_nobody_spoke_to_is_not_steered() -> None:
    async with staged() as scene:
        assert not (await scene.attempt()).steered


async def test_w136_message_said_before_a_retry_is_said_once() -> None:
    async with staged() as scene:
        scene.watch.texts.append(("Hurry.",))
        scene.upstream.queue(OVERLOADED)
        await scene.attempt()
    assert json.dumps(scene.messages()).count("Hurry.") == 1


async def test_w47_unsupported_effort_is_lowered_with_a_warning_and_remembered() -> None:
    fault = error_answer(400, "invalid_request_error", "This model does not support the effort parameter.")
    async with staged() as scene:
        scene.upstream.responder = lambda request: (
            fault if "output_config" in request.json() else stream_answer([text_block("ok")])
        )
        for _ in range(2):
            assert value_of(await scene.attempt(make_task(effort="xhigh"))) == "ok"
    efforts = [request.json().get("output_config", {}).get("effort") for request in scene.upstream.received]
    assert efforts == ["xhigh", "high", None, None]
    assert [code for code, _ in scene.watch.warnings] == ["effort_unsupported"] * 2


def ended_by_us(reason: Any) -> bytes:
    """How the gateway ends a stream that has begun."""
    return event("error", {"error": {"type": "permission_error", "message": "over", "ringfence_reason": reason}})


@pytest.mark.parametrize(
    ("answer", "null"),
    [
        (error_answer(451, "permission_error", "rule models denies it", NO_RETRY), "permission"),
        (error_answer(429, "rate_limit_error", "agent a was stopped by olga", STOPPED), "stopped"),
        (error_answer(429, "rate_limit_error", "fuse fuse_1 of agent a has blown", BLOWN), "limit"),
        (error_answer(400, "invalid_request_error", "messages: odd"), "api_error"),
        (Answer(200, SSE_HEADERS, [error_event("permission_error", "denied midway")]), "permission"),
        (Answer(200, SSE_HEADERS, [ended_by_us("stopped")]), "stopped"),
        (Answer(200, SSE_HEADERS, [ended_by_us("fuse_blown")]), "limit"),
        (Answer(200, SSE_HEADERS, [ended_by_us(["stopped"])]), "permission"),
        (Answer(307, [("location", "http://127.0.0.1:9/elsewhere")]), "api_error"),
    ],
    ids=["policy", "stopped", "fuse", "bad-request", "in-stream", "stopped midway", "fuse midway", "odd", "redirect"],
)
async def test_w54_final_refusal_is_a_null_with_its_reason(answer: Answer, null: str) -> None:
    async with staged() as scene:
        scene.upstream.queue(answer)
        finished = await scene.attempt()
    assert finished.null == null and finished.detail and BEARER not in finished.detail
    assert len(scene.upstream.received) == 1


async def test_w131_cancelled_attempt_ends_its_request_at_once() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(Answer(chunks=[*stream([text_block("x")])[:2], asyncio.Event()]))
        attempt = asyncio.create_task(scene.attempt())
        await scene.upstream.wait_for_requests(1)
        await _until(scene, "began")
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await scene.upstream.received[0].gone.wait()
    assert scene.tools.closed == 1 and scene.watch.usages[0].tokens == Tokens(input=100, output=1)


async def _until(scene: Scene, event: str) -> None:
    while event not in scene.watch.events:
        await asyncio.sleep(0)
