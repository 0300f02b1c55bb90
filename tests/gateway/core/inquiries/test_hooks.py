"""Reading the client's hooks, and the shapes of answers."""

import json
from typing import Any

import pytest

from gateway.core.agents.workflow_runs import Launched
from gateway.core.inquiries.hooks import HookMalformed, call_of, denial, launch_of, read_hook, saying

BASE = {"session_id": "s", "cwd": "/home/dev/app", "transcript_path": "/t.jsonl", "permission_mode": "default"}
BASH = {"tool_name": "Bash", "tool_use_id": "toolu_1", "tool_input": {"command": "ls"}}
LAUNCHED = {"status": "async_launched", "taskId": "wq1", "runId": "wf_1-2", "workflowName": "scan", "summary": "s"}


def body(event: str, **fields: Any) -> bytes:
    return json.dumps(BASE | {"hook_event_name": event} | fields).encode()


def test_call_is_read_as_the_gate_reads_one() -> None:
    call = call_of(read_hook("PreToolUse", body("PreToolUse", **BASH)))
    assert (call.id, call.name, call.input, call.problem) == ("toolu_1", "Bash", {"command": "ls"}, None)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (b'{"command":"ls","command":"rm"}', "repeats a key"),
        (b"[1]", "not a JSON object"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper than 100 levels"),
    ],
)
def test_input_that_cannot_be_decided_is_a_problem(written: bytes, problem: str) -> None:
    whole = body("PreToolUse", **BASH).replace(b'{"command": "ls"}', written)
    call = call_of(read_hook("PreToolUse", whole))
    assert call.input is None and problem in (call.problem or "")


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        body("Stop", **BASH),
        body("PreToolUse", **BASH).replace(b'"s"', b'""'),
        body("PreToolUse", **BASH | {"session_id": 7}),
        body("PreToolUse", **BASH | {"tool_name": ""}),
        body("PreToolUse", **BASH | {"tool_use_id": "x" * 257}),
        body("PreToolUse", **BASH | {"tool_use_id": "a\nb"}),
        body("PreToolUse", tool_name="Bash"),
        body("PreToolUse", **BASH | {"tool_input": {"command": "\ud800"}}),
    ],
)
def test_what_the_client_does_not_send_is_malformed(malformed: bytes) -> None:
    with pytest.raises(HookMalformed):
        read_hook("PreToolUse", malformed)


def test_result_of_a_workflow_call_tells_what_its_run_is_called() -> None:
    hook = read_hook("PostToolUse", body("PostToolUse", tool_use_id="toolu_1", tool_response=LAUNCHED))
    assert launch_of(hook) == Launched("toolu_1", "wf_1-2", "wq1", "scan")


@pytest.mark.parametrize("response", [None, "failed", {"status": "x"}, {"runId": 7}, [LAUNCHED]])
def test_result_without_a_run_tells_none(response: Any) -> None:
    assert launch_of(read_hook("PostToolUse", body("PostToolUse", tool_response=response))) is None


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("/home/dev/.claude/projects/p/s/subagents/workflows/wf_1a-2b/agent-a1.jsonl", "wf_1a-2b"),
        ("C:\\Users\\dev\\subagents\\workflows\\wf_1a-2b\\agent-a1.jsonl", "wf_1a-2b"),
        ("/home/dev/.claude/projects/p/s/subagents/agent-a1.jsonl", None),
        ("/home/dev/workflows/wf_1a-2b.jsonl", None),
        (None, None),
    ],
)
def test_transcript_of_an_agent_tells_its_run(path: str | None, run: str | None) -> None:
    assert read_hook("SubagentStop", body("SubagentStop", agent_transcript_path=path)).run == run


def test_answers_deny_or_tell_and_never_permit() -> None:
    assert denial("no")["hookSpecificOutput"] == {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": "no",
    }
    assert saying([]) == {} and saying(["a", "b"]) == {"systemMessage": "Ringfence: a\nRingfence: b"}
