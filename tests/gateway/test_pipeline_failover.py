"""Several upstreams behind the whole gateway: which one answers, which one is passed over, and what the client sees."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

from tests.gateway.several import (
    BOB,
    DIALECTS,
    NOBODY_LISTENS,
    Several,
    Told,
    attempts,
    configured,
    hello,
    refused,
    several,
    slamming,
)
from tests.support.clock import FakeClock
from tests.support.clouds.bedrock import FakeBedrock
from tests.support.clouds.configured import BACKENDS
from tests.support.clouds.faults import throttled
from tests.support.clouds.vertex import FakeVertex
from tests.support.dialects import read_error
from tests.support.gateway import CREDENTIAL, events_of, request_body, serving, text_of
from tests.support.upstream import (
    Answer,
    Received,
    ScriptedUpstream,
    error_event,
    json_answer,
    stream_answer,
    text_block,
)

OVERLOADED = {"anthropic": 529, "bedrock": 503, "vertex": 503}
SONNET_45 = "claude-sonnet-4-5-20250929"
WEB_SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]


async def test_failure_before_the_first_byte_is_the_next_upstreams_request(tmp_path: Path) -> None:
    statuses = [408, 409, 429, 500, 502, 503, 504, 529]
    async with several(tmp_path) as made:
        for status in statuses:
            made["main"].queue(refused(status))
            told = await made.ask(f"s{status}")
            assert (told.status, "x-should-retry" in told.headers) == (200, False), status
        made["main"].queue(refused(529))
        made["spare"].queue(json_answer({"input_tokens": 7}))
        counted = await made.ask("s", path="/v1/messages/count_tokens")
        assert (counted.status, counted.json()) == (200, {"input_tokens": 7})
        assert [each.body for each in made["spare"].received] == [each.body for each in made["main"].received]
        records, metrics = await made.records(), await made.gateway.metrics()
        assert [attempts(record) for record in records] == [
            [("main", each, "upstream_refused")] for each in (*statuses, 529)
        ]
        assert {record["upstream"] for record in records} == {"spare"} and await made.is_idle()
    assert 'ringfence_failovers_total{from="main",to="spare"} 9.0' in metrics
    assert 'ringfence_upstream_attempts_total{outcome="upstream_refused",upstream="main"} 9.0' in metrics
    assert 'ringfence_upstream_attempts_total{outcome="answered",upstream="spare"} 9.0' in metrics


async def test_upstreams_that_cannot_be_reached_or_close_without_an_answer_are_passed_over(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as good, slamming() as closing:
        rows = [configured("gone", NOBODY_LISTENS), configured("closing", closing), configured("good", good.base_url)]
        async with serving(tmp_path, "", upstreams=rows) as gateway:
            made = Several(gateway)
            assert (await made.ask("s")).status == 200
            (record,) = await made.records()
            assert await made.is_idle()
    assert attempts(record) == [("gone", None, "upstream_unreachable"), ("closing", None, "upstream_broke")]
    assert record["upstream"] == "good"


async def test_begun_answer_is_never_given_to_another_upstream(tmp_path: Path) -> None:
    whole = stream_answer([text_block("one two")])
    failed = [*whole.chunks[:-2], error_event("overloaded_error", "Overloaded")]
    async with several(tmp_path) as made:
        made["main"].queue(Answer(200, whole.headers, whole.chunks[:-2], cut=True), Answer(200, whole.headers, failed))
        for _ in range(2):
            events = events_of((await made.ask("s", stream=True)).body)
            assert (events[-1]["type"], text_of(events)) == ("error", "one two")
        records = await made.records()
        assert made.sent() == [2, 0] and await made.is_idle()
    assert [(record["upstream"], record["attempts"]) for record in records] == [("main", [])] * 2


async def test_refusal_that_every_upstream_would_give_is_passed_on_at_once(tmp_path: Path) -> None:
    statuses = [400, 401, 403, 404, 413, 422, 451]
    async with several(tmp_path) as made:
        for status in statuses:
            made["main"].queue(answer := refused(status, "some_error", f"own words {status}"))
            told = await made.ask("s")
            assert told.status == status and f"own words {status}" in told.json()["error"]["message"]
            assert ([told.body] == answer.chunks) is (status != 401)
        assert made.sent() == [len(statuses), 0] and await made.is_idle()


async def test_when_all_refuse_a_rate_limit_is_shown_with_its_wait_and_is_not_to_be_tried_again(
    tmp_path: Path,
) -> None:
    async with several(tmp_path) as made:
        for limited, dialect in itertools.product(("main", "spare"), DIALECTS):
            for name in ("main", "spare"):
                status, kind = (429, "rate_limit_error") if name == limited else (529, "overloaded_error")
                made[name].queue(refused(status, kind, f"said by {name}", retry_after="7"))
            told = await made.ask_in(dialect, f"{dialect}-{limited}", model="claude-opus-5-5")
            assert told.status == 429 and f"said by {limited}" in told.body.decode()
            assert (told.headers["retry-after"], told.headers["x-should-retry"]) == ("7", "false")
            assert told.headers["x-ringfence-reason"] == "upstream_refused"
        records = await made.records()
        assert [record["upstream"] for record in records] == ["main"] * 3 + ["spare"] * 3
        outcomes = {(record["reason"], record["status"], record["cost_nanousd"]) for record in records}
        assert outcomes == {("upstream_refused", 429, 0)} and await made.is_idle()


async def test_only_upstreams_refusal_is_its_own(tmp_path: Path) -> None:
    async with several(tmp_path, "main") as made:
        for status in (429, 500, 529):
            answer = refused(status, "odd_error", "own words", x_odd="1", retry_after="3")
            made["main"].queue(answer)
            told = await made.ask("s")
            assert (told.status, [told.body], told.headers["x-odd"]) == (status, answer.chunks, "1")
            assert told.headers["retry-after"] == "3"
            assert "x-should-retry" not in told.headers and "x-ringfence-reason" not in told.headers


async def test_when_none_can_be_reached_the_last_is_named(tmp_path: Path) -> None:
    rows = [configured(name, NOBODY_LISTENS) for name in ("main", "spare")]
    async with serving(tmp_path, "", upstreams=rows) as gateway:
        made = Several(gateway)
        told = await made.ask("s")
        assert (told.status, told.headers["x-should-retry"]) == (502, "false")
        assert "'spare'" in told.json()["error"]["message"] and await made.is_idle()


async def test_upstream_that_asks_for_a_pause_comes_last_until_it_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    async with several(tmp_path, clock=clock) as made:
        made["main"].queue(refused(429, retry_after="30"))
        for session in ("a", "b"):
            await made.ask(session)
        assert made.sent() == [1, 2]
        view = (await made.views())["main"]
        assert view["cooling"] == {"claude-opus-5-5": clock.unix_ms() + 30_000} and view["state"] == "closed"
        made["spare"].queue(refused(529))
        assert (await made.ask("c")).status == 200 and made.sent() == [2, 3]
        await made.ask("d", model="claude-haiku-5-5")
        clock.advance(30.001)
        await made.ask("e")
        assert made.sent() == [4, 3]


async def test_breaker_opens_probes_once_and_closes(tmp_path: Path) -> None:
    clock, go_on = FakeClock(), asyncio.Event()
    keys = {"breaker": {"failures": 2, "open_seconds": 30}}
    async with several(tmp_path, keys=keys, clock=clock) as made:
        made["main"].queue(refused(500), refused(503))
        for number in range(4):
            assert (await made.ask(f"s{number}")).status == 200
        view = (await made.views())["main"]
        assert (made.sent(), view["state"], view["failures"]) == ([2, 4], "open", 2)
        assert (view["last_error"], view["retry_at_ms"]) == ("answered with status 503", clock.unix_ms() + 30_000)
        assert 'ringfence_upstream_state{state="open",upstream="main"} 1.0' in await made.gateway.metrics()
        clock.advance(30)
        ready = hello(made["main"].received[0])
        made["main"].queue(Answer(200, ready.headers, [go_on, *ready.chunks]))
        probe = asyncio.create_task(made.ask("probe"))
        await made["main"].wait_for_requests(3)
        await made.ask("meanwhile")
        assert made.sent() in ([3, 5], [4, 4])
        go_on.set()
        assert (await probe).status == 200
        await made.ask("after")
        assert ((await made.views())["main"]["state"], made.sent()[0] >= 4) == ("closed", True)
        assert await made.is_idle()


async def test_when_all_are_cut_out_each_dialect_is_told_to_wait(tmp_path: Path) -> None:
    clock = FakeClock()
    async with several(tmp_path, keys={"breaker": {"failures": 1, "open_seconds": 30}}, clock=clock) as made:
        for upstream in made.upstreams.values():
            upstream.queue(refused(500))
        await made.ask("s")
        clock.advance(12)
        for dialect in DIALECTS:
            told = await made.ask_in(dialect, dialect)
            _, said = read_error(dialect, told.headers, told.body)
            assert (told.status, told.headers["retry-after"]) == (OVERLOADED[dialect], "18")
            assert "try again in 18 s" in said and "x-should-retry" not in told.headers
        records = await made.records()
        assert [record["reason"] for record in records[1:]] == ["upstreams_down"] * 3
        assert made.sent() == [1, 1] and await made.is_idle()


async def test_session_stays_where_it_went_and_a_new_one_begins_at_the_first(tmp_path: Path) -> None:
    async with several(tmp_path) as made:
        made["main"].queue(refused(529))
        for agent in ("", "", "a1"):
            await made.ask("old", headers={"x-claude-code-agent-id": agent})
        assert made.sent() == [1, 3]
        await made.ask("new")
        assert made.sent() == [2, 3]
        made["spare"].queue(refused(500))
        for _ in range(2):
            await made.ask("old")
        assert made.sent() == [4, 4]


async def test_weights_spread_sessions_and_keep_each_of_them(tmp_path: Path) -> None:
    routes = [{"models": ["*"], "upstreams": ["main", "spare"], "weights": {"main": 1, "spare": 3}}]
    async with several(tmp_path, routes=routes) as made:
        homes: dict[str, set[str]] = {}
        for number in range(60):
            for _ in range(2):
                before = made.sent()
                await made.ask(f"s{number}")
                served = "main" if made.sent()[0] > before[0] else "spare"
                homes.setdefault(f"s{number}", set()).add(served)
    assert {len(home) for home in homes.values()} == {1}
    assert 0.55 < Counter(min(home) for home in homes.values())["spare"] / 60 < 0.92


async def test_route_is_chosen_by_who_asks(tmp_path: Path) -> None:
    routes = [
        {"models": ["claude-haiku-*"], "upstreams": ["haiku"]},
        {"models": ["*"], "upstreams": ["nightly"], "principals": ["tag:path=nightly"]},
        {"models": ["*"], "upstreams": ["bob"], "principals": ["user:bob"]},
        {"models": ["*"], "upstreams": ["team"], "principals": ["team:platform"]},
    ]
    operator = {"x-api-key": CREDENTIAL.replace("alice", "olga") + "0"}
    async with several(tmp_path, "haiku", "nightly", "bob", "team", routes=routes) as made:
        await made.ask("a", model="claude-haiku-5-5")
        await made.ask("a", path="/gw/nightly/v1/messages")
        await made.ask("b", headers=BOB, path="/gw/daily/v1/messages")
        await made.ask("a")
        assert made.sent() == [1, 1, 1, 1]
        nobody = await made.ask("o", headers=operator)
        assert (nobody.status, made.sent()) == (404, [1, 1, 1, 1]) and "no route" in nobody.json()["error"]["message"]


class Doorkeeper:
    """Answers of an upstream that are given one by one; counts how many were asked for at once, and by whom."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Event] = []
        self.users: list[str] = []
        self.open = 0
        self.most = 0

    def answer(self, received: Received) -> Answer:
        self.users.append(received.json()["messages"][0]["content"])
        self.open += 1
        self.most = max(self.most, self.open)
        self.gates.append(gate := asyncio.Event())
        whole = stream_answer([text_block("x")])
        return Answer(200, whole.headers, [*whole.chunks[:2], gate, *whole.chunks[2:]])

    def let_go(self) -> None:
        """The oldest answer goes on to its end."""
        self.open -= 1
        self.gates.pop(0).set()


