"""THE request path: admit, reserve, forward, relay, settle. Read `serve` aloud; the rest of the file is its words.

Knows the world only through `ports.py`. HTTP towards the client is `web/`, the bytes of an answer `web/relay.py`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

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
    Edit,
    elements,
    field_edit,
    find_workspace,
    first_words,
    latest_messages,
    members,
    messages_of,
    peek,
    splice,
    without_tools,
)
from gateway.core.budgets import Exhausted, Hold, refusal_headers
from gateway.core.decision import Client, Decision, Infer, Lineage, Obligation, Spawn
from gateway.core.denial import needs_restoring, restore
from gateway.core.estimate import Learned, bounded, shape_of, strict_nanousd
from gateway.core.headers import upstream_headers
from gateway.core.lineage import AgentNode, SessionNode, Tree, first_of, inferred_session
from gateway.core.loops import streaks
from gateway.core.messages import Tap
from gateway.core.prices import ModelRow, Price, PriceTable
from gateway.core.pricing import Unpriced, cost_nanousd
from gateway.core.routing import Route, resolve_alias, select_upstreams
from gateway.decider import Decider
from gateway.errors import GatewayError, Reason, Refused
from gateway.fuseboard import FuseBoard
from gateway.ports import AuditSink, Clock, Ledger, LineageStore, Telemetry, Upstream, UpstreamAnswer, UpstreamRequest
from gateway.tasks import Tasks

T = TypeVar("T")
Relay = Callable[[RequestContext, UpstreamAnswer], Awaitable[T]]

CARRIED_OUT = frozenset({"strip_tools", "clamp_max_tokens", "set_model", "log_full"})
"""Obligations of an infer decision that this path can meet."""
HOLD_SECONDS = 3_600
"""Deadline of a hold: longer than any answer. What has not ended by then is expired at the held amount."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Where models go."""

    routes: Sequence[Route]
    aliases: Mapping[str, str]
    upstreams: Mapping[str, Upstream]


@dataclass(frozen=True, slots=True)
class Money:
    """What requests cost and who may still pay."""

    ledger: Ledger
    prices: PriceTable
    learned: Learned
    fallback_model: str | None


