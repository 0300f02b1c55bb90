"""An operator stops agents whose requests are under way: each ends within a second, is paid for and recorded.

Everything is asserted by what the clients read, what the upstream noticed and what the ledger and the audit say.
"""

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.controlled import AMPLE, COST, MODELS, ask, events, floor_nanousd, records, say, stop, stopped
from tests.support.gateway import CREDENTIAL, SESSION, UPSTREAM_KEY, serving
from tests.support.streams import sdk_message
from tests.support.upstream import (
    JSON_HEADERS,
    SSE_HEADERS,
    Answer,
    Received,
    ScriptedUpstream,
    json_answer,
    message,
    text_block,
    thinking_block,
    tool_block,
)

TARGETS = [f"session:{SESSION}", f"agent:{SESSION}/main", "user:alice", "team:platform", "org"]
ELSEWHERE = ["session:other", f"agent:{SESSION}/other", "user:bob", "team:other"]
READ = tool_block("Read", {"file_path": "/home/dev/app/a"}, "toolu_read")
LATER = tool_block("Read", {"file_path": "/home/dev/app/b"}, "toolu_later")
HELLO = text_block("Hello.")


class Holding(ScriptedUpstream):
    """An upstream whose answers, headers included, wait for `go`."""

    def __init__(self, responder: Any = None) -> None:
        super().__init__(responder)
        self.go = asyncio.Event()

    async def _write(self, request: web.Request, received: Received, answer: Answer) -> web.StreamResponse:
        await self.go.wait()
        return await super()._write(request, received, answer)


def within(*blocks: dict[str, Any], upto: int) -> Answer:
    """A stream of `blocks` of which so many events come; the rest never does."""
    return Answer(200, SSE_HEADERS, [*events(*blocks)[:upto], asyncio.Event()])


async def test_one_agent_of_many_is_stopped_and_the_others_go_on(tmp_path: Path) -> None:
    go, many = asyncio.Event(), 21
    whole = events(text_block("first second"))
    answer = Answer(200, SSE_HEADERS, [*whole[:3], go, *whole[3:]])
    async with ScriptedUpstream(lambda _: answer) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            agents = {f"a{number}": ask(gateway, agent=f"a{number}") for number in range(many)}
            for client in agents.values():
                await client.until(b"first")
            victim = agents.pop("a7")
            await stop(gateway, f"agent:{SESSION}/a7", victim)
            assert not any(client.task.done() for client in agents.values())
            go.set()
            await asyncio.wait([client.task for client in agents.values()])
            found = await records(gateway, many)
        assert {client.got for client in agents.values()} == {b"".join(whole)}
        assert [record["lineage"]["agent"] for record in found if stopped(record)] == ["a7"]
        assert sum(record["reason"] == "completed" for record in found) == many - 1
        assert sum(received.gone.is_set() for received in upstream.received) == 1


