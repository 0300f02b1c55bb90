"""Answers that are read without their client: how many, how long, and what is let go of. Answers are fakes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from gateway.context import RequestContext
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from gateway.web.drains import DRAINS_MAX, Drains, Kept, let_go
from gateway.web.received import read


@dataclass
class FakeAnswer:
    """Its pieces come once; an event among them is waited for."""

    pieces: list[bytes | asyncio.Event] = field(default_factory=list[bytes | asyncio.Event])
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),)
    closed: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        while self.pieces:
            piece = self.pieces[0]
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                self.pieces.pop(0)
                continue
            self.pieces.pop(0)
            yield piece

    async def close(self) -> None:
        self.closed += 1


def asked() -> RequestContext:
    return RequestContext("dec_1", "POST", "/v1/messages", {}, "anthropic", 0, 0.0)


async def nothing() -> None: ...


async def test_answer_is_read_and_let_go_and_counted_until_then() -> None:
    drains, done = Drains(), list[str]()

    async def read_out() -> None:
        done.append(f"read {drains.count}")

    async def close() -> None:
        done.append(f"closed {drains.count}")

    assert drains.add(ctx := asked(), read_out, close) and ctx.drain is not None
    await ctx.drain()
    assert done == ["read 1", "closed 0"]


async def test_one_too_many_is_not_read() -> None:
    drains = Drains()
    assert all(drains.add(asked(), nothing, nothing) for _ in range(DRAINS_MAX))
    assert not drains.add(refused := asked(), nothing, nothing)
    assert (refused.drain, drains.count) == (None, DRAINS_MAX)


@pytest.mark.parametrize("failure", [GatewayError(Reason.UPSTREAM_BROKE, "broke"), TimeoutError()])
async def test_answer_that_fails_frees_its_place(failure: Exception) -> None:
    drains, answer = Drains(), FakeAnswer()

    async def read_out() -> None:
        raise failure

    drains.add(ctx := asked(), read_out, answer.close)
    assert ctx.drain is not None
    await ctx.drain()
    assert (drains.count, answer.closed) == (0, 1)


async def test_answer_that_is_cancelled_frees_its_place() -> None:
    drains, answer, tasks = Drains(), FakeAnswer([asyncio.Event()]), Tasks()

    async def read_out() -> None:
        await read(answer)

    drains.add(ctx := asked(), read_out, answer.close)
    assert ctx.drain is not None
    drain = ctx.drain

    async def drained() -> None:
        await drain()

    reading = tasks.spawn("drain", drained())
    await asyncio.sleep(0)
    assert await tasks.close(0) == ["drain"] and reading.cancelled()
    assert (drains.count, answer.closed) == (0, 1)


async def test_attempt_that_has_brought_an_answer_is_let_go_by_closing_it() -> None:
    answer, tasks = FakeAnswer(), Tasks()

    async def send() -> FakeAnswer:
        return answer

    sending = tasks.spawn("send", send())
    await asyncio.wait({sending})
    await let_go(sending)
    assert answer.closed == 1 and not sending.cancelled()


async def test_attempt_under_way_is_let_go_by_cancelling_it() -> None:
    tasks, ended = Tasks(), list[str]()

    async def send() -> FakeAnswer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("place given back")
        raise AssertionError

    sending = tasks.spawn("send", send())
    await asyncio.sleep(0)
    await let_go(sending)
    assert sending.cancelled() and ended == ["place given back"]


async def test_attempt_that_failed_is_let_go_without_a_word() -> None:
    tasks = Tasks()

    async def send() -> FakeAnswer:
        raise GatewayError(Reason.UPSTREAM_TIMEOUT, "silence")

    sending = tasks.spawn("send", send())
    await asyncio.wait({sending})
    await let_go(sending)
    assert sending.exception() is not None


@pytest.mark.parametrize("before", [0, 1, 2, 3])
async def test_body_whose_reading_was_cancelled_is_read_whole_by_the_next(before: int) -> None:
    go, tasks, pieces = asyncio.Event(), Tasks(), [b"one", b"two", b"three"]
    answer = FakeAnswer([*pieces[:before], go, *pieces[before:]])
    kept = Kept(answer)
    first = tasks.spawn("read", read(kept))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    go.set()
    assert first.cancelled() and await read(kept) == b"onetwothree"
    assert (kept.status, kept.headers) == (answer.status, answer.headers)
