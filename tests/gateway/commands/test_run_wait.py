"""Waiting for a run, line by line."""

import asyncio
import json

import pytest

from gateway.commands.client import GatewayClient
from gateway.commands.run_wait import follow_run, goes_on, wait_for_run
from gateway.core.decisions.decision import Principal
from gateway.web.run_desk import RunState, Shown
from tests.support.runs import ALICE, FakeDesk, FakeRun, served_runs, serving_runs

RUN = "wf_000001"
AT_MS = 1_767_225_600_000


def scripted(desk: FakeDesk, state: RunState, **more: object) -> FakeRun:
    run = desk.add(RUN)
    desk.happen(run, "workflow_run.log", text="auditing\x1b[2J 3 files", at_ms=AT_MS)
    desk.show_progress(run)
    desk.happen(run, "workflow_run.agent_settled", index=0, label="[red]scan", state="done", at_ms=AT_MS)
    desk.end(run, state, **more)
    return run


def test_events_are_lines_and_the_end_is_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    desk = FakeDesk()
    scripted(desk, "completed")
    with served_runs(desk) as url:
        assert wait_for_run(GatewayClient(url, ALICE), RUN, as_json=False) == 0
    first, second, _, *summary = capsys.readouterr().out.splitlines()
    assert first == "2026-01-01 00:00:00Z  log  auditing\ufffd[2J 3 files"
    assert second == "2026-01-01 00:00:00Z  agent_settled  0  [red]scan  done"
    assert summary[0] == f"{RUN}  audit" and "completed" in summary[1]


@pytest.mark.parametrize(
    ("state", "degraded", "code"),
    [
        ("completed", False, 0),
        ("completed", True, 3),
        ("failed", False, 4),
        ("stopped", False, 5),
        ("denied", False, 5),
    ],
)
def test_exit_code_is_that_of_the_end(state: RunState, degraded: bool, code: int) -> None:
    desk = FakeDesk()
    scripted(desk, state, degraded=degraded)
    with served_runs(desk) as url:
        assert wait_for_run(GatewayClient(url, ALICE), RUN, as_json=False) == code


def test_w173_failed_agents_are_named_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    class Telling(FakeDesk):
        async def notification(self, principal: Principal, run: str) -> Shown:
            return {"run_id": run, "failures": ["[fix] agent 1 error: stalled"], "failures_left": 2}

    desk = Telling()
    scripted(desk, "failed", degraded=True)
    with served_runs(desk) as url:
        wait_for_run(GatewayClient(url, ALICE), RUN, as_json=False)
    shown = capsys.readouterr().out
    assert (
        "failed    [fix] agent 1 error: stalled" in shown and f"and 2 more; in full: ringfence runs show {RUN}" in shown
    )


def test_json_is_the_record_alone_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    desk = FakeDesk()
    run = scripted(desk, "failed", failure={"type": "program_error", "detail": "script_threw", "message": "x"})
    with served_runs(desk) as url:
        assert wait_for_run(GatewayClient(url, ALICE), RUN, as_json=True) == 4
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == run.record and json.loads(line)["failure"]["detail"] == "script_threw"


async def test_end_that_comes_later_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    async with serving_runs(desk) as url:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(follow_run(GatewayClient(url, ALICE), RUN, as_json=False))
            await desk.until(lambda: desk.following == 1)
            assert not waiting.done()
            desk.end(run, "stopped")
        assert waiting.result() == 5


def test_whoever_leaves_is_told_how_to_come_back() -> None:
    assert f"runs watch {RUN}" in goes_on(RUN) and f"runs stop {RUN}" in goes_on(RUN)
