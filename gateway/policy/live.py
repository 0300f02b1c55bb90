"""The engine in use, and how a new policy set replaces it while requests are decided. Not the check (`loadcheck.py`).

A new set is read and checked beside the running one; only a set without problems takes over. A decision that is being
made is finished by the policies it began with. `open_engine` builds what the configuration asks for.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from gateway.config.model import Policy
from gateway.core.decisions.decision import Decision, Query
from gateway.errors import GatewayError
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.loadcheck import check_bundle
from gateway.policy.opa import Limits, OpaEngine
from gateway.policy.opaclient import open_server
from gateway.policy.policyset import PolicySet, checked_set
from gateway.policy.pushing import PUSH_SECONDS_MAX, Pusher
from gateway.policy.sources import Fetched, Source, build_source
from gateway.ports import Clock, PolicyEngine
from gateway.tasks import Tasks

CLOSE_SECONDS = 1.0

Serve = Callable[[PolicySet], Awaitable[PolicyEngine]]
"""Makes a checked set decide. Raises `GatewayError` when it cannot: then the one of before still does."""

_log = logging.getLogger(__name__)


def _untold(*_: object) -> None:
    """For policies that nobody counts."""


class Engine(PolicyEngine, Protocol):
    """A policy engine whose policies can be read again."""

    async def reload(self, over: Mapping[str, Any] | None = None) -> str:
        """Take over the policies as they are now, under other settings when `over` gives them; their revision.

        Raises `GatewayError`: those in use stay.
        """
        ...


class LivePolicies:
    """Implements `Engine` with the policies of a source. Open, reload and use it on one event loop."""

    def __init__(self, source: Source, over: Mapping[str, Any], serve: Serve) -> None:
        """`over` is laid over the defaults of the policies, with the gateway's mode under `mode`."""
        self._source = source
        self._over = over
        self._serve = serve
        self._engine: PolicyEngine | None = None
        self._refused = False
        """The set that was read last did not take over."""
        self._reloading = asyncio.Lock()

    @property
    def revision(self) -> str:
        """Of the policies that decide now."""
        return self._ready.revision

    @property
    def remembered(self) -> tuple[int, int]:
        """Decisions that were remembered and that had to be made, since these policies are in use."""
        memo = self._ready.memo if isinstance(self._ready, EmbeddedEngine) else None
        return (0, 0) if memo is None else (memo.hits, memo.misses)

    async def decide(self, query: Query) -> Decision:
        """The decision for `query`. Never raises."""
        return await self._ready.decide(query)

    @property
    def _ready(self) -> PolicyEngine:
        assert self._engine is not None, "reload() has not read any policies yet"
        return self._engine

    async def reload(self, over: Mapping[str, Any] | None = None) -> str:
        """Read, check and take over the policies as they are now; their revision. `over`: None leaves it as it was.

        Raises:
            GatewayError: with every problem; the policies in use stay, and so does what is laid over them.
        """
        async with self._reloading:
            fetched = await self._source.read(fresh=True)
            assert fetched is not None
            await self._take(fetched, self._over if over is None else over)
        return self.revision

    async def poll(self) -> bool:
        """As `reload`, but only when the source has another set, or its set was refused last; whether it had."""
        async with self._reloading:
            fetched = await self._source.read(fresh=self._refused)
            if fetched is None:
                return False
            before = self.revision
            await self._take(fetched, self._over)
        _log.warning("policies %s of %s replace %s", self.revision, fetched.version or self._source.place, before)
        return True

    async def _take(self, fetched: Fetched, over: Mapping[str, Any]) -> None:
        self._refused = True
        problems = await asyncio.to_thread(check_bundle, fetched.bundle, over)
        checked = checked_set(self._source.place, fetched.bundle, over, problems, fetched.version)
        replaced, self._engine = self._engine, await self._serve(checked)
        self._over, self._refused = over, False
        _close(replaced)

    def close(self) -> None:
        """Nobody is to decide any more; whoever still asks is denied."""
        _close(self._engine)


@asynccontextmanager
async def open_engine(
    policy: Policy, clock: Clock, limits: Limits | None = None, *, polled: Callable[[bool], None] = _untold
) -> AsyncGenerator[Engine]:
    """The configured engine, with its policies in place; on the way out it is closed.

    `limits.asked` is told of every question put to an OPA server, `polled` of every other set that a source came to
    have: whether it was taken over. Raises `GatewayError` with every problem.
    """
    limits = limits or Limits(policy.timeout_ms)
    async with AsyncExitStack() as stack:
        tasks = Tasks()
        serve: Serve = _embedded
        if policy.engine == "opa":
            assert policy.url is not None
            server = await stack.enter_async_context(open_server(policy.url, policy.token, policy.timeout_ms / 1000))
            if not policy.push:
                engine = OpaEngine(server, clock, limits, None)
                await engine.reload()
                yield engine
                return
            slow = await stack.enter_async_context(open_server(policy.url, policy.token, PUSH_SECONDS_MAX))
            pusher = Pusher(slow, tasks)
            serve = _pushed(pusher, OpaEngine(server, clock, limits, pusher))
        source = build_source(policy)
        live = LivePolicies(source, laid_over(policy), serve)
        await live.reload()
        polling = None
        if source.poll_seconds is not None:
            polling = tasks.spawn("policies", keep_polling(live, source, polled))
        try:
            yield live
        finally:
            if polling is not None:
                polling.cancel()
            await tasks.close(CLOSE_SECONDS)
            live.close()


def laid_over(policy: Policy) -> dict[str, Any]:
    """What the configuration lays over the defaults of the policies."""
    return {**policy.overrides, "mode": policy.mode}


def _close(engine: PolicyEngine | None) -> None:
    if isinstance(engine, EmbeddedEngine):
        engine.close()


async def _embedded(wanted: PolicySet) -> PolicyEngine:
    return EmbeddedEngine(wanted.bundle, wanted.settings)


def _pushed(pusher: Pusher, engine: OpaEngine) -> Serve:
    async def serve(wanted: PolicySet) -> PolicyEngine:
        await pusher.push(wanted)
        return engine

    return serve


async def keep_polling(live: LivePolicies, source: Source, polled: Callable[[bool], None] = _untold) -> None:
    """Look for another set again and again; what is wrong is said when it begins and when it changes."""
    assert source.poll_seconds is not None
    said = ""
    while True:
        await asyncio.sleep(source.poll_seconds)
        try:
            if await live.poll() or said:
                polled(True)
            said = ""
        except GatewayError as error:
            if error.message != said:
                said = error.message
                _log.error("policies %s stay in use: %s", live.revision, said)
                polled(False)
        except Exception as error:  # noqa: BLE001  # whatever it was, the next round must look
            _log.exception("looking for policies failed (%s); it is tried again", error)
