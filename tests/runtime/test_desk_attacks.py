"""People who want more of their runs than they may have: caps, numbers, consents, names."""

import asyncio
from pathlib import Path

import pytest

from runtime.core.model import Owner, RunId
from runtime.desk import DRIVEN_PER_USER_MAX
from runtime.launch import RunError, Settings
from runtime.ports import Verdict
from tests.runtime.driving import ALICE, MODEL, OLGA, OWNER, driving, launch, script

LOOK = "return await agent('look')"
ASKS = Settings(model=MODEL, asks=True)
BOB_OWNER = Owner(user="bob", credential="bob-laptop")


async def test_w118_cap_above_the_operators_is_for_an_operator_to_give() -> None:
    async with driving(settings=Settings(model=MODEL, max_cost_nanousd=500)) as site:
        run = await site.start("const a = await agent('one'); return [a, await agent('two')]")
        await site.in_state(run, "paused")
        with pytest.raises(RunError) as refused:
            await site.desk.change(ALICE, run, "resume", cap_nanousd=10**12)
        assert refused.value.kind == "denied"
        assert (await site.desk.change(OLGA, run, "resume", cap_nanousd=10**12))["state"] == "running"
        await site.ended(run)


async def test_w11_starts_at_the_same_moment_are_counted_one_by_one() -> None:
    async with driving(settings=Settings(model=MODEL, open_per_session=3)) as site:
        gate = site.cast.hold("look")
        starts = [site.desk.start(launch(LOOK, session="s-1"), idempotency=None) for _ in range(12)]
        answers = await asyncio.gather(*starts, return_exceptions=True)
        kinds = [answer.kind for answer in answers if isinstance(answer, RunError)]
        assert (len(answers) - len(kinds), set(kinds)) == (3, {"max_workflow_runs"})
        gate.set()
        for answer in answers:
            if not isinstance(answer, BaseException):
                await site.ended(answer["runId"])


async def test_w142_always_without_a_project_is_for_its_giver_alone() -> None:
    async with driving(settings=ASKS) as site:
        await site.ended(await site.start("return 1", consent="always"))
        again = await site.desk.start(launch("return 1"), idempotency=None)
        bobs = await site.desk.start(launch("return 1", owner=BOB_OWNER), idempotency=None)
        assert (again["state"] == "pending_approval", bobs["state"]) == (False, "pending_approval")
        await site.ended(again["runId"])


async def test_w142_always_to_a_script_by_name_needs_the_hash_that_was_shown(tmp_path: Path) -> None:
    (tmp_path / "sweep.js").write_text(script("return 1"))
    async with driving(settings=ASKS, folders=[str(tmp_path)]) as site:
        wanted = launch(script_path="sweep.js", workspace=str(tmp_path), consent="always")
        with pytest.raises(RunError) as refused:
            await site.desk.start(wanted, idempotency=None)
        assert refused.value.kind == "invalid_request" and "scriptSha256" in refused.value.message


@pytest.mark.parametrize("name", ["x\0y", "../up", "Über", "a b", "-x"], ids=["nul", "dots", "umlaut", "blank", "dash"])
async def test_w166_script_is_saved_under_no_name_that_is_none(name: str) -> None:
    async with driving() as site:
        run = await site.start("return 1")
        await site.ended(run)
        with pytest.raises(RunError) as refused:
            await site.desk.save(ALICE, run, name=name, replace=True)
        assert refused.value.kind == "invalid_request"
        assert await site.store.saved_scripts(OWNER.user) == []


async def test_run_whose_session_was_stopped_ends_with_its_first_refused_agent() -> None:
    async with driving() as site:
        gate = site.cast.hold("look 0")
        run = await site.start("for (let i = 0; ; i++) await agent('look ' + i)")
        await site.cast.until_asked("look 0")
        site.admission.spawn, site.admission.stopper = Verdict(False, "stopped"), "olga"
        gate.set()
        record = await site.ended(run)
        assert (record["state"], len(site.cast.asked)) == ("stopped", 1)


@pytest.mark.parametrize("place", ["there.js", "none.js"])
async def test_w07_nothing_is_looked_for_in_a_folder_that_runs_may_not_use(tmp_path: Path, place: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "there.js").write_text(script("return 1"))
    async with driving(folders=[str(tmp_path / "root")]) as site:
        wanted = launch(script_path=place, workspace=str(tmp_path), script_sha256="0" * 64)
        with pytest.raises(RunError) as refused:
            await site.desk.start(wanted, idempotency=None)
        assert (refused.value.kind, refused.value.detail) == ("invalid_request", {})
        assert "in none of the folders" in refused.value.message


@pytest.mark.parametrize("folder", ["/a\0b", "/a\ud800b", "/" + "x" * 1_000_000], ids=["nul", "half", "long"])
@pytest.mark.parametrize("fields", [{"name": "sweep"}, {"script_path": "a.js"}], ids=["name", "path"])
async def test_w07_folder_that_cannot_be_one_is_refused(folder: str, fields: dict[str, str]) -> None:
    async with driving() as site:
        with pytest.raises(RunError) as refused:
            await site.desk.start(launch(workspace=folder, **fields), idempotency=None)
        assert refused.value.kind == "invalid_request"


async def test_resumes_of_many_at_once_are_held_to_what_one_user_may_have_at_work() -> None:
    async with driving(settings=ASKS) as site:
        asleep: list[RunId] = []
        for _ in range(2):
            run = await site.start("return await agent('look')", consent="once")
            await site.cast.until_asked("look", len(asleep) + 1) if site.cast.hold("look") else None
            await site.desk.change(ALICE, run, "pause")
            asleep.append(run)
        site.cast.gates["look"].set()
        for run in asleep:
            await site.at_rest(run)
        site.clock.advance(61)
        await site.runs.let_sleep()
        assert set(site.runs.sleeping) == set(asleep)
        for _ in range(DRIVEN_PER_USER_MAX - 1):
            await site.start("return 1")
        answers = await asyncio.gather(
            *(site.desk.change(ALICE, run, "resume") for run in asleep), return_exceptions=True
        )
        kinds = [answer.kind for answer in answers if isinstance(answer, RunError)]
        assert kinds == ["max_workflow_runs"]
