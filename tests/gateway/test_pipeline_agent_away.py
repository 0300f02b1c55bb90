"""The agent tree over two gateways when one ends or dies, or the database is away: nothing is lost or loosened."""

import asyncio
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.boards.approvalboard import SILENT_SECONDS
from tests.gateway.controlled import ask, events, stop, stopped
from tests.gateway.replicated import (
    COUNTED_SECONDS,
    WRITTEN_SECONDS,
    LaterClock,
    Pair,
    agree,
    blown,
    hello,
    pair,
    replica,
    requests,
    say,
    session_of,
    soon,
)
from tests.support.gateway import SESSION, Serving
from tests.support.patience import within
from tests.support.postgres import postgres_server
from tests.support.process import served
from tests.support.upstream import SSE_HEADERS, Answer, ScriptedUpstream, stream, text_block, tool_block

APPROVE = {"settings": {"tools": {"approve": ["Bash"]}}}
SCRIPT = "export const meta = {name: 'scan', description: 'd'}\nawait agent('look after it')"
NO_SPAWN = {"settings": {"spawn": {"depth": 0}}}
HOUSE_SECONDS = 2.5
"""Until a gateway has seen what is done about once a second."""


def calling(name: str, tool_input: dict[str, Any]) -> Answer:
    return Answer(chunks=stream((tool_block(name, tool_input),)))


async def item_in(gateway: Serving, state: str, seconds: float = WRITTEN_SECONDS) -> dict[str, Any]:
    """The one approval in a state, as this gateway knows it."""
    found: list[dict[str, Any]] = []

    async def known() -> bool:
        found[:] = (await gateway.operator(f"approvals?state={state}"))["approvals"]
        return bool(found)

    await soon(known, seconds)
    (item,) = found
    return item


async def counted(gateway: Serving) -> dict[str, int]:
    """Requests of each agent, on all gateways, as far as this one knows."""
    return {each["agent"]: each["requests"] for each in (await session_of(gateway))["agents"]}


async def controls(gateway: Serving) -> list[tuple[str, str]]:
    found = (await gateway.operator("controls"))["controls"]
    return sorted((each["control"]["target"], each["control"]["state"]) for each in found)


