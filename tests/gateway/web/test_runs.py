"""The paths of runs over HTTP, in front of a desk in memory."""

import io
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.web.run_desk import (
    ApproveRun,
    MessageAgent,
    PauseRun,
    ResumeRun,
    RunRefused,
    SaveRun,
    SkipAgent,
    StartRun,
    StopRun,
)
from gateway.web.runs import ARGS_BYTES_MAX, BODY_BYTES_MAX, JOURNAL_LINES_READ, SCRIPT_BYTES_MAX
from tests.support.runs import AGENT, ALICE, BOB, OLGA, SCRIPT, SHA256, FakeDesk, serving_runs


class Runs:
    """A client of the paths, and the desk behind them."""

    def __init__(self, desk: FakeDesk, url: str, client: aiohttp.ClientSession) -> None:
        self.desk = desk
        self.url = url
        self.client = client

    async def ask(self, path: str = "", body: Any = None, *, who: str = ALICE, **headers: str) -> tuple[int, Any]:
        """GET without a body, else POST: the status and the JSON."""
        method, data = ("GET", None) if body is None else ("POST", body)
        if not isinstance(data, bytes | None):
            data = json.dumps(data).encode()
        sent = {"x-api-key": who} | {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/ringfence/v1/runs{path}"
        sending = None if data is None else io.BytesIO(data)
        async with self.client.request(method, url, data=sending, headers=sent) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture
async def runs() -> AsyncGenerator[Runs]:
    desk = FakeDesk(card={"name": "audit"})
    async with serving_runs(desk) as url, aiohttp.ClientSession() as client:
        yield Runs(desk, url, client)


async def test_w03_start_answers_at_once_with_the_launch(runs: Runs) -> None:
    status, launch = await runs.ask("", {"script": SCRIPT, "args": {"deep": [1, None]}, "maxCostUsd": 2.5})
    assert (status, launch["status"], launch["workflowName"]) == (200, "async_launched", "audit")
    assert launch["runId"] == "wf_000000" and launch["scriptPath"] == "runs/wf_000000.js"
    ((_, asked),) = runs.desk.asked
    assert (asked.script, bytes(asked.args), asked.max_cost_usd) == (SCRIPT, b'{"deep": [1, null]}', 2.5)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"scriptPath": "a.js", "script": SCRIPT, "name": "audit"}, ("a.js", None, None)),
        ({"script": SCRIPT, "name": "audit"}, (None, SCRIPT, None)),
        ({"name": "audit"}, (None, None, "audit")),
        ({"resumeFromRunId": "wf_abcdef"}, (None, None, None)),
    ],
    ids=["path", "script", "name", "earlier run"],
)
async def test_w02_first_of_path_script_and_name_is_taken(runs: Runs, body: dict[str, Any], kept: Any) -> None:
    status, _ = await runs.ask("", body | {"title": "x" * 9_000, "description": ""})
    ((_, asked),) = runs.desk.asked
    assert status == 200 and (asked.script_path, asked.script, asked.name) == kept


