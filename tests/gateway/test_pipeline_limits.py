"""Money on the whole path: who is refused by which limit, and what silence, leaving and time do to what is held."""

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.gateway import UPSTREAM_KEY, Serving, events_of, request_body, serving, text_of
from tests.support.upstream import (
    JSON_HEADERS,
    SSE_HEADERS,
    Answer,
    Received,
    ScriptedUpstream,
    json_answer,
    message,
    stream_answer,
    text_block,
    tool_block,
)

BOB = {"x-api-key": "rf_bob_0123456789abcdefghijklmnopqrstuvwxyz"}
STRICT_DOLLAR = [{"account": "org", "window": "total", "limit_usd": 1, "strict": True}]
REFUSES = {"strict": True, "on_reach": "refuse"}
PLENTY = [{"account": "org", "window": "total", "limit_usd": 1000, "strict": True}]
USAGE = {"input_tokens": 100, "output_tokens": 15_000}
COST_NANOUSD = 15_000 * 20_000 + 100 * 4_000
SILENCE_SECONDS = 1.0
HOUR_SECONDS = 3600


def thirty_cents(_: Received) -> Answer:
    return stream_answer([text_block("x")], usage=USAGE)


def impatient(base_url: str, seconds: float = SILENCE_SECONDS) -> list[dict[str, Any]]:
    """An upstream that may be silent for a moment only."""
    upstream = {"id": "main", "backend": "anthropic", "base_url": base_url, "api_key": UPSTREAM_KEY}
    return [upstream | {"read_timeout_seconds": seconds}]


