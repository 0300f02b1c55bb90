"""A byte relay on loopback between client and gateway that writes down what passed and when. Changes nothing.

It counts and times independently of the gateway, so a test need not believe the gateway's own records.
"""

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

INFERENCE = rb"(?:/anthropic)?/v1/messages|/model/[^ /]+/invoke[a-z-]*|/v1/projects/[^ ]+Predict"
REQUEST_LINE = re.compile(rb"(?:^|(?<=\n)|(?<=[}\]]))POST (?:" + INFERENCE + rb")(?:\?[^ ]*)? HTTP/1\.1\r\n")


@dataclass(slots=True)
class Connection:
    """Both directions of one connection; `received` is what the client got, piece by piece with its time."""

    sent: bytearray = field(default_factory=bytearray)
    received: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])

    @property
    def answer(self) -> bytes:
        return b"".join(piece for _, piece in self.received)


class Wiretap:
    """Listens on a free port and relays each connection to `target_url`."""

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        assert target.port is not None
        self._port = target.port
        self._server: asyncio.Server | None = None
        self._relaying: set[asyncio.Task[None]] = set()
        self.connections: list[Connection] = []
        self.base_url = ""

    @property
    def request_count(self) -> int:
        """Inference requests that the client sent."""
        return sum(len(REQUEST_LINE.findall(connection.sent)) for connection in self.connections)

    @property
    def answers(self) -> bytes:
        """Everything the client received."""
        return b"".join(connection.answer for connection in self.connections)

    def longest_silence_seconds(self) -> float:
        """Longest wait between two pieces that the client received on one connection."""
        return max(
            (
                later[0] - earlier[0]
                for connection in self.connections
                for earlier, later in zip(connection.received, connection.received[1:], strict=False)
            ),
            default=0.0,
        )

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._relaying:
            task.cancel()
        await asyncio.gather(*self._relaying, return_exceptions=True)

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        connection = Connection()
        self.connections.append(connection)
        self._keep(asyncio.current_task())
        with contextlib.suppress(OSError), contextlib.closing(to_client):
            gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self._port)
            upward = asyncio.create_task(self._pump_up(client, to_gateway, connection))
            self._keep(upward)
            try:
                while piece := await gateway.read(65536):
                    connection.received.append((time.monotonic(), piece))
                    to_client.write(piece)
                    await to_client.drain()
            finally:
                upward.cancel()
                to_gateway.close()

    def _keep(self, task: asyncio.Task[None] | None) -> None:
        """Keep a task until it ends, so that none outlives the wiretap."""
        assert task is not None
        self._relaying.add(task)
        task.add_done_callback(self._relaying.discard)

    async def _pump_up(
        self, client: asyncio.StreamReader, to_gateway: asyncio.StreamWriter, connection: Connection
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await client.read(65536):
                connection.sent += piece
                to_gateway.write(piece)
                await to_gateway.drain()
        to_gateway.close()