@pytest.mark.parametrize("body", [{}, {"args": 1}, {"script": "", "title": "t"}], ids=["empty", "args", "no script"])
async def test_w01_start_of_nothing_is_an_input_error_without_a_run(runs: Runs, body: dict[str, Any]) -> None:
    status, answer = await runs.ask("", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "give one of script, scriptPath and name" in answer["error"]["message"] and not runs.desk.runs


async def test_args_that_are_null_are_told_from_none(runs: Runs) -> None:
    for body in (b'{"name":"a"}', b'{"name":"a","args":null}', b'{"name":"a","args": "x" }'):
        await runs.ask("", body)
    none, null, text = (asked.args for _, asked in runs.desk.asked)
    assert none is StartRun().args and (bytes(null), bytes(text)) == (b"null", b'"x"')


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"name":"a","max_cost":1}', "max_cost"),
        (b'{"name":"a","maxAgents":0}', "maxAgents"),
        (b'{"name":"a","maxCostUsd":-1}', "maxCostUsd"),
        (b'{"name":"a","session":"two words"}', "session"),
        (b'{"name":"a","scriptSha256":"abc"}', "scriptSha256"),
        (b'{"name":"a","resumeMode":"all"}', "resumeMode"),
        (b'{"name":', "truncated"),
        (b'{"name":"\xff"}', "body"),
        (b"[]", "array"),
    ],
    ids=["typo", "agents", "cost", "session", "hash", "mode", "cut", "not utf-8", "no object"],
)
async def test_body_that_is_not_as_described_is_refused_by_its_place(runs: Runs, body: bytes, said: str) -> None:
    status, answer = await runs.ask("", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert said in answer["error"]["message"] and runs.desk.asked == []


async def test_largest_script_fits_however_it_is_escaped(runs: Runs) -> None:
    body = json.dumps({"script": "\u0001" * SCRIPT_BYTES_MAX, "args": "x" * (ARGS_BYTES_MAX - 2)}).encode()
    assert len(body) > 6 * SCRIPT_BYTES_MAX
    assert (await runs.ask("", body))[0] == 200
    ((_, asked),) = runs.desk.asked
    assert len(asked.script) == SCRIPT_BYTES_MAX


async def test_larger_args_and_bodies_are_refused(runs: Runs) -> None:
    status, answer = await runs.ask("", {"name": "a", "args": "x" * ARGS_BYTES_MAX})
    assert (status, answer["error"]["message"].split(";")[0]) == (400, "args are larger than 1048576 bytes")
    status, answer = await runs.ask("", b" " * (BODY_BYTES_MAX + 1))
    assert (status, answer["error"]["type"]) == (413, "request_too_large") and runs.desk.asked == []


async def test_w04_script_that_fails_the_check_is_a_400_with_code_and_place(runs: Runs) -> None:
    detail = {"code": "meta_missing", "line": 1, "column": 7, "type": "not to be replaced"}
    runs.desk.refusal = RunRefused(400, "invalid_script", "1:7: meta_missing: no meta", detail)
    status, answer = await runs.ask("", {"script": "return 1"}, **{"x-request-id": "mine"})
    assert (status, answer["type"]) == (400, "error") and answer["request_id"].startswith("dec_")
    said = {"type": "invalid_script", "message": "1:7: meta_missing: no meta"}
    assert answer["error"] == detail | said and not runs.desk.runs


async def test_w09_disabled_workflows_are_told_clearly(runs: Runs) -> None:
    runs.desk.refusal = RunRefused(503, "workflows_disabled", "workflows are switched off here (runs.enabled)")
    status, answer = await runs.ask("", {"name": "audit"})
    assert status == 503 and answer["error"]["message"] == "workflows are switched off here (runs.enabled)"


async def test_w11_one_run_too_many_keeps_the_type_of_its_error(runs: Runs) -> None:
    runs.desk.refusal = RunRefused(429, "max_workflow_runs_error", "10 runs are open", {"workflow_run_id": None})
    status, answer = await runs.ask("", {"name": "audit"})
    assert (status, answer["error"]["type"]) == (429, "max_workflow_runs_error")
    assert answer["error"]["workflow_run_id"] is None


@pytest.mark.parametrize("path", ["", "/dry-run", "/wf_000001/stop"], ids=["start", "check", "control"])
async def test_w08_agent_of_a_run_starts_and_changes_nothing(runs: Runs, path: str) -> None:
    runs.desk.add("wf_000001")
    for headers in (
        {},
        {"x_ringfence_run_id": "wf_000009", "x_ringfence_session_id": "s", "x_ringfence_agent_id": "a"},
    ):
        status, answer = await runs.ask(path, {"name": "audit"} if "stop" not in path else {}, who=AGENT, **headers)
        assert status == 403 and "agents of run wf_000009" in answer["error"]["message"]
    assert runs.desk.asked == []


async def test_w144_dry_run_answers_the_card_and_starts_nothing(runs: Runs) -> None:
    status, card = await runs.ask("/dry-run", {"script": SCRIPT})
    assert (status, card) == (200, {"name": "audit"})
    assert [what for what, _ in runs.desk.asked] == ["check"] and not runs.desk.runs


async def test_w137_run_of_somebody_else_is_as_unknown_as_none(runs: Runs) -> None:
    runs.desk.add("wf_000001", "bob")
    answers = [await runs.ask(f"/{id}") for id in ("wf_000001", "wf_000002", "WF_000001", "wf_1", "..%2fx")]
    assert {status for status, _ in answers} == {404}
    his, none = (answer["error"] for _, answer in answers[:2])
    assert his == none | {"message": none["message"].replace("wf_000002", "wf_000001")}
    assert (await runs.ask("/wf_000001", who=BOB))[0] == (await runs.ask("/wf_000001", who=OLGA))[0] == 200


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "approve", "deny", "save"])
async def test_w137_control_of_somebody_elses_run_finds_nothing(runs: Runs, verb: str) -> None:
    run = runs.desk.add("wf_000001", "bob")
    status, _ = await runs.ask(f"/wf_000001/{verb}", {})
    assert status == 404 and run.record["state"] == "running" and runs.desk.asked == []


