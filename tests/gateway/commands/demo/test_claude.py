"""The real client's output is understood line by line; the client sees nothing of this machine and only loopback."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.demo.claude import QUIET, ClaudeCode, Listener, find_client
from gateway.commands.demo.narration import Narrator
from gateway.commands.demo.player import Call
from gateway.commands.output import CommandFailed

SPAWN = {"type": "tool_use", "id": "t1", "name": "Agent", "input": {"description": "Audit 1", "prompt": "go"}}


def narrator() -> tuple[Narrator, io.StringIO]:
    written = io.StringIO()
    return Narrator(Console(file=written, width=140)), written


def heard(*lines: dict[str, Any]) -> tuple[Listener, str]:
    speaker, written = narrator()
    listener = Listener(speaker)
    for line in lines:
        listener.hear(json.dumps(line).encode())
    return listener, written.getvalue()


def message(kind: str, *blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": kind, "message": {"content": list(blocks)} | fields}


def test_calls_and_last_words_are_kept() -> None:
    listener, told = heard(message("assistant", SPAWN), {"type": "result", "result": "Done.", "is_error": False})
    assert listener.ending.calls == [Call("Agent", SPAWN["input"])] and "allowed  Agent: Audit 1" in told
    assert (listener.ending.text, listener.ending.refusal) == ("Done.", None)


def test_refusal_ends_the_session_and_is_told_once() -> None:
    refusal = "API Error: Request rejected (429)"
    own_words = message("assistant", {"type": "text", "text": refusal}, model="<synthetic>")
    listener, told = heard(own_words, {"type": "result", "result": refusal, "is_error": True})
    assert listener.ending.refusal == refusal and told.count(refusal) == 1


def test_words_of_a_sub_agent_are_told_as_its_own() -> None:
    said = message("assistant", {"type": "text", "text": "Nothing found."}) | {"parent_tool_use_id": "t1"}
    told = heard(message("assistant", SPAWN), said)[1]
    assert told.splitlines()[-1].split(maxsplit=2) == ["Audit", "1", "Nothing found."]


def test_refused_sub_agent_is_told_and_prompts_are_not() -> None:
    refused = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "rejected (429); more"}
    told = heard(message("assistant", SPAWN), message("user", {"type": "text", "text": "a prompt"}, refused))[1]
    assert "REFUSED  rejected (429)" in told and "a prompt" not in told and "more" not in told


@pytest.mark.parametrize(
    "line", [b"", b"npm warn", b"[1]", b'{"type":"assistant"}', b'{"type":"assistant","message":[]}']
)
def test_line_that_means_nothing_is_passed_over(line: bytes) -> None:
    speaker, written = narrator()
    listener = Listener(speaker)
    listener.hear(line)
    assert listener.ending.calls == [] and written.getvalue() == ""


def test_client_sees_its_home_and_the_gateway_only(tmp_path: Path) -> None:
    client = ClaudeCode(Path("/x/2.1.330/claude"), "http://127.0.0.1:1", "rf_secret", tmp_path, narrator()[0])
    seen = client.environment()
    assert client.name == "Claude Code 2.1.330" and "rf_secret" not in repr(client)
    own = {"PATH", "HOME", "TMPDIR", "CLAUDE_CODE_TMPDIR", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"}
    assert set(seen) - set(QUIET) == own
    assert {seen["HOME"], seen["TMPDIR"], seen["CLAUDE_CODE_TMPDIR"]} == {str(tmp_path)}


def test_client_is_never_pointed_off_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this machine"):
        ClaudeCode(Path("/x/claude"), "https://api.anthropic.com", "rf_secret", tmp_path, narrator()[0])


def test_client_that_cannot_be_run_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot be run"):
        find_client({"RINGFENCE_CLIENT": str(tmp_path / "claude")})
    (tmp_path / "claude").touch(mode=0o755)
    assert find_client({"RINGFENCE_CLIENT": str(tmp_path / "claude")}) == tmp_path / "claude"