@dataclass(frozen=True, slots=True)
class Records:
    """Where it is written down."""

    agents: LineageStore
    audit: AuditSink
    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Takes every model request from its body to its settled cost."""

    decider: Decider
    fuses: FuseBoard
    tree: Tree
    money: Money
    routing: Routing
    records: Records
    clock: Clock
    tasks: Tasks

    async def serve(self, ctx: RequestContext, relay: Relay[T]) -> T:
        """One model request: nothing leaves before it is allowed and paid for; whatever happens, it is settled."""
        try:
            await self.admit(ctx)
            await self.reserve(ctx)
            return await relay(ctx, await self.forward(ctx))
        except BaseException as error:
            note_failure(ctx, error)
            raise
        finally:
            self.settle(ctx)

    async def serve_free(self, ctx: RequestContext, relay: Relay[T]) -> T:
        """A request that costs nothing (count_tokens): decided and forwarded, neither held nor counted."""
        try:
            ask = self._read(ctx)
            ctx.agent, _ = self._find_agent(ctx, ask)
            await self._decide(ctx, ask)
            self._edit(ctx, ask)
            return await relay(ctx, await self.forward(ctx))
        except BaseException as error:
            note_failure(ctx, error)
            raise

    # admit

    async def admit(self, ctx: RequestContext) -> None:
        """May this agent live, and may it ask this? Ends with `ctx.body` as it goes upstream.

        Raises `Refused` (POLICY_DENIED, FUSE_BLOWN) or `Malformed`.
        """
        ask = self._read(ctx)
        ctx.agent, is_new = self._find_agent(ctx, ask)
        ctx.agent.begin(self.clock.unix_ms())
        ctx.began = True
        if is_new and ctx.agent.id != MAIN_AGENT:
            await self._admit_spawn(ctx, ctx.agent, ask)
        await self._decide(ctx, ask)
        for used in ctx.agent.counters:
            used.requests += 1
        seen = streaks(latest_messages(messages_of(ctx.body, ask)))
        self.fuses.require_intact(ctx.agent, seen)
        ctx.streaks = seen
        self._edit(ctx, ask)

    def _read(self, ctx: RequestContext) -> Ask:
        ctx.ask = ask = peek(ctx.body)
        ctx.model = resolve_alias(self.routing.aliases, ask.model)
        return ask

    def _find_agent(self, ctx: RequestContext, ask: Ask) -> tuple[AgentNode, bool]:
        """The agent that the headers claim; a new one is counted before anything is awaited."""
        principal = ctx.principal
        assert principal is not None
        claimed = _claim(ctx.headers, SESSION_HEADERS)
        words = "" if claimed else first_words(messages_of(ctx.body, ask))
        session_id = claimed or inferred_session(principal.user, words)
        agent_id = _claim(ctx.headers, AGENT_HEADERS) or MAIN_AGENT
        parent = _claim(ctx.headers, PARENT_AGENT_HEADERS)
        session = self.tree.session(session_id)
        if session is not None and session.user != principal.user:
            raise Refused(Reason.POLICY_DENIED, f"session {session_id} belongs to another user; start a new session")
        node = session.agents.get(agent_id) if session is not None else None
        is_new = node is None
        if node is None:
            session = session or SessionNode(
                session_id, principal.credential, principal.user, ctx.client_name, inferred=claimed is None
            )
            node = self.tree.add(session, agent_id, parent, self.clock.unix_ms())
            node.workspace = find_workspace(ctx.body, ask.spans)
            self._recognise(node, ctx, ask)
        node.model = ctx.model
        ctx.lineage = self._lineage(ctx, node)
        return node, is_new

    def _recognise(self, node: AgentNode, ctx: RequestContext, ask: Ask) -> None:
        """What a new agent is, as far as the spawn that asked for it or its session's main agent tells."""
        if node.id == MAIN_AGENT:
            return
        spawn = node.session.claim(first_words(messages_of(ctx.body, ask)))
        if spawn is not None:
            node.agent_type = spawn.agent_type
        main = node.session.agents.get(MAIN_AGENT)
        if node.workspace is None and main is not None:
            node.workspace = main.workspace

    def _lineage(self, ctx: RequestContext, node: AgentNode) -> Lineage:
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

    async def _admit_spawn(self, ctx: RequestContext, node: AgentNode, ask: Ask) -> None:
        spawn = Spawn(via="first_request", agent_type=node.agent_type, model=ask.model)
        decision = await self.decider.decide(ctx, spawn, decision_id=ctx.id)
        if not decision.allow:
            self.tree.remove(node)
            ctx.began = False
            raise _denied(decision)
        self.records.telemetry.agent_seen("first_request")

    async def _decide(self, ctx: RequestContext, ask: Ask) -> None:
        betas = ctx.headers.get("anthropic-beta", "")
        infer = Infer(
            model=ask.model,
            stream=ask.stream,
            max_tokens=ask.max_tokens,
            effort=ask.effort,
            speed=ask.speed,
            tools=ask.tools,
            server_tools=ask.server_tools,
            mcp_servers=ask.mcp_servers,
            betas=tuple(beta.strip() for beta in betas.split(",")) if betas else (),
            body_bytes=len(ctx.body),
            dialect=ctx.dialect,
        )
        ctx.decision = await self.decider.decide(ctx, infer, decision_id=ctx.id, carried_out=CARRIED_OUT)
        if not ctx.decision.allow:
            raise _denied(ctx.decision)

    def _edit(self, ctx: RequestContext, ask: Ask) -> None:
        edits = self._edits(ctx, ask)
        if edits:
            ctx.body = splice(ctx.body, edits)
            ctx.ask = msgspec.structs.replace(ask, spans=members(ctx.body))

    def _edits(self, ctx: RequestContext, ask: Ask) -> list[Edit]:
        """Everything that must change in the body: denials restored, obligations met, the alias resolved."""
        edits = _restored(ctx.body, ask)
        ctx.restored_denials = len(edits)
        stripped: set[str] = set()
        assert ctx.decision is not None
        for obligation in ctx.decision.obligations:
            if obligation.kind == "strip_tools":
                stripped.update(obligation.value)
            else:
                self._meet(ctx, ask, obligation)
        tools = without_tools(ctx.body, ask, frozenset(stripped))
        if tools is not None:
            edits.append(tools)
        if ctx.max_tokens is not None:
            edits.append(field_edit(ctx.body, ask, "max_tokens", str(ctx.max_tokens).encode()))
        if ctx.model != ask.model:
            edits.append(field_edit(ctx.body, ask, "model", msgspec.json.encode(ctx.model)))
        return edits

    def _meet(self, ctx: RequestContext, ask: Ask, obligation: Obligation) -> None:
        if obligation.kind == "set_model":
            ctx.model = str(obligation.value)
        elif obligation.kind == "clamp_max_tokens" and (ask.max_tokens is None or ask.max_tokens > obligation.value):
            ctx.max_tokens = int(obligation.value)

    # reserve

    async def reserve(self, ctx: RequestContext) -> None:
        """Hold what the request may cost on every account it is for, or refuse it."""
        assert ctx.ask is not None and ctx.agent is not None and ctx.principal is not None
        money, now = self.money, self.clock.unix_ms()
        price = self._price(ctx.model, now)
        accounts = _accounts(ctx, ctx.agent)
        shape = shape_of(ctx.ask, ctx.body, max_tokens=ctx.max_tokens)
        expected = money.learned.expected_nanousd(price, shape, ctx.agent.last_tokens)
        strict = expected
        if money.ledger.is_strict(accounts):
            strict = strict_nanousd(price, bounded(shape, messages_of(ctx.body, ctx.ask)))
        hold = Hold(
            id=ctx.id,
            accounts=accounts,
            strict_nanousd=strict,
            expected_nanousd=expected,
            created_ms=now,
            deadline_ms=now + HOLD_SECONDS * 1000,
        )
        try:
            await money.ledger.reserve(hold)
        except Exhausted as exhausted:
            raise Refused(Reason.BUDGET_EXHAUSTED, exhausted.message, refusal_headers(exhausted, now)) from None
        ctx.hold = hold

    def _price(self, model: str, now: int) -> Price:
        money = self.money
        price = money.prices.find(model, now)
        if price is None and money.fallback_model is not None:
            price = money.prices.find(money.fallback_model, now)
        if price is None:
            message = f"model {model} has no price; add it under prices.path or set prices.fallback_model"
            raise Refused(Reason.MODEL_UNPRICED, message)
        return price

    # forward

    async def forward(self, ctx: RequestContext) -> UpstreamAnswer:
        """Send the request to the first upstream of its route."""
        ids = select_upstreams(self.routing.routes, ctx.model)
        if not ids:
            message = f"no route serves model {ctx.model}; GET /v1/models lists those that are served"
            raise Refused(Reason.MODEL_UNROUTED, message)
        upstream = self.routing.upstreams[ids[0]]
        assert ctx.ask is not None
        ctx.upstream = upstream.id
        request = UpstreamRequest(
            path=ctx.path,
            headers=upstream_headers(ctx.headers.items()),
            body=ctx.body,
            model=ctx.model,
            stream=ctx.ask.stream,
        )
        ctx.dispatched = True
        answer = await upstream.send(request)
        ctx.status = answer.status
        ctx.upstream_headers_seconds = self.clock.monotonic() - ctx.received_monotonic
        if answer.status >= 400:
            ctx.reason = Reason.UPSTREAM_REFUSED
        return answer

    async def usable_models(self, ctx: RequestContext) -> list[ModelRow]:
        """Models of the price table that are routed and that policy lets this principal ask."""
        usable: list[ModelRow] = []
        ctx.agent = AgentNode(SessionNode("", "", "", "", inferred=True), MAIN_AGENT, None, 0, 0, 0)
        ctx.lineage = self._lineage(ctx, ctx.agent)
        for model in self.money.prices.models():
            if select_upstreams(self.routing.routes, model.id):
                decision = await self.decider.look(ctx, _bare_infer(model.id))
                if decision.allow:
                    usable.append(model)
        return usable

    # settle

    def settle(self, ctx: RequestContext) -> None:
        """End the hold exactly once and bring the meters up to date; when the client left first, after the rest."""
        if ctx.drain is not None:
            ctx.drained_later = True
            self.tasks.spawn("drain", self._settle_drained(ctx, ctx.drain))
            return
        self._settle_now(ctx)

    async def _settle_drained(self, ctx: RequestContext, drain: Callable[[], Awaitable[None]]) -> None:
        try:
            await drain()
        finally:
            self._settle_now(ctx)
            self.record(ctx)

    def _settle_now(self, ctx: RequestContext) -> None:
        if ctx.hold is not None:
            self._end_hold(ctx, ctx.hold)
        if ctx.agent is not None and ctx.began:
            self._count(ctx, ctx.agent)

    def _end_hold(self, ctx: RequestContext, hold: Hold) -> None:
        ledger, now = self.money.ledger, self.clock.unix_ms()
        if not ctx.dispatched or ctx.reason in _NEVER_BILLED:
            ledger.release(hold.id)
            return
        ctx.cost_nanousd = self._cost(ctx, hold, now)
        ledger.settle(hold.id, ctx.cost_nanousd, now)

    def _cost(self, ctx: RequestContext, hold: Hold, now: int) -> int:
        """The price of the reported usage; without a final one, of the estimated input and what was streamed."""
        assert ctx.agent is not None
        money, price = self.money, self._price(ctx.model, now)
        tap = ctx.tap or Tap()
        usage = tap.usage()
        if usage.final:
            money.learned.observe(price, len(ctx.body), usage)
            ctx.agent.last_tokens = usage.tokens
        else:
            usage = tap.floor_usage(money.learned.input_tokens(price, len(ctx.body)))
        ctx.usage, ctx.cost_estimated = usage, not usage.final
        try:
            return cost_nanousd(usage, money.prices, at_ms=now, fallback_model=price.id)
        except Unpriced:
            ctx.cost_estimated = True
            return hold.strict_nanousd

    def _count(self, ctx: RequestContext, node: AgentNode) -> None:
        tokens = ctx.usage.tokens if ctx.usage is not None else None
        for used in node.counters:
            used.cost_nanousd += ctx.cost_nanousd
            if tokens is not None:
                used.output_tokens += tokens.output
                used.total_tokens += tokens.total
        node.end(self.clock.unix_ms(), owes_tool_result=any(call.allowed for call in ctx.tool_calls))
        self.records.agents.save_agent(node.record())

    def begin(self) -> None:
        """A request has come in."""
        self.records.telemetry.request_started()

    def record(self, ctx: RequestContext) -> None:
        """One audit line and the metrics of a request that has ended."""
        ctx.total_seconds = self.clock.monotonic() - ctx.received_monotonic
        ctx.reason = ctx.reason or Reason.COMPLETED
        self.records.audit.request(ctx)
        self.records.telemetry.request_ended(ctx)
        self.records.telemetry.held_nanousd(self.money.ledger.held_total())