async def test_list_shows_own_runs_newest_first_page_by_page(runs: Runs) -> None:
    for number in range(5):
        runs.desk.add(f"wf_00000{number}", "bob" if number == 2 else "alice")
    _, first = await runs.ask("?limit=3")
    assert [row["id"] for row in first["runs"]] == ["wf_000004", "wf_000003", "wf_000001"]
    _, rest = await runs.ask(f"?limit=3&before={first['next']}")
    assert ([row["id"] for row in rest["runs"]], rest["next"]) == (["wf_000000"], None)
    assert len((await runs.ask(who=OLGA))[1]["runs"]) == 5


async def test_list_is_narrowed_by_session_and_state(runs: Runs) -> None:
    runs.desk.add("wf_000001", state="paused")
    runs.desk.add("wf_000002", state="failed", session="s2")
    runs.desk.add("wf_000003", state="failed")
    assert [row["id"] for row in (await runs.ask("?state=failed,denied&session=s1"))[1]["runs"]] == ["wf_000003"]
    assert [row["id"] for row in (await runs.ask("?state=paused"))[1]["runs"]] == ["wf_000001"]


@pytest.mark.parametrize("query", ["state=done", "limit=-1", "limit=x", "before=x", "limit=%C2%B2"])
async def test_question_that_cannot_be_meant_is_refused(runs: Runs, query: str) -> None:
    status, answer = await runs.ask(f"?{query}")
    assert status == 400 and query.partition("=")[0] in answer["error"]["message"]


async def test_w176_status_has_no_result_and_agents_are_paged(runs: Runs) -> None:
    run = runs.desk.add("wf_000001")
    run.agents = [{"index": index, "state": "done"} for index in range(60)]
    _, page = await runs.ask("/wf_000001/agents")
    assert len(page["agents"]) == 50 and page["next"] == 49
    _, rest = await runs.ask(f"/wf_000001/agents?after={page['next']}")
    assert [row["index"] for row in rest["agents"]] == list(range(50, 60)) and rest["next"] is None
    assert (await runs.ask("/wf_000001/agents/3"))[1] == {**run.agents[3], "prompt": "Look.", "value": {"ok": True}}
    for index in ("60", "-1", "x"):
        assert (await runs.ask(f"/wf_000001/agents/{index}"))[0] == 404


async def test_w176_result_is_had_when_the_run_has_ended(runs: Runs) -> None:
    run = runs.desk.add("wf_000001")
    run.value = [1, {"a": None}]
    status, answer = await runs.ask("/wf_000001/result")
    assert status == 409 and "no result yet" in answer["error"]["message"]
    runs.desk.end(run)
    assert await runs.ask("/wf_000001/result") == (200, {"state": "completed", "value": [1, {"a": None}]})


async def test_w176_values_are_had_from_a_place_on_or_by_label(runs: Runs) -> None:
    runs.desk.add("wf_000001").agents = [{"index": 0, "label": "a"}, {"index": 1, "label": "b"}]
    _, page = await runs.ask("/wf_000001/values?after=0&offset=7")
    assert (page["values"], page["offset"]) == ([{"index": 1, "label": "b"}], 7)
    assert (await runs.ask("/wf_000001/values?label=a"))[1]["values"] == [{"index": 0, "label": "a"}]
    assert (await runs.ask("/wf_000001/values?after=x"))[0] == 400
    assert (await runs.ask("/wf_000001/values", who=BOB))[0] == 404


async def test_w172_artefact_and_w173_notification_are_had_when_the_run_has_ended(runs: Runs) -> None:
    run = runs.desk.add("wf_000001")
    run.value = ["x"]
    assert [(await runs.ask(f"/wf_000001/{path}"))[0] for path in ("result/artefact", "notification")] == [409, 409]
    runs.desk.end(run)
    assert await runs.ask("/wf_000001/result/artefact") == (200, ["x"])
    assert await runs.ask("/wf_000001/notification") == (200, {"run_id": "wf_000001", "status": "completed"})


