"""Decisions for a harness whose model requests do not pass through the gateway: the same policies and queries.

What it may not know: nothing is counted, held or paid by a decision. Meters are those of what did pass through here,
and what must be done for a decision to hold is the harness's to do: it names what it can do, anything else denies.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.boards import Boards
from gateway.claimants import claim, control_on, fuses_on, look_up
from gateway.context import RequestContext
from gateway.contract import MAIN_AGENT
from gateway.core.agents.questions import SPAWNING_TOOLS, WORKFLOW_TOOL, run_of, script_of, spawn_of, text_sha256
from gateway.core.decisions.decision import Action, Decision, Principal, Run, ToolCall, denied
from gateway.core.fuses import fuse
from gateway.core.inquiries.evaluations import (
    Evaluation,
    Resource,
    asked_call,
    asked_infer,
    asked_script,
    asked_spawn,
    is_own,
    read_evaluation,
)
from gateway.core.inquiries.subject import Asked, Contradiction, Known, identify
from gateway.core.oversight import controls
from gateway.core.wire.names import Catalogue
from gateway.core.wire.spans import Malformed
from gateway.decider import Decider
from gateway.errors import GatewayError, Reason
from gateway.lineages import Lineages
from gateway.ports import ScriptProfiler, ToolClassifier, ToolDescriber

APPROVAL = "require_approval"
"""What was approved before needs nothing of the harness."""
OURS = frozenset({APPROVAL, "log_full"})


class People(Protocol):
    """Everybody who may connect now, and the team of each configured user."""

    def principals(self) -> tuple[Principal, ...]: ...
    @property
    def teams(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What finds out what a question leaves to the gateway."""

    catalogue: Catalogue
    classify: ToolClassifier
    describe: ToolDescriber
    profile: ScriptProfiler


