"""A conversation under a strict limit on the whole path: the next turn is held by its new bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Serving, request_body, serving
from tests.support.upstream import (
    JSON_HEADERS,
    Answer,
    Received,
    ScriptedUpstream,
    json_answer,
    message,
    stream_answer,
    text_block,
)

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


async def held_for(gateway: Serving, *messages: dict[str, Any], session: str = "s-1", **fields: Any) -> int:
    """Nano-dollars that one request held."""
    lineage = {"x-claude-code-session-id": session}
    async with gateway.post(request_body(*messages, **fields), headers=lineage) as response:
        assert response.status == 200, await response.text()
        await response.read()
    await gateway.quiet()
    return int(gateway.audit("request")[-1]["hold"]["worst"]["cost"])


async def test_next_turn_is_held_by_its_new_bytes_and_one_with_other_settings_by_all(tmp_path: Path) -> None:
    async with ScriptedUpstream(short) as upstream, serving(tmp_path, upstream.base_url, budgets=PLENTY) as gateway:
        first = await held_for(gateway, QUESTION)
        second = await held_for(gateway, *HISTORY)
        other = await held_for(gateway, *HISTORY, thinking={"type": "adaptive"})
    assert first > 10_000 * DEAREST_NANOUSD
    assert 2_500 * DEAREST_NANOUSD < second < first - 7_000 * DEAREST_NANOUSD
    assert other > 10_000 * DEAREST_NANOUSD


def counting(status: int, tokens: int) -> Callable[[Received], Answer]:
    """An upstream that is asked for a count first."""

    def answer(received: Received) -> Answer:
        if not received.raw_path.startswith("/v1/messages/count_tokens"):
            return short(received)
        assert received.json().keys() == {"model", "system", "messages"}
        return Answer(status, JSON_HEADERS, [json.dumps({"input_tokens": tokens}).encode()])

    return answer


@pytest.mark.parametrize(("status", "bound"), [(200, 2_400), (500, 10_000)])
async def test_first_request_is_held_by_the_upstreams_count_where_one_is_asked(
    tmp_path: Path, status: int, bound: int
) -> None:
    async with ScriptedUpstream(counting(status, 2_400)) as upstream:
        main = {"id": "main", "backend": "anthropic", "base_url": upstream.base_url, "count_tokens": True}
        async with serving(tmp_path, upstream.base_url, budgets=PLENTY, upstreams=[main]) as gateway:
            held = await held_for(gateway, QUESTION)
            await held_for(gateway, {"role": "user", "content": "short"}, session="s-2")
    counts = [received for received in upstream.received if "count_tokens" in received.raw_path]
    assert bound * DEAREST_NANOUSD < held < (bound + 3_000) * DEAREST_NANOUSD + 1_000 * 20_000
    assert len(counts) == 1


async def test_whole_answers_tell_as_much_as_streams(tmp_path: Path) -> None:
    async with ScriptedUpstream(short) as upstream, serving(tmp_path, upstream.base_url, budgets=PLENTY) as gateway:
        first = await held_for(gateway, QUESTION, stream=False)
        second = await held_for(gateway, *HISTORY)
    assert second < first - 7_000 * DEAREST_NANOUSD


async def test_first_request_of_another_session_is_held_by_what_it_does_not_share(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"system": [{"type": "text", "text": "You are a helper. " * 500}]}
    async with ScriptedUpstream(short) as upstream, serving(tmp_path, upstream.base_url, budgets=PLENTY) as gateway:
        first = await held_for(gateway, {"role": "user", "content": "begin"}, **shared)
        second = await held_for(gateway, {"role": "user", "content": "another"}, session="s-2", **shared)
        other = await held_for(gateway, {"role": "user", "content": "another"}, session="s-3", system="x" * 9_000)
    assert 2_500 * DEAREST_NANOUSD < second < first - 6_000 * DEAREST_NANOUSD
    assert other > 9_000 * DEAREST_NANOUSD
