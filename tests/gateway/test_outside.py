"""Decisions for harnesses that are not behind the gateway, made by a whole one."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.hooked import BOB, LIST, PIPE, SCRIPT, call, control, hook, shown
from tests.gateway.test_hooks import APPROVE
from tests.support.gateway import CREDENTIAL, OPERATOR, SESSION, Serving, serving
from tests.support.upstream import ScriptedUpstream, tool_block

ALICE = {"type": "user", "id": "alice"}


@contextlib.asynccontextmanager
async def gateway_of(directory: Path, **sections: Any) -> AsyncGenerator[Serving]:
    async with ScriptedUpstream() as upstream, serving(directory, upstream.base_url, **sections) as gateway:
        yield gateway


async def ask(
    gateway: Serving, name: str, id: str, *, secret: Any = CREDENTIAL, properties: Any = None, **parts: Any
) -> tuple[int, Any]:
    """Status and JSON answer of one question."""
    kinds = {"infer": "model", "spawn": "agent", "tool_call": "tool", "run": "script"}
    question = {"subject": ALICE, "action": {"name": name}}
    question |= {"resource": {"type": kinds[name], "id": id, "properties": properties or {}}, **parts}
    url, headers = f"{gateway.url}/ringfence/v1/decisions", {"authorization": f"Bearer {secret}"}
    async with gateway.client.post(url, json=question, headers=headers) as response:
        return response.status, await response.json()


async def decided(gateway: Serving, name: str, id: str, **parts: Any) -> tuple[bool, list[str]]:
    """The decision, and the rules that spoke."""
    status, answer = await ask(gateway, name, id, **parts)
    assert status == 200, answer
    return answer["decision"], [each["rule"] for each in answer["context"]["reasons"]]


async def test_tool_call_is_decided_by_the_facts_that_the_gateway_finds(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway:
        lie = {"input": PIPE, "class": "read", "facts": {"commands": []}}
        assert await decided(gateway, "tool_call", "Bash", properties={"input": LIST}) == (True, [])
        assert await decided(gateway, "tool_call", "Bash", properties=lie) == (False, ["shell/pipe_to_shell"])


async def test_decision_is_recorded_and_names_who_asked_and_nothing_is_counted(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway:
        bob: dict[str, Any] = {"subject": {"type": "user", "id": "bob"}, "context": {"session": "s1"}}
        status, answer = await ask(gateway, "tool_call", "Bash", secret=OPERATOR, properties={"input": PIPE}, **bob)
        await gateway.quiet()
        (decision,) = gateway.audit("decision")
        (request,) = gateway.audit("request")
        assert (status, answer["context"]["id"]) == (200, decision["id"])
        assert (decision["principal"]["user"], decision["principal"]["team"]) == ("bob", "platform")
        assert (decision["lineage"]["session"], decision["allow"], decision["source"]) == ("s1", False, "api")
        assert (request["principal"]["user"], request["allow"]) == ("olga", False)
        assert (await gateway.operator("sessions"))["sessions"] == []
        metrics = await gateway.metrics()
        assert 'kind="tool_call",outcome="deny",rule="shell/pipe_to_shell"} 1.0' in metrics


async def test_every_kind_of_query_is_asked_as_the_request_path_asks_it(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway:
        await decided(gateway, "infer", "claude-opus-5-5", properties={"tools": ["Bash"]})
        await decided(gateway, "spawn", "Explore", properties={"prompt": "look", "model": "haiku"})
        await decided(gateway, "run", "p", properties={"script": SCRIPT.format("p")})
        infer, spawn, run = (each["action"] for each in gateway.audit("decision"))
        assert (infer["kind"], infer["tools"]) == ("infer", ["Bash"])
        assert (spawn["agent_type"], spawn["prompt_bytes"], spawn["parent_type"]) == ("Explore", 4, "main")
        assert (run["opaque"], run["profile"]["name"], run["source"]) == (False, "p", "runtime")


async def test_call_that_starts_something_is_asked_about_as_both(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway:
        await decided(gateway, "tool_call", "Agent", properties={"input": {"subagent_type": "Plan", "prompt": "x"}})
        await decided(gateway, "tool_call", "Workflow", properties={"input": {"script": SCRIPT.format("p")}})
        kinds = [each["kind"] for each in gateway.audit("decision")]
        assert kinds == ["tool_call", "spawn", "tool_call", "run"]


@pytest.mark.parametrize(
    ("secret", "subject", "status"),
    [
        (CREDENTIAL, {"type": "credential", "id": "alice-laptop"}, 200),
        (CREDENTIAL, {"type": "user", "id": "bob"}, 403),
        (CREDENTIAL, {"type": "credential", "id": "bob-laptop"}, 403),
        (OPERATOR, {"type": "credential", "id": "bob-laptop"}, 200),
        (OPERATOR, {"type": "user", "id": "somebody", "properties": {"team": "platform"}}, 200),
        (OPERATOR, {"type": "credential", "id": "nobody"}, 400),
        (OPERATOR, {"type": "user", "id": "bob", "properties": {"credential": "alice-laptop"}}, 400),
    ],
)
async def test_others_are_asked_for_by_operators_only_and_as_they_are_known(
    tmp_path: Path, secret: str, subject: dict[str, Any], status: int
) -> None:
    async with gateway_of(tmp_path) as gateway:
        found, _ = await ask(gateway, "tool_call", "Bash", secret=secret, subject=subject)
        assert found == status and len(gateway.audit("decision")) == (status == 200)


async def test_session_of_another_credential_is_refused(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, tool_block("Bash", LIST))
        bob = {"type": "user", "id": "bob"}
        status, answer = await ask(gateway, "tool_call", "Bash", secret=BOB, subject=bob, context={"session": SESSION})
        assert status == 451 and "belongs to another user" in answer["error"]["message"]


async def test_agent_that_was_seen_is_what_it_was_seen_as(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        await call(gateway, upstream, tool_block("Bash", LIST))
        claims = {"session": SESSION, "depth": 9, "workspace": "/etc", "agent_type": "Plan"}
        await ask(gateway, "tool_call", "Bash", context=claims)
        await ask(gateway, "tool_call", "Bash", context=claims | {"agent": "new"})
        seen, new = (each["lineage"] for each in gateway.audit("decision")[-2:])
        assert (seen["depth"], seen["workspace"]) == (0, "/home/dev/app")
        assert (new["depth"], new["agent_type"]) == (9, "Plan")
        assert (await shown(gateway))["spawned"] == 0


async def test_what_stands_against_the_session_counts_before_policy(tmp_path: Path) -> None:
    fuses = {"session": {"tool_calls": 1}}
    async with gateway_of(tmp_path, fuses=fuses) as gateway:
        for number in range(2):
            await hook(gateway, "PreToolUse", tool_name="Bash", tool_use_id=f"t{number}", tool_input=LIST)
        here: dict[str, Any] = {"context": {"session": SESSION}}
        assert await decided(gateway, "tool_call", "Bash", **here) == (False, ["fuse/tool_calls"])
        await control(gateway, "stop")
        assert await decided(gateway, "infer", "claude-opus-5-5", **here) == (False, ["control/stopped"])
        assert gateway.audit("decision")[-1]["reasons"][0]["rule"] == "control/stopped"


async def test_obligation_is_handed_out_to_who_can_and_denies_who_cannot(tmp_path: Path) -> None:
    policy = {"settings": APPROVE}
    async with gateway_of(tmp_path, policy=policy) as gateway:
        cannot = await decided(gateway, "tool_call", "Bash", properties={"input": LIST})
        assert cannot == (False, ["approval/unasked"])
        can = {"can": ["require_approval"]}
        status, answer = await ask(gateway, "tool_call", "Bash", properties={"input": LIST}, context=can)
        assert (status, answer["decision"]) == (200, True)
        (obligation,) = answer["context"]["obligations"]
        assert (obligation["kind"], obligation["value"]["reason"]) == ("require_approval", "shells")
        assert (await gateway.operator("approvals"))["approvals"] == []


async def test_model_is_moved_by_a_harness_that_can_and_refused_to_one_that_cannot(tmp_path: Path) -> None:
    policy = {"settings": {"spawn": {"models": {"route": {"Explore": "claude-haiku-5-5"}}}}}
    explore = {"session": "s", "agent": "a1", "agent_type": "Explore"}
    async with gateway_of(tmp_path, policy=policy) as gateway:
        assert await decided(gateway, "infer", "claude-opus-5-5", context=explore) == (False, ["engine/obligation"])
        able = explore | {"can": ["set_model", "limits"]}
        _, answer = await ask(gateway, "infer", "claude-opus-5-5", context=able)
        assert (answer["decision"], answer["context"]["obligations"]) == (
            True,
            [{"kind": "set_model", "value": "claude-haiku-5-5"}],
        )