async def test_approval_that_is_asked_here_and_decided_there_wakes_who_waits_here(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, pair(tmp_path, upstream, policy=APPROVE) as both:
        upstream.queue(calling("Bash", {"command": "make deploy"}))
        asking = asyncio.create_task(say(both.here))
        item = await item_in(both.there, "waiting")
        decided = await both.there.operator(f"approvals/{item['id']}", {"verdict": "approve", "why": "read it"})
        async with within(WRITTEN_SECONDS):
            status, got = await asking
        late = await both.here.operator(f"approvals/{item['id']}", {"verdict": "deny"})
        assert decided["state"] == "approved" and status == 200 and b"make deploy" in got.replace(b'"}}', b"")
        assert "error" in late and (await item_in(both.here, "approved"))["id"] == item["id"]


async def test_approval_whose_gateway_is_killed_is_withdrawn_by_the_other(tmp_path: Path) -> None:
    server, clock = postgres_server(), LaterClock()
    url = server.url(server.fresh())
    (tmp_path / "here").mkdir()
    async with ScriptedUpstream() as upstream:
        upstream.queue(calling("Bash", {"command": "make deploy"}))
        async with (
            replica(tmp_path / "there", upstream, url, clock=clock, policy=APPROVE) as there,
            served(tmp_path / "here", upstream.base_url, store={"url": url}, policy=APPROVE) as here,
        ):
            asking = asyncio.create_task(here.ask())
            item = await item_in(there, "waiting", HOUSE_SECONDS)
            await here.stop(signal.SIGKILL)
            await asyncio.wait([asking])
            clock.passed_seconds += SILENT_SECONDS + 1
            withdrawn = await item_in(there, "withdrawn", HOUSE_SECONDS)
            late = await there.operator(f"approvals/{item['id']}", {"verdict": "approve"})
        assert asking.exception() is not None and withdrawn["id"] == item["id"] and "error" in late


async def test_script_that_is_approved_here_starts_what_waits_for_it_there(tmp_path: Path) -> None:
    policy = {"settings": {"workflows": {"approve_above": 0}}}
    async with ScriptedUpstream() as upstream, pair(tmp_path, upstream, policy=policy) as both:
        upstream.queue(*(calling("Workflow", {"script": SCRIPT}) for _ in range(2)))
        asking = asyncio.create_task(say(both.there))
        await item_in(both.there, "waiting")
        entry = await both.here.operator("scripts", {"why": "read it", "script": SCRIPT})
        async with within(WRITTEN_SECONDS):
            waited = await asking
        again = await say(both.there, session="another")
        shown = await both.there.operator(f"scripts/{sha256(SCRIPT.encode()).hexdigest()}")
        assert (entry["state"], shown["state"], shown["by"]) == ("approved", "approved", "olga")
        assert all(b'"Workflow"' in body and b"ringfence_denied" not in body for _, body in (waited, again))


async def test_restart_keeps_stops_fuses_agents_and_counts_of_both(tmp_path: Path) -> None:
    server = postgres_server()
    url, fuses = server.url(server.fresh()), {"agent": {"requests": 3}}
    async with ScriptedUpstream(hello) as upstream, replica(tmp_path / "there", upstream, url, fuses=fuses) as there:
        async with replica(tmp_path / "here", upstream, url, fuses=fuses) as here:
            for gateway, agent in ((here, "main"), (here, "a1"), (there, "a1"), (there, "b1"), (here, "main")):
                assert (await say(gateway, agent="" if agent == "main" else agent))[0] == 200
            over = [(await say(here, agent="c1"))[0] for _ in range(4)]
            await there.operator("controls", {"action": "stop", "target": f"agent:{SESSION}/a1", "reason": "runaway"})
            fuse = await blown(here)
            expected = {"main": 2, "a1": 2, "b1": 1, "c1": 4}
            await soon(agree(counted, expected, here, there), COUNTED_SECONDS)
        async with replica(tmp_path / "here", upstream, url, fuses=fuses, policy=NO_SPAWN) as here:
            assert over == [200, 200, 200, 429] and len(fuse) == 1 and await blown(here) == fuse
            assert await controls(here) == await controls(there) == [(f"agent:{SESSION}/a1", "stopped")]
            assert await counted(here) == expected and (await session_of(here))["spawned"] == 3
            statuses = [(await say(here, agent=agent))[0] for agent in ("", "a1", "b1", "c1", "new")]
            others = [(await say(there, agent=agent))[0] for agent in ("b1", "a1")]
            assert (statuses, others) == ([200, 429, 200, 429, 451], [200, 429])
            expected |= {"main": 3, "b1": 3, "c1": 5}
            await soon(agree(counted, expected, here, there), COUNTED_SECONDS)
            assert [(await session_of(each))["spawned"] for each in (here, there)] == [3, 3]


async def back(both: Pair) -> None:
    """Return once both have the database again."""
    both.proxy.restore()

    async def answered() -> bool:
        pages = [await each.metrics() for each in (both.here, both.there)]
        return all("ringfence_store_up 1.0" in page for page in pages)

    await soon(answered, 5)


async def test_without_the_database_nothing_is_admitted_and_a_person_can_still_stop_and_hold(tmp_path: Path) -> None:
    go, whole = asyncio.Event(), events(text_block("first second"))
    paused = Answer(200, SSE_HEADERS, [*whole[:3], go, *whole[3:]])
    target = f"agent:{SESSION}/a1"
    async with ScriptedUpstream(hello) as upstream, pair(tmp_path, upstream) as both:
        for number in range(2):
            await say(both[number])
        upstream.queue(paused)
        victim = ask(both.here, agent="a1")
        await victim.until(b"first")
        both.proxy.cut()
        spawned, known = await say(both.here, agent="new"), await say(both.here)
        await stop(both.here, target, victim)
        await both.there.operator("controls", {"action": "hold", "target": "user:bob", "reason": "lunch"})
        release = await both.there.operator("controls", {"action": "release", "target": "user:bob", "reason": "x"})
        await back(both)
        await soon(agree(controls, [(target, "stopped"), ("user:bob", "held")], both.here, both.there), HOUSE_SECONDS)
        after = [await say(both[number], agent=agent) for number, agent in enumerate(("new", "a1"))]
        assert (spawned[0], known[0]) == (529, 529) and b"what is known of this session cannot be read" in spawned[1]
        assert "error" in release and [status for status, _ in after] == [200, 429]
        assert sum(stopped(each) for each in both.here.audit("request")) == 1


@pytest.mark.parametrize("first", [0, 1])
async def test_what_two_people_said_of_one_target_while_the_database_was_away_comes_to_the_stricter_at_both(
    tmp_path: Path, first: int
) -> None:
    said = {"action": "stop", "target": f"session:{SESSION}", "reason": "runaway"}
    async with ScriptedUpstream(hello) as upstream, pair(tmp_path, upstream) as both:
        await say(both.here)
        both.proxy.cut()
        await both[first].operator("controls", said)
        await both[first + 1].operator("controls", said | {"action": "hold"})
        await back(both)
        await soon(agree(controls, [(f"session:{SESSION}", "stopped")], both.here, both.there), HOUSE_SECONDS)


async def test_open_store_that_is_away_lets_agents_work_on_and_all_agree_when_it_is_back(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as upstream, pair(tmp_path, upstream, on_failure="open") as both:
        statuses: list[int] = []

        async def work(number: int) -> int:
            statuses.append((await say(both[number], agent=f"a{number % 2}"))[0])
            return statuses[-1]

        for number in range(4):
            await work(number)
        both.proxy.cut()
        while [await work(0), await work(1)] != [200, 200]:
            pass  # whoever notices is refused
        went_on = [await work(number) for number in range(6)]
        await back(both)
        await soon(agree(requests, len(statuses), both.here, both.there), COUNTED_SECONDS)
        assert went_on == [200] * 6 and set(statuses[:4]) == {200}
