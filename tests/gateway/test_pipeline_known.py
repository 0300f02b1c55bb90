"""A conversation under a strict limit on the whole path: the next turn is held by its new bytes."""

from pathlib import Path
from typing import Any

from tests.support.gateway import Serving, request_body, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, json_answer, message, stream_answer, text_block

PLENTY = [{"account": "org", "window": "total", "limit_usd": 1000, "strict": True}]
DEAREST_NANOUSD = 8_000
"""Of a prompt token of the tests' model: written to the cache for an hour."""
QUESTION = {"role": "user", "content": "why? " * 2_000}
HISTORY = [QUESTION, {"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}]
USAGE = {"input_tokens": 2_500, "output_tokens": 10}


def short(received: Received) -> Answer:
    """A quarter of a token per byte, in the form that was asked for."""
    if received.json()["stream"]:
        return stream_answer([text_block("x")], usage=USAGE)
    return json_answer(message([text_block("x")], usage=USAGE))


async def held_for(gateway: Serving, *messages: dict[str, Any], **fields: Any) -> int:
    """Nano-dollars that one request held."""
    async with gateway.post(request_body(*messages, **fields)) as response:
        assert response.status == 200, await response.text()
        await response.read()
    await gateway.quiet()
    return int(gateway.audit("request")[-1]["hold"]["strict_nanousd"])


async def test_next_turn_is_held_by_its_new_bytes_and_one_with_another_system_by_all(tmp_path: Path) -> None:
    async with ScriptedUpstream(short) as upstream, serving(tmp_path, upstream.base_url, budgets=PLENTY) as gateway:
        first = await held_for(gateway, QUESTION)
        second = await held_for(gateway, *HISTORY)
        other = await held_for(gateway, *HISTORY, system="Another.")
    assert first > 10_000 * DEAREST_NANOUSD
    assert 2_500 * DEAREST_NANOUSD < second < first - 7_000 * DEAREST_NANOUSD
    assert other > 10_000 * DEAREST_NANOUSD


async def test_whole_answers_tell_as_much_as_streams(tmp_path: Path) -> None:
    async with ScriptedUpstream(short) as upstream, serving(tmp_path, upstream.base_url, budgets=PLENTY) as gateway:
        first = await held_for(gateway, QUESTION, stream=False)
        second = await held_for(gateway, *HISTORY)
    assert second < first - 7_000 * DEAREST_NANOUSD
