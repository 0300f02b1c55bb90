"""Paths of the Anthropic dialect, and bodies that cannot be taken."""

from io import BytesIO
from pathlib import Path

import pytest

from gateway.contract import BODY_BYTES_MAX
from tests.support.gateway import CREDENTIAL, request_body, serving
from tests.support.upstream import ScriptedUpstream

BAD_BODIES = {
    b"": "request body",
    b"[]": "request body",
    b"{": "request body",
    b'{"model":"claude-opus-5-5","model":"claude-haiku-5-5","messages":[]}': "model: the key occurs twice",
    b'{"model":7,"messages":[]}': "model: Expected `str`",
    b'{"model":"claude-opus-5-5"}': "messages: is required",
    b'{"model":"claude-opus-5-5","messages":' + b"[" * 9000 + b"]" * 9000 + b"}": "messages: is nested too deep",
}


@pytest.mark.parametrize(("body", "problem"), BAD_BODIES.items())
async def test_bad_body_is_a_400_that_names_the_place_and_changes_nothing(
    tmp_path: Path, body: bytes, problem: str
) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        async with gateway.post(body) as response:
            error = (await response.json())["error"]
        assert (response.status, error["type"]) == (400, "invalid_request_error")
        assert error["message"].startswith(problem)
        assert upstream.received == []


async def test_compressed_body_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        async with gateway.post(b"\x1f\x8b", headers={"content-encoding": "gzip"}) as response:
            assert response.status == 400 and "gzip" in (await response.json())["error"]["message"]


async def test_too_large_body_is_a_413(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        async with gateway.post(BytesIO(b" " * (BODY_BYTES_MAX + 1))) as response:
            assert response.status == 413
            assert (await response.json())["error"]["type"] == "request_too_large"


async def test_probes_are_answered_without_a_credential(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for path in ("/", "/api/hello", "/gw/team-a/", "/gw/team-a/api/hello"):
            async with gateway.client.head(gateway.url + path) as response:
                assert response.status == 200, path


async def test_models_are_those_that_are_routed_and_allowed(tmp_path: Path) -> None:
    sections = {
        "routes": [{"models": ["claude-opus-*"], "upstreams": ["main"]}],
        "policy": {"settings": {"models": {"allow": ["claude-opus-5*", "claude-haiku-*"]}}},
    }
    async with serving(tmp_path, "http://127.0.0.1:9", **sections) as gateway:
        async with gateway.client.get(
            gateway.url + "/v1/models?limit=1000", headers={"x-api-key": CREDENTIAL}
        ) as response:
            page = await response.json()
    assert [model["id"] for model in page["data"]] == ["claude-opus-5-5", "claude-opus-5"]
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("claude-opus-5-5", "claude-opus-5", False)


async def test_bad_session_header_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        async with gateway.post(request_body(), headers={"x-claude-code-session-id": "a/b"}) as response:
            assert response.status == 400
