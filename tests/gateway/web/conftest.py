"""One gateway for all tests of a file, in front of an upstream that says hi and counts forty-two tokens."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway import Serving, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, json_answer, message, stream_answer, text_block


def answer(received: Received) -> Answer:
    if "count_tokens" in received.raw_path:
        return json_answer({"input_tokens": 42})
    blocks = [text_block("Hi.")]
    return stream_answer(blocks) if received.json().get("stream") else json_answer(message(blocks))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Serving, ScriptedUpstream]]:
    async with ScriptedUpstream(answer) as scripted:
        async with serving(tmp_path_factory.mktemp("gateway"), scripted.base_url) as served:
            yield served, scripted


@pytest.fixture
def gateway(running: tuple[Serving, ScriptedUpstream]) -> Serving:
    return running[0]


@pytest.fixture
def upstream(running: tuple[Serving, ScriptedUpstream]) -> ScriptedUpstream:
    """What it received before is forgotten."""
    running[1].received.clear()
    return running[1]
