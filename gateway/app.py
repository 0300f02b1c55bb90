"""The composition root: builds every object once, hands it down, and runs the servers. No behaviour of its own."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import aiohttp
import msgspec
import yaml
from aiohttp import web

from gateway.accounting import Accounting
from gateway.admission import Admission
from gateway.config import Config, ConfigInvalid, UpstreamConfig
from gateway.contract import BODY_BYTES_MAX, HOLD_PING_SECONDS
from gateway.core.bridging.capabilities import parse_capabilities
from gateway.core.budgets import Expired
from gateway.core.decision import ScriptProfile
from gateway.core.estimate import Learned
from gateway.core.fuse import FuseBox, FuseLimits
from gateway.core.limits import Limits
from gateway.core.lineage import Tree
from gateway.core.prices import PriceTable, merge_prices, parse_prices
from gateway.core.prompts import Prompts
from gateway.core.routing import Route
from gateway.core.windows import Calendar
from gateway.decider import Decider
from gateway.errors import GatewayError, Reason
from gateway.forwarding import Forwarding, Target
from gateway.fuseboard import FuseBoard
from gateway.identity.credentials import Authenticator, StoredCredentials
from gateway.pipeline import Pipeline, Records
from gateway.policy.facts import classify, describe
from gateway.policy.live import LiveEngine
from gateway.ports import AuditSink, Clock, Store, Telemetry, Told
from gateway.slots import Slots
from gateway.stores import open_store
from gateway.switchboard import Switchboard
from gateway.tasks import Tasks
from gateway.telemetry.audit import AuditLog
from gateway.telemetry.live import Live
from gateway.telemetry.metrics import Metrics
from gateway.toolcalls import ToolCalls
from gateway.upstreams import build_session, build_upstream
from gateway.web.admin import build_admin_routes
from gateway.web.anthropic import build_anthropic_routes
from gateway.web.bedrock import build_bedrock_routes
from gateway.web.explain import Explainer, build_explain_routes
from gateway.web.health import build_health_routes, build_metrics_app
from gateway.web.inference import Inference
from gateway.web.middlewares import build_middlewares
from gateway.web.relay import Relay
from gateway.web.spend_limits import SpendLimits, build_spend_limit_routes
from gateway.web.usage import build_usage_routes
from gateway.web.vertex import build_vertex_routes
from runtime.check import check

HOUSEKEEPING_SECONDS = 1.0
"""How often revoked credentials and overdue holds are looked for."""
SETTLE_SECONDS = 30.0
"""How long answers whose client has left may be read for their usage after the last running answer has ended."""
AGENTS_REMEMBERED_MS = 7 * 24 * 3600 * 1000
"""Agents seen within this time are put back into the tree at start, with their meters."""

_log = logging.getLogger(__name__)


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return time.perf_counter()

    def unix_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a server needs of the built gateway."""

    api: web.Application
    metrics: web.Application
    engine: LiveEngine
    tasks: Tasks

    async def reload_policies(self) -> None:
        """Take over the policies as they are on disk, or say why not and keep those in use."""
        try:
            revision = await self.engine.reload()
        except GatewayError as error:
            _log.error("policies were not reloaded, %s stay in use: %s", self.engine.revision, error.message)
        else:
            _log.warning("policies reloaded: %s", revision)


