"""A home for every kind of store: the same tests hold for all of them."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from runtime.ports import RunStore
from tests.runtime.stores.homes import Home, build_home


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Home]:
    home = build_home(request.param, tmp_path)
    yield home
    await home.close()


@pytest.fixture
async def store(home: Home) -> RunStore:
    return await home.open()
