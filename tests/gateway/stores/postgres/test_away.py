"""The database cut off, hanging, and back: nobody waits long, nothing is counted twice, nothing spent is lost."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import Calendar
from gateway.errors import Reason, Refused
from gateway.stores.postgres import open_postgres
from gateway.stores.postgres.lines import CONNECT_SECONDS, NETWORK_SECONDS, STATEMENT_SECONDS
from tests.support.patience import within
from tests.support.postgres import postgres_server, until
from tests.support.proxy import Proxy, proxied

NOW = 1_795_356_000_000
CENT = 10_000_000
LIMITS = Limits((LimitRow("org", 100 * CENT), LimitRow("user:careful", 10**12, strict=True)))
ORG = Series("org")


@pytest.fixture
async def proxy() -> AsyncGenerator[Proxy]:
    async with proxied(postgres_server().port) as proxy:
        yield proxy


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


def config(database: str, port: int | None, journal: Path, on_failure: str = "closed") -> StoreConfig:
    return StoreConfig(postgres_server().url(database, port=port), on_failure, journal)  # type: ignore[arg-type]


def hold(id: str, *accounts: str) -> Hold:
    accounts = accounts or ("org",)
    return Hold(id, accounts, "m", ("b",), Amounts(40 * CENT), Amounts(30 * CENT), NOW, NOW + 60_000)


def spent(nanousd: int) -> Amounts:
    return Amounts(nanousd, active_requests=0)


async def total(database: str, tmp_path: Path) -> tuple[int, int, int]:
    """Used and held of the organisation, and open holds, as another gateway sees them."""
    other = await open_postgres(config(database, None, tmp_path / "other"), LIMITS, Calendar(), NOW)
    (view, *_) = await other.standing(("org",), NOW)
    await other.close()
    count = postgres_server().psql(database, "SELECT count(*) FROM ringfence.holds WHERE state = 'open'")
    return view.used, view.held, int(count)


async def test_settlement_during_a_cut_is_written_down_and_committed_after_it(
    proxy: Proxy, database: str, tmp_path: Path
) -> None:
    store = await open_postgres(config(database, proxy.port, tmp_path / "j"), LIMITS, Calendar(), NOW)
    await store.reserve(hold("h"))
    proxy.cut()
    store.settle("h", spent(7 * CENT), "b", NOW)
    await until(lambda: store.journal_entries == 1)
    with pytest.raises(Refused) as refused:
        await store.reserve(hold("i"))
    assert refused.value.reason is Reason.STORE_UNAVAILABLE
    assert store.problem is not None and "loopback-only-secret" not in store.problem
    proxy.restore()
    await until(lambda: store.problem is None and store.journal_entries == 0)
    await store.close()
    assert await total(database, tmp_path) == (7 * CENT, 0, 0)
    assert list((tmp_path / "j").iterdir()) == []


async def test_hanging_network_does_not_hang_requests_and_leaves_no_hold(
    proxy: Proxy, database: str, tmp_path: Path
) -> None:
    store = await open_postgres(config(database, proxy.port, tmp_path / "j"), LIMITS, Calendar(), NOW)
    await store.reserve(hold("h"))
    proxy.stall()
    async with within(STATEMENT_SECONDS + NETWORK_SECONDS + 2):
        with pytest.raises(Refused):
            await store.reserve(hold("lost"))
    async with within(0.5):
        with pytest.raises(Refused):
            await store.reserve(hold("refused at once"))
    proxy.restore()
    await until(lambda: store.problem is None)
    store.settle("h", spent(CENT), "b", NOW)
    await store.close()
    assert await total(database, tmp_path) == (CENT, 0, 0)


async def test_batch_that_arrives_after_its_connection_was_given_up_is_refused(
    proxy: Proxy, database: str, tmp_path: Path
) -> None:
    store = await open_postgres(config(database, proxy.port, tmp_path / "j"), LIMITS, Calendar(), NOW)
    await store.reserve(hold("before"))
    store.settle("before", spent(CENT), "b", NOW)
    await store.flush()
    proxy.delay_seconds = CONNECT_SECONDS + STATEMENT_SECONDS + 1
    with pytest.raises(Refused):
        await store.reserve(hold("late"))
    proxy.delay_seconds = 0.0
    await until(lambda: store.problem is None)
    await store.flush()
    assert proxy.on_the_way > 0
    await until(lambda: proxy.on_the_way == 0)
    await store.close()
    assert await total(database, tmp_path) == (CENT, 0, 0)


async def test_slow_network_only_slows(proxy: Proxy, database: str, tmp_path: Path) -> None:
    store = await open_postgres(config(database, proxy.port, tmp_path / "j"), LIMITS, Calendar(), NOW)
    proxy.delay_seconds = 0.05
    results = await asyncio.gather(*(store.reserve(hold(f"h{n}")) for n in range(50)), return_exceptions=True)
    assert sum(isinstance(each, tuple) for each in results) == 3
    await store.close()


async def test_open_mode_goes_on_by_what_was_known_and_says_it_all_later(
    proxy: Proxy, database: str, tmp_path: Path
) -> None:
    store = await open_postgres(config(database, proxy.port, tmp_path / "j", "open"), LIMITS, Calendar(), NOW)
    await store.reserve(hold("before"))
    store.settle("before", spent(30 * CENT), "b", NOW)
    await store.flush()
    proxy.cut()
    store.settle("before", spent(0), "b", NOW)
    with pytest.raises(Refused):
        await store.reserve(hold("unlucky"))
    for id in ("a1", "a2"):
        (view,) = await store.reserve(hold(id, "org", f"session:{id}"))
    assert (view.used, view.held) == (30 * CENT, 30 * CENT)
    with pytest.raises(Exhausted):
        await store.reserve(hold("a3"))
    with pytest.raises(Refused):
        await store.reserve(hold("a4", "org", "user:careful"))
    store.settle("a1", spent(5 * CENT), "b", NOW)
    proxy.restore()
    await until(lambda: store.problem is None and store.journal_entries == 0)
    store.settle("a2", spent(6 * CENT), "b", NOW)
    await store.close()
    assert await total(database, tmp_path) == (41 * CENT, 0, 0)


ALONE = """
import asyncio, sys
from pathlib import Path
from gateway.config import Store
from gateway.core.money.budgets import Hold
from gateway.core.money.limits import Amounts, Limits
from gateway.core.money.windows import Calendar
from gateway.errors import Refused
from gateway.stores.postgres import open_postgres

