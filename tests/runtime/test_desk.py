"""What can be asked about runs, and whose: starts, orders, approvals, resumes, saved scripts."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from runtime.core.model import Finished, Owner, RunId
from runtime.launch import Launch, RunError, Settings
from runtime.ports import AgentTask, Verdict
from tests.runtime.driving import ALICE, BOB, MODEL, OLGA, OWNER, Site, driving, launch, script

LOOK = "return await agent('look')"
BOB_OWNER = Owner(user="bob", credential="bob-laptop")
ASKS = Settings(model=MODEL, asks=True)


async def refusal(work: Awaitable[object]) -> RunError:
    """Of something that must not be done."""
    with pytest.raises(RunError) as refused:
        await work
    return refused.value


async def started(site: Site, asked: Launch) -> dict[str, Any]:
    return await site.desk.start(asked, idempotency=None)


async def test_w03_start_answers_at_once_with_the_launch() -> None:
    async with driving() as site:
        gate = site.cast.hold("look")
        answer = await started(site, launch(LOOK, session="s-1"))
        run = answer["runId"]
        assert (answer["status"], answer["taskId"], answer["taskType"]) == ("async_launched", run, "local_workflow")
        assert (answer["workflowName"], answer["session"], answer["scriptPath"]) == ("sweep", "s-1", f"run:{run}")
        gate.set()
        await site.ended(run)


async def test_w01_start_of_nothing_leaves_no_run() -> None:
    async with driving() as site:
        assert (await refusal(started(site, launch()))).kind == "invalid_request"
        assert await site.readings.rows(OLGA, session=None, states=(), before=None, most=9) == []


async def test_w02_path_goes_before_a_script_and_a_script_before_a_name(tmp_path: Path) -> None:
    (tmp_path / "sweep.js").write_text(script("return 'path'"))
    async with driving(folders=[str(tmp_path)]) as site:
        await site.store.save_script(OWNER.user, "saved", script("return 'name'"), replace=True, now_ms=0)
        where = {"workspace": str(tmp_path), "name": "saved"}
        assert await site.outcome("return 'script'", script_path="sweep.js", **where) == "path"
        assert await site.outcome("return 'script'", **where) == "script"
        assert await site.value(await site.start(**where)) == "name"


async def test_w04_invalid_script_starts_nothing() -> None:
    async with driving() as site:
        refused = await refusal(started(site, launch("return (")))
        assert (refused.kind, refused.detail["code"]) == ("invalid_script", "syntax_error")
        assert site.cast.asked == [] and await site.store.open_runs("s", "alice") == 0


async def test_w05_started_again_by_its_reference_it_is_the_same_script() -> None:
    async with driving() as site:
        first = await started(site, launch("return 'the same'"))
        again = await started(site, launch(script_path=first["scriptPath"]))
        assert again["scriptSha256"] == first["scriptSha256"]
        assert await site.value(again["runId"]) == "the same"


async def test_w09_switched_off_nothing_starts_and_it_is_said() -> None:
    async with driving(settings=Settings(enabled=False)) as site:
        refused = await refusal(started(site, launch(LOOK)))
        assert refused.kind == "disabled" and "runs.enabled" in refused.message


async def test_w11_one_run_more_than_a_session_may_have_open_is_refused() -> None:
    async with driving(settings=Settings(model=MODEL, open_per_session=2)) as site:
        site.cast.hold("look")
        first = await site.start(LOOK, session="s-1")
        await site.start(LOOK, session="s-1")
        await site.desk.change(ALICE, first, "pause")
        refused = await refusal(started(site, launch(LOOK, session="s-1")))
        assert refused.kind == "max_workflow_runs" and "2 open runs" in refused.message
        await site.start(LOOK, session="s-2")
        await site.desk.change(ALICE, first, "stop")
        await site.start(LOOK, session="s-1")


async def test_run_that_policy_denies_leaves_no_run() -> None:
    async with driving() as site:
        site.admission.run = Verdict(False, "workflows/opaque: no")
        assert (await refusal(started(site, launch(LOOK)))).message == "workflows/opaque: no"
        assert await site.readings.rows(OLGA, session=None, states=(), before=None, most=9) == []


async def test_w142_script_that_is_not_the_one_that_was_shown_is_refused() -> None:
    async with driving() as site:
        refused = await refusal(started(site, launch(LOOK, script_sha256="0" * 64)))
        assert refused.kind == "conflict" and "not the one that was shown" in refused.message


async def test_workspace_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    async with driving() as site:
        assert (await refusal(started(site, launch(LOOK, workspace=str(tmp_path))))).kind == "invalid_request"


async def test_w138_start_with_a_key_that_was_used_gives_the_same_run() -> None:
    async with driving() as site:
        first = await site.desk.start(launch("return 1"), idempotency="k")
        again = await site.desk.start(launch("return 2"), idempotency="k")
        assert again["runId"] == first["runId"] and await site.value(first["runId"]) == 1


async def test_w141_every_run_is_approved_by_a_person_where_it_is_set() -> None:
    async with driving(settings=ASKS) as site:
        answer = await started(site, launch(LOOK))
        run = RunId(answer["runId"])
        assert answer["state"] == "pending_approval" and answer["approval"] is not None
        assert (await site.desk.approve(ALICE, run, always=False, sha256=answer["scriptSha256"]))["state"] != "denied"
        assert await site.value(run) == "re look"


async def test_w140_consent_that_comes_with_the_start_is_enough() -> None:
    async with driving(settings=ASKS) as site:
        assert await site.outcome(LOOK, consent="once") == "re look"
        assert (await started(site, launch(LOOK)))["state"] == "pending_approval"


async def test_w142_always_is_for_this_script_in_this_project_and_no_other() -> None:
    async with driving(settings=ASKS) as site:
        await site.outcome(LOOK, consent="always")
        assert await site.outcome(LOOK) == "re look"
        assert (await started(site, launch("return await agent('another')")))["state"] == "pending_approval"


async def test_w142_always_at_the_approval_of_a_run_is_remembered() -> None:
    async with driving(settings=ASKS) as site:
        run = await site.start(LOOK)
        await site.desk.approve(ALICE, run, always=True, sha256=None)
        await site.ended(run)
        assert await site.outcome(LOOK) == "re look"


async def test_w142_approval_of_another_script_than_the_runs_is_refused() -> None:
    async with driving(settings=ASKS) as site:
        run = await site.start(LOOK)
        assert (await refusal(site.desk.approve(ALICE, run, always=False, sha256="0" * 64))).kind == "conflict"
        assert (await site.show(run))["state"] == "pending_approval"


async def test_denied_run_never_begins() -> None:
    async with driving(settings=ASKS) as site:
        run = await site.start(LOOK)
        assert (await site.desk.change(ALICE, run, "deny", why="too wide"))["state"] == "denied"
        assert site.cast.asked == []


async def test_w146_approval_that_policy_wants_is_not_given_by_its_owner() -> None:
    async with driving() as site:
        site.admission.run = Verdict(True, ask="forty agents")
        site.admission.approval = asyncio.get_running_loop().create_future()
        run = await site.start(LOOK, consent="always")
        assert (await site.show(run))["state"] == "pending_approval"
        assert (
            "`ringfence approvals`" in (await refusal(site.desk.approve(ALICE, run, always=True, sha256=None))).message
        )
        assert "`ringfence approvals`" in (await refusal(site.desk.change(ALICE, run, "deny"))).message
        site.admission.approval.set_result(Verdict(True, by="olga"))
        assert await site.value(run) == "re look"


async def test_w137_run_of_another_answers_like_one_that_is_not_there() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        others, unknown = [await refusal(site.desk.change(BOB, id, "stop")) for id in (run, "wf_000000")]
        assert (others.kind, others.message) == ("not_found", unknown.message.replace("wf_000000", run))
        assert (await refusal(site.desk.save(BOB, run, name=None, replace=False))).message == others.message
        assert (await site.desk.change(OLGA, run, "stop"))["state"] == "stopped"


async def test_w121_order_that_the_state_does_not_allow_changes_nothing() -> None:
    async with driving() as site:
        run = await site.start("return 1")
        before = await site.ended(run)
        refused = await refusal(site.desk.change(ALICE, run, "pause"))
        assert (refused.kind, refused.detail["state"]) == ("conflict", "completed")
        assert await site.show(run) == before


async def test_w121_second_stop_is_answered_like_the_first() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        assert (await site.desk.change(ALICE, run, "stop"))["state"] == "stopped"
        assert (await site.desk.change(ALICE, run, "stop"))["state"] == "stopped"


async def test_w138_order_with_a_key_that_was_used_does_nothing() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        first = await site.desk.once(run, "alice/k", lambda: site.desk.change(ALICE, run, "pause"))
        again = await site.desk.once(run, "alice/k", lambda: site.desk.change(ALICE, run, "stop"))
        assert again == first and (await site.show(run))["state"] == "paused"


async def test_w132_agent_that_is_stopped_gives_null_and_the_run_goes_on() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start("return [await agent('look'), agent.lastError('look')]")
        await site.cast.until_asked("look")
        await site.desk.change_agent(ALICE, run, 0, "stop")
        value = await site.value(run)
        assert value[0] is None and "stopped" in str(value[1])


async def test_w134_agent_that_is_restarted_begins_anew_and_its_spend_counts() -> None:
    def say(task: AgentTask) -> str:
        return f"attempt {task.attempt}"

    async with driving(say) as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        await site.desk.change_agent(ALICE, run, 0, "restart")
        await site.cast.until_asked("look", 2)
        site.cast.hold("look").set()
        assert await site.value(run) == "attempt 2"
        assert (await refusal(site.desk.change_agent(ALICE, run, 0, "restart"))).kind == "conflict"


async def test_w135_saved_script_is_started_by_its_name() -> None:
    async with driving() as site:
        run = await site.start("return 'saved'")
        saved = await site.desk.save(ALICE, run, name=None, replace=False)
        assert (saved["name"], await site.value(await site.start(name="sweep"))) == ("sweep", "saved")
        other = await site.start("return 'other'")
        refused = await refusal(site.desk.save(ALICE, other, name=None, replace=False))
        assert refused.kind == "conflict" and "replace it" in refused.message
        await site.desk.save(ALICE, other, name=None, replace=True)
        assert await site.value(await site.start(name="sweep")) == "other"


async def test_w36_resume_takes_script_args_and_session_of_the_run_that_it_resumes() -> None:
    async with driving() as site:
        body = "return [args, await agent(`look at ${args.at}`)]"
        run = await site.start(body, args={"at": "a"}, session="s-1")
        await site.ended(run)
        again = await site.start(resume_from=run)
        assert await site.value(again) == [{"at": "a"}, "re look at a"]
        assert (await site.show(again))["session"] == "s-1" and len(site.cast.asked) == 1


async def test_w36_other_args_on_a_resume_are_taken() -> None:
    async with driving() as site:
        run = await site.start("return await agent(`look at ${args.at}`)", args={"at": "a"})
        await site.ended(run)
        assert await site.value(await site.start(resume_from=run, args={"at": "b"})) == "re look at b"
        assert site.cast.prompts() == ["look at a", "look at b"]


async def test_w154_run_without_a_finished_call_has_nothing_to_resume() -> None:
    async with driving(lambda task: Finished(null="api_error")) as site:
        run = await site.start(LOOK)
        await site.ended(run)
        refused = await refusal(started(site, launch(resume_from=run)))
        assert refused.kind == "nothing_to_resume" and len(site.cast.asked) == 1


async def test_w154_open_unknown_and_others_runs_are_not_resumed() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start("return [await agent('first'), await agent('look')]")
        await site.cast.until_asked("look")
        assert (await refusal(started(site, launch(resume_from=run)))).kind == "nothing_to_resume"
        assert (await refusal(started(site, launch(resume_from=RunId("wf_000000"))))).kind == "not_found"
        await site.desk.change(ALICE, run, "stop")
        bobs = launch(resume_from=run, owner=BOB_OWNER)
        assert (await refusal(started(site, bobs))).kind == "not_found"


async def test_w155_resume_is_a_run_of_its_own_and_the_old_record_stays() -> None:
    async with driving() as site:
        run = await site.start(LOOK)
        before = await site.ended(run)
        again = await site.start(resume_from=run)
        record = await site.ended(again)
        assert again != run and record["resumed_from"] == run and record["outcome"]["cached"] == 1
        assert await site.show(run) == before


async def test_w113_launch_says_what_the_budget_counts() -> None:
    async with driving() as site:
        assert (await started(site, launch("return 1")))["budgetScope"] == "run"


async def test_w36_resume_keeps_the_caps_that_were_given_and_takes_others() -> None:
    async with driving() as site:
        run = await site.start(LOOK, max_agents=7, max_cost_nanousd=5_000)
        await site.ended(run)
        again = await site.desk.ready(launch(resume_from=run))
        assert (again.spec.limits.agents, again.spec.max_cost_nanousd) == (7, 5_000)
        other = await site.desk.ready(launch(resume_from=run, max_agents=9, max_cost_nanousd=9_000))
        assert (other.spec.limits.agents, other.spec.max_cost_nanousd) == (9, 9_000)


async def test_w118_only_an_operator_raises_the_cap_past_that_of_the_operator() -> None:
    async with driving(settings=Settings(model=MODEL, max_cost_nanousd=500)) as site:
        run = await site.start("await agent('look')\nreturn await agent('more')")
        await site.in_state(run, "paused")
        refused = await refusal(site.desk.change(ALICE, run, "resume", cap_nanousd=600))
        assert refused.kind == "denied" and "runs.max_cost_usd" in refused.message
        assert (await site.desk.change(OLGA, run, "resume", cap_nanousd=9_000))["state"] == "running"
        assert await site.value(run) == "re more"


async def test_w138_start_that_is_repeated_is_answered_though_there_is_no_more_room() -> None:
    async with driving(settings=Settings(model=MODEL, open_per_session=1)) as site:
        site.cast.hold("look")
        first = await site.desk.start(launch(LOOK, session="s-1"), idempotency="k")
        again = await site.desk.start(launch(LOOK, session="s-1"), idempotency="k")
        assert again["runId"] == first["runId"]
        assert (await refusal(started(site, launch(LOOK, session="s-1")))).kind == "max_workflow_runs"
