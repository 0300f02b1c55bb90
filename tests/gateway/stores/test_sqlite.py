"""The SQLite store across restarts, kills, foreign locks and full disks."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.ledger import Exhausted, Hold, LimitRow, Limits
from gateway.core.windows import HOUR_MS
from gateway.errors import GatewayError, Reason, Refused
from gateway.stores.credentials import CredentialRow, CredentialRows
from gateway.stores.sqlite import IDLE_MS, SqliteStore

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
CENT = 10_000_000
STRICT = Limits([LimitRow("org", "daily", 100 * CENT, True), LimitRow("session", "total", 50 * CENT, True)])


def hold(id: str, *accounts: str, now: int = NOW) -> Hold:
    return Hold(id, accounts or ("org",), 30 * CENT, 10 * CENT, now, now + 60_000)


async def test_spend_survives_a_restart_in_every_window(tmp_path: Path) -> None:
    every = Limits([LimitRow("org", "daily", 10**12, False), LimitRow("org", "total", 10**12, False)])
    first = SqliteStore(tmp_path / "l.db", every, NOW - 20 * HOUR_MS)
    for index, at in enumerate((NOW - 20 * HOUR_MS, NOW - 2 * HOUR_MS, NOW)):
        await first.reserve(hold(f"h{index}", now=at))
        first.settle(f"h{index}", 10**index, at)
    await first.close()
    second = SqliteStore(tmp_path / "l.db", every, NOW)
    spent = {view.window: view.spent_nanousd for view in second.views(["org"], NOW)}
    await second.close()
    assert second.expired_at_open == 0
    assert spent == {"daily": 110, "total": 111}


async def test_limit_that_is_added_later_knows_what_was_spent_before(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    await first.reserve(hold("h", "user:bob"))
    first.settle("h", 95 * CENT, NOW)
    await first.close()
    second = SqliteStore(tmp_path / "l.db", Limits([LimitRow("user", "daily", 100 * CENT, False)]), NOW + 1)
    with pytest.raises(Exhausted):
        await second.reserve(hold("i", "user:bob"))
    await second.close()


async def test_open_holds_of_an_owner_that_is_gone_are_spend_at_the_held_amount(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    await first.reserve(hold("left open", "org", "session:s"))
    await first.close()
    second = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    assert second.expired_at_open == 1
    assert second.spent("org") == second.spent("session:s") == 30 * CENT
    second.settle("left open", CENT, NOW)
    assert second.spent("org") == 30 * CENT
    await second.close()


CLIENTS = 8
CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.core.ledger import Hold, LimitRow, Limits
from gateway.stores.sqlite import SqliteStore

NOW = {now}
limits = Limits([LimitRow("org", "total", 10**18, True)])

async def client(store, name):
    for index in range(10**9):
        id = f"{{name}}-{{index}}"
        await store.reserve(Hold(id, ("org", "session:s"), 30, 10, NOW, NOW + 60_000))
        print("held", id, flush=True)
        if index % 3:
            store.settle(id, 7, NOW)
            await store.flush()
            print("settled", id, flush=True)

async def main():
    store = SqliteStore(Path(sys.argv[1]), limits, NOW)
    await asyncio.gather(*(client(store, f"c{{n}}") for n in range({clients})))

asyncio.run(main())
"""


