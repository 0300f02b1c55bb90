"""What every dialect's paths share: how a body is read, and what a tag in the path does."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
import pytest_asyncio

from gateway.contract import BODY_BYTES_MAX
from gateway.core.wire.shapes import SHAPES
from gateway.web.inference import TAG_PATTERN
from tests.support.dialects import read_error, write_request
from tests.support.gateway import UPSTREAM_KEY, Serving, serving
from tests.support.upstream import ScriptedUpstream, json_answer, message, text_block

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
MALFORMED = {"anthropic": "invalid_request_error", "bedrock": "ValidationException", "vertex": "INVALID_ARGUMENT"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Serving, list[ScriptedUpstream]]]:
    """Requests with the tag `nightly` go to the second upstream."""
    async with (
        ScriptedUpstream(lambda _: json_answer(message([text_block("main")]))) as main,
        ScriptedUpstream(lambda _: json_answer(message([text_block("tagged")]))) as tagged,
    ):
        configured = [
            {"id": name, "backend": "anthropic", "base_url": each.base_url, "api_key": UPSTREAM_KEY}
            for name, each in (("main", main), ("tagged", tagged))
        ]
        routes = [
            {"models": ["*"], "upstreams": ["tagged"], "principals": ["tag:path=nightly"]},
            {"models": ["*"], "upstreams": ["main"]},
        ]
        async with serving(tmp_path_factory.mktemp("gateway"), "", upstreams=configured, routes=routes) as served:
            yield served, [main, tagged]


@pytest.fixture
def gateway(running: tuple[Serving, list[ScriptedUpstream]]) -> Serving:
    return running[0]


@pytest.fixture
def upstreams(running: tuple[Serving, list[ScriptedUpstream]]) -> list[ScriptedUpstream]:
    """What they received before is forgotten."""
    for each in running[1]:
        each.received.clear()
    return running[1]


async def send(gateway: Serving, dialect: str, body: Any = None, prefix: str = "", **headers: str) -> tuple[Any, bytes]:
    sent = write_request(dialect, ASKED)
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.post(
        sent.body if body is None else body, path=prefix + sent.path, headers=sent.headers | own
    ) as response:
        return response, await response.read()


@pytest.mark.parametrize("dialect", SHAPES)
async def test_tag_in_the_path_is_the_principals_in_every_dialect(
    gateway: Serving, upstreams: list[ScriptedUpstream], dialect: str
) -> None:
    for prefix, served in (("", 0), ("/gw/daily", 0), ("/gw/nightly", 1)):
        before = len(upstreams[served].received)
        response, _ = await send(gateway, dialect, prefix=prefix)
        assert (response.status, len(upstreams[served].received)) == (200, before + 1), prefix
    assert {each.raw_path for upstream in upstreams for each in upstream.received} == {"/v1/messages"}


@pytest.mark.parametrize("tag", ["", "a%2Fb", "a" * 65, "a b", "%6eightly", "a;b"])
async def test_odd_tag_is_not_found(gateway: Serving, upstreams: list[ScriptedUpstream], tag: str) -> None:
    assert "{1,64}" in TAG_PATTERN
    response, _ = await send(gateway, "anthropic", prefix=f"/gw/{tag}")
    assert (response.status == 404) is (tag != "%6eightly")
    assert upstreams[0].received == []


@pytest.mark.parametrize("dialect", SHAPES)
async def test_compressed_body_is_refused_in_every_dialect(
    gateway: Serving, upstreams: list[ScriptedUpstream], dialect: str
) -> None:
    response, body = await send(gateway, dialect, b"\x1f\x8b", content_encoding="gzip")
    kind, said = read_error(dialect, response.headers, body)
    assert (response.status, kind) == (400, MALFORMED[dialect])
    assert "gzip" in said and upstreams[0].received == []


async def test_body_that_says_it_is_not_encoded_is_taken(gateway: Serving) -> None:
    response, _ = await send(gateway, "anthropic", content_encoding="Identity")
    assert response.status == 200


@pytest.mark.parametrize("dialect", SHAPES)
async def test_too_large_body_is_refused_before_it_is_read(
    gateway: Serving, upstreams: list[ScriptedUpstream], dialect: str
) -> None:
    response, body = await send(gateway, dialect, BytesIO(b" " * (BODY_BYTES_MAX + 1)))
    kind, said = read_error(dialect, response.headers, body)
    assert response.status == 413 and kind and str(BODY_BYTES_MAX) in said
    assert upstreams[0].received == []
