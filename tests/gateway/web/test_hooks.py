"""The path of the hooks: there is an answer whatever fails."""

import logging
from typing import Any

import pytest
from aiohttp import web

from gateway.context import RequestContext
from gateway.core.inquiries.hooks import denial
from gateway.web.hooks import build_hook_routes
from gateway.web.middlewares import CONTEXT

CTX = RequestContext("dec_1", "POST", "/", {}, "operator", 0, 0.0)


class Broken:
    """Hooks that cannot be answered."""

    async def answer(self, ctx: RequestContext, event: str, body: bytes) -> dict[str, Any]:
        raise RuntimeError(f"{event} {len(body)}")

    def failed(self, ctx: RequestContext, event: str) -> dict[str, Any]:
        return denial("no") if event == "PreToolUse" else {}


@web.middleware
async def context(request: web.Request, handler: Any) -> web.StreamResponse:
    request[CONTEXT] = CTX
    return await handler(request)


@pytest.mark.parametrize(("event", "answer"), [("PreToolUse", denial("no")), ("Stop", {})])
@pytest.mark.parametrize("body", [b"{}", b"x" * 2_000])
async def test_hook_that_fails_or_is_too_large_is_answered(
    aiohttp_client: Any, caplog: pytest.LogCaptureFixture, event: str, answer: dict[str, Any], body: bytes
) -> None:
    app = web.Application(middlewares=[context], client_max_size=1_000)
    app.add_routes(build_hook_routes(Broken()))  # pyright: ignore[reportArgumentType]
    client = await aiohttp_client(app)
    with caplog.at_level(logging.CRITICAL):
        response = await client.post(f"/ringfence/v1/hooks/{event}", data=body)
    assert (response.status, await response.json()) == (200, answer)
    assert CTX.reason == "internal" and CTX.message.startswith("the hook failed with ")
