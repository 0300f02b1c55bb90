"""Who gets in, and what errors look like."""

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from gateway.context import RequestContext
from gateway.errors import GatewayError, Reason
from gateway.web import middlewares
from tests.support.clock import FakeClock
from tests.support.gateway import CREDENTIAL, OPERATOR, Serving, request_body, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block


class NoRecords:
    """A recorder that keeps nothing."""

    def begin(self) -> None: ...
    def record(self, ctx: RequestContext) -> None: ...


BEARER = f"Bearer {CREDENTIAL}"


async def refusal(gateway: Serving, path: str = "/v1/models", **headers: str) -> tuple[int, str, str]:
    """Status, error type and message of a GET."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.client.get(gateway.url + path, headers=sent) as response:
        error = (await response.json())["error"]
        assert response.headers["x-should-retry"] == "false"
        return response.status, error["type"], error["message"]


async def test_no_credential_or_a_wrong_one_is_one_401(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for sent in ({}, {"x_api_key": "wrong"}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}):
            status, kind, message = await refusal(gateway, **sent)
            assert (status, kind) == (401, "authentication_error")
            assert "wrong" not in message


async def test_two_different_credentials_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        status, _, message = await refusal(gateway, x_api_key=CREDENTIAL, authorization=f"Bearer {OPERATOR}")
        assert status == 401 and "differ" in message


@pytest.mark.parametrize("headers", [{"x-api-key": CREDENTIAL}, {"authorization": BEARER}])
async def test_either_header_or_both_the_same_open_the_gate(tmp_path: Path, headers: dict[str, str]) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for sent in (headers, {"x-api-key": CREDENTIAL, "authorization": BEARER}):
            async with gateway.client.get(gateway.url + "/v1/models", headers=sent) as response:
                assert response.status == 200


async def test_operator_paths_need_an_operator(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        status, kind, message = await refusal(gateway, "/ringfence/v1/fuses", x_api_key=CREDENTIAL)
        assert (status, kind) == (403, "permission_error") and "--operator" in message


async def test_unknown_path_is_a_404_for_those_who_may_know(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        assert (await refusal(gateway, "/v1/batches", x_api_key=CREDENTIAL))[0] == 404
        assert (await refusal(gateway, "/v1/batches"))[0] == 401


async def test_refused_requests_are_recorded_with_their_reason(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        await refusal(gateway)
        await gateway.quiet()
        (record,) = gateway.audit("request")
        assert (record["status"], record["reason"]) == (401, "credential_missing")
        assert 'reason="credential_missing",status="4xx"' in await gateway.metrics()


async def test_path_tag_reaches_policy_and_not_the_upstream(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(stream_answer([text_block("x")]))
        async with gateway.post(request_body(), path="/gw/team-a/v1/messages?beta=true") as response:
            await response.read()
        await gateway.quiet()
        (record,) = gateway.audit("request")
        assert upstream.received[0].raw_path == "/v1/messages?beta=true"
        assert record["principal"]["tags"] == {"path": "team-a"}


async def test_more_requests_than_fit_are_refused_and_counted_out_again() -> None:
    bound = middlewares.build_bound(1)

    async def nested(request: web.Request) -> web.StreamResponse:
        return await bound(request, nested)

    request = make_mocked_request("POST", "/v1/messages")
    for _ in range(2):
        with pytest.raises(GatewayError) as refused:
            await bound(request, nested)
        assert refused.value.reason is Reason.OVERLOADED


async def test_fault_inside_a_begun_answer_cuts_it_and_writes_nothing_over_it(tmp_path: Path) -> None:
    begun = web.StreamResponse()

    async def handler(request: web.Request) -> web.StreamResponse:
        await begun.prepare(request)
        await begun.write(b"first bytes")
        request[middlewares.BEGUN] = begun
        raise ZeroDivisionError

    app = web.Application(middlewares=[middlewares.build_context(FakeClock(), NoRecords())])
    app.router.add_get("/v1/x", handler)
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        async with client.get(server.make_url("/v1/x")) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


def test_decision_ids_differ_within_and_between_processes() -> None:
    one, other = middlewares.decision_ids(), middlewares.decision_ids()
    ids = [next(one), next(one), next(other)]
    assert len(set(ids)) == 3 and all(len(each) == len("dec_") + 24 for each in ids)


def test_order_puts_the_context_outside_authentication() -> None:
    names = [each.__name__ for each in middlewares.build_middlewares(None, None, None)]  # type: ignore[arg-type]
    assert names == ["context", "bound", "authenticate"]
