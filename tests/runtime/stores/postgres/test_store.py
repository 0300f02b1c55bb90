"""What only Postgres has to hold: hosts whose clocks differ, and a database shared with others."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from runtime.ports import RunStore
from runtime.stores.postgres.store import CONNECTIONS_MAX
from runtime.stores.rows import FIRST_LEASE_MS
from tests.runtime.stores.homes import NOW, RUN, TTL_MS, PostgresHome, begin, run_row

DAY_MS = 86_400_000


@pytest.fixture
async def home() -> AsyncGenerator[PostgresHome]:
    home = PostgresHome()
    yield home
    await home.close()


async def test_host_whose_clock_is_ahead_takes_nobodys_run(home: PostgresHome) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine)
    ahead = NOW + DAY_MS
    assert await other.abandoned(ahead) == []
    assert await other.acquire(RUN, "p2", ahead, ttl_ms=TTL_MS) is None
    assert await mine.renew([lease], NOW, ttl_ms=TTL_MS) == [lease]


async def test_host_whose_clock_is_behind_holds_its_run_no_longer_than_others(home: PostgresHome) -> None:
    mine, other = await home.open(), await home.open()
    lease = await begin(mine, run_row(at_ms=NOW - DAY_MS))
    assert await other.acquire(RUN, "p2", NOW, ttl_ms=TTL_MS) is None
    await mine.renew([lease], NOW + DAY_MS, ttl_ms=FIRST_LEASE_MS)
    home.pass_ms(FIRST_LEASE_MS)
    taken = await other.acquire(RUN, "p2", NOW - DAY_MS, ttl_ms=TTL_MS)
    assert taken is not None and taken.fence == 2


async def test_many_who_ask_at_once_share_few_connections(home: PostgresHome) -> None:
    store: RunStore = await home.open()
    await begin(store)
    await asyncio.gather(*(store.find(RUN) for _ in range(40)), *(store.lines(RUN) for _ in range(40)))
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert int(home.psql(f"{asked} AND application_name = 'ringfence runs'")) == CONNECTIONS_MAX


async def test_line_of_a_journal_is_found_by_an_index(home: PostgresHome) -> None:
    await home.open()
    many = "SELECT 'wf_' || run, number, '' FROM generate_series(1, 9) run, generate_series(1, 9999) number"
    home.psql(f"INSERT INTO ringfence_run.lines {many}")
    home.psql("ANALYZE ringfence_run.lines")
    statement = "SELECT number FROM ringfence_run.lines WHERE run = 'wf_1' AND number > 9000 ORDER BY number LIMIT 10"
    plan = home.psql(f"EXPLAIN {statement}")
    assert "Index" in plan and "lines_pkey" in plan and "Sort" not in plan
