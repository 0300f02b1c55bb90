"""Money as the real client meets it: a cap that is reached, an answer that is ended, a client that is killed.

Measured with Claude Code 2.1.330, which the assertions hold. After an answer that reached its `max_tokens`:

- It sends what text there was back and asks for the rest, three times at most; what it then asks is the next request's
  affair, so a limit that is used up is told by that one's refusal.
- It runs a tool call that came whole, and goes on with its result as if it had been `tool_use`.
- An answer of thinking alone, or of nothing, it asks for again.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.client import ClaudeCode
from tests.e2e.conftest import Invocation, Scene
from tests.e2e.gateway import CREDENTIAL, OPERATOR_CREDENTIAL, Gateway, build_config, running_gateway
from tests.e2e.modes import MODES, Mode
from tests.e2e.script import Block, Conversation, play
from tests.support.upstream import Answer, ScriptedUpstream, stream, text_block, thinking_block, tool_block

LONG = "word " * 3_200
"""Past what a first answer is expected to be."""
CUT_AFTER_USD = 0.29
"""A limit that a first answer fits when it is as long as expected, and not when it is `LONG`. After that one there is
less left than for the next as it stands, and enough for one whose `max_tokens` is lowered."""
PROMPT_TOKENS, OUTPUT_TOKENS = 100, 1_000
INPUT_NANOUSD, OUTPUT_NANOUSD = 5_000, 25_000
USAGE = {"input_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS}


def budget(limit_usd: float, **fields: Any) -> dict[str, Any]:
    return {"budgets": [{"account": "org", "window": "daily", "limit_usd": limit_usd} | fields]}


def bash(command: str, tool_use_id: str) -> Block:
    return tool_block("Bash", {"command": command, "description": "test"}, tool_use_id)


def endless(conversation: Conversation, *blocks: Block) -> Answer:
    """An answer that stays open after its last block's text."""
    return Answer(chunks=[*stream(blocks, model=conversation.body["model"])[:-3], asyncio.Event()])


def recorded(directory: Path) -> list[dict[str, Any]]:
    records = map(json.loads, (directory / "audit.jsonl").read_text().splitlines())
    return [record for record in records if record["event"] == "request" and record["dialect"] != "operator"]


def require_valid(conversation: Conversation) -> None:
    """A history that the API takes: no text without characters, no thinking last or unsigned, every call answered."""
    for entry in conversation.body["messages"]:
        blocks = entry["content"] if isinstance(entry["content"], list) else [text_block(entry["content"])]
        assert blocks and all(block["text"].strip() for block in blocks if block["type"] == "text")
        assert all(block["signature"] for block in blocks if block["type"] == "thinking")
        assert entry["role"] != "assistant" or blocks[-1]["type"] != "thinking"
    assert set(conversation.calls) == set(conversation.results)


async def test_strict_cap_that_is_used_up_is_told_in_our_words_and_ends_the_run(scene: Scene) -> None:
    dear = {"input_tokens": PROMPT_TOKENS, "output_tokens": 60_000}

    def script(conversation: Conversation) -> Answer:
        call = bash("echo made > made.txt", f"toolu_e2e_{conversation.turn}")
        return Answer(chunks=stream([call], model=conversation.body["model"], usage=dear))

    played = await scene.play("Loop.", script, overrides=budget(3, strict=True, on_reach="refuse"))

    spent_nanousd = PROMPT_TOKENS * INPUT_NANOUSD + 60_000 * OUTPUT_NANOUSD
    assert (played.outcome.exit_code, played.wire.request_count, len(played.upstream)) == (1, 2, 1)
    assert "Request rejected (429)" in played.outcome.text and "daily limit of $3.00 of org" in played.outcome.text
    assert (played.workspace / "made.txt").exists()
    assert [record["cost_nanousd"] for record in recorded(scene.directory)] == [spent_nanousd, 0]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
