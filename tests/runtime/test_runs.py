"""All runs of a process: begun, taken up, put to sleep, woken, lost, forgotten."""

import asyncio
from collections.abc import Callable

import pytest

from runtime.core import happenings as on
from runtime.core.model import RunId
from runtime.launch import RunError, Settings
from runtime.ports import Verdict
from runtime.runs import LEASE_MS, SLEEP_MS, DrivenElsewhere, plain_args
from tests.runtime.driving import ALICE, MODEL, Site, driving, launch, with_limits

LOOK = "return await agent('look')"
TWO = "return [await agent('first'), await agent('look')]"
GOES_ON = Settings(model=MODEL, auto_resume=True)


async def paused(site: Site, why: on.PauseAsked | None = None) -> RunId:
    """A run that was paused, by a person unless it is said otherwise: its first call is done, its second waits."""
    gate = site.cast.hold("first")
    run = await site.start(TWO)
    await site.cast.until_asked("first")
    await site.runs.tell(run, why or on.PauseAsked("person", by="alice"))
    gate.set()
    await site.until(run, lambda record: record["agents"].get("done") == 1)
    return run


async def until(site: Site, met: Callable[[], bool]) -> None:
    """Let everybody go on until it is so."""
    while not met():
        await asyncio.sleep(0)


async def asleep(site: Site, run: RunId) -> None:
    """Idle for long enough."""
    await until(site, lambda: site.runs.driven[run].idle_since_ms is not None)
    site.clock.advance(SLEEP_MS / 1000)
    await site.runs.let_sleep()
    await until(site, lambda: run not in site.runs.driven)


async def test_run_that_waits_for_a_person_sleeps_with_nothing_but_its_lease() -> None:
    async with driving() as site:
        run = await paused(site)
        await site.runs.let_sleep()
        assert run in site.runs.driven
        await asleep(site, run)
        assert list(site.runs.sleeping) == [run] and site.ear.left == [run]
        assert (await site.show(run))["state"] == "paused"


async def test_w130_run_that_slept_goes_on_where_it_was() -> None:
    async with driving() as site:
        run = await paused(site)
        await asleep(site, run)
        await site.desk.change(ALICE, run, "resume")
        assert await site.value(run) == ["re first", "re look"]
        assert site.cast.prompts() == ["first", "look"] and site.runs.sleeping == {}


async def test_sleeping_run_is_held_against_others() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        run = await paused(site)
        await asleep(site, run)
        for _ in range(3):
            site.clock.advance(LEASE_MS / 2000)
            other.clock.now_ms = site.clock.now_ms
            await site.runs.renew()
        await other.runs.take_over()
        assert other.runs.driven == {} and list(site.runs.sleeping) == [run]


async def test_w105_run_that_sleeps_past_its_lifetime_is_woken_and_fails() -> None:
    async with driving(settings=with_limits(lifetime_seconds=600.0)) as site:
        run = await paused(site)
        await asleep(site, run)
        site.clock.advance(600)
        await site.runs.let_sleep()
        record = await site.ended(run)
        assert (record["state"], record["failure"]["type"]) == ("failed", "timeout_error")


async def test_w126_run_that_sleeps_through_its_quota_is_woken_at_the_reset() -> None:
    async with driving() as site:
        until_ms = site.clock.now_ms + 10 * SLEEP_MS
        run = await paused(site, on.PauseAsked("quota", until_ms=until_ms, message="weekly limit"))
        await asleep(site, run)
        await site.runs.let_sleep()
        assert run in site.runs.sleeping
        site.clock.advance(10 * SLEEP_MS / 1000)
        await site.runs.let_sleep()
        assert await site.value(run) == ["re first", "re look"]


async def test_w118_run_that_money_has_paused_goes_on_when_there_is_room_again() -> None:
    async with driving() as site:
        gate = site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        site.runs.driven[run].tell(on.PauseAsked("budget", message="the team's budget is used up"))
        await site.in_state(run, "paused")
        await site.runs.look_for_room()
        await site.runs.look_for_room()
        assert (await site.show(run))["state"] == "paused"
        site.admission.left = 5
        await site.runs.look_for_room()
        await site.in_state(run, "running")
        gate.set()
        assert await site.value(run) == "re look"


async def test_w118_run_that_slept_while_there_was_no_money_goes_on_when_there_is() -> None:
    async with driving(settings=GOES_ON) as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        site.runs.driven[run].tell(on.PauseAsked("budget", message="the team's budget is used up"))
        await site.in_state(run, "paused")
        await site.runs.close()
        async with driving(settings=GOES_ON, store=site.store, me="process b") as other:
            await other.runs.take_over()
            await other.runs.look_for_room()
            await asleep(other, run)
            await other.runs.look_for_room()
            assert run in other.runs.sleeping
            other.admission.left = 5
            await other.runs.look_for_room()
            assert await other.value(run) == "re look"


