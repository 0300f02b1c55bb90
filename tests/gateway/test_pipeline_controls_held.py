"""An operator holds agents whose requests are under way: nothing but pings comes until he releases or stops them.

Everything is asserted by what the clients read, what the upstream noticed and what the ledger and the audit say.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from tests.gateway.controlled import (
    AMPLE,
    COST,
    MODELS,
    PING_SECONDS,
    USAGE,
    ask,
    events,
    floor_nanousd,
    records,
    say,
    stop,
    stopped,
)
from tests.gateway.test_pipeline_aborts import Holding
from tests.support.gateway import SESSION, Serving, serving
from tests.support.upstream import (
    SSE_HEADERS,
    Answer,
    ScriptedUpstream,
    json_answer,
    message,
    stream_answer,
    text_block,
    tool_block,
)

ALICE = "user:alice"
PING = b"event: ping"
READ = tool_block("Read", {"file_path": "/home/dev/app/a"}, "toolu_read")
BLOCKS = [text_block("first second"), READ, text_block("third")]


class Paused(ScriptedUpstream):
    """Its streams wait for `go` after some events."""

    def __init__(self, *blocks: dict[str, Any], after: int = 3) -> None:
        self.go, whole = asyncio.Event(), events(*blocks)
        self.whole = b"".join(whole)
        super().__init__(lambda _: Answer(200, SSE_HEADERS, [*whole[:after], self.go, *whole[after:]]))


@contextlib.asynccontextmanager
async def pinging(directory: Path, upstream: ScriptedUpstream) -> AsyncGenerator[Serving]:
    async with serving(directory, upstream.base_url, budgets=AMPLE, ping_seconds=PING_SECONDS) as gateway:
        yield gateway


def unpinged(got: bytes) -> bytes:
    return re.sub(rb"event: ping\ndata: [^\n]*\n\n", b"", got)


async def test_held_stream_goes_on_where_it_was_byte_for_byte(tmp_path: Path) -> None:
    async with Paused(*BLOCKS) as upstream, pinging(tmp_path, upstream) as gateway:
        found: list[dict[str, Any]] = []
        for number, dialect in enumerate(MODELS):
            upstream.go.clear()
            free, held = ask(gateway, dialect, agent="a1"), ask(gateway, dialect, agent="a2")
            await asyncio.gather(free.shown(3), held.shown(3))
            await say(gateway, "hold", f"agent:{SESSION}/a2")
            upstream.go.set()
            await free.task
            if dialect != "bedrock":
                await held.until(PING, 5)
            assert len(held.events()) == 3 and not held.task.done()
            await say(gateway, "release", f"agent:{SESSION}/a2")
            await held.task
            assert held.events() == free.events() and unpinged(held.got) == unpinged(free.got)
            assert dialect != "anthropic" or unpinged(held.got) == upstream.whole
            found = await records(gateway, 2 * (number + 1))
        assert {(record["reason"], record["cost_nanousd"]) for record in found} == {("completed", COST)}


async def test_answer_that_comes_while_its_agent_is_held_waits(tmp_path: Path) -> None:
    async with Holding() as upstream, pinging(tmp_path, upstream) as gateway:
        for whole in (False, True):
            upstream.go.clear()
            body = message(BLOCKS, usage=USAGE)
            upstream.queue(json_answer(body) if whole else stream_answer(BLOCKS, usage=USAGE))
            client = ask(gateway, stream=not whole)
            await upstream.wait_for_requests(1 + whole)
            await say(gateway, "hold", ALICE)
            upstream.go.set()
            await upstream.received[whole].answered.wait()
            if not whole:
                await client.until(PING, 3)
            assert (client.status, unpinged(client.got)) == (0 if whole else 200, b"")
            assert {record["kind"] for record in gateway.audit("decision")} <= {"infer", *(["tool_call"] * whole)}
            await say(gateway, "release", ALICE)
            await client.task
            assert unpinged(client.got) == (body if whole else b"".join(events(*BLOCKS)))
        assert {record["reason"] for record in await records(gateway, 2)} == {"completed"}


async def test_call_of_a_held_agent_waits_undecided(tmp_path: Path) -> None:
    async with Paused(*BLOCKS, after=7) as upstream, pinging(tmp_path, upstream) as gateway:
        client = ask(gateway)
        await client.shown(5)
        await say(gateway, "hold", "org")
        upstream.go.set()
        await upstream.received[0].answered.wait()
        await client.until(PING, 3)
        assert {record["kind"] for record in gateway.audit("decision")} == {"infer"} and b"tool_use" not in client.got
        await say(gateway, "release", "org")
        await client.task
        assert unpinged(client.got) == upstream.whole
        assert {record["kind"] for record in gateway.audit("decision")} == {"infer", "tool_call"}
        await records(gateway, 1)


async def test_held_agent_that_is_stopped_ends_where_it_was_held(tmp_path: Path) -> None:
    async with Paused(*BLOCKS) as upstream, pinging(tmp_path, upstream) as gateway:
        for target in (ALICE, "org"):
            upstream.go.clear()
            client = ask(gateway)
            await client.until(b"first")
            await say(gateway, "hold", ALICE)
            upstream.go.set()
            await client.until(PING, 3)
            await stop(gateway, target, client)
            kinds = [event["type"] for event in client.events()]
            assert kinds == [
                "message_start",
                *(f"content_block_{each}" for each in ("start", "delta", "stop")),
                "error",
            ]
            await say(gateway, "release", target)
            if target != ALICE:
                await say(gateway, "release", ALICE)
        found = await records(gateway, 2)
        assert all(stopped(record) and record["tool_calls"] == [] for record in found)
        assert all(floor_nanousd(len("first ")) <= record["cost_nanousd"] <= COST for record in found)


async def test_client_that_leaves_while_it_is_held_is_billed_by_the_usage(tmp_path: Path) -> None:
    async with Paused(*BLOCKS) as upstream, pinging(tmp_path, upstream) as gateway:
        for agent, answered in (("a1", True), ("a2", False)):
            upstream.go.clear()
            client = ask(gateway, agent=agent)
            await client.until(b"first")
            await say(gateway, "hold", ALICE)
            if answered:
                upstream.go.set()
                await client.until(PING, 3)
            await client.leave()
            upstream.go.set()
            (*_, record) = await records(gateway, int(agent[1]))
            assert (record["reason"], record["cost_estimated"]) == ("client_gone", False)
            assert (record["cost_nanousd"], record["tool_calls"]) == (COST, [])
            await say(gateway, "release", ALICE)


async def test_request_of_a_held_agent_waits_unsent_until_it_is_released(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: stream_answer(BLOCKS, usage=USAGE)) as upstream:
        async with pinging(tmp_path, upstream) as gateway:
            await say(gateway, "hold", f"session:{SESSION}")
            held, other = ask(gateway), ask(gateway, session="other")
            await other.task
            while (await gateway.operator("controls"))["controls"][0]["in_flight"] == 0:
                pass
            assert (other.status, len(upstream.received), held.status) == (200, 1, 0)
            await say(gateway, "release", f"session:{SESSION}")
            await held.task
            assert (held.status, held.got) == (200, other.got)
            assert {record["reason"] for record in await records(gateway, 2)} == {"completed"}


async def test_request_that_waits_unsent_is_stopped_at_no_cost(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, pinging(tmp_path, upstream) as gateway:
        await say(gateway, "hold", ALICE)
        stopped_one, leaving = ask(gateway), ask(gateway, session="other")
        while (await gateway.operator("controls"))["controls"][0]["in_flight"] < 2:
            pass
        await leaving.leave()
        await stop(gateway, f"session:{SESSION}", stopped_one)
        found = await records(gateway, 2)
        assert stopped_one.status == 429 and {record["reason"] for record in found} == {"client_gone", "stopped"}
        assert [record["cost_nanousd"] for record in found] == [0, 0] and upstream.received == []
