"""People ask any gateway for anything: it is done by the one that drives the run, and its answer comes back."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from runtime.core.journal import MessageLine
from runtime.core.model import RunId
from runtime.launch import RunError
from runtime.mailbox import WAIT_SECONDS
from tests.runtime.parts import WallClock
from tests.runtime.sites import ALICE, Site, opened_site
from tests.runtime.stores.homes import Home, build_home

WAITS = """
export const meta = {name: 'waits', description: 'Waits for a person'}
const both = await parallel([() => agent('this waits'), () => agent('this waits too')])
return {both, end: await agent('end')}
"""


class HastyClock(WallClock):
    """Each look at it is some seconds later."""

    def __init__(self) -> None:
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.looks * WAIT_SECONDS / 3


class SeenClock(WallClock):
    """Tells when it is looked at: whoever posted a letter does."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()

    def monotonic(self) -> float:
        self.seen.set()
        return super().monotonic()


@pytest.fixture(params=["sqlite", "postgres"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Home]:
    home = build_home(request.param, tmp_path)
    yield home
    await home.close()


@pytest.fixture
async def driver(home: Home) -> AsyncGenerator[Site]:
    async with opened_site(home, "p1") as site:
        yield site


@pytest.fixture
async def other(home: Home, driver: Site) -> AsyncGenerator[Site]:
    async with opened_site(home, "p2") as site:
        yield site


async def begun(driver: Site, **launch: object) -> RunId:
    """A run whose first two agents wait."""
    run = await driver.start(WAITS, **launch)
    await driver.until(run, lambda record: record["agents"].get("running") == 2)
    return run


async def test_w129_pause_and_resume_asked_elsewhere_are_done_by_the_driver(driver: Site, other: Site) -> None:
    run = await begun(driver)
    paused = await other.desk.change(ALICE, run, "pause", why="lunch")
    assert (paused["state"], paused["pauses"][0]["message"]) == ("paused", "lunch")
    assert driver.driven(run).machine.state == "paused" and run not in other.runs.driven
    assert (await other.desk.change(ALICE, run, "resume"))["state"] == "running"
    driver.agents.let_go.set()
    assert (await driver.value(run))["end"].startswith("end")


async def test_w131_stop_asked_elsewhere_ends_the_run(driver: Site, other: Site) -> None:
    run = await begun(driver)
    stopped = await other.desk.change(ALICE, run, "stop")
    assert (stopped["state"], stopped["outcome"]["stopped"]) == ("stopped", 2)
    assert (await other.desk.change(ALICE, run, "stop"))["state"] == "stopped"


async def test_w132_w134_w136_words_to_agents_asked_elsewhere_reach_them(driver: Site, other: Site) -> None:
    run = await begun(driver)
    told = await other.desk.change_agent(ALICE, run, 0, "message", text="Hurry up.")
    assert (told["index"], told["state"]) == (0, "running")
    assert (await other.desk.change_agent(ALICE, run, 1, "restart"))["attempts"] == 2
    assert (await other.desk.change_agent(ALICE, run, 1, "skip"))["state"] == "skipped"
    driver.agents.let_go.set()
    assert (await driver.value(run))["both"][1] is None
    assert driver.agents.heard == ["Hurry up."]
    assert sum(isinstance(line, MessageLine) for line in await driver.runs.lines(run)) == 1


async def test_w121_what_cannot_be_done_is_refused_elsewhere_as_it_is_there(driver: Site, other: Site) -> None:
    run = await begun(driver)
    for site in (driver, other):
        with pytest.raises(RunError) as refused:
            await site.desk.change(ALICE, run, "resume")
        assert (refused.value.kind, refused.value.detail) == ("conflict", {"state": "running"})
        with pytest.raises(RunError) as refused:
            await site.desk.change_agent(ALICE, run, 7, "restart")
        assert refused.value.kind == "conflict" and "agent 7" in refused.value.message


async def test_w140_run_approved_elsewhere_begins(home: Home) -> None:
    async with opened_site(home, "p1", asks=True) as driver, opened_site(home, "p2", asks=True) as other:
        run = await driver.start(WAITS)
        assert (await other.record(run))["state"] == "pending_approval"
        await other.desk.approve(ALICE, run, always=True, sha256=None)
        await driver.until_state(run, "running")
        again = await other.start(WAITS)
        assert (await other.record(again))["state"] != "pending_approval"


async def test_w138_same_key_at_two_gateways_is_one_change(driver: Site, other: Site) -> None:
    run = await begun(driver)

    async def restarted(site: Site) -> object:
        return await site.desk.once(run, "alice/k1", lambda: site.desk.change_agent(ALICE, run, 0, "restart"))

    first = await restarted(other)
    assert await restarted(driver) == first == await restarted(other)
    assert (await driver.readings.agent(ALICE, run, 0))["attempts"] == 2


async def test_run_that_nobody_drives_is_changed_by_whoever_is_asked(home: Home, driver: Site, other: Site) -> None:
    run = await begun(driver)
    await driver.runs.close()
    assert (await other.desk.change(ALICE, run, "stop"))["state"] == "stopped"


async def test_letter_to_a_driver_that_died_is_answered_by_the_next_one(home: Home, driver: Site) -> None:
    run, clock = await begun(driver), SeenClock()
    lease = driver.driven(run).lease
    await driver.die()
    async with opened_site(home, "p2", clock=clock) as other:
        asked = other.tasks.spawn("asks", other.desk.change(ALICE, run, "stop"))
        await clock.seen.wait()
        await other.store.release(lease)
        await other.runs.take_over()
        assert (await asked)["state"] == "stopped"


async def test_driver_that_does_not_answer_is_said_to_after_ten_seconds(home: Home, driver: Site) -> None:
    run = await begun(driver)
    driver.answering.cancel()
    async with opened_site(home, "p2", clock=HastyClock()) as other:
        with pytest.raises(RunError, match="did not answer within 10 s") as unanswered:
            await other.desk.change(ALICE, run, "stop")
    assert unanswered.value.kind == "unavailable"
    assert (await driver.record(run))["state"] == "running"


async def test_letter_of_another_version_is_answered_and_changes_nothing(driver: Site, other: Site) -> None:
    run = await begun(driver)
    id = await other.store.post(run, b'{"type":"run","verb":"explode","by":"alice"}', WallClock().unix_ms())
    while (answer := await other.store.outcome(run, f"letter/{id}")) is None:
        pass
    assert b"another version" in answer
    assert (await driver.record(run))["state"] == "running"