def run_until_killed(path: Path, lines_wanted: int) -> list[list[str]]:
    """What a child said before it was killed in the middle of its work."""
    command = [sys.executable, "-c", CHILD.format(now=NOW, clients=CLIENTS), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().split() for _ in range(lines_wanted)]
        child.send_signal(signal.SIGKILL)
        said += [line.split() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return said


async def test_killed_process_loses_nothing_and_its_holds_are_spend(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    said = run_until_killed(path, 600)
    held = {id for word, id in said if word == "held"}
    settled = {id for word, id in said if word == "settled"}
    never_settled = {id for id in held if int(id.partition("-")[2]) % 3 == 0}
    under_way = held - settled - never_settled
    assert len(settled) > 100 and len(under_way) <= CLIENTS
    store = SqliteStore(path, Limits(), NOW)
    spent = store.spent("org")
    await store.close()
    # each client may have one hold that reached the disk without its saying so
    certain = 7 * len(settled) + 30 * len(never_settled)
    assert certain + 7 * len(under_way) <= spent <= certain + 30 * (len(under_way) + CLIENTS)
    assert store.expired_at_open >= len(never_settled)


async def test_second_owner_is_refused_and_told_who_holds_the_file(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    with pytest.raises(GatewayError, match=r"l\.db: is in use by another gateway \(process \d+\)") as caught:
        SqliteStore(tmp_path / "l.db", Limits(), NOW)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    await first.close()
    second = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    await second.close()


async def test_commit_that_fails_refuses_the_reservation_and_keeps_the_settlement(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    store = SqliteStore(path, STRICT, NOW)
    await store.reserve(hold("before"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.settle("before", 7 * CENT, NOW)
        with pytest.raises(Refused) as caught:
            await store.reserve(hold("during"))
        other.execute("ROLLBACK")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert str(path) not in caught.value.message
    assert store.problem is not None and str(path) in store.problem and "locked" in store.problem
    assert (store.held_total(), store.spent("org")) == (0, 7 * CENT)
    await store.reserve(hold("after"))
    assert store.problem is None
    store.release("after")
    await store.close()
    again = SqliteStore(path, STRICT, NOW)
    assert (again.spent("org"), again.expired_at_open) == (7 * CENT, 0)
    await again.close()


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from gateway.core.ledger import Hold, Limits
from gateway.errors import Refused
from gateway.stores.sqlite import SqliteStore

async def main():
    path = Path(sys.argv[1])
    store = SqliteStore(path, Limits(), 0)
    await store.reserve(Hold("h", ("org",), 30, 10, 0, 60_000))
    await store.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    store.settle("h", 7, 0)
    try:
        await store.reserve(Hold("i", ("org",), 30, 10, 0, 60_000))
    except Refused as refused:
        print(refused.reason, store.held_total(), store.spent("org"), store.problem)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.close()

asyncio.run(main())
"""


def run_on_full_disk(path: Path) -> str:
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True).stdout


async def test_full_disk_refuses_and_loses_nothing_once_there_is_room(tmp_path: Path) -> None:
    said = run_on_full_disk(tmp_path / "l.db")
    assert said.startswith("store_unavailable 0 7 database ")
    store = SqliteStore(tmp_path / "l.db", Limits(), 0)
    assert (store.spent("org"), store.expired_at_open) == (7, 0)
    await store.close()


async def test_cancelled_reservation_holds_nothing_now_or_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    task = asyncio.get_running_loop().create_task(store.reserve(hold("h")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.held_total() == 0
    await store.close()
    again = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    assert (again.expired_at_open, again.spent("org")) == (0, 0)
    await again.close()


async def test_idle_session_leaves_memory_and_is_known_again_when_it_comes_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    await store.reserve(hold("h", "session:s"))
    store.settle("h", 45 * CENT, NOW)
    await store.close()
    store = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    later = NOW + IDLE_MS + 1
    assert store.spent("session:s") == 45 * CENT
    store.expire(later)
    assert store.views(None, later)[-1].account != "session:s"
    with pytest.raises(Exhausted):
        await store.reserve(hold("i", "session:s", now=later))
    await store.close()


async def test_spend_of_long_ago_is_kept_by_day_and_the_total_stays(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    for index in range(5):
        at = NOW + index * HOUR_MS
        await store.reserve(hold(f"h{index}", now=at))
        store.settle(f"h{index}", 1 + index, at)
    await store.close()
    again = SqliteStore(tmp_path / "l.db", Limits(), NOW + 70 * 24 * HOUR_MS)
    assert again.spent("org") == 15
    await again.close()
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        midnight = NOW // HOUR_MS // 24 * 24
        assert connection.execute("SELECT hour, nanousd FROM spend").fetchall() == [(midnight, 15)]


async def test_credential_made_by_another_process_is_seen_by_a_cheap_check(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    before = store.credentials_version()
    row = CredentialRow("ci", "bob", None, b"\x01" * 32, NOW)
    CredentialRows(tmp_path / "l.db").insert(row)
    assert store.credentials_version() > before
    assert store.load_credentials() == [row]
    await store.close()


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is not a database at all" * 100)


def damage_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_header, damage_page])
async def test_damaged_file_is_refused_with_the_next_step(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "l.db"
    store = SqliteStore(path, Limits(), NOW)
    await store.close()
    damage(path)
    with pytest.raises(GatewayError, match="damaged") as caught:
        SqliteStore(path, Limits(), NOW)
    assert str(path) in caught.value.message and "backup" in caught.value.message


async def test_failed_open_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    damage_header(path)
    with pytest.raises(GatewayError, match="damaged"):
        SqliteStore(path, Limits(), NOW)
    path.unlink()
    store = SqliteStore(path, Limits(), NOW)
    await store.close()
