"""What goes over the wire, and that the bearer goes nowhere else."""

import pytest

from runtime.agents.client import headers_of
from runtime.agents.sdk import SdkClient
from tests.runtime.agents.scene import make_task, staged, value_of
from tests.support.upstream import ScriptedUpstream, json_answer, stream_answer, text_block


async def test_request_is_streamed_over_the_messages_path() -> None:
    async with staged() as scene:
        await scene.attempt()
    received = scene.upstream.received[0]
    assert (received.method, received.raw_path, received.json()["stream"]) == ("POST", "/v1/messages", True)


async def test_path_prefix_of_the_gateway_is_kept() -> None:
    async with ScriptedUpstream(lambda _: stream_answer([text_block("ok")])) as upstream:
        client = SdkClient(f"{upstream.base_url}/gw/nightly")
        events = [event async for event in client.stream(headers_of(make_task()), b"{}", 5.0)]
        await client.close()
    assert upstream.received[0].raw_path == "/gw/nightly/v1/messages" and len(events) > 3


async def test_cookies_of_one_agent_never_reach_another() -> None:
    async with staged() as scene:
        answer = stream_answer([text_block("ok")])
        scene.upstream.queue(
            type(answer)(200, (*answer.headers, ("set-cookie", "session=alice; Path=/")), answer.chunks)
        )
        for _ in range(2):
            await scene.attempt()
    assert scene.upstream.received[1].header("cookie") is None


async def test_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedUpstream() as elsewhere:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.base_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "of-the-environment")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "of-the-environment")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", elsewhere.base_url)
        async with staged() as scene:
            assert value_of(await scene.attempt()) == "Done."
    assert elsewhere.received == []
    assert not any("of-the-environment" in value for _, value in scene.upstream.received[0].headers)


async def test_answer_that_is_no_stream_is_not_taken_for_one() -> None:
    async with staged() as scene:
        scene.upstream.queue(json_answer({"type": "message", "content": []}))
        assert value_of(await scene.attempt()) == "Done."
    assert len(scene.upstream.received) == 2
