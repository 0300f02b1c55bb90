"""Records on their way to a file or a service: none is lost without being counted, and none is sent in part."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.policy.logsinks import CHUNK_BYTES_MAX, SEND_EVERY_SECONDS, WAITING_BYTES_MAX, FileSink, ServiceSink


@dataclass
class Service:
    """Takes uploads while `status` is 200."""

    status: int = 200
    uploads: list[list[str]] = field(default_factory=list[list[str]])
    encodings: set[str | None] = field(default_factory=set[str | None])

    async def take(self, request: web.Request) -> web.Response:
        records = json.loads(await request.read())
        self.encodings.add(request.headers.get("Content-Encoding"))
        if self.status == 200:
            self.uploads.append(records)
        return web.Response(status=self.status)

    @property
    def records(self) -> list[str]:
        return [record for upload in self.uploads for record in upload]


@asynccontextmanager
async def sink_of(service: Service) -> AsyncIterator[ServiceSink]:
    app = web.Application(client_max_size=2 * WAITING_BYTES_MAX)
    app.router.add_post("/logs", service.take)
    async with TestServer(app) as server:
        yield ServiceSink(str(server.make_url("")).rstrip("/"), None)


async def test_records_are_sent_zipped_in_their_order() -> None:
    service = Service()
    async with sink_of(service) as sink:
        for number in range(5):
            sink.put(json.dumps(f"{number}").encode())
        assert await sink.send() and await sink.send()
    assert service.uploads == [["0", "1", "2", "3", "4"]] and service.encodings == {"gzip"}


async def test_many_records_are_sent_in_several_uploads() -> None:
    service, long = Service(), json.dumps("x" * (CHUNK_BYTES_MAX // 3)).encode()
    async with sink_of(service) as sink:
        for _ in range(7):
            sink.put(long)
        await sink.send()
    assert [len(upload) for upload in service.uploads] == [2, 2, 2, 1]


async def test_records_that_are_not_taken_wait_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(status=503)
    async with sink_of(service) as sink:
        sink.put(b'"first"')
        with caplog.at_level(logging.ERROR):
            assert not await sink.send() and not await sink.send()
        sink.put(b'"second"')
        service.status = 200
        assert await sink.send() and sink.lost == 0
    assert service.records == ["first", "second"]
    assert [record.message for record in caplog.records if "it answered 503" in record.message][1:] == []


async def test_service_that_is_away_keeps_the_newest_and_counts_the_lost() -> None:
    sink = ServiceSink("http://127.0.0.1:9", None)
    record = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    for _ in range(WAITING_BYTES_MAX // len(record) + 3):
        sink.put(record)
    assert not await sink.send() and sink.lost == 3


async def test_sending_that_is_cancelled_loses_nothing() -> None:
    service, arrived = Service(), asyncio.Event()

    async def hang_once(request: web.Request) -> web.Response:
        if not arrived.is_set():
            arrived.set()
            await asyncio.Event().wait()
        return await service.take(request)

    app = web.Application()
    app.router.add_post("/logs", hang_once)
    async with TestServer(app) as server:
        sink = ServiceSink(str(server.make_url("")).rstrip("/"), None)
        sink.put(b'"kept"')
        sending = asyncio.ensure_future(sink.send())
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await sink.send()
    assert service.records == ["kept"]


async def test_many_records_are_sent_without_waiting_for_the_time() -> None:
    service = Service()
    async with sink_of(service) as sink:
        sending = asyncio.ensure_future(sink.keep_sending())
        async with asyncio.timeout(5 * SEND_EVERY_SECONDS):
            for sent in range(2, 22, 2):
                for _ in range(2):
                    sink.put(json.dumps("x" * (CHUNK_BYTES_MAX // 2)).encode())
                while len(service.records) < sent:
                    await asyncio.sleep(0)
        sending.cancel()


def test_file_that_cannot_be_written_is_said_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink = FileSink(Path("/dev/full"))
    with caplog.at_level(logging.ERROR):
        sink.put(b"{}")
        sink.put(b"{}")
    sink.close()
    assert sink.lost == 2 and len(caplog.records) == 1 and "/dev/full" in caplog.text


def test_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        FileSink(tmp_path / "absent" / "log")
