"""The whole gateway in the test's own process, in front of a scripted upstream, on loopback and with a real database.

async with serving(tmp_path, upstream.base_url, budgets=[...]) as gateway:
    async with gateway.post(request_body()) as response: ...
"""

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app import SystemClock, open_gateway
from gateway.config import parse_config
from gateway.ports import Clock

CREDENTIAL = "rf_alice_0123456789abcdefghijklmnopqrstuvwxyz"
OPERATOR = "rf_olga_0123456789abcdefghijklmnopqrstuvwxyz0"
UPSTREAM_KEY = "fake-upstream-key-0123456789"
SESSION = "11111111-2222-4333-8444-555555555555"


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway that listens."""

    url: str
    metrics_url: str
    directory: Path
    client: aiohttp.ClientSession
    reload: Callable[[], Awaitable[None]] | None = None
    """Take over the policies as they are on disk."""

    def post(
        self, body: bytes | BytesIO, *, path: str = "/v1/messages", headers: Mapping[str, str] | None = None
    ) -> Any:
        """A request of alice's; `headers` are added or, when empty strings, left out."""
        sent = {"x-api-key": CREDENTIAL, "content-type": "application/json", "x-claude-code-session-id": SESSION}
        sent |= headers or {}
        kept = {name: value for name, value in sent.items() if value}
        return self.client.post(self.url + path, data=body, headers=kept)

    async def operator(self, path: str, body: Any = None) -> Any:
        """The JSON answer of an operator path; posts when there is a body."""
        method = "GET" if body is None else "POST"
        url = f"{self.url}/ringfence/v1/{path}"
        async with self.client.request(method, url, json=body, headers={"x-api-key": OPERATOR}) as response:
            return await response.json()

    async def quiet(self) -> None:
        """Return once no request is being answered or settled; an answer is complete a moment before its record."""
        while "ringfence_in_flight_requests 0.0" not in await self.metrics():
            pass

    def audit(self, event: str) -> list[dict[str, Any]]:
        """Audit records of one kind, oldest first."""
        lines = (self.directory / "audit.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["event"] == event]

    async def metrics(self) -> str:
        """The metrics page."""
        async with self.client.get(self.metrics_url) as response:
            return await response.text()


def config_document(directory: Path, upstream_url: str, **sections: Any) -> dict[str, Any]:
    """A small configuration; `sections` replace whole sections of it."""
    return {
        "store": {"url": f"sqlite:///{directory / 'ringfence.db'}"},
        "audit": {"path": str(directory / "audit.jsonl")},
        "org": {"id": "acme", "teams": [{"id": "platform", "users": ["alice", "bob"]}]},
        "identity": {
            "credentials": [
                {"id": "alice-laptop", "secret": CREDENTIAL, "user": "alice"},
                {"id": "bob-laptop", "secret": CREDENTIAL.replace("alice", "bob"), "user": "bob"},
                {"id": "olga-desk", "secret": OPERATOR, "user": "olga", "operator": True},
            ]
        },
        "upstreams": [{"id": "main", "backend": "anthropic", "base_url": upstream_url, "api_key": UPSTREAM_KEY}],
    } | sections


@contextlib.asynccontextmanager
async def serving(
    directory: Path, upstream_url: str, *, clock: Clock | None = None, ping_seconds: float = 15.0, **sections: Any
) -> AsyncGenerator[Serving]:
    """Serve until the block ends, everything settled and closed."""
    document = json.dumps(config_document(directory, upstream_url, **sections))
    config = parse_config(document, directory / "ringfence.yaml", {})
    async with open_gateway(config, clock or SystemClock(), ping_seconds=ping_seconds) as gateway:
        api = web.AppRunner(gateway.api, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        metrics = web.AppRunner(gateway.metrics, access_log=None)
        try:
            for runner in (api, metrics):
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls = [f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in (api, metrics)]
            async with aiohttp.ClientSession() as client:
                yield Serving(urls[0], urls[1] + "/metrics", directory, client, gateway.reload_policies)
        finally:
            await api.cleanup()
            await metrics.cleanup()


def request_body(*messages: Mapping[str, Any], **fields: Any) -> bytes:
    """A compact Messages request as clients write it."""
    body = {
        "model": "claude-opus-5-5",
        "max_tokens": 1000,
        "stream": True,
        "system": [{"type": "text", "text": "You are a test.\nWorking directory: /home/dev/app\n"}],
        "messages": list(messages) or [{"role": "user", "content": "hi"}],
    }
    return json.dumps(body | fields, separators=(",", ":"), ensure_ascii=False).encode()


def text_of(events: Sequence[dict[str, Any]]) -> str:
    """All text of a stream."""
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Data of every event of a stream."""
    return [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]
