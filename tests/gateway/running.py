"""A whole gateway that drives runs, in front of a model whose words a test chooses. No test lives here.

async with running(tmp_path, lambda asked: f"re {asked.prompt}") as gateway:
    run = await gateway.start("return await agent('look')")
    assert (await gateway.ended(run))["state"] == "completed"
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app import Gateway, SystemClock, open_gateway, own_url
from gateway.config import parse_config
from tests.gateway.several import configured
from tests.support.gateway import CREDENTIAL, OPERATOR, Serving, config_document
from tests.support.upstream import Answer, Received, ScriptedUpstream, stream_answer, text_block, tool_block

GOLDEN = Path(__file__).parents[1] / "golden" / "workflows"
OUTPUT = "StructuredOutput"
OVER = ("completed", "failed", "stopped", "denied")
ALICE = {"x-api-key": CREDENTIAL}
BOB = {"x-api-key": CREDENTIAL.replace("alice", "bob")}
OLGA = {"x-api-key": OPERATOR}

Said = Answer | str | Mapping[str, Any] | Sequence[dict[str, Any]]
"""What a model says: a text, an output that fits the schema, blocks, or an answer with all that belongs to it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model request of an agent."""

    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """What the script asked for."""
        return self.body["messages"][0]["content"][0]["text"]

    @property
    def turn(self) -> int:
        """1 for the first request of an attempt."""
        return sum(message["role"] == "assistant" for message in self.body["messages"]) + 1

    @property
    def tools(self) -> set[str]:
        """By name."""
        return {each["name"] for each in self.body.get("tools", [])}

    @property
    def folder(self) -> Path:
        """Where the agent was told that it works."""
        told = self.body["system"][-1]["text"]
        return Path(told.removeprefix("Working directory: ").partition("\n")[0])

    @property
    def results(self) -> list[dict[str, Any]]:
        """What the tools that were called last have given."""
        return [block for block in self.body["messages"][-1]["content"] if block["type"] == "tool_result"]


Say = Callable[[Asked], Said]


def reply(said: Said, model: str = "claude-sonnet-5-5", **usage: int) -> Answer:
    """As it is sent. `usage`: `output_tokens` and the others of the Messages API."""
    if isinstance(said, Answer):
        return said
    blocks = list(said) if not isinstance(said, str | Mapping) else [_block(said)]
    return stream_answer(blocks, usage=usage, model=model)


def _block(said: str | Mapping[str, Any]) -> dict[str, Any]:
    return text_block(said) if isinstance(said, str) else tool_block(OUTPUT, dict(said))


def script(body: str, name: str = "sweep") -> str:
    """A whole script."""
    return f"export const meta = {{name: '{name}', description: 'd'}}\n{body}"


def golden(name: str) -> str:
    """A script of the golden folder."""
    return (GOLDEN / f"{name}.js").read_text()


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(status, error)
        self.status, self.error = status, error


@dataclass
class Running:
    """A gateway, its model, and alice who starts runs."""

    serving: Serving
    gateway: Gateway
    model: ScriptedUpstream
    asked: list[Asked] = field(default_factory=list[Asked])
    """Every model request, in the order of arrival."""

    async def call(self, method: str, path: str, body: Any = None, *, who: Mapping[str, str] = ALICE) -> Any:
        """The JSON answer of a path below `/ringfence/v1/`. Raises `Refused`."""
        url = f"{self.serving.url}/ringfence/v1/{path}"
        async with self.serving.client.request(method, url, json=body, headers=who) as response:
            answer = await response.json()
            if response.status >= 400:
                raise Refused(response.status, answer["error"])
            return answer

    async def start(self, script_or_body: str, *, who: Mapping[str, str] = ALICE, **fields: Any) -> str:
        """Its id. What begins with no `meta` gets one. Raises `Refused`."""
        text = script_or_body if script_or_body.startswith("export const meta") else script(script_or_body)
        return (await self.call("POST", "runs", {"script": text, **fields}, who=who))["runId"]

    async def show(self, run: str) -> dict[str, Any]:
        """Its record."""
        return await self.call("GET", f"runs/{run}")

    async def agents(self, run: str) -> list[dict[str, Any]]:
        """Its agents by index."""
        return (await self.call("GET", f"runs/{run}/agents?limit=1000"))["agents"]

    async def result(self, run: str) -> Any:
        """What the script returned."""
        answer = await self.call("GET", f"runs/{run}/result")
        assert answer["state"] == "completed", answer
        return answer["value"]

    async def events(self, run: str) -> list[dict[str, Any]]:
        """All numbered ones."""
        return (await self.call("GET", f"runs/{run}/events?limit=1000"))["events"]

    async def order(self, run: str, verb: str, **body: Any) -> dict[str, Any]:
        """Pause, resume, stop and so on; the record as it is then. Raises `Refused`."""
        return await self.call("POST", f"runs/{run}/{verb}", body)

    async def until(self, run: str, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Its record, once it is so; looked at whenever something happens."""
        url = f"{self.serving.url}/ringfence/v1/runs/{run}/events"
        headers = {**ALICE, "accept": "text/event-stream"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.serving.client.get(url, headers=headers, timeout=timeout) as stream:
            while not seen(record := await self.show(run)):
                if not await stream.content.readline():
                    record = await self.show(run)
                    assert seen(record), record
                    break
        return record

    async def in_state(self, run: str, *states: str) -> dict[str, Any]:
        """Once it is in one of these states."""
        return await self.until(run, lambda record: record["state"] in states)

    async def ended(self, run: str) -> dict[str, Any]:
        """Once it is over."""
        return await self.in_state(run, *OVER)

    async def outcome(self, body: str, **fields: Any) -> Any:
        """Start, wait, and read what it returned."""
        run = await self.start(body, **fields)
        await self.ended(run)
        return await self.result(run)

    async def prompted(self, prompt: str, count: int = 1) -> None:
        """Once so many requests with a prompt that begins so have come."""
        while sum(each.prompt.startswith(prompt) for each in self.asked) < count:
            await self.model.wait_for_requests(len(self.model.received) + 1)


@contextlib.asynccontextmanager
async def running(directory: Path, say: Say, **sections: Any) -> AsyncGenerator[Running]:
    """Serve until the block ends; `sections` replace whole sections of the configuration."""
    asked: list[Asked] = []

    def respond(received: Received) -> Answer:
        asked.append(Asked(received.json()))
        return reply(say(asked[-1]), asked[-1].body["model"])

    async with ScriptedUpstream(respond) as model:
        sections = {"upstreams": [configured("main", model.base_url)]} | sections
        async with listening(directory, model.base_url, **sections) as (serving, built):
            yield Running(serving, built, model, asked)


@contextlib.asynccontextmanager
async def listening(directory: Path, upstream_url: str, **sections: Any) -> AsyncGenerator[tuple[Serving, Gateway]]:
    """A gateway that knows where it listens, so that its runs have agents."""
    document = json.dumps(config_document(directory, upstream_url, **sections))
    config = parse_config(document, directory / "ringfence.yaml", {})
    async with open_gateway(config, SystemClock(), ping_seconds=15.0) as built:
        api = web.AppRunner(built.api, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        metrics = web.AppRunner(built.metrics, access_log=None)
        try:
            for runner in (api, metrics):
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
            built.mounted.reached_at(own_url(api))
            metrics_url = f"http://127.0.0.1:{metrics.addresses[0][1]}/metrics"
            async with aiohttp.ClientSession() as client:
                yield Serving(own_url(api), metrics_url, directory, client, built.reload_policies), built
        finally:
            await built.mounted.leave()
            await api.cleanup()
            await metrics.cleanup()


class Gates:
    """Answers that wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    def hold(self, said: Said, upto: int = 3) -> Answer:
        """The first events come, the rest after `go`."""
        whole = reply(said)
        return Answer(whole.status, whole.headers, [*whole.chunks[:upto], self.go, *whole.chunks[upto:]])
