"""An agent whose session's fuse blew while its first answer was under way gets nothing of it. Others go on."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.gateway.controlled import AMPLE, COST, Client, ask, events, records
from tests.support.gateway import Serving, serving
from tests.support.upstream import (
    SSE_HEADERS,
    Answer,
    Received,
    ScriptedUpstream,
    json_answer,
    message,
    stream_answer,
    text_block,
)

HELLO = text_block("Hello.")
USAGE = {"output_tokens": 5_000}
FUSES = {"session": {"requests": 3}}


class Late(ScriptedUpstream):
    """Its first answers, headers included, wait for `go`."""

    def __init__(self, answer: Answer, late: int) -> None:
        super().__init__(lambda _: answer)
        self.go, self.late = asyncio.Event(), late

    async def _write(self, request: web.Request, received: Received, answer: Answer) -> web.StreamResponse:
        if received in self.received[: self.late]:
            await self.go.wait()
        return await super()._write(request, received, answer)


async def blow(gateway: Serving, *, stream: bool) -> int:
    """The session's main agent asks until it is refused; so often."""
    for asked in range(1, 10):
        client = ask(gateway, stream=stream)
        await client.task
        if client.status == 429:
            return asked
    raise AssertionError("no fuse blew")


def is_refused(client: Client) -> bool:
    return "fuse" in client.refusal()[1] and b"Hello." not in client.got


@pytest.mark.parametrize("whole", [False, True])
async def test_answer_that_comes_after_the_fuse_blew_is_refused(tmp_path: Path, whole: bool) -> None:
    answer = json_answer(message([HELLO], usage=USAGE)) if whole else stream_answer([HELLO], usage=USAGE)
    async with Late(answer, late=2) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE, fuses=FUSES) as gateway:
            clients = [ask(gateway, agent=f"a{number}", stream=not whole) for number in range(2)]
            await upstream.wait_for_requests(2)
            asked = await blow(gateway, stream=not whole)
            upstream.go.set()
            await asyncio.wait([client.task for client in clients])
            found = await records(gateway, 2 + asked)
        assert [client.status for client in clients] == [429, 429] and all(map(is_refused, clients))
        refused = [record for record in found if record["lineage"]["agent"] != "main"]
        assert [record["reason"] for record in refused] == ["fuse_blown"] * 2
        assert all(record["cost_nanousd"] == COST if whole else record["cost_nanousd"] > 0 for record in refused)


async def test_stream_whose_first_output_comes_after_the_fuse_blew_is_refused_in_it(tmp_path: Path) -> None:
    go, chunks = asyncio.Event(), events(HELLO)
    async with ScriptedUpstream(lambda _: json_answer(message([HELLO], usage=USAGE))) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE, fuses=FUSES) as gateway:
            fresh = Answer(200, SSE_HEADERS, [*chunks[:2], go, *chunks[2:]])
            upstream.queue(fresh, Answer(200, SSE_HEADERS, [*chunks[:3], go, *chunks[3:]]))
            new = ask(gateway, agent="a1")
            await new.shown(2)
            old = ask(gateway, agent="a2")
            await old.shown(3)
            await blow(gateway, stream=False)
            go.set()
            await asyncio.wait([new.task, old.task])
            await gateway.quiet()
        assert is_refused(new) and new.status == 200 and new.refusal()[0] == "permission_error"
        assert old.got == b"".join(chunks)
