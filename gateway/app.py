"""The composition root: builds every object once, hands it down, and runs the servers. No behaviour of its own."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from aiohttp import web

from gateway.assembly import RequestPath, build_path
from gateway.config import Config, ConfigInvalid
from gateway.contract import BODY_BYTES_MAX, HOLD_PING_SECONDS
from gateway.core.decisions.decision import ScriptProfile
from gateway.errors import GatewayError
from gateway.ground import Ground, open_ground
from gateway.hooks import Hooks
from gateway.housekeeping import House, keep_doing
from gateway.identity.credentials import Authenticator
from gateway.mount import Mounted, mount_runs
from gateway.outside import Facts, Outside
from gateway.pipeline import Pipeline
from gateway.policy.facts import classify, describe
from gateway.policy.live import Engine, laid_over
from gateway.ports import Clock
from gateway.stores import is_shared
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.web.admin import build_admin_routes
from gateway.web.anthropic import build_anthropic_routes
from gateway.web.approvals import build_approval_routes
from gateway.web.bedrock import build_bedrock_routes
from gateway.web.controls import build_control_routes
from gateway.web.decisions import build_decision_routes
from gateway.web.explain import Explainer, build_explain_routes
from gateway.web.health import build_health_routes, build_metrics_app
from gateway.web.hooks import build_hook_routes
from gateway.web.inference import Inference
from gateway.web.middlewares import build_middlewares
from gateway.web.run_stream import RunStreams
from gateway.web.runs import build_run_routes
from gateway.web.spend_limits import SpendLimits, build_spend_limit_routes
from gateway.web.top import build_session_routes
from gateway.web.usage import build_usage_routes
from gateway.web.vertex import build_vertex_routes
from runtime.check import check

SETTLE_SECONDS = 30.0
"""How long answers whose client has left may be read for their usage after the last running answer has ended."""

BACKLOG = 1024
"""Connections that wait to be accepted: a thousand agents may come at once; who is dropped waits for seconds."""

Reread = Callable[[], Config]
"""The configuration as it is now. Raises ConfigInvalid."""

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
    engine: Engine
    counters: Metrics
    tasks: Tasks
    mounted: Mounted

    async def reload_policies(self, reread: Reread | None = None) -> None:
        """Take over the policies as they are on disk, and what the configuration lays over them, or say why not.

        Those in use stay then.
        """
        try:
            revision = await self.engine.reload(None if reread is None else laid_over(reread().policy))
        except (GatewayError, ConfigInvalid) as error:
            _log.error("policies were not reloaded, %s stay in use: %s", self.engine.revision, error)
            self.counters.policies_reloaded(taken=False)
        else:
            self.counters.policies_reloaded(taken=True)
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
        ground = await open_ground(config, clock, stack)
        path = await build_path(ground, profile_script, ping_seconds)
        mounted = await stack.enter_async_context(mount_runs(ground, path, profile_script))
        streams = RunStreams()
        routes = [*build_routes(ground, path), build_run_routes(mounted.desk, streams)]
        api = build_api(ground.authenticator, path.pipeline, routes)
        api.on_shutdown.append(streams.close)
        house = House(ground.authenticator, ground.store, clock)
        chores = house.chores(path.boards, ground.tree, ground.audit, ground.metrics)
        tasks = ground.tasks
        running = [tasks.spawn(each.name, keep_doing(each)) for each in chores]
        for name, webhook in (("approvals webhook", ground.webhook), ("runs webhook", ground.run_webhook)):
            if webhook is not None:
                running.append(tasks.spawn(name, webhook.run()))
        try:
            yield Gateway(api, build_metrics_app(ground.metrics.page), ground.engine, ground.metrics, tasks, mounted)
        finally:
            for chore in running:
                chore.cancel()
            await mounted.leave()
            for name in await tasks.close(SETTLE_SECONDS):
                _log.warning("task %s did not end in time and was cancelled", name)
            await path.boards.controls.keep()
            for target in ground.targets.values():
                await target.upstream.close()


def build_routes(ground: Ground, path: RequestPath) -> list[list[web.RouteDef]]:
    """Every path of the API port but the health checks."""
    config, clock, boards, calls = ground.config, ground.clock, path.boards, path.tool_calls
    hooks = Hooks(
        lineages=path.lineages,
        boards=boards,
        calls=replace(calls, approval="remembered"),
        passed_calls=replace(calls, approval="given"),
        seen=calls.seen,
        store=ground.store,
        clock=clock,
        counted=ground.metrics.hook_received,
        shared=is_shared(config.store),
    )
    facts = Facts(ground.prices.catalogue, classify, describe, profile_script)
    outside = Outside(path.decider, boards, path.lineages, ground.authenticator, facts)
    backends = tuple(sorted({upstream.backend for upstream in config.upstreams}))
    spend_limits = SpendLimits(ground.limits, ground.store, ground.store, ground.authenticator, backends, clock)
    explainer = Explainer(ground.store, boards.fuses.box, ground.tree, ground.authenticator, clock)
    return [
        *build_inference_routes(Inference(path.pipeline, path.relay)),
        build_hook_routes(hooks),
        build_decision_routes(outside),
        build_admin_routes(boards.fuses, ground.switchboard),
        build_session_routes(boards.fuses.box, ground.tree, clock),
        build_control_routes(boards.controls, ground.tree),
        build_approval_routes(boards.approvals, profile_script, clock),
        build_explain_routes(explainer),
        build_spend_limit_routes(spend_limits),
        build_usage_routes(ground.store, clock),
    ]


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


def profile_script(script: str) -> ScriptProfile:
    """The runtime's static profile in the words of the policy query."""
    return msgspec.convert(msgspec.to_builtins(check(script)), ScriptProfile)


