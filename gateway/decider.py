"""Every question put to the policy engine: builds the query, asks, checks the obligations, records the decision.

What a decision leads to is not here: `pipeline.py` for requests, `toolcalls.py` for tool calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode
from gateway.core.decisions.decision import Action, Decision, Meters, Query, Spawn, Time, denied
from gateway.ports import Clock, DecisionSink, Ledger, PolicyEngine, Telemetry

LIMITS = "limits"
"""Carried out by whoever holds the request to the limits of its decision."""
_COUNTED_BEFORE = frozenset({"agents", "active_agents", "agents_per_minute"})
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Decider:
    """Asks the engine on behalf of a request."""

    engine: PolicyEngine
    ledger: Ledger
    sinks: Sequence[DecisionSink]
    telemetry: Telemetry
    clock: Clock

    async def decide(
        self, ctx: RequestContext, action: Action, *, decision_id: str, carried_out: frozenset[str] = frozenset()
    ) -> Decision:
        """Ask; an obligation that the asking path cannot carry out (`carried_out` names those it can) means deny."""
        query = self._query(ctx, action)
        started = self.clock.monotonic()
        decision = _met(await self.engine.decide(query), carried_out)
        seconds = self.clock.monotonic() - started
        ctx.policy_seconds += seconds
        self.telemetry.decided(query, decision, seconds)
        self._write(ctx, query, decision, decision_id)
        return decision

    async def look(self, ctx: RequestContext, action: Action) -> Decision:
        """Ask without consequence (what could this principal use?): nothing is recorded."""
        return await self.engine.decide(self._query(ctx, action))

    def record(self, ctx: RequestContext, action: Action, decision: Decision, *, decision_id: str) -> None:
        """A decision that was made without the engine leaves the same evidence."""
        query = self._query(ctx, action)
        self.telemetry.decided(query, decision, 0.0)
        self._write(ctx, query, decision, decision_id)

    def _write(self, ctx: RequestContext, query: Query, decision: Decision, decision_id: str) -> None:
        for sink in self.sinks:
            sink.decision(ctx, query, decision, decision_id=decision_id)

    def _query(self, ctx: RequestContext, action: Action) -> Query:
        assert ctx.principal is not None and ctx.lineage is not None and ctx.agent is not None
        return Query(
            action=action,
            principal=ctx.principal,
            lineage=ctx.lineage,
            meters=self._meters(ctx, ctx.agent, action),
            time=utc_time(self.clock.unix_ms()),
        )

    def _meters(self, ctx: RequestContext, node: AgentNode, action: Action) -> Meters:
        principal = ctx.principal
        assert principal is not None
        now = self.clock.unix_ms()
        session, person = node.session.meters(now), node.session.person.meters(now)
        run = None if node.run is None else node.run.meters(now)
        if isinstance(action, Spawn) and _is_about(node, action):
            # Counted before the question, so that others see it; the question is about one more than there are.
            for counted in (session, person, run or {}):
                for meter in _COUNTED_BEFORE.intersection(counted):
                    counted[meter] -= 1
        meters: Meters = {
            "agent": node.meters(now),
            "session": session,
            "user": {**person, "cost": self.ledger.spent(f"user:{principal.user}")},
            "org": {"cost": self.ledger.spent("org")},
        }
        if run is not None:
            meters["run"] = run
        if principal.team is not None:
            meters["team"] = {"cost": self.ledger.spent(f"team:{principal.team}")}
        return meters


def _is_about(node: AgentNode, action: Spawn) -> bool:
    """Is it this very agent that comes to life, and no agent that this one asks for?"""
    own = node.session.agents.get(node.id) is node and not node.admitted
    return action.via == "first_request" or (action.via == "runtime" and own)


def _met(decision: Decision, carried_out: frozenset[str]) -> Decision:
    if decision.allow and decision.limits:
        if LIMITS not in carried_out:
            message = "the decision sets limits, which only a model request can be held to"
            return denied("engine/obligation", message, decision.revision)
        try:
            for limit in decision.limits:
                limit.row()
        except ValueError as error:
            return denied("engine/obligation", f"the decision sets a limit: {error}", decision.revision)
    for obligation in decision.obligations if decision.allow else ():
        if obligation.kind not in carried_out:
            message = f"the decision asks for '{obligation.kind}', which cannot be done for this action"
            return denied("engine/obligation", message, decision.revision)
    return decision


def utc_time(unix_ms: int) -> Time:
    """The query's time of day, in UTC."""
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return Time(unix_ms=unix_ms, weekday=_WEEKDAYS[moment.weekday()], hour=moment.hour)
