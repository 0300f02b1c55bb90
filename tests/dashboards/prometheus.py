"""A real Prometheus of the test's own: scrapes on loopback every second, evaluates our rules, answers queries. No test.

async with scraping(tmp_path, gateway.metrics_url) as prometheus:
    await prometheus.caught_up()
    assert await prometheus.labels("sum by (team) (ringfence_held_usd)") == [{"team"}]
"""

import asyncio
import contextlib
import json
import math
import os
import re
import shutil
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.dashboards.board import RULES

LISTENING = re.compile(rb'"Listening on" address=(127\.0\.0\.1:\d+)')
SCRAPE_SECONDS = 1
STOP_SECONDS = 10


def required(program: str | None, name: str) -> str:
    """Where a program of Debian's package `prometheus` is; without it the test is skipped, or fails where it must not.

    CI sets RINGFENCE_REQUIRE_PROMETHEUS=1.
    """
    if program is None:
        reason = f"no {name}: install Debian's package prometheus (apt-get install prometheus)"
        if os.environ.get("RINGFENCE_REQUIRE_PROMETHEUS") == "1":
            pytest.fail(f"RINGFENCE_REQUIRE_PROMETHEUS=1, but there is {reason}")
        pytest.skip(reason)
    return program


@dataclass(slots=True)
class Ticker:
    """A second target, which knows when it is scraped: so a test can wait for time in Prometheus' own terms."""

    _scrapes: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def answer(self, _: web.Request) -> web.Response:
        async with self._changed:
            self._scrapes += 1
            self._changed.notify_all()
        return web.Response(text="ticks 1\n")

    async def after(self, scrapes: int) -> None:
        """Return once it was scraped so many times more."""
        async with self._changed:
            target = self._scrapes + scrapes
            await self._changed.wait_for(lambda: self._scrapes >= target)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that listens."""

    url: str
    client: aiohttp.ClientSession
    ticker: Ticker

    async def caught_up(self) -> None:
        """Return once what the targets show now was scraped, kept, and seen by every rule."""
        await self.ticker.after(3)

    async def labels(self, query: str) -> list[set[str]]:
        """Labels of each series of a query's answer now, without those that are not a number.

        Raises ValueError when the query is refused.
        """
        async with self.client.post(f"{self.url}/api/v1/query", data={"query": query}) as response:
            answer = await response.json()
        if answer["status"] != "success":
            raise ValueError(f"{query}: {answer['error']}")
        return [
            set(series["metric"]) for series in answer["data"]["result"] if not math.isnan(float(series["value"][1]))
        ]

    async def unhealthy(self) -> list[str]:
        """Rules that could not be evaluated, and why."""
        async with self.client.get(f"{self.url}/api/v1/rules") as response:
            groups = (await response.json())["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]


@contextlib.asynccontextmanager
async def scraping(directory: Path, *metrics_urls: str) -> AsyncGenerator[Prometheus]:
    """Scrape these pages and evaluate the committed rules until the block ends."""
    program = required(shutil.which("prometheus"), "prometheus")
    ticker = Ticker()
    async with _served(ticker) as address, aiohttp.ClientSession() as client:
        pages = [urlsplit(url) for url in metrics_urls]
        config = directory / "prometheus.yml"
        config.write_text(json.dumps(_configuration([page.netloc for page in pages], address)))
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            "--web.listen-address=127.0.0.1:0",
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        log = Log(process.stderr)
        reading = asyncio.create_task(log.read())
        try:
            yield Prometheus(f"http://{await log.address()}", client, ticker)
        finally:
            await _stop(process)
            await reading


class Log:
    """What Prometheus writes to stderr: where it listens, and else read only so that it can go on writing."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lines: list[bytes] = []

    async def read(self) -> None:
        """Until it ends."""
        async for line in self._stream:
            self._lines.append(line)
            found = LISTENING.search(line)
            if found and not self._address.done():
                self._address.set_result(found[1].decode())
        if not self._address.done():
            self._address.set_exception(RuntimeError(b"".join(self._lines[-20:]).decode()))

    async def address(self) -> str:
        """Host and port, once it listens. Raises RuntimeError with the end of the log when it never does."""
        return await self._address


def _configuration(targets: Sequence[str], ticker: str) -> dict[str, object]:
    """JSON is YAML."""
    every = f"{SCRAPE_SECONDS}s"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path) for path in RULES],
        "scrape_configs": [
            {"job_name": "ringfence", "static_configs": [{"targets": list(targets)}]},
            {"job_name": "ticker", "static_configs": [{"targets": [ticker]}]},
        ],
    }


@contextlib.asynccontextmanager
async def _served(ticker: Ticker) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_get("/metrics", ticker.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