async def test_run_that_is_driven_elsewhere_is_told_so() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        site.cast.hold("look")
        run = await site.start(LOOK)
        with pytest.raises(DrivenElsewhere):
            await other.runs.wake(run)
        with pytest.raises(RunError, match="there is no run wf_000000"):
            await other.runs.wake(RunId("wf_000000"))


async def test_run_that_has_ended_is_not_woken() -> None:
    async with driving() as site:
        run = await site.start("return 1")
        await site.ended(run)
        await until(site, lambda: run not in site.runs.driven)
        with pytest.raises(RunError, match="is completed; nothing changes it any more"):
            await site.runs.wake(run)


async def test_woken_by_many_at_once_it_is_taken_up_once() -> None:
    async with driving() as site:
        run = await paused(site)
        await asleep(site, run)
        first, second = await asyncio.gather(site.runs.wake(run), site.runs.wake(run))
        assert first is second and len(site.ear.taken) == 1


async def test_w127_process_that_leaves_hands_its_runs_over_and_the_next_takes_them_up() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(TWO)
        await site.cast.until_asked("look")
        await site.runs.close()
        async with driving(store=site.store, me="process b") as other:
            await other.runs.take_over()
            record = await other.in_state(run, "paused")
            assert [pause["reason"] for pause in record["pauses"]] == ["host_restart"] and other.ear.taken == ["paused"]
            await other.desk.change(ALICE, run, "resume")
            assert await other.value(run) == ["re first", "re look"]
            assert other.cast.prompts() == ["look"]


async def test_w127_run_goes_on_by_itself_only_where_policy_says_so() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.cast.until_asked("look")
        await site.runs.close()
        async with driving(settings=GOES_ON, store=site.store, me="process b") as other:
            await other.runs.take_over()
            assert await other.value(run) == "re look"


async def test_approval_that_policy_wants_is_asked_for_again_after_a_takeover() -> None:
    async with driving() as site:
        site.admission.run = Verdict(True, ask="forty agents")
        site.admission.approval = asyncio.get_running_loop().create_future()
        run = await site.start(LOOK)
        await site.runs.close()
        async with driving(store=site.store, me="process b") as other:
            await other.runs.take_over()
            assert await other.value(run) == "re look"


async def test_run_whose_approval_was_refused_is_denied_by_that_person() -> None:
    async with driving() as site:
        site.admission.run = Verdict(True, ask="forty agents")
        site.admission.approval = asyncio.get_running_loop().create_future()
        run = await site.start(LOOK)
        site.admission.approval.set_result(Verdict(False, "too wide", by="olga"))
        record = await site.ended(run)
        assert record["state"] == "denied" and site.cast.asked == []


async def test_w153_runs_that_ended_long_ago_are_forgotten_and_open_ones_are_not() -> None:
    async with driving(settings=Settings(model=MODEL, keep_days=2)) as site:
        over = await site.start("return 1")
        await site.ended(over)
        site.cast.hold("look")
        still = await site.start(LOOK)
        site.clock.advance(2 * 86_400 - 1)
        await site.runs.purge()
        assert await site.store.find(over) is not None
        site.clock.advance(2)
        await site.runs.purge()
        assert await site.store.find(over) is None and await site.store.find(still) is not None


async def test_w149_large_value_stands_beside_the_journal_and_is_back_in_place_when_read() -> None:
    async with driving(lambda task: "x" * 300_000) as site:
        run = await site.start("return (await agent('look')).length")
        assert await site.value(run) == 300_000
        kept = b"".join(text for _, text in await site.store.lines(run))
        assert len(kept) < 100_000 < len((await site.readings.agent(ALICE, run, 0))["value"])


async def test_w127_script_that_asks_for_much_after_each_agent_goes_on_after_a_restart() -> None:
    body = """
    for (let i = 0; i < 120; i++) { await agent('look'); for (let n = 0; n < 500; n++) phase(n % 2 ? 'a' : 'b') }
    return await agent('last')
    """
    async with driving(settings=GOES_ON) as site:
        site.cast.hold("last")
        run = await site.start(body)
        await site.cast.until_asked("last")
        await site.runs.close()
        async with driving(settings=GOES_ON, store=site.store, me="process b") as other:
            await other.runs.take_over()
            assert await other.value(run) == "re last"


async def test_args_are_the_same_however_they_are_spelt() -> None:
    async with driving() as site:
        specs = [
            (await site.desk.ready(launch("return 1", args=args))).spec for args in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
        ]
        assert plain_args(specs[0]) == plain_args(specs[1])
        assert plain_args((await site.desk.ready(launch("return 1"))).spec) != plain_args(
            (await site.desk.ready(launch("return 1", args=None))).spec
        )
