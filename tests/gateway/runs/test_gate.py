"""Runs and their agents at a whole gateway: decided, counted once, stopped and held as every other agent."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.runs.asked import Answer
from tests.gateway.runs.gated import ALICE, RUN, SCRIPT, SESSION, SHA256, gated, run_asked
from tests.gateway.test_pipeline_agent_attacks import waiting_item
from tests.support.gateway import CREDENTIAL, OPERATOR
from tests.support.policies import packaged_bundle

MANY = {"workflows": {"approve_above": 0}}


EVERY_AGENT = """
obligations contains {"kind": "require_approval", "value": {"reason": "every agent"}} if {
	input.action.kind == "spawn"
	input.action.via == "runtime"
}
"""
IN_FULL = """
obligations contains {"kind": "log_full", "value": true} if {
	input.action.kind == "infer"
	input.lineage.run == "wf_abcdef"
}
"""


def with_rule(folder: Path, rule: str) -> dict[str, Any]:
    """A policy section whose set is the packaged one and says this too."""
    for name, text in packaged_bundle().files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + rule if name == "rules/spawn/models/rule.rego" else text)
    return {"path": str(folder)}


async def control(serving: Any, action: str, target: str) -> None:
    said = {"action": action, "target": target, "reason": "runaway"}
    answer = await serving.operator("controls", said)
    assert answer["control"]["target"] == target, answer


async def decide(serving: Any, item: str, verdict: str) -> None:
    url = f"{serving.url}/ringfence/v1/approvals/{item}"
    async with serving.client.post(url, json={"verdict": verdict}, headers={"x-api-key": OPERATOR}) as response:
        assert response.status == 200, await response.text()


async def test_admitted_agent_is_asked_about_once_and_counted_once(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        answer = await gateway.spawn(agent_type="Explore", label="one", phase="Find", model="claude-opus-5-5")
        assert answer.allow and gateway.counted() == (1, 1)
        assert [(await gateway.ask())[0] for _ in range(2)] == [200, 200]
        await gateway.serving.quiet()
        (spawn,) = gateway.decisions("spawn")
        assert (spawn["id"], spawn["source"], spawn["action"]["via"]) == (answer.decision, "runtime", "runtime")
        assert (spawn["action"]["label"], spawn["action"]["phase"], spawn["action"]["workflow"]) == (
            "one",
            "Find",
            True,
        )
        assert (spawn["lineage"]["run"], spawn["lineage"]["agent"], spawn["lineage"]["parent"]) == (RUN, "a1", "main")
        assert gateway.counted() == (1, 1)
        metrics = await gateway.serving.metrics()
        assert 'ringfence_agents_seen_total{via="runtime"} 1.0' in metrics
        assert 'ringfence_spawns_total{outcome="allow",via="runtime"} 1.0' in metrics


async def test_agent_belongs_to_its_run_with_source_runtime_and_its_name(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        await gateway.spawn(agent_type="Explore")
        run = gateway.ground.tree.run(RUN)
        assert run is not None and (run.source, run.name, run.agents) == ("runtime", "sweep", {f"{SESSION}/a1"})
        await gateway.ask()
        assert run.used.requests == 1


async def test_agent_that_nobody_admitted_is_asked_about_at_its_first_request(tmp_path: Path) -> None:
    async with gated(tmp_path, policy={"settings": {"spawn": {"agent_types": ["Explore"]}}}) as gateway:
        assert (await gateway.spawn(agent_type="Explore")).allow
        status, body = await gateway.ask("a2")
        assert status == 451 and "spawn/limits" in body["error"]["message"]
        assert [each["action"]["via"] for each in gateway.decisions("spawn")] == ["runtime", "first_request"]


async def test_question_is_about_one_more_than_there_are(tmp_path: Path) -> None:
    async with gated(tmp_path, policy={"settings": {"spawn": {"user": {"per_minute": 2}}}}) as gateway:
        told = [(await gateway.spawn(f"a{number}")).allow for number in range(3)]
        assert told == [True, True, False]


async def test_w52_denied_agent_leaves_nothing_counted_and_says_why(tmp_path: Path) -> None:
    async with gated(tmp_path, policy={"settings": {"spawn": {"agent_types": ["Plan"]}}}) as gateway:
        answer = await gateway.spawn(agent_type="Explore")
        assert not answer.allow and 'spawn/limits: agents of type "Explore" are not allowed' in answer.message
        assert gateway.counted() == (0, 0) and gateway.ground.tree.session(SESSION) is None
        claimed = await gateway.ground.store.load_agents(0)
        assert [each for each in claimed if each.agent == "a1"] == []


async def test_w98_run_may_have_more_agents_than_a_session_and_no_more_than_its_own_limit(tmp_path: Path) -> None:
    spawn = {"total": 2, "width": 1, "run": {"total": 4}}
    async with gated(tmp_path, policy={"settings": {"spawn": spawn}}) as gateway:
        told = [await gateway.spawn(f"a{number}") for number in range(5)]
        assert [each.allow for each in told] == [True] * 4 + [False]
        assert "the run has had 4 agents, 4 is the limit" in told[4].message


async def test_blown_fuse_of_the_run_denies_its_next_agent(tmp_path: Path) -> None:
    async with gated(tmp_path, fuses={"run": {"agents": 2}}) as gateway:
        told = [await gateway.spawn(f"a{number}") for number in range(3)]
        assert [each.allow for each in told] == [True, True, False]
        assert "fuse" in told[2].message and "replace" in told[2].message
        assert gateway.counted() == (2, 2)
        await gateway.serving.quiet()
        assert gateway.decisions("spawn")[2]["reasons"][0]["rule"] == "fuse/agents"


@pytest.mark.parametrize("target", [f"run:{RUN}", f"session:{SESSION}", "user:alice", "org"])
async def test_stopped_target_denies_runs_and_agents(tmp_path: Path, target: str) -> None:
    async with gated(tmp_path) as gateway:
        await control(gateway.serving, "stop", target)
        told = (await gateway.gate.decide_run(run_asked()), await gateway.spawn())
        assert [each.allow for each in told] == [False, False]
        assert all("was stopped by olga (runaway)" in each.message for each in told)
        assert gateway.counted() == (0, 0)


async def test_held_agent_waits_until_it_is_released(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        await control(gateway.serving, "hold", f"run:{RUN}")
        spawning = asyncio.ensure_future(gateway.spawn())
        while gateway.path.boards.controls.in_flight(f"run:{RUN}") == 0:
            await asyncio.wait([spawning], timeout=0.001)
        assert not spawning.done()
        await control(gateway.serving, "release", f"run:{RUN}")
        assert (await spawning).allow and gateway.counted() == (1, 1)


async def test_stop_ends_a_spawn_that_waits(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        await control(gateway.serving, "hold", f"run:{RUN}")
        spawning = asyncio.ensure_future(gateway.spawn())
        while gateway.path.boards.controls.in_flight(f"run:{RUN}") == 0:
            await asyncio.wait([spawning], timeout=0.001)
        await control(gateway.serving, "stop", f"run:{RUN}")
        answer = await spawning
        assert not answer.allow and "was stopped" in answer.message and gateway.counted() == (0, 0)


async def test_cancelled_spawn_is_not_counted(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        await control(gateway.serving, "hold", f"run:{RUN}")
        spawning = asyncio.ensure_future(gateway.spawn())
        while gateway.path.boards.controls.in_flight(f"run:{RUN}") == 0:
            await asyncio.wait([spawning], timeout=0.001)
        spawning.cancel()
        await asyncio.wait([spawning])
        assert spawning.cancelled() and gateway.counted() == (0, 0)


async def test_session_of_another_credential_is_not_the_runs(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        assert (await gateway.spawn()).allow
        bob = msgspec.structs.replace(ALICE, user="bob", credential="bob-laptop")
        told = (await gateway.gate.decide_run(run_asked(principal=bob)), await gateway.spawn("a2", principal=bob))
        assert [each.allow for each in told] == [False, False]
        assert all("belongs to another user" in each.message for each in told) and gateway.counted() == (1, 1)


async def test_owner_whose_credential_is_gone_starts_nothing(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        nobody = msgspec.structs.replace(ALICE, credential="lost-laptop")
        told = (
            await gateway.gate.decide_run(run_asked(principal=nobody)),
            await gateway.gate.approve_run(run_asked(principal=nobody)),
            await gateway.spawn(principal=nobody),
        )
        assert [(each.allow, "no longer accepted" in each.message) for each in told] == [(False, True)] * 3


async def test_id_that_can_be_none_is_denied(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        answer = await gateway.spawn("a/1")
        assert not answer.allow and "without '/'" in answer.message


async def test_run_is_decided_with_its_profile_and_what_it_resumes(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        answer = await gateway.gate.decide_run(run_asked(args=b'{"a":1}', resume_of="wf_before"))
        assert answer == Answer(allow=True, decision=answer.decision)
        (record,) = gateway.decisions("run")
        action = record["action"]
        assert (record["id"], record["source"], record["lineage"]["run"]) == (answer.decision, "runtime", RUN)
        assert (action["source"], action["resume_of"], action["args_bytes"]) == ("runtime", "wf_before", 7)
        assert (action["profile"]["name"], action["script_sha256"]) == ("sweep", SHA256)
        assert gateway.counted() == (0, 0)


async def test_run_that_policy_denies_says_why(tmp_path: Path) -> None:
    async with gated(tmp_path, policy={"settings": {"workflows": {"allow": False}}}) as gateway:
        answer = await gateway.gate.decide_run(run_asked())
        assert not answer.allow and "workflow scripts are switched off here" in answer.message


@pytest.mark.parametrize(("verdict", "allow"), [("approve", True), ("deny", False)], ids=["approve", "deny"])
async def test_w141_run_that_needs_a_person_is_asked_about_and_waits(tmp_path: Path, verdict: str, allow: bool) -> None:
    async with gated(tmp_path, policy={"settings": MANY}) as gateway:
        first = await gateway.gate.decide_run(run_asked())
        assert first.allow and first.ask == "the script can start 1 agents, more than 0"
        waiting = asyncio.ensure_future(gateway.gate.approve_run(run_asked()))
        item = await waiting_item(gateway.serving)
        assert (item["kind"], item["run"], item["script_sha256"], item["user"]) == ("run", RUN, SHA256, "alice")
        await decide(gateway.serving, item["id"], verdict)
        answer = await waiting
        assert (answer.allow, answer.ask) == (allow, None) and (allow or "olga denied it" in answer.message)


async def test_w141_headless_run_that_needs_a_person_is_denied_with_the_reason(tmp_path: Path) -> None:
    async with gated(tmp_path, asks_people=False, policy={"settings": MANY}) as gateway:
        for answer in (await gateway.gate.decide_run(run_asked()), await gateway.gate.approve_run(run_asked())):
            assert (answer.allow, answer.ask) == (False, None)
            assert "needs a person's approval (the script can start 1 agents" in answer.message


async def test_script_that_is_approved_for_good_needs_nobody(tmp_path: Path) -> None:
    async with gated(tmp_path, policy={"settings": MANY}) as gateway:
        said = await gateway.serving.operator("scripts", {"script": SCRIPT, "why": "read"})
        answer = await gateway.gate.decide_run(run_asked(script_sha256=said["sha256"]))
        assert (answer.allow, answer.ask) == (True, None)


async def test_question_is_taken_back_with_the_run(tmp_path: Path) -> None:
    async with gated(tmp_path, policy={"settings": MANY}) as gateway:
        waiting = asyncio.ensure_future(gateway.gate.approve_run(run_asked()))
        item = await waiting_item(gateway.serving)
        waiting.cancel()
        await asyncio.wait([waiting])
        while (await gateway.serving.operator(f"approvals/{item['id']}"))["state"] == "waiting":
            pass
        assert gateway.path.boards.approvals.waiting() == 0


async def test_w52_agent_that_needs_a_person_waits_where_somebody_is_asked(tmp_path: Path) -> None:
    async with gated(tmp_path, policy=with_rule(tmp_path / "set", EVERY_AGENT)) as gateway:
        spawning = asyncio.ensure_future(gateway.spawn(agent_type="Explore"))
        item = await waiting_item(gateway.serving)
        assert (item["kind"], item["reason"]) == ("spawn", "every agent")
        await decide(gateway.serving, item["id"], "approve")
        assert (await spawning).allow and gateway.counted() == (1, 1)


async def test_w52_agent_that_needs_a_person_is_denied_where_nobody_is_asked(tmp_path: Path) -> None:
    async with gated(tmp_path, asks_people=False, policy=with_rule(tmp_path / "set", EVERY_AGENT)) as gateway:
        answer = await gateway.spawn(agent_type="Explore")
        assert not answer.allow and "needs a person's approval (every agent)" in answer.message
        assert gateway.counted() == (0, 0)


async def test_agent_that_has_ended_is_not_at_work_whatever_it_left_open(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        await gateway.spawn()
        session = gateway.ground.tree.session(SESSION)
        assert session is not None
        node, now_ms = session.agents["a1"], gateway.ground.clock.unix_ms()
        node.begin(now_ms)
        node.end(now_ms, owes_tool_result=True)
        assert session.active(now_ms) == 1
        gateway.gate.end_agent(SESSION, "a1")
        gateway.gate.end_agent(SESSION, "never seen")
        assert (session.active(now_ms), node.is_active(now_ms)) == (0, False)
        gateway.gate.end_run(RUN)
        run = gateway.ground.tree.run(RUN)
        assert run is not None and run.state == "ended"
        await gateway.spawn("a2")
        assert (run.state, run.ended_ms) == ("running", None)


async def test_w183_requests_of_a_runs_agents_name_it_and_hide_its_name(tmp_path: Path) -> None:
    async with gated(tmp_path) as gateway:
        await gateway.spawn()
        await gateway.ask()
        await gateway.serving.quiet()
        records = [*gateway.serving.audit("request"), *gateway.decisions("spawn")]
        asked = [each["workflow"] for each in records if each["lineage"]]
        assert asked == [{"run_id": RUN, "name": "custom"}] * 2
        async with gateway.serving.post(b"{}", headers={"x-api-key": CREDENTIAL}) as response:
            assert response.status == 400
        await gateway.serving.quiet()
        assert gateway.serving.audit("request")[-1]["workflow"] is None


async def test_w183_name_of_the_workflow_is_told_where_a_rule_logs_in_full(tmp_path: Path) -> None:
    async with gated(tmp_path, policy=with_rule(tmp_path / "set", IN_FULL)) as gateway:
        await gateway.spawn()
        await gateway.ask()
        await gateway.serving.quiet()
        (request,), (infer,) = gateway.serving.audit("request"), gateway.decisions("infer")
        assert request["workflow"] == infer["workflow"] == {"run_id": RUN, "name": "sweep"}
