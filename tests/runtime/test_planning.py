"""What a run would do: the card of an approval with what it may cost, the plan of a resume. Nothing begins."""

from typing import Any

import pytest

from runtime.core.model import Owner, RunId, Tokens
from runtime.core.program import program_of
from runtime.launch import RunError
from runtime.planning import typical_of
from tests.runtime.driving import ALICE, BOB, OLGA, OWNER, USAGE, Site, driving, launch, with_limits
from tests.runtime.stores.homes import begin, run_row

FAN = "return await parallel(args.files.map(file => () => agent(`look at ${file}`)))"
CHAIN = "const a = await agent(args.first); return [a, await agent('second')]"
FILES = {"files": ["a", "b", "c"]}


async def runs_of(site: Site) -> list[str]:
    rows = await site.readings.rows(OLGA, session=None, states=(), before=None, most=99)
    return [row["id"] for row in rows]


async def done(site: Site, body: str, **fields: Any) -> RunId:
    """A run that is over."""
    run = await site.start(body, **fields)
    await site.ended(run)
    return run


async def test_w144_card_counts_the_agents_of_a_rehearsal_and_asks_none() -> None:
    async with driving() as site:
        card = await site.planner.card(launch(FAN, args=FILES))
        assert card.dry_run is not None and (card.dry_run.calls, card.dry_run.terminated) == (3, True)
        assert site.cast.asked == [] and await runs_of(site) == []


async def test_w140_card_shows_the_script_its_phases_and_what_a_yes_is_bound_to() -> None:
    phases = "[{title: 'Scan', detail: 'one each'}]"
    body = f"export const meta = {{name: 'audit', description: 'Look', phases: {phases}}}\nreturn 1"
    async with driving() as site:
        card = await site.planner.card(launch(body))
        assert (card.name, card.description, card.script) == ("audit", "Look", body)
        assert [(phase.title, phase.detail) for phase in card.phases] == [("Scan", "one each")]
        ready = await site.desk.ready(launch(body))
        assert card.consent.script_sha256 == ready.prepared.sha256 and card.caution


async def test_w143_price_of_what_never_ran_is_a_guess_and_of_what_ran_its_history() -> None:
    async with driving() as site:
        before = await site.planner.card(launch(FAN, args=FILES))
        await done(site, FAN, args=FILES)
        after = await site.planner.card(launch(FAN, args=FILES))
        assert (before.price.basis, after.price.basis) == ("assumed", "history")
        assert after.price.high_nanousd == 3 * (USAGE.cost_nanousd or 0)


async def test_w143_history_of_a_name_outlasts_whatever_else_its_owner_runs() -> None:
    async with driving() as site:
        await done(site, FAN, args=FILES)
        for number in range(250):
            row = run_row(f"wf_other{number}", user=OWNER.user, state="completed", at_ms=site.clock.unix_ms() + number)
            await begin(site.runs.ground.store, row)
        assert (await site.planner.card(launch(FAN, args=FILES))).price.basis == "history"


async def test_w143_card_tells_what_the_owners_limits_leave() -> None:
    async with driving() as site:
        site.admission.left = 7_000
        assert (await site.planner.card(launch("return 1"))).remaining_nanousd == 7_000


async def test_w142_card_shows_what_was_changed_since_it_ran_last() -> None:
    async with driving() as site:
        await done(site, "return await agent('look')")
        assert (await site.planner.card(launch("return await agent('look')"))).diff == ""
        diff = (await site.planner.card(launch("return await agent('look twice')"))).diff
        assert "-return await agent('look')" in diff and "+return await agent('look twice')" in diff


async def test_w137_history_is_that_of_ones_own_runs() -> None:
    async with driving() as site:
        await done(site, "return await agent('look')")
        bobs = launch("return await agent('look twice')", owner=Owner(user="bob", credential="bob-laptop"))
        assert (await site.planner.card(bobs)).diff == ""


async def test_w143_fan_out_without_a_bound_is_capped_at_what_the_run_may_have() -> None:
    async with driving(settings=with_limits(agents=40)) as site:
        card = await site.planner.card(launch("let i = 0; while (true) await agent(`look ${i++}`)"))
        assert card.agents.unbounded and card.agents.high == 40


async def test_w04_card_of_an_invalid_script_is_refused() -> None:
    async with driving() as site:
        with pytest.raises(RunError) as refused:
            await site.planner.card(launch("return ("))
        assert refused.value.kind == "invalid_script"


async def test_w163_plan_of_the_same_again_pays_nothing() -> None:
    async with driving() as site:
        run = await done(site, FAN, args=FILES)
        plan = await site.planner.plan(launch(resume_from=run))
        assert (plan.hits, plan.misses, plan.estimate.tokens.total) == (3, 0, 0)
        assert len(site.cast.asked) == 3 and await runs_of(site) == [run]


async def test_w162_plan_of_changed_args_says_which_calls_run_and_why() -> None:
    async with driving() as site:
        run = await done(site, CHAIN, args={"first": "one"})
        plan = await site.planner.plan(launch(resume_from=run, args={"first": "other"}))
        assert (plan.hits, plan.misses, plan.args_changed) == (0, 2, True)
        assert plan.reasons == {"args_changed": 1, "after_miss": 1} and plan.estimate.tokens.total > 0


async def test_w162_launch_says_what_the_plan_said_and_the_run_does_it() -> None:
    async with driving() as site:
        run = await done(site, CHAIN, args={"first": "one"})
        asked = await site.planner.counted(launch("const a = await agent(args.first); return a", resume_from=run))
        answer = await site.desk.start(asked, idempotency=None)
        assert (answer["resumePlan"]["hits"], answer["resumePlan"]["misses"]) == (1, 0)
        assert (await site.ended(answer["runId"]))["outcome"]["cached"] == 1


async def test_launch_that_resumes_nothing_has_no_plan() -> None:
    async with driving() as site:
        asked = launch("return 1")
        assert await site.planner.counted(asked) is asked


async def test_w154_plan_of_a_run_without_results_is_refused() -> None:
    async with driving() as site:
        run = await done(site, "return 1")
        with pytest.raises(RunError) as refused:
            await site.planner.plan(launch(resume_from=run))
        assert refused.value.kind == "nothing_to_resume"


async def test_typical_tokens_are_those_of_calls_that_gave_a_value_by_type() -> None:
    async with driving() as site:
        run = await done(site, FAN, args=FILES)
        assert typical_of(await site.runs.recorded(run)) == {None: [Tokens(input=100, output=20)] * 3}


async def test_program_of_a_plan_is_the_one_that_a_start_would_run() -> None:
    async with driving() as site:
        ready = await site.desk.ready(launch(FAN, args=FILES, budget_tokens=9))
        program = program_of(ready.spec)
        assert (program.source, program.body, program.budget_total) == (ready.spec.script, ready.spec.body, 9)


async def test_w140_card_of_a_run_that_waits_is_that_of_its_launch() -> None:
    async with driving() as site:
        asked = launch(FAN, args=FILES, max_agents=9, max_cost_nanousd=5_000)
        answer = await site.desk.start(asked, idempotency=None)
        card = await site.planner.card_of(ALICE, answer["runId"])
        assert card.dry_run is not None and (card.dry_run.calls, card.agents.high) == (3, 9)
        assert (card.cap_nanousd, card.consent.script_sha256) == (5_000, answer["scriptSha256"])
        with pytest.raises(RunError) as refused:
            await site.planner.card_of(BOB, answer["runId"])
        assert refused.value.kind == "not_found"
