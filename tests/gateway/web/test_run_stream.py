"""Live events of a run, read with a real client over real connections."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.web.run_desk import RunEvent
from gateway.web.run_stream import RunStreams, frame, gap
from tests.support.runs import ALICE, BOB, FakeDesk, serving_runs

RUN = "wf_000001"
Message = dict[str, str]


class Reader:
    """One open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Each message by its fields."""
        message: Message = {}
        async for line in self.response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if line == b"\n":
                if message:
                    yield message
                message = {}
            elif name:
                message[name] = value
            else:
                self.comments += 1

    async def take(self, count: int) -> list[Message]:
        taken: list[Message] = []
        async for message in self:
            taken.append(message)
            if len(taken) == count:
                break
        return taken


class Served:
    def __init__(self, desk: FakeDesk, url: str, client: aiohttp.ClientSession) -> None:
        self.desk, self.url, self.client = desk, url, client

    @contextlib.asynccontextmanager
    async def read(self, query: str = "", *, who: str = ALICE, **headers: str) -> AsyncGenerator[Reader]:
        sent = {"x-api-key": who, "accept": "text/event-stream"} | {k.replace("_", "-"): v for k, v in headers.items()}
        url = f"{self.url}/ringfence/v1/runs/{RUN}/events{query}"
        async with self.client.get(url, headers=sent) as response:
            yield Reader(response)


@contextlib.asynccontextmanager
async def served(streams: RunStreams | None = None) -> AsyncGenerator[Served]:
    desk = FakeDesk()
    async with serving_runs(desk, streams) as url, aiohttp.ClientSession() as client:
        yield Served(desk, url, client)


async def test_events_that_were_and_those_that_come_arrive_in_order_and_the_last_one_ends_it() -> None:
    async with served() as runs:
        run = runs.desk.add(RUN)
        for number in range(3):
            runs.desk.happen(run, "log", text=f"line {number}")
        async with runs.read() as reader:
            assert reader.response.content_type == "text/event-stream"
            first = await reader.take(3)
            runs.desk.happen(run, "log", text="line 3")
            runs.desk.end(run)
            rest = [message async for message in reader]
    assert [message["id"] for message in first + rest] == ["1", "2", "3", "4", "5"]
    assert [json.loads(message["data"]).get("text") for message in first] == ["line 0", "line 1", "line 2"]
    assert [message["event"] for message in rest] == ["log", "workflow_run.status_ended"]
    assert runs.desk.following == 0


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?after=2", {}), ("", {"last_event_id": "2"}), ("?after=1", {"last_event_id": "2"})],
    ids=["query", "header", "header before query"],
)
async def test_reader_goes_on_after_its_last_number(query: str, headers: dict[str, str]) -> None:
    async with served() as runs:
        run = runs.desk.add(RUN)
        for _ in range(3):
            runs.desk.happen(run, "log")
        runs.desk.end(run)
        async with runs.read(query, **headers) as reader:
            assert [message["id"] async for message in reader] == ["3", "4"]


async def test_progress_has_no_number_and_reaches_who_follows() -> None:
    async with served() as runs:
        run = runs.desk.add(RUN)
        async with runs.read() as reader:
            runs.desk.show_progress(run)
            (message,) = await reader.take(1)
    assert message["event"] == "progress" and "id" not in message
    assert json.loads(message["data"])["run"]["id"] == RUN


async def test_events_that_were_missed_are_told_as_a_gap_between_two_numbers() -> None:
    async with served() as runs:
        run = runs.desk.add(RUN)
        async with runs.read() as reader:
            runs.desk.happen(run, "log")
            await reader.take(1)
            run.forgotten = 4
            for _ in range(3):
                run.events.append(RunEvent("log", b"{}", len(run.events) + 1))
            runs.desk.happen(run, "log")
            told, event = await reader.take(2)
    assert told["event"] == "gap" and "id" not in told
    assert json.loads(told["data"]) == {"type": "gap", "after": 1, "before": 5} and event["id"] == "5"


async def test_silence_is_filled_with_comments() -> None:
    async with served(RunStreams(keep_alive_seconds=0.01)) as runs:
        run = runs.desk.add(RUN)
        async with runs.read() as reader:
            async for line in reader.response.content:
                reader.comments += line == b": keep-alive\n"
                if reader.comments == 3:
                    break
            runs.desk.end(run)
            assert [message["event"] async for message in reader] == ["workflow_run.status_ended"]


async def test_reader_that_leaves_is_followed_no_more() -> None:
    async with served() as runs:
        run = runs.desk.add(RUN)
        async with runs.read() as reader:
            runs.desk.happen(run, "log")
            await reader.take(1)
            assert runs.desk.following == 1
            reader.response.close()
        await runs.desk.until(lambda: runs.desk.following == 0)


async def test_reader_that_takes_nothing_is_cut_off_and_others_go_on() -> None:
    async with served(RunStreams(patience_seconds=0.1)) as runs:
        run = runs.desk.add(RUN)
        host, port = runs.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        request = f"GET /ringfence/v1/runs/{RUN}/events HTTP/1.1\r\nHost: x\r\nx-api-key: {ALICE}\r\n"
        writer.write(f"{request}accept: text/event-stream\r\n\r\n".encode())
        await runs.desk.until(lambda: runs.desk.following == 1)
        for _ in range(300):
            runs.desk.happen(run, "log", text="x" * 65_536)
        await runs.desk.until(lambda: runs.desk.following == 0)
        writer.close()
        runs.desk.end(run)
        async with runs.read("?after=300") as reader:
            assert [message["id"] async for message in reader] == ["301"]


async def test_server_that_stops_ends_the_streams_of_runs_that_go_on() -> None:
    desk = FakeDesk()
    async with aiohttp.ClientSession() as client:
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(serving_runs(desk))
            desk.happen(desk.add(RUN), "log")
            async with Served(desk, url, client).read() as reader:
                await reader.take(1)
                await stack.aclose()
                assert [message async for message in reader] == []
    assert desk.following == 0


@pytest.mark.parametrize(
    ("who", "headers", "status"),
    [(BOB, {}, 404), ("", {}, 401), (ALICE, {"last_event_id": "x"}, 400)],
    ids=["somebody else's", "no credential", "no number"],
)
async def test_stream_that_cannot_be_is_refused_before_it_begins(who: str, headers: Any, status: int) -> None:
    async with served() as runs:
        runs.desk.add(RUN)
        async with runs.read(who=who, **headers) as reader:
            assert reader.response.status == status and reader.response.content_type == "application/json"
    assert runs.desk.following == 0


async def test_one_stream_too_many_is_told_to_come_again() -> None:
    async with served(RunStreams(streams_max=1)) as runs:
        run = runs.desk.add(RUN)
        runs.desk.happen(run, "log")
        async with runs.read() as first:
            await first.take(1)
            async with runs.read() as second:
                assert second.response.status == 529 and second.response.headers["retry-after"]
            runs.desk.end(run)
            assert len([message async for message in first]) == 1
        async with runs.read() as third:
            assert len([message async for message in third]) == 2


def test_one_event_is_one_message_on_the_wire() -> None:
    assert frame(RunEvent("log", b'{"a":1}', 7)) == b'id: 7\nevent: log\ndata: {"a":1}\n\n'
    assert frame(RunEvent("progress", b"{}")) == b"event: progress\ndata: {}\n\n"
    assert gap(1, 5) == b'event: gap\ndata: {"type":"gap","after":1,"before":5}\n\n'
