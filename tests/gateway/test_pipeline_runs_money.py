"""Money and limits of a run in the whole gateway: its cap, its account's budget, fuses, quota, bursts.

Nothing that was done is paid again, and a run that only money held up goes on by itself when there is some.
"""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.core.model import RunId
from tests.gateway.running import OLGA, Asked, Refused, Running, Said, reply, running
from tests.support.upstream import error_answer, stream_answer, text_block

DOLLAR = 15_000
"""Output tokens of the session's model that cost about so much with the prompt."""
SERIES = "const got = []\nfor (let i = 1; i <= 4; i++) got.push(await agent('step ' + i))\nreturn got"
DONE = ["re step 1", "re step 2", "re step 3", "re step 4"]
MODEL = "claude-opus-5-5"
CALL_NANOUSD = 100 * 4_000 + DOLLAR * 20_000


def dear(asked: Asked) -> Said:
    """Thirty cents."""
    return reply(f"re {asked.prompt}", MODEL, input_tokens=100, output_tokens=DOLLAR)


async def spent(gateway: Running) -> tuple[int, int]:
    """What the organisation's ledger says: spent and held."""
    await gateway.serving.quiet()
    limits = (await gateway.serving.operator("limits?account=org"))["limits"]
    return limits[0]["used"], limits[0]["held"]


AMPLE = [{"account": "org", "window": "total", "limit_usd": 10_000}]


async def test_w118_cap_of_the_run_pauses_it_and_a_raised_one_lets_it_go_on(tmp_path: Path) -> None:
    async with running(tmp_path, dear, budgets=AMPLE) as gateway:
        run = await gateway.start(SERIES, model=MODEL, maxCostUsd=0.5)
        record = await gateway.in_state(run, "paused")
        assert [pause["reason"] for pause in record["pauses"]] == ["budget"]
        assert record["usage"]["new"]["cost_nanousd"] == 2 * CALL_NANOUSD and len(gateway.asked) == 2
        with pytest.raises(Refused) as refused:
            await gateway.order(run, "resume")
        assert refused.value.status == 409 and "raise the cap" in refused.value.error["message"]
        await gateway.order(run, "resume", maxCostUsd=2)
        record = await gateway.ended(run)
        assert (record["state"], await gateway.result(run), len(gateway.asked)) == ("completed", DONE, 4)
        assert record["usage"]["new"]["cost_nanousd"] == 4 * CALL_NANOUSD
        assert await spent(gateway) == (4 * CALL_NANOUSD, 0)


async def test_w118_agents_at_work_when_the_cap_is_reached_finish_one_request_each(tmp_path: Path) -> None:
    go = asyncio.Event()

    def say(asked: Asked) -> Said:
        answer = reply(f"re {asked.prompt}", MODEL, input_tokens=100, output_tokens=DOLLAR)
        answer.chunks = [*answer.chunks[:3], go, *answer.chunks[3:]]
        return answer

    wide = "return await parallel([1, 2, 3, 4, 5, 6, 7, 8].map((n) => () => agent('step ' + n)))"
    runs = {"concurrency": 4}
    async with running(tmp_path, say, budgets=AMPLE, runs=runs) as gateway:
        run = await gateway.start(wide, model=MODEL, maxCostUsd=0.1)
        await gateway.prompted("step", 4)
        go.set()
        record = await gateway.in_state(run, "paused")
        record = await gateway.until(run, lambda record: not record["agents"].get("running"))
        assert record["usage"]["new"]["cost_nanousd"] == 4 * CALL_NANOUSD and record["agents"]["queued"] == 4
        await gateway.order(run, "resume", maxCostUsd=100)
        await gateway.ended(run)
        assert len(gateway.asked) == 8 and len(await gateway.result(run)) == 8


async def put_limit(gateway: Running, cents: str) -> None:
    url = f"{gateway.serving.url}/v1/organizations/spend_limits"
    body = {"scope": {"type": "user", "user_id": "alice"}, "amount": cents, "period": "daily"}
    async with gateway.serving.client.post(url, json=body, headers=OLGA) as response:
        assert response.status == 200, await response.text()


