"""What people read of runs: live where they are driven, else from the journal, and only what is theirs."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from runtime.core.model import Finished, RunId, Thrown
from runtime.launch import RunError
from runtime.ports import EventRow
from runtime.readings import Progress
from runtime.runner import SNAPSHOT_SECONDS
from tests.runtime.driving import ALICE, BOB, OLGA, Site, driving

LOOK = "return await agent('look')"
BOTH = "phase('scan')\nreturn await parallel(['a', 'b'].map(p => () => agent(p)))"


async def shown(site: Site, **asked: Any) -> list[str]:
    """Names of runs, newest first."""
    rows = await site.readings.rows(
        asked.get("viewer", ALICE), **{"session": None, "states": (), "before": None, "most": 9} | asked.get("by", {})
    )
    return [row["id"] for row in rows]


async def read(site: Site, run: str, enough: Callable[[list[EventRow | Progress]], bool]) -> list[EventRow | Progress]:
    """What somebody who follows it is told, until they have seen enough or it ends."""
    seen: list[EventRow | Progress] = []
    async for each in await site.readings.follow(ALICE, run, after=0):
        seen.append(each)
        if enough(seen):
            break
    return seen


def numbers(seen: list[EventRow | Progress]) -> list[int]:
    return [each.seq for each in seen if isinstance(each, EventRow)]


async def test_w137_users_see_their_own_runs_and_an_operator_all() -> None:
    async with driving() as site:
        run = await site.start("return 1")
        assert (await shown(site), await shown(site, viewer=OLGA), await shown(site, viewer=BOB)) == ([run], [run], [])
        with pytest.raises(RunError) as others:
            await site.readings.record(BOB, run)
        with pytest.raises(RunError) as unknown:
            await site.readings.record(BOB, "wf_000000")
        assert others.value.message.replace(run, "X") == unknown.value.message.replace("wf_000000", "X")


async def test_runs_are_listed_newest_first_by_session_state_and_page() -> None:
    async with driving() as site:
        site.cast.hold("look")
        first = await site.start("return 1", session="s-1")
        await site.ended(first)
        site.clock.advance(1)
        second = await site.start(LOOK, session="s-2")
        assert await shown(site) == [second, first]
        assert await shown(site, by={"session": "s-1"}) == await shown(site, by={"states": ("completed",)}) == [first]
        assert await shown(site, by={"before": second}) == [first] and await shown(site, by={"most": 1}) == [second]


async def test_w91_record_is_live_while_it_runs_and_the_same_from_the_store_when_it_is_over() -> None:
    async with driving() as site:
        site.cast.hold("b")
        run = await site.start(BOTH)
        record = await site.until(run, lambda record: record["agents"].get("done") == 1)
        assert record["agents"]["running"] == 1 and record["phases"][0]["title"] == "scan"
        site.cast.hold("b").set()
        over = await site.ended(run)
        while run in site.runs.driven:
            await asyncio.sleep(0)
        assert await site.readings.record(ALICE, run) == over and over["outcome"]["done"] == 2


async def test_w176_agent_shows_its_prompt_and_value_and_the_record_does_not() -> None:
    async with driving() as site:
        run = await site.start(BOTH)
        record = await site.ended(run)
        agent = await site.readings.agent(ALICE, run, 1)
        assert (agent["prompt"], json.loads(bytes(agent["value"]))) == ("b", "re b")
        assert "re b" not in json.dumps(record)
        assert [row["index"] for row in await site.readings.agents(ALICE, run, after=0, most=9)] == [1]


async def test_agent_that_threw_shows_its_error_and_an_unknown_one_is_told() -> None:
    async with driving(lambda task: Finished(thrown=Thrown(code="limit", message="too much"))) as site:
        run = await site.start("try { await agent('look') } catch { return 1 }")
        await site.ended(run)
        agent = await site.readings.agent(ALICE, run, 0)
        assert agent["value"] is None and agent["error"].message == "too much"
        with pytest.raises(RunError, match="has no agent 7"):
            await site.readings.agent(ALICE, run, 7)


async def test_w54_agent_that_gave_null_shows_why() -> None:
    async with driving(lambda task: Finished(null="empty", detail="it said nothing")) as site:
        run = await site.start(LOOK)
        await site.ended(run)
        assert (await site.readings.agent(ALICE, run, 0))["reason"] == "empty"


async def test_w176_result_of_an_open_run_is_refused() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        with pytest.raises(RunError, match="it has no result yet") as refused:
            await site.readings.result(ALICE, run)
        assert refused.value.kind == "conflict"


async def test_failed_run_has_its_failure_for_a_result() -> None:
    async with driving() as site:
        run = await site.start("throw new Error('no luck')")
        await site.ended(run)
        result = await site.readings.result(ALICE, run)
        assert (result["state"], result["failure"].detail) == ("failed", "script_threw")
        assert "no luck" in result["failure"].message


async def test_w148_journal_is_read_line_by_line() -> None:
    async with driving() as site:
        run = await site.start(LOOK)
        await site.ended(run)
        lines = [json.loads(line) for line in await site.readings.journal(ALICE, run, after=0, most=999)]
        kinds = [line["type"] for line in lines]
        assert kinds[0] == "run" and kinds[-1] == "ended"
        assert [kind for kind in kinds if kind in ("issued", "started", "result")] == ["issued", "started", "result"]
        rest = await site.readings.journal(ALICE, run, after=2, most=1)
        assert [json.loads(line) for line in rest] == [lines[2]]


async def test_events_are_read_by_number_and_type() -> None:
    async with driving() as site:
        run = await site.start(BOTH)
        await site.ended(run)
        events = await site.readings.events(ALICE, run, after=0, types=(), most=999)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        kinds = ("workflow_run.status_ended",)
        last = await site.readings.events(ALICE, run, after=0, types=kinds, most=999)
        assert [event.seq for event in last] == [len(events)]


async def test_follower_is_told_every_event_in_order_and_then_it_ends() -> None:
    async with driving() as site:
        gate = site.cast.hold("b")
        run = await site.start(BOTH)
        following = site.tasks.spawn("follower", read(site, run, lambda seen: False))
        await site.cast.until_asked("b")
        gate.set()
        await site.ended(run)
        seen = numbers(await following)
        assert seen == list(range(1, len(seen) + 1))
        assert seen[-1] == (await site.readings.events(ALICE, run, after=0, types=(), most=999))[-1].seq


async def test_follower_begins_behind_the_number_that_it_names() -> None:
    async with driving() as site:
        run = await site.start(LOOK)
        await site.ended(run)
        seen = [each async for each in await site.readings.follow(ALICE, run, after=3)]
        assert numbers(seen)[0] == 4


async def test_w182_follower_of_a_live_run_gets_snapshots_between_events() -> None:
    async with driving() as site:
        site.cast.hold("look")
        run = await site.start(LOOK)
        seen = await read(site, run, lambda seen: isinstance(seen[-1], Progress))
        last = seen[-1]
        assert isinstance(last, Progress) and last.record["state"] in ("queued", "running")


async def test_run_that_another_process_drives_is_followed_to_its_end() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        gate = site.cast.hold("look")
        run = await site.start(LOOK)
        following = other.tasks.spawn("follower", read(other, run, lambda seen: False))
        await site.cast.until_asked("look")
        gate.set()
        await site.ended(run)
        seen = await asyncio.wait_for(following, 10)
        assert numbers(seen) == list(range(1, len(numbers(seen)) + 1)) and run not in other.runs.driven
        assert isinstance(seen[-1], EventRow) and seen[-1].type == "workflow_run.status_ended"


async def test_agents_of_a_run_that_another_process_drives_are_folded_from_its_journal() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        site.cast.hold("b")
        run = await site.start(BOTH)
        await site.until(run, lambda record: record["agents"].get("done") == 1)
        rows = await other.readings.agents(ALICE, run, after=-1, most=9)
        assert [(row["label"], row["state"]) for row in rows] == [("a", "done"), ("b", "running")]


async def test_w91_run_that_another_process_drives_grows_older_between_what_it_writes_down() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.until(run, lambda record: record["agents"].get("running") == 1)
        before = await other.readings.record(ALICE, run)
        other.clock.advance(60)
        after = await other.readings.record(ALICE, run)
        assert after["elapsed_ms"] >= before["elapsed_ms"] + 60_000


async def test_w172_large_result_is_had_whole_where_it_is_pointed_to() -> None:
    async with driving() as site:
        run = await site.start("return 'x'.repeat(2 * 1024 * 1024)")
        await site.ended(run)
        result = await site.readings.result(ALICE, run)
        assert result["value"] is None and result["artefact"]["path"].endswith(f"/runs/{run}/result/artefact")
        assert len(json.loads(await site.readings.artefact(ALICE, run))) == 2 * 1024 * 1024


async def test_w173_notification_is_had_once_the_run_has_ended() -> None:
    async with driving() as site:
        gate = site.cast.hold("look")
        run = await site.start(LOOK)
        with pytest.raises(RunError) as early:
            await site.readings.notification(ALICE, run)
        gate.set()
        await site.ended(run)
        told = await site.readings.notification(ALICE, run)
        assert early.value.kind == "conflict"
        assert (told["status"], told["run_id"], told["result"]) == ("completed", run, '"re look"')


@pytest.mark.parametrize("name", ["artefact", "notification"])
async def test_w172_failed_run_has_no_artefact_and_w137_nobody_reads_anothers(name: str) -> None:
    async with driving() as site:
        run = await site.start("throw new Error('no')")
        await site.ended(run)
        with pytest.raises(RunError) as others:
            await getattr(site.readings, name)(BOB, run)
        assert others.value.kind == "not_found"
        if name == "artefact":
            with pytest.raises(RunError) as none:
                await site.readings.artefact(ALICE, run)
            assert none.value.kind == "conflict"


async def test_w181_run_is_followed_in_the_shapes_of_a_task() -> None:
    async with driving() as site:
        gate = site.cast.hold("a")
        run = await site.start(BOTH)
        told: list[dict[str, Any]] = []
        async for each in await site.readings.follow_task(ALICE, run):
            told.append(each)
            if each["subtype"] == "task_progress":
                gate.set()
        kinds = [each["subtype"] for each in told]
        assert (kinds[0], kinds[-1], kinds.count("task_notification")) == ("task_started", "task_notification", 1)
        assert [each["patch"]["status"] for each in told if each["subtype"] == "task_updated"][-1] == "completed"
        last = [each for each in told if each["subtype"] == "task_progress"][-1]["workflow_progress"]
        assert [row["state"] for row in last if row["type"] == "workflow_agent"] == ["done", "done"]
        assert told[-1]["output_file"].endswith(f"/runs/{run}/result")


async def test_w181_run_that_another_process_drives_is_followed_too() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        gate = site.cast.hold("look")
        run = await site.start(LOOK)
        told: list[str] = []
        async for each in await other.readings.follow_task(ALICE, run):
            told.append(each["subtype"])
            gate.set()
        assert told[0] == "task_started" and told[-1] == "task_notification"


async def test_w127_run_whose_driver_is_gone_says_so_until_it_is_taken_up() -> None:
    async with driving() as site, driving(store=site.store, me="process b") as other:
        site.cast.hold("look")
        run = await site.start(LOOK)
        await site.until(run, lambda record: record["agents"].get("running") == 1)
        told: list[str] = []
        for seconds in (0, 4, 2, 10):
            other.clock.advance(seconds)
            (listed,) = await other.readings.rows(ALICE, session=None, states=(), before=None, most=9)
            told.append(listed["driver"])
            assert (await other.readings.record(ALICE, run))["driver"] == listed["driver"]
        assert told == ["present", "present", "silent", "none"]
        assert (await site.show(run))["driver"] == "present"


async def test_run_that_has_ended_has_no_driver() -> None:
    async with driving() as site:
        assert (await site.ended(await site.start("return 1")))["driver"] is None


async def test_w182_end_of_a_task_is_told_at_once() -> None:
    async with driving() as site:
        late, loop = list[float](), asyncio.get_running_loop()

        async def end_of(run: RunId) -> float:
            await site.ended(run)
            return loop.time()

        for prompt in "abcde":
            gate = site.cast.hold(prompt)
            run = await site.start(f"return await agent('{prompt}')")
            ending = asyncio.create_task(end_of(run))
            async for each in await site.readings.follow_task(ALICE, run):
                if any(row.get("startedAt") for row in each.get("workflow_progress", [])):
                    gate.set()
            late.append(loop.time() - await ending)
        assert min(late) < SNAPSHOT_SECONDS / 2


async def test_w91_agent_is_shown_with_its_whole_prompt() -> None:
    async with driving() as site:
        run = await site.start("return await agent('look '.repeat(5000), {label: 'l'})")
        await site.ended(run)
        shown = await site.readings.agent(ALICE, run, 0)
        assert len(shown["prompt"]) == shown["prompt_chars"] == 25_000
        assert shown["value"] is not None
