"""Mounts the workflow runtime on the gateway: its ports on the gateway's parts, its desk behind the gateway's paths.

The only place besides `app.py` and `__main__.py` that knows both. The runtime's agents reach the gateway over HTTP like
any client: their base URL is known once the server listens.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.assembly import RequestPath
from gateway.config.model import Runs as RunsConfig
from gateway.core.decisions.decision import Principal
from gateway.errors import GatewayError, Reason
from gateway.ground import Ground
from gateway.mount.desk import MountedDesk
from gateway.mount.news import NewsListener
from gateway.mount.policy import GateAdmission, PriceTags
from gateway.ports import ScriptProfiler
from gateway.runs.gate import RunGate, Setting
from gateway.runs.listprices import ListPrices
from gateway.runs.room import Room
from gateway.runs.shortnames import short_names
from gateway.runs.told import RunNews
from runtime.agents.attempts import LocalAgents, Means, dispatch_of
from runtime.agents.client import GatewayClient
from runtime.agents.judging import SchemaJudge
from runtime.attempts import Attempts, Places
from runtime.core.governor import Governor
from runtime.core.limits import KIB, MIB, Limits
from runtime.core.sizes import warn_past
from runtime.desk import Desk
from runtime.draft.drafting import Drafter
from runtime.draft.drafting import Means as DraftMeans
from runtime.launch import Settings
from runtime.library import Library
from runtime.lookup import Lookup
from runtime.mailbox import Mailbox
from runtime.planning import Planner
from runtime.ports import Prices
from runtime.readings import Readings
from runtime.runner import Ground as RunGround
from runtime.runs import Runs
from runtime.sandbox.host import ChildSandboxes
from runtime.stores import StoreInvalid, open_run_store
from runtime.tools.bubblewrap import Bubblewrap, NoSandbox, find_bubblewrap
from runtime.tools.toolbox import FolderToolboxes
from runtime.workspace import Folders, GitWorkspaces

CHORE_SECONDS = 1.0
HEARTBEAT_SECONDS = 3.0
"""How long a script that may compute no longer still may owe an answer."""
LETTER_SECONDS = 0.3
"""How soon what another gateway was asked is done here, about."""
REFRESH_SECONDS = 0.5
PURGE_SECONDS = 3_600.0
AGENTS_AT_ONCE = 1_024
"""Model requests of all runs to one upstream, at most."""

NOWHERE = "http://127.0.0.1:9"
"""Until it is known where the gateway listens."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Mounted:
    """The runtime, at work."""

    desk: MountedDesk
    runs: Runs
    client: GatewayClient
    chores: list[asyncio.Task[None]]
    listens: asyncio.Event
    """Set when the gateway can be reached: until then no run is taken up."""

    def reached_at(self, base_url: str) -> None:
        """The gateway listens there: agents may ask it, and runs that were left are taken up."""
        self.client.reach(base_url)
        self.listens.set()

    async def leave(self) -> None:
        """Leave every run so that it can be taken up again. May be called more than once."""
        for chore in self.chores:
            chore.cancel()
        await self.runs.close()


@contextlib.asynccontextmanager
async def mount_runs(ground: Ground, path: RequestPath, profile: ScriptProfiler) -> AsyncGenerator[Mounted]:
    """Build the runtime. `leave` is called before the gateway's tasks are ended; on the way out everything is closed.

    Raises `GatewayError`: the store of runs cannot be used.
    """
    config, clock, tasks = ground.config, ground.clock, ground.tasks
    names = short_names(ground.prices, config.aliases)
    settings, prices = build_settings(config.runs, names), build_prices(ground)
    folders = Folders([str(each) for each in config.runs.workspaces])
    workspaces, judge, client = GitWorkspaces(folders), SchemaJudge(), GatewayClient(NOWHERE)
    shell = await find_shell(config.runs)
    try:
        store = await open_run_store(config.store.url, spawn=tasks.spawn)
    except StoreInvalid as error:
        raise GatewayError(Reason.STORE_UNAVAILABLE, f"store.url: {error}") from None
    means = Means(
        client=client,
        judge=judge,
        toolboxes=FolderToolboxes(shell),
        workspaces=workspaces,
        prices=prices,
        clock=clock,
    )
    news = RunNews(ground.metrics.runs, ground.audit.record, ground.run_webhook, clock)
    ground.live.runs = news
    listener, scripts = NewsListener(news), Library(store)
    admission = GateAdmission(
        build_gate(ground, path, profile), ground.authenticator.run_bearers, Room(ground.store, clock)
    )
    places = Places(Governor(AGENTS_AT_ONCE), clock)
    attempts = Attempts(agents=LocalAgents(means), admission=admission, places=places, listener=listener)
    run_ground = RunGround(
        store=store,
        sandboxes=ChildSandboxes(),
        attempts=attempts,
        lookup=Lookup(scripts),
        listener=listener,
        clock=clock,
        spawn=tasks.spawn,
    )
    runs = Runs(run_ground, admission, workspaces, settings=settings, me=own_name())
    readings = Readings(runs)
    desk = Desk(runs, readings, scripts, settings)
    planner = Planner(desk, scripts, prices, settings)
    drafter = build_drafter(planner, attempts, means, settings)
    listens = asyncio.Event()
    chores = [
        tasks.spawn(f"runs: {name}", _keep_doing(listens, name, seconds, work))
        for name, seconds, work in chores_of(runs, places, desk.mailbox)
    ]
    try:
        yield Mounted(MountedDesk(desk, readings, planner, drafter), runs, client, chores, listens)
    finally:
        await client.close()
        await judge.close()
        await store.close()


