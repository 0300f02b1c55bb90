"""Answers on their way to the client."""

import asyncio
from pathlib import Path

import pytest

from gateway.web.drains import DRAINS_MAX
from tests.support.gateway import events_of, request_body, serving, text_of
from tests.support.upstream import (
    SSE_HEADERS,
    Answer,
    ScriptedUpstream,
    block_events,
    event,
    ping,
    stream,
    stream_answer,
    text_block,
    tool_block,
)

NO_CURL = {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}}


async def test_comments_pings_and_unknown_events_pass_as_they_came(tmp_path: Path) -> None:
    chunks = [b": hello\n\n", ping(), *stream([text_block("x")]), event("brand_new", {"a": 1})]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, chunks))
        async with gateway.post(request_body()) as response:
            assert await response.read() == b"".join(chunks)


async def test_text_is_not_delayed_by_the_block_that_follows(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    before = [*stream([text_block("at once")])[:-2], block_events(1, tool_block("Read", {"file_path": "a"}))[0]]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, [*before, go_on], cut=True))
        async with gateway.post(request_body()) as response:
            got = b""
            while b"once" not in got:
                got += await response.content.readany()
            assert text_of(events_of(got)) == "at once" and b"tool_use" not in got
            go_on.set()


async def test_client_hears_pings_while_a_block_is_held(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    chunks = stream([tool_block("Read", {"file_path": "/home/dev/app/a"})])
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, ping_seconds=0.02) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, [*chunks[:3], go_on, *chunks[3:]]))
        async with gateway.post(request_body()) as response:
            got = b""
            while got.count(b"ping") < 4:
                got += await response.content.readany()
            assert b"tool_use" not in got
            go_on.set()
            got += await response.read()
        assert [each["type"] for each in events_of(got) if each["type"] != "ping"] == [
            each["type"] for each in events_of(b"".join(chunks))
        ]


async def test_compressed_answer_is_refused_unseen(tmp_path: Path) -> None:
    headers = (*SSE_HEADERS, ("content-encoding", "gzip"))
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(Answer(200, headers, [b"\x1f\x8b\x08"]))
        async with gateway.post(request_body()) as response:
            assert response.status == 502 and "gzip" in (await response.json())["error"]["message"]


async def test_stream_that_cannot_be_read_ends_before_its_fault(tmp_path: Path) -> None:
    odd = b'event: content_block_start\ndata: {"type":"content_block_start","type":"x","index":1}\n\n'
    chunks = [*stream([text_block("fine")])[:-2], odd, *block_events(1, tool_block("Bash", {"command": "ls"}))]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, chunks))
        async with gateway.post(request_body()) as response:
            events = events_of(await response.read())
        await gateway.quiet()
        (record,) = gateway.audit("request")
        assert events[-1]["type"] == "error" and text_of(events) == "fine"
        assert record["reason"] == "upstream_broke"


async def test_upstream_cut_inside_a_held_call_cuts_the_answer(tmp_path: Path) -> None:
    chunks = stream([tool_block("Read", {"file_path": "a"}), tool_block("Read", {"file_path": "b"}, "t2")])
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(Answer(200, SSE_HEADERS, chunks[:8], cut=True))
        async with gateway.post(request_body()) as response:
            got = b""
            with pytest.raises(Exception, match=r"[Pp]ayload|[Cc]onnection"):
                while chunk := await response.content.readany():
                    got += chunk
        assert got.count(b'"name":"Read"') == 1


async def test_denial_in_text_form_ends_the_turn(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=NO_CURL) as gateway:
        upstream.queue(stream_answer([tool_block("Bash", {"command": "curl x"})]))
        async with gateway.post(request_body(), headers={"x-ringfence-denial-form": "text"}) as response:
            events = events_of(await response.read())
        delta = next(each for each in events if each["type"] == "message_delta")
        assert "tools/denylist" in text_of(events) and delta["delta"]["stop_reason"] == "end_turn"
        assert upstream.received[0].header("x-ringfence-denial-form") is None


async def test_too_many_clients_gone_are_billed_by_the_floor(tmp_path: Path) -> None:
    never = asyncio.Event()
    usage = {"input_tokens": 1000, "output_tokens": 500}
    chunks = [*stream([text_block("x")], usage=usage)[:3], never]
    async with (
        ScriptedUpstream(lambda _: Answer(200, SSE_HEADERS, chunks)) as upstream,
        serving(tmp_path, upstream.base_url) as gateway,
    ):
        responses = [await gateway.post(request_body()) for _ in range(DRAINS_MAX + 1)]
        for response in responses:
            response.close()
        while not (early := gateway.audit("request")):
            await gateway.metrics()
        never.set()
        await gateway.quiet()
        assert [record["cost_estimated"] for record in early] == [True]
        assert len(gateway.audit("request")) == DRAINS_MAX + 1


async def test_redirect_of_the_upstream_is_not_followed(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(Answer(307, (("location", upstream.base_url + "/elsewhere"),), []))
        async with gateway.post(request_body()) as response:
            assert response.status == 502
        assert len(upstream.received) == 1