async def ask(gateway: Serving, session: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status, and what an error says."""
    sent = {"x-claude-code-session-id": session} | (headers or {})
    async with gateway.post(request_body(max_tokens=15_000), headers=sent) as response:
        got = await response.read()
        return int(response.status), got.decode() if response.status != 200 else ""


async def org(gateway: Serving) -> tuple[int, int]:
    """Spent and held of the organisation."""
    (limit,) = (await gateway.operator("limits?account=org"))["limits"]
    return limit["used"], limit["held"]


async def test_session_limit_stops_a_session_and_the_user_limit_all_of_them(tmp_path: Path) -> None:
    budgets = [
        {"account": "session", "window": "total", "limit_usd": 0.5, **REFUSES},
        {"account": "user", "window": "daily", "limit_usd": 0.9, **REFUSES},
    ]
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, budgets=budgets) as gateway,
    ):
        answers = [await ask(gateway, session) for session in ("one", "one", "two", "three")]
        assert [status for status, _ in answers] == [200, 429, 200, 429]
        assert "total limit of $0.50 of session:one" in answers[1][1]
        assert "daily limit of $0.90 of user:alice" in answers[3][1]
        assert await ask(gateway, "four", BOB) == (200, "")
        limits = (await gateway.operator("limits"))["limits"]
        spent = {limit["account"]: limit["used"] for limit in limits}
        assert spent["user:alice"] == spent["session:one"] + spent["session:two"] == 2 * COST_NANOUSD
        assert spent["user:bob"] == spent["session:four"] == COST_NANOUSD


async def test_limit_of_a_team_is_one_pool_for_its_members(tmp_path: Path) -> None:
    budgets = [{"account": "team:platform", "window": "monthly", "limit_usd": 0.5, **REFUSES}]
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, budgets=budgets) as gateway,
    ):
        assert await ask(gateway, "one") == (200, "")
        status, told = await ask(gateway, "two", BOB)
        assert status == 429 and "team:platform" in told


async def test_daily_limit_says_when_it_resets_and_does(tmp_path: Path) -> None:
    budgets = [{"account": "user", "window": "daily", "limit_usd": 0.5, **REFUSES}]
    clock = FakeClock()
    async with (
        ScriptedUpstream(thirty_cents) as upstream,
        serving(tmp_path, upstream.base_url, clock=clock, budgets=budgets) as gateway,
    ):
        clock.advance(23 * HOUR_SECONDS)
        assert await ask(gateway, "one") == (200, "")
        async with gateway.post(request_body(max_tokens=15_000)) as response:
            assert (response.status, response.headers["retry-after"]) == (429, str(HOUR_SECONDS))
            assert response.headers["anthropic-ratelimit-unified-reset"] == str(1_767_225_600 + 24 * HOUR_SECONDS)
        clock.advance(HOUR_SECONDS)
        assert await ask(gateway, "one") == (200, "")


@pytest.mark.parametrize("stream", [True, False])
async def test_silent_upstream_is_a_504_billed_by_the_floor(tmp_path: Path, stream: bool) -> None:
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, "", upstreams=impatient(upstream.base_url), budgets=STRICT_DOLLAR) as gateway,
    ):
        upstream.queue(Answer(never=True))
        async with gateway.post(request_body(stream=stream)) as response:
            refusal = await response.json()
        await gateway.quiet()
        spent, held = await org(gateway)
        (record,) = records(gateway)
        assert response.status == 504 and "'main'" in refusal["error"]["message"]
        assert (record["reason"], record["cost_estimated"]) == ("upstream_timeout", True)
        assert held == 0 < spent == record["cost_nanousd"]


async def test_upstream_that_falls_silent_ends_the_stream_and_is_billed_by_what_was_seen(tmp_path: Path) -> None:
    whole = stream_answer([text_block("one two")], usage={"input_tokens": 1000})
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, "", upstreams=impatient(upstream.base_url), budgets=STRICT_DOLLAR) as gateway,
    ):
        upstream.queue(Answer(200, whole.headers, [*whole.chunks[:-2], asyncio.Event()]))
        async with gateway.post(request_body()) as response:
            events = events_of(await response.read())
        await gateway.quiet()
        spent, held = await org(gateway)
        (record,) = records(gateway)
        assert events[-1]["type"] == "error" and text_of(events) == "one two"
        assert (record["reason"], record["cost_estimated"]) == ("upstream_timeout", True)
        assert held == 0 and 1000 * 4_000 <= spent < COST_NANOUSD


def records(gateway: Serving) -> list[dict[str, Any]]:
    """Audit records of model requests."""
    return [record for record in gateway.audit("request") if record["path"] == "/v1/messages"]


async def test_client_gone_before_headers_that_never_come_is_billed_by_the_floor(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, "", upstreams=impatient(upstream.base_url, 2), budgets=STRICT_DOLLAR) as gateway,
    ):
        upstream.queue(Answer(never=True))
        asking = asyncio.ensure_future(ask(gateway, "one"))
        await upstream.wait_for_requests(1)
        assert (await org(gateway))[1] > 0
        asking.cancel()
        await upstream.received[0].gone.wait()
        await gateway.quiet()
        spent, held = await org(gateway)
        (record,) = records(gateway)
        assert (record["reason"], record["cost_estimated"], record["status"]) == ("client_gone", True, None)
        assert held == 0 < spent == record["cost_nanousd"]


async def test_client_gone_before_a_whole_answer_leaves_nothing_held(tmp_path: Path) -> None:
    whole = message([text_block("x"), tool_block("Read", {"file_path": "/home/dev/app/a"})], usage=USAGE)
    go_on = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=STRICT_DOLLAR) as gateway:
        upstream.queue(Answer(200, JSON_HEADERS, [whole[:20], go_on, whole[20:]]))
        asking = asyncio.ensure_future(gateway.post(request_body(stream=False)).__aenter__())
        await upstream.wait_for_requests(1)
        asking.cancel()
        await gateway.operator("limits")  # a round trip later the gateway has noticed
        go_on.set()
        await gateway.quiet()
        spent, held = await org(gateway)
        (record,) = records(gateway)
        assert (spent, held) == (record["cost_nanousd"], 0) == (COST_NANOUSD, 0)
        assert (record["reason"], record["cost_estimated"]) == ("client_gone", False)


async def test_overdue_hold_becomes_spend_and_its_late_answer_corrects_it(tmp_path: Path) -> None:
    clock, go_on = FakeClock(), asyncio.Event()
    whole = stream_answer([text_block("late")], usage=USAGE)
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, upstream.base_url, clock=clock, budgets=STRICT_DOLLAR) as gateway,
    ):
        upstream.queue(Answer(200, whole.headers, [*whole.chunks[:3], go_on, *whole.chunks[3:]]))
        asking = asyncio.ensure_future(ask(gateway, "one"))
        await upstream.wait_for_requests(1)
        _, held = await org(gateway)
        clock.advance(HOUR_SECONDS + 1)
        while (await org(gateway))[1]:
            pass
        assert await org(gateway) == (held, 0)
        go_on.set()
        assert await asking == (200, "")
        await gateway.quiet()
        assert await org(gateway) == (COST_NANOUSD, 0)


async def test_hundred_streams_with_clients_leaving_anywhere_settle_to_the_audited_sum(tmp_path: Path) -> None:
    dice = random.Random(7)
    left = asyncio.Event()

    def answer(_: Received) -> Answer:
        blocks = [text_block("word " * dice.randrange(1, 40)), tool_block("Read", {"file_path": "/home/dev/app/a"})]
        chunks = stream_answer(blocks, usage={"input_tokens": 50, "output_tokens": dice.randrange(1, 900)}).chunks
        cut = dice.randrange(len(chunks) + 1)
        return Answer(200, SSE_HEADERS, [*chunks[:cut], left, *chunks[cut:]])

    async def read_some(number: int) -> None:
        async with gateway.post(request_body(), headers=session(number)) as response:
            await response.content.readany()
            await left.wait()

    async def leave(number: int) -> None:
        reading = asyncio.ensure_future(read_some(number))
        await asyncio.wait({reading}, timeout=dice.random() / 4)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    async def stay(number: int) -> None:
        async with gateway.post(request_body(), headers=session(number)) as response:
            assert events_of(await response.read())[-1]["type"] == "message_stop"

    async with (
        ScriptedUpstream(answer) as upstream,
        serving(tmp_path, upstream.base_url, budgets=PLENTY) as gateway,
    ):
        staying = [asyncio.ensure_future(stay(number)) for number in range(0, 100, 4)]
        await asyncio.gather(*(leave(number) for number in range(100) if number % 4))
        left.set()
        await asyncio.gather(*staying)
        await gateway.quiet()
        spent, held = await org(gateway)
        audited = records(gateway)
        sessions = (await gateway.operator("sessions"))["sessions"]
        assert len(audited) == len({record["id"] for record in audited}) >= len(upstream.received) >= 25
        assert sum(record["reason"] == "completed" for record in audited) == 25
        assert held == 0 < spent == sum(record["cost_nanousd"] for record in audited)
        assert spent == sum(each["cost_nanousd"] for each in sessions)
        page = (await gateway.metrics()).splitlines()
        shown = [float(line.split()[-1]) for line in page if line.startswith("ringfence_held_usd{")]
        assert shown and not any(shown)


def session(number: int) -> dict[str, str]:
    return {"x-claude-code-session-id": f"session-{number % 7}", "x-claude-code-agent-id": f"agent-{number % 11}"}


async def test_metrics_name_no_one_after_mixed_traffic(tmp_path: Path) -> None:
    names = {"x-claude-code-session-id": "zebra-session", "x-claude-code-agent-id": "zebra-agent"}
    budgets = [{"account": "session", "window": "total", "limit_usd": 0.000001}]
    fuses = {"agent": {"requests": 3}}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, fuses=fuses) as gateway:
        calls = [
            tool_block("mcp__zebra__query", {"q": "zebra"}),
            tool_block("Bash", {"command": "rm -rf /zebra"}, "t2"),
        ]
        upstream.queue(stream_answer(calls), json_answer(message([text_block("zebra")])))
        for fields in ({}, {"stream": False}, {"model": "claude-zebra-1"}, {"model": "zebra"}, {}, {}):
            async with gateway.post(request_body(**fields), headers=names, path="/gw/zebra/v1/messages?zebra=1") as got:
                await got.read()
        for headers in (
            {"x-api-key": "zebra"},
            {"user-agent": "zebra/9"},
            BOB | {"x-claude-code-session-id": "zebra-b"},
        ):
            async with gateway.post(request_body(model="zebra"), headers=headers, path="/v1/zebra") as got:
                await got.read()
        await gateway.quiet()
        page = await gateway.metrics()
    async with serving(tmp_path, upstream.base_url, budgets=budgets) as gateway:
        assert (await ask(gateway, "zebra-c"))[0] == 429
        await gateway.quiet()
        page += await gateway.metrics()
    assert 'ringfence_fuses_blown_total{meter="requests",scope="agent"} 1.0' in page
    assert 'reason="budget_exhausted"' in page and 'outcome="deny"' in page
    assert [name for name in ("zebra", "alice", "bob", "olga", "laptop", "dec_") if name in page] == []
