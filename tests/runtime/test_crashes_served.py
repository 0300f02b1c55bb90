"""`ringfence serve` itself is killed while it drives a run, and another one goes on: on SQLite, and on Postgres."""

import asyncio
import contextlib
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.core.journal import ErrorLine, Line, ResultLine, StartedLine, StateLine, StoppedLine, decode_line
from runtime.runner import LEASE_MS
from tests.runtime.crash_scripts import LOOP
from tests.runtime.sites import pass_seconds
from tests.runtime.stores.homes import PostgresHome
from tests.support.gateway import CREDENTIAL
from tests.support.process import Served, served

KILLS = 2
TAKEOVER_SECONDS = 4 * LEASE_MS / 1000
"""The time of a lease, and what two busy cores need beside."""
PACE = "pace: {first_token_seconds: 0.08, tokens_per_second: 4000}\nturns: []\n"
ALICE = {"x-api-key": CREDENTIAL}


def sections(folder: Path, **more: Any) -> dict[str, Any]:
    """A gateway with a model of its own that takes its time."""
    scenario = folder / "slow.yaml"
    scenario.write_text(PACE)
    upstream = {"id": "sim", "backend": "simulated", "scenario": str(scenario)}
    return {"upstreams": [upstream], "runs": {"auto_resume": True}, **more}


class Api:
    """The runs of alice, by way of one gateway."""

    def __init__(self, gateway: Served) -> None:
        self._gateway = gateway

    async def ask(self, path: str, body: Any = None) -> Any:
        """The answer of a path, read as JSON where it is."""
        method, url = "GET" if body is None else "POST", f"{self._gateway.url}/ringfence/v1/runs{path}"
        async with self._gateway.client.request(method, url, json=body, headers=ALICE) as response:
            text = await response.text()
            assert response.status < 300, text
        return json.loads(text) if response.content_type == "application/json" else text

    async def start(self, script: str) -> str:
        return (await self.ask("", {"script": script, "session": "s-1"}))["runId"]

    async def until(self, run: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The record, once it is so."""
        async with asyncio.timeout(TAKEOVER_SECONDS):
            while not met(record := await self.ask(f"/{run}")):
                await pass_seconds(0.02)
        return record

    async def value(self, run: str) -> Any:
        """What the run gave."""
        record = await self.until(run, lambda record: record["ended_ms"] is not None)
        assert record["state"] == "completed", record
        return (await self.ask(f"/{run}/result"))["value"]

    async def lines(self, run: str) -> list[Line]:
        return [decode_line(text.encode()) for text in (await self.ask(f"/{run}/journal")).splitlines()]


def is_over_or_has(done: int) -> Callable[[dict[str, Any]], bool]:
    return lambda record: record["ended_ms"] is not None or record["outcome"]["done"] >= done


def assert_nothing_was_paid_twice(lines: list[Line], folder: Path) -> None:
    """Each call has one result, none is started after it, and its agent asked the model once."""
    open_attempts: set[tuple[int, int]] = set()
    agents: dict[int, str | None] = {}
    for line in lines:
        match line:
            case StartedLine():
                assert line.index not in agents
                open_attempts.add((line.index, line.attempt))
            case ResultLine():
                assert line.index not in agents
                agents[line.index] = line.agent_id
                open_attempts.remove((line.index, line.attempt))
            case ErrorLine() | StoppedLine():
                open_attempts.remove((line.index, line.attempt))
            case _:
                pass
    assert open_attempts == set()
    records = [json.loads(text) for text in (folder / "audit.jsonl").read_text().splitlines()]
    requests = (record for record in records if record["event"] == "request" and record["path"] == "/v1/messages")
    asked = Counter(record["lineage"]["agent"] for record in requests)
    assert sum(asked.values()) > len(agents) and {asked[agent] for agent in agents.values()} <= {0, 1}


@pytest.mark.waits
@pytest.mark.timeout(180)
async def test_w151_served_run_outlives_gateways_that_are_killed_one_after_the_other(tmp_path: Path) -> None:
    dice, settings = random.Random("served"), sections(tmp_path)
    async with served(tmp_path, **settings) as gateway:
        api = Api(gateway)
        calm = await api.value(await api.start(LOOP))
        run = await api.start(LOOP)
        await api.until(run, is_over_or_has(1))
        await gateway.stop(signal.SIGKILL)
    for kill in range(1, KILLS):
        async with served(tmp_path, **settings) as gateway:
            await Api(gateway).until(run, is_over_or_has(3 * kill))
            await pass_seconds(dice.uniform(0, 0.1))
            await gateway.stop(signal.SIGKILL)
    async with served(tmp_path, **settings) as gateway:
        api = Api(gateway)
        assert await api.value(run) == calm
        assert_nothing_was_paid_twice(await api.lines(run), tmp_path)


@contextlib.asynccontextmanager
async def two_gateways(folder: Path, home: PostgresHome) -> AsyncGenerator[tuple[Served, Served]]:
    """On one database."""
    folders = [folder / "first", folder / "second"]
    for each in folders:
        each.mkdir()
    starting = [served(each, **sections(each, store={"url": home.url()})) for each in folders]
    async with contextlib.AsyncExitStack() as stack:
        first, second = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        yield first, second
    await home.close()


@pytest.mark.waits
@pytest.mark.timeout(180)
async def test_w127_served_run_goes_on_at_the_other_gateway_when_the_lease_of_a_dead_one_ends(tmp_path: Path) -> None:
    async with two_gateways(tmp_path, PostgresHome()) as (first, second):
        here, there = Api(first), Api(second)
        run = await here.start(LOOP)
        await there.until(run, is_over_or_has(2))
        await first.stop(signal.SIGKILL)
        assert await there.value(run) == await there.value(await there.start(LOOP))
        lines = await there.lines(run)
        assert [line.reason for line in lines if isinstance(line, StateLine)] == [
            "started",
            "host_restart",
            "raised",
            None,
        ]


@pytest.mark.waits
@pytest.mark.timeout(180)
async def test_w127_gateway_that_was_frozen_finds_its_run_done_by_another(tmp_path: Path) -> None:
    home = PostgresHome()
    async with two_gateways(tmp_path, home) as (first, second):
        here, there = Api(first), Api(second)
        run = await here.start(LOOP)
        assert (await there.ask(f"/{run}/pause", {}))["state"] == "paused"
        assert (await here.ask(f"/{run}"))["state"] == "paused"
        assert (await there.ask(f"/{run}/resume", {}))["state"] == "running"
        await there.until(run, is_over_or_has(2))
        first.process.send_signal(signal.SIGSTOP)
        home.pass_ms(LEASE_MS)
        value, lines = await there.value(run), await there.lines(run)
        first.process.send_signal(signal.SIGCONT)
        assert (await here.value(run), await here.lines(run)) == (value, lines)
        assert (await here.value(await here.start(LOOP)), await there.lines(run)) == (value, lines)
