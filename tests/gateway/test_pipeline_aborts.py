"""Clients that leave before they are answered: what was sent is waited for, read to its usage and billed by it.

Everything is asserted by what the upstreams noticed and what the ledger, the board and the audit say.
"""

import asyncio
import contextlib
import dataclasses
import json
import socket
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.app import SystemClock, open_gateway
from gateway.config import parse_config
from gateway.web.drains import DRAINS_MAX
from tests.support.clouds.eventstream import EVENT_STREAM_HEADERS, event_stream
from tests.support.dialects import write_request
from tests.support.gateway import CREDENTIAL, UPSTREAM_KEY, Serving, config_document, request_body, serving
from tests.support.storm import open_crowd
from tests.support.streams import block_start, text_delta
from tests.support.upstream import (
    JSON_HEADERS,
    SSE_HEADERS,
    Answer,
    Received,
    ScriptedUpstream,
    error_answer,
    json_answer,
    message,
    stream,
    stream_answer,
    text_block,
    tool_block,
)

INPUT_NANOUSD, OUTPUT_NANOUSD = 4_000, 20_000
USAGE = {"input_tokens": 100, "output_tokens": 5_000}
COST = 100 * INPUT_NANOUSD + 5_000 * OUTPUT_NANOUSD
MODELS = {"anthropic": "claude-opus-5-5", "bedrock": "us.anthropic.claude-opus-5-5", "vertex": "claude-opus-5-5"}
AMPLE = [{"account": "org", "window": "total", "limit_usd": 10_000}]
TIGHT = [{"account": "org", "window": "total", "limit_usd": 0.1}]
STRICT = [{"account": "org", "window": "total", "limit_usd": 10_000, "strict": True}]
BLOCKS = [text_block("Hello."), tool_block("Bash", {"command": "ls"})]
LONG = "word " * 5_000
BEDROCK = {"id": "main", "backend": "bedrock", "region": "us-east-1", "profile": "global", "bearer": "fake-bearer"}


class Holding(ScriptedUpstream):
    """An upstream whose answers, headers included, wait for `go`."""

    def __init__(self, responder: Any = None) -> None:
        super().__init__(responder)
        self.go = asyncio.Event()

    async def _write(self, request: web.Request, received: Received, answer: Answer) -> web.StreamResponse:
        await self.go.wait()
        return await super()._write(request, received, answer)


def answer_of(*, whole: bool) -> Answer:
    return json_answer(message(BLOCKS, usage=USAGE)) if whole else stream_answer(BLOCKS, usage=USAGE)


def asking(gateway: Serving, dialect: str = "anthropic", **fields: Any) -> "asyncio.Future[Any]":
    """A request under way, as a client of the dialect sends it."""
    body = {"max_tokens": 6_000, "stream": True, "messages": [{"role": "user", "content": "hi"}], "system": "Be long."}
    sent = write_request(dialect, body | {"model": MODELS[dialect]} | fields)
    return asyncio.ensure_future(gateway.post(sent.body, path=sent.path, headers=sent.headers).__aenter__())


async def leave(gateway: Serving, *clients: "asyncio.Future[Any]") -> None:
    """Go; a round trip later the gateway has noticed."""
    for client in clients:
        client.cancel()
    await asyncio.wait(clients)
    await gateway.operator("limits")


async def org(gateway: Serving) -> tuple[int, int]:
    """Spent and held of the organisation."""
    (limit,) = (await gateway.operator("limits?account=org"))["limits"]
    return limit["used"], limit["held"]


async def upstreams(gateway: Serving) -> list[tuple[int, int, int]]:
    """Places taken, requests and failures of each upstream."""
    views = (await gateway.operator("upstreams"))["upstreams"]
    return [(view["in_use"], view["requests_total"], view["failures_total"]) for view in views]


async def records(gateway: Serving) -> list[dict[str, Any]]:
    """Audit records of model requests, once all are written."""
    await gateway.quiet()
    return [record for record in gateway.audit("request") if record["dialect"] != "operator"]


def billed(record: dict[str, Any]) -> tuple[str, bool, int]:
    return record["reason"], record["cost_estimated"], record["cost_nanousd"]


def kinds_decided(gateway: Serving) -> set[str]:
    return {record["kind"] for record in gateway.audit("decision")}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("dialect", MODELS)
async def test_client_gone_before_the_headers_is_billed_by_the_usage(tmp_path: Path, dialect: str, whole: bool) -> None:
    async with Holding() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(answer_of(whole=whole))
        client = asking(gateway, dialect, stream=not whole)
        await upstream.wait_for_requests(1)
        await leave(gateway, client)
        spent, held = await org(gateway)
        assert (spent, held > 0, await upstreams(gateway)) == (0, True, [(1, 0, 0)])
        upstream.go.set()
        (record,) = await records(gateway)
        assert (billed(record), record["status"]) == (("client_gone", False, COST), 200)
        assert (await org(gateway), await upstreams(gateway)) == ((COST, 0), [(0, 1, 0)])
        assert (record["tool_calls"], kinds_decided(gateway)) == ([], {"infer"})
        assert upstream.received[0].answered.is_set()