Work = Callable[[], Awaitable[None]]


def chores_of(runs: Runs, places: Places, mailbox: Mailbox) -> list[tuple[str, float, Work]]:
    """What is done again and again."""

    async def grant() -> None:
        places.grant()

    return [
        ("hold on to leases", CHORE_SECONDS, runs.renew),
        ("take over", CHORE_SECONDS, runs.take_over),
        ("answer letters", LETTER_SECONDS, mailbox.answer),
        ("show runs to others", REFRESH_SECONDS, runs.refresh),
        ("let sleep", CHORE_SECONDS, runs.let_sleep),
        ("look for room", CHORE_SECONDS, runs.look_for_room),
        ("grant places", CHORE_SECONDS, grant),
        ("forget what is old", PURGE_SECONDS, runs.purge),
    ]


async def find_shell(config: RunsConfig) -> Bubblewrap | NoSandbox:
    """What runs the commands of agents. Not looked for, which starts a process, where no agent can have a folder."""
    if not config.bash:
        return NoSandbox("runs.bash is off in the configuration")
    if not config.workspaces:
        return NoSandbox("runs.workspaces names no folder that agents may work in")
    return await find_bubblewrap()


def build_settings(config: RunsConfig, models: Mapping[str, str]) -> Settings:
    """The configuration, in the runtime's words. `models`: what short names of models stand for."""
    pauses = config.confirm == "pause"
    return Settings(
        enabled=config.enabled,
        limits=Limits(
            concurrency=config.concurrency,
            agents=config.agents_max,
            lifetime_seconds=config.lifetime_seconds,
            warn_agents=warn_past(config.size_guideline, config.confirm_agents),
            warn_tokens=config.confirm_tokens,
            stagger_ms=config.stagger_ms,
            admission_reserve=config.admission_reserve,
            drain_cpu_seconds=config.script_drain_seconds,
            total_cpu_seconds=config.script_cpu_seconds,
            heartbeat_seconds=config.script_drain_seconds + HEARTBEAT_SECONDS,
            heap_bytes=config.script_heap_mib * MIB,
            stack_bytes=config.script_stack_kib * KIB,
        ),
        model=config.model,
        forced_model=config.workflow_model,
        models=models,
        open_per_session=config.open_per_session,
        max_cost_nanousd=config.max_cost_nanousd,
        confirm_agents=config.confirm_agents if pauses else None,
        confirm_tokens=config.confirm_tokens if pauses else None,
        asks=config.approval == "ask",
        auto_resume=config.auto_resume,
        strict_options=config.strict_options,
        pipeline_null=config.pipeline_null,
        keep_days=config.keep_days,
        guideline=config.size_guideline,
    )


def build_drafter(planner: Planner, attempts: Attempts, means: Means, settings: Settings) -> Drafter:
    """A model that writes scripts, let in and governed as the agents of runs are."""
    return Drafter(
        DraftMeans(
            cards=planner,
            admission=attempts.admission,
            workspaces=means.workspaces,
            places=attempts.places,
            dispatch=dispatch_of(means),
            settings=settings,
        )
    )


def build_prices(ground: Ground) -> Prices:
    """What tokens cost at list price."""
    config = ground.config
    return PriceTags(ListPrices(ground.prices, config.aliases, config.prices.fallback_model, ground.clock))


def build_gate(ground: Ground, path: RequestPath, profile: ScriptProfiler) -> RunGate:
    """Policy, people and fuses, asked about runs."""
    asks = ground.config.runs.approval != "never"

    def current(owner: Principal) -> Principal | None:
        return ground.authenticator.current(owner)

    setting = Setting(current, profile, ground.prices.catalogue, asks_people=asks)
    return RunGate(path.decider, path.boards, path.lineages, ground.store, ground.metrics, ground.clock, setting)


def own_name() -> str:
    """This process, among all that share a store."""
    return f"{socket.gethostname()}/{os.getpid()}/{os.urandom(4).hex()}"


async def _keep_doing(listens: asyncio.Event, name: str, seconds: float, work: Work) -> None:
    """From the moment the gateway listens, until cancelled."""
    await listens.wait()
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # whatever it was, the next round must come
            _log.warning("runs: %s failed (%s: %s); it is tried again", name, type(error).__name__, error)
