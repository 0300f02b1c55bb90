"""An agent behind the real gateway: denials, fuses and budgets as they really come."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.agents import GatewayClient, LocalAgents, Means, SchemaJudge
from runtime.ports import AgentTask, Limited
from tests.runtime.agents.scene import (
    ANSWER_SCHEMA,
    FakeToolboxes,
    FakeTools,
    FakeWatch,
    FakeWorkspaces,
    FlatPrices,
    value_of,
    without_marks,
)
from tests.runtime.agents.scene import make_task as task_of
from tests.support.clock import FakeClock
from tests.support.gateway import CREDENTIAL, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block, tool_block

NO_CURL = {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}}


def make_task(**options: Any) -> AgentTask:
    return replace(task_of(**options), bearer=CREDENTIAL)


@asynccontextmanager
async def governed(
    directory: Path, *tool_names: str, **sections: Any
) -> AsyncGenerator[tuple[ScriptedUpstream, LocalAgents, FakeTools]]:
    tools, judge = FakeTools(tool_names), SchemaJudge()
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("Done.")])) as upstream,
        serving(directory, upstream.base_url, **sections) as gateway,
    ):
        client = GatewayClient(gateway.url)
        means = Means(
            client=client,
            judge=judge,
            toolboxes=FakeToolboxes(tools),
            workspaces=FakeWorkspaces(),
            prices=FlatPrices(),
            clock=FakeClock(),
        )
        try:
            yield upstream, LocalAgents(means), tools
        finally:
            await judge.close()
            await client.close()


async def test_w183_agent_is_known_by_its_lineage_and_nothing_of_it_reaches_the_upstream(tmp_path: Path) -> None:
    async with governed(tmp_path, "Read") as (upstream, agents, tools):
        upstream.queue(stream_answer([tool_block("Read", {"file_path": "/a"})]))
        finished = await agents.attempt(make_task(), FakeWatch())
    assert value_of(finished) == "Done." and len(tools.calls) == 1
    sent = upstream.received[0]
    assert not any(name.lower().startswith("x-ringfence-") for name, _ in sent.headers)
    assert sent.header("x-api-key") not in (None, CREDENTIAL) and sent.header("authorization") is None


async def test_w52_denied_call_is_never_executed_and_the_agent_learns_why(tmp_path: Path) -> None:
    original = {"command": "curl example.org"}
    async with governed(tmp_path, "Bash", policy=NO_CURL) as (upstream, agents, tools):
        upstream.queue(stream_answer([tool_block("Bash", original), tool_block("Bash", {"command": "ls"}, "toolu_2")]))
        finished = await agents.attempt(make_task(), FakeWatch())
    assert value_of(finished) == "Done." and [tool_input for _, tool_input, _ in tools.calls] == [{"command": "ls"}]
    _, said, results = without_marks(upstream.received[1].json()["messages"])
    assert said["content"][0] == tool_block("Bash", original)
    assert results["content"][0]["is_error"] is True and "tools/denylist" in results["content"][0]["content"]


async def test_schema_call_passes_the_gate(tmp_path: Path) -> None:
    async with governed(tmp_path) as (upstream, agents, _):
        upstream.queue(stream_answer([tool_block("StructuredOutput", {"finding": "x", "n": 10**20})]))
        finished = await agents.attempt(make_task(schema=ANSWER_SCHEMA), FakeWatch())
    assert value_of(finished) == {"finding": "x", "n": 10**20}


async def test_w48_blown_fuse_of_the_gateway_is_a_limit_with_its_words(tmp_path: Path) -> None:
    async with governed(tmp_path, "Read", fuses={"agent": {"requests": 2}}) as (upstream, agents, _):
        upstream.responder = lambda _: stream_answer([text_block("So far."), tool_block("Read", {})])
        finished = await agents.attempt(make_task(), FakeWatch())
    assert finished.null == "limit" and "fuse" in finished.detail and len(upstream.received) == 2


async def test_w118_budget_of_the_gateway_waits_for_the_run(tmp_path: Path) -> None:
    budgets = [{"account": "session", "window": "total", "limit_usd": 0.0000001, "strict": True}]
    waiting: asyncio.Future[Limited] = asyncio.get_running_loop().create_future()

    async def pause(limit: Limited) -> None:
        waiting.set_result(limit)
        await asyncio.Event().wait()

    async with governed(tmp_path, budgets=budgets) as (upstream, agents, _):
        attempt = asyncio.create_task(agents.attempt(make_task(), FakeWatch(on_limited=pause)))
        limit = await waiting
        attempt.cancel()
        await asyncio.wait([attempt])
    assert limit.kind == "budget" and upstream.received == []


async def test_w50_unrouted_model_is_told(tmp_path: Path) -> None:
    routes = [{"models": ["claude-opus-*"], "upstreams": ["main"]}]
    async with governed(tmp_path, routes=routes) as (upstream, agents, _):
        finished = await agents.attempt(make_task(model="gpt-5"), FakeWatch())
    assert finished.null in ("api_error", "permission") and "gpt-5" in finished.detail and upstream.received == []
