"""The gateway's word on runs, in the runtime's words: principals, verdicts, bearers, prices, room."""

from pathlib import Path
from typing import Any

from gateway.core.decisions.decision import Principal
from gateway.mount.policy import GateAdmission, PriceTags, owner_of, principal_of
from gateway.runs.listprices import ListPrices
from gateway.runs.room import Room
from runtime.check import prepare
from runtime.core.model import AgentId, CallIndex, CallOptions, RunSpec, Tokens
from runtime.launch import Settings, build_spec
from runtime.ports import AgentTask
from tests.gateway.runs.gated import ALICE, Gated, gated
from tests.runtime.driving import launch


def spec_of(**fields: Any) -> RunSpec:
    asked = launch("return await agent('look')", owner=owner_of(fields.pop("principal", ALICE)), **fields)
    return build_spec(asked, prepare(asked.script or ""), Settings(), now_ms=1, script_path=None)


def task_of(spec: RunSpec, **options: Any) -> AgentTask:
    return AgentTask(
        run=spec,
        index=CallIndex(0),
        attempt=1,
        agent_id=AgentId("a1"),
        prompt="look",
        options=CallOptions(**options),
        label="look",
        phase=None,
        bearer="",
    )


def admission_of(at: Gated) -> GateAdmission:
    return GateAdmission(at.gate, at.ground.authenticator.run_bearers, Room(at.ground.store, at.ground.clock))


def test_principal_of_a_run_is_its_owners_and_no_operator() -> None:
    olga = Principal("acme", "ops", "olga", "olga-desk", operator=True, groups=("sre",), tags={"cost": "7"})
    again = principal_of(owner_of(olga))
    assert (again.user, again.credential, again.groups, again.tags) == ("olga", "olga-desk", ("sre",), {"cost": "7"})
    assert not again.operator


async def test_run_and_agent_that_policy_allows_are_allowed(tmp_path: Path) -> None:
    async with gated(tmp_path) as at:
        admission, spec = admission_of(at), spec_of()
        assert (await admission.decide_run(spec)).allow and (await admission.approve_run(spec)).allow
        assert (await admission.decide_spawn(task_of(spec))).allow
        assert [each["kind"] for each in at.serving.audit("decision")] == ["run", "run", "spawn"]


async def test_owner_whose_credential_is_gone_is_denied(tmp_path: Path) -> None:
    async with gated(tmp_path) as at:
        carol = Principal("acme", "platform", "carol", "carol-laptop")
        verdict = await admission_of(at).decide_run(spec_of(principal=carol))
        assert not verdict.allow and "carol-laptop is no longer accepted" in verdict.message


async def test_w50_model_that_is_decided_is_the_one_that_will_be_asked(tmp_path: Path) -> None:
    async with gated(tmp_path) as at:
        spec = spec_of(model="claude-sonnet-5-5")
        await admission_of(at).decide_spawn(task_of(spec, model="claude-haiku-4-5"))
        (decided,) = at.decisions("spawn")
        assert "claude-haiku-4-5" in str(decided)


async def test_bearer_is_the_owners_for_this_run_until_it_is_closed(tmp_path: Path) -> None:
    async with gated(tmp_path) as at:
        admission, spec, known = admission_of(at), spec_of(), at.ground.authenticator
        secret = admission.open_bearer(spec)
        found = known.authenticate(secret)
        assert found is not None and (found.user, known.run_of(secret)) == ("alice", spec.id)
        admission.close_bearer(spec.id)
        assert known.authenticate(secret) is None and known.run_of(secret) is None


async def test_ended_agent_is_at_work_no_more(tmp_path: Path) -> None:
    async with gated(tmp_path) as at:
        admission, spec = admission_of(at), spec_of(session="s-1")
        task = task_of(spec)
        await admission.decide_spawn(task)
        admission.end_agent(task)
        session = at.ground.tree.session("s-1")
        assert session is not None and not session.agents["a1"].owes_tool_result


async def test_w118_room_is_there_again_when_the_limit_is_raised(tmp_path: Path) -> None:
    budgets = [{"account": "user", "window": "daily", "limit_usd": 1, "strict": True}]
    async with gated(tmp_path, budgets=budgets) as at:
        admission, spec = admission_of(at), spec_of()
        left = await admission.room(spec)
        assert left and not await admission.has_room(spec, left)
        assert await admission.has_room(spec, {series: (-1, 1) for series in left})


async def test_w190_tokens_have_their_list_price_and_unknown_models_none(tmp_path: Path) -> None:
    async with gated(tmp_path) as at:
        tags = PriceTags(ListPrices(at.ground.prices, {}, None, at.ground.clock))
        million = tags.cost("claude-haiku-4-5", Tokens(input=1_000_000))
        assert million is not None and million > 10**8
        assert tags.cost("claude-haiku-4-5", Tokens(output=1_000_000)) == 5 * million
        assert tags.cost("gpt-9", Tokens(input=1)) is None
