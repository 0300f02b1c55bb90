"""Money when a request goes to more than one upstream: what a lost attempt costs, and that no cap is ever passed."""

import asyncio
import random
from pathlib import Path
from typing import Any

from tests.gateway.several import NOBODY_LISTENS, Several, Told, attempts, configured, hello, refused, several, slamming
from tests.support.clouds.bedrock import FakeBedrock
from tests.support.clouds.configured import BACKENDS
from tests.support.gateway import serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, json_answer, message, stream_answer, text_block

STRICT_DOLLAR = [{"account": "org", "window": "total", "limit_usd": 1, "strict": True, "on_reach": "refuse"}]
PLENTY = [{"account": "org", "window": "total", "limit_usd": 1000, "strict": True}]
USAGE = {"input_tokens": 100, "output_tokens": 14_000}
COST_NANOUSD = 100 * 4_000 + 14_000 * 20_000
HELLO_NANOUSD = 100 * 4_000 + 20 * 20_000
IMPATIENT = {"read_timeout_seconds": 0.5}
"""Of the upstream that falls silent: one that answers has all the time that a busy machine needs."""
NANOUSD_PER_USD = 1_000_000_000


def dear(received: Received) -> Answer:
    """About twenty-eight cents."""
    if received.json()["stream"]:
        return stream_answer([text_block("x")], usage=USAGE)
    return json_answer(message([text_block("x")], usage=USAGE))


def late(go: asyncio.Event) -> Answer:
    """An answer whose body waits."""
    whole = json_answer(message([text_block("Hello.")]))
    return Answer(whole.status, whole.headers, [go, *whole.chunks])


async def test_lost_attempt_and_the_answer_after_it_are_both_paid_once(tmp_path: Path) -> None:
    async with several(tmp_path, first=IMPATIENT, budgets=PLENTY) as made:
        made["main"].queue(Answer(never=True), refused(500))
        lost, clean = await made.ask("lost"), await made.ask("clean")
        assert (lost.status, clean.status, made.sent()) == (200, 200, [2, 2])
        first, second = await made.records()
        spent, held = await made.money()
        assert attempts(first) == [("main", None, "upstream_timeout")]
        floor = first["cost_nanousd"] - HELLO_NANOUSD
        assert (floor > 0, first["cost_estimated"]) == (True, True)
        assert (second["cost_nanousd"], second["cost_estimated"]) == (HELLO_NANOUSD, False)
        assert (spent, held) == (floor + 2 * HELLO_NANOUSD, 0)
        sessions = (await made.gateway.operator("sessions"))["sessions"]
        assert sum(each["cost_nanousd"] for each in sessions) == spent and await made.is_idle()


