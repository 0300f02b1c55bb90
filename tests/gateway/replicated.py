"""Two gateways on one Postgres, by way of a proxy that can cut them off, and who asks them. No test lives here."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.app import SystemClock
from gateway.stores.postgres.lines import connect
from tests.gateway.controlled import AMPLE, PING_SECONDS
from tests.support.gateway import SESSION, Serving, request_body, serving
from tests.support.patience import within
from tests.support.postgres import postgres_server
from tests.support.proxy import Proxy, proxied
from tests.support.upstream import Answer, Received, ScriptedUpstream, stream, text_block

USER = {"role": "user", "content": "hi"}
WIDE = {"settings": {"spawn": {"width": 1000, "total": 1000, "depth": 100}}}
WRITTEN_SECONDS = 1.0
"""Until every gateway knows what one of them wrote down: a blown fuse, a control, an approval."""
COUNTED_SECONDS = 2.5
"""Until every gateway has blown a fuse on what they counted together: written and read once a second, then told."""


class LaterClock(SystemClock):
    """The machine's clock, and what passes for one gateway alone."""

    passed_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed_seconds


@dataclass
class Pair:
    """Both gateways; by number they are asked in turn."""

    here: Serving
    there: Serving
    proxy: Proxy
    clock: LaterClock
    """Of the second one."""
    url: str
    """Of the database."""

    def __getitem__(self, number: int) -> Serving:
        return (self.here, self.there)[number % 2]

    async def is_empty(self) -> bool:
        """Does the database know of no agent?"""
        connection = await connect(self.url, "test")
        try:
            return not await connection.fetchval("SELECT count(*) FROM ringfence.agents")
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def pair(
    directory: Path, upstream: ScriptedUpstream, *, there: Mapping[str, Any] | None = None, **sections: Any
) -> AsyncGenerator[Pair]:
    """Both with the same sections; `there` is laid over those of the second one."""
    server, clock = postgres_server(), LaterClock()
    database = server.fresh()
    async with proxied(server.port) as proxy:
        url = server.url(database, port=proxy.port)
        other = sections | dict(there or {})
        async with (
            replica(directory / "here", upstream, url, **sections) as one,
            replica(directory / "there", upstream, url, clock=clock, **other) as two,
        ):
            yield Pair(one, two, proxy, clock, server.url(database))


@contextlib.asynccontextmanager
async def replica(
    directory: Path, upstream: ScriptedUpstream, url: str, *, on_failure: str = "closed", **sections: Any
) -> AsyncGenerator[Serving]:
    """A gateway with a folder of its own."""
    directory.mkdir(exist_ok=True)
    store = {"url": url, "on_failure": on_failure, "journal": str(directory)}
    given = {"budgets": AMPLE, "policy": WIDE, "ping_seconds": PING_SECONDS, "store": store} | sections
    async with serving(directory, upstream.base_url, **given) as gateway:
        yield gateway


def hello(_: Received | None = None) -> Answer:
    return Answer(chunks=stream((text_block("Hi."),)))


async def say(
    gateway: Serving, *messages: Any, agent: str = "", session: str = SESSION, run: str = "", **headers: str
) -> tuple[int, bytes]:
    """Status and body of an answer."""
    sent = {"x-claude-code-session-id": session, "x-claude-code-agent-id": agent, "x-ringfence-run-id": run}
    async with gateway.post(request_body(*messages), headers=sent | headers) as response:
        return response.status, await response.read()


async def soon(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Return when it holds. Raises `TimeoutError` when that takes longer."""
    async with within(seconds):
        while not await condition():
            pass


def agree(
    what: Callable[[Serving], Awaitable[Any]], expected: Any, *gateways: Serving
) -> Callable[[], Awaitable[bool]]:
    """For `soon`: all of them say the expected."""

    async def agreed() -> bool:
        return [await what(each) for each in gateways] == [expected] * len(gateways)

    return agreed


async def blown(gateway: Serving) -> list[str]:
    """Ids of the fuses that are, as this gateway knows."""
    return [each["id"] for each in (await gateway.operator("fuses"))["fuses"] if each["state"] == "blown"]


async def session_of(gateway: Serving, session: str = SESSION) -> Any:
    """A session as this gateway knows it."""
    return await gateway.operator(f"sessions/{session}")


async def requests(gateway: Serving, session: str = SESSION) -> int:
    """Those of all its agents, on all gateways, as far as this one knows."""
    return sum(agent["requests"] for agent in (await session_of(gateway, session)).get("agents", ()))
