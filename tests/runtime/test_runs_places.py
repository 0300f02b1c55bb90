"""Only so many scripts have a process at once: the other runs wait asleep, and the oldest goes on first."""

import asyncio

import pytest

from runtime.core import happenings as on
from runtime.core.model import RunId
from runtime.desk import DRIVEN_PER_USER_MAX
from runtime.launch import RunError, Settings
from runtime.ports import Verdict
from runtime.runs import AWAKE_MAX, SLEEP_MS
from tests.runtime.driving import ALICE, MODEL, Site, driving, with_limits

GOES_ON = Settings(model=MODEL, auto_resume=True)


async def begun(site: Site, count: int) -> list[RunId]:
    """Runs of different ages, each with one agent that works."""
    runs: list[RunId] = []
    for number in range(count):
        site.cast.hold(f"look {number}")
        runs.append(await site.start(f"return await agent('look {number}')"))
        await site.cast.until_asked(f"look {number}")
        site.clock.advance(0.01)
    return runs


async def pass_by(site: Site) -> None:
    """Some chores, and time for what follows of them."""
    for _ in range(3):
        await site.runs.take_over()
        await site.runs.let_sleep()
        await site.runs.look_for_room()
        for _ in range(20):
            await asyncio.sleep(0)


async def states(site: Site, runs: list[RunId]) -> list[str]:
    return [(await site.show(run))["state"] for run in runs]


async def at_work(site: Site, *numbers: int) -> None:
    """Exactly these agents were asked, once each, and no other run has a script."""
    while not {f"look {number}" for number in numbers} <= set(site.cast.prompts()):
        await pass_by(site)
    await pass_by(site)
    assert sorted(site.cast.prompts()) == [f"look {number}" for number in numbers]


async def test_start_beyond_all_places_is_queued_and_begins_when_a_run_ends() -> None:
    async with driving() as site:
        site.runs.awake_max = 1
        [first] = await begun(site, 1)
        second, third = await site.start("return 2"), await site.start("return 3")
        await pass_by(site)
        assert await states(site, [first, second, third]) == ["running", "queued", "queued"]
        assert list(site.runs.driven) == [first] and list(site.runs.sleeping) == [second, third]
        site.cast.gates["look 0"].set()
        await site.ended(first)
        while (await site.show(third))["state"] != "completed":
            await pass_by(site)
        assert (await site.lines(second))[-1].at_ms <= (await site.lines(third))[-1].at_ms
        assert await states(site, [second, third]) == ["completed", "completed"]


async def test_queued_run_is_stopped_without_a_place() -> None:
    async with driving() as site:
        site.runs.awake_max = 1
        [first] = await begun(site, 1)
        second = await site.start("return 2")
        await pass_by(site)
        assert (await site.desk.change(ALICE, second, "stop"))["state"] == "stopped"
        assert await states(site, [first]) == ["running"]


async def test_run_that_is_approved_beyond_all_places_is_queued() -> None:
    async with driving() as site:
        site.runs.awake_max = 1
        await begun(site, 1)
        site.admission.run = Verdict(True, ask="look at it first")
        site.admission.approval = asyncio.get_running_loop().create_future()
        run = await site.start("return 2")
        site.admission.approval.set_result(Verdict(True, by="olga"))
        await pass_by(site)
        assert await states(site, [run]) == ["queued"]
        site.cast.gates["look 0"].set()
        while (await site.show(run))["state"] != "completed":
            await pass_by(site)


async def test_w127_restart_lets_only_as_many_go_on_as_have_a_place_the_oldest_first() -> None:
    async with driving(settings=GOES_ON) as site:
        runs = await begun(site, 4)
        await site.runs.close()
        async with driving(settings=GOES_ON, store=site.store, me="process b") as other:
            other.runs.awake_max = 2
            for number in range(4):
                other.cast.hold(f"look {number}")
            await other.runs.take_over()
            await at_work(other, 0, 1)
            assert await states(other, runs) == ["running", "running", "paused", "paused"]
            assert sorted(other.runs.sleeping) == sorted(runs[2:])
            other.cast.gates["look 0"].set()
            await other.ended(runs[0])
            await at_work(other, 0, 1, 2)
            assert await states(other, runs) == ["completed", "running", "running", "paused"]


