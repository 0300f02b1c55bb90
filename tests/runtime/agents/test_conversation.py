"""The turns of an attempt: tools, outputs, reminders, cut-offs, and how each way to stop ends."""

import json
from typing import Any

import pytest

from gateway.contract import DENIED_TOOL
from runtime.agents.conversation import CUT_OFFS_MAX, is_same_model
from runtime.agents.prompts import GO_ON, NUDGE
from runtime.core.limits import Limits
from runtime.core.model import Thrown, Tokens
from tests.runtime.agents.scene import ANSWER_SCHEMA, MODEL, make_task, staged, value_of
from tests.support.upstream import SSE_HEADERS, Answer, stream, stream_answer, text_block, thinking_block, tool_block

GOOD = {"finding": "x", "n": 1}
BAD = {"finding": 5}


def output(value: dict[str, Any], number: int = 1) -> dict[str, Any]:
    return tool_block("StructuredOutput", value, f"toolu_{number}")


def thrown_of(thrown: Thrown | None) -> Thrown:
    assert thrown is not None
    return thrown


async def test_w43_call_resolves_to_the_final_text() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer([text_block("I look."), tool_block("Read", {"file_path": "/a"})]))
        scene.upstream.queue(stream_answer([thinking_block("so"), text_block('It is "é\u2028".')]))
        finished = await scene.attempt(make_task("Find it."))
    assert value_of(finished) == 'It is "é\u2028".' and finished.model == MODEL
    assert scene.messages(0) == [{"role": "user", "content": [{"type": "text", "text": "Find it."}]}]


async def test_answers_and_results_go_back_as_they_came() -> None:
    blocks = [thinking_block("Let me see."), text_block("I look."), tool_block("Read", {"file_path": "/a"})]
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer(blocks))
        finished = await scene.attempt()
    result = {"type": "tool_result", "tool_use_id": "toolu_test_1", "content": "Read ran"}
    assert scene.messages()[1:] == [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    assert finished.usage.tool_calls == 1 and finished.usage.requests == 2


@pytest.mark.parametrize("text", ["", " \n"], ids=["nothing", "blank"])
async def test_w53_agent_without_text_gives_empty(text: str) -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block(text)] if text else []))
        finished = await scene.attempt()
    assert (finished.null, finished.value, finished.transient) == ("empty", None, True)


async def test_w62_first_valid_output_is_the_value_and_ends_the_agent() -> None:
    async with staged("Bash", "Read") as scene:
        blocks = [tool_block("Read", {}, "toolu_0"), output(GOOD), tool_block("Bash", {}, "toolu_2"), output(BAD, 3)]
        scene.upstream.queue(stream_answer(blocks))
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    assert value_of(finished) == GOOD and finished.schema_attempts == 1
    assert len(scene.upstream.received) == 1 and [name for name, _, _ in scene.tools.calls] == ["Read"]


async def test_w62_schema_is_offered_as_it_is() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer([output(GOOD)]))
        await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    read, structured = scene.upstream.received[0].json()["tools"]
    assert read["name"] == "Read" and structured["input_schema"] == ANSWER_SCHEMA
    assert "tool_choice" not in scene.upstream.received[0].json()


async def test_w65_invalid_output_goes_back_with_every_path() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([output(BAD)]), stream_answer([output(GOOD)]))
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    (result,) = scene.messages()[-1]["content"]
    assert result["is_error"] is True and "/finding" in result["content"] and "'n'" in result["content"]
    assert value_of(finished) == GOOD


async def test_w65_call_throws_after_five_failed_tries() -> None:
    async with staged() as scene:
        scene.upstream.responder = lambda _: stream_answer([output(BAD)])
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    thrown = thrown_of(finished.thrown)
    assert thrown.code == "schema_retries_exhausted" and len(scene.upstream.received) == 5
    assert "/finding" in thrown.message or "'n'" in thrown.message


async def test_w66_text_instead_of_the_call_is_nudged_twice() -> None:
    async with staged() as scene:
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    thrown = thrown_of(finished.thrown)
    assert thrown.code == "schema_missing_output" and "completed without calling StructuredOutput" in thrown.message
    assert len(scene.upstream.received) == 3 and json.dumps(scene.messages()).count(NUDGE) == 2


async def test_w66_nudged_agent_may_still_answer() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block("no tool call at all")]), stream_answer([output(GOOD)]))
        assert value_of(await scene.attempt(make_task(schema=ANSWER_SCHEMA))) == GOOD


@pytest.mark.parametrize(
    ("options", "cause"),
    [({"max_turns": 1}, "maxTurns"), ({"max_tokens": 20}, "maxTokens"), ({"max_cost_usd": 0.0001}, "maxCostUsd")],
    ids=["turns", "tokens", "cost"],
)
async def test_w66_limit_that_was_the_true_cause_is_named(options: dict[str, Any], cause: str) -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer([tool_block("Read", {})]))
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA, on_limit="throw", **options))
    thrown = thrown_of(finished.thrown)
    assert thrown.code == "limit" and cause in thrown.message and "output" in thrown.message


