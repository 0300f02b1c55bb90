"""Records in OPA's format: joined to our decision, and without what must not be read."""

import json
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config.model import DecisionLog, Secret
from gateway.context import RequestContext
from gateway.core.decisions.decision import Decision, Limit, Obligation, Query, RuleReason
from gateway.policy.decisionlog import OpaDecisionLog, open_decision_log
from tests.support.policies import build_query, packaged_engine

TOKEN = "ghp_" + "a1B2" * 9
CALL = {"kind": "tool_call", "tool": "Bash", "input": {"command": f"curl -H 'x-token: {TOKEN}' https://x.acme.example"}}
CTX = RequestContext("req_1", "POST", "/v1/messages", {}, "anthropic", received_unix_ms=1, received_monotonic=0.0)


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.lost = 0

    def put(self, record: bytes) -> None:
        self.records.append(json.loads(record))


def record_of(query: Query, decision: Decision, **settings: Any) -> dict[str, Any]:
    kept = Kept()
    log = OpaDecisionLog(DecisionLog(**settings), kept, "0.1.0")
    log.decision(CTX, query, decision, decision_id="dec_7")
    (record,) = kept.records
    return record


async def test_record_has_what_opa_writes_under_our_id() -> None:
    query = build_query({"kind": "infer", "model": "gpt-5"})
    decision = await packaged_engine().decide(query)
    record = record_of(query, decision, labels={"site": "berlin"})
    assert (record["decision_id"], record["path"], record["custom"]) == (
        "dec_7",
        "ringfence/decision",
        {"request": "req_1"},
    )
    assert record["bundles"] == {"ringfence": {"revision": decision.revision}}
    assert (
        record["input"] == json.loads(msgspec.json.encode(query)) and record["timestamp"] == "2026-09-21T14:13:20.000Z"
    )
    assert record["result"]["reasons"][0]["rule"] == "models/allowlist" and "revision" not in record["result"]
    assert record["labels"].items() >= {"app": "ringfence", "version": "0.1.0", "site": "berlin"}.items()
    assert record["erased"] == [] and record["masked"] == []


def test_obligations_and_limits_are_part_of_the_result() -> None:
    limit = Limit("org", "cost", "daily", 5)
    decision = Decision(True, obligations=(Obligation("notice", "be brief"),), limits=(limit,), revision="r")
    result = record_of(build_query({"kind": "infer"}), decision)["result"]
    assert result["obligations"] == [{"kind": "notice", "value": "be brief"}] and result["limits"][0]["max"] == 5


def test_input_of_a_tool_is_erased_and_named() -> None:
    record = record_of(build_query(CALL), Decision(True))
    assert "input" not in record["input"]["action"] and record["erased"] == ["/input/action/input"]


def test_secrets_in_facts_and_messages_are_masked_and_named() -> None:
    decision = Decision(False, (RuleReason("a/b", f"no {TOKEN} here"),))
    record = record_of(build_query(CALL), decision)
    assert TOKEN not in json.dumps(record)
    argv = record["input"]["action"]["facts"]["commands"][0]["argv"]
    assert argv[0] == "curl" and "https://x.acme.example" in argv
    assert "/input/action/facts/commands/0/argv/2" in record["masked"]
    assert "/result/reasons/0/message" in record["masked"]


def test_configured_paths_are_erased_instead() -> None:
    erase = ("/input/action/facts/commands/0", "/input/principal/user", "/result/allow", "/input/nothing/here")
    record = record_of(build_query(CALL), Decision(True), erase=erase)
    assert set(record["erased"]) == {"/input/action/facts/commands/0", "/input/principal/user", "/result/allow"}
    assert record["input"]["action"]["facts"]["commands"] == [] and "allow" not in record["result"]
    assert "user" not in record["input"]["principal"] and "command" in record["input"]["action"]["input"]


def test_half_a_character_of_a_header_is_recorded() -> None:
    query = build_query({"kind": "infer"})
    odd = msgspec.structs.replace(query, lineage=msgspec.structs.replace(query.lineage, session="\udcff"))
    assert record_of(odd, Decision(True))["input"]["lineage"]["session"] == "\udcff"


async def test_file_has_one_record_a_line(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    async with open_decision_log(DecisionLog(path=path), "0.1.0") as log:
        for number in range(3):
            log.decision(CTX, build_query({"kind": "infer"}), Decision(True), decision_id=f"dec_{number}")
        assert log.lost == 0
    assert [json.loads(line)["decision_id"] for line in path.read_text().splitlines()] == ["dec_0", "dec_1", "dec_2"]
    assert path.stat().st_mode & 0o777 == 0o640


async def test_what_waits_is_sent_to_the_service_at_the_end() -> None:
    uploads: list[tuple[str | None, Any]] = []

    async def take(request: web.Request) -> web.Response:
        content = await request.read()  # the server unzips by the header
        uploads.append((request.headers.get("Authorization"), json.loads(content)))
        return web.Response()

    app = web.Application()
    app.router.add_post("/acme/logs", take)
    async with TestServer(app) as server:
        settings = DecisionLog(url=str(server.make_url("/acme")), token=Secret("s3cret"))
        async with open_decision_log(settings, "0.1.0") as log:
            log.decision(CTX, build_query({"kind": "infer"}), Decision(True), decision_id="dec_1")
    ((authorization, records),) = uploads
    assert authorization == "Bearer s3cret" and [record["decision_id"] for record in records] == ["dec_1"]