async def test_w181_task_stream_is_asked_for_as_a_stream(runs: Runs) -> None:
    runs.desk.add("wf_000001")
    for query, told in (("format=task", "text/event-stream"), ("format=other", "run or task")):
        status, answer = await runs.ask(f"/wf_000001/events?{query}")
        assert status == 400 and told in answer["error"]["message"]


async def test_w121_transition_that_is_not_allowed_is_a_409_and_changes_nothing(runs: Runs) -> None:
    run = runs.desk.add("wf_000001", state="paused")
    status, answer = await runs.ask("/wf_000001/pause", {})
    assert (status, answer["error"]["type"]) == (409, "conflict_error") and run.record["state"] == "paused"


async def test_w121_second_stop_changes_nothing_and_is_no_error(runs: Runs) -> None:
    runs.desk.add("wf_000001")
    first, second = [await runs.ask("/wf_000001/stop", {"why": "enough"}) for _ in range(2)]
    assert first == second and first[0] == 200 and first[1]["state"] == "stopped"


@pytest.mark.parametrize(
    ("verb", "state", "body", "order"),
    [
        ("pause", "running", {"mode": "freeze"}, PauseRun(mode="freeze")),
        ("resume", "paused", {"maxCostUsd": 5}, ResumeRun(max_cost_usd=5.0)),
        ("stop", "queued", b"", StopRun()),
        ("approve", "pending_approval", {"scope": "always", "scriptSha256": SHA256}, None),
        ("save", "running", {"name": "mine", "replace": True}, SaveRun(name="mine", replace=True)),
    ],
    ids=["pause", "resume", "stop", "approve", "save"],
)
async def test_order_reaches_the_run_as_it_was_given(runs: Runs, verb: str, state: Any, body: Any, order: Any) -> None:
    runs.desk.add("wf_000001", state=state)
    status, record = await runs.ask(f"/wf_000001/{verb}", body)
    assert status == 200 and record["name"] == ("mine" if verb == "save" else "audit")
    assert runs.desk.asked == [("wf_000001", order or ApproveRun(scope="always", script_sha256=SHA256))]


async def test_w134_restart_of_an_agent_that_does_not_run_is_a_409(runs: Runs) -> None:
    runs.desk.add("wf_000001").agents = [{"index": 0, "state": "done"}, {"index": 1, "state": "running"}]
    assert (await runs.ask("/wf_000001/agents/0/restart", {}))[0] == 409
    assert (await runs.ask("/wf_000001/agents/1/restart", {}))[0] == 200


async def test_w133_agent_is_skipped_by_its_index(runs: Runs) -> None:
    runs.desk.add("wf_000001").agents = [{"index": 0, "state": "running"}]
    assert await runs.ask("/wf_000001/agents/0/skip", {}) == (200, {"index": 0, "state": "skipped"})
    assert runs.desk.asked == [("wf_000001/0", SkipAgent())]


async def test_w136_message_is_at_most_4000_characters_and_not_empty(runs: Runs) -> None:
    runs.desk.add("wf_000001").agents = [{"index": 0, "state": "running"}]
    for text, status in (("", 400), ("x" * 4_001, 400), ("ü" * 4_000, 200)):
        assert (await runs.ask("/wf_000001/agents/0/message", {"text": text}))[0] == status
    assert runs.desk.asked == [("wf_000001/0", MessageAgent(text="ü" * 4_000))]


async def test_w138_order_with_a_key_used_before_is_answered_as_the_first(runs: Runs) -> None:
    runs.desk.add("wf_000001")
    first = await runs.ask("/wf_000001/pause", {}, idempotency_key="k1")
    await runs.ask("/wf_000001/resume", {})
    assert await runs.ask("/wf_000001/pause", {}, idempotency_key="k1") == first
    assert len(runs.desk.asked) == 2 and runs.desk.runs["wf_000001"].record["state"] == "running"


async def test_w138_start_with_a_key_used_before_starts_nothing_more(runs: Runs) -> None:
    launches = [await runs.ask("", {"name": "audit"}, idempotency_key="k1", who=who) for who in (ALICE, ALICE, BOB)]
    assert launches[0] == launches[1] and launches[2][1]["runId"] != launches[0][1]["runId"]
    assert len(runs.desk.runs) == 2


