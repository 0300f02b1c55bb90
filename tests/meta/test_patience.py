"""The bound that tests put on waiting is on what the product does, not on what else the machine has to do."""

import asyncio
import threading
import time

import pytest

from tests.support.patience import within


async def test_what_waits_for_longer_than_the_bound_is_ended() -> None:
    with pytest.raises(TimeoutError):
        async with within(0.05):
            await asyncio.Event().wait()


async def test_thread_that_works_for_longer_than_the_bound_is_late() -> None:
    with pytest.raises(TimeoutError):
        async with within(0.05):
            await asyncio.sleep(0)
            until = time.thread_time() + 0.1
            while time.thread_time() < until:
                pass
            await asyncio.Event().wait()


async def test_time_in_which_the_thread_is_kept_waiting_does_not_count() -> None:
    async with within(0.5) as patience:
        await asyncio.sleep(0)
        threading.Event().wait(1.0)  # stands for a machine that lets others work
        await asyncio.sleep(0)
    assert patience.seconds < 0.5


async def test_bound_of_a_block_that_has_ended_ends_nothing_else() -> None:
    async with within(0.05) as patience:
        pass
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.1)
    assert patience.seconds == 0