def messages(user: str) -> dict[str, Any]:
    return {"stream": True, "messages": [{"role": "user", "content": user}]}


async def test_upstream_never_has_more_than_its_places_and_users_take_turns(tmp_path: Path) -> None:
    door = Doorkeeper()
    async with several(tmp_path, "main", keys={"concurrent_max": 2}) as made:
        made["main"].responder = door.answer
        asking = [asyncio.create_task(made.ask(f"a{number}", **messages("alice"))) for number in range(8)]
        await made.standing("main", in_use=2, waiting=6)
        asking += [asyncio.create_task(made.ask(f"b{n}", headers=BOB, **messages("bob"))) for n in range(2)]
        await made.standing("main", in_use=2, waiting=8)
        for count in range(1, 11):
            await made["main"].wait_for_requests(count)
            if count > 1:
                door.let_go()
        door.let_go()
        assert [told.status for told in await asyncio.gather(*asking)] == [200] * 10
        assert await made.is_idle()
    assert door.most == 2
    assert door.users == ["alice", "alice", "alice", "bob", "alice", "bob", "alice", "alice", "alice", "alice"]


async def test_full_upstream_is_passed_over_and_when_all_are_full_the_client_is_told(tmp_path: Path) -> None:
    door = Doorkeeper()
    async with several(tmp_path, keys={"concurrent_max": 1, "queue_seconds": 0.05}) as made:
        for upstream in made.upstreams.values():
            upstream.responder = door.answer
        asking = [asyncio.create_task(made.ask("first", **messages("alice")))]
        await made["main"].wait_for_requests(1)
        asking.append(asyncio.create_task(made.ask("second", **messages("alice"))))
        await made["spare"].wait_for_requests(1)
        for dialect in DIALECTS:
            told = await made.ask_in(dialect, dialect)
            assert (told.status, told.headers["retry-after"]) == (OVERLOADED[dialect], "5")
            assert "no free place" in read_error(dialect, told.headers, told.body)[1]
        for _ in range(2):
            door.let_go()
        assert [told.status for told in await asyncio.gather(*asking)] == [200, 200]
        records = await made.records()
        assert Counter(record["reason"] for record in records) == {"overloaded": 3, "completed": 2}
        assert (made.sent(), await made.is_idle()) == ([1, 1], True)