@pytest.mark.parametrize("whole", [False, True])
async def test_client_gone_before_the_headers_of_bedrock_is_billed_by_the_usage(tmp_path: Path, whole: bool) -> None:
    async with Holding() as upstream:
        rows = [BEDROCK | {"base_url": upstream.base_url}]
        async with serving(tmp_path, "", upstreams=rows, budgets=AMPLE) as gateway:
            streamed = Answer(200, EVENT_STREAM_HEADERS, event_stream(BLOCKS, usage=USAGE))
            upstream.queue(answer_of(whole=True) if whole else streamed)
            client = asking(gateway, stream=not whole)
            await upstream.wait_for_requests(1)
            await leave(gateway, client)
            upstream.go.set()
            (record,) = await records(gateway)
            assert billed(record) == ("client_gone", False, COST)
            assert await org(gateway) == (COST, 0)


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("dialect", MODELS)
async def test_client_gone_within_a_whole_answer_is_billed_by_its_usage(
    tmp_path: Path, dialect: str, kept: int
) -> None:
    go_on = asyncio.Event()
    body = message(BLOCKS, usage=USAGE)
    chunks = [body[:50], body[50:200], body[200:]]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(Answer(200, JSON_HEADERS, [*chunks[:kept], go_on, *chunks[kept:]]))
        client = asking(gateway, dialect, stream=False)
        await upstream.wait_for_requests(1)
        while (await upstreams(gateway))[0][1] == 0:
            pass  # its headers are on their way
        await leave(gateway, client)
        go_on.set()
        (record,) = await records(gateway)
        assert (billed(record), record["tool_calls"]) == (("client_gone", False, COST), [])
        assert (await org(gateway), await upstreams(gateway)) == ((COST, 0), [(0, 1, 0)])
        assert kinds_decided(gateway) == {"infer"}


async def test_client_gone_between_headers_and_first_chunk_of_a_stream_is_billed_by_its_usage(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, [go_on, *stream(BLOCKS, usage=USAGE)]))
        client = asking(gateway)
        async with await client as response:
            assert response.status == 200
            response.close()
        await gateway.operator("limits")
        go_on.set()
        (record,) = await records(gateway)
        assert billed(record) == ("client_gone", False, COST) and await org(gateway) == (COST, 0)


@pytest.mark.parametrize("whole", [False, True])
async def test_client_gone_within_the_last_chunk_is_billed_by_the_usage(tmp_path: Path, whole: bool) -> None:
    """Too long for the buffers between, and the client reads nothing of it."""
    blocks = [text_block("x" * 16_000_000)]
    body = message(blocks, usage=USAGE) if whole else b"".join(stream(blocks, usage=USAGE))
    headers = JSON_HEADERS if whole else SSE_HEADERS
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=STRICT) as gateway:
        upstream.queue(Answer(200, headers, [body]))
        reader, writer = await connected(gateway)
        writer.write(http_request(request_body(stream=not whole)))
        assert b"200" in await reader.readline()
        if whole:
            await upstream.received[0].answered.wait()
        writer.transport.abort()
        (record,) = await records(gateway)
        assert record["cost_nanousd"] == COST and not record["cost_estimated"]
        assert await org(gateway) == (COST, 0)


@pytest.mark.parametrize("whole", [False, True])
async def test_client_gone_while_it_waits_for_a_place_is_billed_nothing(tmp_path: Path, whole: bool) -> None:
    async with Holding(lambda _: answer_of(whole=whole)) as upstream:
        row = {"id": "main", "backend": "anthropic", "base_url": upstream.base_url, "api_key": UPSTREAM_KEY}
        async with serving(tmp_path, "", upstreams=[row | {"concurrent_max": 1}], budgets=AMPLE) as gateway:
            first = asking(gateway, stream=not whole)
            await upstream.wait_for_requests(1)
            second = asking(gateway, stream=not whole)
            while (await gateway.operator("upstreams"))["upstreams"][0]["waiting"] == 0:
                pass
            await leave(gateway, second)
            upstream.go.set()
            async with await first as response:
                await response.read()
            found = await records(gateway)
            assert [billed(each) for each in found] == [("client_gone", False, 0), ("completed", False, COST)]
            assert (await org(gateway), len(upstream.received)) == ((COST, 0), 1)
            assert await upstreams(gateway) == [(0, 1, 0)]


