"""Who is asked, with which headers, and what the first request loads."""

import asyncio
import subprocess
import sys
from pathlib import Path

from runtime.agents.client import GatewayClient, headers_of, idempotency_key
from tests.runtime.agents.scene import BEARER, make_task, staged
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block

ROOT = Path(__file__).parents[3]


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


async def test_gateway_is_reached_where_it_listens_at_last() -> None:
    async with ScriptedUpstream(lambda _: stream_answer([text_block("ok")])) as upstream:
        client = GatewayClient("http://127.0.0.1:9")
        client.reach(upstream.base_url)
        events = [event async for event in client.stream(headers_of(make_task()), b"{}", 5.0)]
        await client.close()
    assert upstream.received[0].raw_path == "/v1/messages" and len(events) > 3


def test_gateway_that_drives_no_runs_loads_no_sdk() -> None:
    look = "import sys, gateway.app; sys.exit('anthropic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=False).returncode == 0


async def test_first_requests_may_come_at_once_and_all_connections_are_closed() -> None:
    async with ScriptedUpstream(lambda _: stream_answer([text_block("ok")])) as upstream:
        client = GatewayClient(upstream.base_url)

        async def ask() -> int:
            return len([event async for event in client.stream(headers_of(make_task()), b"{}", 5.0)])

        counts = await asyncio.gather(ask(), ask(), ask())
        await client.close()
    assert min(counts) > 3 and len(upstream.received) == 3


async def test_client_that_asked_nothing_can_be_closed() -> None:
    await GatewayClient("http://127.0.0.1:9").close()


def test_bearer_is_not_shown() -> None:
    assert BEARER not in repr(make_task())