async def test_place_comes_back_when_a_client_leaves_the_queue_or_its_stream(tmp_path: Path) -> None:
    door = Doorkeeper()
    async with several(tmp_path, "main", keys={"concurrent_max": 1}) as made:
        made["main"].responder = door.answer
        streaming = asyncio.create_task(made.ask("one", **messages("alice")))
        await made["main"].wait_for_requests(1)
        waiting = asyncio.create_task(made.ask("two", **messages("alice")))
        await made.standing("main", in_use=1, waiting=1)
        waiting.cancel()
        await made.standing("main", in_use=1, waiting=0)
        streaming.cancel()
        third = asyncio.create_task(made.ask("three", **messages("alice")))
        await made.standing("main", in_use=1, waiting=1)
        door.let_go()
        await made["main"].wait_for_requests(2)
        door.let_go()
        assert (await third).status == 200 and await made.is_idle()
        reasons = Counter(record["reason"] for record in await made.records())
        assert (made.sent(), reasons) == ([2], {"client_gone": 2, "completed": 1})


async def test_request_is_bridged_anew_for_an_upstream_of_another_shape(tmp_path: Path) -> None:
    conversation = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go"},
        {"role": "system", "content": "be brief"},
    ]
    fields: dict[str, Any] = {"model": SONNET_45, "service_tier": "auto", "messages": conversation, "max_tokens": 9}
    async with FakeBedrock() as bedrock, FakeVertex() as vertex, ScriptedUpstream(hello) as claude:
        rows = [
            BACKENDS["bedrock"].upstream(bedrock, "bedrock"),
            BACKENDS["vertex"].upstream(vertex, "vertex"),
            configured("claude", claude.base_url),
        ]
        async with serving(tmp_path, "", upstreams=rows) as gateway:
            made = Several(gateway)
            bedrock.queue(throttled())
            first = await made.ask("a", **fields)
            bedrock.queue(throttled())
            vertex.queue(refused(529))
            second = await made.ask("b", **fields)
            records = await made.records()
    assert (first.status, second.status, bedrock.problems, vertex.problems) == (200, 200, [], [])
    notes = [each.normal.body["messages"][-1]["content"] for each in (bedrock.received[0], *vertex.received)]
    assert all(str(note).count("<operator-note>") == 1 and "be brief" in str(note) for note in notes)
    assert claude.received[0].body == request_body(
        *conversation, **(fields | {"stream": False, "messages": conversation})
    )
    assert "service_tier=dropped" in first.headers["x-ringfence-bridged"]
    assert "x-ringfence-bridged" not in second.headers
    assert [each["bridged"] for each in records[1:]] == [[]] and records[0]["bridged"]


