"""The process that drives a run is killed at 200 random moments: result and bill are those of an undisturbed run."""

import random
from pathlib import Path

import pytest

from runtime.core.journal import IssuedLine
from tests.runtime.crash_driver import Order
from tests.runtime.crash_scripts import SHAPES
from tests.runtime.crashing import Driver, Story, forking, kill_once, read_story

KILLS = 25
KILLS_PER_RUN = 6
"""Then it is let come to its end."""
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
