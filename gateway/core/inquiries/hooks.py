"""Claude Code's hooks of type `http`: what one tells, and what it may be answered. Decides nothing.

Shapes were measured with the real client. An agent's transcript stands in the folder of its run, which is how the end
of an agent tells exactly which run it belonged to; its start does not.
"""

import re
from typing import Any

import msgspec

from gateway.core.agents.workflow_runs import Launched
from gateway.core.gate.gate import HeldCall
from gateway.core.wire.strict import parse_input

PRE_TOOL_USE = "PreToolUse"
"""The one whose answer can keep something from happening."""
USED_EVENTS = (
    PRE_TOOL_USE,
    "PostToolUse",
    "SubagentStart",
    "SubagentStop",
    "UserPromptSubmit",
    "Stop",
    "SessionEnd",
)
"""What the client is asked to send. `SessionStart` is no event for hooks of this type."""
WORKFLOW_AGENT = "workflow-subagent"
EVENT_CHARS_MAX = 64
MEMBER_CHARS_MAX = 256
"""Longest name of a tool, and id of a call."""

_run_folder = re.compile(r"[\\/]workflows[\\/](wf_[A-Za-z0-9-]{1,60})[\\/]")


class HookMalformed(ValueError):
    """What came is not what the client sends for this event; the message says where."""


class Hook(msgspec.Struct, frozen=True):
    """One event. `agent_id` None: the main agent's."""

    hook_event_name: str
    session_id: str
    agent_id: str | None = None
    agent_type: str | None = None
    cwd: str | None = None
    tool_name: str = ""
    tool_use_id: str = ""
    tool_input: msgspec.Raw = msgspec.Raw(b"{}")
    tool_response: msgspec.Raw = msgspec.Raw(b"null")
    agent_transcript_path: str | None = None

    @property
    def run(self) -> str | None:
        """What the client calls the run that the agent belonged to."""
        found = _run_folder.search(self.agent_transcript_path or "")
        return found[1] if found else None


class _Launch(msgspec.Struct, rename="camel"):
    run_id: str | None = None
    task_id: str | None = None
    workflow_name: str | None = None


_hooks = msgspec.json.Decoder(Hook)
_launches = msgspec.json.Decoder(_Launch)


def read_hook(event: str, body: bytes) -> Hook:
    """Raises `HookMalformed`."""
    try:
        hook = _hooks.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HookMalformed(str(error)) from None
    except RecursionError:
        raise HookMalformed("it is nested too deep") from None
    if hook.hook_event_name != event:
        raise HookMalformed(f"hook_event_name is {hook.hook_event_name[:EVENT_CHARS_MAX]!r}, the path says {event!r}")
    if not hook.session_id:
        raise HookMalformed("session_id is empty")
    if event == PRE_TOOL_USE and not (_is_name(hook.tool_name) and _is_name(hook.tool_use_id)):
        raise HookMalformed(f"tool_name and tool_use_id must be 1 to {MEMBER_CHARS_MAX} printable characters")
    return hook


def call_of(hook: Hook) -> HeldCall:
    """The tool call that the client is about to carry out; as at the gate one with a `problem` must be denied."""
    try:
        tool_input, problem = parse_input(bytes(hook.tool_input).decode())
    except UnicodeDecodeError:
        tool_input, problem = None, "the input is not UTF-8"
    return HeldCall(index=0, id=hook.tool_use_id, name=hook.tool_name, input=tool_input, problem=problem)


def launch_of(hook: Hook) -> Launched | None:
    """What the run is called that a call of the workflow tool has started; None: it has started none."""
    try:
        launch = _launches.decode(hook.tool_response)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if launch.run_id is None:
        return None
    return Launched(hook.tool_use_id, launch.run_id, launch.task_id, launch.workflow_name)


def denial(reason: str) -> dict[str, Any]:
    """The answer that keeps a tool call from being carried out; the model reads the reason."""
    decision = {"hookEventName": PRE_TOOL_USE, "permissionDecision": "deny", "permissionDecisionReason": reason}
    return {"hookSpecificOutput": decision}


def saying(texts: list[str]) -> dict[str, Any]:
    """The answer that shows the user something, and changes nothing.

    It is no permission: the client goes on to ask its own rules and its user.
    """
    return {"systemMessage": "\n".join(f"Ringfence: {text}" for text in texts)} if texts else {}


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MEMBER_CHARS_MAX and text.isprintable()
