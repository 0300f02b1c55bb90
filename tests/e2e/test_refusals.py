"""Each refusal as the client takes it: what it shows, and how many requests it makes, counted on the wire."""

from collections.abc import Sequence

import pytest

from tests.e2e.conftest import Invocation, Played, Scene
from tests.e2e.script import Block, Conversation
from tests.support.upstream import Answer, block_events, error_answer, error_event, event, text_block, tool_block

FEW_RETRIES = {"CLAUDE_CODE_MAX_RETRIES": "2"}
"""Two instead of ten: the full back-off takes over three minutes."""


def answer_text(_: Conversation) -> Sequence[Block]:
    return [text_block("Answered.")]


def loop_forever(conversation: Conversation) -> Sequence[Block]:
    number = conversation.turn
    return [tool_block("Bash", {"command": f"echo {number}", "description": "test"}, f"toolu_e2e_{number}")]


def agents_requests(played: Played) -> tuple[int, int]:
    """Requests of the client, requests that reached the upstream."""
    return played.wire.request_count, len(played.upstream)


async def test_model_outside_the_allowlist_is_refused_once_naming_the_rule(scene: Scene) -> None:
    invocation = Invocation(args=("--model", "llama-4-maverick"))
    played = await scene.play("Say hello.", answer_text, invocation=invocation)

    assert agents_requests(played) == (1, 0)
    assert played.outcome.exit_code == 1
    assert played.outcome.text.startswith("API Error: 451") and "models/allowlist" in played.outcome.text


async def test_exhausted_budget_is_refused_once_naming_the_account(scene: Scene) -> None:
    budget = {"account": "user:alice", "window": "daily", "limit_usd": 0.01, "strict": True}
    played = await scene.play("Say hello.", answer_text, overrides={"budgets": [budget]})

    assert agents_requests(played) == (1, 0)
    assert "Request rejected (429)" in played.outcome.text
    assert "user:alice" in played.outcome.text and "daily" in played.outcome.text


async def test_budget_refusal_tells_when_to_come_back(scene: Scene) -> None:
    budget = {"account": "user", "window": "daily", "limit_usd": 0.01, "strict": True}
    played = await scene.play("Say hello.", answer_text, overrides={"budgets": [budget]})

    head = played.wire.answers.partition(b"\r\n\r\n")[0].lower()
    assert b" 429 " in head and b"x-should-retry: false" in head
    assert b"retry-after: " in head and b"anthropic-ratelimit-unified-" in head
    assert b"request-id: " in head and b"x-ringfence-decision: dec_" in head


async def test_fuse_blown_in_a_subagent_keeps_its_partial_work(scene: Scene) -> None:
    spec = {
        "description": "t",
        "prompt": "SUBAGENT: go",
        "subagent_type": "general-purpose",
        "run_in_background": False,
    }

    def script(conversation: Conversation) -> Sequence[Block]:
        if conversation.says("SUBAGENT: go"):
            return [text_block("Half the work."), *loop_forever(conversation)]
        return [tool_block("Agent", spec, "toolu_e2e_agent")] if conversation.turn == 0 else [text_block("Main done.")]

    fuses = {"agent": {"requests": 3}}
    played = await scene.play("Use a subagent.", script, overrides={"fuses": fuses})

    assert (played.outcome.exit_code, played.outcome.text) == (0, "Main done.")
    result = played.of_agent("main")[1].results["toolu_e2e_agent"]
    assert "Half the work." in str(result["content"]) and not result.get("is_error")


async def test_blown_fuse_is_refused_once_saying_how_to_replace_it(scene: Scene) -> None:
    played = await scene.play("Loop.", loop_forever, overrides={"fuses": {"agent": {"requests": 3}}})

    assert agents_requests(played) == (3 + 1, 3)
    assert "Request rejected (429)" in played.outcome.text
    assert "ringfence fuses replace" in played.outcome.text and "requests" in played.outcome.text


