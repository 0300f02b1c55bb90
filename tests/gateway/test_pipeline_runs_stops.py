"""A run, or its call, that gives up a model request: the upstream is let go of at once, and what was seen is settled.

Nobody reads the answer on, since nobody wants it. What ends at the gateway's own word is `test_pipeline_controls.py`.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import Asked, Running, Said, reply, running
from tests.support.patience import within
from tests.support.upstream import Answer, text_block

INPUT_NANOUSD, OUTPUT_NANOUSD = 4_000, 20_000
MODEL = "claude-opus-5-5"
AMPLE = [{"account": "org", "window": "total", "limit_usd": 10_000}]
STRICT = [{"account": "org", "window": "total", "limit_usd": 10_000, "strict": True}]
LET_GO_SECONDS = 1.0
"""Longest time from the answer to an order to the end of the upstream's connection."""
TEXT = "four" * 25
"""Of a hundred characters."""
SEEN = {"headers": 0, "silent": 0, "begun": 1, "text": 4}
"""Events that come of an answer before it stands still; `headers`: not even those."""


class Standing:
    """A model that gets so far with an answer to `stand`, and no further; what it is asked afterwards it answers."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.again = False

    def __call__(self, asked: Asked) -> Said:
        whole = reply([text_block(TEXT)], MODEL, input_tokens=100, output_tokens=15_000)
        if asked.prompt != "stand" or self.again:
            return reply(f"re {asked.prompt}", MODEL, input_tokens=100, output_tokens=20)
        self.again = True
        if self.where == "headers":
            return Answer(never=True)
        seen = b"".join(each for each in whole.chunks[: SEEN[self.where]] if isinstance(each, bytes))
        return Answer(whole.status, whole.headers, [seen, asyncio.Event()])


async def standing_still(gateway: Running, run: str, where: str) -> None:
    """Return once the answer to the first agent has come as far as it does, and the gateway has passed it on."""
    await gateway.prompted("stand")
    if where == "silent":
        while (await upstream_view(gateway))["requests_total"] == 0:
            pass
    elif SEEN[where]:
        while not (await gateway.agents(run))[0]["answering"]:
            pass


async def upstream_view(gateway: Running) -> dict[str, Any]:
    """How the gateway sees its only upstream."""
    (view,) = (await gateway.serving.operator("upstreams"))["upstreams"]
    return view


async def let_go(gateway: Running) -> None:
    """See the upstream's connection end in time."""
    async with within(LET_GO_SECONDS):
        await gateway.model.received[0].gone.wait()


async def record_of_the_stopped(gateway: Running) -> dict[str, Any]:
    """Its audit record, once all is settled: nothing is held, the bill is that of the records, no place is taken."""
    await gateway.serving.quiet()
    (limit,) = (await gateway.serving.operator("limits?account=org"))["limits"]
    found = [each for each in gateway.serving.audit("request") if each["dialect"] != "operator"]
    assert (limit["held"], limit["used"]) == (0, sum(each["cost_nanousd"] for each in found))
    metrics = await gateway.serving.metrics()
    assert "ringfence_holds_open 0.0" in metrics and "ringfence_drains_in_flight 0.0" in metrics
    assert (await upstream_view(gateway))["in_use"] == 0
    (stopped,) = [each for each in found if each["reason"] != "completed"]
    return stopped


