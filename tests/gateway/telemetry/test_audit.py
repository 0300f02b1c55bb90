"""The audit trail: what a record says, and what happens to the file."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.context import Attempt, RequestContext, ToolCallOutcome
from gateway.core.decisions.decision import (
    Client,
    Command,
    Decision,
    Lineage,
    Obligation,
    Principal,
    Query,
    RuleReason,
    Spawn,
    Time,
    ToolCall,
    ToolFacts,
    denied,
)
from gateway.core.fuses.fuse import FuseRecord
from gateway.core.money.ledger import Hold
from gateway.core.money.limits import Amounts
from gateway.core.wire.body import peek
from gateway.core.wire.shapes import Change
from gateway.core.wire.usage import Tokens, Usage
from gateway.errors import Reason
from gateway.telemetry.audit import AuditLog, decision_fields, request_fields

PROMPT = "please read the plans"
PRINCIPAL = Principal(org="acme", team="platform", user="alice", credential="laptop")
NO_FACTS = ToolFacts()
LINEAGE = Lineage("s1", "a1", parent="main", depth=1, client=Client("claude-cli", "2.1.330"))


def context() -> RequestContext:
    body = json.dumps({"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": PROMPT}]}).encode()
    return RequestContext(
        id="dec_1",
        method="POST",
        path="/v1/messages?beta=true&key=in-the-query",
        headers={"x-api-key": "in-the-header"},
        dialect="anthropic",
        received_unix_ms=1_000,
        received_monotonic=1.0,
        body=body,
        ask=peek(body),
        model="claude-opus-5-5",
        principal=PRINCIPAL,
        lineage=LINEAGE,
        decision=Decision(allow=True, shadow=(RuleReason("models/allowlist", "x"),), revision="abc"),
        hold=Hold(
            id="hold_1",
            accounts=("org",),
            model="claude-opus-5-5",
            backends=("anthropic",),
            worst=Amounts(cost=300),
            expected=Amounts(cost=200),
            created_ms=1_000,
            deadline_ms=2_000,
        ),
        upstream="claude",
        status=200,
        reason=Reason.COMPLETED,
        usage=Usage(tokens=Tokens(input=10, output=20)),
        cost_nanousd=250,
        tool_calls=[ToolCallOutcome("Bash", "t1", "exec", False, "dec_2", "no")],
        total_seconds=1.23456789,
    )


def query(tool_input: Any, facts: ToolFacts = NO_FACTS) -> Query:
    action = ToolCall(tool="Bash", input=tool_input, tool_use_id="t1", server=None, tool_class="exec", facts=facts)
    return Query(action, PRINCIPAL, LINEAGE, {}, Time(1_500, "monday", 0))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def log(path: Path, rotate_bytes: int = 1_000_000, keep: int = 3) -> AuditLog:
    return AuditLog(str(path), rotate_bytes, keep)


def test_request_record_holds_what_the_context_says(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    audit.request(context())
    (record,) = lines(tmp_path / "audit.log")
    assert (record["event"], record["id"], record["at_ms"]) == ("request", "dec_1", 1_000)
    assert record["path"] == "/v1/messages" and record["reason"] == "completed"
    assert record["model"] == "opus" and record["upstream_model"] == "claude-opus-5-5"
    assert record["usage"]["tokens"]["output"] == 20 and record["cost_nanousd"] == 250
    assert record["hold"]["worst"]["cost"] == 300 and record["total_seconds"] == 1.234568
    assert record["principal"]["user"] == "alice" and record["lineage"]["parent"] == "main"
    assert record["tool_calls"][0]["decision"] == "dec_2" and record["shadow"][0]["rule"] == "models/allowlist"


def test_request_record_tells_what_was_tried_and_what_was_bridged(tmp_path: Path) -> None:
    audit, sent = log(tmp_path / "audit.log"), context()
    sent.upstream, sent.upstream_model = "bedrock-us", "us.anthropic.claude-opus-5-5"
    sent.betas = ("context-management-2025-06-27",)
    sent.bridged = (Change("web_fetch", "dropped"),)
    sent.attempts = [Attempt("claude", 529, Reason.UPSTREAM_REFUSED)]
    audit.request(sent)
    (record,) = lines(tmp_path / "audit.log")
    assert (record["upstream"], record["upstream_model"]) == ("bedrock-us", "us.anthropic.claude-opus-5-5")
    assert record["attempts"] == [{"upstream": "claude", "status": 529, "reason": "upstream_refused"}]
    assert record["bridged"] == [{"feature": "web_fetch", "action": "dropped"}]
    assert record["betas"] == ["context-management-2025-06-27"]


def test_request_record_holds_no_prompt_and_no_secret(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    audit.request(context())
    written = (tmp_path / "audit.log").read_text()
    assert PROMPT not in written
    assert "in-the-query" not in written and "in-the-header" not in written


def test_request_about_which_nothing_was_learnt_is_recorded() -> None:
    bare = RequestContext(
        id="dec_9",
        method="GET",
        path="/",
        headers={},
        dialect="anthropic",
        received_unix_ms=1,
        received_monotonic=1.0,
    )
    fields = request_fields(bare)
    assert fields["model"] is None and fields["principal"] is None and fields["allow"] is None


def test_decision_record_tells_the_input_by_hash_length_and_facts(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    asked = query({"command": "rm -rf / # because"}, ToolFacts(commands=(Command("rm", ("rm", "-rf", "/")),)))
    audit.decision(context(), asked, denied("shell/destructive", "no"), decision_id="dec_2")
    (record,) = lines(tmp_path / "audit.log")
    assert (record["event"], record["id"], record["request"]) == ("decision", "dec_2", "dec_1")
    assert (record["kind"], record["tool"], record["class"], record["allow"]) == ("tool_call", "Bash", "exec", False)
    assert record["reasons"] == [{"rule": "shell/destructive", "message": "no"}]
    written = b'{"command":"rm -rf / # because"}'
    assert (record["input_sha256"], record["input_bytes"]) == (sha256(written).hexdigest(), len(written))
    assert record["action"]["facts"]["commands"][0]["argv"] == ["rm", "-rf", "/"]
    assert record["unrecorded"] == ["action.input"]
    assert "input" not in record and "input" not in record["action"] and "because" not in json.dumps(record)


def test_decision_record_masks_secrets_of_facts(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    argv = ("curl", "-H", "Authorization: Bearer hunter2-hunter2")
    asked = query({}, ToolFacts(commands=(Command("curl", argv),)))
    audit.decision(context(), asked, Decision(allow=True), decision_id="dec_2")
    (record,) = lines(tmp_path / "audit.log")
    assert record["masked"] == 1 and "hunter2" not in json.dumps(record)


def test_decision_with_log_full_records_the_input() -> None:
    decision = Decision(allow=True, obligations=(Obligation("log_full"),))
    fields = decision_fields(context(), query({"command": "ls"}), decision, decision_id="dec_2")
    assert fields["input"] == {"command": "ls"} and fields["unrecorded"] == ()
    assert fields["obligations"] == (Obligation("log_full"),)


def test_decision_on_a_spawn_has_no_tool_fields_and_its_meters() -> None:
    meters = {"session": {"agents": 3}}
    asked = Query(Spawn(via="first_request"), PRINCIPAL, LINEAGE, meters, Time(1_500, "monday", 0))
    fields = decision_fields(context(), asked, Decision(allow=True), decision_id="dec_2")
    assert fields["kind"] == "spawn" and "tool" not in fields and fields["at_ms"] == 1_500
    assert fields["meters"] == meters and fields["action"]["via"] == "first_request"


def test_fuse_record_tells_who_replaced_it(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    audit.fuse(FuseRecord("fuse_1", "agent", "s1/a1", "requests", "intact", 300, 301, 5, "alice", "looked at it"))
    (record,) = lines(tmp_path / "audit.log")
    assert record["event"] == "fuse" and record["fuse"]["replaced_by"] == "alice"


@pytest.mark.parametrize("text", ["a\nb", '"', "\x1b[2J", "\u2028", "\ud800 half", "\N{GRINNING FACE}"])
def test_any_text_stays_on_one_line_of_valid_json(tmp_path: Path, text: str) -> None:
    audit = log(tmp_path / "audit.log")
    audit.record("request", {"message": text, "principal": PRINCIPAL})
    audit.record("request", {"message": "next"})
    written = (tmp_path / "audit.log").read_bytes()
    assert written.count(b"\n") == 2 and b"\x1b" not in written
    assert json.loads(written.splitlines()[1])["message"] == "next"


def test_record_is_in_the_file_before_the_call_returns(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    for number in range(3):
        audit.record("request", {"number": number})
        assert [record["number"] for record in lines(tmp_path / "audit.log")] == list(range(number + 1))


def test_restart_appends(tmp_path: Path) -> None:
    for number in range(2):
        audit = log(tmp_path / "audit.log")
        audit.record("request", {"number": number})
        audit.close()
    assert [record["number"] for record in lines(tmp_path / "audit.log")] == [0, 1]


def test_full_file_rotates_and_the_oldest_is_forgotten(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log", rotate_bytes=100, keep=2)
    for number in range(10):
        audit.record("request", {"number": number, "pad": "x" * 40})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.log", "audit.log.1", "audit.log.2"]
    kept = [lines(tmp_path / name)[0]["number"] for name in ("audit.log.2", "audit.log.1", "audit.log")]
    assert kept == [7, 8, 9] and audit.failures == 0


def test_rotation_counts_what_an_earlier_start_wrote(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b"x" * 95 + b"\n")
    audit = log(tmp_path / "audit.log", rotate_bytes=100)
    audit.record("request", {"number": 1})
    assert (tmp_path / "audit.log.1").stat().st_size == 96
    assert len(lines(tmp_path / "audit.log")) == 1


def test_record_larger_than_the_rotation_is_written_whole(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log", rotate_bytes=100)
    audit.record("request", {"pad": "x" * 5_000})
    assert len(lines(tmp_path / "audit.log")[0]["pad"]) == 5_000


def test_rotation_that_fails_is_told_and_loses_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audit.log.1" / "in the way").mkdir(parents=True)
    audit = log(tmp_path / "audit.log", rotate_bytes=100, keep=1)
    for number in range(4):
        audit.record("request", {"number": number, "pad": "x" * 30})
    assert [record["number"] for record in lines(tmp_path / "audit.log")] == [0, 1, 2, 3]
    assert audit.failures == 0 and "cannot rotate" in capfd.readouterr().err


def test_file_is_not_readable_by_everybody(tmp_path: Path) -> None:
    log(tmp_path / "audit.log")
    assert (tmp_path / "audit.log").stat().st_mode & 0o007 == 0


def test_file_that_cannot_be_opened_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        log(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_is_told_once_counted_and_never_raised(capfd: pytest.CaptureFixture[str]) -> None:
    audit = AuditLog("/dev/full", 1_000_000, 3)
    for _ in range(3):
        audit.record("request", {"number": 1})
    told = capfd.readouterr().err
    assert audit.failures == 3
    assert told.count("\n") == 1 and "No space left on device" in told and "/dev/full" in told


def test_recovery_is_told_and_starts_on_a_line_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    audit = AuditLog(f"/dev/fd/{writer}", 10**12, 3)
    audit.record("request", {"pad": "x" * 1_000_000})
    assert audit.failures == 1 and "does not read" in capfd.readouterr().err
    cut = os.read(reader, 10**6)
    audit.record("request", {"number": 2})
    rest = os.read(reader, 10**6)
    assert not cut.endswith(b"\n") and rest == b'\n{"event":"request","number":2}\n'
    assert audit.failures == 1 and "works again" in capfd.readouterr().err
    for descriptor in (reader, writer):
        os.close(descriptor)
    audit.close()


def test_record_after_close_is_lost_and_counted(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit.log")
    audit.close()
    audit.close()
    audit.record("request", {"number": 1})
    assert audit.failures == 1


def test_stdout_gets_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    audit = AuditLog("stdout", 1, 1)
    audit.record("request", {"number": 1})
    audit.close()
    audit.record("request", {"number": 2})
    written = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in written] == [1, 2]
