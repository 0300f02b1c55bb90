"""What the bench sends: request texts shaped as a coding agent's. Only shape and size are realistic, not the words."""

import json
import uuid
from typing import Any

MODEL = "claude-opus-4-8"
BEDROCK_MODEL = "claude-opus-5"
"""The gateway's route for it leads to the Bedrock upstream."""
MESSAGES_PATH = "/v1/messages?beta=true"
BEDROCK_PATH = f"/model/anthropic.{BEDROCK_MODEL}/invoke-with-response-stream"
BETAS = ("claude-code-20250219", "interleaved-thinking-2025-05-14", "context-management-2025-06-27")
AGENT_MESSAGES = 120
AGENT_RESULTS_BYTES = 258_000
"""All tool results together; system, tools and calls bring the body to 300 KB."""
TOOLS = ("Agent", "Bash", "Edit", "ListAgents", "Read", "ReportFindings", "Skill", "ToolSearch", "Workflow", "Write")
ENVIRONMENT = """# Environment
You have been invoked in the following environment:
 - Primary working directory: /home/dev/project
 - Is a git repository: true
 - Platform: linux
"""


def small_body(*, stream: bool, model: str = MODEL) -> dict[str, Any]:
    """About 1 KB."""
    prompt = "Explain what this function does, and what could go wrong with it. " * 12
    body: dict[str, Any] = {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": prompt}]}
    return {**body, "stream": True} if stream else body


def bedrock_body() -> dict[str, Any]:
    """The same as a client of Bedrock writes it; model and stream are in the path."""
    prompt = small_body(stream=False)
    del prompt["model"]
    return {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": BETAS, **prompt}


def agent_body(*, stream: bool) -> dict[str, Any]:
    """300 KB: system blocks, tools with schemas, a long history of tool calls and their results."""
    filler = "def function(argument):\n    return argument + 1  # a line of a file that was read\n"
    text = filler * (AGENT_RESULTS_BYTES // (AGENT_MESSAGES // 2) // len(filler))
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Refactor the module."}]},
        {"role": "system", "content": [{"type": "text", "text": ENVIRONMENT}]},
    ]
    for number in range(AGENT_MESSAGES // 2 - 1):
        call_id = f"toolu_bench_{number:04d}"
        call = {
            "type": "tool_use",
            "id": call_id,
            "name": "Read",
            "input": {"file_path": f"/home/dev/project/{number}.py"},
        }
        result = {"tool_use_id": call_id, "type": "tool_result", "content": f"# {number}\n{text}", "is_error": False}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 32000, "system": build_system(), "tools": build_tools()}
    body["messages"] = messages
    body["metadata"] = {"user_id": json.dumps({"device_id": "0" * 64, "account_uuid": "", "session_id": ""})}
    return {**body, "stream": True} if stream else body


def build_system() -> list[dict[str, Any]]:
    cached = {"cache_control": {"type": "ephemeral"}}
    return [
        {"type": "text", "text": "You are an agent.", **cached},
        {"type": "text", "text": "Work with care, and say what you did. " * 180, **cached},
    ]


def build_tools() -> list[dict[str, Any]]:
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "description": "x" * 80} for name in "abcdefgh"},
    }
    return [{"name": name, "description": "What the tool does. " * 60, "input_schema": schema} for name in TOOLS]


def build_request(body: dict[str, Any], answer: str, credential: str, *, path: str = MESSAGES_PATH) -> str:
    """One HTTP request with a session of its own, as it goes over the wire."""
    text = json.dumps(body, separators=(",", ":"))
    version = ["anthropic-version: 2023-06-01", f"anthropic-beta: {','.join(BETAS)}"] if path == MESSAGES_PATH else []
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Accept: application/json",
        f"Authorization: Bearer {credential}",
        "User-Agent: claude-cli/2.1.330 (external, cli)",
        *version,
        f"X-Claude-Code-Session-Id: {uuid.uuid4()}",
        "x-app: cli",
        f"x-bench-answer: {answer}",
        f"Content-Length: {len(text)}",
    ]
    return "\r\n".join(head) + "\r\n\r\n" + text
