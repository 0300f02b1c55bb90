"""What the real client's workflows did in recorded runs, ours do: agents, order, waves, prompts, dialogue, result.

Where it does not, a test says so by the requirement that wants the difference.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.differential.recorded import FOLDER, Recording, Replay, load
from tests.gateway.running import OUTPUT, Asked, Running, Said, running
from tests.support.upstream import error_answer

EARLIER_CLIENT = "scan_three_2_1_197"
"""It did not hold agents back until the first one's answer began."""
OUT_OF_MONEY = "refused_429"
OUT_OF_MONEY_TEXT = "spend limit reached (task budget). P-12"
ALIKE = sorted({path.stem for path in FOLDER.glob("*.json")} - {OUT_OF_MONEY})


@asynccontextmanager
async def performed(
    tmp_path: Path, recording: Recording, replay: Replay
) -> AsyncGenerator[tuple[Running, str, dict[str, Any]]]:
    """The gateway with the run over, and its record. Started as the client was: two agents at once, its model."""
    runs = {"concurrency": 2, "model": "claude-opus-4-8"}
    async with running(tmp_path, replay.say, runs=runs) as gateway:
        run = await gateway.start(recording.script, effort="high")
        await replay.perform(gateway, run)
        yield gateway, run, await gateway.ended(run)


@pytest.mark.parametrize("name", ALIKE)
async def test_w174_recorded_run_has_the_same_result_and_census(tmp_path: Path, name: str) -> None:
    recording = load(name)
    replay = Replay(recording, eager=name == EARLIER_CLIENT)
    async with performed(tmp_path, recording, replay) as (gateway, run, record):
        assert record["state"] == "completed" and await gateway.result(run) == recording.result
        outcome, usage = record["outcome"], recording.usage
        assert outcome["planned"] == usage["agent_count"] and replay.strays == []
        assert outcome["done"] == usage.get("agents_done", usage["agent_count"])
        assert outcome["null"] + outcome["threw"] == usage.get("agents_error", 0)


@pytest.mark.parametrize("name", ALIKE)
async def test_w97_recorded_run_has_the_same_agents_at_work_at_every_moment(tmp_path: Path, name: str) -> None:
    recording = load(name)
    replay = Replay(recording, eager=name == EARLIER_CLIENT)
    async with performed(tmp_path, recording, replay) as (_, _, _):
        assert [now for _, now in replay.at_work] == [then for then, _ in replay.at_work]
        assert len(replay.at_work) > 1 and max(len(now) for _, now in replay.at_work) <= 2


@pytest.mark.parametrize("name", ALIKE)
async def test_w43_recorded_agents_get_prompt_model_effort_and_schema_verbatim(tmp_path: Path, name: str) -> None:
    recording = load(name)
    replay = Replay(recording, eager=name == EARLIER_CLIENT)
    async with performed(tmp_path, recording, replay):
        for index, request in enumerate(recording.requests):
            body = replay.asked[index].body
            assert body["messages"][0]["content"][0]["text"] == request.prompt
            outputs = [tool["input_schema"] for tool in body.get("tools", ()) if tool["name"] == OUTPUT]
            if request.facts:
                assert outputs == ([] if request.facts["schema"] is None else [request.facts["schema"]])
                told = (body["model"], body["output_config"]["effort"])
                assert told == (request.facts["model"], request.facts["effort"])
            assert "tool_choice" not in body


async def test_w65_recorded_dialogue_about_an_output_is_held_turn_by_turn(tmp_path: Path) -> None:
    recording = load("schema_retry")
    replay = Replay(recording)
    async with performed(tmp_path, recording, replay) as (gateway, run, _):
        (then_nudged,), (then_wrong,) = recording.requests[1].told, recording.requests[2].told
        nudged, wrong = (replay.asked[index].body["messages"][-1]["content"][-1] for index in (1, 2))
        assert (nudged["type"], wrong["type"]) == (then_nudged["type"], then_wrong["type"]) == ("text", "tool_result")
        assert OUTPUT in nudged["text"] and OUTPUT in then_nudged["text"]
        assert wrong["is_error"] is then_wrong["is_error"] is True
        assert all(
            part in told
            for part in ("'n'", "/finding", "required")
            for told in (wrong["content"], then_wrong["content"])
        )
        assert (await gateway.agents(run))[0]["schema_attempts"] == 2


async def failed_agent(gateway: Running, run: str) -> dict[str, Any]:
    """The only one that gave no value."""
    (row,) = [row for row in await gateway.agents(run) if row["reason"] is not None]
    return await gateway.call("GET", f"runs/{run}/agents/{row['index']}")


async def test_w54_recorded_refusal_by_policy_names_the_same_agent_and_cause(tmp_path: Path) -> None:
    recording = load("refused_451")
    replay = Replay(recording)
    async with performed(tmp_path, recording, replay) as (gateway, run, record):
        failed = await failed_agent(gateway, run)
        assert recording.failures == f"[{failed['label']}] failed: API Error: 451 {failed['detail']}"
        assert failed["reason"] == "permission" and record["degraded"]
        assert record["outcome"]["null"] == 1 and len(replay.asked) == recording.usage["agent_count"]


async def test_w53_recorded_refusal_that_is_final_ends_its_agent_and_no_other(tmp_path: Path) -> None:
    """The client took a refusal for money as final too; ours takes one that is no matter of money so."""
    recording = load(OUT_OF_MONEY)
    final = error_answer(429, "rate_limit_error", OUT_OF_MONEY_TEXT, [("x-should-retry", "false")])
    replay = Replay(recording, errors={1: final})
    async with performed(tmp_path, recording, replay) as (gateway, run, record):
        assert await gateway.result(run) == recording.result and replay.strays == []
        assert record["outcome"]["done"] == recording.usage["agents_done"]
        failed = await failed_agent(gateway, run)
        status, _, said = failed["detail"].partition(": ")
        told = f"[{failed['label']}] failed: API Error: Request rejected ({status}) · {said}"
        assert recording.failures == told
        assert [now for _, now in replay.at_work] == [then for then, _ in replay.at_work]


async def test_w118_recorded_refusal_for_money_pauses_our_run_and_no_agent_is_lost(tmp_path: Path) -> None:
    """A difference that the requirement wants: the client gave `null` for the agent that money had stopped."""
    recording = load(OUT_OF_MONEY)
    poor = error_answer(429, "billing_error", OUT_OF_MONEY_TEXT, [("x-should-retry", "false")])
    refused: list[str] = []

    def say(asked: Asked) -> Said:
        if asked.prompt == "WF-SCAN item 1" and not refused:
            refused.append(asked.prompt)
            return poor
        if asked.prompt.startswith("WF-SCAN"):
            return {"finding": f"F-{asked.prompt[-1]}", "n": 1}
        return "verified ok"

    async with running(tmp_path, say, runs={"concurrency": 2, "model": "claude-opus-4-8"}) as gateway:
        run = await gateway.start(recording.script)
        paused = await gateway.until(run, lambda record: record["pauses"] and record["outcome"]["done"])
        assert paused["pauses"][0]["message"] == OUT_OF_MONEY_TEXT and paused["outcome"]["null"] == 0
        await gateway.order(run, "resume")
        assert (await gateway.ended(run))["outcome"]["done"] == 8
        found = [{"finding": f"F-{number}", "n": 1} for number in range(4)]
        assert await gateway.result(run) == {"rs": found, "vs": ["verified ok"] * 4}
        idle = [each for each in await gateway.events(run) if each["type"] == "workflow_run.status_idle"]
        assert [each["reason"] for each in idle] == ["budget"]