@pytest.mark.parametrize("whole", [False, True])
async def test_request_whose_headers_are_pending_is_refused_at_once(tmp_path: Path, whole: bool) -> None:
    async with Holding(lambda _: within(HELLO, upto=0)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            for number, dialect in enumerate(MODELS):
                client = ask(gateway, dialect, stream=not whole)
                await upstream.wait_for_requests(number + 1)
                await stop(gateway, f"session:{SESSION}", client)
                await upstream.received[number].gone.wait()
                assert (client.status, client.headers["x-should-retry"]) == (429, "false")
                assert "by olga (runaway)" in client.refusal()[1] and "retry-after" not in client.headers
                await say(gateway, "release", f"session:{SESSION}")
            found = await records(gateway, len(MODELS))
        assert all(stopped(record) and record["cost_estimated"] and record["cost_nanousd"] > 0 for record in found)


async def test_every_kind_of_target_is_stopped_under_way_and_refused_after(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: within(HELLO, upto=3)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            for target in TARGETS:
                client = ask(gateway)
                await client.until(b"Hel")
                await stop(gateway, target, client)
                again = ask(gateway)
                await again.task
                assert client.refusal()[0] == "permission_error" and again.status == 429
                await say(gateway, "release", target)
            found = await records(gateway, 2 * len(TARGETS))
        assert all(stopped(record) for record in found)
        assert [record["cost_nanousd"] > 0 for record in found] == [True, False] * len(TARGETS)
        assert [received.gone.is_set() for received in upstream.received] == [True] * len(TARGETS)


async def test_control_of_somebody_else_is_not_felt(tmp_path: Path) -> None:
    go, whole = asyncio.Event(), events()
    async with ScriptedUpstream(lambda _: Answer(200, SSE_HEADERS, [*whole[:3], go, *whole[3:]])) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            client = ask(gateway)
            await client.until(b"Hel")
            for target in ELSEWHERE:
                await say(gateway, "stop", target)
            go.set()
            later = ask(gateway)
            await asyncio.wait([client.task, later.task])
            assert client.got == later.got == b"".join(whole)
            assert {record["reason"] for record in await records(gateway, 2)} == {"completed"}


@pytest.mark.parametrize("block", [text_block("Hello."), thinking_block("Hello.")], ids=["text", "thinking"])
async def test_stream_ends_with_its_block_and_an_error(tmp_path: Path, block: dict[str, Any]) -> None:
    async with ScriptedUpstream(lambda _: within(block, upto=4)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            for dialect in MODELS:
                client = ask(gateway, dialect)
                await client.shown(4)
                await stop(gateway, "user:alice", client)
                assert (client.status, client.cut) == (200, False)
                assert client.events()[-2]["type"] == "content_block_stop"
                assert client.refusal()[1].startswith("user alice was stopped by olga (runaway)")
                await say(gateway, "release", "user:alice")
            found = await records(gateway, len(MODELS))
        assert all(stopped(record) for record in found)
        assert {record["cost_nanousd"] for record in found} == {floor_nanousd(len("Hello."))}
        assert all(received.gone.is_set() for received in upstream.received)


async def test_client_that_was_shown_nothing_is_shown_why(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: within(HELLO, upto=0)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            client = ask(gateway)
            await upstream.wait_for_requests(1)
            while client.status == 0 and "requests_total" in str(await gateway.operator("upstreams")):
                pass
            await stop(gateway, "org", client)
            (record,) = await records(gateway, 1)
        kinds = [event["type"] for event in client.events()]
        assert kinds[0] == "message_start" and kinds[-2:] == ["content_block_stop", "error"]
        assert "everything was stopped" in client.refusal()[1] and stopped(record)


async def test_call_that_is_held_is_dropped_undecided(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: within(HELLO, READ, upto=7)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            for dialect in MODELS:
                client = ask(gateway, dialect)
                await client.shown(5)
                await stop(gateway, "user:alice", client)
                assert not any("tool_use" in json.dumps(event) for event in client.events())
                assert "user alice was stopped" in client.refusal()[1]
                await say(gateway, "release", "user:alice")
            found = await records(gateway, len(MODELS))
            assert {each["kind"] for each in gateway.audit("decision")} == {"infer"}
        assert [(stopped(record), record["tool_calls"]) for record in found] == [(True, [])] * len(MODELS)


async def test_nothing_more_is_said_after_a_call_that_was_released(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: within(READ, LATER, upto=8)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            client = ask(gateway)
            await client.until(b"content_block_stop")
            await stop(gateway, "user:alice", client)
            (record,) = await records(gateway, 1)
        assert client.cut and client.got == b"".join(events(READ, LATER)[: client.got.count(b"event: ")])
        assert (b"error" in client.got, b"toolu_later" in client.got) == (False, False)
        assert stopped(record) and [call["tool_use_id"] for call in record["tool_calls"]] == ["toolu_read"]


async def test_whole_answer_that_is_being_read_is_refused(tmp_path: Path) -> None:
    body = message([HELLO], usage={"output_tokens": 5_000})
    async with ScriptedUpstream(lambda _: Answer(200, JSON_HEADERS, [body[:50], asyncio.Event()])) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            for number, dialect in enumerate(MODELS):
                client = ask(gateway, dialect, stream=False)
                while (await gateway.operator("upstreams"))["upstreams"][0]["requests_total"] == number:
                    pass
                await stop(gateway, "user:alice", client)
                assert client.status == 429 and "user alice was stopped" in client.refusal()[1]
                await say(gateway, "release", "user:alice")
            found = await records(gateway, len(MODELS))
        assert all(stopped(record) and record["cost_estimated"] and record["cost_nanousd"] > 0 for record in found)
        assert all(received.gone.is_set() for received in upstream.received)


async def test_request_that_waits_for_a_place_is_refused_unpaid(tmp_path: Path) -> None:
    async with Holding(lambda _: json_answer(message([HELLO], usage={"output_tokens": 5_000}))) as upstream:
        row = {"id": "main", "backend": "anthropic", "base_url": upstream.base_url, "api_key": UPSTREAM_KEY}
        async with serving(tmp_path, "", upstreams=[row | {"concurrent_max": 1}], budgets=AMPLE) as gateway:
            first = ask(gateway, agent="a1", stream=False)
            await upstream.wait_for_requests(1)
            second = ask(gateway, agent="a2", stream=False)
            while (await gateway.operator("upstreams"))["upstreams"][0]["waiting"] == 0:
                pass
            await stop(gateway, f"agent:{SESSION}/a2", second)
            upstream.go.set()
            await first.task
            found = await records(gateway, 2)
        assert (first.status, second.status, len(upstream.received)) == (200, 429, 1)
        assert stopped(found[0]) and [record["cost_nanousd"] for record in found] == [0, COST]


async def test_request_whose_money_is_being_held_is_refused_unpaid(tmp_path: Path) -> None:
    """The database takes neither the hold nor the stop just now."""
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        lock = sqlite3.connect(tmp_path / "ringfence.db", isolation_level=None)
        with contextlib.closing(lock):
            lock.execute("BEGIN IMMEDIATE")
            client = ask(gateway)
            while (await gateway.operator("limits?account=org"))["limits"][0]["held"] == 0:
                pass
            await stop(gateway, "user:alice", client)
            lock.execute("ROLLBACK")
        (record,) = await records(gateway, 1)
        assert (client.status, upstream.received, record["cost_nanousd"]) == (429, [], 0) and stopped(record)
    async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
        (row,) = (await gateway.operator("controls"))["controls"]
        assert (row["control"]["target"], row["control"]["state"]) == ("user:alice", "stopped")


async def test_client_that_does_not_read_cannot_keep_its_request(tmp_path: Path) -> None:
    text = "x" * 4_000_000
    chunks = [*events(text_block(text))[:3], asyncio.Event()]
    async with ScriptedUpstream(lambda _: Answer(200, SSE_HEADERS, chunks)) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            host, _, port = gateway.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
            body = json.dumps(
                {
                    "model": MODELS["anthropic"],
                    "max_tokens": 6_000,
                    "stream": True,
                    "messages": [{"role": "user", "content": "hi"}],
                }
            )
            head = f"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: {CREDENTIAL}\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
            assert b"200" in await reader.readline()
            await say(gateway, "stop", "user:alice")
            (record,) = await records(gateway, 1)
            assert stopped(record) and upstream.received[0].gone.is_set()
            writer.transport.abort()


@pytest.mark.parametrize("pending", ["headers", "whole", "stream"])
async def test_answer_that_is_read_on_without_its_client_is_stopped_as_well(tmp_path: Path, pending: str) -> None:
    begun = message([HELLO])[:50] if pending == "whole" else b"".join(events(HELLO)[:3])
    headers = JSON_HEADERS if pending == "whole" else SSE_HEADERS
    async with Holding(lambda _: Answer(200, headers, [begun, asyncio.Event()])) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            client = ask(gateway, stream=pending != "whole")
            await upstream.wait_for_requests(1)
            if pending != "headers":
                upstream.go.set()
                while (await gateway.operator("upstreams"))["upstreams"][0]["requests_total"] == 0:
                    pass
            await client.leave()
            while "ringfence_drains_in_flight 1.0" not in await gateway.metrics():
                pass
            await say(gateway, "stop", "user:alice")
            await upstream.received[0].gone.wait()
            (record,) = await records(gateway, 1)
        assert record["reason"] == "client_gone" and record["cost_estimated"] and record["cost_nanousd"] > 0


async def test_token_counts_of_who_is_stopped_are_refused(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await say(gateway, "stop", "user:alice")
        asked = json.dumps({"model": MODELS["anthropic"], "messages": [{"role": "user", "content": "hi"}]}).encode()
        async with gateway.post(asked, path="/v1/messages/count_tokens") as response:
            assert response.status == 429 and "user alice" in (await response.json())["error"]["message"]
        assert upstream.received == []


@pytest.mark.parametrize("action", ["stop", "hold"])
async def test_control_stands_after_a_restart_until_it_is_released(tmp_path: Path, action: str) -> None:
    async with ScriptedUpstream(lambda _: json_answer(message([HELLO]))) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            await say(gateway, action, "user:alice")
        async with serving(tmp_path, upstream.base_url) as gateway:
            (row,) = (await gateway.operator("controls"))["controls"]
            assert (row["control"]["target"], row["control"]["by"]) == ("user:alice", "olga")
            client = ask(gateway, stream=False)
            if action == "stop":
                await client.task
                assert client.status == 429
                client = ask(gateway, stream=False) if await say(gateway, "release", "user:alice") else client
            else:
                await say(gateway, "release", "user:alice")
            await client.task
            assert client.status == 200 and (await gateway.operator("controls"))["controls"] == []
            told = [(each["control"]["state"], each["control"]["reason"]) for each in gateway.audit("control")]
            assert told == [("stopped" if action == "stop" else "held", "runaway"), ("free", "runaway")]


async def test_text_of_a_stopped_answer_is_what_was_shown(tmp_path: Path) -> None:
    """Up to the error it is a message like any other to whoever reads it with the official SDK."""
    async with ScriptedUpstream(lambda _: within(text_block("first second"), upto=4)) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            client = ask(gateway)
            await client.until(b"second")
            await stop(gateway, "user:alice", client)
        shown, _, error = client.got.partition(b"event: error")
        assert sdk_message(shown).content[0].text == "first second" and b"permission_error" in error


async def test_stream_is_stopped_wherever_it_is(tmp_path: Path) -> None:
    """After each of its events: a client has a whole message up to the error, or an answer that broke off."""
    blocks = [thinking_block("hm hm"), HELLO, READ, text_block("Bye."), LATER]
    chunks = events(*blocks)
    async with ScriptedUpstream() as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE) as gateway:
            for upto in range(len(chunks)):
                upstream.queue(within(*blocks, upto=upto))
                client = ask(gateway)
                while (await gateway.operator("upstreams"))["upstreams"][0]["requests_total"] == upto:
                    pass
                await stop(gateway, "user:alice", client)
                await upstream.received[upto].gone.wait()
                await say(gateway, "release", "user:alice")
                *_, record = await records(gateway, upto + 1)
                decided = [call["tool_use_id"] for call in record["tool_calls"]]
                shown, _, error = client.got.partition(b"event: error")
                assert stopped(record) and client.cut is bool(decided)
                assert [each for each in ("toolu_read", "toolu_later") if each.encode() in shown] == decided
                assert client.cut or "user alice was stopped" in client.refusal()[1]
                if error:
                    assert all(block.type in ("thinking", "text") for block in sdk_message(shown).content)