async def test_attempt_that_was_refused_or_not_sent_costs_nothing(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as busy, ScriptedUpstream(hello) as good:
        rows = [
            configured("gone", NOBODY_LISTENS),
            configured("busy", busy.base_url),
            configured("good", good.base_url),
        ]
        async with serving(tmp_path, "", upstreams=rows, budgets=PLENTY) as gateway:
            made = Several(gateway)
            busy.queue(refused(529))
            assert (await made.ask("s")).status == 200
            (record,) = await made.records()
            assert await made.money() == (HELLO_NANOUSD, 0)
    assert (len(record["attempts"]), record["cost_nanousd"], record["cost_estimated"]) == (2, HELLO_NANOUSD, False)


async def test_when_every_attempt_is_lost_each_is_paid_by_its_floor(tmp_path: Path) -> None:
    async with slamming() as first, slamming() as second:
        rows = [configured("first", first), configured("second", second)]
        async with serving(tmp_path, "", upstreams=rows, budgets=PLENTY) as gateway:
            made = Several(gateway)
            told = await made.ask("both")
            (record,) = await made.records()
            spent, held = await made.money()
            assert (told.status, told.headers["x-should-retry"], record["reason"]) == (502, "false", "upstream_broke")
            assert held == 0 < spent == record["cost_nanousd"] and spent % 2 == 0 and await made.is_idle()


async def test_answer_is_paid_at_the_price_of_the_upstream_that_gave_it(tmp_path: Path) -> None:
    async with ScriptedUpstream() as claude, FakeBedrock() as bedrock:
        rows = [configured("claude", claude.base_url), BACKENDS["bedrock"].upstream(bedrock, "bedrock")]
        async with serving(tmp_path, "", upstreams=rows, budgets=PLENTY) as gateway:
            made = Several(gateway)
            claude.queue(json_answer(message([text_block("x")])), refused(529))
            await made.ask("a")
            await made.ask("b")
            costs = [record["cost_nanousd"] for record in await made.records()]
    assert costs == [HELLO_NANOUSD, HELLO_NANOUSD * 11 // 10] and bedrock.problems == []


async def test_fifty_parallel_requests_that_fail_over_never_pass_a_strict_cap(tmp_path: Path) -> None:
    dice = random.Random(11)

    def fails(_: Received) -> Answer:
        return Answer(never=True) if dice.random() < 0.5 else refused(dice.choice([429, 500, 529]))

    def sometimes(received: Received) -> Answer:
        return dear(received) if dice.random() < 0.6 else refused(503)

    names = ("main", "spare", "last")
    async with several(tmp_path, *names, keys={"concurrent_max": 20}, first=IMPATIENT, budgets=STRICT_DOLLAR) as made:
        for name, responder in zip(names, (fails, sometimes, dear), strict=True):
            made[name].responder = responder
        asking = [made.ask(f"s{n}", stream=n % 2 == 0, max_tokens=14_000) for n in range(50)]
        told = await asyncio.gather(*asking)
        records = await made.records()
        spent, held = await made.money()
        assert {each.status for each in told} == {200, 429}
        assert 0 < spent <= NANOUSD_PER_USD and held == 0 and await made.is_idle()
        assert spent == sum(record["cost_nanousd"] for record in records) >= COST_NANOUSD
        assert len(records) == 50 and len({record["id"] for record in records}) == 50


async def test_second_hold_that_does_not_fit_is_a_billing_error_and_leaves_nothing_held(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"max_tokens": 1000}
    (capped := tmp_path / "capped").mkdir()
    async with several(tmp_path, "main", budgets=PLENTY) as made:
        made["main"].queue(late(go := asyncio.Event()))
        asking = asyncio.create_task(made.ask("s", **fields))
        await made["main"].wait_for_requests(1)
        _, needed = await made.money()
        go.set()
        assert (await asking).status == 200
    budgets = [{"account": "org", "window": "total", "limit_usd": needed / NANOUSD_PER_USD, "strict": True}]
    async with several(capped, keys={"concurrent_max": 1}, first=IMPATIENT, budgets=budgets) as made:
        made["main"].queue(Answer(never=True))
        told = await made.ask("s", **fields)
        (record,) = await made.records()
        spent, held = await made.money()
        assert (told.status, told.json()["error"]["type"]) == (429, "billing_error")
        assert (told.headers["x-should-retry"], made.sent()) == ("false", [1, 0])
        assert held == 0 < spent == record["cost_nanousd"] <= needed and await made.is_idle()
        assert (record["reason"], attempts(record)) == (
            "budget_exhausted",
            [("main", None, "upstream_timeout")],
        )


async def test_client_that_leaves_during_the_second_attempt_pays_for_both_once(tmp_path: Path) -> None:
    async with slamming() as closing, ScriptedUpstream() as silent:
        keys = {"concurrent_max": 1, "read_timeout_seconds": 1}
        rows = [configured("closing", closing), configured("silent", silent.base_url, **keys)]
        async with serving(tmp_path, "", upstreams=rows, budgets=PLENTY) as gateway:
            made = Several(gateway)
            silent.queue(Answer(never=True))
            asking: asyncio.Task[Told] = asyncio.create_task(made.ask("s"))
            await silent.wait_for_requests(1)
            lost, held = await made.money()
            await made.leave(asking)
            (record,) = await made.records()
            spent, still_held = await made.money()
            assert held > 0 == still_held and spent == 2 * lost == record["cost_nanousd"]
            tried = [("closing", None, "upstream_broke"), ("silent", None, "upstream_timeout")]
            assert (record["reason"], attempts(record)) == ("client_gone", tried)
            assert await made.is_idle()


async def test_client_that_leaves_the_queue_of_the_second_pays_for_the_first_alone(tmp_path: Path) -> None:
    async with slamming() as closing, ScriptedUpstream() as full:
        rows = [configured("closing", closing), configured("full", full.base_url, concurrent_max=1)]
        async with serving(tmp_path, "", upstreams=rows, budgets=PLENTY) as gateway:
            made = Several(gateway)
            full.queue(late(go := asyncio.Event()))
            holding = asyncio.create_task(made.ask("one"))
            await full.wait_for_requests(1)
            floor, _ = await made.money()
            waiting = asyncio.create_task(made.ask("two"))
            await made.standing("full", in_use=1, waiting=1)
            waiting.cancel()
            await made.standing("full", in_use=1, waiting=0)
            go.set()
            assert (await holding).status == 200
            costs = sorted(record["cost_nanousd"] for record in await made.records())
            assert (costs, await made.money()) == ([floor, floor + HELLO_NANOUSD], (2 * floor + HELLO_NANOUSD, 0))
            assert await made.is_idle()


async def test_lost_attempt_before_an_upstream_without_the_capability_is_paid_once(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    async with slamming() as closing, FakeBedrock() as bedrock:
        rows = [configured("closing", closing), BACKENDS["bedrock"].upstream(bedrock, "bedrock")]
        routes = [
            {"models": ["*"], "upstreams": ["closing"], "principals": ["tag:path=alone"]},
            {"models": ["*"], "upstreams": ["closing", "bedrock"]},
        ]
        async with serving(tmp_path, "", upstreams=rows, routes=routes, budgets=PLENTY) as gateway:
            made = Several(gateway)
            answers = [await made.ask("s", path=path, **fields) for path in ("/gw/alone/v1/messages", "/v1/messages")]
            alone, both = [record["cost_nanousd"] for record in await made.records()]
            assert await made.money() == (alone + both, 0)
    assert [told.status for told in answers] == [502, 502] and bedrock.received == []
    assert both == alone > 0
