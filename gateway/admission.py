"""May this agent live, and may it ask this? The first step of the request path; ends with the body as it goes upstream.

Order: read, find the agent and count it, its spawn, the request itself, fuses, edits. Nothing is paid here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from gateway.context import RequestContext
from gateway.contract import (
    AGENT_HEADERS,
    HEADER_VALUE_CHARS_MAX,
    MAIN_AGENT,
    PARENT_AGENT_HEADERS,
    RUN_HEADER,
    SESSION_HEADERS,
)
from gateway.core.body import (
    Ask,
    field_edit,
    find_workspace,
    first_words,
    latest_messages,
    messages_of,
    peek,
    without_tools,
)
from gateway.core.decision import Client, Decision, Infer, Lineage, Obligation, Spawn
from gateway.core.denial import needs_restoring, restore
from gateway.core.lineage import AgentNode, SessionNode, Tree, first_of, inferred_session
from gateway.core.loops import streaks
from gateway.core.names import Catalogue
from gateway.core.routing import resolve_alias
from gateway.core.spans import Edit, elements, members, splice
from gateway.core.substitutes import substitutes
from gateway.core.translate import read_betas, read_version
from gateway.decider import LIMITS, Decider
from gateway.errors import Reason, Refused
from gateway.fuseboard import FuseBoard
from gateway.ports import Clock, Telemetry

CARRIED_OUT = frozenset({"strip_tools", "clamp_max_tokens", "set_model", "log_full", LIMITS})
"""Obligations of an infer decision that can be met here."""
SUBSTITUTE_CARRIED_OUT = frozenset({"log_full", LIMITS})
"""Those of one about a model that the upstream may run besides: what is sent to it is not ours to edit."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides requests before they are paid for."""

    decider: Decider
    fuses: FuseBoard
    tree: Tree
    aliases: Mapping[str, str]
    catalogue: Catalogue
    telemetry: Telemetry
    clock: Clock

    async def admit(self, ctx: RequestContext) -> None:
        """Raises `Refused` (POLICY_DENIED, POLICY_FAILED, FUSE_BLOWN) or `Malformed`."""
        ask = self._read(ctx)
        node = ctx.agent = self._agent(ctx, ask)
        node.begin(self.clock.unix_ms())
        ctx.began = True
        ctx.lineage = _lineage(ctx, node)
        if not node.admitted:
            await self._admit_spawn(ctx, node, ask)
        await self._decide(ctx, ask)
        await self._decide_substitutes(ctx, ask)
        for used in node.counters:
            used.requests += 1
        ctx.streaks = streaks(latest_messages(ctx.body, ask.spans["messages"]))
        self.fuses.require_intact(node, ctx.streaks)
        self._edit(ctx, ask)

    async def admit_uncounted(self, ctx: RequestContext) -> None:
        """The same question for a request that costs nothing: no agent comes to life by it, no meter moves."""
        ask = self._read(ctx)
        node = ctx.agent = self._known_agent(ctx, ask) or _nobody(ctx)
        ctx.lineage = _lineage(ctx, node)
        await self._decide(ctx, ask)
        self._edit(ctx, ask)

    async def may_ask(self, ctx: RequestContext, model: str) -> bool:
        """Could this principal ask this model? Leaves no record."""
        ctx.agent = _nobody(ctx)
        ctx.lineage = _lineage(ctx, ctx.agent)
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

    def _agent(self, ctx: RequestContext, ask: Ask) -> AgentNode:
        """The agent that the headers claim; a new one is counted before anything is awaited."""
        node = self._known_agent(ctx, ask)
        if node is None:
            session = self.tree.session(_session_id(ctx, ask)) or _new_session(ctx, ask)
            agent_id, parent = _claim(ctx.headers, AGENT_HEADERS), _claim(ctx.headers, PARENT_AGENT_HEADERS)
            node = self.tree.add(session, agent_id or MAIN_AGENT, parent, self.clock.unix_ms())
            _recognise(node, ctx, ask)
        node.model = ctx.model
        return node

    def _known_agent(self, ctx: RequestContext, ask: Ask) -> AgentNode | None:
        assert ctx.principal is not None
        session = self.tree.session(_session_id(ctx, ask))
        if session is None:
            return None
        if session.user != ctx.principal.user:
            raise Refused(Reason.POLICY_DENIED, f"session {session.id} belongs to another user; start a new session")
        return session.agents.get(_claim(ctx.headers, AGENT_HEADERS) or MAIN_AGENT)

    async def _admit_spawn(self, ctx: RequestContext, node: AgentNode, ask: Ask) -> None:
        model = self.catalogue.canonical(ask.model)
        spawn = Spawn(via="first_request", agent_type=node.agent_type, model=model)
        decision = await self.decider.decide(ctx, spawn, decision_id=ctx.id)
        if not decision.allow:
            self.tree.remove(node)
            ctx.began = False
            raise _denied(decision)
        node.admitted = True
        self.telemetry.agent_seen("first_request")

    async def _decide(self, ctx: RequestContext, ask: Ask) -> None:
        infer = self._infer(ctx, ask)
        ctx.decision = await self.decider.decide(ctx, infer, decision_id=ctx.id, carried_out=CARRIED_OUT)
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

    def _edit(self, ctx: RequestContext, ask: Ask) -> None:
        edits = self._edits(ctx, ask)
        if edits:
            ctx.body = splice(ctx.body, edits)
            ctx.ask = msgspec.structs.replace(ask, spans=members(ctx.body))

    def _edits(self, ctx: RequestContext, ask: Ask) -> list[Edit]:
        """What must change in the body wherever it goes: denials restored, obligations met. The model is forward's."""
        edits = _restored(ctx.body, ask)
        ctx.restored_denials = len(edits)
        stripped: set[str] = set()
        assert ctx.decision is not None
        for obligation in ctx.decision.obligations:
            _meet(ctx, ask, obligation, stripped)
        tools = without_tools(ctx.body, ask, frozenset(stripped))
        if tools is not None:
            edits.append(tools)
        if ctx.max_tokens is not None:
            edits.append(field_edit(ctx.body, ask, "max_tokens", str(ctx.max_tokens).encode()))
        return edits