@pytest.mark.parametrize("key", ["", "x" * 257, "ü"], ids=["empty", "long", "not ascii"])
async def test_w138_key_that_cannot_be_kept_is_refused(runs: Runs, key: str) -> None:
    status, answer = await runs.ask("", {"name": "audit"}, idempotency_key=key)
    assert status == 400 and "idempotency-key" in answer["error"]["message"] and not runs.desk.runs


async def test_w162_resume_plan_is_shown_for_the_same_and_for_an_edited_script(runs: Runs) -> None:
    runs.desk.add("wf_000001", state="failed")
    status, plan = await runs.ask("/wf_000001/resume-plan?mode=prefix")
    assert status == 200 and plan["hits"] == 3 and plan["misses"][0]["reason"] == "changed_prompt"
    await runs.ask("/wf_000001/resume-plan", {"script": SCRIPT})
    asked = [request for _, request in runs.desk.asked]
    assert asked == [StartRun(resume_mode="prefix"), StartRun(script=SCRIPT)] and len(runs.desk.runs) == 1
    assert (await runs.ask("/wf_000001/resume-plan?mode=all"))[0] == 400


async def test_events_are_listed_by_type_and_page_with_their_numbers(runs: Runs) -> None:
    run = runs.desk.add("wf_000001")
    for number in range(6):
        runs.desk.happen(run, "log" if number % 2 else "agent_started", text=f"line {number}")
    _, page = await runs.ask("/wf_000001/events?types=log&limit=2")
    assert [(event["seq"], event["text"]) for event in page["events"]] == [(2, "line 1"), (4, "line 3")]
    _, rest = await runs.ask(f"/wf_000001/events?types=log&limit=2&after={page['next']}")
    assert [event["seq"] for event in rest["events"]] == [6] and rest["next"] is None


async def test_journal_is_given_whole_line_by_line(runs: Runs) -> None:
    lines = [json.dumps({"type": "log", "n": n}).encode() for n in range(2 * JOURNAL_LINES_READ + 1)]
    runs.desk.add("wf_000001").lines = lines
    url = f"{runs.url}/ringfence/v1/runs/wf_000001/journal"
    async with runs.client.get(url, headers={"x-api-key": ALICE}) as response:
        assert response.content_type == "application/x-ndjson"
        assert (await response.read()).splitlines() == lines
    assert (await runs.ask("/wf_000009/journal"))[0] == 404


async def test_draft_hands_over_script_and_card_and_starts_nothing(runs: Runs) -> None:
    url = f"{runs.url}/ringfence/v1/workflows/draft"
    async with runs.client.post(url, json={"task": "audit it"}, headers={"x-api-key": ALICE}) as response:
        answer = await response.json()
    assert (answer["script"], answer["card"], runs.desk.runs) == (SCRIPT, {"name": "audit"}, {})
    async with runs.client.post(url, json={"task": ""}, headers={"x-api-key": ALICE}) as response:
        assert response.status == 400


async def test_paths_need_a_credential_and_no_operators(runs: Runs) -> None:
    for who, status in (("", 401), ("unknown", 401), (ALICE, 200), (OLGA, 200)):
        assert (await runs.ask(who=who))[0] == status


async def test_w140_card_of_a_run_is_shown_to_whoever_may_see_it(runs: Runs) -> None:
    runs.desk.add("wf_000001", state="pending_approval")
    assert await runs.ask("/wf_000001/card") == (200, {"name": "audit"})
    assert (await runs.ask("/wf_000001/card", who=BOB))[0] == 404


@pytest.mark.parametrize("session", ["s-1\n", "s 1", "s\0", "s\u00fc", ""])
async def test_session_that_no_header_can_carry_is_refused(runs: Runs, session: str) -> None:
    status, answer = await runs.ask("", {"script": SCRIPT, "session": session})
    assert (status, answer["error"]["type"], runs.desk.asked) == (400, "invalid_request_error", [])


@pytest.mark.parametrize("query", ["?session=a%00b", "?session=%E2%80%AE", "/wf_000001/events?types=log,%00"])
async def test_question_with_what_no_store_can_hold_is_refused(runs: Runs, query: str) -> None:
    runs.desk.add("wf_000001")
    status, answer = await runs.ask(query)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
