"""Refusals of the desk of runs as HTTP: before an answer has begun, and in the middle of one."""

from collections.abc import Sequence

import aiohttp
import pytest

from gateway.core.decisions.decision import Principal
from gateway.web.run_desk import RunRefused
from tests.support.runs import ALICE, FakeDesk, serving_runs

AWAY = RunRefused(503, "overloaded_error", "the store is away; try again in a moment")


class Failing(FakeDesk):
    """Its journal cannot be read past the first lines."""

    async def journal(self, principal: Principal, run: str, *, after: int, most: int) -> Sequence[bytes]:
        if after:
            raise AWAY
        return await super().journal(principal, run, after=after, most=most)


@pytest.mark.parametrize(("status", "retry"), [(400, "false"), (409, "false"), (429, "true"), (503, "true")])
async def test_refusal_says_whether_to_try_again(status: int, retry: str) -> None:
    desk = FakeDesk(refusal=RunRefused(status, "some_error", "no", {"code": "c"}))
    async with serving_runs(desk) as url, aiohttp.ClientSession(headers={"x-api-key": ALICE}) as client:
        async with client.post(f"{url}/ringfence/v1/runs", json={"name": "a"}) as response:
            answer = await response.json()
    assert (response.status, response.headers["x-should-retry"]) == (status, retry)
    assert response.headers["request-id"] == answer["request_id"] == response.headers["x-ringfence-decision"]
    assert answer["error"] == {"type": "some_error", "message": "no", "code": "c"}


async def test_answer_that_has_begun_is_broken_off_rather_than_ended() -> None:
    desk = Failing()
    desk.add("wf_000001").lines = [b"{}"]
    async with serving_runs(desk) as url, aiohttp.ClientSession(headers={"x-api-key": ALICE}) as client:
        async with client.get(f"{url}/ringfence/v1/runs/wf_000001/journal") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
