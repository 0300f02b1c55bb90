"""May this agent live, and may it ask this? The first step of the request path; ends with the body as it goes upstream.

Order: read, find the agent and count it, whether a person stopped it, its spawn, the request itself, fuses, edits.
Nothing is paid here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from gateway.boards import Boards
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode
from gateway.core.bridging.translate import read_betas, read_version
from gateway.core.decisions.decision import Decision, Infer, Spawn
from gateway.core.decisions.obligations import INFER_OBLIGATIONS, Duties, duties_of, model_of
from gateway.core.estimates.clamping import lowered_thinking
from gateway.core.fuses.loops import streaks
from gateway.core.gate.denial import restoring_edits
from gateway.core.gate.notices import NOTICES_MAX, place, say
from gateway.core.routes.routing import resolve_alias
from gateway.core.wire.body import Ask, field_edit, latest_messages, peek, without_tools
from gateway.core.wire.names import Catalogue
from gateway.core.wire.spans import Edit, members, splice
from gateway.core.wire.substitutes import substitutes
from gateway.decider import LIMITS, Decider
from gateway.errors import Reason, Refused
from gateway.lineages import Lineages
from gateway.ports import Clock, LineageStore, Telemetry

INFER_CARRIED_OUT = INFER_OBLIGATIONS | {LIMITS}
"""Obligations of an infer decision that can be met here."""
SPAWN_CARRIED_OUT = frozenset({"set_model", "require_approval", "log_full"})
"""Those of a spawn's."""
SUBSTITUTE_CARRIED_OUT = frozenset({"log_full", LIMITS})
"""Those of one about a model that the upstream may run besides: what is sent to it is not ours to edit."""
_WITH_HISTORY = frozenset({"compact", "count"})
"""Side requests that carry the agent's conversation, and find it in the prompt cache only with its notices."""
WRAP_UP_TOKENS = 4_096
"""Longest last answer of an agent whose fuse has blown."""
WRAP_UP = (
    "This is your last request: {why}. Call no more tools. Sum up now what is done, what is not, and what you found, "
    "so that somebody else can go on from here."
)
POLICIES_CHANGED = (
    "The rules of this gateway have changed while you work (they are {revision} now). What was refused before may be "
    "allowed, and what was allowed may be refused: go by the answers you get from here on."
)


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides requests before they are paid for."""

    decider: Decider
    boards: Boards
    lineages: Lineages
    aliases: Mapping[str, str]
    catalogue: Catalogue
    takes_entries: Callable[[RequestContext], bool]
    """Does the model, wherever it may be asked, take system entries among the messages?"""
    store: LineageStore
    telemetry: Telemetry
    clock: Clock

    async def admit(self, ctx: RequestContext) -> None:
        """Leaves `ctx.closing` set when the turn is to end instead.

        Raises `Refused` (SESSION_TAKEN, STOPPED, HELD, POLICY_DENIED, POLICY_FAILED, FUSE_BLOWN) or `Malformed`.
        """
        ask = self._read(ctx)
        node = ctx.agent = await self.lineages.find(ctx, ask)
        node.begin(self.clock.unix_ms())
        ctx.began = True
        ctx.lineage = self.lineages.lineage_of(ctx, node)
        if node.admitted:
            await self.boards.controls.require_free(ctx)
        else:
            await self._admit_spawn(ctx, node)
        await self._decide(ctx, ask)
        await self._decide_substitutes(ctx, ask)
        for used in node.counters:
            used.requests += 1
        ctx.streaks = None if ctx.side else streaks(latest_messages(ctx.body, ask.spans["messages"]))
        last_words = self._stand(ctx, node)
        self._edit(ctx, ask, node, last_words)

    async def admit_uncounted(self, ctx: RequestContext) -> None:
        """The same question for a request that costs nothing: no agent comes to life by it, no meter moves."""
        ask = self._read(ctx)
        node = ctx.agent = self.lineages.known(ctx, ask)
        ctx.lineage = self.lineages.lineage_of(ctx, node)
        await self.boards.controls.require_free(ctx)
        await self._decide(ctx, ask)
        self._edit(ctx, ask, node, None)

    async def may_ask(self, ctx: RequestContext, model: str) -> bool:
        """Could this principal ask this model? Leaves no record."""
        ctx.agent = self.lineages.nobody(ctx)
        ctx.lineage = self.lineages.lineage_of(ctx, ctx.agent)
        infer = Infer(
            model=model,
            stream=True,
            max_tokens=None,
            effort=None,
            speed=None,
            tools=(),
            server_tools=(),
            mcp_servers=(),
            betas=(),
            body_bytes=0,
        )
        return (await self.decider.look(ctx, infer)).allow

    def _read(self, ctx: RequestContext) -> Ask:
        """Policy is asked about the model as the client named it; its alias is what is used."""
        assert ctx.dialect != "operator"
        ctx.ask = ask = peek(ctx.body, ctx.asked)
        ctx.model = self.catalogue.canonical(resolve_alias(self.aliases, ask.model))
        ctx.betas = read_betas(ctx.dialect, ctx.headers, ctx.body, ask.spans)
        ctx.version = read_version(ctx.dialect, ctx.headers, ctx.body, ask.spans)
        return ask

    async def _admit_spawn(self, ctx: RequestContext, node: AgentNode) -> None:
        """Whoever is not admitted leaves the tree again, whatever ended the question."""
        try:
            await self.boards.controls.require_free(ctx)
            decision = await self._decide_spawn(ctx, node)
            node.routed_model = model_of(decision.obligations)
        except BaseException:
            ctx.began = False
            self.lineages.take_back(node)
            raise
        node.admitted = True
        self.store.save_agent(node.record())
        self.telemetry.agent_seen("first_request")

    async def _decide_spawn(self, ctx: RequestContext, node: AgentNode) -> Decision:
        assert ctx.ask is not None
        spawn = Spawn(
            via="first_request",
            agent_type=node.agent_type,
            model=self.catalogue.canonical(ctx.ask.model),
            prompt_sha256=node.prompt_sha256,
            background=node.background,
            parent_type=node.parent_type,
            workflow=node.workflow,
        )
        asked_of = self.decider.engine.revision
        decision = await self.decider.decide(ctx, spawn, decision_id=ctx.id, carried_out=SPAWN_CARRIED_OUT)
        if node.asked is None or not node.asked.approved:
            decision = await self.boards.approvals.approved(ctx, spawn, decision, decision_id=ctx.id)
        if decision.allow and self.decider.engine.revision != asked_of:
            again = await self.decider.decide(ctx, spawn, decision_id=ctx.id, carried_out=SPAWN_CARRIED_OUT)
            decision = decision if again.allow else again
        if not decision.allow:
            raise _denied(decision)
        return decision

    async def _decide(self, ctx: RequestContext, ask: Ask) -> None:
        infer = self._infer(ctx, ask)
        ctx.decision = await self.decider.decide(ctx, infer, decision_id=ctx.id, carried_out=INFER_CARRIED_OUT)
        if not ctx.decision.allow:
            raise _denied(ctx.decision)

    async def _decide_substitutes(self, ctx: RequestContext, ask: Ask) -> None:
        """What the upstream may run in place of the asked model is asked about as if the client had asked for it."""
        asked = ctx.decision
        assert asked is not None
        for each in substitutes(ask, ctx.body, max_tokens=ask.max_tokens):
            infer = self._infer(ctx, ask)
            model = self.catalogue.canonical(each.model)
            infer = msgspec.structs.replace(infer, model=model, max_tokens=each.max_tokens, speed=each.speed)
            decision = await self.decider.decide(ctx, infer, decision_id=ctx.id, carried_out=SUBSTITUTE_CARRIED_OUT)
            if not decision.allow:
                raise _denied(decision)
            limits = tuple(dict.fromkeys((*asked.limits, *decision.limits)))
            asked = ctx.decision = msgspec.structs.replace(asked, limits=limits)

    def _infer(self, ctx: RequestContext, ask: Ask) -> Infer:
        return Infer(
            model=self.catalogue.canonical(ask.model),
            stream=ask.stream,
            max_tokens=ask.max_tokens,
            effort=ask.effort,
            speed=ask.speed,
            tools=ask.tools,
            server_tools=ask.server_tools,
            mcp_servers=ask.mcp_servers,
            betas=ctx.betas,
            body_bytes=len(ctx.body),
            dialect=ctx.dialect,
        )

    def _stand(self, ctx: RequestContext, node: AgentNode) -> str | None:
        """Hold the fuses against the agent; what it is told when this is its last request. Raises FUSE_BLOWN."""
        blown = self.boards.fuses.stand(node, ctx.streaks)
        if blown is None:
            return None
        if blown.on_blow == "end_turn" and ctx.side is None:
            ctx.closing, ctx.reason, ctx.message = blown.closing, Reason.FUSE_BLOWN, blown.message
            return None
        if not blown.last_chance:
            raise Refused(Reason.FUSE_BLOWN, blown.message)
        ctx.wrapping_up = True
        return WRAP_UP.format(why=blown.why)

    def _edit(self, ctx: RequestContext, ask: Ask, node: AgentNode, last_words: str | None) -> None:
        """What must change in the body wherever it goes. Notices come last: they stand beside what was restored."""
        assert ctx.decision is not None
        duties = duties_of(ctx.decision.obligations)
        ctx.model = duties.model or node.routed_model or ctx.model
        self._splice(ctx, ask, self._edits(ctx, ask, duties))
        if ctx.side is None:
            news = self._news(ctx, node, duties, last_words)
            if news or node.notices:
                self._notify(ctx, node, news)
        elif ctx.side in _WITH_HISTORY and node.notices:
            self._notify(ctx, node, [])

    def _news(self, ctx: RequestContext, node: AgentNode, duties: Duties, last_words: str | None) -> list[str]:
        """What the agent is to be told and has not been."""
        assert ctx.decision is not None
        revision, node.revision = node.revision, ctx.decision.revision
        if revision not in (None, node.revision):
            node.to_say.append(POLICIES_CHANGED.format(revision=node.revision))
        texts = (*duties.notices, *node.to_say, *self.boards.fuses.notices(node, ctx.streaks))
        said = {notice.text for notice in node.notices}
        fresh = [text for text in dict.fromkeys(texts) if text not in said]
        return fresh if last_words is None else [*fresh, last_words]

    def _edits(self, ctx: RequestContext, ask: Ask, duties: Duties) -> list[Edit]:
        """Denials restored, obligations met. The model is forward's."""
        edits = restoring_edits(ctx.body, ask.spans["messages"])
        ctx.restored_denials = len(edits)
        tools = without_tools(ctx.body, ask, duties.strip_tools)
        if tools is not None:
            edits.append(tools)
        most = min(filter(None, (duties.max_tokens, WRAP_UP_TOKENS if ctx.wrapping_up else None)), default=None)
        if most is not None and (ask.max_tokens is None or ask.max_tokens > most):
            ctx.max_tokens = most
            edits.append(field_edit(ctx.body, ask, "max_tokens", str(most).encode()))
            edits += lowered_thinking(ctx.body, ask, most)
        return edits

    def _notify(self, ctx: RequestContext, node: AgentNode, texts: list[str]) -> None:
        """Put the agent's earlier notices in again, and the new ones at the end."""
        assert ctx.ask is not None
        span = ctx.ask.spans["messages"]
        _, kept = place(ctx.body, span, node.notices)
        form = "system" if self.takes_entries(ctx) else "text"
        new = say(ctx.body, span, texts[: NOTICES_MAX - len(kept)], form) if texts and ctx.began else []
        if new:
            node.to_say.clear()
        notices = (*kept, *new)
        if ctx.began and ctx.side is None:
            node.notices = notices
        ctx.notices = len(notices)
        if form == "text":  # said on another model
            notices = tuple(msgspec.structs.replace(notice, form="text") for notice in notices)
        edits, _ = place(ctx.body, span, notices)
        self._splice(ctx, ctx.ask, edits)

    def _splice(self, ctx: RequestContext, ask: Ask, edits: list[Edit]) -> None:
        if edits:
            ctx.body = splice(ctx.body, edits)
            ctx.ask = msgspec.structs.replace(ask, spans=members(ctx.body))


def _denied(decision: Decision) -> Refused:
    failed = any(reason.rule.startswith("engine/") for reason in decision.reasons)
    return Refused(Reason.POLICY_FAILED if failed else Reason.POLICY_DENIED, decision.message)
