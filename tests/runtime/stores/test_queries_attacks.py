"""Ids that are none, in whatever store: they are as unknown as any other, and nothing waits for them."""

import asyncio

import pytest

from runtime.core.model import RunId
from runtime.launch import RunError, Settings
from runtime.ports import RunStore
from tests.runtime.driving import ALICE, driving, launch

ODD = {
    "nul": "wf_aaaaaa\0",
    "half": "wf_aaaaaa\ud800",
    "right to left": "wf_aaaaaa\u202e",
    "long": "wf_" + "x" * 1_000_000,
}
SAYS = "try { return await workflow({scriptPath: 'run:' + args}) } catch (error) { return error.message }"


@pytest.mark.parametrize("id", ODD.values(), ids=ODD)
async def test_w137_run_under_an_id_that_is_none_is_not_there(store: RunStore, id: str) -> None:
    async with driving(store=store) as site:
        with pytest.raises(RunError) as unseen:
            await site.readings.record(ALICE, id)
        with pytest.raises(RunError) as resumed:
            await site.desk.start(launch(resume_from=RunId(id)), idempotency=None)
        with pytest.raises(RunError) as found:
            await site.desk.start(launch(script_path=f"run:{id}"), idempotency=None)
    assert [each.value.kind for each in (unseen, resumed, found)] == ["not_found"] * 3


async def test_run_named_by_what_no_database_takes_is_started_and_asked_for(store: RunStore) -> None:
    text = "export const meta = {name: 'a\\u0000b', description: 'd'}\nreturn 1"
    async with driving(store=store, settings=Settings(asks=True)) as site:
        answer = await site.desk.start(launch(text), idempotency=None)
        await site.desk.approve(ALICE, answer["runId"], always=True, sha256=None)
        again = await site.desk.start(launch(text), idempotency=None)
    assert (answer["state"], again["approval"]) == ("pending_approval", None)
    assert again["state"] in ("queued", "running")


async def test_w107_script_that_wants_a_run_under_an_id_that_is_none_is_told(store: RunStore) -> None:
    async with driving(store=store) as site, asyncio.timeout(30):
        assert "there is no run" in await site.outcome(SAYS, args=ODD["nul"])
