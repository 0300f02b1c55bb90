"""`resumeFromRunId` through the desk, with real sandboxes and journals: what is paid again, and what is not."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from runtime.core.journal import ResultLine
from runtime.core.model import ResumeMode, RunId
from runtime.launch import Launch, RunError
from tests.runtime.crash_driver import LARGE_CHARS
from tests.runtime.crash_scripts import CHILD, SHAPES
from tests.runtime.sites import ALICE, OWNER, Site, opened_site
from tests.runtime.stores.homes import Home

PARTS = """
export const meta = {name: 'parts', description: 'Some parts and a sum'}
const parts = await parallel(args.parts.map(part => () => agent(`look at ${part}`)))
if (args.fails) throw new Error('in the end')
return {parts, sum: await agent(`sum of ${parts.join()}`), spent: budget.spent()}
"""
THREE = msgspec.Raw(b'{"parts": ["a", "b this waits", "c"]}')


@pytest.fixture
async def site(shared_home: Home) -> AsyncGenerator[Site]:
    async with opened_site(shared_home, "p1") as site:
        await site.store.save_script(OWNER.user, "child", CHILD, replace=True, now_ms=0)
        yield site


async def resumed(site: Site, run: RunId, mode: ResumeMode = "lineage", **launch: Any) -> RunId:
    """A run that goes on from an ended one; what was asked before is forgotten."""
    site.agents.asked.clear()
    return await site.start(resume_from=run, resume_mode=mode, session=None, **launch)


async def stopped(site: Site, **launch: Any) -> RunId:
    """A run that was stopped when two of its three agents were done."""
    run = await site.start(PARTS, args=THREE, has_args=True, **launch)
    await site.until(run, lambda record: record["outcome"]["done"] == 2 and record["agents"].get("running") == 1)
    await site.desk.change(ALICE, run, "stop")
    site.agents.let_go.set()
    return run


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - {"throwing", "all"}))
@pytest.mark.parametrize("mode", ["lineage", "prefix"])
async def test_w163_same_script_with_every_call_completed_asks_no_agent(site: Site, mode: Any, shape: str) -> None:
    old = await site.start(SHAPES[shape])
    value = await site.value(old)
    plan = await site.planner.plan(Launch(owner=OWNER, resume_from=old, resume_mode=mode))
    run = await resumed(site, old, mode)
    assert await site.value(run) == value
    assert (site.agents.asked, plan.misses) == ([], 0)
    outcome = (await site.record(run))["outcome"]
    assert (outcome["cached"], outcome["done"]) == (outcome["planned"], 0) and outcome["planned"] > 5


async def test_w159_mode_none_asks_every_agent_again(site: Site) -> None:
    old = await site.start(SHAPES["fan"])
    value = await site.value(old)
    asked = sorted(site.agents.asked)
    run = await resumed(site, old, "none")
    assert await site.value(run) == value
    assert sorted(site.agents.asked) == asked and (await site.record(run))["outcome"]["cached"] == 0


async def test_w155_resume_is_a_run_of_its_own_and_leaves_the_old_one_as_it_was(site: Site) -> None:
    old = await stopped(site)
    before = (await site.store.find(old), await site.store.lines(old))
    run = await resumed(site, old)
    await site.value(run)
    record = await site.record(run)
    assert run != old and (record["resumed_from"], record["resume_mode"]) == (old, "lineage")
    assert (await site.store.find(old), await site.store.lines(old)) == before
    results = [line for line in await site.runs.lines(run) if isinstance(line, ResultLine)]
    assert [line.index for line in results if line.cached] == [0, 2]
    assert all(line.agent_id is None for line in results if line.cached)


async def test_w157_stopped_run_pays_in_lineage_only_what_was_not_done(site: Site) -> None:
    run = await resumed(site, await stopped(site))
    value = await site.value(run)
    assert site.agents.asked == ["look at b this waits", f"sum of {','.join(value['parts'])}"]


async def test_w156_stopped_run_pays_in_prefix_whatever_started_later(site: Site) -> None:
    run = await resumed(site, await stopped(site), "prefix")
    value = await site.value(run)
    assert site.agents.asked == ["look at b this waits", "look at c", f"sum of {','.join(value['parts'])}"]


async def test_w157_run_whose_process_died_is_resumed_as_a_new_one(shared_home: Home, site: Site) -> None:
    old = await site.start(PARTS, args=THREE, has_args=True)
    await site.until(old, lambda record: record["outcome"]["done"] == 2)
    await site.die()
    async with opened_site(shared_home, "p2") as next_one:
        next_one.agents.let_go.set()
        await next_one.take_over(shared_home)
        await next_one.until_state(old, "paused")
        run = await resumed(next_one, old)
        assert (await next_one.value(run))["parts"][0].startswith("look at a")
        assert next_one.agents.asked[0] == "look at b this waits" and len(next_one.agents.asked) == 2


async def test_w157_failed_run_goes_on_with_other_args_where_its_calls_are_the_same(site: Site) -> None:
    args = msgspec.Raw(b'{"parts": ["a", "b"], "fails": true}')
    old = await site.start(PARTS, args=args, has_args=True)
    assert (await site.until_state(old, "failed"))["failure"]["detail"] == "script_threw"
    run = await resumed(site, old, args=msgspec.Raw(b'{"parts": ["a", "b"]}'), has_args=True)
    value = await site.value(run)
    assert site.agents.asked == [f"sum of {','.join(value['parts'])}"]


async def test_w36_args_left_out_are_those_of_the_old_run(site: Site) -> None:
    run = await resumed(site, await stopped(site))
    assert len((await site.value(run))["parts"]) == 3
    spec = (await site.runs.recorded(run)).spec
    assert msgspec.json.decode(bytes(spec.args)) == msgspec.json.decode(THREE)  # type: ignore[arg-type]


async def test_w36_other_args_are_taken_and_recorded(site: Site) -> None:
    other = msgspec.Raw(b'{"parts": ["a", "d"]}')
    run = await resumed(site, await stopped(site), args=other, has_args=True)
    assert len((await site.value(run))["parts"]) == 2
    assert site.agents.asked[0] == "look at d"
    spec = (await site.runs.recorded(run)).spec
    assert msgspec.json.decode(bytes(spec.args)) == {"parts": ["a", "d"]}  # type: ignore[arg-type]


async def test_w117_budget_of_a_resume_counts_what_is_replayed(site: Site) -> None:
    old = await site.start(PARTS, args=msgspec.Raw(b'{"parts": ["a", "b"]}'), has_args=True)
    value = await site.value(old)
    run = await resumed(site, old)
    assert (await site.value(run))["spent"] == value["spent"] > 0
    usage = (await site.record(run))["usage"]
    assert (usage["new"]["total_tokens"], usage["replayed"]["requests"]) == (0, 3)


@pytest.mark.parametrize(
    ("script", "state"),
    [("await agent('this waits')", "running"), ("return 1", "completed"), ("await agent('throws')", "failed")],
    ids=["running", "without agents", "without results"],
)
async def test_w154_run_with_nothing_to_take_over_is_refused(site: Site, script: str, state: str) -> None:
    old = await site.start(f"export const meta = {{name: 'n', description: 'd'}}\n{script}")
    await site.until_state(old, state)
    with pytest.raises(RunError) as refused:
        await resumed(site, old)
    assert refused.value.kind == "nothing_to_resume"
    rows = await site.readings.rows(ALICE, session=None, states=(), before=None, most=9)
    assert [row["id"] for row in rows] == [old]


async def test_w154_run_that_is_not_there_or_somebody_elses_is_not_found(site: Site) -> None:
    old = await stopped(site)
    bob = msgspec.structs.replace(OWNER, user="bob")
    for owner, run in ((OWNER, RunId("wf_nowhere")), (bob, old)):
        with pytest.raises(RunError) as refused:
            await site.desk.start(Launch(owner=owner, resume_from=run), idempotency=None)
        assert refused.value.kind == "not_found"


async def test_w162_plan_says_beforehand_what_the_resume_then_does(site: Site) -> None:
    old = await stopped(site)
    plan = await site.planner.plan(Launch(owner=OWNER, resume_from=old))
    assert site.agents.asked.count("look at b this waits") == 1
    run = await resumed(site, old)
    await site.value(run)
    outcome = (await site.record(run))["outcome"]
    assert (plan.hits, outcome["done"]) == (outcome["cached"], 2)


async def test_w155_resume_of_a_resume_pays_nothing_twice(site: Site) -> None:
    first = await resumed(site, await stopped(site))
    value = await site.value(first)
    second = await resumed(site, first)
    assert await site.value(second) == value
    assert site.agents.asked == [] and (await site.record(second))["resumed_from"] == first


async def test_w149_large_value_that_was_taken_over_outlives_the_old_run(site: Site) -> None:
    script = "export const meta = {name: 'n', description: 'd'}\nreturn agent('a large one')"
    old = await site.start(script)
    await site.until_state(old, "completed")
    run = await resumed(site, old)
    assert len(await site.value(run)) == LARGE_CHARS and site.agents.asked == []
    ended = await site.store.find(run)
    assert ended is not None and await site.store.purge(ended.updated_ms) == 1
    assert await site.store.find(old) is None
    assert len((await site.readings.agent(ALICE, run, 0))["value"]) > LARGE_CHARS


async def test_w151_process_that_dies_in_the_middle_of_a_resume_pays_nothing_twice(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as first, opened_site(shared_home, "p2", auto_resume=True) as second:
        old = await stopped(first)
        first.agents.let_go.clear()
        run = await resumed(first, old)
        await first.until(run, lambda record: record["outcome"]["cached"] == 2 and len(first.agents.asked) == 1)
        await first.die()
        second.agents.let_go.set()
        await second.take_over(shared_home)
        value = await second.value(run)
        assert second.agents.asked == ["look at b this waits", f"sum of {','.join(value['parts'])}"]
        assert (await second.record(run))["outcome"]["cached"] == 2