@pytest.mark.parametrize("whole", [False, True])
async def test_client_gone_while_money_is_held_is_billed_nothing(tmp_path: Path, whole: bool) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        lock = sqlite3.connect(tmp_path / "ringfence.db", isolation_level=None)
        with contextlib.closing(lock):
            lock.execute("BEGIN IMMEDIATE")
            client = asking(gateway, stream=not whole)
            while (await org(gateway))[1] == 0:
                pass
            await leave(gateway, client)
            assert await org(gateway) == (0, 0)
            lock.execute("ROLLBACK")
        (record,) = await records(gateway)
        assert (billed(record), upstream.received) == (("client_gone", False, 0), [])
    async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as again:
        assert await org(again) == (0, 0)


@contextlib.asynccontextmanager
async def unanswered() -> AsyncGenerator[str]:
    """An address where connections are neither accepted nor refused: those who wait before fill its queue."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("whole", [False, True])
async def test_client_gone_before_the_request_could_be_sent_is_billed_nothing(tmp_path: Path, whole: bool) -> None:
    async with unanswered() as url:
        row = {"id": "main", "backend": "anthropic", "base_url": url, "api_key": UPSTREAM_KEY}
        rows = [row | {"connect_timeout_seconds": 2}]
        async with serving(tmp_path, "", upstreams=rows, budgets=AMPLE) as gateway:
            client = asking(gateway, stream=not whole)
            while (await upstreams(gateway))[0][0] == 0:
                pass
            await leave(gateway, client)
            (record,) = await records(gateway)
            assert billed(record) == ("client_gone", False, 0)
            assert (await org(gateway), await upstreams(gateway)) == ((0, 0), [(0, 1, 1)])


@pytest.mark.parametrize(
    ("answer", "cost_is_estimated"),
    [(error_answer(529, "overloaded_error", "busy"), False), (Answer(200, SSE_HEADERS, [], cut=True), True)],
)
async def test_failure_after_the_client_left_goes_on_to_nobody(
    tmp_path: Path, answer: Answer, cost_is_estimated: bool
) -> None:
    async with Holding() as upstream, ScriptedUpstream() as spare:
        row = {"backend": "anthropic", "api_key": UPSTREAM_KEY}
        rows = [
            row | {"id": "main", "base_url": upstream.base_url},
            row | {"id": "spare", "base_url": spare.base_url},
        ]
        routes = [{"models": ["*"], "upstreams": ["main", "spare"]}]
        async with serving(tmp_path, "", upstreams=rows, routes=routes, budgets=AMPLE) as gateway:
            upstream.queue(answer)
            client = asking(gateway)
            await upstream.wait_for_requests(1)
            await leave(gateway, client)
            upstream.go.set()
            (record,) = await records(gateway)
            spent, held = await org(gateway)
            assert (record["reason"], record["cost_estimated"], spare.received) == (
                "client_gone",
                cost_is_estimated,
                [],
            )
            assert (spent, held, spent > 0) == (record["cost_nanousd"], 0, cost_is_estimated)
            assert [in_use for in_use, _, _ in await upstreams(gateway)] == [0, 0]


async def test_error_in_a_success_costs_nothing_also_when_nobody_waits_for_it(tmp_path: Path) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    async with Holding() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(json_answer(error))
        client = asking(gateway, stream=False)
        await upstream.wait_for_requests(1)
        await leave(gateway, client)
        upstream.go.set()
        (record,) = await records(gateway)
        assert (record["status"], *billed(record)) == (529, "client_gone", False, 0)
        assert await org(gateway) == (0, 0)


async def test_stream_that_begins_after_its_client_left_is_read_as_far_as_the_money_goes(tmp_path: Path) -> None:
    never = asyncio.Event()
    begun = [*stream([])[:1], block_start(0, type="text", text=""), text_delta(0, LONG), never]
    async with Holding() as upstream, serving(tmp_path, upstream.base_url, budgets=TIGHT) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, begun))
        client = asking(gateway, max_tokens=60_000)
        await upstream.wait_for_requests(1)
        await leave(gateway, client)
        upstream.go.set()
        await upstream.received[0].gone.wait()
        (record,) = await records(gateway)
        cost = 100 * INPUT_NANOUSD + len(LONG) // 4 * OUTPUT_NANOUSD
        assert (record["cut"], *billed(record)) == (True, "client_gone", True, cost)
        assert await org(gateway) == (cost, 0)


async def test_storm_of_clients_that_leave_before_whole_answers_is_settled_in_full(tmp_path: Path) -> None:
    clients = 300
    body = request_body(stream=False, max_tokens=6_000)
    async with (
        Holding(lambda _: answer_of(whole=True)) as upstream,
        serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway,
        open_crowd() as crowd,
    ):
        crowded = dataclasses.replace(gateway, client=crowd)
        waiting = [asyncio.ensure_future(crowded.post(body).__aenter__()) for _ in range(clients)]
        await upstream.wait_for_requests(clients)
        await leave(gateway, *waiting)
        while len(early := gateway.audit("request")) < clients - DRAINS_MAX:
            await gateway.metrics()
        assert f"ringfence_drains_in_flight {DRAINS_MAX}.0" in await gateway.metrics()
        assert (await upstreams(gateway))[0][0] == DRAINS_MAX
        upstream.go.set()
        ended = await records(gateway)
        spent, held = await org(gateway)
        drained = [record for record in ended if not record["cost_estimated"]]
        assert (len(ended), {record["cost_nanousd"] for record in drained}) == (clients, {COST})
        assert len(drained) == DRAINS_MAX and {record["reason"] for record in ended} == {"client_gone"}
        assert all(record["cost_estimated"] for record in early if record["dialect"] != "operator")
        assert (spent, held) == (sum(record["cost_nanousd"] for record in ended), 0)
        assert await upstreams(gateway) == [(0, DRAINS_MAX, 0)]


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("gone", [True, False])
async def test_requests_under_way_at_shutdown_are_settled_before_it_ends(
    tmp_path: Path, gone: bool, answered: bool
) -> None:
    """Also those whose client still waits when the gateway stops waiting for answers."""
    body = request_body(stream=False, max_tokens=6_000)
    async with Holding(lambda _: answer_of(whole=True)) as upstream:
        document = json.dumps(config_document(tmp_path, upstream.base_url, budgets=AMPLE))
        config = parse_config(document, tmp_path / "ringfence.yaml", {})
        async with open_gateway(config, SystemClock()) as opened, aiohttp.ClientSession() as client:
            runner = web.AppRunner(opened.api, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            gateway = Serving(f"http://127.0.0.1:{runner.addresses[0][1]}", "", tmp_path, client)
            waiting = [asyncio.ensure_future(gateway.post(body).__aenter__()) for _ in range(5)]
            await upstream.wait_for_requests(5)
            if gone:
                await leave(gateway, *waiting)
            await runner.cleanup()
            if answered:
                upstream.go.set()
            else:
                assert (await opened.tasks.close(0.1)).count("drain") == 5
            await asyncio.gather(*waiting, return_exceptions=True)
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as again:
            ended = [record for record in again.audit("request") if record["dialect"] != "operator"]
            spent, held = await org(again)
    assert [(record["reason"], record["cost_estimated"]) for record in ended] == [("client_gone", not answered)] * 5
    assert (spent, held) == (sum(record["cost_nanousd"] for record in ended), 0)
    assert spent == 5 * COST if answered else spent > 0


def http_request(body: bytes, *, length: int | None = None, headers: str = "", method: str = "POST") -> bytes:
    """As a client writes it that says what it likes of its body."""
    head = f"{method} /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: {CREDENTIAL}\r\n{headers}"
    return f"{head}content-length: {len(body) if length is None else length}\r\n\r\n".encode() + body


async def connected(gateway: Serving) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize("whole", [False, True])
async def test_client_that_closes_its_half_is_billed_by_the_usage(tmp_path: Path, whole: bool) -> None:
    async with Holding() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        upstream.queue(answer_of(whole=whole))
        reader, writer = await connected(gateway)
        writer.write(http_request(request_body(stream=not whole)))
        await upstream.wait_for_requests(1)
        writer.write_eof()
        assert await reader.read() == b""
        upstream.go.set()
        (record,) = await records(gateway)
        assert billed(record) == ("client_gone", False, COST) and await org(gateway) == (COST, 0)
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        http_request(request_body(), length=100_000),
        http_request(b"", length=1_000, headers="expect: 100-continue\r\n"),
        http_request(request_body(), headers="transfer-encoding: chunked\r\n"),
        http_request(request_body(), method="HEAD"),
    ],
)
async def test_request_that_never_came_whole_is_neither_sent_nor_billed(tmp_path: Path, sent: bytes) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        _, writer = await connected(gateway)
        writer.write(sent)
        await writer.drain()
        await gateway.operator("limits")
        writer.close()
        await gateway.quiet()
        assert (upstream.received, await org(gateway)) == ([], (0, 0))


@pytest.mark.parametrize("piled", [1, 50])
async def test_pipelining_client_that_leaves_is_billed_for_all_that_was_sent(tmp_path: Path, piled: int) -> None:
    async with Holding(lambda _: answer_of(whole=True)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            _, writer = await connected(gateway)
            writer.write(http_request(request_body(stream=False)) * (1 + piled))
            await upstream.wait_for_requests(1)
            writer.transport.abort()
            await gateway.operator("limits")
            upstream.go.set()
            ended = await records(gateway)
            sent = len(upstream.received)
            assert [(record["cost_nanousd"], record["cost_estimated"]) for record in ended] == [(COST, False)] * sent
            assert await org(gateway) == (sent * COST, 0)
