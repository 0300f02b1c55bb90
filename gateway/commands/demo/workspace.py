"""The tools of the demo's own agent, carried out for real inside one folder. Not a shell: `Bash` knows `ls` alone.

The demo must stay harmless also when a denied command gets through, so a command that is not known is not run; that it
came this far is a broken promise, which the scene reports.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_CHARS_MAX = 20_000
AGENT_TOOL = "Agent"


class ToolFailed(Exception):
    """A tool could not do what it was asked for; the message is its result."""


def tool_definition(name: str, description: str, /, **fields: str) -> dict[str, Any]:
    """A tool as the Messages API takes it; all fields are required texts."""
    properties = {field: {"type": "string", "description": meaning} for field, meaning in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return {"name": name, "description": description, "input_schema": schema}


TOOLS = [
    tool_definition("Read", "Read a file of the workspace.", file_path="Absolute path"),
    tool_definition(
        "Edit",
        "Replace a text that stands once in a file.",
        file_path="Absolute path",
        old_string="Text to replace",
        new_string="Text to put there",
    ),
    tool_definition("Bash", "Run a command in the workspace.", command="The command", description="What it is for"),
    tool_definition(
        AGENT_TOOL,
        "Start an agent on a part of the work.",
        description="A few words",
        prompt="Its task",
        subagent_type="Its type",
    ),
]


def use_tool(workspace: Path, tool: str, tool_input: Mapping[str, Any]) -> str:
    """Carry one call out; its result. Raises ToolFailed."""
    if tool == "Read":
        return _file(workspace, tool_input).read_text()[:FILE_CHARS_MAX]
    if tool == "Edit":
        return _edit(_file(workspace, tool_input), str(tool_input["old_string"]), str(tool_input["new_string"]))
    if tool == "Bash" and tool_input.get("command") == "ls":
        return "\n".join(sorted(path.name for path in workspace.iterdir()))
    if tool == "Bash":
        raise ToolFailed("this agent runs no other command than ls")
    raise ToolFailed(f"No such tool available: {tool}")


def _file(workspace: Path, tool_input: Mapping[str, Any]) -> Path:
    path = Path(str(tool_input.get("file_path"))).resolve()
    if not path.is_relative_to(workspace.resolve()) or not path.is_file():
        raise ToolFailed(f"{path} is not a file of the workspace")
    return path


def _edit(path: Path, old: str, new: str) -> str:
    content = path.read_text()
    if content.count(old) != 1:
        raise ToolFailed(f"{old!r} must stand in {path.name} once, it stands there {content.count(old)} times")
    path.write_text(content.replace(old, new))
    return f"{path.name} was changed"