_NEVER_BILLED = frozenset({Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_REFUSED})
"""How a dispatched request can end without having cost anything."""


def note_failure(ctx: RequestContext, error: BaseException) -> None:
    """Keep why the request ended, for its record."""
    if isinstance(error, GatewayError):
        ctx.reason, ctx.message = error.reason, error.message
    elif isinstance(error, Exception):
        ctx.reason = ctx.reason or Reason.INTERNAL
    else:
        ctx.reason = Reason.CLIENT_GONE


def _denied(decision: Decision) -> Refused:
    failed = any(reason.rule.startswith("engine/") for reason in decision.reasons)
    return Refused(Reason.POLICY_FAILED if failed else Reason.POLICY_DENIED, decision.message)


def _claim(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    value = first_of(headers, names)
    if value is not None and (len(value) > HEADER_VALUE_CHARS_MAX or not value.isprintable() or "/" in value):
        message = f"header {names[0]} must be at most {HEADER_VALUE_CHARS_MAX} printable characters without '/'"
        raise Refused(Reason.BODY_MALFORMED, message)
    return value


def _accounts(ctx: RequestContext, node: AgentNode) -> tuple[str, ...]:
    principal = ctx.principal
    assert principal is not None
    team = (f"team:{principal.team}",) if principal.team is not None else ()
    return (
        "org",
        *team,
        f"user:{principal.user}",
        f"credential:{principal.credential}",
        f"session:{node.session.id}",
        f"agent:{node.key}",
    )


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


def _bare_infer(model: str) -> Infer:
    return Infer(
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
