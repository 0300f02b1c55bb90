"""The process that drives a run is killed at 200 random moments: result and bill are those of an undisturbed run."""

import os
import random
import signal
from pathlib import Path

import pytest

from runtime.core.journal import IssuedLine
from runtime.runner import LEASE_MS
from tests.runtime.crash_driver import RUN, Order
from tests.runtime.crash_scripts import SHAPES
from tests.runtime.crashing import Driver, Story, forking, kill_once, read_story
from tests.runtime.stores.homes import PostgresHome

KILLS = 25
KILLS_PER_RUN = 6
"""Then it is let come to its end."""
FREEZES = 4
CASES = {**{shape: (shape, False) for shape in SHAPES}, "paused": ("nested", True)}


def issued(story: Story) -> list[str]:
    """Keys of all calls."""
    return sorted(line.key for line in story.lines if isinstance(line, IssuedLine))


async def undisturbed(driver: Driver, shape: str, folder: Path) -> Story:
    """The run as nobody kills it."""
    order = Order(f"sqlite:///{folder}/calm.db", str(folder / "calm.log"), shape)
    driver.begin(order)
    assert driver.end() == 0
    return await read_story(order.url, Path(order.log))


@pytest.mark.waits
@pytest.mark.parametrize("case", CASES)
async def test_w151_driver_killed_at_random_moments_changes_neither_result_nor_bill(case: str, tmp_path: Path) -> None:
    (shape, pauses), dice, kills, run = CASES[case], random.Random(f"{case} killed"), 0, 0
    with forking() as driver:
        calm = await undisturbed(driver, shape, tmp_path)
        while kills < KILLS:
            run += 1
            order = Order(f"sqlite:///{tmp_path}/{run}.db", str(tmp_path / f"{run}.log"), shape, pauses=pauses)
            kills += sum(kill_once(driver, order, dice) for _ in range(min(KILLS_PER_RUN, KILLS - kills)))
            driver.begin(order)
            assert driver.end() == 0
            story = await read_story(order.url, Path(order.log))
            story.check()
            assert (story.ended.state, story.value) == (calm.ended.state, calm.value)
            assert (story.bill, issued(story)) == (calm.bill, issued(calm))
            assert story.ended.outcome == calm.ended.outcome
    calm.check()


async def test_w127_driver_that_was_frozen_writes_nothing_after_another_took_over(tmp_path: Path) -> None:
    home, dice = PostgresHome(), random.Random("frozen")
    order = Order(home.url(), str(tmp_path / "log"), "loop")
    store = await home.open()
    with forking() as driver:
        calm = await undisturbed(driver, "loop", tmp_path)
        for _ in range(FREEZES):
            pid = driver.begin(order)
            assert driver.pass_points(dice.randint(8, 16))
            os.kill(pid, signal.SIGSTOP)
            home.pass_ms(LEASE_MS)
            lease = await store.acquire(RUN, "another", home.now_ms, ttl_ms=60_000)
            assert lease is not None
            before = (await store.lines(RUN), await store.events(RUN, after=0, types=(), most=10**6))
            os.kill(pid, signal.SIGCONT)
            assert driver.end() == 0
            assert (await store.lines(RUN), await store.events(RUN, after=0, types=(), most=10**6)) == before
            await store.release(lease)
        driver.begin(order)
        assert driver.end() == 0
    await home.close()
    story = await read_story(home.url(), Path(order.log))
    story.check()
    assert (story.value, story.bill) == (calm.value, calm.bill)
