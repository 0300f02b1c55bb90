"""A stream past what is held for it. Upstream, client and the hold are fakes; the gate is real."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import web

from gateway.boards.controlboard import ControlBoard
from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode, SessionNode
from gateway.core.gate.denial import Denial
from gateway.core.gate.gate import HeldCall, StreamGate
from gateway.core.wire.messages import Tap
from gateway.core.wire.sse import SseDecoder
from gateway.errors import GatewayError, Reason, Refused
from gateway.tasks import Tasks
from gateway.toolcalls import ToolCalls
from gateway.web.ahead import Ahead
from gateway.web.outlet import Outlet, Pings
from gateway.web.stream import Guards, Stream
from tests.gateway.boards.test_controlboard import FakeRecords
from tests.support.clock import FakeClock
from tests.support.streams import (
    block_start,
    block_stop,
    delta,
    message_end,
    message_start,
    sdk_message,
    text_block,
    text_delta,
    tool_block,
)

THINKING = block_start(0, type="thinking", thinking="", signature="") + delta(
    0, type="thinking_delta", thinking="0123456789"
)
SIGNED = delta(0, type="signature_delta", signature="c2ln") + block_stop(0)
TEXT = block_start(0, type="text", text="")


@dataclass
class FakeAnswer:
    """Chunks, and when it was closed: how many of them had been read, how many writes the client had got."""

    body: Sequence[bytes]
    client: "FakeClient"
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    read: int = 0
    closed: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    async def chunks(self) -> AsyncIterator[bytes]:
        while self.read < len(self.body):
            self.read += 1
            yield self.body[self.read - 1]

    async def close(self) -> None:
        self.closed.append((self.read, len(self.client.written)))


class FakeClient(web.StreamResponse):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    @property
    def got(self) -> bytes:
        return b"".join(self.written)


class Allowing:
    """Every call may run."""

    async def decide(self, ctx: RequestContext, call: HeldCall) -> Denial | None:
        return None


@dataclass
class Till:
    """Money for so many characters at a time, while it lasts; each question with the output that had been seen."""

    steps: list[int]
    asked: list[int] = field(default_factory=list[int])

    async def cover(self, ctx: RequestContext) -> bool:
        assert ctx.tap is not None and ctx.covered_chars is not None
        self.asked.append(ctx.tap.output_chars)
        if not self.steps:
            return False
        ctx.covered_chars += self.steps.pop(0)
        return True


class Bench:
    """A stream of some chunks with its fakes."""

    def __init__(self, *chunks: bytes, covered: int | None = 10, steps: Sequence[int] = ()) -> None:
        clock = FakeClock()
        self.till = Till(list(steps))
        self.client = FakeClient()
        self.answer = FakeAnswer(chunks, self.client)
        self.ctx = RequestContext("dec_1", "POST", "/v1/messages", {}, "anthropic", 0, clock.monotonic())
        self.ctx.covered_chars = covered
        self.ctx.agent = AgentNode(SessionNode("s", "laptop", "alice", "", inferred=False), "main", None, 0, 0, 0)
        tap = self.ctx.tap = Tap()
        tasks = Tasks()
        self.outlet = Outlet(self.client, self.ctx, clock, tasks, Pings(b"", 60))
        self.board = ControlBoard(FakeRecords(), lambda record: None, clock)
        guards = Guards(cast(ToolCalls, Allowing()), self.board, self.till.cover, self.may_begin)
        gate = StreamGate(SseDecoder(), tap)
        self.stream = Stream(gate, tap, Ahead(self.answer, tasks), self.outlet, guards, silent=False)
        self.begun: list[int] = []
        self.refused_from: int | None = None

    def may_begin(self, ctx: RequestContext) -> None:
        """Refuses from the n-th question on."""
        self.begun.append(len(self.client.written))
        if self.refused_from is not None and len(self.begun) > self.refused_from:
            raise Refused(Reason.FUSE_BLOWN, "a fuse has blown")

    async def run(self) -> Any:
        """The message that the client read."""
        try:
            await self.stream.run(self.ctx)
        finally:
            self.outlet.stop()
        return sdk_message(self.client.got)


async def test_answer_within_its_hold_asks_for_nothing() -> None:
    bench = Bench(message_start() + TEXT, text_delta(0, "0123456789"), block_stop(0) + message_end())
    assert (await bench.run()).stop_reason == "end_turn"
    assert (bench.till.asked, bench.ctx.cut) == ([], False)


async def test_answer_past_its_hold_asks_once_for_each_step() -> None:
    texts = [text_delta(0, "01234") for _ in range(8)]
    bench = Bench(message_start() + TEXT, *texts, block_stop(0) + message_end(), steps=[10, 100])
    assert (await bench.run()).content[0].text == "01234" * 8
    assert (bench.till.asked, bench.ctx.cut, bench.answer.closed) == ([15, 25], False, [])


async def test_answer_without_a_hold_to_pass_is_never_asked_for() -> None:
    bench = Bench(message_start() + text_block(0, "x" * 9_999), message_end(), covered=None)
    assert (await bench.run()).stop_reason == "end_turn" and bench.till.asked == []


async def test_upstream_is_closed_before_the_end_is_written() -> None:
    bench = Bench(message_start() + TEXT + text_delta(0, "01234"), text_delta(0, "01234567"), text_delta(0, "unread"))
    found = await bench.run()
    assert (found.content[0].text, found.stop_reason) == ("0123401234567", "max_tokens")
    assert (bench.ctx.cut, bench.till.asked, bench.answer.closed) == (True, [13], [(2, 1)])


async def test_thinking_goes_on_to_its_end_and_is_asked_for_once() -> None:
    bench = Bench(message_start() + THINKING, delta(0, type="thinking_delta", thinking="more"), SIGNED, b"never read")
    found = await bench.run()
    assert [block.type for block in found.content] == ["thinking", "text"]
    assert (found.content[0].thinking, bench.till.asked) == ("0123456789more", [14])
    assert (bench.answer.closed, bench.answer.read) == ([(3, 2)], 3)


async def test_answer_that_ends_while_its_thinking_is_waited_for_is_not_cut() -> None:
    bench = Bench(message_start() + THINKING + delta(0, type="thinking_delta", thinking="more"), SIGNED + message_end())
    assert (await bench.run()).stop_reason == "end_turn"
    assert (bench.ctx.cut, bench.answer.closed) == (False, [])


async def test_usage_that_came_in_the_same_read_needs_no_hold() -> None:
    bench = Bench(message_start() + text_block(0, "x" * 99) + message_end())
    assert (await bench.run()).stop_reason == "end_turn"
    assert (bench.till.asked, bench.ctx.cut) == ([], False)


async def test_call_that_came_whole_is_decided_before_the_end() -> None:
    call = tool_block(0, "toolu_1", "Bash", '{"command":"echo 0123456789"}')
    bench = Bench(message_start() + call, b"never read")
    found = await bench.run()
    assert [block.type for block in found.content] == ["tool_use"] and found.stop_reason == "max_tokens"


async def test_hold_that_cannot_be_asked_for_ends_the_stream_as_an_error() -> None:
    bench = Bench(message_start() + text_block(0, "x" * 99))

    async def away(ctx: RequestContext) -> bool:
        raise Refused(Reason.STORE_UNAVAILABLE, "away")

    bench.stream.guards = dataclasses.replace(bench.stream.guards, cover=away)
    with pytest.raises(GatewayError, match="away"):
        await bench.run()
    assert bench.ctx.cut is False


async def test_abandoned_answer_is_read_as_far_as_the_money_goes() -> None:
    texts = [text_delta(0, "01234") for _ in range(8)]
    bench = Bench(message_start() + TEXT, *texts, steps=[10])
    await bench.stream.read_out(bench.ctx)
    assert (bench.till.asked, bench.ctx.cut, bench.answer.closed) == ([15, 25], True, [(6, 0)])
    assert bench.client.got == b""


async def test_abandoned_answer_that_only_its_thinking_kept_open_is_not_read_on() -> None:
    bench = Bench(SIGNED)
    bench.stream.pieces = bench.stream.gate.feed(message_start() + THINKING + text_delta(0, "more"))
    bench.stream.exhausted = True
    await bench.stream.read_out(bench.ctx)
    assert (bench.ctx.cut, bench.till.asked, bench.answer.closed) == (True, [], [(0, 0)])


async def test_abandoned_answer_whose_usage_has_come_is_whole() -> None:
    bench = Bench(message_start() + text_block(0, "x" * 99) + message_end())
    await bench.stream.read_out(bench.ctx)
    assert (bench.ctx.cut, bench.till.asked) == (False, [])
    assert bench.ctx.tap is not None and bench.ctx.tap.usage().final


async def test_agent_without_output_is_asked_about_until_it_has_some() -> None:
    bench = Bench(message_start(), TEXT, text_delta(0, "Hi."), text_delta(0, "Ho."), block_stop(0) + message_end())
    await bench.run()
    assert bench.ctx.agent is not None and bench.ctx.agent.first_token
    assert bench.begun == [0, 1, 2]
    again = Bench(message_start() + text_block(0, "Hi.") + message_end())
    again.ctx.agent = bench.ctx.agent
    await again.run()
    assert again.begun == []


@pytest.mark.parametrize("refused_from", [0, 1, 2])
async def test_agent_that_may_not_begin_gets_no_output(refused_from: int) -> None:
    bench = Bench(message_start(), TEXT, text_delta(0, "Hi."), block_stop(0) + message_end())
    bench.refused_from = refused_from
    with pytest.raises(Refused, match="blown"):
        await bench.run()
    assert b"Hi." not in bench.client.got and len(bench.client.written) == refused_from
    assert bench.ctx.agent is not None and not bench.ctx.agent.first_token


async def test_words_of_our_own_that_end_a_turn_are_no_output_of_the_agent() -> None:
    bench = Bench(message_start() + text_block(0, "Your fuse has blown.") + message_end())
    bench.ctx.closing, bench.refused_from = "Your fuse has blown.", 0
    assert (await bench.run()).content[0].text == "Your fuse has blown."
    assert bench.ctx.agent is not None and not bench.ctx.agent.first_token and bench.begun == []


async def test_tap_sees_what_had_come_of_an_answer_that_is_broken_off() -> None:
    bench = Bench(message_start() + TEXT + text_delta(0, "01234"), covered=None)
    bench.refused_from = 0
    with pytest.raises(Refused):
        await bench.run()
    ends: list[int] = []

    async def end() -> None:
        ends.append(bench.stream.tap.output_chars)

    await bench.stream.break_off(end())
    assert (ends, bench.stream.tap.output_chars, len(bench.answer.closed)) == ([0], 5, 1)
