"""Sessions for operators: in which order, how many, and what each shows."""

from pathlib import Path

import pytest

from gateway.web.top import ORDERS, SESSIONS_SHOWN
from tests.support.gateway import OPERATOR, Serving, request_body, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block, tool_block


async def ask(gateway: Serving, session: str, agent: str = "") -> None:
    """One request of a session's agent, answered to its end."""
    headers = {"x-claude-code-session-id": session, "x-claude-code-agent-id": agent}
    async with gateway.post(request_body(), headers=headers) as response:
        assert response.status == 200, await response.text()
        await response.read()


async def three_sessions(gateway: Serving, upstream: ScriptedUpstream) -> None:
    """`wide` has agents, `dear` costs most, `bold` touches files, is denied some and was used last."""
    for session, agent, cost in (("wide", "", 1), ("wide", "a1", 1), ("wide", "a2", 1), ("dear", "", 500)):
        upstream.queue(stream_answer([text_block("x")], usage={"input_tokens": 10, "output_tokens": cost}))
        await ask(gateway, session, agent)
    calls = [
        tool_block("Read", {"file_path": "/home/dev/app/a.py"}, "toolu_1"),
        tool_block("Read", {"file_path": "/home/dev/app/b.py"}, "toolu_2"),
        tool_block("Bash", {"command": "rm -rf /"}, "toolu_3"),
    ]
    upstream.queue(stream_answer(calls, usage={"input_tokens": 10, "output_tokens": 5}))
    await ask(gateway, "bold")
    await gateway.quiet()


async def test_each_order_puts_the_greatest_first(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await three_sessions(gateway, upstream)
        first = {
            order: (await gateway.operator(f"sessions?order={order}&limit=1"))["sessions"][0]["session"]
            for order in ("last_seen", "cost", "agents", "denials", "files")
        }
        listed = [each["session"] for each in (await gateway.operator("sessions"))["sessions"]]
    assert first == {"last_seen": "bold", "cost": "dear", "agents": "wide", "denials": "bold", "files": "bold"}
    assert listed == ["bold", "dear", "wide"]


async def test_session_shows_what_it_reached(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await three_sessions(gateway, upstream)
        bold, wide = [await gateway.operator(f"sessions/{name}") for name in ("bold", "wide")]
    assert (bold["files"], bold["written_files"], bold["denials"], bold["tool_classes"]) == (2, 0, 1, ["read"])
    assert (wide["spawned"], wide["depth"], wide["files"], len(wide["agents"])) == (2, 1, 0, 3)
    assert [agent["unasked"] for agent in wide["agents"]] == [False, True, True]


@pytest.mark.parametrize("query", ["order=size", "order=", "order=COST", "limit=-1", "limit=1e3"])
async def test_order_or_limit_that_there_is_not_is_refused(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        url = f"{gateway.url}/ringfence/v1/sessions?{query}"
        async with gateway.client.get(url, headers={"x-api-key": OPERATOR}) as response:
            assert response.status == 400
            message = (await response.json())["error"]["message"]
    assert query.partition("=")[0] in message
    assert "limit" in query or all(order in message for order in ORDERS)


async def test_no_more_sessions_are_listed_than_asked_for(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(tmp_path, upstream.base_url) as gateway,
    ):
        for number in range(SESSIONS_SHOWN + 1):
            await ask(gateway, f"s{number}")
        counts = [
            len((await gateway.operator(f"sessions{query}"))["sessions"])
            for query in ("", "?order=cost", "?order=cost&limit=3", "?limit=60", "?limit=0")
        ]
    assert counts == [SESSIONS_SHOWN, SESSIONS_SHOWN, 3, SESSIONS_SHOWN + 1, 0]
