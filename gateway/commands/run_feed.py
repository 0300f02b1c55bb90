"""One run of a running gateway, listened to: its record, its agents and its events, over broken connections too.

Reads and orders only; what is made of it is `run_wait.py`'s and `watch.py`'s.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from gateway.commands.address import gateway_url
from gateway.commands.client import GatewayClient, GatewayRefused, path_part
from gateway.commands.run_rows import Failures
from gateway.config.values import is_loopback
from gateway.contract import IDEMPOTENCY_HEADER, RUNS_PATH
from gateway.core.wire.sse import SseDecoder

SILENCE_SECONDS = 45.0
"""A stream that says nothing for this long, not even a comment, is dead."""
CONNECT_SECONDS = 10.0
AGAIN_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits before connecting again; the last one from then on."""
AGENTS_PAGE = 1_000
EVENT_STREAM = "text/event-stream"
LAST_EVENT = "workflow_run.status_ended"
PASSING = frozenset({429, 500, 502, 503, 504, 529})
"""Refusals after which it is worth to connect again."""

T = TypeVar("T")


class Event(msgspec.Struct, frozen=True):
    """One event. `seq` None: a snapshot, or a gap."""

    type: str
    seq: int | None
    fields: dict[str, Any]


class _Events(msgspec.Struct):
    events: list[msgspec.Raw]


class _Agents(msgspec.Struct):
    agents: list[msgspec.Raw]
    next: int | None = None


class RunFeed:
    """One run. To be used as a context."""

    def __init__(self, client: GatewayClient, run: str, *, waits: tuple[float, ...] = AGAIN_SECONDS) -> None:
        self.connected = False
        self._client = client
        self._path = f"{gateway_url(client.url)}{RUNS_PATH}/{path_part(run)}"
        self._waits = waits
        self._last = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        far = not is_loopback(urlsplit(self._client.url).hostname or "")
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=far, headers=self._client.headers())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def events(self) -> AsyncGenerator[Event]:
        """From the first to the last one, each once. A connection that breaks is made again from the last number.

        Raises CommandFailed when the gateway will not have it, or has never answered.
        """
        met, failures = False, 0
        while True:
            try:
                async with contextlib.aclosing(self._listen()) as events:
                    async for event in events:
                        met, failures = True, 0
                        yield event
                        if event.type == LAST_EVENT:
                            return
            except GatewayRefused as refused:
                if refused.status not in PASSING:
                    raise
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if not met:
                    raise self._client.unreachable(error) from None
            finally:
                self.connected = False
            await asyncio.sleep(self._waits[min(failures, len(self._waits) - 1)])
            failures += 1

    async def record(self, kind: type[T]) -> T:
        """The run as it stands. Raises CommandFailed."""
        return self._decoded(await self._ask("GET", ""), kind)

    async def agents(self, kind: type[T]) -> list[T]:
        """All agents by index. Raises CommandFailed."""
        found: list[T] = []
        query = f"?limit={AGENTS_PAGE}"
        while True:
            page = self._decoded(await self._ask("GET", f"/agents{query}"), _Agents)
            found += (self._decoded(bytes(row), kind) for row in page.agents)
            if page.next is None:
                return found
            query = f"?limit={AGENTS_PAGE}&after={page.next}"

    async def failures(self) -> Failures:
        """Of an ended run: which agents gave nothing, and why. Raises CommandFailed."""
        return self._decoded(await self._ask("GET", "/notification"), Failures)

    async def order(self, path: str, body: dict[str, Any]) -> None:
        """Change the run (`/pause`) or an agent (`/agents/3/stop`). Raises CommandFailed."""
        await self._ask("POST", path, body)

    async def _listen(self) -> AsyncGenerator[Event]:
        """One connection."""
        headers = {"accept": EVENT_STREAM, "last-event-id": str(self._last)}
        decoder = SseDecoder()
        async with self._request("GET", "/events", headers=headers) as answer:
            self.connected = True
            async for chunk in answer.content.iter_any():
                decoder.push(chunk)
                while (frame := decoder.next_frame()) is not None:
                    if frame.data:
                        async for event in self._complete(_event_of(frame.data)):
                            yield event

    async def _complete(self, event: Event) -> AsyncGenerator[Event]:
        """`event`, or what was left out of the stream in its place."""
        if event.type == "gap":
            while self._last + 1 < event.fields["before"]:
                page = self._decoded(await self._ask("GET", f"/events?after={self._last}"), _Events)
                if not page.events:
                    return
                for text in page.events:
                    missed = _event_of(bytes(text))
                    self._last = missed.seq or self._last
                    yield missed
            return
        if event.seq is not None:
            if event.seq <= self._last:
                return
            self._last = event.seq
        yield event

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        headers = {} if body is None else {IDEMPOTENCY_HEADER: uuid.uuid4().hex}
        try:
            async with self._request(method, path, headers=headers, json=body) as answer:
                return await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._client.unreachable(error) from None

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **more: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert self._session is not None
        url = URL(self._path + path, encoded=True)
        async with self._session.request(method, url, allow_redirects=False, **more) as answer:
            if answer.status != 200:
                raise self._client.refusal(answer.status, await answer.read())
            yield answer

    def _decoded(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise self._client.unexpected(error) from None


def _event_of(text: bytes) -> Event:
    fields = msgspec.json.decode(text, type=dict[str, Any])
    return Event(str(fields.get("type", "")), fields.get("seq"), fields)
