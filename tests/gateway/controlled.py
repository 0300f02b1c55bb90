"""A gateway with an operator who stops and holds, and clients that read while he does. No test lives here."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.dialects import read_error, read_events, write_request
from tests.support.gateway import SESSION, Serving
from tests.support.patience import within
from tests.support.upstream import stream, text_block

INPUT_NANOUSD, OUTPUT_NANOUSD = 4_000, 20_000
USAGE = {"input_tokens": 100, "output_tokens": 5_000}
COST = 100 * INPUT_NANOUSD + 5_000 * OUTPUT_NANOUSD
MODELS = {"anthropic": "claude-opus-5-5", "bedrock": "us.anthropic.claude-opus-5-5", "vertex": "claude-opus-5-5"}
AMPLE = [{"account": "org", "window": "total", "limit_usd": 10_000}]
STOP_SECONDS = 1.0
"""Longest time from the answer to the operator to the end of the client's answer."""
PING_SECONDS = 0.02


def floor_nanousd(chars: int) -> int:
    """The least that an answer of so many characters cost, its prompt reported."""
    return 100 * INPUT_NANOUSD + -(-chars // 4) * OUTPUT_NANOUSD


def events(*blocks: dict[str, Any]) -> list[bytes]:
    """A whole stream, one chunk per event."""
    return stream(blocks or (text_block("Hello."),), usage=USAGE)


@dataclass
class Client:
    """One request, read as it comes."""

    dialect: str
    task: "asyncio.Task[None]" = field(init=False)
    status: int = 0
    headers: Any = None
    got: bytes = b""
    cut: bool = False
    """Its answer broke off."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, gateway: Serving, body: dict[str, Any], headers: dict[str, str]) -> None:
        sent = write_request(self.dialect, body | {"model": MODELS[self.dialect]})
        try:
            async with gateway.post(sent.body, path=sent.path, headers=sent.headers | headers) as response:
                self.status, self.headers = response.status, response.headers
                while chunk := await response.content.readany():
                    self.got += chunk
                    self.moved.set()
        except aiohttp.ClientPayloadError:
            self.cut = True

    async def until(self, text: bytes, count: int = 1) -> None:
        """Return once it has read a text so often."""
        while self.got.count(text) < count:
            self.moved.clear()
            await self.moved.wait()

    async def shown(self, count: int) -> None:
        """Return once it has read so many events."""
        await self.until(b":event-type" if self.dialect == "bedrock" else b"event: ", count)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    def events(self) -> list[dict[str, Any]]:
        """Of its stream, without pings."""
        return [each for each in read_events(self.dialect, self.got) if each.get("type") != "ping"]

    def refusal(self) -> tuple[str, str]:
        """Type and message of an answer that is an error, or that ends with one."""
        if self.status >= 400:
            return read_error(self.dialect, self.headers, self.got)
        last = read_events(self.dialect, self.got)[-1]
        if "exception" in last:
            return last["exception"], last["message"]
        return last["error"]["type"], last["error"]["message"]


def ask(gateway: Serving, dialect: str = "anthropic", agent: str = "", session: str = SESSION, **fields: Any) -> Client:
    """A request under way. `agent`: empty for the main one."""
    client = Client(dialect)
    body = {"max_tokens": 6_000, "stream": True, "messages": [{"role": "user", "content": "hi"}]} | fields
    headers = {"x-claude-code-session-id": session, "x-claude-code-agent-id": agent}
    client.task = asyncio.create_task(client.read(gateway, body, headers))
    return client


async def say(gateway: Serving, action: str, target: str, reason: str = "runaway") -> dict[str, Any]:
    """What the operator is answered."""
    return await gateway.operator("controls", {"action": action, "target": target, "reason": reason})


async def stop(gateway: Serving, target: str, *clients: Client) -> None:
    """Stop, and see these clients end in time."""
    answer = await say(gateway, "stop", target)
    assert answer["control"]["state"] == "stopped", answer
    async with within(STOP_SECONDS):
        await asyncio.wait([client.task for client in clients])


async def records(gateway: Serving, count: int) -> list[dict[str, Any]]:
    """The audit records of all model requests, once they are settled: as many as there were, and nothing is held."""
    await gateway.quiet()
    metrics = await gateway.metrics()
    assert "ringfence_holds_open 0.0" in metrics and "ringfence_drains_in_flight 0.0" in metrics
    (limit,) = (await gateway.operator("limits?account=org"))["limits"]
    found = [record for record in gateway.audit("request") if record["dialect"] != "operator"]
    assert (len(found), limit["held"]) == (count, 0)
    assert limit["used"] == sum(record["cost_nanousd"] for record in found)
    views = (await gateway.operator("upstreams"))["upstreams"]
    assert [view["in_use"] + view["waiting"] for view in views] == [0] * len(views)
    return found


def stopped(record: dict[str, Any]) -> bool:
    """Was the request ended by the operator?"""
    return record["reason"] == "stopped" and "stopped by olga (runaway)" in record["message"]