async def test_w118_budget_of_the_account_pauses_and_a_raised_one_resumes_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path, dear, budgets=AMPLE) as gateway:
        await put_limit(gateway, "75")
        run = await gateway.start(SERIES, model=MODEL)
        record = await gateway.in_state(run, "paused")
        (pause,) = record["pauses"]
        assert pause["reason"] == "budget" and pause["by"] is None and "alice" in pause["message"]
        done = record["outcome"]["done"]
        assert 1 <= done < 4 and record["outcome"]["null"] == 0
        await put_limit(gateway, "100000")
        record = await gateway.ended(run)
        assert (record["state"], await gateway.result(run)) == ("completed", DONE)
        assert await spent(gateway) == (4 * CALL_NANOUSD, 0)
        moves = [
            (e["type"], e["reason"]) for e in await gateway.events(run) if "status_" in e["type"] and "reason" in e
        ]
        assert moves[-1] == ("workflow_run.status_running", "raised")


async def test_w118_run_that_a_person_paused_stays_paused_when_money_comes(tmp_path: Path) -> None:
    async with running(tmp_path, dear, budgets=AMPLE) as gateway:
        await put_limit(gateway, "75")
        run = await gateway.start(SERIES, model=MODEL)
        await gateway.in_state(run, "paused")
        record = await gateway.order(run, "pause", why="not now")
        assert {pause["reason"] for pause in record["pauses"]} == {"budget", "person"}
        await put_limit(gateway, "100000")
        machine = gateway.gateway.mounted.runs.driven[RunId(run)].machine
        while machine.waits_for_room:
            await gateway.show(run)
        assert (await gateway.show(run))["state"] == "paused"
        await gateway.order(run, "resume")
        assert (await gateway.ended(run))["state"] == "completed" and await gateway.result(run) == DONE


async def test_w98_fuse_of_the_run_on_agents_refuses_the_next_and_names_itself(tmp_path: Path) -> None:
    async with running(tmp_path, lambda asked: f"re {asked.prompt}", fuses={"run": {"agents": 3}}) as gateway:
        run = await gateway.start(SERIES)
        record = await gateway.ended(run)
        assert await gateway.result(run) == [*DONE[:3], None] and record["degraded"]
        agent = await gateway.call("GET", f"runs/{run}/agents/3")
        assert agent["reason"] == "permission" and "fuse" in agent["detail"] and len(gateway.asked) == 3
        asked_of = {
            record["lineage"]["run"] for record in gateway.serving.audit("decision") if record["kind"] == "spawn"
        }
        assert asked_of == {run}


async def test_w98_call_past_the_cap_of_the_run_throws_and_the_refusal_fuse_ends_it(tmp_path: Path) -> None:
    spinning = "while (true) await parallel([() => agent('again')])"
    async with running(tmp_path, lambda _: "yes") as gateway:
        caught = "await agent('1')\ntry { await agent('2') } catch (e) { return [e.code, e.message] }"
        assert (await gateway.outcome(caught, maxAgents=1))[0] == "agent_limit"
        run = await gateway.start(spinning, maxAgents=5)
        record = await gateway.ended(run)
        assert (record["state"], record["failure"]["detail"]) == ("failed", "agent_limit_error")
        assert record["failure"]["type"] == "thread_limit_error"
        assert (record["outcome"]["done"], record["outcome"]["refused"]) == (5, 64)


