"""A bwrap for tests that need one: they are left out where there is none, unless RINGFENCE_REQUIRE_BWRAP is set."""

import os

import pytest

from runtime.tools.bubblewrap import Bubblewrap, NoSandbox, find_bubblewrap


async def bubblewrap_or_skip() -> Bubblewrap:
    """The one on PATH."""
    found = await find_bubblewrap()
    if isinstance(found, NoSandbox):
        if os.environ.get("RINGFENCE_REQUIRE_BWRAP"):
            pytest.fail(found.reason)
        pytest.skip(found.reason)
    return found
