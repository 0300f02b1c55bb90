"""The storm on three gateways that share a Postgres: one cap, though clients leave and a gateway is killed in it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.postgres import PostgresServer, postgres_server
from tests.support.process import Served, served
from tests.support.storm import COST_NANOUSD, Storm, at_rest, fickle, open_crowd, owed, reported, steady, trail_of
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.timeout(240)
"""Every round trip to the database waits for its turn beside other tests."""

DOLLAR = 1_000_000_000
REPLICAS = 3
SIZES = (50, 200, 1_000)
SILENT = (
    "UPDATE ringfence.owners SET heartbeat = 'epoch' "
    "WHERE heartbeat < clock_timestamp() - interval '3 seconds' RETURNING number"
)
"""Those who have missed some beats are taken for dead at once, and not half a minute later."""
EXPIRED = "SELECT count(*) FROM ringfence.holds WHERE state = 'expired'"


def cap(dollars: float) -> dict[str, Any]:
    return {"account": "org", "window": "total", "limit_usd": dollars, "strict": True, "on_reach": "refuse"}


@dataclass
class Replicas:
    """Gateways that share a database. Clients take them in turn, as a round robin in front of them would."""

    directory: Path
    storm: Storm
    server: PostgresServer
    database: str
    crowd: aiohttp.ClientSession
    alive: list[Served] = field(default_factory=list[Served])
    _turns: "count[int]" = field(default_factory=count)

    def url(self) -> str:
        """The next one's."""
        return self.alive[next(self._turns) % len(self.alive)].url

    async def look(self) -> Any:
        """The organisation's limit, as the next one reads it from the database."""
        (limit,) = await self.storm.look(self.crowd, self.url(), "org")
        return limit

    async def kill_one(self) -> None:
        """The one that holds most gets no time to say anything."""
        holds = [await self._open_holds(each) for each in self.alive]
        await self.alive.pop(holds.index(max(holds))).stop(signal.SIGKILL)

    async def _open_holds(self, one: Served) -> float:
        async with self.crowd.get(one.ready[2]) as response:
            told = await response.text()
        return next(float(line.split()[1]) for line in told.splitlines() if line.startswith("ringfence_holds_open "))

    async def rest(self) -> Any:
        """The limit, once nothing is answered and nothing is held. The dead are given up at once."""
        for each in self.alive:
            await at_rest(each)
        while (await self.look())["held"]:
            await self.psql(SILENT)
        while len([record for record in self.trail() if record["event"] == "expired"]) < int(await self.psql(EXPIRED)):
            pass  # whoever expires a hold writes it down a moment later
        return await self.look()

    async def psql(self, statement: str) -> str:
        """Ask the database itself."""
        return await asyncio.to_thread(self.server.psql, self.database, statement)

    def trail(self) -> list[dict[str, Any]]:
        """The records of all, dead or alive."""
        return trail_of(*(self.directory / str(number) for number in range(REPLICAS)))


@contextlib.asynccontextmanager
async def replicas(directory: Path, storm: Storm, **sections: Any) -> AsyncGenerator[Replicas]:
    """Three of them, in front of one upstream."""
    server = postgres_server()
    database = server.fresh()
    async with (
        ScriptedUpstream(storm.answer) as upstream,
        open_crowd() as crowd,
        contextlib.AsyncExitStack() as stack,
    ):
        several = Replicas(directory, storm, server, database, crowd)
        for number in range(REPLICAS):
            own = directory / str(number)
            own.mkdir()
            one = served(own, upstream.base_url, store={"url": server.url(database)}, **sections)
            several.alive.append(await stack.enter_async_context(one))
        yield several


@pytest.mark.parametrize("clients", SIZES)
async def test_three_of_many_requests_to_three_replicas_fit_a_strict_dollar(tmp_path: Path, clients: int) -> None:
    storm = Storm()
    async with replicas(tmp_path, storm, budgets=[cap(1)]) as several:
        asking = [storm.ask(several.crowd, several.url, steady(number)) for number in range(clients)]
        await storm.rage(asking, several.look)
        limit = await several.rest()
        assert storm.seen == {200: 3, 429: clients - 3}
        assert limit["used"] == 3 * COST_NANOUSD == owed(several.trail()) and storm.peaks["org"] <= DOLLAR


@pytest.mark.parametrize(("clients", "dollars"), [(50, 5), (200, 20), (1_000, 100)])
async def test_replica_killed_in_the_storm_leaves_the_cap_whole_and_every_sum_right(
    tmp_path: Path, clients: int, dollars: int
) -> None:
    storm = Storm(failing=0.3)
    async with replicas(tmp_path, storm, budgets=[cap(dollars)]) as several:
        asking = [storm.ask(several.crowd, several.url, fickle(number)) for number in range(clients)]
        await storm.rage(asking, several.look, interludes={2: several.kill_one})
        limit, trail = await several.rest(), several.trail()
        reasons = {record["reason"] for record in trail if record["event"] == "request"}
        assert {"completed", "client_gone", "budget_exhausted", "upstream_broke", "upstream_refused"} <= reasons
        assert len(several.alive) == 2 and [record for record in trail if record["event"] == "expired"]
        told = await reported(*(tmp_path / str(number) for number in range(REPLICAS)))
        assert 0 < limit["used"] == owed(trail) == told <= storm.peaks["org"] <= limit["max"] == dollars * DOLLAR
