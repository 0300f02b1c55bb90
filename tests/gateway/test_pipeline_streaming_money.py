"""Money while an answer streams: holds that grow with it, answers that end where there is no more, clients that leave.

Everything is asserted by what the client read, what the upstream noticed and what the ledger and the audit say.
"""

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.app import SystemClock, open_gateway
from gateway.config import parse_config
from gateway.web.drains import DRAINS_MAX
from tests.gateway.test_pipeline_clients import ASKED, CLIENTS
from tests.support.clouds.eventstream import EVENT_STREAM_HEADERS, event_stream
from tests.support.dialects import read_events, text_of, tool_calls_of, write_request
from tests.support.gateway import Serving, config_document, request_body, serving
from tests.support.storm import open_crowd
from tests.support.streams import block_start, delta, sdk_message, text_delta, tool_start
from tests.support.upstream import (
    SSE_HEADERS,
    Answer,
    Received,
    ScriptedUpstream,
    block_events,
    message,
    stream,
    text_block,
    thinking_block,
    tool_block,
)

INPUT_NANOUSD, OUTPUT_NANOUSD = 4_000, 20_000
PROMPT_TOKENS = 100
USAGE = {"input_tokens": PROMPT_TOKENS, "output_tokens": 20_000}
MODELS = {"anthropic": "claude-opus-5-5", "bedrock": "us.anthropic.claude-opus-5-5", "vertex": "claude-opus-5-5"}
AMPLE = [{"account": "org", "window": "total", "limit_usd": 100}]
TIGHT = [{"account": "org", "window": "total", "limit_usd": 0.1}]
"""Enough for what a first answer is expected to cost, and for nothing beyond it."""
STRICT = [{"account": "org", "window": "total", "limit_usd": 100, "strict": True}]
LONG = "word " * 5_000
"""More than what a first answer is expected to be: past it the hold must be larger."""
READ = tool_block("Read", {"file_path": "/home/dev/app/a"}, "toolu_read")


def floor_nanousd(chars: int) -> int:
    """The least that an answer of so many characters cost, its prompt reported."""
    return PROMPT_TOKENS * INPUT_NANOUSD + -(-chars // 4) * OUTPUT_NANOUSD


def opening(*blocks: dict[str, Any]) -> list[bytes]:
    """A stream up to the end of its last block."""
    return stream(blocks, usage=USAGE)[:-2]


def endless(*before: dict[str, Any]) -> tuple[list[bytes | asyncio.Event], asyncio.Event]:
    """Blocks, then text that is longer than is held for and does not end; the event lets the rest come."""
    go_on = asyncio.Event()
    index = len(before)
    begun = [block_start(index, type="text", text=""), text_delta(index, LONG)]
    return [*opening(*before), *begun, go_on, text_delta(index, "never seen")], go_on


def sse(chunks: Sequence[bytes | asyncio.Event]) -> Answer:
    return Answer(200, SSE_HEADERS, chunks)


async def ask(gateway: Serving, dialect: str = "anthropic", **fields: Any) -> bytes:
    """A whole answer to a request that may get a long one."""
    body = {"max_tokens": 60_000, "stream": True, "messages": [{"role": "user", "content": "hi"}], "system": "Be long."}
    sent = write_request(dialect, body | {"model": MODELS[dialect]} | fields)
    async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def org(gateway: Serving) -> tuple[int, int]:
    """Spent and held of the organisation."""
    (limit,) = (await gateway.operator("limits?account=org"))["limits"]
    return limit["used"], limit["held"]


async def records(gateway: Serving) -> list[dict[str, Any]]:
    """Audit records of model requests, once all are written."""
    await gateway.quiet()
    return [record for record in gateway.audit("request") if record["dialect"] != "operator"]


def kinds(found: Any) -> list[str]:
    return [block.type for block in found.content]


async def test_hold_grows_with_an_answer_that_is_longer_than_expected(tmp_path: Path) -> None:
    write, end = asyncio.Event(), asyncio.Event()
    whole = stream([text_block(LONG), text_block("The end.")], usage=USAGE)
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(sse([whole[0], write, *whole[1:5], end, *whole[5:]]))
        asking = asyncio.ensure_future(ask(gateway))
        await upstream.wait_for_requests(1)
        _, expected = await org(gateway)
        write.set()
        while (held := (await org(gateway))[1]) < len(LONG) // 4 * OUTPUT_NANOUSD:
            pass
        end.set()
        got = await asking
        (record,) = await records(gateway)
        assert got == b"".join(whole) and held > expected > 0
        assert record["extensions"] > 0 and (record["cut"], record["cost_estimated"]) == (False, False)
        assert record["cost_nanousd"] == PROMPT_TOKENS * INPUT_NANOUSD + 20_000 * OUTPUT_NANOUSD


async def test_strict_limit_that_stands_alone_never_ends_an_answer(tmp_path: Path) -> None:
    whole = stream([text_block(LONG * 10)], usage=USAGE)
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=STRICT) as gateway:
        upstream.queue(sse(whole))
        assert await ask(gateway) == b"".join(whole)
        (record,) = await records(gateway)
        assert (record["extensions"], record["cut"]) == (0, False)


