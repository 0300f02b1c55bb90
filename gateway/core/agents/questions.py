"""What a tool call would start, as policies are asked about it: an agent, or the run of a script. Asks nobody."""

from collections.abc import Mapping
from typing import Any

from gateway.core.agents.spawns import text_sha256
from gateway.core.decisions.decision import Registration, Run, ScriptProfile, Spawn

SPAWNING_TOOLS = frozenset({"Agent", "Task"})
"""Claude Code's tools that start an agent; `Task` is the older name."""
WORKFLOW_TOOL = "Workflow"

Input = Mapping[str, Any]


def script_of(tool_input: Input) -> str | None:
    """The client takes `scriptPath` before `script` before `name`; only a script in the call can be read."""
    script = tool_input.get("script")
    return script if isinstance(script, str) and "scriptPath" not in tool_input else None


def run_of(
    tool_input: Input, script: str | None, profile: ScriptProfile | None, registered: Registration | None
) -> Run:
    """About a call of the workflow tool. `script` None: it is opaque; only then the call's `name` says what runs."""
    args = tool_input.get("args")
    return Run(
        name=text_of(tool_input, "name") if profile is None else profile.name,
        script_sha256=None if script is None else text_sha256(script),
        profile=profile,
        args_bytes=0 if args is None else len(str(args).encode("utf-8", "surrogatepass")),
        source="claude-code",
        resume_of=text_of(tool_input, "resumeFromRunId"),
        opaque=script is None,
        registered=registered,
    )


def spawn_of(tool_input: Input, *, parent_type: str | None, workflow: bool) -> Spawn:
    """About a call of a spawning tool by an agent of type `parent_type`; `workflow`: that one is of a script's run."""
    prompt = text_of(tool_input, "prompt")
    return Spawn(
        via="tool_use",
        agent_type=text_of(tool_input, "subagent_type"),
        model=text_of(tool_input, "model"),
        prompt_bytes=len(prompt.encode("utf-8", "surrogatepass")) if prompt is not None else None,
        prompt_sha256=None if prompt is None else text_sha256(prompt),
        label=text_of(tool_input, "description"),
        isolation=text_of(tool_input, "isolation"),
        background=flag_of(tool_input, "run_in_background"),
        parent_type=parent_type,
        workflow=workflow,
    )


def text_of(tool_input: Input, name: str) -> str | None:
    """A member that is a text."""
    value = tool_input.get(name)
    return value if isinstance(value, str) else None


def flag_of(tool_input: Input, name: str) -> bool | None:
    """A member that is true or false."""
    value = tool_input.get(name)
    return value if isinstance(value, bool) else None
