"""The simulation in small. In full: `python -m tests.simulation`."""

from pathlib import Path

import pytest

from tests.simulation.__main__ import play
from tests.simulation.keepers import MemoryKeeper, SqliteKeeper


@pytest.mark.parametrize("seed", range(3))
async def test_agents_on_a_store_in_memory_add_up_after_every_turn(seed: int) -> None:
    scene = await play(MemoryKeeper(), seed=seed, agents=120, turns=250)
    assert min(scene.counts[what] for what in ("reserved", "refused", "extended", "expired", "report late")) > 0


@pytest.mark.parametrize("seed", range(3))
async def test_agents_on_a_file_add_up_after_every_turn_though_it_is_killed(seed: int, tmp_path: Path) -> None:
    scene = await play(SqliteKeeper(tmp_path), seed=seed, agents=120, turns=250)
    assert min(scene.counts[what] for what in ("reserved", "refused", "extended", "expired", "killed")) > 0
