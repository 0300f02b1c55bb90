"""Reading an answer on while what came of it cannot be passed on. The upstream is a fake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from gateway.web.ahead import AHEAD_BYTES_MAX, Ahead

BROKE = GatewayError(Reason.UPSTREAM_BROKE, "broke")


@dataclass
class FakeAnswer:
    """Yields what is put in; None ends it."""

    body: "asyncio.Queue[bytes | GatewayError | None]" = field(default_factory=asyncio.Queue)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("a", "b"),)
    read: int = 0
    closed: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        while (piece := await self.body.get()) is not None:
            if isinstance(piece, GatewayError):
                raise piece
            self.read += 1
            yield piece

    async def close(self) -> None:
        self.closed += 1


class Bench:
    """An answer that came in part, read by somebody without any patience."""

    def __init__(self, *pieces: bytes | GatewayError | None, patience_seconds: float = 0.0) -> None:
        self.answer, self.tasks = FakeAnswer(), Tasks()
        self.put(*pieces)
        self.ahead = Ahead(self.answer, self.tasks, patience_seconds)
        self.chunks = self.ahead.chunks()

    def put(self, *pieces: bytes | GatewayError | None) -> None:
        for piece in pieces:
            self.answer.body.put_nowait(piece)

    async def rest(self) -> list[bytes]:
        return [chunk async for chunk in self.chunks]


async def pause(rounds: int = 20) -> None:
    """Let what can run go on."""
    for _ in range(rounds):
        await asyncio.sleep(0)
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.01)


async def test_answer_that_is_passed_on_at_once_is_read_by_nobody_else() -> None:
    bench = Bench(b"1", b"2", None)
    assert await bench.rest() == [b"1", b"2"]
    assert (len(bench.tasks), bench.ahead.status, bench.ahead.headers) == (0, 200, (("a", "b"),))


async def test_answer_is_read_on_while_its_reader_waits_and_loses_nothing() -> None:
    bench = Bench(b"1", b"2", b"3")
    assert await anext(bench.chunks) == b"1"
    bench.ahead.wait()
    await pause()
    assert bench.answer.read == 3
    bench.ahead.go_on()
    bench.put(b"4", None)
    assert await bench.rest() == [b"2", b"3", b"4"]
    assert await bench.tasks.close(1) == []


async def test_short_wait_starts_no_reader() -> None:
    bench = Bench(b"1", b"2", None, patience_seconds=60)
    await anext(bench.chunks)
    bench.ahead.wait()
    await pause()
    bench.ahead.go_on()
    assert (bench.answer.read, len(bench.tasks)) == (1, 0)
    assert await bench.rest() == [b"2"]


async def test_no_more_is_read_ahead_than_is_allowed() -> None:
    piece = b"x" * (AHEAD_BYTES_MAX // 4)
    bench = Bench(*[piece] * 20, None)
    await anext(bench.chunks)
    bench.ahead.wait()
    await pause()
    assert bench.answer.read == 1 + 4
    assert await anext(bench.chunks) == piece
    await pause()
    assert bench.answer.read == 1 + 5
    assert len(await bench.rest()) == 18


async def test_failure_is_told_after_what_came_before_it() -> None:
    bench = Bench(b"1", b"2", BROKE)
    await anext(bench.chunks)
    bench.ahead.wait()
    await pause()
    assert await anext(bench.chunks) == b"2"
    with pytest.raises(GatewayError, match="broke"):
        await anext(bench.chunks)


async def test_close_ends_the_reader_wherever_it_is() -> None:
    for pieces in ((b"1",), (b"1", b"x" * AHEAD_BYTES_MAX, b"more")):
        bench = Bench(*pieces)
        await anext(bench.chunks)
        bench.ahead.wait()
        await pause()
        await bench.ahead.close()
        await pause()
        assert (bench.answer.closed, len(bench.tasks)) == (1, 0)
        assert bench.ahead.taken() == list(pieces[1:2]) and bench.ahead.taken() == []


async def test_reader_that_was_cancelled_begins_anew_where_it_was() -> None:
    """Before anything was read ahead, and after."""
    bench = Bench(b"1")
    await anext(bench.chunks)
    reading = asyncio.ensure_future(bench.rest())
    await pause()
    reading.cancel()
    await asyncio.wait([reading])
    bench.put(b"2", b"3", None)
    bench.chunks = bench.ahead.chunks()
    assert await anext(bench.chunks) == b"2"
    bench.ahead.wait()
    await pause()
    bench.chunks = bench.ahead.chunks()
    assert await bench.rest() == [b"3"]
