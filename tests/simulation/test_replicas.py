"""The simulation in small, on three replicas that share a real Postgres."""

import pytest

from tests.simulation.__main__ import play
from tests.simulation.replicas import PostgresKeeper
from tests.support.postgres import postgres_server

pytestmark = pytest.mark.timeout(240)
"""Every round trip to the database waits for its turn beside other tests."""


@pytest.mark.parametrize("seed", range(2))
async def test_agents_on_three_replicas_add_up_after_every_turn(seed: int) -> None:
    server = postgres_server()
    scene = await play(PostgresKeeper(server.url(server.fresh())), seed=seed, agents=120, turns=120)
    assert min(scene.counts[what] for what in ("reserved", "refused", "extended", "expired", "report late")) > 0
