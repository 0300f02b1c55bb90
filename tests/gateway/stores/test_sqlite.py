"""The SQLite store across restarts, kills, foreign locks and full disks."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.core.money.windows import DAY_MS, HOUR_MS
from gateway.errors import GatewayError, Reason, Refused
from gateway.ports import Told
from gateway.stores.credentials import CredentialRow, CredentialRows
from gateway.stores.sqlite import IDLE_MS, SqliteStore

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
CENT = 10_000_000
STRICT = Limits(
    (
        LimitRow("org", 100 * CENT, "daily", strict=True),
        LimitRow("org", 50 * CENT, per="session", strict=True),
    )
)


def hold(id: str, *accounts: str, now: int = NOW, model: str = "m") -> Hold:
    return Hold(id, accounts or ("org",), model, ("b",), Amounts(30 * CENT), Amounts(10 * CENT), now, now + 60_000)


def spent(nanousd: int) -> Amounts:
    return Amounts(nanousd, active_requests=0)


async def test_spend_survives_a_restart_in_every_window(tmp_path: Path) -> None:
    windows = ("daily", "total", "rolling 3h")
    every = Limits(tuple(LimitRow("org", 10**12, window) for window in windows))
    first = SqliteStore(tmp_path / "l.db", every, NOW - 20 * HOUR_MS)
    for index, at in enumerate((NOW - 20 * HOUR_MS, NOW - 2 * HOUR_MS, NOW)):
        await first.reserve(hold(f"h{index}", now=at))
        first.settle(f"h{index}", spent(10**index), "b", at)
    await first.close()
    second = SqliteStore(tmp_path / "l.db", every, NOW)
    used = {view.series.window: view.used for view in second.views(NOW)}
    await second.close()
    assert second.expired_at_open == []
    assert used == {"daily": 110, "total": 111, "rolling 3h": 110}


async def test_limit_that_is_added_later_knows_what_was_spent_before(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    await first.reserve(hold("h", "org", "user:bob"))
    first.settle("h", spent(95 * CENT), "b", NOW)
    await first.close()
    second = SqliteStore(tmp_path / "l.db", Limits((LimitRow("org", 100 * CENT, "daily", per="user"),)), NOW + 1)
    with pytest.raises(Exhausted):
        await second.reserve(hold("i", "org", "user:bob"))
    await second.close()


def set_to(max: int, window: str, **more: Any) -> StoredLimit:
    """A limit of the organisation, as an operator sets it."""
    row = LimitRow("org", max, window, id="spl_1", source="api", **more)
    return StoredLimit("spl_1", f"org {window}", NOW, NOW, {"amount": max}, (row,))


@pytest.mark.parametrize("flushed", [True, False])
async def test_limit_that_is_set_while_it_runs_knows_what_is_spent_queued_and_held(
    tmp_path: Path, flushed: bool
) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    await store.reserve(hold("folded"))
    store.settle("folded", spent(1), "b", NOW)
    await store.close()
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    for id in ("settled", "open", "late"):
        await store.reserve(hold(id))
    store.settle("settled", spent(20), "b", NOW)
    await store.expire(NOW + 60_000)
    store.settle("open", spent(300), "b", NOW + 60_001)
    await store.reserve(hold("held", now=NOW + 60_000))
    if flushed:
        await store.flush()
    await store.change_limit("spl_1", lambda _: set_to(10**12, "rolling 5h"), Author("ops", NOW, "upsert"))
    (view,) = store.views(NOW + 60_002)
    assert (view.used, view.held) == (1 + 20 + 300 + 10 * CENT, 10 * CENT)
    await store.close()


async def test_changed_limit_holds_at_the_next_request_and_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    author = Author("ops", NOW, "spend_limit.upsert", "trial")
    changed = await store.change_limit("org daily", lambda _: set_to(25 * CENT, "daily", strict=True), author)
    assert changed is not None and await store.stored_limits() == [changed]
    with pytest.raises(Exhausted, match="daily limit of"):
        await store.reserve(hold("a"))
    await store.change_limit("spl_1", lambda _: set_to(30 * CENT, "daily", strict=True), author)
    await store.reserve(hold("b"))
    store.release("b")
    await store.close()
    again = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    assert [view.row and view.row.max for view in again.views(NOW)] == [30 * CENT]
    assert await again.change_limit("spl_1", lambda _: None, author) is None
    assert again.views(NOW) == []
    first, second, third = await again.limit_audit(0, 10)
    assert (first.number, first.before, first.after, first.author) == (1, None, {"amount": 25 * CENT}, author)
    assert (second.before, second.after) == ({"amount": 25 * CENT}, {"amount": 30 * CENT})
    assert (third.target, third.after) == ("spl_1", None)
    assert await again.limit_audit(1, 1) == [second]
    await again.close()


async def test_change_that_fails_changes_nothing_and_leaves_no_record(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)

    def refuse(_: StoredLimit | None) -> StoredLimit:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.change_limit("x", refuse, Author("ops", NOW, "upsert"))
    await store.change_limit("x", lambda _: set_to(1, "daily"), Author("ops", NOW, "upsert"))
    assert [change.number for change in await store.limit_audit(0, 10)] == [1]
    await store.close()


async def test_extended_hold_is_spend_at_the_larger_amount_after_a_kill(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    await first.reserve(hold("h"))
    assert await first.extend("h", Amounts(50 * CENT), Amounts(40 * CENT), NOW)
    with pytest.raises(Exhausted):
        await first.extend("h", Amounts(101 * CENT), Amounts(40 * CENT), NOW)
    assert not await first.extend("unknown", Amounts(1), Amounts(1), NOW)
    await first.close()
    second = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    assert second.spent("org") == 50 * CENT
    await second.close()


async def test_late_settlement_of_an_expired_hold_counts_what_it_cost(tmp_path: Path) -> None:
    corrected: list[str] = []
    first = SqliteStore(tmp_path / "l.db", STRICT, NOW, told=Told(corrected=corrected.append))
    await first.reserve(hold("h"))
    (expired,) = await first.expire(NOW + 60_000)
    assert (expired.id, expired.charge.cost) == ("h", 30 * CENT)
    first.settle("h", spent(7), "b", NOW + 60_001)
    first.settle("h", spent(9), "b", NOW + 60_001)
    assert first.spent("org") == 7 and corrected == ["h"]
    await first.close()
    second = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    assert second.spent("org") == 7
    await second.close()


async def test_overshoot_is_told_with_the_limit_and_the_amount(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    limits = Limits((LimitRow("org", 10 * CENT, "daily", id="budgets[0]"),))
    listening = Told(overshot=lambda row, amount: told.append((row.id, amount)))
    store = SqliteStore(tmp_path / "l.db", limits, NOW, told=listening)
    await store.reserve(hold("h"))
    store.settle("h", spent(12 * CENT), "b", NOW)
    assert told == [("budgets[0]", 2 * CENT)]
    await store.close()


async def test_open_holds_of_an_owner_that_is_gone_are_spend_at_the_held_amount(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    await first.reserve(hold("left open", "org", "session:s"))
    await first.close()
    second = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    assert [each.id for each in second.expired_at_open] == ["left open"]
    assert second.expired_at_open[0].accounts == ("org", "session:s")
    assert await second.used([Series("org"), Series("session:s")], NOW) == [30 * CENT, 30 * CENT]
    second.settle("left open", spent(CENT), "b", NOW)
    assert second.spent("org") == 30 * CENT
    await second.close()


CLIENTS = 8
CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.stores.sqlite import SqliteStore

NOW = {now}
limits = Limits((LimitRow("org", 10**18, strict=True),))

async def client(store, name):
    for index in range(10**9):
        id = f"{{name}}-{{index}}"
        await store.reserve(
            Hold(id, ("org", "session:s"), "m", ("b",), Amounts(30), Amounts(10), NOW, NOW + 60_000)
        )
        print("held", id, flush=True)
        if index % 3:
            store.settle(id, Amounts(7, active_requests=0), "b", NOW)
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
    total = store.spent("org")
    await store.close()
    # each client may have one hold that reached the disk without its saying so
    certain = 7 * len(settled) + 30 * len(never_settled)
    assert certain + 7 * len(under_way) <= total <= certain + 30 * (len(under_way) + CLIENTS)
    assert len(store.expired_at_open) >= len(never_settled)


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
        store.settle("before", spent(7 * CENT), "b", NOW)
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
    assert (again.spent("org"), again.expired_at_open) == (7 * CENT, [])
    await again.close()


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, Limits
from gateway.errors import Refused
from gateway.stores.sqlite import SqliteStore

async def main():
    path = Path(sys.argv[1])
    store = SqliteStore(path, Limits(), 0)
    await store.reserve(Hold("h", ("org",), "m", ("b",), Amounts(30), Amounts(30), 0, 60_000))
    await store.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    store.settle("h", Amounts(7), "b", 0)
    try:
        await store.reserve(Hold("i", ("org",), "m", ("b",), Amounts(30), Amounts(30), 0, 60_000))
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
    assert (store.spent("org"), store.expired_at_open) == (7, [])
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
    assert (again.expired_at_open, again.spent("org")) == ([], 0)
    await again.close()


async def test_idle_session_leaves_memory_and_is_known_again_when_it_comes_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    await store.reserve(hold("h", "org", "session:s"))
    store.settle("h", spent(45 * CENT), "b", NOW)
    await store.close()
    store = SqliteStore(tmp_path / "l.db", STRICT, NOW)
    later = NOW + IDLE_MS + 1
    assert [view.used for view in await store.standing(("org", "session:s"), NOW)] == [45 * CENT, 45 * CENT]
    await store.expire(later)
    assert all(view.series.account == "org" for view in store.views(later))
    with pytest.raises(Exhausted, match="session:s"):
        await store.reserve(hold("i", "org", "session:s", now=later))
    await store.close()


async def test_spend_of_long_ago_is_kept_by_day_and_the_total_stays(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    for index in range(5):
        at = NOW + index * HOUR_MS
        await store.reserve(hold(f"h{index}", now=at))
        store.settle(f"h{index}", spent(1 + index), "b", at)
    await store.close()
    again = SqliteStore(tmp_path / "l.db", Limits(), NOW + 70 * 24 * HOUR_MS)
    assert again.spent("org") == 15
    await again.close()
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        rows = connection.execute("SELECT quarter_ms, model, backend, cost, requests FROM usage").fetchall()
    assert rows == [(NOW // DAY_MS * DAY_MS, "m", "b", 15, 5)]


async def test_credential_made_by_another_process_is_seen_by_a_cheap_check(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    before = await store.credentials_version()
    row = CredentialRow("ci", "bob", None, b"\x01" * 32, NOW)
    CredentialRows(tmp_path / "l.db").insert(row)
    assert await store.credentials_version() > before
    assert await store.load_credentials() == [row]
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


async def test_limit_whose_operator_leaves_while_it_is_set_holds_all_the_same(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    author = Author("admin-key:olga", NOW, "spend_limit.upsert")
    setting = asyncio.ensure_future(store.change_limit("org total", lambda _: set_to(20 * CENT, "total"), author))
    await asyncio.sleep(0)
    setting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting
    assert [limit.id for limit in await store.stored_limits()] == ["spl_1"]
    with pytest.raises(Exhausted):
        for index in range(3):
            await store.reserve(hold(f"h{index}"))
    await store.close()


async def test_idle_pool_of_a_tag_still_shows_what_it_used(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits((LimitRow("tag:project=x", 10**12),)), NOW)
    await store.reserve(hold("h", "org", "tag:project=x"))
    store.settle("h", spent(30 * CENT), "b", NOW)
    await store.flush()
    await store.expire(NOW + 2 * IDLE_MS)
    used = {view.series.account: view.used for view in store.views(NOW + 2 * IDLE_MS)}
    await store.close()
    assert used == {"tag:project=x": 30 * CENT}
