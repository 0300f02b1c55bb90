"""A writing process is killed again and again: nothing that it was told is lost, and nothing is there by half."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from gateway.tasks import Tasks
from runtime.ports import RunStore
from runtime.stores import open_run_store
from tests.runtime.stores.driver import LINES, RUNS, entry_of
from tests.runtime.stores.homes import PostgresHome, event

ROOT = Path(__file__).parents[3]
KILLS = 10


def acknowledged_until_killed(url: str, lines_wanted: int) -> dict[str, int]:
    """How far each run was when a child that had said so many lines was killed in the middle of its work."""
    command = [sys.executable, "-m", "tests.runtime.stores.driver", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines_wanted)]
        child.send_signal(signal.SIGKILL)
        said += [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL and all(said)
    return {run: int(number) for run, number in (line.split() for line in said)}


async def check(store: RunStore, reached: dict[str, int]) -> None:
    """Each journal is the beginning of what was to be written, at least as long as acknowledged, in whole entries."""
    for run in RUNS:
        lines = [line.decode() for _, line in await store.lines(run)]
        entries = len(lines) // len(LINES)
        assert lines == [f"{kind} {number}" for number in range(1, entries + 1) for kind in LINES]
        assert reached[run] <= entries <= reached[run] + 1
        numbered = range(1, entries + 1)
        assert await store.events(run, after=0, types=(), most=10**6) == [event(number) for number in numbered]
        assert await store.find(run) == entry_of(run, entries).row
        for number in range(5, entries + 1, 5):
            assert await store.blob(f"{number:064x}") == b"%d" % number


async def test_w151_sqlite_has_whatever_was_acknowledged_before_a_kill(tmp_path: Path) -> None:
    url, dice, reached, tasks = f"sqlite:///{tmp_path}/ledger.db", random.Random(6), dict.fromkeys(RUNS, 0), Tasks()
    for _ in range(KILLS):
        reached |= acknowledged_until_killed(url, dice.randint(100, 400))
        store = await open_run_store(url, spawn=tasks.spawn)
        await check(store, reached)
        await store.close()
    assert sum(reached.values()) > 100 * KILLS


async def test_w151_postgres_has_whatever_was_acknowledged_before_a_kill() -> None:
    home, dice, reached = PostgresHome(), random.Random(7), dict.fromkeys(RUNS, 0)
    store = await home.open()
    for _ in range(KILLS):
        reached |= acknowledged_until_killed(home.url(), dice.randint(100, 400))
        await home.finished()
        home.pass_ms(60_000)
        await check(store, reached)
    await home.close()
