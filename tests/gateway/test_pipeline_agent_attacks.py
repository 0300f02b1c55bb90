"""Ways around the gate that were tried, through the whole gateway: each must come to nothing."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.controlled import AMPLE, records
from tests.support.dialects import write_request
from tests.support.gateway import CREDENTIAL, SESSION, Serving, request_body, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, stream, text_block, tool_block

OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
MODELS = {"anthropic": OPUS, "bedrock": "us.anthropic.claude-opus-5-5", "vertex": OPUS}
BOB = CREDENTIAL.replace("alice", "bob")
USER = {"role": "user", "content": "hi"}
SAID = {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
MORE = {"role": "user", "content": "go on"}
SUMMARY = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools."
WIDE = {"settings": {"spawn": {"width": 1000, "total": 1000, "depth": 100}}}
TITLE = {"thinking": {"type": "disabled"}, "output_config": {"format": {"type": "json_schema", "schema": {}}}}
SEARCH = {
    "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "tool", "name": "web_search"},
}
POSES: list[dict[str, Any]] = [TITLE, SEARCH, {"max_tokens": 1}, {"messages": [{"role": "user", "content": SUMMARY}]}]


def hello(_: Received | None = None) -> Answer:
    return Answer(chunks=stream((text_block("Hi."),)))


def calling(name: str, tool_input: dict[str, Any]) -> Answer:
    return Answer(chunks=stream((tool_block(name, tool_input),)))


async def say(
    gateway: Serving, *messages: Any, agent: str = "", headers: Mapping[str, str] | None = None, **fields: Any
) -> tuple[int, bytes]:
    sent = {"x-claude-code-agent-id": agent} | dict(headers or {})
    async with gateway.post(request_body(*messages, **fields), headers=sent) as response:
        return response.status, await response.read()


async def agents(gateway: Serving) -> int:
    """How many the session has, as its fuses count them."""
    shown = await gateway.operator(f"sessions/{SESSION}")
    return sum(agent["agent"] != "main" for agent in shown["agents"])


async def waiting_item(gateway: Serving) -> dict[str, Any]:
    while not (found := (await gateway.operator("approvals?state=waiting"))["approvals"]):
        await asyncio.sleep(0)
    return found[0]


@pytest.mark.parametrize("on_blow", ["refuse", "wrap_up", "end_turn"])
async def test_a_hundred_agents_at_once_twice_each_get_no_token_past_the_limit(tmp_path: Path, on_blow: str) -> None:
    fuses = {"session": {"agents": {"limit": 5, "on_blow": on_blow}}}
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE, fuses=fuses, policy=WIDE) as gateway:
            begun = [await say(gateway, USER, agent=f"a{number}") for number in range(5)]
            names = [f"b{number % 50}" for number in range(100)]
            beyond = await asyncio.gather(*(say(gateway, USER, agent=name) for name in names))
            again = await asyncio.gather(*(say(gateway, USER, agent=name) for name in names))
            await records(gateway, 205)
        assert [status for status, _ in begun] == [200] * 5
        assert not any(b"Hi." in body for _, body in (*beyond, *again)) and len(upstream.received) == 5


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("on_blow", ["refuse", "wrap_up", "end_turn"])
async def test_an_agent_past_the_limit_that_poses_as_a_side_request_gets_no_token(
    tmp_path: Path, on_blow: str, pose: dict[str, Any]
) -> None:
    fuses = {"session": {"agents": {"limit": 1, "on_blow": on_blow}}}
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, fuses=fuses, policy=WIDE) as gateway:
            await say(gateway, USER, agent="a1")
            posed = await asyncio.gather(*(say(gateway, agent=f"b{number}", **pose) for number in range(5)))
            known = await say(gateway, agent="a1", **pose)
        assert [status for status, _ in (*posed, known)] == [429] * 6 and len(upstream.received) == 1


@pytest.mark.parametrize("dialect", list(MODELS))
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_agent_past_the_limit_is_asked_for_in_every_dialect_and_gets_no_token(
    tmp_path: Path, dialect: Any, streamed: bool
) -> None:
    body = {"model": MODELS[dialect], "max_tokens": 100, "stream": streamed, "messages": [USER]}
    sent = write_request(dialect, body)
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, fuses={"session": {"agents": 1}}, policy=WIDE) as gateway:
            await say(gateway, USER, agent="a1")
            headers = sent.headers | {"x-claude-code-agent-id": "b1"}
            async with gateway.post(sent.body, path=sent.path, headers=headers) as response:
                status = response.status
        assert status == 429 and len(upstream.received) == 1


async def test_an_agent_that_never_began_gets_no_token_after_a_restart(tmp_path: Path) -> None:
    fuses = {"session": {"agents": {"limit": 1, "on_blow": "wrap_up"}}}
    async with ScriptedUpstream(hello) as upstream:
        for round in range(2):
            async with serving(tmp_path, upstream.base_url, fuses=fuses, policy=WIDE) as gateway:
                names = ["a1", "b1", "b2"] if not round else ["b1", "b2", "b3"]
                statuses = [(await say(gateway, USER, agent=name))[0] for name in names]
            assert statuses == ([200, 429, 429] if not round else [429] * 3)
        assert len(upstream.received) == 1


async def test_agents_that_a_stop_refused_were_never_there(tmp_path: Path) -> None:
    fuses = {"session": {"agents": 3}}
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, fuses=fuses, policy=WIDE) as gateway:
            await say(gateway, USER)
            target = f"session:{SESSION}"
            await gateway.operator("controls", {"action": "stop", "target": target, "reason": "runaway"})
            stopped = await asyncio.gather(*(say(gateway, USER, agent=f"a{number}") for number in range(20)))
            left = await agents(gateway)
            await gateway.operator("controls", {"action": "release", "target": target, "reason": "looked"})
            after = [(await say(gateway, USER, agent=f"b{number}"))[0] for number in range(3)]
        assert {status for status, _ in stopped} == {429} and left == 0
        assert after == [200, 200, 200]


async def test_a_call_whose_fuse_blew_while_it_waited_for_a_person_is_denied(tmp_path: Path) -> None:
    policy = {"settings": {"tools": {"approve": ["Bash"]}}}
    async with ScriptedUpstream(hello) as upstream:
        upstream.queue(calling("Bash", {"command": "make deploy"}))
        fuses = {"session": {"requests": 1}}
        async with serving(tmp_path, upstream.base_url, budgets=AMPLE, fuses=fuses, policy=policy) as gateway:
            asking = asyncio.create_task(say(gateway, USER))
            item = await waiting_item(gateway)
            blown = await say(gateway, USER)
            await gateway.operator(f"approvals/{item['id']}", {"verdict": "approve"})
            status, got = await asking
            await records(gateway, 2)
        assert (blown[0], status) == (429, 200)
        assert b"ringfence_denied" in got and b"has blown" in got


@pytest.mark.parametrize("kind", ["tool_call", "spawn"])
async def test_what_a_person_approved_after_the_policies_forbade_it_is_denied(tmp_path: Path, kind: str) -> None:
    policies = tmp_path / "policies"
    shutil.copytree("policies", policies)
    rule = policies / "rules" / "tools" / "approval" / "rule.rego"
    mine = f'if {{\n\tinput.action.kind == "{kind}"\n\tinput.lineage.session == "{SESSION}"\n}}\n'
    asks = 'obligations contains {"kind": "require_approval", "value": {"reason": "test"}}'
    rule.write_text(f"{rule.read_text()}\n{asks} {mine}")
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, policy={"path": str(policies)}) as gateway:
            if kind == "tool_call":
                upstream.queue(calling("Bash", {"command": "ls"}))
            asking = asyncio.create_task(say(gateway, USER, agent="a1" if kind == "spawn" else ""))
            item = await waiting_item(gateway)
            rule.write_text(f'{rule.read_text()}\nviolations contains "nobody may; wait" {mine}')
            assert gateway.reload is not None
            await gateway.reload()
            await gateway.operator(f"approvals/{item['id']}", {"verdict": "approve"})
            status, got = await asking
        assert b"nobody may" in got and (status, len(upstream.received)) == ((451, 0) if kind == "spawn" else (200, 1))


async def test_a_session_that_would_be_inferred_for_another_cannot_be_taken_first(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            nobody = {"x-claude-code-session-id": ""}
            await say(gateway, USER, headers=nobody)
            session = (await gateway.operator("sessions"))["sessions"][0]["session"]
            taken = await say(gateway, USER, headers={"x-api-key": BOB, "x-claude-code-session-id": session})
            mine = await say(gateway, USER, headers=nobody)
        assert session.startswith("inferred-") and (taken[0], mine[0]) == (400, 200)


async def test_a_summary_finds_the_conversation_in_the_cache_with_its_notices(tmp_path: Path) -> None:
    telling = {"settings": {"notices": [{"text": "Freeze from noon."}]}}
    ask = {"role": "user", "content": SUMMARY}
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, policy=telling) as gateway:
            for messages in ([USER], [USER, SAID, MORE], [USER, SAID, MORE, SAID, ask], [USER, SAID, MORE, SAID, MORE]):
                assert (await say(gateway, *messages))[0] == 200
        prompts = [json.dumps(each.json()["messages"])[:-1] for each in upstream.received]
        assert [prompt.count("Freeze") for prompt in prompts] == [1] * 4
        assert all(later.startswith(prompts[1]) for later in prompts[2:])


async def test_an_agent_that_was_told_something_goes_on_on_a_model_that_takes_no_entries(tmp_path: Path) -> None:
    telling = {"settings": {"notices": [{"text": "Freeze from noon."}]}}
    talk = [[USER], [USER, SAID, MORE], [USER, SAID, MORE, SAID, MORE]]
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, policy=telling) as gateway:
            for messages, model in zip(talk, (OPUS, "claude-sonnet-4-5-20250929", OPUS), strict=True):
                await say(gateway, *messages, model=model)
        first, other, back = [each.json()["messages"] for each in upstream.received]
        assert [each["role"] for each in other] == ["user", "assistant", "user"]
        assert other[0]["content"][1]["text"] == "<gateway-notice>\nFreeze from noon.\n</gateway-notice>"
        assert first[1] == back[1] == {"role": "system", "content": "Freeze from noon."}


async def test_a_last_request_that_thinks_is_one_that_the_upstream_takes(tmp_path: Path) -> None:
    thinking = {"type": "enabled", "budget_tokens": 31_999}
    fuses = {"session": {"requests": {"limit": 1, "on_blow": "wrap_up"}}}
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, fuses=fuses) as gateway:
            await say(gateway, USER, max_tokens=32_000, thinking=thinking)
            await say(gateway, USER, SAID, MORE, max_tokens=32_000, thinking=thinking)
        last = upstream.received[1].json()
        assert last["max_tokens"] == 4_096 and last["thinking"] == {"type": "enabled", "budget_tokens": 2_048}


async def test_a_run_is_stopped_by_the_name_that_the_client_gave_it(tmp_path: Path) -> None:
    script = "export const meta = {name: 'scan', description: 'x'}\nawait agent('Look at the first file.')\n"
    task = "[Workflow harness: computed]\nThe computed task text follows:\n  Look at the first file."
    result = {"type": "tool_result", "tool_use_id": "toolu_test_1", "content": "Task ID: t1\nRun ID: wf_1234-5\n"}
    call = {"role": "assistant", "content": [tool_block("Workflow", {"script": script})]}
    async with ScriptedUpstream(hello) as upstream:
        upstream.queue(calling("Workflow", {"script": script}))
        async with serving(tmp_path, upstream.base_url) as gateway:
            await say(gateway, USER)
            before = await say(gateway, {"role": "user", "content": task}, agent="a1")
            await say(gateway, USER, call, {"role": "user", "content": [result]})
            await gateway.operator("controls", {"action": "stop", "target": "run:wf_1234-5", "reason": "runaway"})
            after = await say(gateway, {"role": "user", "content": task}, agent="a1")
            main = await say(gateway, USER)
        assert (before[0], after[0], main[0]) == (200, 429, 200)


async def test_a_script_does_not_pass_for_another_by_a_name_beside_it(tmp_path: Path) -> None:
    listed = {"settings": {"workflows": {"names": ["scan"]}}}
    script = "export const meta = {name: 'other', description: 'x'}\nawait agent('Look at the first file.')\n"
    async with ScriptedUpstream(hello) as upstream:
        upstream.queue(calling("Workflow", {"name": "scan", "script": script}))
        async with serving(tmp_path, upstream.base_url, policy=listed) as gateway:
            status, got = await say(gateway, USER)
        assert status == 200 and b"ringfence_denied" in got and b"is not among those" in got
