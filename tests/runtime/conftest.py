"""A place where several processes keep their runs, of each kind that can be shared."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.runtime.stores.homes import Home, build_home


@pytest.fixture(params=["sqlite", "postgres"])
async def shared_home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Home]:
    home = build_home(request.param, tmp_path)
    yield home
    await home.close()
