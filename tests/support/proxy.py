"""A TCP proxy on loopback that can cut what passes it, hold it up, or refuse to let anybody in."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Proxy:
    """Passes bytes both ways until it is told otherwise. Use `proxied`."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self.port = 0
        self.delay_seconds = 0.0
        """What each piece waits on its way to the server."""
        self.on_the_way = 0
        """Pieces that have not arrived yet, nor been lost."""

    def cut(self) -> None:
        """Drop every connection, and let none in."""
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Let nothing through any more, without a word: the network hangs."""
        self._flowing.clear()

    def restore(self) -> None:
        """Everything passes again, also what was held up."""
        self._refusing = False
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until one side leaves."""
        if self._refusing:
            writer.transport.abort()
            return
        behind = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers |= {writer, behind[1]}
        try:
            await asyncio.gather(self._pass(reader, behind[1], slow=True), self._pass(behind[0], writer, slow=False))
        finally:
            for each in (writer, behind[1]):
                self._writers.discard(each)
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                self.on_the_way += 1
                if slow and self.delay_seconds:
                    arrives = asyncio.Event()
                    asyncio.get_running_loop().call_later(self.delay_seconds, arrives.set)
                    await arrives.wait()
                await self._flowing.wait()
                writer.write(piece)
                self.on_the_way -= 1
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def proxied(port: int) -> AsyncGenerator[Proxy]:
    """A proxy before a port of this machine."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.cut()
        proxy.restore()
        server.close()
        await server.wait_closed()
