"""The composition root: builds every object once, hands it down, and runs the servers. No behaviour of its own."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import aiohttp
import msgspec
import yaml
from aiohttp import web

from gateway.accounting import Accounting
from gateway.admission import Admission
from gateway.config import Config, UpstreamConfig
from gateway.contract import BODY_BYTES_MAX, HOLD_PING_SECONDS
from gateway.core.bridging.capabilities import parse_capabilities
from gateway.core.budgets import LimitRow, Limits
from gateway.core.decision import ScriptProfile
from gateway.core.estimate import Learned
from gateway.core.fuse import FuseBox, FuseLimits
from gateway.core.lineage import Tree
from gateway.core.prices import PriceTable, merge_prices, parse_prices
from gateway.core.routing import Route
from gateway.decider import Decider
from gateway.errors import GatewayError, Reason
from gateway.forwarding import Forwarding, Target
from gateway.fuseboard import FuseBoard
from gateway.identity.credentials import Authenticator, StoredCredentials
from gateway.pipeline import Pipeline, Records
from gateway.policy.facts import classify, describe
from gateway.policy.live import LiveEngine
from gateway.ports import Clock
from gateway.slots import Slots
from gateway.stores import open_store
from gateway.stores.sqlite import SqliteStore
from gateway.switchboard import Switchboard
from gateway.tasks import Tasks
from gateway.telemetry.audit import AuditLog
from gateway.telemetry.metrics import Live, Metrics
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
from gateway.web.vertex import build_vertex_routes
from runtime.check import check

HOUSEKEEPING_SECONDS = 1.0
"""How often revoked credentials and overdue holds are looked for."""
SHUTDOWN_SECONDS = 30.0
"""How long running answers and their settlements may take when the gateway is told to stop."""
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
        prices = load_prices(config)
        limits = build_limits(config)
        store = open_store(config.store.url, limits, clock.unix_ms())
        stack.push_async_callback(store.close)
        authenticator = Authenticator(config, StoredCredentials(store.credentials_version, store.load_credentials))
        audit = open_audit(config)
        stack.callback(audit.close)
        tree = restored_tree(store, clock)
        session = await stack.enter_async_context(build_session())
        targets = build_targets(config, session)
        board = Switchboard(config.upstreams, {each: target.slots for each, target in targets.items()}, clock)
        live = build_live(tree, audit, board, clock)
        metrics = build_metrics(config, prices, live, clock)
        tasks = Tasks()

        fuses = FuseBoard(restored_fuses(config, store), store, audit, metrics, clock)
        decider = Decider(engine, store, audit, metrics, clock)
        pipeline = Pipeline(
            admission=Admission(decider, fuses, tree, config.aliases, prices.catalogue, metrics, clock),
            accounting=Accounting(store, prices, Learned(), config.prices.fallback_model, clock),
            forwarding=Forwarding(build_routes(config), targets, board, prices.catalogue, clock),
            records=Records(store, audit, metrics),
            clock=clock,
            tasks=tasks,
        )
        tool_calls = ToolCalls(decider, fuses, classify, describe, profile_script)
        relay = Relay(tool_calls, clock, tasks, ping_seconds=ping_seconds)

        api = web.Application(
            middlewares=build_middlewares(authenticator, clock, pipeline), client_max_size=BODY_BYTES_MAX
        )
        api.add_routes(build_health_routes(lambda: store.problem is None))
        inference = Inference(pipeline, relay)
        for build in (build_anthropic_routes, build_bedrock_routes, build_vertex_routes):
            api.add_routes(build(inference))
        api.add_routes(build_admin_routes(store, fuses, tree, board, clock))
        api.add_routes(build_explain_routes(Explainer(limits, store, fuses.box, tree, authenticator, clock)))
        housekeeping = tasks.spawn("housekeeping", keep_house(authenticator, store, clock))
        try:
            yield Gateway(api, build_metrics_app(metrics.render), engine, tasks)
        finally:
            housekeeping.cancel()
            for name in await tasks.close(SHUTDOWN_SECONDS):
                _log.warning("task %s did not end in time and was cancelled", name)
            for target in targets.values():
                await target.upstream.close()


async def keep_house(authenticator: Authenticator, store: SqliteStore, clock: Clock) -> None:
    """Every second: take over new and revoked credentials, expire overdue holds."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        try:
            for problem in authenticator.refresh():
                _log.error("credentials: %s", problem)
            for hold_id in store.expire(clock.unix_ms()):
                _log.warning("hold %s was never settled and is now spend", hold_id)
        except Exception as error:  # noqa: BLE001  # whatever it was, the next round must revoke and expire
            _log.exception("housekeeping failed (%s); it is tried again", error)


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
        )

    return {each.id: target(each) for each in config.upstreams}


def build_limits(config: Config) -> Limits:
    """The configured budgets in the words of the core."""
    return Limits(
        LimitRow(row.account, row.window, row.limit_nanousd, row.strict, entry)
        for entry, row in enumerate(config.budgets)
    )


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


def restored_tree(store: SqliteStore, clock: Clock) -> Tree:
    """The tree with the agents of the last days in it."""
    tree = Tree()
    tree.restore(store.load_agents(clock.unix_ms() - AGENTS_REMEMBERED_MS))
    return tree


def restored_fuses(config: Config, store: SqliteStore) -> FuseBox:
    """All fuses, the blown ones still blown."""
    box = FuseBox(FuseLimits(agent=config.fuses.agent, session=config.fuses.session, run=config.fuses.run))
    box.restore(store.load_fuses())
    return box


def build_metrics(config: Config, prices: PriceTable, live: Live, clock: Clock) -> Metrics:
    """Metrics whose labels are bounded by the price table and the configured teams."""

    def model_label(model: str) -> str | None:
        price = prices.find(model, clock.unix_ms())
        return price.id if price is not None else None

    return Metrics(model_label, [team.id for team in config.org.teams], live=live)


def build_live(tree: Tree, audit: AuditLog, board: Switchboard, clock: Clock) -> Live:
    """What is counted elsewhere and read only when the metrics are."""
    return Live(
        active_sessions=lambda: tree.active_sessions(clock.unix_ms()),
        active_agents=lambda: tree.active_agents(clock.unix_ms()),
        audit_failures=lambda: audit.failures,
        upstreams=board.views,
    )


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
        api = web.AppRunner(gateway.api, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
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
