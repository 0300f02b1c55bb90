"""The process that drives a run is gone: who goes on with it, from where, and what the old one can still do."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from runtime.core import happenings as on
from runtime.core.journal import ResultLine, StartedLine, StateLine, StoppedLine
from runtime.core.model import RunId
from runtime.launch import RunError
from runtime.ports import Lease, RunStore
from tests.runtime.sites import ALICE, PATIENCE_SECONDS, Site, opened_site, pass_seconds
from tests.runtime.stores.homes import Home, begin, run_row

SCRIPT = """
export const meta = {name: 'half', description: 'Half done'}
const first = await agent('done before')
const both = await parallel([() => agent('this waits'), () => agent('this is quick')])
return {first, both, end: await agent('end')}
"""


async def half_done(site: Site) -> RunId:
    """A run with two results whose third agent is at work."""
    run = await site.start(SCRIPT)
    await site.until(run, lambda record: record["outcome"]["done"] == 2 and record["agents"].get("running") == 1)
    return run


async def test_w127_run_whose_process_died_is_paused_until_somebody_resumes_it(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        run = await half_done(old)
        await old.die()
        await new.take_over(shared_home)
        record = await new.until_state(run, "paused")
        assert [pause["reason"] for pause in record["pauses"]] == ["host_restart"]
        new.agents.let_go.set()
        assert new.agents.asked == []
        await new.desk.change(ALICE, run, "resume")
        assert (await new.value(run))["end"].startswith("end")
        assert new.agents.asked == ["this waits", "end"]


async def test_w127_run_goes_on_by_itself_where_policy_says_so(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2", auto_resume=True) as new:
        run = await half_done(old)
        await old.die()
        new.agents.let_go.set()
        await new.take_over(shared_home)
        assert (await new.value(run))["first"].startswith("done before")
        assert new.agents.asked == ["this waits", "end"]


async def test_w150_attempt_of_a_process_that_died_gets_its_last_line_from_the_next(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2", auto_resume=True) as new:
        run = await half_done(old)
        await old.die()
        new.agents.let_go.set()
        await new.take_over(shared_home)
        await new.value(run)
        lines = await new.runs.lines(run)
        (stopped,) = [line for line in lines if isinstance(line, StoppedLine)]
        starts = [line for line in lines if isinstance(line, StartedLine) and line.index == stopped.index]
        (result,) = [line for line in lines if isinstance(line, ResultLine) and line.index == stopped.index]
        assert (stopped.reason, stopped.seq, stopped.attempt) == ("interrupted", None, 1)
        assert [each.attempt for each in starts] == [1, 2] and (result.key, result.attempt) == (stopped.key, 2)


async def test_w150_process_that_leaves_in_good_order_closes_its_attempts_itself(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        run = await half_done(old)
        await old.runs.close()
        last = (await new.runs.lines(run))[-2:]
        assert isinstance(last[0], StoppedLine) and last[0].reason == "interrupted"
        assert isinstance(last[1], StateLine) and last[1].reason == "host_restart"
        await new.runs.take_over()
        assert new.runs.driven.keys() == {run}


async def test_w127_old_process_that_wakes_up_again_writes_nothing_more(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        run = await half_done(old)
        former = old.driven(run)
        await new.take_over(shared_home)
        while not isinstance((await new.runs.lines(run))[-1], StateLine):
            await asyncio.sleep(0)
        lines = await new.store.lines(run)
        old.agents.let_go.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not former.left:
                await former.changed.wait()
        assert await new.store.lines(run) == lines
        assert run not in old.runs.driven and new.driven(run).machine.state == "paused"


async def test_w127_agent_of_a_process_that_stood_still_asks_no_model_for_a_run_of_another(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        run = await half_done(old)
        former = old.driven(run)
        await new.take_over(shared_home)
        old.clock.ahead_ms = new.clock.ahead_ms
        old.agents.let_go.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not former.left:
                await former.changed.wait()
        await old.die()
        assert old.agents.requests == ["done before", "this waits", "this is quick"]


async def test_w127_process_that_stood_still_goes_on_with_a_run_that_nobody_took(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as site:
        run = await half_done(site)
        shared_home.pass_ms(60_000)
        site.clock.ahead_ms = 60_000
        site.agents.let_go.set()
        assert (await site.value(run))["end"].startswith("end")
        assert site.agents.requests.count("this waits") == 2


async def test_w127_lease_that_was_lost_is_noticed_when_it_is_renewed(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        run = await half_done(old)
        former = old.driven(run)
        await new.take_over(shared_home)
        await old.runs.renew()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while run in old.runs.driven:
                await asyncio.sleep(0)
        assert former.left and new.driven(run).machine.state == "paused"


async def test_w127_only_one_of_many_takes_a_run_over(shared_home: Home) -> None:
    async with (
        opened_site(shared_home, "p1") as old,
        opened_site(shared_home, "p2") as second,
        opened_site(shared_home, "p3") as third,
    ):
        run = await half_done(old)
        await old.die()
        shared_home.pass_ms(60_000)
        second.clock.ahead_ms = third.clock.ahead_ms = 60_000
        await asyncio.gather(second.runs.take_over(), third.runs.take_over())
        assert [run in site.runs.driven for site in (second, third)].count(True) == 1


async def test_w130_run_that_a_person_paused_stays_so_when_it_is_taken_over(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2", auto_resume=True) as new:
        run = await half_done(old)
        await old.desk.change(ALICE, run, "pause")
        await old.die()
        await new.take_over(shared_home)
        new.agents.let_go.set()
        assert [pause["reason"] for pause in (await new.record(run))["pauses"]] == ["person"]
        assert (await new.desk.change(ALICE, run, "resume"))["state"] == "running"
        assert (await new.value(run))["both"][1].startswith("this is quick")


async def test_w140_run_that_waits_for_an_approval_still_does_after_a_takeover(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1", asks=True) as old, opened_site(shared_home, "p2", asks=True) as new:
        run = await old.start(SCRIPT)
        await old.die()
        new.agents.let_go.set()
        await new.take_over(shared_home)
        assert (await new.record(run))["state"] == "pending_approval" and new.agents.asked == []
        await new.desk.approve(ALICE, run, always=False, sha256=None)
        assert (await new.value(run))["end"].startswith("end")


async def test_run_that_cannot_be_read_keeps_no_other_from_being_taken_over(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        await begin(old.store, run_row("wf_damaged", at_ms=1), "this is no line of a journal")
        run = await half_done(old)
        await old.die()
        await new.take_over(shared_home)
        assert new.runs.driven.keys() == {run}


class SlowStore:
    """Renewing leases takes until it is said to be done."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def renew(self, leases: Sequence[Lease], now_ms: int, *, ttl_ms: int) -> Sequence[Lease]:
        held = await self._store.renew(leases, now_ms, ttl_ms=ttl_ms)
        self.asked.set()
        await self.answers.wait()
        return held


