"""`python -m tests.simulation`: the whole size. Prints its seed, so that what went wrong can be played again."""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from tests.simulation.keepers import Keeper, MemoryKeeper, SqliteKeeper
from tests.simulation.scene import Scene


async def play(keeper: Keeper, *, seed: int, agents: int, turns: int) -> Scene:
    """One scene from beginning to end."""
    scene = Scene(keeper, seed=seed, agents=agents)
    await scene.play(turns)
    await scene.finish()
    return scene


def choose_keeper(store: str, url: str | None, folder: Path) -> Keeper:
    """By the command line."""
    if store == "postgres":
        from tests.simulation.replicas import PostgresKeeper
        from tests.support.postgres import postgres_server

        return PostgresKeeper(url or postgres_server().url(postgres_server().fresh()))
    return MemoryKeeper() if store == "memory" else SqliteKeeper(folder)


def main() -> None:
    """Play with what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--store", choices=("memory", "sqlite", "postgres"), default="sqlite")
    parser.add_argument("--url", help="of an empty Postgres database; three replicas share it")
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.agents} agents, {options.turns} turns, {options.store}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        keeper = choose_keeper(options.store, options.url, Path(folder))
        scene = asyncio.run(play(keeper, seed=options.seed, agents=options.agents, turns=options.turns))
    print(", ".join(f"{count} {what}" for what, count in sorted(scene.counts.items())))
    print(f"everything adds up, after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
