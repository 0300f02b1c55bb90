"""The engine that asks an OPA server: a decision, or a denial that says why there is none. Never an old answer."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.core.decisions.decision import Decision
from gateway.errors import GatewayError
from gateway.policy.opa import BREAKER, OPEN_MS_MAX, Limits, OpaEngine, Outcome, bundle_revision
from tests.support.clock import FakeClock
from tests.support.policies import build_query

REVISION = "0a1b2c3d4e5f"
INFER = build_query({"kind": "infer"})
ALLOWED = {"allow": True, "reasons": [], "shadow": [], "obligations": [], "limits": []}
GONE = aiohttp.ClientConnectionError("gone")
RESTARTED = aiohttp.ServerDisconnectedError()


def status(code: int) -> aiohttp.ClientResponseError:
    url = URL("http://127.0.0.1:8181/")
    request = aiohttp.RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(request, (), status=code, message="no")


def served(decision: Any = ALLOWED, revision: str = REVISION) -> dict[str, Any]:
    return {"result": {"revision": revision, "decision": decision}}


class ScriptedServer:
    """Gives the next of its answers; raises those that are exceptions. The last one goes on for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, tuple[str, str], Mapping[str, str]]] = []

    async def ask(self, document: object, path: tuple[str, str], parameters: Mapping[str, str]) -> Any:
        self.asked.append((document, path, parameters))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        return answer

    async def policies(self) -> dict[str, dict[str, Any]]:
        raise NotImplementedError

    async def put_policy(self, id: str, text: str) -> None:
        raise NotImplementedError

    async def remove_policy(self, id: str) -> None:
        raise NotImplementedError

    async def put_data(self, path: str, document: dict[str, Any]) -> None:
        raise NotImplementedError


class Pushed:
    """What the gateway has put on the server, and whether it can be put there again."""

    def __init__(self, revision: str = REVISION, *, restores: bool = False) -> None:
        self.revision = revision
        self.restores = restores
        self.asked = 0

    async def restore(self) -> bool:
        self.asked += 1
        return self.restores


class Desk:
    """An engine over a scripted server, with what it told."""

    def __init__(self, *answers: Any, pushed: Pushed | None = None, own: bool = False, timeout_ms: int = 250) -> None:
        self.server = ScriptedServer(*answers)
        self.clock = FakeClock()
        self.told: list[Outcome] = []
        limits = Limits(timeout_ms, lambda outcome, seconds: self.told.append(outcome))
        self.engine = OpaEngine(self.server, self.clock, limits, None if own else pushed or Pushed())

    async def decide(self) -> Decision:
        return await self.engine.decide(INFER)


async def test_answer_of_the_gateways_policies_is_the_decision() -> None:
    desk = Desk(served())
    assert await desk.decide() == Decision(allow=True, revision=REVISION)
    (asked,) = desk.server.asked
    assert asked[0]["action"]["kind"] == "infer" and asked[0]["principal"]["user"] == "alice"
    assert asked[1:] == (("ringfence", "served"), {"strict-builtin-errors": "true"}) and desk.told == ["answered"]


async def test_equal_query_is_asked_anew_each_time() -> None:
    desk = Desk(served(), served({**ALLOWED, "allow": False, "reasons": [{"rule": "a/b", "message": "changed"}]}))
    assert (await desk.decide()).allow
    assert (await desk.decide()).message == "a/b: changed" and len(desk.server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        ({"result": {"revision": REVISION}}, "undefined", "the policies do not say anything"),
        (served(None), "undefined", "the policies do not say anything"),
        (served("yes"), "invalid", "the policies' answer is none"),
        (served({"allow": "true"}), "invalid", "the policies' answer is none"),
        ([], "invalid", "the policy server could not be asked"),
        (ValueError("not JSON"), "invalid", "the policy server could not be asked"),
        (status(500), "failed", "the policies could not be evaluated"),
        (status(401), "refused", "the policy server answered 401"),
        (status(503), "refused", "the policy server answered 503"),
        (GONE, "unreachable", "the policy server cannot be reached"),
        (TimeoutError(), "timeout", "the policy server did not answer within 250 ms"),
        (aiohttp.ServerTimeoutError(), "timeout", "the policy server did not answer within 250 ms"),
        ({}, "stale", "the policy server does not hold the gateway's policies"),
        (served(revision="000000000000"), "stale", "the policy server does not hold the gateway's policies"),
    ],
)
async def test_whatever_is_no_answer_denies_and_says_so(answer: Any, outcome: Outcome, said: str) -> None:
    desk = Desk(answer)
    decision = await desk.decide()
    assert not decision.allow and [reason.rule for reason in decision.reasons] == ["engine/failed"]
    assert said in decision.message and "report it to the operator" in decision.message
    assert desk.told == [outcome] and decision.revision == REVISION


async def test_unknown_obligation_of_the_server_denies() -> None:
    decision = await Desk(served({**ALLOWED, "obligations": [{"kind": "pray"}]})).decide()
    assert not decision.allow and decision.reasons[0].rule == "engine/obligation"