def serve(config: Config, config_path: Path, reread: Reread) -> int:
    """Run until SIGTERM or SIGINT; the exit code. One line on stdout says when requests are taken.

    SIGHUP takes over the policies and the settings that `reread` finds for them; all else stays as it is.
    """
    try:
        asyncio.run(_serve(config, config_path, reread))
    except GatewayError as error:
        print(f"ringfence: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"ringfence: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config, config_path: Path, reread: Reread) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_gateway(config, SystemClock()) as gateway:
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: gateway.tasks.spawn("reload", gateway.reload_policies(reread))
        )
        api = web.AppRunner(
            gateway.api, access_log=None, handler_cancellation=True, shutdown_timeout=config.listen.drain_seconds
        )
        metrics = web.AppRunner(gateway.metrics, access_log=None)
        try:
            for runner, listen in ((api, config.listen), (metrics, config.metrics)):
                await runner.setup()
                await web.TCPSite(runner, listen.host, listen.port, backlog=BACKLOG).start()
            gateway.mounted.reached_at(own_url(api))
            _spare_the_collector()
            print(_ready_line(gateway, config_path, api, metrics), flush=True)
            await stop.wait()
        finally:
            await gateway.mounted.leave()
            await api.cleanup()
            await metrics.cleanup()


def _spare_the_collector() -> None:
    """Take what stays for good out of the garbage collector's sight: walking it holds up every request, for 0.1 s."""
    gc.collect()
    gc.freeze()


def own_url(api: web.AppRunner) -> str:
    """Where this process reaches its own API."""
    host, port = str(api.addresses[0][0]), api.addresses[0][1]
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _ready_line(gateway: Gateway, config_path: Path, api: web.AppRunner, metrics: web.AppRunner) -> str:
    urls = [f"http://{runner.addresses[0][0]}:{runner.addresses[0][1]}" for runner in (api, metrics)]
    policies = f"policies {gateway.engine.revision}, config {config_path}"
    return f"ringfence ready at {urls[0]}, metrics at {urls[1]}/metrics, {policies}"