@contextlib.asynccontextmanager
async def open_gateway(
    config: Config, clock: Clock, *, ping_seconds: float = HOLD_PING_SECONDS
) -> AsyncGenerator[Gateway]:
    """Build everything from a checked configuration; on the way out, finish what runs and close it.

    Raises:
        GatewayError: policies or store cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        engine = LiveEngine(config.policy.folder, config.policy.overrides, config.policy.mode)
        prices, limits = load_prices(config), Limits(config.budgets)
        audit = open_audit(config)
        stack.callback(audit.close)
        session = await stack.enter_async_context(build_session())
        targets = build_targets(config, session)
        board = Switchboard(config.upstreams, {each: target.slots for each, target in targets.items()}, clock)
        tree, live = Tree(), Live(audit_failures=lambda: audit.failures, upstreams=board.views)
        metrics = build_metrics(config, prices, live, clock)
        calendar, told = Calendar(config.org.time_zone), build_told(metrics, audit, clock)
        store = await open_store(config.store, limits, calendar, clock.unix_ms(), told=told)
        stack.push_async_callback(store.close)
        record_expired(store.expired_at_open, audit, metrics, clock)
        tree.restore(await store.load_agents(clock.unix_ms() - AGENTS_REMEMBERED_MS))
        authenticator = await open_authenticator(config, store)
        tasks = Tasks()

        fuses = FuseBoard(await restored_fuses(config, store), store, audit, metrics, clock)
        decider = Decider(engine, store, audit, metrics, clock)
        forwarding = Forwarding(build_routes(config), targets, board, prices.catalogue, clock)
        accounting = build_accounting(config, store, prices, metrics, forwarding)
        pipeline = Pipeline(
            admission=Admission(decider, fuses, tree, config.aliases, prices.catalogue, metrics, clock),
            accounting=accounting,
            forwarding=forwarding,
            records=Records(store, audit, metrics),
            clock=clock,
            tasks=tasks,
        )
        tool_calls = ToolCalls(decider, fuses, classify, describe, profile_script)
        relay = Relay(tool_calls, clock, tasks, cover=accounting.cover, ping_seconds=ping_seconds)
        show_live(live, tree, store, relay, clock)

        spend_limits = SpendLimits(limits, store, store, authenticator, upstream_backends(config), clock)
        routes = (
            *build_inference_routes(Inference(pipeline, relay)),
            build_admin_routes(fuses, tree, board),
            build_explain_routes(Explainer(store, fuses.box, tree, authenticator, clock)),
            build_spend_limit_routes(spend_limits),
            build_usage_routes(store, clock),
        )
        api = build_api(authenticator, pipeline, routes)
        housekeeping = tasks.spawn("housekeeping", keep_house(authenticator, store, audit, metrics, clock))
        try:
            yield Gateway(api, build_metrics_app(metrics.render), engine, tasks)
        finally:
            housekeeping.cancel()
            for name in await tasks.close(SETTLE_SECONDS):
                _log.warning("task %s did not end in time and was cancelled", name)
            for target in targets.values():
                await target.upstream.close()


def build_accounting(
    config: Config, store: Store, prices: PriceTable, telemetry: Telemetry, forwarding: Forwarding
) -> Accounting:
    """Accounting that asks for token counts when there is an upstream to ask."""
    count = forwarding.count if any(target.counts for target in forwarding.targets.values()) else None
    fallback = config.prices.fallback_model
    return Accounting(store, prices, Learned(), Prompts(), fallback, telemetry, forwarding.clock, count)


def build_inference_routes(inference: Inference) -> list[list[web.RouteDef]]:
    """The paths of every dialect."""
    return [build(inference) for build in (build_anthropic_routes, build_bedrock_routes, build_vertex_routes)]


def build_api(
    authenticator: Authenticator, pipeline: Pipeline, routes: Iterable[Iterable[web.RouteDef]]
) -> web.Application:
    """The application of the API port."""
    middlewares = build_middlewares(authenticator, pipeline.clock, pipeline)
    api = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES_MAX)
    for each in (build_health_routes(), *routes):
        api.add_routes(each)
    return api


async def keep_house(
    authenticator: Authenticator, store: Store, audit: AuditSink, telemetry: Telemetry, clock: Clock
) -> None:
    """Every second: take over new and revoked credentials, expire overdue holds."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        try:
            for problem in await authenticator.refresh():
                _log.error("credentials: %s", problem)
        except Exception as error:  # noqa: BLE001  # overdue holds must expire all the same
            _log.exception("reading credentials failed (%s); it is tried again", error)
        try:
            record_expired(await store.expire(clock.unix_ms()), audit, telemetry, clock)
        except Exception as error:  # noqa: BLE001  # whatever it was, the next round must expire
            _log.exception("expiring holds failed (%s); it is tried again", error)


async def open_authenticator(config: Config, store: Store) -> Authenticator:
    """Everybody who may connect. Raises ConfigInvalid when two credentials share an id or a secret."""
    authenticator = Authenticator(config, StoredCredentials(store.credentials_version, store.load_credentials))
    if problems := await authenticator.refresh():
        raise ConfigInvalid(problems)
    return authenticator


def build_told(telemetry: Telemetry, audit: AuditSink, clock: Clock) -> Told:
    """Settlements that took spend past a limit are counted, those of expired holds recorded."""
    return Told(telemetry.overshot, lambda hold_id: audit.corrected(hold_id, clock.unix_ms()))


