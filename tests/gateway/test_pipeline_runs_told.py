"""What a run that ends, or never comes to be, is told by: through a whole gateway, over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import ALICE, Gates, Refused, Running, running, script
from tests.support.upstream import text_block

LOOK = "return await agent('look')"


async def refused(gateway: Running, **body: Any) -> dict[str, Any]:
    with pytest.raises(Refused) as error:
        await gateway.call("POST", "runs", body)
    return error.value.error


async def test_w04_script_that_is_not_valid_is_told_by_one_error_event_and_no_run(tmp_path: Path) -> None:
    async with running(tmp_path, lambda _: "x") as gateway:
        error = await refused(gateway, script="return (")
        event = error["event"]
        assert (event["type"], event["workflow_run_id"]) == ("workflow_run.error", None)
        assert event["error"] == {"type": error["type"], "message": error["message"]}
        assert (await gateway.call("GET", "runs"))["runs"] == []


async def test_w11_run_that_is_one_too_many_is_told_by_an_error_event(tmp_path: Path) -> None:
    async with running(tmp_path, lambda _: "x", runs={"open_per_session": 1}) as gateway:
        first = await gateway.start("await new Promise(go => setTimeout(go, 600000))", session="s-1")
        error = await refused(gateway, script=script(LOOK), session="s-1")
        assert error["event"]["error"]["type"] == error["type"] == "max_workflow_runs_error"
        await gateway.order(first, "stop")


async def test_w173_notification_of_a_run_carries_what_the_parent_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, lambda asked: f"re {asked.prompt}") as gateway:
        run = await gateway.start(LOOK)
        await gateway.ended(run)
        told = await gateway.call("GET", f"runs/{run}/notification")
        assert (told["run_id"], told["status"], told["result"]) == (run, "completed", '"re look"')
        assert told["usage"]["agents_done"] == 1 and "<task-notification>" in told["text"]
        assert told["failures"] == [] and told["worktrees"] == []


async def test_w172_result_beyond_a_mebibyte_is_had_where_it_is_pointed_to(tmp_path: Path) -> None:
    async with running(tmp_path, lambda _: "x") as gateway:
        run = await gateway.start("return 'y'.repeat(3 * 1024 * 1024)")
        await gateway.ended(run)
        artefact = (await gateway.call("GET", f"runs/{run}/result"))["artefact"]
        whole = await gateway.call("GET", artefact["path"].removeprefix("/ringfence/v1/"))
        assert len(whole) == artefact["bytes"] - 2 == 3 * 1024 * 1024


async def test_w181_run_is_streamed_in_the_shapes_of_a_task(tmp_path: Path) -> None:
    async with running(tmp_path, lambda asked: f"re {asked.prompt}") as gateway:
        run = await gateway.start(LOOK)
        url = f"{gateway.serving.url}/ringfence/v1/runs/{run}/events?format=task"
        async with gateway.serving.client.get(url, headers={**ALICE, "accept": "text/event-stream"}) as stream:
            lines = (await stream.text()).splitlines()
        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert (told[0]["subtype"], told[0]["task_type"]) == ("task_started", "local_workflow")
        assert (told[-1]["subtype"], told[-1]["status"]) == ("task_notification", "completed")
        assert {each["task_id"] for each in told} == {run}


async def test_w10_word_in_a_prompt_starts_no_run(tmp_path: Path) -> None:
    async with running(tmp_path, lambda _: [text_block("done")]) as gateway:
        body = {
            "model": "claude-sonnet-5-5",
            "max_tokens": 64,
            "stream": True,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "ultracode: use a workflow"}]}],
        }
        url = f"{gateway.serving.url}/v1/messages"
        async with gateway.serving.client.post(url, json=body, headers=ALICE) as answer:
            assert answer.status == 200
        assert (await gateway.call("GET", "runs"))["runs"] == []


async def test_w139_client_that_leaves_ends_no_run(tmp_path: Path) -> None:
    gates = Gates()
    async with running(tmp_path, lambda _: gates.hold("re look")) as gateway:
        run = await gateway.start(LOOK)
        url = f"{gateway.serving.url}/ringfence/v1/runs/{run}/events"
        async with gateway.serving.client.get(url, headers={**ALICE, "accept": "text/event-stream"}) as stream:
            await stream.content.readline()
        gates.go.set()
        assert (await gateway.ended(run))["state"] == "completed" and await gateway.result(run) == "re look"
