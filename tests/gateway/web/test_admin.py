"""The operator paths."""

from pathlib import Path

import pytest

from gateway.web import admin
from tests.support.gateway import OPERATOR, SESSION, request_body, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block


async def test_session_is_a_tree_with_what_each_agent_used(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(tmp_path, upstream.base_url) as gateway,
    ):
        for headers in (
            {},
            {"x-claude-code-agent-id": "a1"},
            {"x-claude-code-agent-id": "a2", "x-claude-code-parent-agent-id": "a1"},
        ):
            async with gateway.post(request_body(), headers=headers) as response:
                await response.read()
        await gateway.quiet()
        session = await gateway.operator(f"sessions/{SESSION}")
        (listed,) = (await gateway.operator("sessions"))["sessions"]
    tree = {agent["agent"]: (agent["parent"], agent["depth"], agent["requests"]) for agent in session["agents"]}
    assert tree == {"main": (None, 0, 1), "a1": ("main", 1, 1), "a2": ("a1", 2, 1)}
    assert session["workspace"] == "/home/dev/app" and listed == session
    assert session["cost_nanousd"] == sum(agent["cost_nanousd"] for agent in session["agents"]) > 0


async def test_upstreams_show_how_they_fare(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9/not-shown") as gateway:
        async with gateway.post(request_body()) as response:
            assert response.status == 502
        (shown,) = (await gateway.operator("upstreams"))["upstreams"]
    assert (shown["id"], shown["backend"], shown["state"], shown["failures"]) == ("main", "anthropic", "closed", 1)
    assert (shown["last_error"], shown["requests_total"]) == ("did not answer", 1)
    assert "not-shown" not in str(shown) and "127.0.0.1" not in str(shown)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("fuses/fuse_none", None, 404),
        ("fuses/fuse_none/replace", b'{"reason":"x"}', 404),
        ("fuses/fuse_none/replace", b'{"reason":1}', 400),
        ("fuses/fuse_none/replace", b'{"reasons":"x"}', 400),
        ("sessions/none", None, 404),
        ("sessions?limit=many", None, 400),
    ],
)
async def test_bad_question_is_answered_with_what_is_wrong(
    tmp_path: Path, path: str, body: bytes | None, status: int
) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        url = f"{gateway.url}{admin.ADMIN_PREFIX}/{path}"
        method = "GET" if body is None else "POST"
        async with gateway.client.request(method, url, data=body, headers={"x-api-key": OPERATOR}) as response:
            assert response.status == status
            assert (await response.json())["error"]["message"]
