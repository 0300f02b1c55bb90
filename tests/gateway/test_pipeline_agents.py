"""What agents are told, how their work ends, and where they are sent: through the whole gateway."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.dialects import read_events, write_request
from tests.support.gateway import SESSION, Serving, request_body, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, stream, text_block, tool_block

OPUS, HAIKU, OLD = "claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-4-5-20250929"
NOTICE = "Freeze from noon: merge nothing."
USER = {"role": "user", "content": "hi"}
SAID = {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
MORE = {"role": "user", "content": "go on"}
TALK = [[USER], [USER, SAID, MORE], [USER, SAID, MORE, SAID, MORE], [USER, SAID, MORE, SAID, MORE, SAID, MORE]]
MODELS = {"anthropic": OPUS, "bedrock": "us.anthropic.claude-opus-5-5", "vertex": OPUS}


def hello(_: Received | None = None) -> Answer:
    return Answer(chunks=stream((text_block("Hi."),)))


async def say(gateway: Serving, *messages: Any, agent: str = "", **fields: Any) -> tuple[int, bytes]:
    body = request_body(*messages, **fields)
    async with gateway.post(body, headers={"x-claude-code-agent-id": agent}) as response:
        return response.status, await response.read()


def telling(text: str = NOTICE) -> dict[str, Any]:
    return {"settings": {"notices": [{"text": text}]}}


def fuse(scope: str, meter: str, limit: int, on_blow: str) -> dict[str, Any]:
    return {scope: {meter: {"limit": limit, "on_blow": on_blow}}}


@pytest.mark.parametrize(("model", "form"), [(OPUS, "system"), (OLD, "text")])
async def test_a_notice_is_said_once_and_stands_unchanged_in_every_later_prompt(
    tmp_path: Path, model: str, form: str
) -> None:
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, policy=telling()) as gateway:
            for messages in TALK:
                assert (await say(gateway, *messages, model=model))[0] == 200
        prompts = [json.dumps(each.json()["messages"])[:-1] for each in upstream.received]
        first = upstream.received[0].json()["messages"]
        if form == "system":
            assert first[1:] == [{"role": "system", "content": NOTICE}]
        else:
            assert first[0]["content"][1] == {"type": "text", "text": f"<gateway-notice>\n{NOTICE}\n</gateway-notice>"}
        assert all(later.startswith(earlier) for earlier, later in zip(prompts, prompts[1:], strict=False))
        assert [prompt.count(NOTICE) for prompt in prompts] == [1] * len(prompts)


async def test_a_side_request_is_told_nothing(tmp_path: Path) -> None:
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, policy=telling()) as gateway:
            assert (await say(gateway, USER, max_tokens=1))[0] == 200
        assert NOTICE not in upstream.received[0].body.decode()


async def test_an_agent_is_told_once_that_the_policies_changed_in_the_midst_of_its_work(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree("policies", policies)
    async with ScriptedUpstream(hello) as upstream:
        async with serving(tmp_path, upstream.base_url, policy={"path": str(policies)}) as gateway:
            await say(gateway, *TALK[0])
            rule = policies / "rules" / "models" / "allowlist" / "rule.rego"
            rule.write_text(rule.read_text() + "\n# another revision\n")
            assert gateway.reload is not None
            await gateway.reload()
            await say(gateway, *TALK[1])
            await say(gateway, *TALK[2])
        told = [each.body.decode().count("The rules of this gateway have changed") for each in upstream.received]
        assert told == [0, 1, 1]


async def test_an_agent_whose_own_budget_runs_low_is_told_to_finish_up(tmp_path: Path) -> None:
    budget = {"account": "session", "window": "total", "limit_usd": 1, "warn_at": [80]}
    usage = {"input_tokens": 100, "output_tokens": 41_000}  # 82 cents
    answers = [Answer(chunks=stream((text_block("Hi."),), usage=usage)), hello(), hello()]
    async with ScriptedUpstream() as upstream:
        upstream.queue(*answers)
        async with serving(tmp_path, upstream.base_url, budgets=[budget]) as gateway:
            for messages in TALK[:3]:
                assert (await say(gateway, *messages))[0] == 200
        told = [
            each.body.decode().count("80 % of this session's budget of $1.00 is used") for each in upstream.received
        ]
        assert told == [0, 0, 1]


@pytest.mark.parametrize("dialect", ["anthropic", "bedrock", "vertex"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_fuse_that_ends_the_turn_answers_with_a_closing_message(
    tmp_path: Path, dialect: Any, streamed: bool
) -> None:
    body = {"model": MODELS[dialect], "max_tokens": 100, "stream": streamed, "messages": [USER]}
    sent = write_request(dialect, body)
    answers: list[tuple[int, bytes]] = []
    reasons: list[str | None] = []
    async with ScriptedUpstream(hello if streamed else whole) as upstream:
        async with serving(tmp_path, upstream.base_url, fuses=fuse("session", "requests", 1, "end_turn")) as gateway:
            for _ in range(2):
                async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
                    answers.append((response.status, await response.read()))
                    reasons.append(response.headers.get("x-ringfence-reason"))
        records = gateway.audit("request")
    status, got = answers[-1]
    assert reasons == [None, "fuse_blown"]
    assert status == 200 and len(upstream.received) == 1
    if streamed:
        events = read_events(dialect, got)
        said = "".join(each["delta"].get("text", "") for each in events if each["type"] == "content_block_delta")
        stop = next(each["delta"]["stop_reason"] for each in events if each["type"] == "message_delta")
    else:
        said, stop = json.loads(got)["content"][0]["text"], json.loads(got)["stop_reason"]
    assert said.startswith("Ringfence ended this turn: the limit on requests of this session is ")
    assert stop == "end_turn"
    assert (records[-1]["reason"], records[-1]["cost_nanousd"]) == ("fuse_blown", 0)


def whole(_: Received) -> Answer:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": OPUS,
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 2},
    }
    return Answer(headers=(("content-type", "application/json"),), chunks=[json.dumps(message).encode()])


async def test_a_fuse_that_lets_agents_wrap_up_gives_each_one_last_request_without_tools(tmp_path: Path) -> None:
    calls = Answer(chunks=stream((tool_block("Bash", {"command": "ls"}),)))
    async with ScriptedUpstream() as upstream:
        upstream.queue(hello(), calls)
        async with serving(tmp_path, upstream.base_url, fuses=fuse("session", "requests", 1, "wrap_up")) as gateway:
            first, last, after = [await say(gateway, *messages, max_tokens=60_000) for messages in TALK[:3]]
            new = await say(gateway, USER, agent="a0123456789abcdef")
        prompt = upstream.received[1].json()
        assert (first[0], last[0], after[0], new[0]) == (200, 200, 429, 429)
        assert len(upstream.received) == 2
        assert prompt["max_tokens"] == 4_096
        assert prompt["messages"][-1]["content"].startswith("This is your last request: the limit on requests")
        assert b'"name":"Bash"' not in last[1].replace(b" ", b"")
        assert b"may call no more tools" in last[1]


async def test_sub_agents_are_moved_to_the_model_that_their_type_is_routed_to(tmp_path: Path) -> None:
    routed = {"settings": {"spawn": {"models": {"route": {"Explore": HAIKU}}}}}
    ask = {"description": "look", "prompt": "Look for it.", "subagent_type": "Explore"}
    async with ScriptedUpstream(hello) as upstream:
        upstream.queue(Answer(chunks=stream((tool_block("Agent", ask),))))
        async with serving(tmp_path, upstream.base_url, policy=routed) as gateway:
            await say(gateway, USER)
            await say(gateway, {"role": "user", "content": "Look for it."}, agent="a0123456789abcdef")
            await say(gateway, {"role": "user", "content": "Something else."}, agent="a1123456789abcdef")
            shown = (await gateway.operator(f"sessions/{SESSION}"))["agents"]
        assert [each.json()["model"] for each in upstream.received] == [OPUS, HAIKU, OPUS]
        assert [agent["agent_type"] for agent in shown] == [None, "Explore", None]


async def test_no_agent_gets_a_first_token_once_its_session_is_over_also_with_many_in_flight(
    tmp_path: Path,
) -> None:
    """Of 90 agents 80 are admitted and wait for their answers when the fuse blows: nobody has begun or begins."""
    begin = asyncio.Event()
    answer = Answer(chunks=[begin, *stream((text_block("Hi."),))])
    async with ScriptedUpstream(lambda _: answer) as upstream:
        wide = {"settings": {"spawn": {"width": 1000, "total": 1000}}}
        async with serving(tmp_path, upstream.base_url, fuses={"session": {"agents": 80}}, policy=wide) as gateway:
            asking = [asyncio.create_task(say(gateway, USER, agent=f"a{number:016x}")) for number in range(80)]
            await upstream.wait_for_requests(80)
            beyond = await asyncio.gather(*(say(gateway, USER, agent=f"b{number:016x}") for number in range(10)))
            begin.set()
            answers = [*beyond, *await asyncio.gather(*asking)]
            await gateway.quiet()
            metrics = await gateway.metrics()
        assert [status for status, _ in beyond] == [429] * 10
        assert all(b"has blown" in body and b"Hi." not in body for _, body in answers)
        assert len(upstream.received) == 80 and "ringfence_holds_open 0.0" in metrics


async def test_a_spawn_that_a_person_approved_is_not_asked_about_again_at_its_first_request(tmp_path: Path) -> None:
    approve = {"settings": {"tools": {"approve": [{"tool": "Agent", "reason": "agents are dear"}]}}}
    ask = {"description": "look", "prompt": "Look for it.", "subagent_type": "Explore"}
    async with ScriptedUpstream(hello) as upstream:
        upstream.queue(Answer(chunks=stream((tool_block("Agent", ask),))))
        async with serving(tmp_path, upstream.base_url, policy=approve, ping_seconds=0.02) as gateway:
            asking = asyncio.create_task(say(gateway, USER))
            item = await waiting_item(gateway)
            answered = await gateway.operator(f"approvals/{item['id']}", {"verdict": "approve", "why": "looked at it"})
            status, got = await asking
            spawned = await say(gateway, {"role": "user", "content": "Look for it."}, agent="a0123456789abcdef")
            events = [record["change"] for record in gateway.audit("approval")]
        assert answered["state"] == "approved" and status == 200 and b'"Agent"' in got
        assert spawned[0] == 200 and events == ["asked", "approved"]


async def waiting_item(gateway: Serving) -> dict[str, Any]:
    while not (found := (await gateway.operator("approvals?state=waiting"))["approvals"]):
        await asyncio.sleep(0)
    return found[0]


async def test_a_call_that_a_person_denied_tells_the_model_why(tmp_path: Path) -> None:
    approve = {"settings": {"tools": {"approve": ["Bash"]}}}
    async with ScriptedUpstream(hello) as upstream:
        upstream.queue(Answer(chunks=stream((tool_block("Bash", {"command": "make deploy"}),))))
        async with serving(tmp_path, upstream.base_url, policy=approve, ping_seconds=0.02) as gateway:
            asking = asyncio.create_task(say(gateway, USER))
            item = await waiting_item(gateway)
            await gateway.operator(f"approvals/{item['id']}", {"verdict": "deny", "why": "not on a Friday"})
            status, got = await asking
        assert status == 200
        assert b"ringfence_denied" in got and b"not on a Friday" in got
