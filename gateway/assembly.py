"""What a request goes through, built once on what the gateway stands on (`ground.py`). Servers and paths: `app.py`."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.accounting import Accounting
from gateway.admission import Admission
from gateway.boards import Boards
from gateway.boards.approvalboard import ApprovalBoard, Change, Heard
from gateway.boards.controlboard import ControlBoard
from gateway.boards.fuseboard import FuseBoard, holders_of, meters_of
from gateway.config import Config
from gateway.context import RequestContext
from gateway.core.agents.lineage import Tree
from gateway.core.estimates.estimate import Learned
from gateway.core.estimates.prompts import Prompts
from gateway.core.fuses.fuse import FuseBox
from gateway.core.money.prices import PriceTable
from gateway.core.oversight.approvals import Item
from gateway.core.routes.routing import Route
from gateway.decider import Decider
from gateway.forwarding import Forwarding
from gateway.ground import Ground, load_capabilities
from gateway.identity.credentials import Authenticator
from gateway.lineages import Lineages
from gateway.pipeline import Pipeline, Records
from gateway.policy.facts import classify, describe
from gateway.policy.live import Engine, LivePolicies
from gateway.ports import Clock, ScriptProfiler, Store, Telemetry
from gateway.stores import is_shared
from gateway.telemetry.audit import AuditLog
from gateway.telemetry.blast_metrics import BlastSources
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.policy_metrics import PolicySources
from gateway.telemetry.webhook import Webhook
from gateway.toolcalls import ToolCalls
from gateway.web.relay import Relay
from gateway.web.stream import Guards

ENTRIES = "system_entries"
CLOUD_WITH_ENTRIES = ("vertex", "vertex")


@dataclass(frozen=True, slots=True)
class RequestPath:
    """The steps of the request path, and what stands beside them."""

    boards: Boards
    lineages: Lineages
    decider: Decider
    tool_calls: ToolCalls
    pipeline: Pipeline
    relay: Relay


async def build_path(ground: Ground, profile: ScriptProfiler, ping_seconds: float) -> RequestPath:
    """Every step, with what was stopped, blown and asked before."""
    config, clock, store, metrics = ground.config, ground.clock, ground.store, ground.metrics
    boards = await open_boards(ground)
    lineages = build_lineages(ground.tree, store, ground.authenticator, ground.audit, clock)
    decider = Decider(ground.engine, store, ground.sinks, metrics, clock)
    forwarding = Forwarding(
        build_model_routes(config), ground.targets, ground.switchboard, ground.prices.catalogue, clock
    )
    accounting = build_accounting(config, store, ground.prices, metrics, forwarding)
    pipeline = Pipeline(
        admission=Admission(
            decider=decider,
            boards=boards,
            lineages=lineages,
            aliases=config.aliases,
            catalogue=ground.prices.catalogue,
            takes_entries=build_entry_check(forwarding),
            store=store,
            telemetry=metrics,
            clock=clock,
        ),
        controls=boards.controls,
        accounting=accounting,
        forwarding=forwarding,
        records=Records(store, ground.audit, metrics),
        clock=clock,
        tasks=ground.tasks,
    )
    tool_calls = ToolCalls(decider, boards, classify, describe, profile)
    guards = Guards(tool_calls, boards.controls, accounting.cover, boards.may_begin)
    relay = Relay(guards, clock, ground.tasks, ping_seconds=ping_seconds)
    show_live(ground, boards, relay)
    return RequestPath(boards, lineages, decider, tool_calls, pipeline, relay)


async def open_boards(ground: Ground) -> Boards:
    """Controls, fuses and approvals as the store has them."""
    config, clock, store, audit = ground.config, ground.clock, ground.store, ground.audit
    heard = build_heard(audit, ground.metrics, ground.webhook)
    boards = Boards(
        ControlBoard(store, lambda record: audit.record("control", {"control": record}), clock),
        FuseBoard(FuseBox(config.fuses), store, audit, ground.metrics, clock, ground.tree),
        ApprovalBoard(store, config.approvals, heard, ground.tasks, clock),
    )
    await restore_boards(boards, config, store)
    return boards


async def restore_boards(boards: Boards, config: Config, store: Store) -> None:
    """What was stopped, blown and asked before stands again."""
    records = await store.load_records()
    boards.controls.learn(records)
    boards.fuses.restore(records)
    await boards.approvals.restore(records, shared=is_shared(config.store))


def build_lineages(tree: Tree, store: Store, authenticator: Authenticator, audit: AuditLog, clock: Clock) -> Lineages:
    """Lineages that tell the audit trail of refused claims, and leave sessions of retired credentials to their user."""

    def tell_refused(ctx: RequestContext, what: str, holder: str) -> None:
        fields = {"at_ms": clock.unix_ms(), "request": ctx.id, "principal": ctx.principal, "claimed": what}
        audit.record("claim_refused", {**fields, "held_by": holder})

    return Lineages(
        tree,
        store,
        clock,
        tell_refused=tell_refused,
        is_retired=lambda credential: not authenticator.accepts(credential),
    )


def build_heard(audit: AuditLog, metrics: Metrics, webhook: Webhook | None) -> Heard:
    """Who hears of approvals: the audit trail, the metrics, and the configured webhook."""

    def changed(change: Change, item: Item) -> None:
        metrics.approval_changed(item.kind, change)
        if webhook is not None:
            webhook.tell(change, item)

    return Heard(audit.record, changed)


def build_accounting(
    config: Config, store: Store, prices: PriceTable, telemetry: Telemetry, forwarding: Forwarding
) -> Accounting:
    """Accounting that asks for token counts when there is an upstream to ask."""
    count = forwarding.count if any(target.counts for target in forwarding.targets.values()) else None
    fallback = config.prices.fallback_model
    return Accounting(store, prices, Learned(), Prompts(), fallback, telemetry, forwarding.clock, count)


def build_entry_check(forwarding: Forwarding) -> Callable[[RequestContext], bool]:
    """Does the model take system entries among the messages, wherever it may be asked?

    The Claude API has them for some models only and leaves that to its clients; the row of a cloud names those.
    """
    documented = load_capabilities().support(*CLOUD_WITH_ENTRIES, cells={}, betas={})
    return lambda ctx: documented.has(ENTRIES, ctx.model) and forwarding.takes(ENTRIES, ctx)


def build_model_routes(config: Config) -> list[Route]:
    """The configured routes in the words of the core."""
    return [Route(each.models, each.upstreams, each.weights, each.principals) for each in config.routes]


def build_policy_sources(config: Config, engine: Engine, approvals: ApprovalBoard) -> PolicySources:
    """Which policies decide now, and who waits for people."""
    return PolicySources(
        engine=config.policy.engine,
        mode=config.policy.mode,
        revision=lambda: engine.revision,
        memo=lambda: engine.remembered if isinstance(engine, LivePolicies) else (0, 0),
        approvals_waiting=approvals.waiting,
        approval_oldest_seconds=approvals.oldest_seconds,
    )


def build_blast_sources(boards: Boards, authenticator: Authenticator, clock: Clock) -> BlastSources:
    """The trees with their fuses and controls."""
    return BlastSources(
        tree=boards.fuses.tree,
        fuses=boards.fuses.box,
        holders=holders_of,
        meters=meters_of,
        controls=boards.controls.standing,
        team_of=lambda: {each.credential: each.team for each in authenticator.principals()},
        unix_ms=clock.unix_ms,
    )


def show_live(ground: Ground, boards: Boards, relay: Relay) -> None:
    """What is counted elsewhere and read only when the metrics are."""
    live, tree, store, clock = ground.live, ground.tree, ground.store, ground.clock

    def oldest_seconds() -> float:
        made_ms = store.open_holds()[1]
        return 0.0 if made_ms is None else max(0, clock.unix_ms() - made_ms) / 1000

    live.active_sessions = lambda: tree.active_sessions(clock.unix_ms())
    live.active_agents = lambda: tree.active_agents(clock.unix_ms())
    live.budgets = lambda: store.views(clock.unix_ms())
    live.holds_open = lambda: store.open_holds()[0]
    live.hold_oldest_seconds = oldest_seconds
    live.drains = lambda: relay.drains
    live.store_up = lambda: store.problem is None
    live.store_journal_entries = lambda: store.journal_entries
    live.policy = build_policy_sources(ground.config, ground.engine, boards.approvals)
    live.blast = build_blast_sources(boards, ground.authenticator, clock)
