"""What becomes of a tool call that the gate holds: its queries, its fuse, its record. Bytes are the gate's business."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gateway.context import RequestContext, ToolCallOutcome
from gateway.core import fuse
from gateway.core.decision import Action, Decision, Run, Spawn, ToolCall, denied
from gateway.core.denial import Denial
from gateway.core.gate import HeldCall
from gateway.core.lineage import PROMPT_CHARS, PendingSpawn
from gateway.decider import Decider
from gateway.fuseboard import FuseBoard
from gateway.ports import ScriptProfiler, ToolClassifier, ToolDescriber

SPAWNING_TOOLS = frozenset({"Agent", "Task"})
"""Claude Code's tools that start an agent; `Task` is the older name."""
WORKFLOW_TOOL = "Workflow"
CARRIED_OUT = frozenset({"log_full"})
"""Obligations that can be met for a tool call."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Decides held tool calls."""

    decider: Decider
    fuses: FuseBoard
    classify: ToolClassifier
    describe: ToolDescriber
    profile: ScriptProfiler

    async def decide(self, ctx: RequestContext, call: HeldCall) -> Denial | None:
        """None: the call may reach the client. Otherwise how to deny it. Counts and records it either way."""
        assert ctx.agent is not None
        decision_id = f"{ctx.id}.{len(ctx.tool_calls) + 1}"
        for used in ctx.agent.counters:
            used.tool_calls += 1
        action = self._action(ctx, call)
        decision = self._refusal(ctx, call)
        if decision is not None:
            self.decider.record(ctx, action, decision, decision_id=decision_id)
        else:
            decision = await self._ask(ctx, action, decision_id)
        ctx.tool_calls.append(
            ToolCallOutcome(
                tool=call.name,
                tool_use_id=call.id,
                tool_class=action.tool_class,
                allowed=decision.allow,
                decision=decision_id,
                message=decision.message,
            )
        )
        if not decision.allow:
            for used in ctx.agent.counters:
                used.denials += 1
            return Denial(reason=decision.message, decision=decision_id)
        if call.name in SPAWNING_TOOLS:
            ctx.agent.session.expect(_pending(action.input))
        return None

    def _action(self, ctx: RequestContext, call: HeldCall) -> ToolCall:
        assert ctx.lineage is not None
        tool_class, server = self.classify(call.name)
        tool_input = call.input or {}
        return ToolCall(
            tool=call.name,
            input=tool_input,
            tool_use_id=call.id,
            server=server,
            tool_class=tool_class,
            facts=self.describe(call.name, tool_input, ctx.lineage.workspace),
        )

    def _refusal(self, ctx: RequestContext, call: HeldCall) -> Decision | None:
        """A denial that needs no policy: the call cannot be read, or a fuse is blown."""
        assert ctx.agent is not None
        if call.input is None:
            return denied("gate/unreadable", f"the call of {call.name} cannot be decided: {call.problem}")
        blown = self.fuses.check(ctx.agent, ctx.streaks.extended(call.name, call.input) if ctx.streaks else None)
        return None if blown is None else denied(f"fuse/{blown.meter}", fuse.message(blown))

    async def _ask(self, ctx: RequestContext, action: ToolCall, decision_id: str) -> Decision:
        """The tool call's own query, then the one about what it would start; the first denial counts."""
        decision = await self._decide(ctx, action, decision_id)
        if decision.allow and action.tool in SPAWNING_TOOLS:
            return await self._decide(ctx, _spawn(action.input), decision_id)
        if decision.allow and action.tool == WORKFLOW_TOOL:
            return await self._decide(ctx, self._run(action.input), decision_id)
        return decision

    async def _decide(self, ctx: RequestContext, action: Action, decision_id: str) -> Decision:
        return await self.decider.decide(ctx, action, decision_id=decision_id, carried_out=CARRIED_OUT)

    def _run(self, tool_input: dict[str, Any]) -> Run:
        """The client takes `scriptPath` before `script` before `name`; only a script in the call can be read."""
        script = tool_input.get("script")
        opaque = not isinstance(script, str) or "scriptPath" in tool_input
        args = tool_input.get("args")
        return Run(
            name=_text(tool_input, "name"),
            script_sha256=None if opaque else sha256(str(script).encode()).hexdigest(),
            profile=None if opaque else self.profile(str(script)),
            args_bytes=0 if args is None else len(str(args).encode()),
            source="claude-code",
            resume_of=_text(tool_input, "resumeFromRunId"),
            opaque=opaque,
        )


def _spawn(tool_input: dict[str, Any]) -> Spawn:
    prompt = _text(tool_input, "prompt")
    background = tool_input.get("run_in_background")
    return Spawn(
        via="tool_use",
        agent_type=_text(tool_input, "subagent_type"),
        model=_text(tool_input, "model"),
        prompt_bytes=len(prompt.encode()) if prompt is not None else None,
        label=_text(tool_input, "description"),
        isolation=_text(tool_input, "isolation"),
        background=background if isinstance(background, bool) else None,
    )


def _pending(tool_input: dict[str, Any]) -> PendingSpawn:
    prompt = _text(tool_input, "prompt") or ""
    return PendingSpawn(agent_type=_text(tool_input, "subagent_type"), prompt=prompt[:PROMPT_CHARS])


def _text(tool_input: dict[str, Any], name: str) -> str | None:
    value = tool_input.get(name)
    return value if isinstance(value, str) else None