async def test_w118_raised_limit_lets_only_as_many_go_on_as_have_a_place() -> None:
    async with driving(settings=GOES_ON) as site:
        runs = await begun(site, 3)
        for run in runs:
            site.runs.driven[run].tell(on.PauseAsked("budget", message="the team's budget is used up"))
            await site.in_state(run, "paused")
        await site.runs.close()
        async with driving(settings=GOES_ON, store=site.store, me="process b") as other:
            other.runs.awake_max = 1
            for number in range(3):
                other.cast.hold(f"look {number}")
            await pass_by(other)
            assert await states(other, runs) == ["paused"] * 3
            other.admission.left = 5
            await at_work(other, 0)
            assert await states(other, runs) == ["running", "paused", "paused"]


async def test_w126_quotas_that_were_reset_while_nothing_was_driven_wake_no_more_than_there_are_places() -> None:
    async with driving() as site:
        runs = await begun(site, 3)
        until_ms = site.clock.now_ms + 1_000
        for run in runs:
            site.runs.driven[run].tell(on.PauseAsked("quota", until_ms=until_ms, message="weekly limit"))
            await site.in_state(run, "paused")
        await site.runs.close()
        async with driving(store=site.store, me="process b") as other:
            other.runs.awake_max = 1
            other.clock.now_ms = until_ms
            for number in range(3):
                other.cast.hold(f"look {number}")
            await at_work(other, 0)
            assert await states(other, runs) == ["running", "paused", "paused"]


async def test_person_resumes_beyond_all_places_and_is_told_why_not() -> None:
    async with driving() as site:
        runs = await begun(site, 2)
        await site.desk.change(ALICE, runs[0], "pause")
        site.cast.gates["look 0"].set()
        await site.until(runs[0], lambda record: record["agents"].get("done") == 1)
        site.runs.awake_max = 1
        await pass_by(site)
        assert list(site.runs.sleeping) == [runs[0]]
        with pytest.raises(RunError, match="1 runs are at work in this gateway") as refused:
            await site.desk.change(ALICE, runs[0], "resume")
        assert refused.value.kind == "max_workflow_runs" and await states(site, runs) == ["paused", "running"]
        site.cast.gates["look 1"].set()
        await site.ended(runs[1])
        await site.desk.change(ALICE, runs[0], "resume")
        assert await site.value(runs[0]) == "re look 0"


async def test_paused_run_that_still_has_its_process_is_resumed_whatever_waits() -> None:
    async with driving() as site:
        runs = await begun(site, 2)
        await site.desk.change(ALICE, runs[0], "pause")
        site.runs.awake_max = 1
        assert (await site.desk.change(ALICE, runs[0], "resume"))["state"] == "running"


async def test_idle_run_gives_its_place_to_one_that_waits_long_before_it_would_sleep() -> None:
    async with driving() as site:
        site.runs.awake_max = 1
        [first] = await begun(site, 1)
        second = await site.start("return 2")
        await site.desk.change(ALICE, first, "pause")
        site.cast.gates["look 0"].set()
        await site.until(first, lambda record: record["agents"].get("done") == 1)
        while (await site.show(second))["state"] != "completed":
            await pass_by(site)
        assert list(site.runs.sleeping) == [first]


async def test_w105_lifetime_of_a_run_that_waits_for_a_place_ends_in_time() -> None:
    async with driving(settings=with_limits(lifetime_seconds=600.0)) as site:
        site.runs.awake_max = 1
        await begun(site, 1)
        run = await site.start("return 2")
        site.clock.advance(599)
        await pass_by(site)
        assert await states(site, [run]) == ["queued"]
        site.clock.advance(1)
        await site.runs.let_sleep()
        while (await site.show(run))["state"] != "failed":
            await asyncio.sleep(0)


async def test_run_at_rest_keeps_its_process_while_there_are_places() -> None:
    async with driving() as site:
        [run] = await begun(site, 1)
        await site.desk.change(ALICE, run, "pause")
        site.cast.gates["look 0"].set()
        await site.until(run, lambda record: record["agents"].get("done") == 1)
        site.clock.advance(SLEEP_MS / 2000)
        await pass_by(site)
        assert list(site.runs.driven) == [run]


def test_one_user_never_takes_all_places() -> None:
    assert 0 < DRIVEN_PER_USER_MAX < AWAKE_MAX
