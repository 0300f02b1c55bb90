"""What becomes of a tool call that the gate holds: its queries, its fuse, its approval, its record.

Bytes are the gate's business.
"""

from dataclasses import dataclass, field
from typing import Literal

from gateway.boards import Boards
from gateway.boards.approvalboard import NOTHING_MORE, Shown
from gateway.context import RequestContext, ToolCallOutcome
from gateway.core.agents.lineage import PendingMessage, PendingRun, PendingSpawn
from gateway.core.agents.questions import (
    SPAWNING_TOOLS,
    WORKFLOW_TOOL,
    flag_of,
    run_of,
    script_of,
    spawn_of,
    text_of,
    text_sha256,
)
from gateway.core.decisions.decision import Action, Decision, Spawn, ToolCall, denied
from gateway.core.decisions.seencalls import SeenCalls, seen_call
from gateway.core.fuses import fuse
from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import HeldCall
from gateway.core.oversight.approvals import is_approved, unconditional
from gateway.decider import Decider
from gateway.ports import ScriptProfiler, ToolClassifier, ToolDescriber

MESSAGE_TOOL = "SendMessage"
"""Wakes an agent that was there before."""
CARRIED_OUT = frozenset({"require_approval", "log_full"})
"""Obligations that can be met for a tool call, and for the run that it would start."""
SPAWN_CARRIED_OUT = CARRIED_OUT | {"set_model"}
"""The agent's first request asks again, and is routed then."""

Approval = Literal["asked", "remembered", "given"]
"""Where a call needs a person's: somebody is asked and waited for; only one of before counts; this call has it."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Decides held tool calls."""

    decider: Decider
    boards: Boards
    classify: ToolClassifier
    describe: ToolDescriber
    profile: ScriptProfiler
    seen: SeenCalls = field(default_factory=SeenCalls)
    """What was decided of the latest calls."""
    approval: Approval = "asked"

    async def decide(self, ctx: RequestContext, call: HeldCall) -> Denial | None:
        """None: the call may reach the client. Otherwise how to deny it. Counts and records it either way.

        Raises `Refused(STOPPED)`: the agent was stopped, nothing more may reach the client.
        """
        assert ctx.agent is not None
        await self.boards.controls.clear(ctx)
        decision_id = f"{ctx.id}.{len(ctx.tool_calls) + 1}"
        for used in ctx.agent.counters:
            used.tool_calls += 1
        action = self._action(ctx, call)
        decision = self._refusal(ctx, call)
        if decision is not None:
            self.decider.record(ctx, action, decision, decision_id=decision_id)
        else:
            decision = await self._ask(ctx, action, decision_id)
            blown = self._blown(ctx) if decision.allow else None
            if blown is not None:  # while a person or the engine took their time
                decision = blown
                self.decider.record(ctx, action, decision, decision_id=decision_id)
        await self.boards.controls.clear(ctx)
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
        seen = seen_call(call.name, call.input, allowed=decision.allow, message=decision.message, decision=decision_id)
        self.seen.remember(ctx.agent.session.id, call.id, seen)
        if not decision.allow:
            for used in ctx.agent.counters:
                used.denials += 1
            return Denial(reason=decision.message, decision=decision_id)
        self._expect(ctx, action, approved=is_approved(decision))
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
        if ctx.wrapping_up:
            return denied("fuse/wrap_up", "this agent's last request is for its summary; it may call no more tools")
        if ctx.streaks is not None:
            ctx.streaks = ctx.streaks.extended(call.name, call.input)
        return self._blown(ctx)

    def _blown(self, ctx: RequestContext) -> Decision | None:
        assert ctx.agent is not None
        blown = self.boards.fuses.check(ctx.agent, ctx.streaks)
        return None if blown is None else denied(f"fuse/{blown.meter}", fuse.message(blown))

    async def _ask(self, ctx: RequestContext, action: ToolCall, decision_id: str) -> Decision:
        """The tool call's own query, then the one about what it would start; the first denial counts."""
        decision = await self._decide(ctx, action, decision_id)
        assert ctx.agent is not None
        if decision.allow and action.tool in SPAWNING_TOOLS:
            is_scripted = ctx.agent.run is not None
            spawn = spawn_of(action.input, parent_type=ctx.agent.own_type, workflow=is_scripted)
            return await self._decide(ctx, spawn, decision_id, shown=Shown(text_of(action.input, "prompt")))
        if decision.allow and action.tool == WORKFLOW_TOOL:
            script = script_of(action.input)
            profile = None if script is None else self.profile(script)
            registered = None if script is None else self.boards.approvals.registered(text_sha256(script))
            run = run_of(action.input, script, profile, registered)
            return await self._decide(ctx, run, decision_id, shown=Shown(script, action.input.get("args")))
        return decision

    async def _decide(
        self,
        ctx: RequestContext,
        action: Action,
        decision_id: str,
        *,
        shown: Shown = NOTHING_MORE,
    ) -> Decision:
        carried_out = SPAWN_CARRIED_OUT if isinstance(action, Spawn) else CARRIED_OUT
        asked_of = self.decider.engine.revision
        decision = await self.decider.decide(ctx, action, decision_id=decision_id, carried_out=carried_out)
        approvals = self.boards.approvals
        if self.approval == "remembered":
            return await approvals.remembered(ctx, action, decision, decision_id=decision_id)
        if self.approval == "given":
            return unconditional(decision)
        decision = await approvals.approved(ctx, action, decision, decision_id=decision_id, shown=shown)
        if decision.allow and self.decider.engine.revision != asked_of:
            again = await self.decider.decide(ctx, action, decision_id=decision_id, carried_out=carried_out)
            return decision if again.allow else again
        return decision

    def _expect(self, ctx: RequestContext, action: ToolCall, *, approved: bool) -> None:
        """What the call that goes to the client now will bring to life."""
        node, tool_input = ctx.agent, action.input
        assert node is not None
        node.touch(action.facts, action.tool_class)
        if action.tool in SPAWNING_TOOLS:
            node.session.expect(
                PendingSpawn(
                    tool_use_id=action.tool_use_id,
                    parent=node.id,
                    agent_type=text_of(tool_input, "subagent_type"),
                    model=text_of(tool_input, "model"),
                    prompt=text_of(tool_input, "prompt") or "",
                    background=flag_of(tool_input, "run_in_background"),
                    approved=approved,
                )
            )
        elif action.tool == WORKFLOW_TOOL:
            script = script_of(tool_input)
            digest = None if script is None else text_sha256(script)
            name = text_of(tool_input, "name") if script is None else self.profile(script).name
            node.session.launch(
                PendingRun(
                    tool_use_id=action.tool_use_id, script_sha256=digest, script=script, parent=node.id, name=name
                )
            )
        elif action.tool == MESSAGE_TOOL:
            node.session.wake(
                PendingMessage(tool_use_id=action.tool_use_id, message=text_of(tool_input, "message") or "")
            )