@pytest.mark.parametrize("credential", ["rf_nobody_0123456789abcdefghijklmnopqrstuvwx", "x"])
async def test_unknown_credential_is_refused_once_and_not_shown(scene: Scene, credential: str) -> None:
    invocation = Invocation(environment=FEW_RETRIES, credential=credential)
    played = await scene.play("Say hello.", answer_text, invocation=invocation)

    assert agents_requests(played) == (1, 0)
    assert "401" in played.outcome.text
    assert len(credential) == 1 or credential not in played.outcome.text + played.wire.answers.decode()


async def test_body_nested_too_deep_is_refused_naming_the_place(scene: Scene) -> None:
    nested = '{"deep_member":' + "[" * 5000 + "]" * 5000 + "}"
    environment = {"CLAUDE_CODE_EXTRA_BODY": nested}
    played = await scene.play("Say hello.", answer_text, invocation=Invocation(environment=environment))

    # The client takes a 400 for a missing capability and tries its six spellings of the same request.
    assert agents_requests(played) == (6, 0)
    assert "API Error: 400" in played.outcome.text and "deep_member" in played.outcome.text


async def test_body_over_the_limit_is_refused_once(scene: Scene) -> None:
    prompt_file = scene.directory / "prompt.txt"
    prompt_file.write_text("word " * 7_000_000)
    invocation = Invocation(args=("--system-prompt-file", str(prompt_file)))
    played = await scene.play("Say hello.", answer_text, invocation=invocation)

    assert agents_requests(played) == (1, 0)
    assert "Request too large" in played.outcome.text


async def test_overloaded_upstream_is_passed_on_and_backed_off_from(scene: Scene) -> None:
    def script(_: Conversation) -> Answer:
        return error_answer(529, "overloaded_error", "the upstream's own words", [("retry-after", "1")])

    played = await scene.play("Say hello.", script, invocation=Invocation(environment=FEW_RETRIES))

    assert agents_requests(played) == (3, 3)
    assert "529" in played.outcome.text and "the upstream's own words" in played.outcome.text


async def test_upstreams_own_refusal_keeps_its_words_and_request_id(scene: Scene) -> None:
    def script(_: Conversation) -> Answer:
        headers = [("x-should-retry", "false")]
        return error_answer(403, "permission_error", "the upstream's own words", headers, "req_upstream_1")

    played = await scene.play("Say hello.", script)

    assert agents_requests(played) == (1, 1)
    assert "the upstream's own words" in played.outcome.text
    assert b"request-id: req_upstream_1" in played.wire.answers.lower()


async def test_unreachable_upstream_is_refused_naming_it(scene: Scene) -> None:
    upstream = {
        "id": "nowhere",
        "backend": "anthropic",
        "base_url": "http://127.0.0.1:9",
        "api_key": "fake-key-0123456789",
    }
    overrides = {"upstreams": [upstream], "routes": [{"models": ["*"], "upstreams": ["nowhere"]}]}
    invocation = Invocation(environment=FEW_RETRIES)
    played = await scene.play("Say hello.", answer_text, overrides=overrides, invocation=invocation)

    assert played.outcome.exit_code == 1 and played.wire.request_count <= 3
    assert "nowhere" in played.outcome.text and "fake-key" not in played.outcome.text


async def test_upstreams_error_after_a_completed_block_ends_the_turn_at_once(scene: Scene) -> None:
    def script(conversation: Conversation) -> Answer:
        start = {"id": "msg_e2e", "type": "message", "role": "assistant", "model": conversation.body["model"]}
        usage = {"input_tokens": 10, "output_tokens": 1}
        head = event("message_start", {"message": {**start, "content": [], "stop_reason": None, "usage": usage}})
        error = error_event("permission_error", "the upstream changed its mind")
        return Answer(chunks=[head, *block_events(0, text_block("Begun.")), error])

    played = await scene.play("Say hello.", script)

    assert agents_requests(played) == (1, 1)
    assert played.outcome.text == "API Error: the upstream changed its mind"
