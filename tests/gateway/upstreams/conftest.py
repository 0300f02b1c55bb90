"""What tests of the adapters share: the real client session and a real server on loopback."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.upstreams.http import build_session
from tests.support.upstream import ScriptedUpstream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with build_session() as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as started:
        yield started
