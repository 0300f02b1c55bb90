"""One gateway in front of several upstreams, and what is asked of it by whom. No test lives here."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.dialects import write_request
from tests.support.gateway import CREDENTIAL, UPSTREAM_KEY, Serving, request_body, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, error_answer, json_answer, message, text_block

DIALECTS = ("anthropic", "bedrock", "vertex")
MODELS = {"anthropic": "claude-opus-5-5", "bedrock": "us.anthropic.claude-opus-5-5", "vertex": "claude-opus-5-5"}
ASKED: dict[str, Any] = {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
BOB = {"x-api-key": CREDENTIAL.replace("alice", "bob")}
NOBODY_LISTENS = "http://127.0.0.1:9"


def configured(upstream_id: str, base_url: str, **keys: Any) -> dict[str, Any]:
    """An upstream whose breaker is in nobody's way."""
    own = {"id": upstream_id, "backend": "anthropic", "base_url": base_url, "api_key": UPSTREAM_KEY}
    return own | {"breaker": {"failures": 1000}} | keys


def hello(_: Received) -> Answer:
    return json_answer(message([text_block("Hello.")]))


@dataclass(slots=True)
class Told:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Several:
    """A gateway with its upstreams by id."""

    gateway: Serving
    upstreams: dict[str, ScriptedUpstream] = field(default_factory=dict[str, ScriptedUpstream])

    def __getitem__(self, upstream: str) -> ScriptedUpstream:
        return self.upstreams[upstream]

    def sent(self) -> list[int]:
        """Requests that each upstream got."""
        return [len(each.received) for each in self.upstreams.values()]

    async def ask(
        self, session: str, *, path: str = "/v1/messages", headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Told:
        """A request of alice's for a whole message."""
        body = request_body(**({"stream": False} | fields))
        sent = {"x-claude-code-session-id": session} | dict(headers or {})
        async with self.gateway.post(body, path=path, headers=sent) as response:
            return Told(response.status, response.headers, await response.read())

    async def ask_in(self, dialect: str, session: str, **fields: Any) -> Told:
        """The same in a dialect."""
        sent = write_request(dialect, ASKED | {"model": MODELS[dialect]} | fields)
        headers = sent.headers | {"x-claude-code-session-id": session}
        async with self.gateway.post(sent.body, path=sent.path, headers=headers) as response:
            return Told(response.status, response.headers, await response.read())

    async def leave(self, asking: "asyncio.Task[Told]") -> None:
        """Its client goes away; returns once nothing is being answered."""
        asking.cancel()
        await asyncio.wait([asking])
        await self.gateway.quiet()

    async def views(self) -> dict[str, dict[str, Any]]:
        """How the upstreams fare, by id."""
        rows = (await self.gateway.operator("upstreams"))["upstreams"]
        return {row["id"]: row for row in rows}

    async def standing(self, name: str, **expected: int) -> None:
        """Return once an upstream's view says what is expected."""
        while True:
            view = (await self.views())[name]
            if all(view[key] == value for key, value in expected.items()):
                return

    async def money(self) -> tuple[int, int]:
        """Spent and held of the organisation."""
        (limit,) = (await self.gateway.operator("limits?account=org"))["limits"]
        return limit["used"], limit["held"]

    async def records(self) -> list[dict[str, Any]]:
        """Audit records of model requests, once all are written."""
        await self.gateway.quiet()
        return [each for each in self.gateway.audit("request") if each["dialect"] != "operator"]

    async def is_idle(self) -> bool:
        """Is no place taken or waited for, and nothing held?"""
        await self.gateway.quiet()
        views = (await self.views()).values()
        places = sum(view["in_use"] + view["waiting"] for view in views)
        return places == 0 and "ringfence_holds_open 0.0" in await self.gateway.metrics()


@contextlib.asynccontextmanager
async def several(
    directory: Path,
    *names: str,
    keys: dict[str, Any] | None = None,
    first: dict[str, Any] | None = None,
    **sections: Any,
) -> AsyncGenerator[Several]:
    """Anthropic-shaped upstreams of these names (`main` and `spare`) that say hello; `clock` passes.

    `keys` are of each, `first` of the first alone.
    """
    async with contextlib.AsyncExitStack() as stack:
        upstreams = {
            name: await stack.enter_async_context(ScriptedUpstream(hello)) for name in names or ("main", "spare")
        }
        rows = [configured(name, each.base_url, **(keys or {})) for name, each in upstreams.items()]
        rows[0] |= first or {}
        gateway = await stack.enter_async_context(serving(directory, "", upstreams=rows, **sections))
        yield Several(gateway, upstreams)


@contextlib.asynccontextmanager
async def slamming() -> AsyncGenerator[str]:
    """Address of a server that reads a request and closes the connection without an answer."""

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def refused(status: int, error_type: str = "api_error", said: str = "no", **headers: str) -> Answer:
    """An upstream's error."""
    return error_answer(status, error_type, said, [(name.replace("_", "-"), value) for name, value in headers.items()])


def attempts(record: Mapping[str, Any]) -> list[tuple[str, int | None, str]]:
    """Upstreams of an audit record that were given up, with why."""
    return [(each["upstream"], each["status"], each["reason"]) for each in record["attempts"]]
