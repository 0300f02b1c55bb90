"""Runs that a policy wants approved: whoever decides may take longer than the run stays awake, and may be too late."""

import asyncio

import pytest

from runtime.core.model import RunId
from runtime.ports import Verdict
from runtime.runs import SLEEP_MS
from tests.runtime.driving import ALICE, Site, driving

LOOK = "return await agent('look')"


async def asked(site: Site) -> tuple[RunId, "asyncio.Future[Verdict]"]:
    """A run that waits, and the future that answers for whoever approves it."""
    site.admission.run = Verdict(True, ask="it is large")
    site.admission.approval = asyncio.get_running_loop().create_future()
    run = await site.start(LOOK)
    await site.in_state(run, "pending_approval")
    return run, site.admission.approval


async def asleep(site: Site, run: RunId) -> None:
    while site.runs.driven[run].idle_since_ms is None:
        await asyncio.sleep(0)
    site.clock.advance(SLEEP_MS / 1000)
    await site.runs.let_sleep()
    while run in site.runs.driven:
        await asyncio.sleep(0)


@pytest.mark.parametrize(("allow", "state"), [(True, "completed"), (False, "denied")], ids=["yes", "no"])
async def test_w141_approval_that_comes_while_the_run_sleeps_is_heard(allow: bool, state: str) -> None:
    async with driving() as site:
        run, approval = await asked(site)
        await asleep(site, run)
        approval.set_result(Verdict(allow, by="olga"))
        while (record := await site.show(run))["state"] in ("pending_approval", "queued", "running"):
            await asyncio.sleep(0)
        assert record["state"] == state


async def test_w121_question_about_a_run_that_was_stopped_is_taken_back() -> None:
    async with driving() as site:
        run, approval = await asked(site)
        await site.desk.change(ALICE, run, "stop")
        while not approval.cancelled():
            await asyncio.sleep(0)
        assert (await site.show(run))["state"] == "stopped"


async def test_run_that_is_woken_is_not_asked_about_again() -> None:
    async with driving() as site:
        run, approval = await asked(site)
        await asleep(site, run)
        site.admission.approval = None
        await site.runs.wake(run)
        assert (await site.show(run))["state"] == "pending_approval"
        approval.set_result(Verdict(True, by="olga"))
        assert (await site.ended(run))["state"] == "completed"
