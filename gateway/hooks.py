"""What the client's hooks tell and what they are answered: a second line behind the gate, exact joins, words for users.

    PreToolUse             the gate's decision again, and no second count; a call that no gate of this process saw is
                           decided here, and counted
    PostToolUse            of the workflow tool: what the client calls the run
    SubagentStart, -Stop   which run an agent belongs to
    UserPromptSubmit, Stop the user is shown what stands against the session, and which limits are near, each once

How far it reaches: the gate in the stream holds without any hook. A client that sends none loses what they bring; one
that lies in them moves its own agents from one run of its session to another, and nothing more. No answer grants what
the client would ask its user about.
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.boards import Boards
from gateway.claimants import claim, control_on, fuses_on, look_up, meet
from gateway.context import RequestContext
from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import AgentNode
from gateway.core.agents.questions import WORKFLOW_TOOL
from gateway.core.decisions.seencalls import SeenCall, SeenCalls, call_digest, call_outline
from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import HeldCall
from gateway.core.inquiries.hooks import (
    PRE_TOOL_USE,
    USED_EVENTS,
    WORKFLOW_AGENT,
    Hook,
    HookMalformed,
    call_of,
    denial,
    launch_of,
    read_hook,
    saying,
)
from gateway.core.inquiries.tidings import Told, fuse_texts, limit_texts
from gateway.core.money.accounts import accounts_of
from gateway.core.oversight.controls import message
from gateway.errors import GatewayError, Reason
from gateway.lineages import Lineages
from gateway.ports import Clock, Ledger, LineageStore

OTHER = "other"

Counted = Callable[[str, str], None]
"""Told of each event and what came of it: passed, denied, malformed, refused, failed."""
_log = logging.getLogger(__name__)


class Calls(Protocol):
    """Decides a tool call and counts it; waits for nobody."""

    async def decide(self, ctx: RequestContext, call: HeldCall) -> Denial | None: ...


class Outlives(Ledger, LineageStore, Protocol):
    """What of the store is asked here."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Answers hooks. `shared`: other gateways serve requests of the same sessions, and their gates see calls too."""

    lineages: Lineages
    boards: Boards
    calls: Calls
    passed_calls: Calls
    """Decides those that the gate let pass in other words: an approval that was needed was given there."""
    seen: SeenCalls
    store: Outlives
    clock: Clock
    counted: Counted
    shared: bool
    told: Told = field(default_factory=Told)

    async def answer(self, ctx: RequestContext, event: str, body: bytes) -> dict[str, Any]:
        """The JSON answer. Whatever is wrong, the client goes on; but no tool call that cannot be decided."""
        event = event if event in USED_EVENTS else OTHER
        if event == OTHER:
            self.counted(OTHER, "passed")
            return {}
        try:
            ctx.source, hook = "hook", read_hook(event, body)
            claim(ctx, hook.session_id, agent=hook.agent_id)
            answer = await self._answer(ctx, event, hook)
        except HookMalformed as error:
            ctx.reason, ctx.message = Reason.BODY_MALFORMED, f"{event}: {error}"
            _log.warning("a hook of %s cannot be read: %s", _who(ctx), ctx.message)
            return self._failed(event, "malformed", f"Ringfence cannot read what the client says of this call: {error}")
        except GatewayError as error:
            ctx.reason, ctx.message = error.reason, error.message
            return self._failed(event, "refused", f"Ringfence refuses this call: {error.message}")
        self.counted(event, "denied" if "hookSpecificOutput" in answer else "passed")
        return answer

    def failed(self, ctx: RequestContext, event: str) -> dict[str, Any]:
        """The answer when there is none: nothing that could be decided is let go."""
        why = f"Ringfence could not decide this call; the gateway's log says why, at {ctx.id}"
        return self._failed(event if event in USED_EVENTS else OTHER, "failed", why)

    def _failed(self, event: str, outcome: str, why: str) -> dict[str, Any]:
        self.counted(event, outcome)
        return denial(why) if event == PRE_TOOL_USE else {}

    async def _answer(self, ctx: RequestContext, event: str, hook: Hook) -> dict[str, Any]:
        node = look_up(self.lineages, ctx)
        ctx.client_name, ctx.client_version = node.session.client or ctx.client_name, ""
        match event:
            case "PreToolUse":
                return await self._before_tool(ctx, hook)
            case "PostToolUse":
                launch = launch_of(hook) if hook.tool_name == WORKFLOW_TOOL else None
                if launch is not None:
                    self.lineages.tree.hear(node.session, launch, self.clock.unix_ms())
            case "SubagentStart":
                self._agent_starts(node, hook)
            case "SubagentStop":
                if hook.agent_id is not None and hook.run is not None:
                    self.lineages.tree.join_hook(hook.session_id, hook.agent_id, hook.run)
            case "SessionEnd":
                self.told.forget(hook.session_id)
            case _:
                return saying(self.told.news(hook.session_id, await self._texts(ctx, node)))
        return {}

    async def _before_tool(self, ctx: RequestContext, hook: Hook) -> dict[str, Any]:
        """A stop since the call was passed on ends it; a hold ends only calls that were not passed on before."""
        call = call_of(hook)
        seen = self.seen.find(hook.session_id, call.id)
        same = seen if seen is not None and seen.digest == call_digest(call.name, call.input) else None
        control = control_on(self.boards.controls, ctx)
        if control is not None and (control.state == "stopped" or same is None):
            ctx.reason = Reason.STOPPED if control.state == "stopped" else Reason.HELD
            ctx.message = message(control)
            return denial(ctx.message)
        if same is not None:
            return {} if same.allowed else denial(_worded(call.name, same.message, same.decision))
        return await self._decide(ctx, hook, call, seen)

    async def _decide(self, ctx: RequestContext, hook: Hook, call: HeldCall, seen: SeenCall | None) -> dict[str, Any]:
        """Counts what no gate has counted."""
        node = await meet(self.lineages, ctx)
        self._note(ctx, node, hook)
        if seen is not None or self.shared:
            ctx.agent = copy.copy(node)
            ctx.agent.counters = ()
        is_passed = seen is not None and seen.allowed and seen.outline == call_outline(call.name, call.input)
        found = await (self.passed_calls if is_passed else self.calls).decide(ctx, call)
        self.store.save_agent(node.record())
        return {} if found is None else denial(_worded(call.name, found.reason, found.decision))

    def _note(self, ctx: RequestContext, node: AgentNode, hook: Hook) -> None:
        """What only a hook tells of an agent that made no request."""
        if node.agent_type is None and node.id != MAIN_AGENT and hook.agent_type != WORKFLOW_AGENT:
            node.agent_type = hook.agent_type
        if node.workspace is None and hook.cwd is not None and hook.cwd.startswith("/"):
            node.workspace = hook.cwd
        ctx.lineage = self.lineages.lineage_of(ctx, node)

    def _agent_starts(self, node: AgentNode, hook: Hook) -> None:
        """Of a script's agent it is certain which run it belongs to while only one is open."""
        runs = node.session.runs.open
        if hook.agent_id is not None and hook.agent_type == WORKFLOW_AGENT and len(runs) == 1:
            self.lineages.tree.join_hook(hook.session_id, hook.agent_id, runs[0].id)

    async def _texts(self, ctx: RequestContext, node: AgentNode) -> list[str]:
        """What the user should know of the session as it stands."""
        assert ctx.principal is not None and ctx.lineage is not None
        control = control_on(self.boards.controls, ctx)
        accounts = accounts_of(ctx.principal, node.session.id, agent=node.id, run=ctx.lineage.run)
        views = await self.store.standing(accounts, self.clock.unix_ms())
        texts = [] if control is None else [message(control)]
        return [*texts, *fuse_texts(fuses_on(self.boards.fuses, node)), *limit_texts(views)]


def _worded(tool: str, reason: str, decision: str) -> str:
    return f"Ringfence denied this call of {tool}: {reason}. The decision ({decision}) is final for this call."


def _who(ctx: RequestContext) -> str:
    return ctx.principal.credential if ctx.principal is not None else "nobody"