async def test_w126_quota_of_the_provider_pauses_until_it_is_reset_and_drops_nothing(tmp_path: Path) -> None:
    refusals = 1

    def say(asked: Asked) -> Said:
        nonlocal refusals
        if asked.prompt == "step 2" and refusals:
            refusals -= 1
            reset = str(int(time.time_ns() // 1_000_000_000) + 2)
            headers = [("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", reset)]
            return error_answer(429, "rate_limit_error", "usage limit reached", headers)
        return f"re {asked.prompt}"

    async with running(tmp_path, say) as gateway:
        run = await gateway.start(SERIES)
        record = await gateway.ended(run)
        (pause,) = [each for each in await gateway.events(run) if each["type"] == "workflow_run.status_idle"]
        assert pause["reason"] == "quota" and pause["until_ms"] is not None
        assert (record["state"], await gateway.result(run)) == ("completed", DONE)
        assert [asked.prompt for asked in gateway.asked] == ["step 1", "step 2", "step 2", "step 3", "step 4"]
        assert record["ended_ms"] >= pause["until_ms"] and record["outcome"]["done"] == 4


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit_error"), (529, "overloaded_error")], ids=["429", "529"])
async def test_w96_burst_halves_what_is_asked_at_once_and_loses_no_call(tmp_path: Path, status: int, kind: str) -> None:
    refused: set[str] = set()

    def say(asked: Asked) -> Said:
        if asked.prompt not in refused and len(refused) < 8:
            refused.add(asked.prompt)
            return error_answer(status, kind, "slow down", [("retry-after", "0")])
        return f"re {asked.prompt}"

    wide = "return await parallel(Array.from({length: 16}, (_, n) => () => agent('part ' + n)))"
    async with running(tmp_path, say) as gateway:
        run = await gateway.start(wide)
        record = await gateway.ended(run)
        assert await gateway.result(run) == [f"re part {n}" for n in range(16)]
        said = [text for text in record["warnings"] if text.startswith("concurrency_changed")]
        changed = [e for e in await gateway.events(run) if e["type"] == "workflow_run.concurrency_changed"]
        assert said and changed and not record["degraded"]
        gauge = re.search(r"ringfence_run\w*concurrency\w*{[^}]*} (\d+)", await gateway.serving.metrics())
        assert gauge is not None and int(gauge[1]) < 16, said


async def test_w113_tokens_of_the_script_budget_are_those_of_the_ledger(tmp_path: Path) -> None:
    body = "await agent('one'); await agent('two'); return [budget.spent(), budget.remaining()]"
    async with running(tmp_path, dear, budgets=AMPLE) as gateway:
        run = await gateway.start(body, model=MODEL, budgetTokens=100_000)
        record = await gateway.ended(run)
        assert await gateway.result(run) == [2 * DOLLAR, 100_000 - 2 * DOLLAR]
        requests: list[dict[str, Any]] = [r for r in gateway.serving.audit("request") if r["dialect"] == "anthropic"]
        assert sum(each["cost_nanousd"] for each in requests) == record["usage"]["new"]["cost_nanousd"]
        assert {each["lineage"]["run"] for each in requests} == {run}
        assert text_block("one") in [gateway.asked[0].body["messages"][0]["content"][0]]


async def test_w118_agent_that_crosses_the_cap_sends_no_further_request(tmp_path: Path) -> None:
    """One that would go on at once, with nothing to do between two of its requests."""

    def say(asked: Asked) -> Said:
        blocks, stop = [text_block(f"part {asked.turn}")], "end_turn" if asked.turn == 3 else "max_tokens"
        return stream_answer(
            blocks, usage={"input_tokens": 100, "output_tokens": DOLLAR}, model=MODEL, stop_reason=stop
        )

    async with running(tmp_path, say, budgets=AMPLE) as gateway:
        for most in (1, 2):
            run = await gateway.start("return await agent('look')", model=MODEL, maxCostUsd=most * 0.3)
            record = await gateway.in_state(run, "paused")
            assert record["usage"]["new"]["cost_nanousd"] == most * CALL_NANOUSD
            asked = len(gateway.asked)
            await gateway.order(run, "resume", maxCostUsd=5)
            record = await gateway.ended(run)
            assert await gateway.result(run) == "part 1part 2part 3"
            assert len(gateway.asked) - asked == 3 - most
        assert len(gateway.asked) == 6
