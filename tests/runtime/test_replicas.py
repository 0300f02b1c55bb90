"""A run is read alike by way of any process: from memory where it is driven, from the store elsewhere."""

import asyncio
from collections.abc import Sequence
from typing import Any

from runtime.core.model import RunId
from runtime.ports import EventRow
from runtime.readings import Progress
from tests.runtime.sites import ALICE, Site, opened_site, pass_seconds
from tests.runtime.stores.homes import Home

SCRIPT = """
export const meta = {name: 'read', description: 'Read from anywhere', phases: [{title: 'look'}]}
phase('look')
const found = await parallel([() => agent('a quick one', {label: 'quick'}), () => agent('this waits')])
log('both are there')
return {found, end: await agent('end')}
"""


async def waiting(site: Site) -> RunId:
    """A run with one result, whose other agent has used tokens and waits."""
    run = await site.start(SCRIPT)
    await site.until(run, lambda record: record["outcome"]["done"] == 1 and record["usage"]["new"]["requests"] == 2)
    return run


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Times of reading left out."""
    phases = [{key: value for key, value in phase.items() if not key.endswith("_ms")} for phase in record["phases"]]
    return {key: value for key, value in record.items() if not key.endswith("_ms")} | {"phases": phases}


async def test_w93_record_read_elsewhere_has_what_running_agents_used_a_second_ago(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as driver, opened_site(shared_home, "p2") as other:
        run = await waiting(driver)
        await pass_seconds(0.6)
        await driver.runs.refresh()
        there = await driver.record(run)
        here = await other.until(run, lambda record: record["usage"] == there["usage"])
        assert without_times(here) == without_times(there)
        assert here["usage"]["new"]["requests"] == 2 and here["agents"] == {
            "total": 2,
            "empty": 0,
            "done": 1,
            "running": 1,
        }


async def test_idle_run_is_not_written_again_and_again(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as driver, opened_site(shared_home, "p2") as other:
        run = await waiting(driver)
        await pass_seconds(0.6)
        await driver.runs.refresh()
        await other.until(run, lambda record: record["usage"]["new"]["requests"] == 2)
        row = await other.store.find(run)
        await pass_seconds(0.6)
        await driver.runs.refresh()
        assert await other.store.find(run) == row


async def test_w176_agents_and_result_read_elsewhere_are_those_of_the_journal(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as driver, opened_site(shared_home, "p2") as other:
        run = await waiting(driver)
        rows = await other.readings.agents(ALICE, run, after=-1, most=10)
        assert [(row["index"], row["label"], row["state"]) for row in rows] == [
            (0, "quick", "done"),
            (1, "this waits", "running"),
        ]
        assert (await other.readings.agent(ALICE, run, 0))["value"] is not None
        driver.agents.let_go.set()
        assert await other.value(run) == await driver.value(run)


async def gather_events(site: Site, run: RunId, after: int = 0) -> tuple[list[EventRow], list[Progress]]:
    """All that is told to whoever follows."""
    events: list[EventRow] = []
    snapshots: list[Progress] = []
    async for each in await site.readings.follow(ALICE, run, after=after):
        (events.append if isinstance(each, EventRow) else snapshots.append)(each)  # type: ignore[arg-type]
    return events, snapshots


def assert_whole(events: Sequence[EventRow]) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "workflow_run.status_ended"


async def test_w179_run_followed_elsewhere_is_told_whole_with_snapshots(shared_home: Home) -> None:
    async with opened_site(shared_home, "p1") as driver, opened_site(shared_home, "p2") as other:
        run = await waiting(driver)
        following = [site.tasks.spawn("follows", gather_events(site, run)) for site in (driver, other)]
        await pass_seconds(0.6)
        driver.agents.let_go.set()
        (live, _), (read, snapshots) = await asyncio.gather(*following)
        assert_whole(read)
        assert live == read
        assert snapshots and {each.record["id"] for each in snapshots} == {run}


async def test_w179_follower_loses_no_event_when_the_run_goes_to_another_process(shared_home: Home) -> None:
    async with (
        opened_site(shared_home, "p1") as old,
        opened_site(shared_home, "p2", auto_resume=True) as new,
        opened_site(shared_home, "p3") as third,
    ):
        run = await waiting(old)
        following = [site.tasks.spawn("follows", gather_events(site, run)) for site in (new, third)]
        await old.die()
        new.agents.let_go.set()
        await new.take_over(shared_home)
        for events, _ in await asyncio.gather(*following):
            assert_whole(events)