@dataclass(frozen=True, slots=True)
class Outside:
    """Answers questions."""

    decider: Decider
    boards: Boards
    lineages: Lineages
    people: People
    facts: Facts

    async def evaluate(self, ctx: RequestContext, body: bytes) -> dict[str, Any]:
        """The answer as the API has it.

        Raises:
            Malformed: with the place.
            GatewayError: FORBIDDEN (only an operator's credential asks for others), SESSION_TAKEN.
        """
        evaluation = read_evaluation(body)
        ctx.source = "api"
        asking = copy.copy(ctx)  # the request's own record names who asked
        asking.principal = self._principal(ctx, evaluation)
        self._place(asking, evaluation)
        ctx.lineage = asking.lineage
        ctx.decision = decision = await self._decide(asking, evaluation)
        ctx.message = "" if decision.allow else decision.message
        return {
            "decision": decision.allow,
            "context": {
                "id": ctx.id,
                "reasons": decision.reasons,
                "obligations": decision.obligations if decision.allow else (),
                "limits": decision.limits if decision.allow else (),
                "revision": decision.revision,
            },
        }

    def _principal(self, ctx: RequestContext, evaluation: Evaluation) -> Principal:
        """For whom is asked. Others than itself only an operator speaks for, and then the gateway says who they are."""
        caller, subject = ctx.principal, evaluation.subject
        assert caller is not None
        if is_own(subject, caller):
            return caller
        if not caller.operator:
            message = f"credential {caller.credential} asks for itself only; use an operator's to ask for others"
            raise GatewayError(Reason.FORBIDDEN, message)
        told = subject.properties
        asked = Asked(
            user=subject.id if subject.type == "user" else None,
            credential=subject.id if subject.type == "credential" else told.credential,
            team=told.team,
            session=evaluation.context.session,
        )
        try:
            who, _ = identify(asked, Known(self.people.principals(), self.people.teams, self.lineages.tree.session))
        except Contradiction as error:
            raise Malformed("subject", str(error)) from None
        if who.user is None:
            raise Malformed("subject.id", f"credential {subject.id[:64]} is not known here")
        return Principal(
            org=caller.org,
            team=who.team,
            user=who.user,
            credential=who.credential or "",
            groups=who.groups,
            tags=who.tags,
        )

    def _place(self, asking: RequestContext, evaluation: Evaluation) -> None:
        """Of an agent that was seen here, what was seen counts; of another one, what the harness says."""
        told = evaluation.context
        claim(asking, told.session, agent=told.agent, parent=told.parent, run=told.run)
        node = look_up(self.lineages, asking)
        lineage = asking.lineage
        assert lineage is not None
        is_seen = node.session.agents.get(node.id) is node
        asking.lineage = msgspec.structs.replace(
            lineage,
            agent_type=lineage.agent_type or told.agent_type,
            workspace=lineage.workspace or told.workspace,
            depth=lineage.depth if is_seen or told.depth is None else told.depth,
        )

    async def _decide(self, asking: RequestContext, evaluation: Evaluation) -> Decision:
        """The first denial counts; a tool call that starts something is two questions, as at the gate."""
        can = frozenset(evaluation.context.can)
        action = self._action(asking, evaluation)
        against = self._against(asking)
        if against is not None:
            self.decider.record(asking, action, against, decision_id=asking.id)
            return against
        decision = await self._ask(asking, action, can)
        started = self._started(asking, action) if decision.allow else None
        if started is None:
            return decision
        second = await self._ask(asking, started, can)
        return msgspec.structs.replace(
            second,
            reasons=(*decision.reasons, *second.reasons) if second.allow else second.reasons,
            obligations=(*decision.obligations, *second.obligations),
            limits=(*decision.limits, *second.limits),
        )

    async def _ask(self, asking: RequestContext, action: Action, can: frozenset[str]) -> Decision:
        decision = await self.decider.decide(asking, action, decision_id=asking.id, carried_out=can | OURS)
        if APPROVAL in can:
            return decision
        return await self.boards.approvals.remembered(asking, action, decision, decision_id=asking.id)

    def _against(self, asking: RequestContext) -> Decision | None:
        """What stands against the agent, whatever policies say."""
        assert asking.agent is not None
        control = control_on(self.boards.controls, asking)
        if control is not None:
            return denied(f"control/{control.state}", controls.message(control))
        blown = [record for record in fuses_on(self.boards.fuses, asking.agent) if record.state == "blown"]
        return denied(f"fuse/{blown[0].meter}", fuse.message(blown[0])) if blown else None

    def _action(self, asking: RequestContext, evaluation: Evaluation) -> Action:
        """Raises `Malformed`."""
        resource = evaluation.resource
        match evaluation.action.name:
            case "infer":
                return asked_infer(resource, self.facts.catalogue.canonical(resource.id))
            case "spawn":
                return asked_spawn(resource, self._own_type(asking))
            case "tool_call":
                return self._call(asking, resource)
            case _:
                return self._run(resource)

    def _call(self, asking: RequestContext, resource: Resource) -> ToolCall:
        assert asking.lineage is not None
        tool_input, tool_use_id = asked_call(resource)
        tool_class, server = self.facts.classify(resource.id)
        return ToolCall(
            tool=resource.id,
            input=tool_input,
            tool_use_id=tool_use_id,
            server=server,
            tool_class=tool_class,
            facts=self.facts.describe(resource.id, tool_input, asking.lineage.workspace),
        )

    def _run(self, resource: Resource) -> Run:
        told = asked_script(resource)
        digest = None if told.script is None else text_sha256(told.script)
        return Run(
            name=resource.id,
            script_sha256=digest,
            profile=None if told.script is None else self.facts.profile(told.script),
            args_bytes=0 if told.args is None else len(msgspec.json.encode(told.args)),
            source="runtime",
            resume_of=told.resume_of,
            opaque=told.script is None,
            registered=None if digest is None else self.boards.approvals.registered(digest),
        )

    def _started(self, asking: RequestContext, action: Action) -> Action | None:
        """What a tool call would bring to life."""
        if not isinstance(action, ToolCall):
            return None
        if action.tool in SPAWNING_TOOLS:
            return spawn_of(action.input, parent_type=self._own_type(asking), workflow=False)
        if action.tool != WORKFLOW_TOOL:
            return None
        script = script_of(action.input)
        profile = None if script is None else self.facts.profile(script)
        registered = None if script is None else self.boards.approvals.registered(text_sha256(script))
        return run_of(action.input, script, profile, registered)

    def _own_type(self, asking: RequestContext) -> str | None:
        lineage = asking.lineage
        assert lineage is not None
        return MAIN_AGENT if lineage.agent == MAIN_AGENT else lineage.agent_type
