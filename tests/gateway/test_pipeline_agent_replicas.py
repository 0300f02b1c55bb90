"""The agent tree over two gateways that share a Postgres: what one counts, blows, hears or is told holds at both."""

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.replicated import (
    COUNTED_SECONDS,
    USER,
    WIDE,
    WRITTEN_SECONDS,
    Pair,
    agree,
    blown,
    hello,
    pair,
    requests,
    say,
    session_of,
    soon,
)
from tests.support.gateway import CREDENTIAL, SESSION
from tests.support.patience import within
from tests.support.upstream import Answer, ScriptedUpstream, stream, text_block, tool_block

BOB = CREDENTIAL.replace("alice", "bob")
LIMIT = 10


def calling(number: int) -> Answer:
    tool = tool_block("Bash", {"command": f"ls {number}"}, f"toolu_{number}")
    return Answer(chunks=stream((tool,)))


async def blown_at_both(both: Pair, seconds: float) -> str:
    """The one fuse, once both know."""

    async def known() -> bool:
        return len(await blown(both.here)) == 1 and await blown(both.here) == await blown(both.there)

    await soon(known, seconds)
    return (await blown(both.here))[0]


async def test_no_more_agents_than_the_fuse_bears_reach_the_upstream_and_none_begins_once_it_is_blown(
    tmp_path: Path,
) -> None:
    begin = asyncio.Event()
    answer = Answer(chunks=[begin, *stream((text_block("Hi."),))])
    async with ScriptedUpstream(lambda _: answer) as upstream:
        async with pair(tmp_path, upstream, fuses={"session": {"agents": LIMIT}}) as both:
            begun: list[asyncio.Task[tuple[int, bytes]]] = []
            for number in range(LIMIT):
                begun.append(asyncio.create_task(say(both[number], USER, agent=f"a{number}")))
                await upstream.wait_for_requests(number + 1)
            beyond = await asyncio.gather(*(say(both[number], USER, agent=f"b{number}") for number in range(50)))
            await blown_at_both(both, WRITTEN_SECONDS)
            begin.set()
            answers = [*beyond, *await asyncio.gather(*begun)]
        assert len(upstream.received) == LIMIT
        assert all(b"has blown" in body and b"Hi." not in body for _, body in answers)


async def test_sixty_agents_at_once_at_two_gateways_pass_no_count(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as upstream:
        async with pair(tmp_path, upstream, fuses={"session": {"agents": LIMIT}}) as both:
            answers = await asyncio.gather(*(say(both[number], USER, agent=f"a{number}") for number in range(60)))
            await blown_at_both(both, WRITTEN_SECONDS)
            late = [await say(both[number], USER, agent=f"b{number}") for number in range(4)]
        assert len(upstream.received) <= LIMIT
        assert sum(b"Hi." in body for _, body in answers) <= LIMIT and {status for status, _ in late} == {429}


FUSES: list[tuple[str, str, float, int]] = [
    ("session", "requests", 30, 30),
    ("session", "cost_usd", 0.05, 25),  # of requests at 2 mils
    ("run", "tool_calls", 30, 30),
]


@pytest.mark.parametrize(("scope", "meter", "limit", "fits"), FUSES)
async def test_fuse_of_what_two_gateways_count_blows_late_by_no_more_than_they_need_to_tell_and_is_replaced_at_both(
    tmp_path: Path, scope: str, meter: str, limit: float, fits: int
) -> None:
    numbers, times = count(), list[float]()

    def answer(_: Any) -> Answer:
        times.append(patience.seconds)
        if meter == "tool_calls":
            return calling(next(numbers))
        return Answer(chunks=stream((text_block("Hi."),), usage={"input_tokens": 0, "output_tokens": 100}))

    async with (
        within(30) as patience,
        ScriptedUpstream(answer) as upstream,
        pair(tmp_path, upstream, fuses={scope: {meter: limit}}) as both,
    ):

        async def work(number: int) -> int:
            asked = 1
            while b"has blown" not in (await say(both[number], agent=f"a{number}", run="r1"))[1]:
                asked += 1
            return asked

        asked = sum(await asyncio.gather(work(0), work(1)))
        assert len(times) >= fits and times[-1] - times[fits - 1] < COUNTED_SECONDS
        fuse = await blown_at_both(both, WRITTEN_SECONDS)
        await soon(agree(requests, asked, both.here, both.there), COUNTED_SECONDS)
        await both.there.operator(f"fuses/{fuse}/replace", {"reason": "it may go on"})
        await soon(agree(blown, [], both.here, both.there), WRITTEN_SECONDS)
        after = [await say(both[number], agent=f"a{number % 2}", run="r1") for number in range(fits // 2)]
        assert not any(b"has blown" in body for _, body in after) and await blown(both.here) == []
        assert {status for status, _ in after} == {200}


async def test_session_that_rests_here_is_known_here_with_what_it_uses_there(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as upstream, pair(tmp_path, upstream) as both:
        for number in range(6):
            assert (await say(both[number // 3]))[0] == 200
        await soon(agree(requests, 6, both.here, both.there), COUNTED_SECONDS)


async def test_session_is_refused_to_another_credential_at_the_other_gateway_and_that_is_recorded(
    tmp_path: Path,
) -> None:
    async with ScriptedUpstream(hello) as upstream, pair(tmp_path, upstream) as both:
        await say(both.here)
        answers = [await say(both.there, agent=agent, **{"x-api-key": BOB}) for agent in ("", "a1")]
        mine = await say(both.there)
        told = [(each["claimed"], each["held_by"]) for each in both.there.audit("claim_refused")]
        assert {status for status, _ in answers} == {451} and mine[0] == 200
        assert told == [(f"session {SESSION}", "alice-laptop")] * 2 and len(upstream.received) == 2


@pytest.mark.parametrize("allowed", [True, False])
async def test_agent_that_begins_at_both_at_once_is_one_and_is_allowed_or_denied_at_both(
    tmp_path: Path, allowed: bool
) -> None:
    policy = WIDE if allowed else {"settings": {"spawn": {"depth": 0}}}
    async with ScriptedUpstream(hello) as upstream, pair(tmp_path, upstream, policy=policy) as both:
        answers = await asyncio.gather(*(say(both[number], USER, agent="a1") for number in range(10)))
        if not allowed:
            await soon(both.is_empty, WRITTEN_SECONDS / 2)
        other = await asyncio.gather(*(say(both[number]) for number in range(2)))
        await soon(agree(requests, 12 if allowed else 2, both.here, both.there), COUNTED_SECONDS)
        spawned = [(await session_of(each))["spawned"] for each in (both.here, both.there)]
        assert {status for status, _ in answers} == {200 if allowed else 451}
        assert spawned == [int(allowed)] * 2 and {status for status, _ in other} == {200}


async def test_spawn_that_one_gateway_denied_counts_at_neither(tmp_path: Path) -> None:
    deny = {"policy": {"settings": {"spawn": {"depth": 0}}}}
    async with ScriptedUpstream(hello) as upstream:
        async with pair(tmp_path, upstream, fuses={"session": {"agents": 3}}, there=deny) as both:
            denied = await asyncio.gather(*(say(both.there, USER, agent=f"b{number}") for number in range(10)))
            await soon(both.is_empty, WRITTEN_SECONDS / 2)
            begun = [(await say(both.here, USER, agent=f"a{number}"))[0] for number in range(3)]
            assert {status for status, _ in denied} == {451} and begun == [200] * 3
            assert (await session_of(both.here))["spawned"] == 3 and await blown(both.here) == []
