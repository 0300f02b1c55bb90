"""What a gateway stands on, opened from its configuration: audit, store, upstreams, policies, metrics, credentials.

Knows the adapters by name. What a request goes through is `assembly.py`; servers and paths are `app.py`.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import aiohttp
import yaml

from gateway import __version__
from gateway.config import Config, ConfigInvalid, UpstreamConfig
from gateway.core.agents.lineage import Tree
from gateway.core.bridging.capabilities import Capabilities, parse_capabilities
from gateway.core.money.limits import Limits
from gateway.core.money.prices import PriceTable, merge_prices, parse_prices
from gateway.core.money.windows import Calendar
from gateway.errors import GatewayError, Reason
from gateway.forwarding import Target
from gateway.housekeeping import record_expired
from gateway.identity.credentials import Authenticator, StoredCredentials
from gateway.policy.decisionlog import open_decision_log
from gateway.policy.live import Engine, open_engine
from gateway.policy.opa import Limits as Asking
from gateway.ports import AuditSink, Clock, DecisionSink, Store, Telemetry, Told
from gateway.slots import Slots
from gateway.stores import open_store
from gateway.switchboard import Switchboard
from gateway.tasks import Tasks
from gateway.telemetry.audit import AuditLog
from gateway.telemetry.live import Live
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.webhook import Webhook
from gateway.upstreams import build_session, build_upstream

_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""Of YAML that we wrote: a start waits for it, and the one in Python takes seven times as long."""
AGENTS_REMEMBERED_MS = 7 * 24 * 3600 * 1000
"""Agents seen within this time are put back into the tree at start, with their meters."""


@dataclass(frozen=True, slots=True)
class Ground:
    """All of it, open."""

    config: Config
    clock: Clock
    tasks: Tasks
    tree: Tree
    limits: Limits
    prices: PriceTable
    audit: AuditLog
    live: Live
    metrics: Metrics
    targets: Mapping[str, Target]
    switchboard: Switchboard
    engine: Engine
    sinks: Sequence[DecisionSink]
    """Who is told of decisions."""
    store: Store
    authenticator: Authenticator
    webhook: Webhook | None
    """Told of approvals."""
    run_webhook: Webhook | None
    """Told of runs."""


async def open_ground(config: Config, clock: Clock, stack: contextlib.AsyncExitStack) -> Ground:
    """Open everything; `stack` closes it. Raises `GatewayError`: policies or store cannot be used."""
    prices, limits, tree = load_prices(config), Limits(config.budgets), Tree()
    audit = open_audit(config)
    stack.callback(audit.close)
    session = await stack.enter_async_context(build_session())
    targets = build_targets(config, session)
    switchboard = Switchboard(config.upstreams, {each: target.slots for each, target in targets.items()}, clock)
    live = Live(audit_failures=lambda: audit.failures, upstreams=switchboard.views)
    metrics = build_metrics(config, prices, live, clock)
    engine = await stack.enter_async_context(open_counted_engine(config, metrics, clock))
    sinks: list[DecisionSink] = [audit]
    if config.policy.decision_log is not None:
        sinks.append(await stack.enter_async_context(open_decision_log(config.policy.decision_log, __version__)))
    calendar, told = Calendar(config.org.time_zone), build_told(metrics, audit, clock)
    store = await open_store(config.store, limits, calendar, clock.unix_ms(), told=told)
    stack.push_async_callback(store.close)
    record_expired(store.expired_at_open, audit, metrics, clock)
    tree.restore(await store.load_agents(clock.unix_ms() - AGENTS_REMEMBERED_MS))
    hook, run_hook = config.approvals.webhook, config.runs.webhook
    return Ground(
        config=config,
        clock=clock,
        tasks=Tasks(),
        tree=tree,
        limits=limits,
        prices=prices,
        audit=audit,
        live=live,
        metrics=metrics,
        targets=targets,
        switchboard=switchboard,
        engine=engine,
        sinks=sinks,
        store=store,
        authenticator=await open_authenticator(config, store),
        webhook=None if hook is None else Webhook(hook, session, clock),
        run_webhook=None if run_hook is None else Webhook(run_hook, session, clock, section="runs"),
    )


async def open_authenticator(config: Config, store: Store) -> Authenticator:
    """Everybody who may connect. Raises ConfigInvalid when two credentials share an id or a secret."""
    authenticator = Authenticator(config, StoredCredentials(store.credentials_version, store.load_credentials))
    if problems := await authenticator.refresh():
        raise ConfigInvalid(problems)
    return authenticator


def build_told(telemetry: Telemetry, audit: AuditSink, clock: Clock) -> Told:
    """Settlements that took spend past a limit are counted, those of expired holds recorded."""
    return Told(telemetry.overshot, lambda hold_id: audit.corrected(hold_id, clock.unix_ms()))


def open_audit(config: Config) -> AuditLog:
    """The audit log. Raises `GatewayError` when its file cannot be written: nothing is served without evidence."""
    try:
        return AuditLog(config.audit.path, config.audit.rotate_bytes, config.audit.keep)
    except OSError as error:
        problem = f"audit.path: {config.audit.path} cannot be written ({error.strerror or error})"
        raise GatewayError(Reason.STORE_UNAVAILABLE, problem) from None


@cache
def load_capabilities() -> Capabilities:
    """The packaged capability table."""
    return parse_capabilities(_packaged("capabilities.yaml"))


def build_targets(config: Config, session: aiohttp.ClientSession) -> dict[str, Target]:
    """Every configured upstream with what it lacks, its places and its names. Raises what `build_upstream` raises."""
    capabilities = load_capabilities()

    def target(each: UpstreamConfig) -> Target:
        upstream = build_upstream(each, session)
        return Target(
            upstream=upstream,
            support=capabilities.support(each.backend, upstream.shape, cells=each.capabilities, betas=each.betas),
            slots=Slots(each.concurrent_max),
            queue_seconds=each.queue_seconds,
            models=each.models,
            profile=each.profile,
            region=each.region,
            multiplier=each.price_multiplier,
            counts=each.count_tokens,
        )

    return {each.id: target(each) for each in config.upstreams}


@cache
def _packaged(name: str) -> dict[str, Any]:
    return yaml.load(resources.files("gateway").joinpath(name).read_text(), Loader=_Loader)


def load_prices(config: Config) -> PriceTable:
    """The packaged prices with the configured file laid over them. Raises what `parse_prices` raises."""
    document = _packaged("prices.yaml")
    if config.prices.path is not None:
        document = merge_prices(document, yaml.safe_load(config.prices.path.read_text()))
    return parse_prices(document)


def build_metrics(config: Config, prices: PriceTable, live: Live, clock: Clock) -> Metrics:
    """Metrics whose labels are bounded by the price table and the configured teams."""

    def model_label(model: str) -> str | None:
        price = prices.find(model, clock.unix_ms())
        return price.id if price is not None else None

    return Metrics(model_label, [team.id for team in config.org.teams], live=live)


def open_counted_engine(
    config: Config, metrics: Metrics, clock: Clock
) -> contextlib.AbstractAsyncContextManager[Engine]:
    """The configured engine; the metrics are told what became of questions to OPA and of polled policy sets."""

    def polled(taken: bool) -> None:
        metrics.policies_reloaded(taken=taken)

    return open_engine(config.policy, clock, Asking(config.policy.timeout_ms, metrics.opa_asked), polled=polled)
