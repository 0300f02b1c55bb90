"""The client's hooks, answered by a whole gateway that also serves its stream."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.hooked import (
    AGENT,
    BASH,
    BOB,
    LIST,
    PIPE,
    SCRIPT,
    bash,
    call,
    control,
    hook,
    reason,
    shown,
    shown_agent,
)
from tests.support.gateway import OPERATOR, SESSION, Serving, request_body, serving
from tests.support.upstream import Answer, ScriptedUpstream, stream, text_block, tool_block

APPROVE: dict[str, Any] = {"tools": {"approve": [{"tool": "Bash", "reason": "shells", "remember": "always"}]}}


async def test_call_that_the_gate_let_pass_gets_no_opinion_and_no_second_count(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, bash(LIST))
        assert [await hook(gateway, "PreToolUse", **BASH) for _ in range(2)] == [{}, {}]
        assert (await shown_agent(gateway))["tool_calls"] == 1
        assert len([each for each in gateway.audit("decision") if each["kind"] == "tool_call"]) == 1


async def test_call_that_the_gate_denied_gets_its_decision_again(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, bash(PIPE))
        told = reason(await hook(gateway, "PreToolUse", **BASH | {"tool_input": PIPE}))
        (decision,) = [each for each in gateway.audit("decision") if each["kind"] == "tool_call"]
        assert "shell/pipe_to_shell" in told and decision["id"] in told
        assert (await shown_agent(gateway))["denials"] == 1


async def test_call_whose_input_was_changed_since_is_decided_anew_and_counted_once(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, bash(LIST))
        told = reason(await hook(gateway, "PreToolUse", **BASH | {"tool_input": PIPE}))
        assert "shell/pipe_to_shell" in told and (await shown_agent(gateway))["tool_calls"] == 1


async def test_call_that_came_round_the_stream_is_decided_and_counted(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        assert await hook(gateway, "PreToolUse", **BASH) == {}
        denied = BASH | {"tool_use_id": "toolu_2", "tool_input": PIPE, "agent_id": AGENT, "agent_type": "Explore"}
        told = reason(await hook(gateway, "PreToolUse", **denied))
        assert "shell/pipe_to_shell" in told and reason(await hook(gateway, "PreToolUse", **denied)) == told
        session = await shown(gateway)
        counts = {
            each["agent"]: (each["agent_type"], each["tool_calls"], each["denials"]) for each in session["agents"]
        }
        assert counts == {"main": (None, 1, 0), AGENT: ("Explore", 1, 1)}
        assert (session["workspace"], session["spawned"]) == ("/home/dev/app", 1)
        assert 'ringfence_hooks_total{event="PreToolUse",outcome="denied"} 2.0' in await gateway.metrics()


async def test_fuse_counts_calls_that_came_round_the_stream(tmp_path: Path) -> None:
    fuses = {"session": {"tool_calls": 3}}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, fuses=fuses) as gateway:
        answers = [await hook(gateway, "PreToolUse", **BASH | {"tool_use_id": f"toolu_{n}"}) for n in range(4)]
        assert answers[:3] == [{}, {}, {}] and "ringfence fuses replace" in reason(answers[3])


async def test_session_of_another_credential_is_refused_and_recorded(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, bash(LIST))
        assert "belongs to another user" in reason(await hook(gateway, "PreToolUse", secret=BOB, **BASH))
        assert await hook(gateway, "SubagentStop", secret=BOB, agent_id=AGENT) == {}
        refused = gateway.audit("claim_refused")
        assert [(each["principal"]["user"], each["claimed"]) for each in refused] == [("bob", f"session {SESSION}")] * 2


async def test_nothing_that_cannot_be_read_is_let_go_and_nothing_else_fails(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        assert "cannot read" in reason(await hook(gateway, "PreToolUse", tool_name="Bash"))
        assert "session-id must be" in reason(await hook(gateway, "PreToolUse", **BASH, session="a/b"))
        assert "repeats" not in reason(await hook(gateway, "PreToolUse", **BASH | {"tool_input": []}))
        for event in ("PostToolUse", "SubagentStart", "SubagentStop", "UserPromptSubmit", "Stop", "SessionEnd"):
            assert await hook(gateway, event, session="") == {}
        assert await hook(gateway, "PostCompact") == {}
        metrics = await gateway.metrics()
        assert 'ringfence_hooks_total{event="other",outcome="passed"} 1.0' in metrics
        assert 'ringfence_hooks_total{event="Stop",outcome="malformed"} 1.0' in metrics


async def test_stop_ends_also_calls_that_the_gate_had_let_pass(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, bash(LIST))
        await control(gateway, "stop")
        assert "was stopped by olga (runaway)" in reason(await hook(gateway, "PreToolUse", **BASH))
        await control(gateway, "release")
        assert await hook(gateway, "PreToolUse", **BASH) == {}


async def test_hold_ends_only_calls_that_the_gate_has_not_let_pass(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, bash(LIST))
        await control(gateway, "hold")
        assert await hook(gateway, "PreToolUse", **BASH) == {}
        assert "was held by olga" in reason(await hook(gateway, "PreToolUse", **BASH | {"tool_use_id": "toolu_2"}))


async def test_call_that_needs_approval_waits_at_the_gate_and_passes_the_hook(tmp_path: Path) -> None:
    policy = {"settings": APPROVE}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        held = asyncio.ensure_future(call(gateway, upstream, bash(LIST)))
        item = await waiting(gateway)
        await decide(gateway, item, "once")
        assert b'"name":"Bash"' in (await held).replace(b" ", b"")
        assert await hook(gateway, "PreToolUse", **BASH) == {}


async def test_approved_call_that_the_client_spells_anew_passes_the_hook_and_another_does_not(tmp_path: Path) -> None:
    policy = {"settings": APPROVE}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        held = asyncio.ensure_future(call(gateway, upstream, bash(LIST | {"timeout": "5000"})))
        await decide(gateway, await waiting(gateway), "once")
        await held
        assert await hook(gateway, "PreToolUse", **BASH | {"tool_input": LIST | {"timeout": 5000, "flag": True}}) == {}
        other = await hook(gateway, "PreToolUse", **BASH | {"tool_input": {"command": "ls -l"}})
        assert "needs a person's approval" in reason(other)
        assert (await shown_agent(gateway))["tool_calls"] == 1


async def test_call_round_the_stream_needs_an_approval_that_was_given_before(tmp_path: Path) -> None:
    policy = {"settings": APPROVE}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        told = reason(await hook(gateway, "PreToolUse", **BASH))
        assert "needs a person's approval (shells)" in told and "approve the same call" in told
        assert (await gateway.operator("approvals"))["approvals"] == []
        held = asyncio.ensure_future(call(gateway, upstream, bash(LIST, "toolu_2")))
        await decide(gateway, await waiting(gateway), "always")
        await held
        assert await hook(gateway, "PreToolUse", **BASH | {"tool_use_id": "toolu_3"}) == {}


async def test_agents_are_joined_to_their_runs_when_two_are_open(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: Answer(chunks=stream([text_block("Done.")]))) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            scripts = [tool_block("Workflow", {"script": SCRIPT.format(name)}, f"toolu_{name}") for name in "pq"]
            await call(gateway, upstream, *scripts)
            for name in "pq":
                told = {"runId": f"wf_{name}{name}{name}-1", "taskId": f"w{name}", "workflowName": name}
                await hook(
                    gateway, "PostToolUse", tool_name="Workflow", tool_use_id=f"toolu_{name}", tool_response=told
                )
            assert await hook(gateway, "SubagentStart", agent_id=AGENT, agent_type="workflow-subagent") == {}
            task = "[Workflow harness] The computed task text follows:\n  go"
            message = {"role": "user", "content": [{"type": "text", "text": task}]}
            async with gateway.post(request_body(message), headers={"x-claude-code-agent-id": AGENT}) as response:
                assert response.status == 200
            guessed = await shown_agent(gateway, AGENT)
            assert (guessed["run"], guessed["run_inferred"]) == ("wf_qqq-1", True)
            path = f"/home/dev/.claude/projects/p/{SESSION}/subagents/workflows/wf_ppp-1/agent-{AGENT}.jsonl"
            assert await hook(gateway, "SubagentStop", agent_id=AGENT, agent_transcript_path=path) == {}
            joined = await shown_agent(gateway, AGENT)
            assert (joined["run"], joined["run_inferred"]) == ("wf_ppp-1", False)


async def test_agent_is_joined_before_its_first_request_when_one_run_is_open(tmp_path: Path) -> None:
    async with ScriptedUpstream(lambda _: Answer(chunks=stream([text_block("Done.")]))) as upstream:
        async with serving(tmp_path, upstream.base_url) as gateway:
            await call(gateway, upstream, tool_block("Workflow", {"script": SCRIPT.format("p")}, "toolu_p"))
            launched = {"runId": "wf_ppp-1", "taskId": "wp", "workflowName": "p"}
            await hook(gateway, "PostToolUse", tool_name="Workflow", tool_use_id="toolu_p", tool_response=launched)
            await hook(gateway, "SubagentStart", agent_id=AGENT, agent_type="workflow-subagent")
            async with gateway.post(request_body(), headers={"x-claude-code-agent-id": AGENT}) as response:
                assert response.status == 200
            agent = await shown_agent(gateway, AGENT)
            assert (agent["run"], agent["run_inferred"], agent["tool_use_id"]) == ("wf_ppp-1", False, "toolu_p")


async def test_user_is_shown_what_is_near_and_what_stands_once_each(tmp_path: Path) -> None:
    budgets = [{"account": "user", "window": "daily", "limit_usd": 0.0001}]
    sections: dict[str, Any] = {"budgets": budgets, "fuses": {"session": {"tool_calls": 1}}}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, **sections) as gateway:
        assert await hook(gateway, "UserPromptSubmit", prompt="go") == {}
        for number in range(2):
            await hook(gateway, "PreToolUse", **BASH | {"tool_use_id": f"toolu_{number}"})
        await control(gateway, "hold", "user:alice")
        told = (await hook(gateway, "Stop"))["systemMessage"]
        assert "user alice was held by olga" in told and "ringfence fuses replace fuse_" in told
        assert await hook(gateway, "UserPromptSubmit", prompt="on") == {}
        assert await hook(gateway, "SessionEnd", reason="other") == {}
        assert (await hook(gateway, "UserPromptSubmit", prompt="resumed"))["systemMessage"] == told


async def test_user_is_shown_that_a_budget_is_nearly_used(tmp_path: Path) -> None:
    budgets = [{"account": "user", "window": "daily", "limit_usd": 0.002}]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url, budgets=budgets) as gateway:
        upstream.queue(Answer(chunks=stream([text_block("Hi.")], usage={"input_tokens": 10, "output_tokens": 95})))
        async with gateway.post(request_body(max_tokens=1)) as response:
            await response.read()
        await gateway.quiet()
        told = (await hook(gateway, "Stop"))["systemMessage"]
        assert "% of the daily limit of $" in told and "user:alice is used" in told


async def test_workflow_round_the_stream_is_asked_about_with_its_script(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        script = {"tool_name": "Workflow", "tool_use_id": "toolu_p", "tool_input": {"script": SCRIPT.format("p")}}
        assert await hook(gateway, "PreToolUse", **script) == {}
        (run,) = [each for each in gateway.audit("decision") if each["kind"] == "run"]
        assert (run["action"]["name"], run["action"]["opaque"], run["source"]) == ("p", False, "hook")
        assert [each["tool_use_id"] for each in (await shown(gateway))["runs"]] == ["toolu_p"]


async def waiting(gateway: Serving) -> str:
    """The id of the one item that waits."""
    while not (found := (await gateway.operator("approvals?state=waiting"))["approvals"]):
        pass
    return found[0]["id"]


async def decide(gateway: Serving, item: str, scope: str) -> None:
    """An operator approves it."""
    said = {"verdict": "approve", "scope": scope}
    url = f"{gateway.url}/ringfence/v1/approvals/{item}"
    async with gateway.client.post(url, json=said, headers={"x-api-key": OPERATOR}) as response:
        assert response.status == 200, await response.text()


@pytest.mark.parametrize("secret", ["", "rf_nobody_0123456789abcdefghijklmnopqrstuvwxyz"])
async def test_hook_without_a_credential_is_no_hook(tmp_path: Path, secret: str) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        url, headers = f"{gateway.url}/ringfence/v1/hooks/PreToolUse", {"authorization": f"Bearer {secret}"}
        async with gateway.client.post(url, data=b"{}", headers=headers) as response:
            assert response.status == 401