@pytest.mark.parametrize("lost", [GONE, RESTARTED])
async def test_connection_that_fails_is_tried_once_more_at_once(lost: Exception) -> None:
    desk = Desk(lost, served())
    assert (await desk.decide()).allow and len(desk.server.asked) == 2
    assert desk.engine.up and desk.told == ["answered"]


@pytest.mark.parametrize(("answer", "times"), [(GONE, 2), (status(500), 1), (status(503), 1), (TimeoutError(), 1)])
async def test_only_a_connection_is_tried_again(answer: Exception, times: int) -> None:
    desk = Desk(answer)
    await desk.decide()
    assert len(desk.server.asked) == times


async def test_server_that_hangs_is_waited_for_until_the_limit() -> None:
    desk = Desk(asyncio.Event(), timeout_ms=20)
    decision = await asyncio.wait_for(desk.decide(), 5)
    assert not decision.allow and "did not answer within 20 ms" in decision.message


async def test_server_that_is_down_is_left_alone_then_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(*[GONE] * (2 * BREAKER.failures), served())
    with caplog.at_level(logging.WARNING):
        for _ in range(BREAKER.failures):
            await desk.decide()
        asked, decision = len(desk.server.asked), await desk.decide()
        assert not decision.allow and desk.told[-1] == "open" and not desk.engine.up
        assert len(desk.server.asked) == asked
        desk.clock.advance(BREAKER.open_ms / 1000)
        assert (await desk.decide()).allow and desk.engine.up
    assert [record.message for record in caplog.records] == [
        "the OPA server does not answer: every query is denied until it does",
        "the OPA server answers again",
    ]


async def test_server_that_was_down_long_is_asked_soon_after_it_is_back() -> None:
    desk = Desk(GONE)
    for _ in range(200):
        await desk.decide()
        desk.clock.advance(BREAKER.open_ms / 1000)
    desk.server.answers = [served()]
    desk.clock.advance(OPEN_MS_MAX / 1000)
    assert (await desk.decide()).allow


async def test_queries_that_the_policies_cannot_evaluate_do_not_cut_the_server_out() -> None:
    desk = Desk(*[status(500)] * 50, served())
    for _ in range(50):
        await desk.decide()
    assert (await desk.decide()).allow and set(desk.told[:-1]) == {"failed"}


async def test_query_that_is_given_up_leaves_the_engine_usable() -> None:
    desk = Desk(asyncio.Event(), served(), timeout_ms=60_000)
    given_up = asyncio.ensure_future(desk.decide())
    while not desk.server.asked:
        await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert (await desk.decide()).allow and desk.engine.up


async def test_policies_that_were_put_back_answer_the_same_query() -> None:
    pushed = Pushed(restores=True)
    desk = Desk({}, served(), pushed=pushed)
    assert (await desk.decide()).allow and pushed.asked == 1 and desk.told == ["answered"]


async def test_policies_that_are_still_others_after_that_deny() -> None:
    desk = Desk({}, pushed=Pushed(restores=True))
    assert not (await desk.decide()).allow and len(desk.server.asked) == 2


async def test_input_nested_too_deep_never_reaches_the_server() -> None:
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    desk = Desk(served())
    decision = await desk.engine.decide(build_query({"kind": "tool_call", "tool": "x", "input": deep}))
    assert decision.reasons[0].rule == "engine/depth" and desk.server.asked == []


async def test_query_with_half_a_character_denies() -> None:
    desk = Desk(served())
    principal = msgspec.structs.replace(INFER.principal, user="\ud800")
    decision = await desk.engine.decide(msgspec.structs.replace(INFER, principal=principal))
    assert not decision.allow and desk.server.asked == [] and desk.told == ["invalid"]


OWN = {"result": ALLOWED, "provenance": {"bundles": {"acme": {"revision": "v12"}}}}


async def test_servers_own_policies_are_asked_for_their_revision() -> None:
    desk = Desk(OWN, own=True)
    decision = await desk.decide()
    assert decision.allow and (decision.revision, desk.engine.revision) == ("v12", "v12")
    assert desk.server.asked[0][1] == ("ringfence", "decision") and desk.server.asked[0][2]["provenance"] == "true"


@pytest.mark.parametrize(
    ("body", "revision"),
    [
        ({}, "unknown"),
        ({"provenance": {"version": "1.20.2"}}, "unknown"),
        ({"provenance": {"bundles": {"b": {"revision": "2"}, "a": {"revision": "1"}}}}, "a:1,b:2"),
        ({"provenance": {"bundles": {"a": {}}}}, "unknown"),
    ],
)
def test_revision_is_that_of_every_bundle(body: dict[str, Any], revision: str) -> None:
    assert bundle_revision(body) == revision


async def test_reload_of_the_servers_own_policies_tells_their_revision() -> None:
    desk = Desk({**OWN, "result": {"allow": False, "reasons": [{"rule": "engine/query", "message": "x"}]}}, own=True)
    assert await desk.engine.reload() == "v12"


@pytest.mark.parametrize("answer", [GONE, {}, {"result": True}, status(401)])
async def test_reload_of_a_server_that_cannot_decide_is_refused(answer: Any) -> None:
    with pytest.raises(GatewayError, match="the OPA server cannot decide"):
        await Desk(answer, own=True).engine.reload()
