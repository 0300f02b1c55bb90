"""Two gateways on one Postgres: what a person says to one is felt by requests under way at the other."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from tests.gateway.controlled import AMPLE, PING_SECONDS, ask, events, records, say, stop, stopped
from tests.support.gateway import SESSION, Serving, serving
from tests.support.postgres import postgres_server
from tests.support.upstream import SSE_HEADERS, Answer, ScriptedUpstream, text_block

PING = b"event: ping"


@contextlib.asynccontextmanager
async def two_gateways(directory: Path, upstream: ScriptedUpstream) -> AsyncGenerator[tuple[Serving, Serving]]:
    server = postgres_server()
    store = {"url": server.url(server.fresh())}
    async with contextlib.AsyncExitStack() as stack:
        made: list[Serving] = []
        for name in ("here", "there"):
            (directory / name).mkdir()
            made.append(
                await stack.enter_async_context(
                    serving(directory / name, upstream.base_url, budgets=AMPLE, store=store, ping_seconds=PING_SECONDS)
                )
            )
        yield made[0], made[1]


async def test_control_is_felt_within_a_second_at_the_other_gateway(tmp_path: Path) -> None:
    go, whole = asyncio.Event(), events(text_block("first second"))
    answer = Answer(200, SSE_HEADERS, [*whole[:3], go, *whole[3:]])
    async with ScriptedUpstream(lambda _: answer) as upstream, two_gateways(tmp_path, upstream) as (here, there):
        victim, other = ask(there, agent="a1"), ask(there, agent="a2")
        await asyncio.gather(victim.until(b"first"), other.until(b"first"))
        answer_here = await say(here, "hold", f"agent:{SESSION}/a3")
        assert "has not seen" in answer_here["warnings"][0]
        await stop(here, f"agent:{SESSION}/a1", victim)
        assert victim.refusal()[0] == "permission_error" and not other.task.done()
        go.set()
        await other.task
        assert other.got == b"".join(whole)
        found = await records(there, 2)
        assert [record["lineage"]["agent"] for record in found if stopped(record)] == ["a1"]
        again = ask(there, agent="a1")
        await again.task
        assert again.status == 429 and again.refusal()[1].startswith(f"agent a1 of session {SESSION} was stopped")


async def test_agent_that_one_gateway_holds_is_released_by_the_other(tmp_path: Path) -> None:
    go, whole = asyncio.Event(), events(text_block("first second"))
    answer = Answer(200, SSE_HEADERS, [*whole[:3], go, *whole[3:]])
    async with ScriptedUpstream(lambda _: answer) as upstream, two_gateways(tmp_path, upstream) as (here, there):
        client = ask(there)
        await client.until(b"first")
        await say(there, "hold", "user:alice")
        while not (await here.operator("controls"))["controls"]:
            pass
        go.set()
        await client.until(PING, 3)
        assert b"second" not in client.got
        await say(here, "release", "user:alice")
        await client.task
        assert b"second" in client.got and (await there.operator("controls"))["controls"] == []
        assert [len(each.audit("control")) for each in (here, there)] == [1, 1]