def assert_told_and_settled(record: dict[str, Any], run: str, where: str, *, strict: bool = False) -> None:
    """Why it ended, and a bill of what was seen: the prompt in any case. Under a strict limit it is the whole hold."""
    assert record["reason"] == "stopped" and record["cost_estimated"]
    assert run in record["message"] and "journal" in record["message"]
    if strict:
        assert record["cost_nanousd"] == record["hold"]["worst"]["cost"]
    elif where in ("begun", "text"):
        chars = 0 if where == "begun" else len(TEXT)
        floor = 100 * INPUT_NANOUSD + max(1, -(-chars // 4)) * OUTPUT_NANOUSD
        assert record["cost_nanousd"] == floor
    else:
        assert 0 < record["cost_nanousd"] < 1_000_000_000


@pytest.mark.parametrize("budgets", [AMPLE, STRICT], ids=["expected", "strict"])
@pytest.mark.parametrize("where", SEEN)
async def test_w131_stop_of_a_run_ends_its_model_request_at_once(
    tmp_path: Path, where: str, budgets: list[dict[str, Any]]
) -> None:
    async with running(tmp_path, Standing(where), budgets=budgets) as gateway:
        run = await gateway.start("return await agent('stand')", model=MODEL)
        await standing_still(gateway, run, where)
        assert (await gateway.order(run, "stop"))["state"] == "stopped"
        await let_go(gateway)
        assert_told_and_settled(await record_of_the_stopped(gateway), run, where, strict=budgets is STRICT)


@pytest.mark.parametrize("where", ["headers", "text"])
@pytest.mark.parametrize(("verb", "value"), [("stop", None), ("skip", None), ("restart", "re stand")])
async def test_w132_w133_w134_word_to_an_agent_ends_its_model_request_and_no_other(
    tmp_path: Path, verb: str, value: str | None, where: str
) -> None:
    async with running(tmp_path, Standing(where), budgets=AMPLE) as gateway:
        run = await gateway.start("return [await agent('stand'), await agent('other')]", model=MODEL)
        await standing_still(gateway, run, where)
        await gateway.call("POST", f"runs/{run}/agents/0/{verb}", {})
        await let_go(gateway)
        await gateway.ended(run)
        assert await gateway.result(run) == [value, "re other"]
        assert_told_and_settled(await record_of_the_stopped(gateway), run, where)


@pytest.mark.parametrize("where", ["headers", "text"])
@pytest.mark.parametrize("option", ["timeoutMs", "idleTimeoutMs"])
async def test_w48_w57_call_whose_time_is_over_ends_its_model_request(tmp_path: Path, option: str, where: str) -> None:
    async with running(tmp_path, Standing(where), budgets=AMPLE) as gateway:
        run = await gateway.start(f"return await agent('stand', {{{option}: 300}})", model=MODEL)
        await gateway.ended(run)
        await let_go(gateway)
        assert await gateway.result(run) == (None if option == "timeoutMs" else "re stand")
        assert_told_and_settled(await record_of_the_stopped(gateway), run, where)


async def test_w61_call_that_nobody_awaited_ends_its_model_request(tmp_path: Path) -> None:
    async with running(tmp_path, Standing("text"), budgets=AMPLE) as gateway:
        run = await gateway.start("agent('stand')\nreturn await agent('other')", model=MODEL)
        await gateway.ended(run)
        await let_go(gateway)
        assert await gateway.result(run) == "re other"
        assert (await record_of_the_stopped(gateway))["reason"] == "stopped"


@pytest.mark.parametrize("where", ["headers", "text"])
async def test_w54_agent_that_an_operator_stops_is_null_for_that_reason_wherever_its_answer_is(
    tmp_path: Path, where: str
) -> None:
    async with running(tmp_path, Standing(where), budgets=AMPLE) as gateway:
        run = await gateway.start("return [await agent('stand'), agent.lastError('stand')]", model=MODEL)
        await standing_still(gateway, run, where)
        session, (agent, *_) = (await gateway.show(run))["session"], await gateway.agents(run)
        order = {"action": "stop", "target": f"agent:{session}/{agent['agent_id']}", "reason": "runaway"}
        await gateway.serving.operator("controls", order)
        await gateway.ended(run)
        assert await gateway.result(run) == [None, "stopped"]
        agent = await gateway.call("GET", f"runs/{run}/agents/0")
        assert agent["reason"] == "stopped" and "by olga (runaway)" in agent["detail"]


@pytest.mark.parametrize("where", ["headers", "text"])
async def test_w127_gateway_that_ends_waits_for_no_answer_of_its_runs(tmp_path: Path, where: str) -> None:
    async with running(tmp_path, Standing(where), budgets=AMPLE) as gateway:
        run = await gateway.start("return await agent('stand')", model=MODEL)
        await standing_still(gateway, run, where)
        async with within(LET_GO_SECONDS):
            await gateway.gateway.mounted.leave()
        await let_go(gateway)
        assert (await record_of_the_stopped(gateway))["reason"] == "stopped"


async def test_w131_many_requests_that_are_stopped_at_once_are_all_settled(tmp_path: Path) -> None:
    """More than are ever read on for clients that left."""

    def say(asked: Asked) -> Said:
        whole = reply([text_block(TEXT)], MODEL, input_tokens=100, output_tokens=15_000)
        return Answer(whole.status, whole.headers, [*whole.chunks[:3], asyncio.Event()])

    wide = "return await parallel(Array.from({length: 80}, (_, n) => () => agent('stand ' + n)))"
    async with running(tmp_path, say, budgets=AMPLE, runs={"concurrency": 80}) as gateway:
        run = await gateway.start(wide, model=MODEL)
        await gateway.model.wait_for_requests(80)
        while (await upstream_view(gateway))["requests_total"] < 80:
            pass
        await gateway.order(run, "stop")
        async with within(5 * LET_GO_SECONDS):
            await asyncio.gather(*(each.gone.wait() for each in gateway.model.received))
        await gateway.serving.quiet()
        (limit,) = (await gateway.serving.operator("limits?account=org"))["limits"]
        found = [each for each in gateway.serving.audit("request") if each["dialect"] != "operator"]
        assert limit["held"] == 0 and limit["used"] == sum(each["cost_nanousd"] for each in found)
        assert [each["reason"] for each in found] == ["stopped"] * 80
        assert len({json.dumps(each["lineage"]["agent"]) for each in found}) == 80
