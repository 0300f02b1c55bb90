"""`ringfence runs ...` as it is typed, from the arguments to the gateway."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.web.run_desk import (
    ApproveRun,
    DenyRun,
    DraftWorkflow,
    MessageAgent,
    PauseRun,
    RestartAgent,
    ResumeRun,
    RunOrder,
    RunState,
    SaveRun,
    SkipAgent,
    StartRun,
    StopAgent,
    StopRun,
)
from tests.support.runs import ALICE, SCRIPT, FakeDesk, served_runs

ROOT = Path(__file__).parents[3]
RUN = "wf_000001"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeDesk]:
    desk = FakeDesk(card={"name": "audit", "approval": {"needed": False}})
    with served_runs(desk) as url:
        monkeypatch.setenv("RINGFENCE_URL", url)
        monkeypatch.setenv("RINGFENCE_CREDENTIAL", ALICE)
        yield desk


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "audit.js").write_text(SCRIPT)
    return str(tmp_path / "audit.js")


ORDERS: dict[str, tuple[RunState, RunOrder]] = {
    "pause": ("running", PauseRun()),
    "pause --freeze --why lunch": ("running", PauseRun(mode="freeze", why="lunch")),
    "resume --max-cost 7.5": ("paused", ResumeRun(max_cost_usd=7.5)),
    "stop --why enough": ("paused", StopRun(why="enough")),
    "approve": ("pending_approval", ApproveRun()),
    "approve --always": ("pending_approval", ApproveRun(scope="always")),
    "deny --why dear": ("pending_approval", DenyRun(why="dear")),
    "save --name mine --replace": ("running", SaveRun(name="mine", replace=True)),
}


@pytest.mark.parametrize("typed", ORDERS)
def test_control_is_the_order_that_was_typed(desk: FakeDesk, typed: str) -> None:
    state, order = ORDERS[typed]
    desk.add(RUN, state=state)
    verb, *options = typed.split()
    assert main(["runs", verb, RUN, *options]) == 0
    assert desk.asked == [(RUN, order)]


@pytest.mark.parametrize(
    ("typed", "order"),
    [
        ("stop-agent", StopAgent()),
        ("skip-agent", SkipAgent()),
        ("restart-agent", RestartAgent()),
        ("message", MessageAgent(text="look there")),
    ],
    ids=["stop", "skip", "restart", "message"],
)
def test_agent_is_named_by_run_and_index(desk: FakeDesk, typed: str, order: object) -> None:
    desk.add(RUN).agents = [{"index": 0, "state": "running"}, {"index": 1, "state": "running"}]
    assert main(["runs", typed, RUN, "1", *(["look there"] if typed == "message" else [])]) == 0
    assert desk.asked == [(f"{RUN}/1", order)]


def test_start_takes_every_option(desk: FakeDesk, script: str) -> None:
    options = "--args {} --workspace / --session s1 --model haiku --max-agents 5 --max-cost $2.50 --budget-tokens 9"
    assert main(["runs", "start", script, *options.split(), "--resume-from", RUN, "--mode", "none", "--yes"]) == 0
    ((_, asked),) = desk.asked
    assert asked.script == SCRIPT and bytes(asked.args) == b"{}" and asked.consent == "once"
    assert (asked.workspace, asked.session, asked.model, asked.max_agents) == ("/", "s1", "haiku", 5)
    assert (asked.max_cost_usd, asked.budget_tokens) == (2.5, 9)
    assert (asked.resume_from_run_id, asked.resume_mode) == (RUN, "none")


ENDS: list[tuple[RunState, bool, int]] = [("completed", False, 0), ("completed", True, 3), ("failed", False, 4)]


@pytest.mark.parametrize("end", ENDS, ids=["completed", "degraded", "failed"])
def test_start_and_wait_exits_as_the_run_ended_with_its_record_last(
    desk: FakeDesk, script: str, end: tuple[RunState, bool, int], capsys: pytest.CaptureFixture[str]
) -> None:
    state, degraded, code = end
    desk.started = lambda run: desk.end(run, state, degraded=degraded)
    assert main(["runs", "start", script, "--yes", "--wait", "--json"]) == code
    launch, record = map(json.loads, capsys.readouterr().out.splitlines())
    assert launch["runId"] == record["id"] == "wf_000000"
    assert (record["state"], record["degraded"]) == (state, degraded)


def test_interrupt_leaves_the_run_alone_and_says_how_to_go_on(desk: FakeDesk, script: str) -> None:
    command = [sys.executable, "-m", "gateway", "runs", "start", script, "--yes", "--wait"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    desk.started = lambda run: desk.happen(run, "workflow_run.log", text="auditing")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert b"was started" in process.stdout.readline() and b"auditing" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in complaints
    assert b"run wf_000000 goes on" in complaints and b"runs watch wf_000000" in complaints
    assert desk.runs["wf_000000"].is_open and [what for what, _ in desk.asked] == ["start"]


def test_run_is_listed_shown_and_read(desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    run = desk.add(RUN, state="completed")
    run.value, run.lines, run.agents = [7], [b'{"type":"run"}'], [{"index": 0, "state": "done", "label": "scan"}]
    for typed, shown in {
        "list --state completed --limit 3": RUN,
        f"show {RUN}": "scan",
        f"show {RUN} --agent 0": "Look.",
        f"result {RUN}": "[\n  7\n]",
        f"journal {RUN}": '{"type":"run"}',
    }.items():
        assert main(["runs", *typed.split()]) == 0
        assert shown in capsys.readouterr().out


def test_plan_dry_run_and_draft_start_nothing(desk: FakeDesk, script: str, tmp_path: Path) -> None:
    desk.add(RUN, state="failed")
    assert main(["runs", "dry-run", script]) == 0
    assert main(["runs", "resume-plan", RUN, "--mode", "prefix", "--json"]) == 0
    wanted = ["--workspace", str(tmp_path), "--model", "m"]
    assert main(["workflows", "draft", "audit it", "--output", str(tmp_path / "new.js"), *wanted]) == 0
    assert [what for what, _ in desk.asked] == ["check", f"plan {RUN}", "draft"] and list(desk.runs) == [RUN]
    asked = DraftWorkflow(task="audit it", workspace=str(tmp_path), model="m")
    assert desk.asked[1][1] == StartRun(resume_mode="prefix") and desk.asked[2][1] == asked


@pytest.mark.parametrize(
    "typed",
    [
        "start a.js --max-agents 0",
        "start a.js --max-cost nan",
        "start a.js --max-cost 0",
        "start a.js --wait --watch",
        "start a.js --mode all",
        f"stop-agent {RUN} -1",
        f"show {RUN} --agent x",
        "list --limit 1e3",
    ],
    ids=["agents", "nan", "nothing", "both", "mode", "negative", "index", "limit"],
)
def test_what_cannot_be_meant_is_wrong_usage(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["runs", *typed.split()])
    assert ended.value.code == 2 and "_number" not in capsys.readouterr().err


def test_live_view_and_json_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "start", "a.js", "--watch", "--json"]) == 2
    assert "with --json use --wait" in capsys.readouterr().err


def test_watch_as_json_waits_for_the_record(desk: FakeDesk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.end(desk.add(RUN), "stopped")
    assert main(["runs", "watch", RUN, "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"
