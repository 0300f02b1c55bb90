"""`ringfence runs` as people see it, against a served desk."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.client import GatewayClient
from gateway.commands.output import CommandFailed
from gateway.commands.run_start import Wanted
from gateway.commands.runs import (
    control_agent,
    control_run,
    draft_workflow,
    list_runs,
    plan_resume,
    print_journal,
    print_result,
    show_agent,
    show_run,
)
from gateway.core.decisions.decision import Principal
from gateway.web.run_desk import MessageAgent, PauseRun, Shown, StartRun
from tests.gateway.commands.test_run_rows import RUN
from tests.support.runs import ALICE, SCRIPT, FakeDesk, served_runs

ID = "wf_000001"
PLAN: dict[str, Any] = {
    "hits": 3,
    "misses": 2,
    "missed": [{"index": 1, "label": "fix", "phase": None, "reason": "changed_prompt"}],
    "saved": {"tokens": {"input": 1_000, "output": 500}},
    "estimate": {"tokens": {"output": 2_000}, "cost_nanousd": 1_500_000_000},
    "diff": "-old\n+new",
}


class Planning(FakeDesk):
    """Its plans are as the runtime makes them."""

    async def plan_resume(self, principal: Principal, run: str, request: StartRun) -> Shown:
        await super().plan_resume(principal, run, request)
        return PLAN


@pytest.fixture
def desk() -> FakeDesk:
    desk = Planning(card={"name": "audit"})
    run = desk.add(ID, **{name: value for name, value in RUN.items() if name not in ("id", "state")})
    run.agents = [{"index": 0, "state": "running", "label": "scan"}, {"index": 1, "state": "done", "label": "fix"}]
    return desk


@pytest.fixture
def client(desk: FakeDesk) -> Generator[GatewayClient]:
    with served_runs(desk) as url:
        yield GatewayClient(url, ALICE)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_runs_are_listed_and_the_rest_is_named(
    client: GatewayClient, desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.add("wf_000002", state="failed")
    list_runs(client, {"limit": 1}, as_json=False)
    shown = capsys.readouterr().out
    assert "wf_000002" in shown and ID not in shown and "--before wf_000002" in shown
    list_runs(client, {"state": "denied"}, as_json=False)
    assert capsys.readouterr().out == "No run.\n"
    list_runs(client, {"before": "wf_000002"}, as_json=True)
    assert [row["id"] for row in json.loads(capsys.readouterr().out)["runs"]] == [ID]


def test_run_is_shown_with_phases_and_agents(client: GatewayClient, capsys: pytest.CaptureFixture[str]) -> None:
    show_run(client, ID, as_json=False)
    shown = capsys.readouterr().out
    assert all(text in shown for text in (ID, "Scan", "5/9 done", "scan", "running"))
    show_run(client, ID, as_json=True)
    assert json.loads(capsys.readouterr().out)["id"] == ID


def test_agent_is_shown_with_prompt_and_value(client: GatewayClient, capsys: pytest.CaptureFixture[str]) -> None:
    show_agent(client, ID, 1, as_json=False)
    shown = capsys.readouterr().out
    assert "prompt:\nLook.\n" in shown and '"ok": true' in shown
    show_agent(client, ID, 1, as_json=True)
    assert json.loads(capsys.readouterr().out)["value"] == {"ok": True}


def test_control_says_how_the_run_stands(
    client: GatewayClient, desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.runs[ID].record["status"] = {}
    control_run(client, ID, "pause", {"mode": "freeze", "why": "lunch"}, as_json=False)
    assert capsys.readouterr().out == f"{ID} (audit) is paused\n"
    assert desk.asked == [(ID, PauseRun(mode="freeze", why="lunch"))]
    control_run(client, ID, "save", {"name": "mine"}, as_json=False)
    assert capsys.readouterr().out == f"the script of {ID} is saved as mine\n"


def test_w121_control_that_is_not_allowed_is_a_refusal(client: GatewayClient, desk: FakeDesk) -> None:
    desk.runs[ID].record["state"] = "failed"
    with pytest.raises(CommandFailed, match="answered 409: run wf_000001 is failed") as failed:
        control_run(client, ID, "pause", {}, as_json=False)
    assert failed.value.exit_code == 7


def test_agent_is_stopped_and_told_something(
    client: GatewayClient, desk: FakeDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    control_agent(client, (ID, 0), "message", {"text": "look at b.py"}, as_json=False)
    control_agent(client, (ID, 0), "stop", {}, as_json=False)
    told, stopped = capsys.readouterr().out.splitlines()
    assert told == f"agent 0 (scan) of {ID} got the message" and stopped == f"agent 0 (scan) of {ID} is stopped"
    assert desk.asked[0] == (f"{ID}/0", MessageAgent(text="look at b.py"))


def test_result_is_json_alone(client: GatewayClient, desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    run = desk.runs[ID]
    run.value = {"found": [1, None]}
    with pytest.raises(CommandFailed, match="no result yet"):
        print_result(client, ID)
    run.record["state"] = "completed"
    print_result(client, ID)
    assert json.loads(capsys.readouterr().out) == {"found": [1, None]}


def test_journal_is_printed_as_it_is_kept(
    client: GatewayClient, desk: FakeDesk, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    desk.runs[ID].lines = [b'{"type":"run","text":"\xc3\xbc"}', b'{"type":"log"}']
    print_journal(client, ID, 0)
    assert capsysbinary.readouterr().out == b'{"type":"run","text":"\xc3\xbc"}\n{"type":"log"}\n'
    print_journal(client, ID, 1)
    assert capsysbinary.readouterr().out == b'{"type":"log"}\n'


def test_w162_plan_tells_hits_misses_reasons_cost_and_what_changed(
    client: GatewayClient, desk: FakeDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.js").write_text(SCRIPT)
    wanted = Wanted(file=tmp_path / "a.js", resume_from=ID, mode="prefix")
    plan_resume(client, ID, wanted, as_json=False)
    shown = capsys.readouterr().out
    assert "3 calls are taken over (1.5k tokens), 2 run again or anew (about 2.0k tokens, about $1.50)" in shown
    assert "call 1    fix: it asks for something else" in shown and "and 1 more" in shown and "-old\n+new\n" in shown
    assert shown.endswith(f"ringfence runs start {tmp_path}/a.js --resume-from {ID} --mode prefix\n")
    assert desk.asked == [(f"plan {ID}", StartRun(script=SCRIPT, resume_mode="prefix"))]
    plan_resume(client, ID, Wanted(resume_from=ID), as_json=True)
    assert json.loads(capsys.readouterr().out) == PLAN


def test_draft_is_printed_with_its_card_and_not_started(
    client: GatewayClient, desk: FakeDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draft_workflow(client, {"task": "audit it"}, None, as_json=False) == 0
    assert SCRIPT in capsys.readouterr().out
    file = tmp_path / "new.js"
    draft_workflow(client, {"task": "audit it"}, file, as_json=False)
    shown = capsys.readouterr().out
    assert file.read_text() == SCRIPT and SCRIPT not in shown and f"ringfence runs start {file}" in shown
    assert "in 2 tries" in shown
    with pytest.raises(CommandFailed, match="name a new file"):
        draft_workflow(client, {"task": "audit it"}, file, as_json=False)
    assert list(desk.runs) == [ID]
