"""The two paths of the decision API, as the API has them."""

from pathlib import Path

import pytest

from tests.support.gateway import CREDENTIAL, serving

QUESTION = b"""{"subject": {"type": "user", "id": "alice"}, "action": {"name": "tool_call"},
"resource": {"type": "tool", "id": "Bash", "properties": {"input": {"command": "ls"}}}}"""
PATHS = ("/ringfence/v1/decisions", "/access/v1/evaluation")


async def test_both_paths_answer_and_send_the_request_id_back(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for path in PATHS:
            async with gateway.post(QUESTION, path=path, headers={"x-request-id": "r-1"}) as response:
                answer = await response.json()
                assert (response.status, response.headers["x-request-id"]) == (200, "r-1")
            assert answer["decision"] is True and answer["context"]["id"] == response.headers["x-ringfence-decision"]


@pytest.mark.parametrize("path", PATHS)
async def test_question_that_cannot_be_read_is_a_400_and_one_of_nobody_a_401(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        async with gateway.post(QUESTION.replace(b'"id": "alice"', b'"id": 7'), path=path) as response:
            told = (await response.json())["error"]["message"]
            assert (response.status, told) == (400, "subject.id: Expected `str`, got `int`")
        async with gateway.post(QUESTION, path=path, headers={"x-api-key": "rf_nobody"}) as response:
            assert response.status == 401


async def test_other_paths_below_ours_stay_the_operators(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        for path in ("sessions", "hooks", "decisions/x", "hooks/../sessions", "hooks%2F..%2Fsessions"):
            url = f"{gateway.url}/ringfence/v1/{path}"
            async with gateway.client.get(url, headers={"x-api-key": CREDENTIAL}) as response:
                assert response.status in (403, 404), path