@pytest.mark.parametrize("dialect", MODELS)
async def test_answer_ends_as_max_tokens_where_no_more_can_be_held(tmp_path: Path, dialect: str) -> None:
    chunks, _ = endless(text_block("Hello."))
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(sse(chunks))
        events = read_events(dialect, await ask(gateway, dialect))
        await upstream.received[0].gone.wait()
        (record,) = await records(gateway)
        cost = floor_nanousd(len("Hello." + LONG))
        assert text_of(events) == "Hello." + LONG
        assert [event["type"] for event in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
        assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
        assert events[-2]["usage"]["output_tokens"] == record["usage"]["tokens"]["output"]
        assert (record["cut"], record["cost_estimated"], record["cost_nanousd"]) == (True, True, cost)
        assert await org(gateway) == (cost, 0)


async def test_answer_of_bedrock_is_ended_in_messages_that_botocore_reads(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    whole = event_stream([text_block(LONG), text_block("never seen")])
    entry = {"id": "main", "backend": "bedrock", "region": "us-east-1", "profile": "us", "bearer": "fake-bearer"}
    async with ScriptedUpstream() as upstream:
        rows = [entry | {"base_url": upstream.base_url}]
        async with serving(tmp_path, "", upstreams=rows, budgets=TIGHT) as gateway:
            upstream.queue(Answer(200, EVENT_STREAM_HEADERS, [*whole[:5], go_on, *whole[5:]]))
            events = read_events("bedrock", await ask(gateway, "bedrock"))
            await upstream.received[0].gone.wait()
            (record,) = await records(gateway)
    assert (text_of(events), events[-2]["delta"]["stop_reason"]) == (LONG, "max_tokens")
    assert (record["cut"], record["upstream"]) == (True, "main")


@pytest.mark.parametrize("name", CLIENTS)
async def test_sdk_client_reads_an_answer_that_was_ended(tmp_path: Path, name: str) -> None:
    build, model = CLIENTS[name]
    chunks, _ = endless(thinking_block("hm"))
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(sse(chunks))
        async with (
            build(gateway) as client,
            client.messages.stream(model=model, max_tokens=60_000, messages=ASKED) as streamed,
        ):
            whole = await streamed.get_final_message()
    assert (kinds(whole), whole.content[1].text, whole.stop_reason) == (["thinking", "text"], LONG, "max_tokens")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (PROMPT_TOKENS, -(-len("hm" + LONG) // 4))


async def test_thinking_is_never_ended_in_the_middle(tmp_path: Path) -> None:
    think, text = asyncio.Event(), asyncio.Event()
    thought = delta(0, type="thinking_delta", thinking=LONG)
    begun = [block_start(0, type="thinking", thinking="", signature=""), thought]
    *rest, stop = block_events(0, thinking_block("and more"))[1:]
    chunks = [*stream([])[:1], *begun, think, *rest, stop, text, *block_events(1, text_block("never seen"))]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(sse(chunks))
        async with gateway.post(request_body(max_tokens=60_000)) as response:
            got = b""
            while LONG.encode() not in got:
                got += await response.content.readany()
            assert (await org(gateway))[1] > 0 and not upstream.received[0].gone.is_set()
            think.set()
            found = sdk_message(got + await response.read())
        await upstream.received[0].gone.wait()
        (record,) = await records(gateway)
        assert kinds(found) == ["thinking", "text"] and found.content[0].thinking == LONG + "and more"
        assert (found.content[0].signature, found.stop_reason) == ("c2lnbmF0dXJl", "max_tokens")
        assert found.content[1].text != "never seen" and record["cut"]
        assert await org(gateway) == (record["cost_nanousd"], 0)


async def test_call_that_was_held_is_dropped_and_one_that_was_released_stays(tmp_path: Path) -> None:
    never = asyncio.Event()
    written = delta(1, type="input_json_delta", partial_json='{"content":"' + LONG)
    chunks = [*opening(READ), tool_start(1, "toolu_write", "Write"), written, never]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(sse(chunks))
        events = read_events("anthropic", await ask(gateway))
        (record,) = await records(gateway)
        assert tool_calls_of(events) == [("Read", READ["input"])]
        assert events[-2]["delta"]["stop_reason"] == "max_tokens"
        assert [call["tool"] for call in record["tool_calls"]] == ["Read"]
        assert record["cost_nanousd"] >= floor_nanousd(len(LONG)) and (await org(gateway))[1] == 0


async def test_answer_that_has_told_its_usage_is_not_ended(tmp_path: Path) -> None:
    whole = stream([text_block(LONG)], usage=USAGE)
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(sse([b"".join(whole[:2]), b"".join(whole[2:])]))
        got = await ask(gateway)
        (record,) = await records(gateway)
        assert got == b"".join(whole) and (record["cut"], record["cost_estimated"]) == (False, False)


async def test_whole_answer_is_settled_whole(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        whole = message([text_block(LONG)], usage=USAGE)
        upstream.queue(Answer(200, (("content-type", "application/json"),), [whole]))
        assert await ask(gateway, stream=False) == whole
        (record,) = await records(gateway)
        assert (record["cut"], record["cost_estimated"]) == (False, False)
        assert await org(gateway) == (PROMPT_TOKENS * INPUT_NANOUSD + 20_000 * OUTPUT_NANOUSD, 0)


async def test_parallel_answers_that_all_grow_stay_within_their_limit(tmp_path: Path) -> None:
    """Of four characters per token, and read as it is written: then what is held is never less than what was seen."""
    clients, steps, step = 30, 40, "word" * 250
    paces = [[asyncio.Event() for _ in range(steps)] for _ in range(clients)]
    admitted = asyncio.Event()

    def growing(received: Received) -> Answer:
        pace = paces[int(received.json()["messages"][0]["content"])]
        texts = [part for each in pace for part in (each, text_delta(0, step))]
        return sse([*stream([], usage=USAGE)[:1], block_start(0, type="text", text=""), *texts])

    async def one(number: int) -> int:
        body = request_body({"role": "user", "content": str(number)}, max_tokens=60_000)
        async with gateway.post(body) as response:
            await admitted.wait()
            for pace in paces[number]:
                pace.set()
                if not await response.content.readany():
                    break
            return int(response.status)

    budgets = [{"account": "org", "window": "total", "limit_usd": 1}]
    async with ScriptedUpstream(growing) as upstream, serving(tmp_path, upstream.base_url, budgets=budgets) as gateway:
        asking = [asyncio.ensure_future(one(number)) for number in range(clients)]
        while len(upstream.received) + len(gateway.audit("request")) < clients:
            await gateway.metrics()
        admitted.set()
        statuses = await asyncio.gather(*asking)
        ended = [record for record in await records(gateway) if record["status"] == 200]
        spent, held = await org(gateway)
        assert set(statuses) == {200, 429} and all(record["cut"] for record in ended)
        assert sum(record["extensions"] for record in ended) > 0
        assert held == 0 < spent <= 1_000_000_000
        assert spent == sum(record["cost_nanousd"] for record in ended)


async def leave(gateway: Serving) -> None:
    """A client that reads a first word and goes."""
    async with gateway.post(request_body(max_tokens=60_000)) as response:
        got = b""
        while b"Hello" not in got:
            got += await response.content.readany()
        response.close()


async def test_abandoned_answer_is_covered_while_it_is_read_for_its_usage(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    whole = stream([text_block("Hello, you."), text_block(LONG)], usage=USAGE)
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(sse([*whole[:4], go_on, *whole[4:7], go_on, *whole[7:]]))
        await leave(gateway)
        go_on.set()
        (record,) = await records(gateway)
        cost = PROMPT_TOKENS * INPUT_NANOUSD + 20_000 * OUTPUT_NANOUSD
        assert (record["reason"], record["cut"], record["cost_estimated"]) == ("client_gone", False, False)
        assert record["cost_nanousd"] == cost and await org(gateway) == (cost, 0)


async def test_abandoned_answer_that_cannot_be_covered_is_not_read_on(tmp_path: Path) -> None:
    go_on, never = asyncio.Event(), asyncio.Event()
    chunks = opening(text_block("Hello, you."), text_block(LONG))
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(sse([*chunks[:4], go_on, *chunks[4:], never]))
        await leave(gateway)
        go_on.set()
        await upstream.received[0].gone.wait()
        (record,) = await records(gateway)
        assert (record["reason"], record["cut"], record["cost_estimated"]) == ("client_gone", True, True)
        assert floor_nanousd(11) < record["cost_nanousd"] <= floor_nanousd(len("Hello, you." + LONG))
        assert await org(gateway) == (record["cost_nanousd"], 0)


async def test_answers_abandoned_at_shutdown_are_settled_before_it_ends(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    whole = stream([text_block("Hello, you."), text_block("more")], usage=USAGE)
    async with ScriptedUpstream(lambda _: sse([*whole[:4], go_on, *whole[4:]])) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            await asyncio.gather(*(leave(gateway) for _ in range(5)))
            asyncio.get_running_loop().call_later(0.2, go_on.set)
        ended = [record for record in gateway.audit("request") if record["dialect"] != "operator"]
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as again:
            spent, held = await org(again)
    assert [record["cost_estimated"] for record in ended] == [False] * 5
    assert (spent, held) == (sum(record["cost_nanousd"] for record in ended), 0)


async def test_answers_that_do_not_end_before_the_gateway_does_are_settled_by_the_floor(tmp_path: Path) -> None:
    begun = stream([text_block("Hello, you.")], usage=USAGE)[:4]
    async with ScriptedUpstream(lambda _: sse([*begun, asyncio.Event()])) as upstream:
        document = json.dumps(config_document(tmp_path, upstream.base_url, budgets=AMPLE))
        config = parse_config(document, tmp_path / "ringfence.yaml", {})
        async with open_gateway(config, SystemClock()) as opened, aiohttp.ClientSession() as client:
            runner = web.AppRunner(opened.api, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            gateway = Serving(f"http://127.0.0.1:{runner.addresses[0][1]}", "", tmp_path, client)
            await asyncio.gather(*(leave(gateway) for _ in range(5)))
            await runner.cleanup()
            assert (await opened.tasks.close(0.1)).count("drain") == 5
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as again:
            ended = again.audit("request")
            assert await org(again) == (5 * floor_nanousd(len("Hello, you.")), 0)
    assert [(record["reason"], record["cost_estimated"]) for record in ended] == [("client_gone", True)] * 5


async def test_storm_of_leaving_clients_is_drained_in_part_and_settled_in_full(tmp_path: Path) -> None:
    clients, go_on = 1_000, asyncio.Event()
    whole = stream([text_block("Hello, you."), text_block("more")], usage=USAGE)
    body = request_body(max_tokens=60_000)

    async with (
        ScriptedUpstream(lambda _: sse([b"".join(whole[:4]), go_on, *whole[4:]])) as upstream,
        serving(tmp_path, upstream.base_url, budgets=[AMPLE[0] | {"limit_usd": 100_000}]) as gateway,
        open_crowd() as crowd,
    ):
        crowded = dataclasses.replace(gateway, client=crowd)
        responses = [await crowded.post(body) for _ in range(clients)]
        for response in responses:
            response.close()
        while len(early := gateway.audit("request")) < clients - DRAINS_MAX:
            await gateway.metrics()
        _, held = await org(gateway)
        go_on.set()
        ended = await records(gateway)
        spent, nothing = await org(gateway)
    drained = [record for record in ended if not record["cost_estimated"]]
    usage_nanousd = PROMPT_TOKENS * INPUT_NANOUSD + USAGE["output_tokens"] * OUTPUT_NANOUSD
    assert (len(ended), len(drained)) == (clients, DRAINS_MAX)
    assert all(record["cost_estimated"] for record in early if record["dialect"] != "operator")
    assert {record["cost_nanousd"] for record in drained} == {usage_nanousd}
    assert held > 0 == nothing and spent == sum(record["cost_nanousd"] for record in ended)
