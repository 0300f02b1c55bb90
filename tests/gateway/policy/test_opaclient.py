"""What goes over the wire to an OPA server, and what does not come back from one that is none."""

from collections.abc import Callable, Mapping

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config.model import Secret
from gateway.policy.opa import Limits, OpaEngine
from gateway.policy.opaclient import open_server
from tests.support.clock import FakeClock
from tests.support.policies import build_query

INFER = build_query({"kind": "infer"})
SERVED = {"result": {"revision": "0a1b", "decision": {"allow": True}}}


class Held:
    """Policies that are on the server."""

    revision = "0a1b"

    async def restore(self) -> bool:
        return False


async def test_call_that_fails_is_not_repeated_by_the_library() -> None:
    asked: list[str] = []

    async def fail(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=502)

    app = web.Application()
    app.router.add_post("/v1/data/ringfence/served", fail)
    async with TestServer(app) as server, open_server(str(server.make_url("")), None, 5) as opa:
        with pytest.raises(aiohttp.ClientResponseError):
            await opa.ask({}, ("ringfence", "served"), {})
    assert asked == ["/v1/data/ringfence/served"]


async def test_old_syntax_is_refused_and_not_rewritten() -> None:
    put: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        put.append(await request.text())
        error = {"code": "rego_parse_error", "message": "`if` keyword is required before rule body"}
        body = {"code": "invalid_parameter", "message": "error(s) occurred", "errors": [error]}
        return web.json_response(body, status=400)

    app = web.Application()
    app.router.add_put("/v1/policies/{id:.*}", refuse)
    async with TestServer(app) as server, open_server(str(server.make_url("")), None, 5) as opa:
        with pytest.raises(Exception, match="if` keyword is required"):
            await opa.put_policy("ringfence/main.rego", "package a\n\nallow { true }\n")
    assert put == ["package a\n\nallow { true }\n"]


async def asked_headers(token: Secret | None) -> tuple[Mapping[str, str], str]:
    """What a server is sent by the library's own client."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(SERVED)

    app = web.Application()
    app.router.add_post("/v1/data/ringfence/served", answer)
    async with TestServer(app) as server, open_server(str(server.make_url("")), token, 5) as opa:
        engine = OpaEngine(opa, FakeClock(), Limits(5000), Held())
        assert (await engine.decide(INFER)).allow
    return seen[0].headers, seen[0].query_string


async def test_token_is_shown_to_the_server_and_strictness_asked_for() -> None:
    headers, query = await asked_headers(Secret("s3cret"))
    assert headers["Authorization"] == "Bearer s3cret" and query == "strict-builtin-errors=true"


async def test_without_a_token_none_is_shown() -> None:
    headers, _ = await asked_headers(None)
    assert "Authorization" not in headers


@pytest.mark.parametrize("answer", [lambda: web.Response(text="<html>"), lambda: web.Response(status=500)])
async def test_server_that_is_no_opa_denies(answer: Callable[[], web.Response]) -> None:
    async def handler(request: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    async with TestServer(app) as server, open_server(str(server.make_url("")), None, 5) as opa:
        decision = await OpaEngine(opa, FakeClock(), Limits(5000), Held()).decide(INFER)
    assert not decision.allow and decision.reasons[0].rule == "engine/failed"