async def test_answer_that_is_ended_is_gone_on_from_in_every_mode(scene: Scene, mode: Mode) -> None:
    def script(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.turn == 0:
            return endless(conversation, thinking_block("hm"), text_block(LONG))
        return [text_block("And the rest.")]

    invocation = Invocation(mode=mode)
    played = await scene.play("Say much.", script, overrides=budget(CUT_AFTER_USD), invocation=invocation)

    first, second = played.upstream
    require_valid(second)
    assert (played.outcome.exit_code, played.outcome.text) == (0, "And the rest.")
    assert second.heard("word word word") and second.turn == 1
    assert [record["cut"] for record in recorded(scene.directory)] == [True, False]
    assert first.received.gone.is_set()


async def test_limit_that_ended_an_answer_is_told_when_nothing_is_left_of_it(scene: Scene) -> None:
    def script(conversation: Conversation) -> Answer:
        return endless(conversation, text_block(LONG))

    played = await scene.play("Say much.", script, overrides=budget(CUT_AFTER_USD, on_reach="refuse"))

    assert (played.outcome.exit_code, len(played.upstream), played.wire.request_count) == (1, 1, 2)
    assert "Request rejected (429)" in played.outcome.text and "daily limit of $0.29 of org" in played.outcome.text


async def test_call_before_the_end_is_run_and_the_held_one_is_not(scene: Scene) -> None:
    def script(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.turn == 0:
            held = bash(f"echo {LONG} > held.txt", "toolu_e2e_held")
            return endless(conversation, bash("echo made > made.txt", "toolu_e2e_made"), held)
        return [text_block("Done.")]

    played = await scene.play("Do it.", script, overrides=budget(CUT_AFTER_USD))

    require_valid(played.upstream[1])
    assert (played.outcome.exit_code, played.outcome.text) == (0, "Done.")
    assert [path.name for path in sorted(played.workspace.glob("*.txt"))] == ["made.txt"]
    assert list(played.upstream[1].calls) == ["toolu_e2e_made"]


async def test_answer_of_which_nothing_was_shown_leaves_a_valid_history(scene: Scene) -> None:
    def script(conversation: Conversation) -> Sequence[Block] | Answer:
        if conversation.turn == 0:
            return endless(conversation, thinking_block("hm"), bash(f"echo {LONG} > held.txt", "toolu_e2e_held"))
        return [text_block("Done.")]

    played = await scene.play("Do it.", script, overrides=budget(CUT_AFTER_USD))

    require_valid(played.upstream[1])
    assert (played.outcome.exit_code, played.outcome.text) == (0, "Done.")
    assert not list(played.workspace.glob("*.txt"))


async def metrics(gateway: Gateway) -> str:
    async with aiohttp.ClientSession() as client, client.get(gateway.metrics_url) as response:
        return await response.text()


async def standing(gateway: Gateway) -> tuple[int, int]:
    """Spent and held of the organisation."""
    url, headers = f"{gateway.base_url}/ringfence/v1/limits?account=org", {"x-api-key": OPERATOR_CREDENTIAL}
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as response:
        (limit,) = (await response.json())["limits"]
        return limit["used"], limit["held"]


async def test_client_that_is_killed_in_a_stream_pays_what_the_upstream_counts(
    client_binary: Path, tmp_path: Path
) -> None:
    go_on, workspace = asyncio.Event(), tmp_path / "workspace"
    workspace.mkdir()

    def script(conversation: Conversation) -> Answer:
        head, *rest = stream([text_block("Hello, you.")], model=conversation.body["model"], usage=USAGE)
        return Answer(chunks=[head, *rest[:2], go_on, *rest[2:]])

    async with ScriptedUpstream(play(script)) as upstream:
        config = build_config(upstream.base_url, tmp_path) | budget(1_000)
        async with running_gateway(config, tmp_path) as gateway:
            client = ClaudeCode(client_binary, gateway.base_url, CREDENTIAL, tmp_path / "home")
            running = asyncio.ensure_future(client.run("Say hello.", workspace=workspace))
            await upstream.wait_for_requests(1)
            _, held = await standing(gateway)
            running.cancel()
            while "ringfence_drains_in_flight 1.0" not in await metrics(gateway):
                pass
            go_on.set()
            while (left := await standing(gateway))[1]:
                pass
    (record,) = recorded(tmp_path)
    cost = PROMPT_TOKENS * INPUT_NANOUSD + OUTPUT_TOKENS * OUTPUT_NANOUSD
    assert running.cancelled() and held > 0 and left == (cost, 0)
    assert (record["reason"], record["cost_nanousd"], record["cost_estimated"]) == ("client_gone", cost, False)
