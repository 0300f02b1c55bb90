"""Which upstream a request goes to, what it is sent there, what happens when that one fails. Upstreams are fakes."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.context import RequestContext
from gateway.core.decisions.decision import Principal
from gateway.core.routes.routing import Route
from gateway.core.wire.body import peek
from gateway.errors import GatewayError, Reason, Refused
from gateway.forwarding import ERROR_BYTES_MAX, Attempting
from gateway.ports import UpstreamAnswer
from gateway.tasks import Tasks
from tests.gateway.desk import OPUS, FakeAnswer, FakeUpstream, asking, attempts, desk, speaking_bedrock
from tests.gateway.test_accounting import PRICES
from tests.support.gateway import request_body

SONNET_45 = "claude-sonnet-4-5-20250929"
WEB_SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]
ELSEWHERE = [408, 409, 429, 500, 502, 503, 504, 529, 599]
FOR_GOOD = [400, 401, 402, 403, 404, 413, 422, 451]


def failure(reason: Reason) -> GatewayError:
    return GatewayError(reason, f"it was {reason}")


@pytest.mark.parametrize("status", ELSEWHERE)
async def test_status_that_another_may_do_better_with_goes_on_to_the_next(status: int) -> None:
    made, ctx = desk(), asking()
    made["main"].answers.append(refused := FakeAnswer(status))
    answer = await made.forward(ctx)
    assert (answer.status, made.sent(), refused.closed, made.held_again) == (200, [1, 1], 1, [])
    assert (attempts(ctx), ctx.upstream, ctx.gave_up) == ([("main", status, "upstream_refused")], "spare", False)
    assert (ctx.status, ctx.reason) == (200, None)


@pytest.mark.parametrize("status", FOR_GOOD)
async def test_status_that_every_upstream_would_give_stands(status: int) -> None:
    made, ctx = desk(), asking()
    made["main"].answers.append(refused := FakeAnswer(status))
    assert await made.forward(ctx) is not None and (ctx.status, made.sent()) == (status, [1, 0])
    assert (ctx.attempts, refused.closed, ctx.reason) == ([], 0, Reason.UPSTREAM_REFUSED)


@pytest.mark.parametrize(
    ("reason", "held_again"),
    [
        (Reason.UPSTREAM_UNREACHABLE, []),
        (Reason.UPSTREAM_TIMEOUT, ["main"]),
        (Reason.UPSTREAM_BROKE, ["main"]),
    ],
)
async def test_failure_to_answer_goes_on_to_the_next_and_holds_anew_what_may_be_billed(
    reason: Reason, held_again: list[str]
) -> None:
    made, ctx = desk(), asking()
    made["main"].answers.append(failure(reason))
    assert (await made.forward(ctx)).status == 200 and made.held_again == held_again
    assert (attempts(ctx), ctx.upstream) == ([("main", None, reason)], "spare")


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [((429, 529, 500), 429), ((529, 429, 500), 429), ((529, 500), 500), ((500, 529), 529), ((429, 500, 429), 429)],
)
async def test_when_all_refuse_the_latest_rate_limit_is_shown_else_the_latest(
    statuses: tuple[int, ...], shown: int
) -> None:
    upstreams = [FakeUpstream(f"u{number}") for number in range(len(statuses))]
    made, ctx = desk(*upstreams), asking()
    for number, status in enumerate(statuses):
        upstreams[number].answers.append(FakeAnswer(status, [("x-of", str(number))], f"body {number}".encode()))
    answer = await made.forward(ctx)
    last = max(number for number, status in enumerate(statuses) if status == shown)
    assert (answer.status, answer.headers, ctx.status, ctx.gave_up) == (shown, [("x-of", str(last))], shown, True)
    assert [piece async for piece in answer.chunks()] == [f"body {last}".encode()]
    assert (ctx.upstream, len(ctx.attempts)) == (f"u{last}", len(statuses))


async def test_only_upstreams_refusal_is_its_own_and_may_be_tried_again() -> None:
    made, ctx = desk(FakeUpstream("main", answers=[FakeAnswer(529, body=b"its own")])), asking()
    answer = await made.forward(ctx)
    assert ([piece async for piece in answer.chunks()], ctx.gave_up) == ([b"its own"], False)
    await answer.close()
    assert made.in_use() == [0]


async def test_answer_outranks_what_could_not_be_reached_but_not_what_may_be_billed() -> None:
    made, ctx = desk(), asking()
    made["main"].answers.append(FakeAnswer(529))
    made["spare"].answers.append(failure(Reason.UPSTREAM_UNREACHABLE))
    assert (await made.forward(ctx)).status == 529 and (ctx.upstream, ctx.reason) == ("main", Reason.UPSTREAM_REFUSED)
    made["main"].answers.append(FakeAnswer(529))
    made["spare"].answers.append(failure(Reason.UPSTREAM_TIMEOUT))
    error = await made.fail(asking())
    assert isinstance(error, Refused) and (error.reason, error.headers) == (
        Reason.UPSTREAM_TIMEOUT,
        {"x-should-retry": "false"},
    )


async def test_failure_of_the_only_upstream_may_be_tried_again() -> None:
    made, ctx = desk(FakeUpstream("main", answers=[failure(Reason.UPSTREAM_UNREACHABLE)])), asking()
    error = await made.fail(ctx)
    assert isinstance(error, Refused) and (error.headers, error.reason) == ({}, Reason.UPSTREAM_UNREACHABLE)
    assert (ctx.upstream, ctx.dispatched, ctx.gave_up) == ("main", False, False)


async def test_session_stays_where_it_was_answered_and_another_begins_at_the_first() -> None:
    made, ctx = desk(), asking()
    made["main"].answers.append(FakeAnswer(500))
    for _ in range(3):
        await made.forward(ctx := asking(ctx))
    assert made.sent() == [1, 3]
    await made.forward(asking())
    assert made.sent() == [2, 3]


async def test_session_stays_by_model() -> None:
    made, ctx = desk(), asking()
    made["main"].answers.append(FakeAnswer(500))
    await made.forward(ctx)
    await made.forward(asking(ctx, model=SONNET_45))
    assert made.sent() == [2, 1]


@pytest.mark.parametrize("status", [401, 404])
async def test_refusal_ties_no_session_to_its_upstream(status: int) -> None:
    made, ctx = desk(), asking()
    made["main"].answers += [FakeAnswer(500), FakeAnswer(200)]
    made["spare"].answers.append(FakeAnswer(status))
    await made.forward(ctx)
    await made.forward(asking(ctx))
    assert made.sent() == [2, 1]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Retry-After", "30")], 30),
        ([("retry-after-ms", "1500"), ("retry-after", "30")], 1.5),
        ([("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT")], 60),
        ([("retry-after", "soon")], None),
        ([("retry-after", "")], None),
        ([("retry-after", "-3")], None),
        ([("retry-after", "Thu, 01 Jan 2026 99:01:00 GMT")], None),
        ([], None),
    ],
)
async def test_upstream_that_asks_to_be_left_alone_comes_last_until_then(
    headers: list[tuple[str, str]], seconds: float | None
) -> None:
    made, ctx = desk(), asking()
    ctx.received_unix_ms = made.clock.unix_ms()
    made["main"].answers.append(FakeAnswer(429, headers))
    await made.forward(ctx)
    (cooling, _) = (view.cooling for view in made.forwarding.board.views())
    assert cooling == ({} if seconds is None else {OPUS: made.clock.unix_ms() + round(seconds * 1000)})
    await made.forward(asking())
    assert made.sent() == ([2, 1] if seconds is None else [1, 2])
    made.clock.advance((seconds or 0) + 0.001)
    await made.forward(asking())
    assert made["main"].received[1:]


async def test_cooling_upstream_is_still_tried_when_the_others_fail() -> None:
    made = desk()
    made["main"].answers.append(FakeAnswer(429, [("retry-after", "30")]))
    await made.forward(asking())
    made["spare"].answers.append(FakeAnswer(503))
    assert (await made.forward(ctx := asking())).status == 200
    assert ctx.upstream == "main"


async def test_breaker_cuts_an_upstream_out_sends_one_probe_and_takes_it_back() -> None:
    made = desk(failures=2)
    made["main"].answers += [FakeAnswer(500), failure(Reason.UPSTREAM_UNREACHABLE)]
    for _ in range(3):
        await made.forward(asking())
    assert (made.sent(), made.forwarding.board.views()[0].state) == ([2, 3], "open")
    made.clock.advance(10)
    probed = asyncio.Event()
    made["main"].answers.append(probed)
    probe = asyncio.create_task(made.forward(asking()))
    while len(made["main"].received) < 3:
        await asyncio.sleep(0)
    await made.forward(asking())
    assert (made.sent(), made.forwarding.board.views()[0].state) == ([3, 4], "half_open")
    probed.set()
    await probe
    await made.forward(asking())
    assert (made.sent(), made.forwarding.board.views()[0].state) == ([4, 4], "closed")


async def test_probe_whose_client_leaves_is_given_back() -> None:
    made = desk(failures=1)
    made["main"].answers += [FakeAnswer(500), asyncio.Event()]
    await made.forward(asking())
    made.clock.advance(10)
    probe = asyncio.create_task(made.forward(ctx := asking()))
    while len(made["main"].received) < 2:
        await asyncio.sleep(0)
    assert ctx.upstream == "main" and ctx.dispatched
    probe.cancel()
    await asyncio.wait([probe])
    assert made.in_use()[0] == 0
    assert (await made.forward(asking())).status == 200 and made.forwarding.board.views()[0].state == "closed"


@pytest.mark.parametrize("status", [200, 500])
async def test_attempt_that_outlives_its_client_is_told_to_the_board_and_is_the_last(status: int) -> None:
    made, tasks, left = desk(concurrent_max=1), Tasks(), list[asyncio.Task[UpstreamAnswer]]()
    made["main"].answers += [go := asyncio.Event(), FakeAnswer(status)]

    def carry(attempt: Attempting) -> Awaitable[UpstreamAnswer]:
        return tasks.finish("send", attempt, left.append)

    client = asyncio.create_task(made.forward(ctx := asking(), carry))
    while not made["main"].received:
        await asyncio.sleep(0)
    client.cancel()
    await asyncio.wait([client])
    assert (client.cancelled(), made.in_use(), ctx.status) == (True, [1, 0], None)
    go.set()
    answer = await left[0]
    view = made.forwarding.board.views()[0]
    assert (answer.status, ctx.status, made.sent()) == (status, status, [1, 0])
    assert (view.requests_total, view.failures_total, view.in_use) == (1, int(status == 500), 1)
    await answer.close()
    assert made.in_use() == [0, 0]


async def test_when_all_are_cut_out_nothing_is_sent_and_the_client_is_told_when_to_come_back() -> None:
    made = desk(failures=1)
    for upstream in made.upstreams.values():
        upstream.answers.append(FakeAnswer(500))
    await made.forward(asking())
    made.clock.advance(3)
    error = await made.fail(ctx := asking())
    assert isinstance(error, Refused) and (error.reason, error.headers) == (
        Reason.UPSTREAMS_DOWN,
        {"retry-after": "7"},
    )
    assert (made.sent(), ctx.dispatched, ctx.upstream) == ([1, 1], False, None)


async def test_upstream_without_the_capability_is_passed_over_unasked() -> None:
    made = desk(FakeUpstream("main", "bedrock"), FakeUpstream("spare"))
    assert (await made.forward(ctx := asking(tools=WEB_SEARCH))).status == 200
    assert (made.sent(), ctx.attempts, ctx.upstream, made.in_use()) == ([0, 1], [], "spare", [0, 1])


async def test_capability_that_nobody_has_is_refused_with_its_token() -> None:
    made = desk(FakeUpstream("main", "bedrock"), FakeUpstream("spare", "bedrock"))
    error = await made.fail(asking(tools=WEB_SEARCH))
    assert error.reason is Reason.CAPABILITY_MISSING and error.message.startswith("capability_rejected: web_search:")
    assert (made.sent(), made.in_use()) == ([0, 0], [0, 0])


async def test_capability_of_an_upstream_that_is_cut_out_is_not_called_missing() -> None:
    made = desk(FakeUpstream("main", "bedrock"), FakeUpstream("spare"), failures=1)
    made["spare"].answers.append(FakeAnswer(500))
    await made.forward(asking(tools=WEB_SEARCH))
    assert (await made.fail(asking(tools=WEB_SEARCH))).reason is Reason.UPSTREAMS_DOWN


@pytest.mark.parametrize("names", [("main", "spare"), ("spare", "main")])
async def test_capability_of_an_upstream_that_is_full_is_not_called_missing(names: tuple[str, str]) -> None:
    kinds = {"main": "bedrock", "spare": "anthropic"}
    made = desk(*(FakeUpstream(name, kinds[name]) for name in names), concurrent_max=1, queue_seconds=0.0)
    held = await made.forward(asking(tools=WEB_SEARCH))
    assert (await made.fail(asking(tools=WEB_SEARCH))).reason is Reason.OVERLOADED
    await held.close()


async def test_sent_failure_outranks_a_capability_that_another_lacks() -> None:
    made = desk(FakeUpstream("main"), FakeUpstream("spare", "bedrock"))
    made["main"].answers.append(failure(Reason.UPSTREAM_TIMEOUT))
    error = await made.fail(ctx := asking(tools=WEB_SEARCH))
    assert (error.reason, ctx.upstream, made.held_again) == (Reason.UPSTREAM_TIMEOUT, "main", ["main"])


async def test_each_upstream_gets_the_request_bridged_from_what_the_client_sent() -> None:
    fields: dict[str, Any] = {"model": SONNET_45, "service_tier": "auto", "speed": "fast"}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go"},
        {"role": "system", "content": "be brief"},
    ]
    kinds = ("bedrock", "vertex", "anthropic")

    def request() -> RequestContext:
        ctx = asking()
        ctx.body = request_body(*messages, **fields)
        ctx.ask, ctx.model = peek(ctx.body), SONNET_45
        return ctx

    made = desk(*(FakeUpstream(kind, kind, [FakeAnswer(500)]) for kind in kinds))
    await made.forward(ctx := request())
    for kind in kinds:
        alone = desk(FakeUpstream(kind, kind))
        await alone.forward(request())
        assert made[kind].received == alone[kind].received
    assert made["anthropic"].received[0].body == ctx.body == request().body
    assert json.loads(made["bedrock"].received[0].body)["messages"] != messages
    assert (ctx.upstream, ctx.bridged) == ("anthropic", ())


async def test_changes_reported_are_those_of_the_upstream_whose_answer_is_shown() -> None:
    made = desk(FakeUpstream("main", "bedrock"), FakeUpstream("spare"))
    made["main"].answers.append(FakeAnswer(429))
    made["spare"].answers.append(FakeAnswer(500))
    answer = await made.forward(ctx := asking(service_tier="auto"))
    assert (answer.status, ctx.upstream, ctx.shape) == (429, "main", "bedrock")
    assert [change.feature for change in ctx.bridged] == ["service_tier"]
    assert ctx.upstream_model == made["main"].received[0].model


async def test_full_upstream_is_passed_over_after_the_wait_and_its_places_come_back() -> None:
    made = desk(concurrent_max=1, queue_seconds=0.0)
    first, second = await made.forward(asking()), await made.forward(asking())
    assert (made.sent(), made.in_use()) == ([1, 1], [1, 1])
    error = await made.fail(asking())
    assert error.reason is Reason.OVERLOADED and "no free place" in error.message
    for answer in (first, second, first):
        await answer.close()
    assert made.in_use() == [0, 0]


async def test_every_way_to_fail_gives_the_place_back() -> None:
    made = desk(concurrent_max=1)
    for answer in (*map(FakeAnswer, ELSEWHERE), *map(failure, (Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_UNREACHABLE))):
        for upstream in made.upstreams.values():
            upstream.answers.append(FakeAnswer(answer.status) if isinstance(answer, FakeAnswer) else answer)
        if isinstance(answer, FakeAnswer):
            await made.forward(asking())
        else:
            await made.fail(asking())
        assert made.in_use() == [0, 0]


async def test_client_that_leaves_while_it_waits_for_a_place_had_none() -> None:
    made = desk(FakeUpstream("main"), concurrent_max=1)
    held = await made.forward(asking())
    waiting = asyncio.create_task(made.forward(ctx := asking()))
    while made.forwarding.board.views()[0].waiting == 0:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (waiting.cancelled(), made.in_use(), ctx.dispatched) == (True, [1], False)
    await held.close()
    assert made.in_use() == [0]


async def test_error_that_breaks_off_counts_by_its_status() -> None:
    made, ctx = desk(FakeUpstream("main", answers=[FakeAnswer(503, body=b"half", breaks=True)])), asking()
    answer = await made.forward(ctx)
    assert (answer.status, [piece async for piece in answer.chunks()]) == (503, [b""])


async def test_error_whose_body_never_ends_is_not_waited_for() -> None:
    made, ctx = desk(error_seconds=0.01), asking()
    made["main"].answers.append(stalled := FakeAnswer(503, stalls=True))
    assert (await made.forward(ctx)).status == 200
    assert (stalled.closed, made.in_use()) == (1, [0, 1])


async def test_error_without_an_end_is_kept_up_to_its_limit() -> None:
    body = b"x" * (ERROR_BYTES_MAX + 10)
    made, ctx = desk(FakeUpstream("main", answers=[FakeAnswer(500, body=body)])), asking()
    assert [len(piece) async for piece in (await made.forward(ctx)).chunks()] == [ERROR_BYTES_MAX]


async def test_sessions_are_spread_by_weight_and_each_stays_where_it_was_drawn() -> None:
    route = Route(("*",), ("main", "spare", "last"), {"main": 3, "spare": 1})
    made = desk(*map(FakeUpstream, route.upstreams), routes=[route])
    homes: list[str | None] = []
    for number in range(300):
        ctx = asking()
        assert ctx.agent is not None
        ctx.agent.session.id = f"session-{number}"
        for _ in range(2):
            await made.forward(ctx := asking(ctx))
            homes.append(ctx.upstream)
    assert homes[::2] == homes[1::2]
    assert abs(Counter(homes)["main"] / 600 - 0.75) < 0.08 and made.sent()[2] == 0


@pytest.mark.parametrize(
    ("principal", "upstream"),
    [
        (Principal("acme", "research", "rita", "rita-laptop"), "team"),
        (Principal("acme", "platform", "alice", "alice-laptop"), "user"),
        (Principal("acme", None, "bob", "bob-laptop", tags={"path": "nightly"}), "tag"),
        (Principal("acme", None, "bob", "bob-laptop", tags={"path": "daily"}), "everyone"),
    ],
)
async def test_first_route_for_the_principal_is_taken(principal: Principal, upstream: str) -> None:
    claims = {"team": ("team:research",), "user": ("user:alice",), "tag": ("tag:path=nightly",), "everyone": ()}
    routes = [Route(("claude-*",), (name,), principals=who) for name, who in claims.items()]
    made, ctx = desk(*map(FakeUpstream, claims), routes=routes), asking()
    ctx.principal = principal
    await made.forward(ctx)
    assert ctx.upstream == upstream


async def test_routes_of_two_principals_for_one_model_do_not_mix() -> None:
    routes = [Route(("*",), ("main",), principals=("user:alice",)), Route(("*",), ("spare",))]
    made = desk(routes=routes)
    for _ in range(2):
        await made.forward(mine := asking())
        theirs = asking()
        theirs.principal = Principal("acme", None, "bob", "bob-laptop")
        await made.forward(theirs)
        assert (list(mine.places), list(theirs.places)) == (["main"], ["spare"])
    assert made.sent() == [2, 2]


async def test_model_without_a_route_is_refused() -> None:
    made = desk(routes=[Route(("claude-haiku-*",), ("main",))])
    error = await made.fail(asking())
    assert error.reason is Reason.MODEL_UNROUTED and OPUS in error.message


ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


@pytest.mark.parametrize(
    ("asked", "target", "name"),
    [
        (asking(), {}, "anthropic.claude-opus-5-5"),
        (asking(), {"profile": "eu"}, "eu.anthropic.claude-opus-5-5"),
        (asking(), {"models": {OPUS: ARN}, "profile": "eu"}, ARN),
        (speaking_bedrock("us.anthropic.claude-opus-5-5"), {}, "us.anthropic.claude-opus-5-5"),
        (speaking_bedrock("us.anthropic.claude-opus-5-5"), {"profile": "eu"}, "eu.anthropic.claude-opus-5-5"),
        (speaking_bedrock("us.anthropic.claude-opus-5-5"), {"models": {OPUS: ARN}}, ARN),
        (speaking_bedrock(ARN), {"profile": "eu"}, ARN),
    ],
)
async def test_model_is_called_what_the_upstream_calls_it(
    asked: RequestContext, target: dict[str, Any], name: str
) -> None:
    made = desk(FakeUpstream("main", "bedrock"), **target)
    await made.forward(asked)
    assert (made["main"].received[0].model, asked.upstream_model, asked.places["main"].model) == (name, name, name)


async def test_model_that_policy_put_in_place_of_a_clouds_own_id_is_named_anew() -> None:
    made, ctx = desk(FakeUpstream("main", "bedrock")), speaking_bedrock("us.anthropic.claude-opus-5-5")
    ctx.model = "claude-haiku-5-5"
    await made.forward(ctx)
    assert made["main"].received[0].model == PRICES.catalogue.wire(ctx.model, backend="bedrock", profile=None)
    assert "haiku" in made["main"].received[0].model


async def test_model_that_the_catalogue_does_not_know_keeps_its_name() -> None:
    made, ctx = desk(FakeUpstream("main", "vertex")), asking(model="claude-next-9")
    await made.forward(ctx)
    assert (made["main"].received[0].model, ctx.upstream_model) == ("claude-next-9", "claude-next-9")
