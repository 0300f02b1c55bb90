"""Listening to a run over real connections, also those that break."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from gateway.commands.client import GatewayClient, GatewayRefused
from gateway.commands.output import EXIT_UNREACHABLE, CommandFailed
from gateway.commands.run_feed import AGENTS_PAGE, Event, RunFeed
from gateway.commands.run_rows import AgentRow, RunRow
from gateway.web.run_desk import RunEvent
from tests.support.runs import ALICE, BOB, FakeDesk, serving_runs

RUN = "wf_000001"


@contextlib.asynccontextmanager
async def feeding(desk: FakeDesk, who: str = ALICE) -> AsyncGenerator[RunFeed]:
    async with serving_runs(desk) as url, RunFeed(GatewayClient(url, who), RUN, waits=(0.0,)) as feed:
        yield feed


class Relay:
    """Passes connections on to a gateway, and breaks them when it is told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.accepted = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks = asyncio.TaskGroup()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open |= {writer, far_writer}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass(reader, far_writer))
            group.create_task(self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
        writer.close()

    def break_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()


@contextlib.asynccontextmanager
async def relayed(desk: FakeDesk) -> AsyncGenerator[tuple[RunFeed, Relay]]:
    async with serving_runs(desk) as url:
        relay = Relay(int(url.rpartition(":")[2]))
        server = await asyncio.start_server(relay.take, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with RunFeed(GatewayClient(f"http://127.0.0.1:{port}", ALICE), RUN, waits=(0.0,)) as feed:
                yield feed, relay
        finally:
            server.close()
            relay.break_all()


async def collect(feed: RunFeed, meanwhile: Callable[[Event], None] = lambda _: None) -> list[Event]:
    found: list[Event] = []
    async for event in feed.events():
        found.append(event)
        meanwhile(event)
    return found


async def test_events_come_in_order_until_the_last_one() -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    async with feeding(desk) as feed:
        desk.happen(run, "log", text="one")
        desk.show_progress(run)
        events = await collect(feed, lambda event: desk.end(run) if event.type == "progress" else None)
    assert [(event.type, event.seq) for event in events] == [
        ("log", 1),
        ("progress", None),
        ("workflow_run.status_ended", 2),
    ]
    assert events[0].fields["text"] == "one" and not feed.connected


async def test_broken_connection_is_made_again_and_nothing_comes_twice() -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    for _ in range(3):
        desk.happen(run, "log")
    async with relayed(desk) as (feed, relay):

        def disturb(event: Event) -> None:
            if event.seq in (3, 5):
                relay.break_all()
                desk.happen(run, "log")
                desk.happen(run, "log")
            if event.seq == 7:
                desk.end(run)

        events = await collect(feed, disturb)
    assert [event.seq for event in events] == list(range(1, 9))
    assert relay.accepted >= 3


async def test_gap_is_filled_from_the_list_of_events() -> None:
    desk = FakeDesk()
    run = desk.add(RUN)

    def skip(event: Event) -> None:
        if event.seq == 1:
            run.forgotten = 6
            for seq in range(2, 7):
                run.events.append(RunEvent("log", b'{"type":"log","seq":%d}' % seq, seq))
            desk.end(run)

    async with feeding(desk) as feed:
        desk.happen(run, "log")
        events = await collect(feed, skip)
    assert [event.seq for event in events] == list(range(1, 8))


async def test_run_of_somebody_else_ends_the_listening_at_once() -> None:
    desk = FakeDesk()
    desk.add(RUN)
    async with feeding(desk, BOB) as feed:
        with pytest.raises(GatewayRefused, match="answered 404: there is no run wf_000001"):
            await collect(feed)
        with pytest.raises(GatewayRefused):
            await feed.record(RunRow)


async def test_gateway_that_never_answers_is_told_so() -> None:
    async with RunFeed(GatewayClient("http://127.0.0.1:9", ALICE), RUN) as feed:
        with pytest.raises(CommandFailed, match="is `ringfence serve` running there") as failed:
            await collect(feed)
        assert failed.value.exit_code == EXIT_UNREACHABLE
        with pytest.raises(CommandFailed, match="no answer"):
            await feed.record(RunRow)


async def test_record_and_all_pages_of_agents_are_read() -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    run.agents = [{"index": index, "state": "done"} for index in range(AGENTS_PAGE + 3)]
    async with feeding(desk) as feed:
        assert (await feed.record(RunRow)).id == RUN
        agents = await feed.agents(AgentRow)
    assert [agent.index for agent in agents] == list(range(AGENTS_PAGE + 3))


async def test_order_changes_the_run_and_is_refused_with_the_reason() -> None:
    desk = FakeDesk()
    run = desk.add(RUN)
    async with feeding(desk) as feed:
        await feed.order("/pause", {})
        assert run.record["state"] == "paused"
        with pytest.raises(GatewayRefused, match="answered 409: run wf_000001 is paused"):
            await feed.order("/pause", {})


async def test_answer_of_something_else_is_a_failure() -> None:
    desk = FakeDesk()
    wrong: Any = {"id": 7}
    desk.add(RUN).record = wrong
    async with feeding(desk) as feed:
        with pytest.raises(CommandFailed, match="is it this gateway"):
            await feed.record(RunRow)