NOW = {now}

def hold(id):
    return Hold(id, ("org",), "m", ("b",), Amounts(40), Amounts(30), NOW, NOW + 60_000)

async def main():
    store = await open_postgres(Store({url!r}, "open", Path({journal!r})), Limits(), Calendar(), NOW)
    await store.reserve(hold("held before"))
    print("ready", flush=True)
    sys.stdin.readline()
    while store.problem is None:
        try:
            await store.reserve(hold("lost"))
        except Refused:
            pass
    await store.reserve(hold("settled away"))
    await store.reserve(hold("open away"))
    store.settle("held before", Amounts(3, active_requests=0), "b", NOW)
    store.settle("settled away", Amounts(5, active_requests=0), "b", NOW)
    (journal,) = Path({journal!r}).iterdir()
    while len(journal.read_bytes().splitlines()) < 4:
        await asyncio.sleep(0)
    print("written", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_journal_of_a_killed_gateway_is_replayed_by_the_next_one(
    proxy: Proxy, database: str, tmp_path: Path
) -> None:
    url, journal = postgres_server().url(database, port=proxy.port), tmp_path / "j"
    code = ALONE.format(now=NOW, url=url, journal=str(journal))
    pipe = subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
    assert child.stdout is not None and child.stdin is not None
    assert await child.stdout.readline() == b"ready\n"
    proxy.cut()
    child.stdin.write(b"\n")
    assert await child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    (left,) = journal.iterdir()
    with left.open("ab") as file:
        file.write(b'{"id": "cut short by the cra')
    again = left.read_bytes()
    told: list[set[str]] = []
    for _ in range(2):
        store = await open_postgres(config(database, None, journal), Limits(), Calendar(), NOW)
        await until(lambda: not left.exists())
        told.append({each.id for each in await store.expire(NOW)})
        assert await store.used([ORG, Series("org", "requests")], NOW) == [3 + 5 + 30, 3]
        await store.close()
        left.write_bytes(again)  # as if the process had died before it removed the file
    assert told == [{"open away"}, set()]
