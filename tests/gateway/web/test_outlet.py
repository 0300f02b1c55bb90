"""Writing to a client, and the pings in between. The response is a fake."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from gateway.context import RequestContext
from gateway.tasks import Tasks
from gateway.web.outlet import Outlet, Pings
from tests.support.clock import FakeClock
from tests.support.clouds.bedrock import FakeBedrock
from tests.support.clouds.configured import BACKENDS
from tests.support.clouds.faults import stalled
from tests.support.dialects import read_events, write_request
from tests.support.gateway import serving
from tests.support.patience import within
from tests.support.upstream import text_block

PING = b"<ping>"
SECONDS = 0.02
ASKED = {"max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}


class FakeResponse(web.StreamResponse):
    """Keeps what is written; `gone` is a client that has left."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.gone = False
        self.wrote = asyncio.Event()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.wrote.set()
        if self.gone:
            raise ConnectionResetError("Cannot write to closing transport")
        self.written.append(bytes(data))

    async def wait_for(self, count: int) -> None:
        while len(self.written) < count:
            self.wrote.clear()
            await self.wrote.wait()


class Bench:
    """An outlet with its fakes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.tasks = Tasks()
        self.response = FakeResponse()
        self.ctx = RequestContext("dec_1", "POST", "/v1/messages", {}, "anthropic", 0, self.clock.monotonic())
        self.outlet = Outlet(self.response, self.ctx, self.clock, self.tasks, Pings(PING, SECONDS))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.outlet.stop()
    await made.tasks.close(1)


async def silence(seconds: float) -> None:
    """Let so much time pass."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


async def test_pieces_go_out_together_and_are_counted(bench: Bench) -> None:
    bench.clock.advance(2)
    bench.outlet.add(b"one ")
    bench.outlet.add(b"two")
    await bench.outlet.flush()
    bench.clock.advance(5)
    bench.outlet.add(b"!")
    await bench.outlet.flush()
    assert bench.response.written == [b"one two", b"!"]
    assert (bench.ctx.bytes_out, bench.ctx.first_byte_seconds) == (8, 2)


async def test_flush_of_nothing_writes_nothing(bench: Bench) -> None:
    await bench.outlet.flush()
    assert (bench.response.written, bench.ctx.first_byte_seconds) == ([], None)


async def test_piece_is_not_delayed_by_what_is_decided_meanwhile(bench: Bench) -> None:
    bench.outlet.add(b"one ")
    bench.outlet.add(b"two")
    await bench.response.wait_for(1)
    assert (bench.response.written, bench.ctx.bytes_out) == ([b"one two"], 7)
    await bench.outlet.flush()
    assert bench.response.written == [b"one two"]


async def test_silence_is_filled_with_pings(bench: Bench) -> None:
    bench.outlet.start_pings()
    bench.outlet.start_pings()
    began = asyncio.get_running_loop().time()
    await bench.response.wait_for(3)
    assert bench.response.written == [PING] * 3
    assert asyncio.get_running_loop().time() - began >= 2.9 * SECONDS
    assert (bench.ctx.first_byte_seconds, bench.ctx.bytes_out) == (None, 0)


async def test_ping_comes_its_time_after_what_was_written_last(bench: Bench) -> None:
    seconds = 1.0
    outlet = Outlet(bench.response, bench.ctx, bench.clock, bench.tasks, Pings(PING, seconds))
    loop = asyncio.get_running_loop()
    outlet.start_pings()
    await silence(seconds / 10)
    outlet.add(b"data")
    await outlet.flush()
    wrote_at = loop.time()
    async with within(1.6 * seconds):
        await bench.response.wait_for(2)
    outlet.stop()
    assert bench.response.written == [b"data", PING]
    assert loop.time() - wrote_at >= 0.99 * seconds


@pytest.mark.parametrize("end", ["stop", "stop_pings"])
async def test_no_ping_comes_after_the_end(bench: Bench, end: str) -> None:
    bench.outlet.start_pings()
    (bench.outlet.stop if end == "stop" else bench.outlet.stop_pings)()
    await silence(3 * SECONDS)
    assert bench.response.written == []


async def test_what_was_added_before_the_end_is_dropped_with_it(bench: Bench) -> None:
    bench.outlet.add(b"late")
    bench.outlet.stop()
    await silence(0)
    assert bench.response.written == []


async def test_client_that_left_is_noticed_by_a_flush_and_by_no_ping(bench: Bench) -> None:
    bench.response.gone = True
    bench.outlet.start_pings()
    await bench.response.wrote.wait()
    bench.outlet.add(b"data")
    with pytest.raises(ConnectionError):
        await bench.outlet.flush()
    bench.outlet.add(b"more")
    await silence(SECONDS)
    assert bench.response.written == []


@pytest.mark.parametrize("dialect", ["anthropic", "vertex", "bedrock"])
async def test_only_clients_that_know_pings_hear_them_while_a_binary_stream_is_silent(
    tmp_path: Path, dialect: str
) -> None:
    """Before the first event as well as between two; none once events follow each other."""
    knows, go_on = dialect != "bedrock", asyncio.Event()
    model = "claude-opus-5-5" if knows else "us.anthropic.claude-opus-5-5"
    sent = write_request(dialect, ASKED | {"model": model})
    async with FakeBedrock() as cloud:
        upstream = BACKENDS["bedrock"].upstream(cloud)
        async with serving(tmp_path, "", upstreams=[upstream], ping_seconds=SECONDS) as gateway:
            for silent_after in (0, 4):
                go_on.clear()
                cloud.queue(stalled([text_block("Hello.")], events=silent_after, until=go_on, binary=True))
                async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
                    got = b""
                    while knows and got.count(b"event: ping") < 3:
                        got += await response.content.readany()
                    await silence(3 * SECONDS)
                    go_on.set()
                    kinds = [event["type"] for event in read_events(dialect, got + await response.read())]
                pings = kinds.count("ping")
                assert (pings >= 3) is knows and kinds[-1] == "message_stop"
                assert kinds[silent_after : silent_after + pings] == ["ping"] * pings
