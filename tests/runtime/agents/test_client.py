"""Who is asked, with which headers, and that the bearer goes nowhere else."""

import pytest

from runtime.agents.client import GatewayClient, headers_of, idempotency_key
from tests.runtime.agents.scene import BEARER, make_task, staged, value_of
from tests.support.upstream import ScriptedUpstream, json_answer, stream_answer, text_block


async def test_w58_requests_carry_lineage_bearer_and_idempotency_key() -> None:
    async with staged() as scene:
        await scene.attempt(make_task(attempt=2))
    received = scene.upstream.received[0]
    expected = {
        "x-api-key": BEARER,
        "x-ringfence-session-id": "session-1",
        "x-ringfence-agent-id": "a0123456789abcdef",
        "x-ringfence-parent-agent-id": "main",
        "x-ringfence-run-id": "wf_test01",
        "x-ringfence-idempotency-key": "wf_test01/3/2",
        "content-type": "application/json",
    }
    names = [name.lower() for name, _ in received.headers]
    assert {name: received.header(name) for name in expected} == expected
    assert all(names.count(name) == 1 for name in expected) and "authorization" not in names


async def test_w58_every_attempt_has_its_own_idempotency_key() -> None:
    keys = {idempotency_key(make_task(attempt=attempt)) for attempt in (1, 2)}
    assert keys == {"wf_test01/3/1", "wf_test01/3/2"}


async def test_request_is_streamed_over_the_messages_path() -> None:
    async with staged() as scene:
        await scene.attempt()
    received = scene.upstream.received[0]
    assert (received.method, received.raw_path, received.json()["stream"]) == ("POST", "/v1/messages", True)


async def test_path_prefix_of_the_gateway_is_kept() -> None:
    async with ScriptedUpstream(lambda _: stream_answer([text_block("ok")])) as upstream:
        client = GatewayClient(f"{upstream.base_url}/gw/nightly")
        events = [event async for event in client.stream(headers_of(make_task()), b"{}", 5.0)]
        await client.close()
    assert upstream.received[0].raw_path == "/gw/nightly/v1/messages" and len(events) > 3


async def test_gateway_is_reached_where_it_listens_at_last() -> None:
    async with ScriptedUpstream(lambda _: stream_answer([text_block("ok")])) as upstream:
        client = GatewayClient("http://127.0.0.1:9")
        client.reach(upstream.base_url)
        events = [event async for event in client.stream(headers_of(make_task()), b"{}", 5.0)]
        await client.close()
    assert upstream.received[0].raw_path == "/v1/messages" and len(events) > 3


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


def test_bearer_is_not_shown() -> None:
    assert BEARER not in repr(make_task())