def _meet(ctx: RequestContext, ask: Ask, obligation: Obligation, stripped: set[str]) -> None:
    """Take an obligation over; raises `Refused(POLICY_FAILED)` when its value is not one that can be met."""
    value: Any = obligation.value
    match obligation.kind:
        case "strip_tools" if _are_texts(value):
            stripped.update(value)
        case "set_model" if isinstance(value, str) and value:
            ctx.model = value
        case "clamp_max_tokens" if type(value) is int and value >= 1:
            ctx.max_tokens = value if ask.max_tokens is None or ask.max_tokens > value else None
        case "log_full":
            pass
        case kind:
            message = f"engine/obligation: a rule asks for '{kind}' with a value that cannot be met; tell the operator"
            raise Refused(Reason.POLICY_FAILED, message)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value))


def _session_id(ctx: RequestContext, ask: Ask) -> str:
    assert ctx.principal is not None
    claimed = _claim(ctx.headers, SESSION_HEADERS)
    return claimed or inferred_session(ctx.principal.user, first_words(messages_of(ctx.body, ask)))


def _new_session(ctx: RequestContext, ask: Ask) -> SessionNode:
    assert ctx.principal is not None
    return SessionNode(
        _session_id(ctx, ask),
        ctx.principal.credential,
        ctx.principal.user,
        ctx.client_name,
        inferred=first_of(ctx.headers, SESSION_HEADERS) is None,
    )


def _nobody(ctx: RequestContext) -> AgentNode:
    """An agent that stands in no tree, for questions that bring none to life."""
    assert ctx.principal is not None
    session = SessionNode("none", ctx.principal.credential, ctx.principal.user, ctx.client_name, inferred=True)
    now = ctx.received_unix_ms
    session.first_seen_ms = now
    return AgentNode(session, MAIN_AGENT, None, 0, now, now)


def _recognise(node: AgentNode, ctx: RequestContext, ask: Ask) -> None:
    """What a new agent is, as far as its request, the spawn that asked for it, or its session's main agent tells."""
    node.workspace = find_workspace(ctx.body, ask.spans)
    if node.id == MAIN_AGENT:
        node.admitted = True
        return
    spawn = node.session.claim(first_words(messages_of(ctx.body, ask)))
    if spawn is not None:
        node.agent_type = spawn.agent_type
    main = node.session.agents.get(MAIN_AGENT)
    if node.workspace is None and main is not None:
        node.workspace = main.workspace


def _lineage(ctx: RequestContext, node: AgentNode) -> Lineage:
    return Lineage(
        session=node.session.id,
        agent=node.id,
        run=_claim(ctx.headers, (RUN_HEADER,)),
        parent=node.parent,
        depth=node.depth,
        agent_type=node.agent_type,
        client=Client(ctx.client_name, ctx.client_version),
        inferred=node.session.inferred,
        workspace=node.workspace,
    )


def _denied(decision: Decision) -> Refused:
    failed = any(reason.rule.startswith("engine/") for reason in decision.reasons)
    return Refused(Reason.POLICY_FAILED if failed else Reason.POLICY_DENIED, decision.message)


def _claim(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    value = first_of(headers, names)
    if value is not None and (len(value) > HEADER_VALUE_CHARS_MAX or not value.isprintable() or "/" in value):
        message = f"header {names[0]} must be at most {HEADER_VALUE_CHARS_MAX} printable characters without '/'"
        raise Refused(Reason.BODY_MALFORMED, message)
    return value


def _restored(body: bytes, ask: Ask) -> list[Edit]:
    """Edits that put denied calls of the history back to what the model had asked for."""
    if "messages" not in ask.spans or not needs_restoring(body):
        return []
    offset, _ = ask.spans["messages"]
    messages = messages_of(body, ask)
    spans = elements(messages, "messages")
    restored = restore([messages[start:end] for start, end in spans])
    return [
        (offset + start, offset + end, message)
        for (start, end), message in zip(spans, restored, strict=True)
        if message is not None
    ]