async def test_upstream_without_the_capability_is_passed_over(tmp_path: Path) -> None:
    async with FakeBedrock() as bedrock, FakeVertex() as vertex:
        rows = [BACKENDS["bedrock"].upstream(bedrock, "bedrock"), BACKENDS["vertex"].upstream(vertex, "vertex")]
        async with serving(tmp_path, "", upstreams=rows) as gateway:
            made = Several(gateway)
            served = await made.ask("a", tools=WEB_SEARCH)
            vertex.queue(refused(529, "overloaded_error", "full"))
            failed = await made.ask("b", tools=WEB_SEARCH)
            assert (served.status, bedrock.received, vertex.problems) == (200, [], [])
            assert (failed.status, failed.json()["error"]["message"]) == (529, "full")
            assert "x-should-retry" not in failed.headers and await made.is_idle()


async def test_attempt_whose_client_left_before_an_answer_is_told_as_it_ends(tmp_path: Path) -> None:
    async with several(tmp_path, keys={"concurrent_max": 1, "read_timeout_seconds": 1}) as made:
        made["main"].queue(refused(529))
        made["spare"].queue(Answer(never=True))
        asking: asyncio.Task[Told] = asyncio.create_task(made.ask("s"))
        await made["spare"].wait_for_requests(1)
        await made.leave(asking)
        (record,) = await made.records()
        assert (record["reason"], record["upstream"], record["status"]) == ("client_gone", "spare", None)
        metrics = await made.gateway.metrics()
        assert await made.is_idle()
    assert 'ringfence_upstream_attempts_total{outcome="upstream_timeout",upstream="spare"} 1.0' in metrics
    assert 'ringfence_failovers_total{from="main",to="spare"} 1.0' in metrics