async def test_w67_thrown_error_carries_the_last_invalid_object() -> None:
    async with staged() as scene:
        scene.upstream.responder = lambda _: stream_answer([output(BAD)])
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA, run={"limits": Limits(schema_tries=1)}))
    fields = thrown_of(finished.thrown).fields
    assert json.loads(fields["rawText"]) == BAD
    assert [error["path"] for error in fields["validationErrors"]] == ["", "/finding"]


async def test_w68_late_acceptance_is_flagged() -> None:
    async with staged() as scene:
        scene.upstream.queue(*[stream_answer([output(BAD)])] * 4, stream_answer([output(GOOD)]))
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    assert finished.schema_attempts == 5 and value_of(finished) == GOOD


async def test_w69_value_is_kept_exactly() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with staged() as scene:
        scene.upstream.queue(stream_answer([output({"n": 10**30, "extra": {"__proto__": 1.5}, "text": "é\n"})]))
        finished = await scene.attempt(make_task(schema=schema))
    assert finished.value is not None
    assert bytes(finished.value) == '{"n":1%s,"extra":{"__proto__":1.5},"text":"é\\n"}'.encode() % (b"0" * 30)


async def test_w64_schema_that_cannot_be_applied_throws() -> None:
    schema = {"type": "object", "properties": {"finding": {"$ref": "#/nowhere"}}}
    async with staged() as scene:
        scene.upstream.queue(stream_answer([output(GOOD)]))
        finished = await scene.attempt(make_task(schema=schema))
    assert thrown_of(finished.thrown).code == "schema_invalid" and len(scene.upstream.received) == 1


async def test_w52_denied_call_is_answered_as_unknown_and_the_agent_goes_on() -> None:
    denied = {"tool": "Bash", "input": {"command": "rm"}, "reason": "not here", "decision": "dec_1"}
    async with staged("Bash") as scene:
        scene.upstream.queue(stream_answer([tool_block(DENIED_TOOL, denied)]))
        finished = await scene.attempt()
    call, result = (scene.messages()[index]["content"][0] for index in (1, 2))
    assert value_of(finished) == "Done." and scene.tools.calls == []
    assert call["input"] == denied and result["is_error"] is True and finished.usage.tool_calls == 0


async def test_w52_denied_output_call_is_named_when_the_call_throws() -> None:
    denied = {"tool": "StructuredOutput", "input": GOOD, "reason": "outputs are denied", "decision": "dec_1"}
    async with staged() as scene:
        scene.upstream.queue(stream_answer([tool_block(DENIED_TOOL, denied)]))
        finished = await scene.attempt(make_task(schema=ANSWER_SCHEMA))
    assert "outputs are denied" in thrown_of(finished.thrown).message


async def test_w48_turn_limit_gives_null_by_default() -> None:
    async with staged("Read") as scene:
        scene.upstream.responder = lambda _: stream_answer([text_block("So far."), tool_block("Read", {})])
        finished = await scene.attempt(make_task(max_turns=3))
    assert finished.null == "limit" and "3 turns" in finished.detail and len(scene.upstream.received) == 3


async def test_w48_partial_gives_the_last_text() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer([text_block("So far."), tool_block("Read", {})]))
        scene.upstream.queue(stream_answer([tool_block("Read", {})]))
        finished = await scene.attempt(make_task(max_turns=2, on_limit="partial"))
    assert value_of(finished) == "So far." and "2 turns" in finished.detail


@pytest.mark.parametrize("schema", [None, ANSWER_SCHEMA], ids=["no-text", "schema"])
async def test_w48_partial_without_a_text_that_may_be_given_is_null(schema: dict[str, Any] | None) -> None:
    async with staged("Read") as scene:
        text = [text_block("Unchecked.")] if schema else []
        scene.upstream.queue(stream_answer([*text, tool_block("Read", {})]))
        finished = await scene.attempt(make_task(max_turns=1, on_limit="partial", schema=schema))
    assert finished.null == "limit" and finished.value is None


async def test_w48_tokens_are_limited_in_the_request_and_over_it() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block("Lon")], stop_reason="max_tokens", usage={"output_tokens": 50}))
        finished = await scene.attempt(make_task(max_tokens=50, on_limit="partial"))
    assert scene.upstream.received[0].json()["max_tokens"] == 50 and len(scene.upstream.received) == 1
    assert value_of(finished) == "Lon" and "maxTokens" in finished.detail


async def test_w48_answer_that_just_fits_is_no_limit() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block("All.")], usage={"output_tokens": 50}))
        finished = await scene.attempt(make_task(max_tokens=50, max_turns=1))
    assert value_of(finished) == "All." and finished.detail == ""


async def test_w48_time_cuts_off_a_request_in_flight() -> None:
    async with staged() as scene:
        scene.upstream.queue(Answer(never=True))
        finished = await scene.attempt(make_task(timeout_ms=30))
        await scene.upstream.received[0].gone.wait()
    assert finished.null == "limit" and "timeoutMs" in finished.detail and not finished.transient