async def test_run_that_begins_while_leases_are_renewed_is_kept(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as other:
        slow = SlowStore(await shared_home.open())
        site = Site(cast("RunStore", slow), "p2", other.settings, other.clock)
        renewing = site.tasks.spawn("renews", site.runs.renew())
        await slow.asked.wait()
        run = await half_done(site)
        slow.answers.set()
        await renewing
        assert not site.driven(run).left
        site.agents.let_go.set()
        assert (await site.value(run))["end"].startswith("end")
        await site.die()


async def test_control_after_the_lease_was_lost_is_refused_or_done_by_the_new_driver(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as old, opened_site(shared_home, "p2") as new:
        run = await half_done(old)
        await new.take_over(shared_home)
        with pytest.raises(RunError, match="another process"):
            await old.runs.tell(run, on.PauseAsked("person", by="alice"))
        old.clock.ahead_ms = new.clock.ahead_ms
        assert (await old.desk.change(ALICE, run, "stop"))["state"] == "stopped"
        assert (await new.record(run))["state"] == "stopped"


class SlowLibrary:
    """Finds the script `slow` only after a while."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def saved_script(self, owner: str, name: str) -> str | None:
        await pass_seconds(0.1 if name == "slow" else 0.0)
        return await self._store.saved_script(owner, name)


async def test_w41_nested_workflows_begin_in_the_order_in_which_the_script_asks_for_them(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as other:
        for name in ("slow", "quick"):
            script = f"export const meta = {{name: '{name}', description: 'd'}}\nreturn agent('{name}')"
            await other.store.save_script(ALICE.user, name, script, replace=True, now_ms=0)
        site = Site(cast("RunStore", SlowLibrary(other.store)), "p2", other.settings, other.clock)
        both = "return parallel([() => workflow('slow'), () => workflow('quick')])"
        await site.value(await site.start(f"export const meta = {{name: 'both', description: 'd'}}\n{both}"))
        assert site.agents.asked == ["slow", "quick"]
        await site.die()
