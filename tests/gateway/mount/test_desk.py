"""The runtime's desk as the API knows it: bodies become orders, its errors answers, its events bytes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import Any, cast, get_args

import msgspec
import pytest

from gateway.core.decisions.decision import Principal
from gateway.mount.desk import ANSWERS, MountedDesk, launch_of
from gateway.web.run_desk import (
    ApproveRun,
    DenyRun,
    MessageAgent,
    PauseRun,
    RestartAgent,
    ResumeRun,
    RunRefused,
    SaveRun,
    SkipAgent,
    StartRun,
    StopAgent,
    StopRun,
)
from runtime.core.model import RunId
from runtime.launch import Kind, Settings
from runtime.ports import RunRow, StoreAway
from runtime.stores import MemoryRunStore
from tests.runtime.driving import MODEL, Site, driving, script

ALICE = Principal("acme", "platform", "alice", "alice-laptop")
BOB = Principal("acme", "platform", "bob", "bob-laptop")
OLGA = Principal("acme", None, "olga", "olga-desk", operator=True)
LOOK = script("return await agent('look')")


@dataclass
class Mounted:
    """The desk over runs that a test plays."""

    site: Site
    desk: MountedDesk

    async def start(self, text: str = LOOK, **fields: Any) -> RunId:
        answer = await self.desk.start(ALICE, StartRun(script=text, **fields), idempotency=None)
        return RunId(answer["runId"])

    async def at_work(self) -> RunId:
        """A run whose agent waits."""
        self.site.cast.hold("look")
        run = await self.start()
        await self.site.cast.until_asked("look")
        return run

    async def order(self, run: str, order: Any, key: str | None = None) -> dict[str, Any]:
        return dict(await self.desk.control(ALICE, run, order, idempotency=key))


class AwayStore(MemoryRunStore):
    """Cannot be reached."""

    async def find(self, run: RunId) -> RunRow | None:
        raise StoreAway("the disk is full")


@pytest.fixture
async def mounted() -> AsyncGenerator[Mounted]:
    async with driving(settings=Settings(model=MODEL)) as site:
        yield mounted_on(site)


def mounted_on(site: Site) -> Mounted:
    nobody_writes = cast("Any", None)
    return Mounted(site, MountedDesk(site.desk, site.readings, site.planner, nobody_writes))


async def refused(work: Awaitable[object]) -> RunRefused:
    with pytest.raises(RunRefused) as found:
        await work
    return found.value


def test_every_error_of_the_runtime_has_an_answer() -> None:
    assert set(ANSWERS) == set(get_args(Kind))
    assert all(400 <= status < 600 for status, _ in ANSWERS.values())


def test_body_becomes_the_launch_of_its_sender() -> None:
    asked = launch_of(
        OLGA, StartRun(script="x", max_cost_usd=1.5, args=msgspec.Raw(b"null"), resume_from_run_id="wf_a")
    )
    assert (asked.owner.user, asked.max_cost_nanousd, asked.resume_from) == ("olga", 1_500_000_000, "wf_a")
    assert asked.has_args and asked.args is not None and bytes(asked.args) == b"null"
    assert not launch_of(OLGA, StartRun(script="x")).has_args


async def test_w03_started_run_is_the_senders(mounted: Mounted) -> None:
    run = await mounted.start()
    await mounted.site.ended(run)
    assert (await mounted.desk.record(ALICE, run))["state"] == "completed"
    assert json.loads(bytes((await mounted.desk.result(ALICE, run))["value"])) == "re look"


async def test_w138_start_with_a_key_is_one_run_for_each_sender(mounted: Mounted) -> None:
    starts = [
        (await mounted.desk.start(who, StartRun(script=LOOK), idempotency="k"))["runId"] for who in (ALICE, ALICE, BOB)
    ]
    assert starts[0] == starts[1] != starts[2]


async def test_w04_invalid_script_is_a_400_with_code_and_place(mounted: Mounted) -> None:
    error = await refused(mounted.desk.start(ALICE, StartRun(script="return 1"), idempotency=None))
    assert (error.status, error.error_type) == (400, "invalid_script")
    assert (error.detail["code"], error.detail["line"]) == ("meta_missing", 1)


async def test_w137_run_of_another_is_a_404_and_an_operator_meets_it(mounted: Mounted) -> None:
    run = await mounted.start()
    error = await refused(mounted.desk.record(BOB, run))
    assert (error.status, error.error_type) == (404, "not_found_error")
    assert (await mounted.desk.record(OLGA, run))["id"] == run
    assert [row["id"] for row in await mounted.desk.rows(OLGA, session=None, states=(), before=None, most=9)] == [run]


async def test_store_that_is_away_is_a_503_that_says_so() -> None:
    async with driving(store=AwayStore()) as site:
        error = await refused(mounted_on(site).desk.record(ALICE, "wf_aaaaaa"))
        assert (error.status, error.message) == (503, "the store of runs is away: the disk is full")


async def test_w129_pause_resume_and_stop_are_carried_out(mounted: Mounted) -> None:
    run = await mounted.at_work()
    assert (await mounted.order(run, PauseRun(why="lunch")))["pauses"][0]["message"] == "lunch"
    assert (await mounted.order(run, ResumeRun(max_cost_usd=2)))["budget"]["cost"]["cap_nanousd"] == 2_000_000_000
    assert (await mounted.order(run, StopRun()))["state"] == "stopped"
    error = await refused(mounted.order(run, PauseRun()))
    assert (error.status, error.error_type, error.detail["state"]) == (409, "conflict_error", "stopped")


async def test_reason_that_a_person_gives_is_recorded_with_every_order() -> None:
    async with driving(settings=Settings(model=MODEL, asks=True)) as site:
        mounted = mounted_on(site)
        site.cast.hold("look")
        run = await mounted.start(script("return await agent('look')"))
        for order in (ApproveRun(why="yes"), PauseRun(why="lunch"), ResumeRun(why="back"), StopRun(why="enough")):
            await mounted.order(run, order)
        lines = [msgspec.json.decode(line) for line in await mounted.desk.journal(ALICE, run, after=0, most=99)]
        said = [line["message"] for line in lines if line["type"] == "state" and "message" in line]
        assert said[1:] == ["yes", "lunch", "back", "enough"] and lines[-1]["message"] == "enough"


async def test_w138_order_with_a_key_is_carried_out_once(mounted: Mounted) -> None:
    run = await mounted.at_work()
    first = await mounted.order(run, PauseRun(), "k")
    assert await mounted.order(run, StopRun(), "k") == first
    assert (await mounted.desk.record(ALICE, run))["state"] == "paused"


async def test_w132_w133_w134_orders_to_agents_are_carried_out(mounted: Mounted) -> None:
    body = (
        "return [await agent('look'), await agent('look', {label: 'b'}), agent.lastError('look'), agent.lastError('b')]"
    )
    mounted.site.cast.hold("look")
    run = await mounted.start(script(body))
    for index, order, times in ((0, RestartAgent(), 1), (0, StopAgent(), 2), (1, SkipAgent(), 3)):
        await mounted.site.cast.until_asked("look", times)
        await mounted.desk.control_agent(ALICE, run, index, order, idempotency=None)
    assert [str(each) for each in await mounted.site.value(run)][:2] == ["None", "None"]
    agents = await mounted.desk.agents(ALICE, run, after=None, most=9)
    assert [agent["state"] for agent in agents] == ["stopped", "skipped"]


async def test_w136_message_is_told_to_the_agent(mounted: Mounted) -> None:
    run = await mounted.at_work()
    await mounted.desk.control_agent(ALICE, run, 0, MessageAgent(text="look at b too"), idempotency=None)
    await mounted.desk.control_agent(ALICE, run, 0, RestartAgent(), idempotency=None)
    await mounted.site.cast.until_asked("look", 2)
    assert mounted.site.cast.heard == ["look at b too"]


async def test_w135_script_is_saved_and_started_by_name(mounted: Mounted) -> None:
    run = await mounted.start()
    assert (await mounted.order(run, SaveRun(name="look")))["name"] == "look"
    await mounted.site.value(RunId((await mounted.desk.start(ALICE, StartRun(name="look"), idempotency=None))["runId"]))


@pytest.mark.parametrize(
    ("order", "state"), [(ApproveRun(), "completed"), (DenyRun(why="no"), "denied")], ids=["yes", "no"]
)
async def test_w140_run_that_waits_is_approved_or_denied(order: ApproveRun | DenyRun, state: str) -> None:
    async with driving(settings=Settings(model=MODEL, asks=True)) as site:
        mounted = mounted_on(site)
        run = await mounted.start()
        assert (await mounted.desk.record(ALICE, run))["state"] == "pending_approval"
        await mounted.order(run, order)
        assert (await site.ended(run))["state"] == state


async def test_w140_card_says_whether_a_person_would_be_asked(mounted: Mounted) -> None:
    assert (await mounted.desk.check(ALICE, StartRun(script=LOOK)))["approval"] == {"needed": False, "reason": None}
    async with driving(settings=Settings(model=MODEL, asks=True)) as site:
        approval = (await mounted_on(site).desk.check(ALICE, StartRun(script=LOOK)))["approval"]
        assert approval["needed"] and approval["reason"]


async def test_w140_card_of_a_run_says_what_it_waits_for() -> None:
    async with driving(settings=Settings(model=MODEL, asks=True)) as site:
        mounted = mounted_on(site)
        run = await mounted.start()
        card = await mounted.desk.card_of(ALICE, run)
        assert card["script"] == LOOK and card["approval"]["needed"] and card["approval"]["reason"]
        await mounted.order(run, ApproveRun())
        await site.ended(run)
        assert not (await mounted.desk.card_of(ALICE, run))["approval"]["needed"]


async def test_w162_plan_of_a_resume_is_shown_and_nothing_starts(mounted: Mounted) -> None:
    run = await mounted.start()
    await mounted.site.ended(run)
    plan = await mounted.desk.plan_resume(ALICE, run, StartRun())
    assert (plan["hits"], plan["misses"]) == (1, 0) and len(mounted.site.cast.asked) == 1


async def test_w179_events_are_bytes_with_their_number_and_the_stream_ends(mounted: Mounted) -> None:
    run = await mounted.start()
    await mounted.site.ended(run)
    listed = await mounted.desk.events(ALICE, run, after=0, types=(), most=99)
    async with asyncio.timeout(30):
        followed = [event async for event in await mounted.desk.follow(ALICE, run, after=0)]
    assert [event.seq for event in followed if event.seq is not None] == [event.seq for event in listed]
    assert json.loads(listed[0].text)["type"] == listed[0].type == "workflow_run.created"


async def test_w182_snapshot_between_events_has_no_number(mounted: Mounted) -> None:
    run = await mounted.at_work()
    async for event in await mounted.desk.follow(ALICE, run, after=0):
        if event.seq is None:
            assert event.type == "progress" and json.loads(event.text)["run"]["id"] == run
            break


async def test_w148_journal_is_handed_on_as_it_is_kept(mounted: Mounted) -> None:
    run = await mounted.start()
    await mounted.site.ended(run)
    kept = [text for _, text in await mounted.site.store.lines(run)]
    assert await mounted.desk.journal(ALICE, run, after=0, most=99) == kept


async def test_w176_values_and_agents_are_read_by_index(mounted: Mounted) -> None:
    run = await mounted.start()
    await mounted.site.ended(run)
    assert (await mounted.desk.agent(ALICE, run, 0))["prompt"] == "look"
    assert len((await mounted.desk.values(ALICE, run, after=-1, offset=0, label=None))["values"]) == 1