def record_expired(expired: Sequence[Expired], audit: AuditSink, telemetry: Telemetry, clock: Clock) -> None:
    """Holds that nobody ended are spend now; say so wherever spend is read."""
    for each in expired:
        _log.warning("hold %s was never settled and is now spend", each.id)
        audit.expired(each, clock.unix_ms())
    telemetry.hold_expired(len(expired))


def open_audit(config: Config) -> AuditLog:
    """The audit log. Raises `GatewayError` when its file cannot be written: nothing is served without evidence."""
    try:
        return AuditLog(config.audit.path, config.audit.rotate_bytes, config.audit.keep)
    except OSError as error:
        problem = f"audit.path: {config.audit.path} cannot be written ({error.strerror or error})"
        raise GatewayError(Reason.STORE_UNAVAILABLE, problem) from None


def build_targets(config: Config, session: aiohttp.ClientSession) -> dict[str, Target]:
    """Every configured upstream with what it lacks, its places and its names. Raises what `build_upstream` raises."""
    capabilities = parse_capabilities(yaml.safe_load(_packaged("capabilities.yaml")))

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


def build_routes(config: Config) -> list[Route]:
    """The configured routes in the words of the core."""
    return [Route(each.models, each.upstreams, each.weights, each.principals) for each in config.routes]


def _packaged(name: str) -> str:
    return resources.files("gateway").joinpath(name).read_text()


def load_prices(config: Config) -> PriceTable:
    """The packaged prices with the configured file laid over them. Raises what `parse_prices` raises."""
    document = yaml.safe_load(_packaged("prices.yaml"))
    if config.prices.path is not None:
        document = merge_prices(document, yaml.safe_load(config.prices.path.read_text()))
    return parse_prices(document)


async def restored_fuses(config: Config, store: Store) -> FuseBox:
    """All fuses, the blown ones still blown."""
    box = FuseBox(FuseLimits(agent=config.fuses.agent, session=config.fuses.session, run=config.fuses.run))
    box.restore(await store.load_fuses())
    return box


def build_metrics(config: Config, prices: PriceTable, live: Live, clock: Clock) -> Metrics:
    """Metrics whose labels are bounded by the price table and the configured teams."""

    def model_label(model: str) -> str | None:
        price = prices.find(model, clock.unix_ms())
        return price.id if price is not None else None

    return Metrics(model_label, [team.id for team in config.org.teams], live=live)


def show_live(live: Live, tree: Tree, store: Store, relay: Relay, clock: Clock) -> None:
    """What is counted elsewhere and read only when the metrics are."""

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


def upstream_backends(config: Config) -> tuple[str, ...]:
    """The backends that requests may go to."""
    return tuple(sorted({upstream.backend for upstream in config.upstreams}))


def profile_script(script: str) -> ScriptProfile:
    """The runtime's static profile in the words of the policy query."""
    return msgspec.convert(msgspec.to_builtins(check(script)), ScriptProfile)


def serve(config: Config, config_path: Path) -> int:
    """Run until SIGTERM or SIGINT; the exit code. One line on stdout says when requests are taken."""
    try:
        asyncio.run(_serve(config, config_path))
    except GatewayError as error:
        print(f"ringfence: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"ringfence: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, config_path: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_gateway(config, SystemClock()) as gateway:
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: gateway.tasks.spawn("reload", gateway.reload_policies())
        )
        api = web.AppRunner(
            gateway.api, access_log=None, handler_cancellation=True, shutdown_timeout=config.listen.drain_seconds
        )
        metrics = web.AppRunner(gateway.metrics, access_log=None)
        try:
            for runner, listen in ((api, config.listen), (metrics, config.metrics)):
                await runner.setup()
                await web.TCPSite(runner, listen.host, listen.port).start()
            print(_ready_line(gateway, config_path, api, metrics), flush=True)
            await stop.wait()
        finally:
            await api.cleanup()
            await metrics.cleanup()


def _ready_line(gateway: Gateway, config_path: Path, api: web.AppRunner, metrics: web.AppRunner) -> str:
    urls = [f"http://{runner.addresses[0][0]}:{runner.addresses[0][1]}" for runner in (api, metrics)]
    policies = f"policies {gateway.engine.revision}, config {config_path}"
    return f"ringfence ready at {urls[0]}, metrics at {urls[1]}/metrics, {policies}"