async def test_answer_that_was_cut_off_is_continued_and_joined() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block("One, t")], stop_reason="max_tokens"))
        scene.upstream.queue(stream_answer([text_block("wo.")]))
        finished = await scene.attempt()
    assert value_of(finished) == "One, two." and scene.messages()[-1]["content"] == [text_block(GO_ON)]


async def test_call_that_was_cut_off_is_asked_for_again() -> None:
    *frames, stop, _, _ = stream([tool_block("Bash", {"command": "x" * 50})])
    cut = [*frames[:-1], stop, *stream([], stop_reason="max_tokens")[1:]]
    async with staged("Bash") as scene:
        scene.upstream.queue(Answer(chunks=cut))
        finished = await scene.attempt()
    assert value_of(finished) == "Done." and scene.tools.calls == []
    assert [message["role"] for message in scene.messages()] == ["user"] and GO_ON in json.dumps(scene.messages())


async def test_agent_that_is_always_cut_off_is_given_up() -> None:
    async with staged() as scene:
        scene.upstream.responder = lambda _: stream_answer([text_block("more ")], stop_reason="max_tokens")
        finished = await scene.attempt(make_task(on_limit="partial"))
    assert len(scene.upstream.received) == CUT_OFFS_MAX + 1 and "cut off" in finished.detail
    assert value_of(finished) == "more " * (CUT_OFFS_MAX + 1)


async def test_paused_turn_is_continued_without_a_word() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block("Searching.")], stop_reason="pause_turn"))
        finished = await scene.attempt()
    assert value_of(finished) == "Done." and [message["role"] for message in scene.messages()] == ["user", "assistant"]


async def test_w54_refusal_of_the_model_is_told() -> None:
    frames = stream([text_block("I")], stop_reason="refusal")
    frames[-2] = frames[-2].replace(b'"stop_sequence":null', b'"stop_details":{"type":"refusal","explanation":"harm"}')
    async with staged() as scene:
        scene.upstream.queue(Answer(chunks=frames))
        finished = await scene.attempt()
    assert finished.null == "api_error" and "refused" in finished.detail and "harm" in finished.detail


async def test_w54_full_context_window_is_a_limit() -> None:
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block("I")], stop_reason="model_context_window_exceeded"))
        finished = await scene.attempt()
    assert finished.null == "limit" and "context window" in finished.detail


async def test_w54_closing_message_of_the_gateway_is_no_answer_of_the_model() -> None:
    frames = stream([text_block("The limit on requests is reached.")], usage={"input_tokens": 0, "output_tokens": 0})
    frames[0] = frames[0].replace(b'"output_tokens":1', b'"output_tokens":0')
    told = [*SSE_HEADERS, ("x-ringfence-reason", "fuse_blown")]
    for option, value in (("null", None), ("partial", "So far.")):
        async with staged("Read") as scene:
            scene.upstream.queue(stream_answer([text_block("So far."), tool_block("Read", {})]))
            scene.upstream.queue(Answer(200, told, frames))
            finished = await scene.attempt(make_task(on_limit=option))
        assert finished.null == ("limit" if value is None else None) and "limit on requests" in finished.detail
        assert value is None or value_of(finished) == value
        assert finished.usage.tokens == Tokens(input=100, output=20)


async def test_w54_model_that_only_says_so_has_answered() -> None:
    text = "Ringfence ended this turn: this is what the page says."
    async with staged() as scene:
        scene.upstream.queue(stream_answer([text_block(text)]))
        assert value_of(await scene.attempt()) == text


async def test_w50_substituted_model_is_warned_of_once() -> None:
    async with staged("Read") as scene:
        scene.upstream.queue(stream_answer([tool_block("Read", {})], model="claude-haiku-5-5"))
        scene.upstream.queue(stream_answer([text_block("ok")], model="claude-haiku-5-5"))
        finished = await scene.attempt()
    ((code, message),) = scene.watch.warnings
    assert code == "model_substituted" and MODEL in message and "claude-haiku-5-5" in message
    assert finished.model == "claude-haiku-5-5"


@pytest.mark.parametrize(
    ("requested", "answered", "same"),
    [
        ("claude-opus-5-5", "claude-opus-5-5", True),
        ("claude-opus-5-5", "claude-opus-5-5-20261001", True),
        ("us.anthropic.claude-opus-5-5", "claude-opus-5-5", True),
        ("claude-opus-5-5[1m]", "claude-opus-5-5", True),
        ("haiku", "claude-haiku-5-5", True),
        ("claude-opus-5-5", "", True),
        ("claude-opus-5-5", "claude-sonnet-5", False),
        ("haiku", "claude-sonnet-5", False),
    ],
    ids=["same", "dated", "bedrock", "window", "alias", "unsaid", "other", "other-alias"],
)
def test_w50_model_is_known_by_its_other_names(requested: str, answered: str, same: bool) -> None:
    assert is_same_model(requested, answered) is same
