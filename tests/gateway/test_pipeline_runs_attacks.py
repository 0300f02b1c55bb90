"""Users, agents and scripts that reach for more than is theirs, through the whole gateway."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.identity.run_bearers import RunBearers
from gateway.web.run_stream import STREAMS_PER_USER_MAX
from tests.gateway.running import ALICE, BOB, OLGA, Asked, Gates, Refused, Running, Said, running, script
from tests.support.gateway import request_body

READS = ("", "/agents", "/agents/0", "/journal", "/events", "/result", "/resume-plan")
ORDERS = ("pause", "resume", "stop", "approve", "deny", "save", "agents/0/stop", "agents/0/restart")
STOPPED = {
    "loop": "for (;;) await agent('hold')",
    "all": "return await Promise.all(args.map(i => agent('hold ' + i)))",
    "catches": "for (const i of args) { try { await agent('hold ' + i) } catch (error) { log(String(error)) } }",
}
TARGETS = {"session": "session:s-1", "user": "user:alice", "team": "team:platform", "org": "org"}


async def refusal(gateway: Running, method: str, path: str, body: Any = None, **who: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await gateway.call(method, path, body, **who)
    return refused.value


def holding(gates: Gates) -> Any:
    def say(asked: Asked) -> Said:
        return gates.hold("held") if "hold" in asked.prompt else "ok"

    return say


async def test_w137_nothing_of_anothers_run_is_told_or_done(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates)) as gateway:
        run = await gateway.start("return await agent('hold')", who=BOB, session="bobs")
        asked = [("GET", f"runs/{run}{path}", None) for path in READS]
        asked += [("POST", f"runs/{run}/{verb}", {}) for verb in ORDERS]
        asked += [("POST", "runs", {"resumeFromRunId": run}), ("POST", "runs", {"scriptPath": f"run:{run}"})]
        statuses = [(await refusal(gateway, *each)).status for each in asked]
        assert statuses == [404] * len(asked)
        assert (await gateway.call("GET", f"runs/{run}", who=BOB))["state"] == "running"
        assert (await gateway.call("GET", "runs"))["runs"] == []
        gates.go.set()


async def test_run_in_the_session_of_another_is_not_started(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates)) as gateway:
        await gateway.start("return await agent('hold')", who=BOB, session="bobs")
        await gateway.prompted("hold")
        refused = await refusal(gateway, "POST", "runs", {"script": script("return 1"), "session": "bobs"})
        assert (refused.status, "belongs to another user" in refused.error["message"]) == (451, True)
        gates.go.set()


async def test_w138_key_of_one_user_is_not_that_of_another(tmp_path: Path) -> None:
    async with running(tmp_path, lambda _: "ok") as gateway:
        body, key = {"script": script("return 1")}, {"idempotency-key": "k-1"}
        runs = [(await gateway.call("POST", "runs", body, who=who | key))["runId"] for who in (ALICE, BOB, ALICE)]
        assert (runs[0] == runs[2], runs[0] == runs[1]) == (True, False)


async def test_w118_user_raises_no_cap_over_the_operators(tmp_path: Path) -> None:
    async with running(tmp_path, lambda _: "ok", runs={"max_cost_usd": 0.0001}) as gateway:
        run = await gateway.start("return [await agent('one'), await agent('two')]", maxCostUsd=1_000)
        await gateway.in_state(run, "paused")
        refused = await refusal(gateway, "POST", f"runs/{run}/resume", {"maxCostUsd": 1_000})
        assert (refused.status, (await gateway.show(run))["state"]) == (451, "paused")
        await gateway.call("POST", f"runs/{run}/resume", {"maxCostUsd": 1_000}, who=OLGA)
        assert (await gateway.ended(run))["state"] == "completed"


async def test_w08_secret_of_a_run_is_good_for_its_model_requests_alone(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates)) as gateway:
        run = await gateway.start("return await agent('hold')", session="s-1")
        await gateway.prompted("hold")
        assert "rf_run_" not in str(gateway.model.received[-1].headers)
        secret = bearers_of(gateway).open(owner_of_run(gateway, run), run)
        bare = {"x-api-key": secret, "x-ringfence-run-id": run}
        placed = bare | {"x-claude-code-session-id": "s-1", "x-claude-code-agent-id": "a1"}
        asked = [("GET", "runs"), ("POST", "runs"), ("POST", f"runs/{run}/approve"), ("POST", "workflows/draft")]
        asked += [("POST", "decisions"), ("GET", "limits"), ("POST", "controls"), ("GET", "approvals")]
        statuses = [(await refusal(gateway, *each, {}, who=who)).status for each in asked for who in (bare, placed)]
        assert statuses == [403] * len(statuses)
        url = f"{gateway.serving.url}/v1/messages"
        for odd in ({"x-ringfence-run-id": "wf_000000"}, {"x-claude-code-session-id": ""}):
            async with gateway.serving.client.post(url, data=request_body(), headers=placed | odd) as response:
                assert response.status == 403
        gates.go.set()


@pytest.mark.parametrize("body", STOPPED.values(), ids=STOPPED.keys())
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
async def test_stop_of_what_a_run_belongs_to_stops_the_run(tmp_path: Path, body: str, target: str) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates)) as gateway:
        run = await gateway.start(body, session="s-1", args=[1, 2, 3])
        await gateway.prompted("hold")
        await gateway.call("POST", "controls", {"action": "stop", "target": target, "reason": "enough"}, who=OLGA)
        gates.go.set()
        record = await gateway.ended(run)
        assert (record["state"], record["outcome"]["null"]) == ("stopped", 0)
        assert record["outcome"]["planned"] <= 3


async def test_stop_of_one_agent_leaves_its_run_alone(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates)) as gateway:
        run = await gateway.start("return [await agent('hold'), await agent('go')]", session="s-1")
        await gateway.prompted("hold")
        agent = (await gateway.agents(run))[0]["agent_id"]
        order = {"action": "stop", "target": f"agent:s-1/{agent}", "reason": "enough"}
        await gateway.call("POST", "controls", order, who=OLGA)
        assert (await gateway.ended(run))["state"] == "completed"
        assert await gateway.result(run) == [None, "ok"]
        gates.go.set()


@pytest.mark.parametrize(
    "body",
    [
        b'{"script":"x","args":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"script":"x","args":"\\ud800"}',
        b'{"script":"\xff"}',
        b'{"script":"x","maxCostUsd":1e400}',
        b'{"script":"x","maxAgents":-1}',
        b'{"script":"x","session":"a\\nb"}',
        b'{"script":"x","operator":true}',
        b"[" * 100_000,
    ],
    ids=["deep", "surrogate", "bytes", "endless", "negative", "two lines", "unknown", "open"],
)
async def test_start_with_a_poisoned_body_is_refused_as_malformed(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path, lambda _: "ok") as gateway:
        url = f"{gateway.serving.url}/ringfence/v1/runs"
        async with gateway.serving.client.post(url, data=body, headers=ALICE) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (400, "invalid_request_error")


async def test_w11_crowd_of_starts_passes_no_limit(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates), runs={"open_per_session": 4}) as gateway:
        body = {"script": script("return await agent('hold')"), "session": "s-1"}
        starts = [gateway.call("POST", "runs", body) for _ in range(20)]
        answers = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(isinstance(answer, dict) for answer in answers) == 4
        gates.go.set()


def bearers_of(gateway: Running) -> RunBearers:
    return gateway.gateway.mounted.runs.admission.bearers  # pyright: ignore


def owner_of_run(gateway: Running, run: str) -> Any:
    (bearer,) = [each for name, each in bearers_of(gateway)._by_run.items() if name == run]
    return bearer.owner


async def test_user_who_follows_all_there_is_keeps_no_other_from_it(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, holding(gates)) as gateway, contextlib.AsyncExitStack() as stack:
        urls: dict[str, str] = {}
        for name, who in (("alice", ALICE), ("bob", BOB)):
            run = await gateway.start("return await agent('hold')", who=who)
            urls[name] = f"{gateway.serving.url}/ringfence/v1/runs/{run}/events"
        crowd = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def follow(name: str, who: Mapping[str, str]) -> int:
            headers = {**who, "accept": "text/event-stream"}
            return (await stack.enter_async_context(crowd.get(urls[name], headers=headers))).status

        statuses = [await follow("alice", ALICE) for _ in range(STREAMS_PER_USER_MAX + 1)]
        assert (statuses.count(200), statuses[-1]) == (STREAMS_PER_USER_MAX, 529)
        assert await follow("bob", BOB) == 200
        gates.go.set()
