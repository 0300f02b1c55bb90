"""Several gateways on one Postgres: never above a cap, whoever is killed, paused, ahead or behind."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.stored_limits import Author, StoredLimit
from gateway.core.money.windows import DAY_MS, Calendar
from gateway.stores.postgres import PostgresStore, open_postgres
from tests.support.postgres import postgres_server

NOW = 1_795_356_000_000
CENT = 10_000_000
STRICT = Limits((LimitRow("org", 100 * CENT, "daily", strict=True, id="cap"),))
ORG = Series("org")

Open = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


@pytest.fixture
async def opened(database: str) -> AsyncGenerator[Open]:
    stores: list[PostgresStore] = []

    async def opens(limits: Limits = STRICT, now_ms: int = NOW) -> PostgresStore:
        url = postgres_server().url(database)
        stores.append(await open_postgres(StoreConfig(url), limits, Calendar(), now_ms))
        return stores[-1]

    yield opens
    for store in stores:
        await store.close()


def hold(id: str, *accounts: str, now: int = NOW) -> Hold:
    accounts = accounts or ("org",)
    return Hold(id, accounts, "m", ("b",), Amounts(30 * CENT), Amounts(10 * CENT), now, now + 60_000)


def spent(nanousd: int) -> Amounts:
    return Amounts(nanousd, active_requests=0)


def silence(database: str, store: PostgresStore) -> None:
    """As if the heart of a gateway had stopped a while ago."""
    number = store.owner
    query = f"UPDATE ringfence.owners SET heartbeat = now() - interval '31 s' WHERE number = {number}"
    postgres_server().psql(database, query)


async def test_gateways_together_never_pass_a_cap(opened: Open) -> None:
    stores = [await opened() for _ in range(3)]
    waits = [stores[n % 3].reserve(hold(f"h{n}", "org", f"session:{n % 7}")) for n in range(200)]
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert sum(isinstance(each, tuple) for each in results) == 3
    assert sum(isinstance(each, Exhausted) for each in results) == 197


async def test_gateways_that_start_at_once_make_the_schema_once(opened: Open, database: str) -> None:
    stores = await asyncio.gather(*(opened() for _ in range(3)))
    await stores[0].reserve(hold("h"))
    assert postgres_server().psql(database, "SELECT count(*) FROM ringfence.schema_version") == "1"
    assert (await stores[2].standing(("org",), NOW))[0].held == 30 * CENT


def lowered(most: int) -> Callable[[StoredLimit | None], StoredLimit | None]:
    row = LimitRow("org", most, "daily", strict=True, id="spl_1", source="api")
    return lambda before: StoredLimit("spl_1", "org", NOW, NOW, {"amount": str(most)}, (row,))


async def test_limit_that_is_changed_at_one_gateway_holds_at_all_at_once(opened: Open) -> None:
    first, second = await opened(), await opened()
    await second.reserve(hold("h1"))
    author = Author("alice", NOW, "spend_limit.upsert")
    await first.change_limit("org", lowered(20 * CENT), author)
    with pytest.raises(Exhausted) as exhausted:
        await second.reserve(hold("h2"))
    assert exhausted.value.max == 20 * CENT
    await first.change_limit("org", lowered(60 * CENT), author)
    assert await second.reserve(hold("h2"))
    (change, _) = await second.limit_audit(0, 10)
    assert (change.number, change.before, change.after) == (1, None, {"amount": str(20 * CENT)})


async def test_limits_of_the_gateway_that_was_started_last_hold_for_all(opened: Open) -> None:
    first = await opened()
    await first.reserve(hold("h1"))
    await opened(Limits((LimitRow("org", 50 * CENT, "daily", strict=True),)))
    with pytest.raises(Exhausted) as exhausted:
        await first.reserve(hold("h2"))
    assert exhausted.value.max == 50 * CENT


async def test_series_that_one_gateway_makes_counts_what_the_others_hold_and_spend(opened: Open) -> None:
    first, second = await opened(Limits()), await opened(Limits())
    for n in range(3):
        await first.reserve(hold(f"h{n}"))
    first.settle("h0", spent(5 * CENT), "b", NOW)
    await first.flush()
    policy = LimitRow("org", 60 * CENT, "daily", source="policy")
    (view,) = await second.reserve(_with(hold("p1"), policy))
    assert (view.used, view.held) == (5 * CENT, 20 * CENT)
    first.settle("h1", spent(30 * CENT), "b", NOW)
    await first.reserve(hold("h4"))
    await first.flush()
    with pytest.raises(Exhausted) as exhausted:
        await second.reserve(_with(hold("p2"), policy))
    assert (exhausted.value.view.used, exhausted.value.view.held) == (35 * CENT, 30 * CENT)


def _with(hold: Hold, *rows: LimitRow) -> Hold:
    return Hold(**{name: getattr(hold, name) for name in hold.__struct_fields__ if name != "added"}, added=rows)


async def test_holds_of_a_silent_gateway_expire_and_its_late_settlements_correct_them(
    opened: Open, database: str
) -> None:
    paused, other = await opened(), await opened()
    await paused.reserve(hold("h1"))
    await paused.reserve(hold("h2"))
    silence(database, paused)
    assert sorted(each.id for each in await other.expire(NOW + 1)) == ["h1", "h2"]
    paused.settle("h1", spent(CENT), "b", NOW + 2)
    paused.release("h2")
    await paused.flush()
    assert await other.used([ORG], NOW + 3) == [31 * CENT]
    assert await paused.reserve(hold("h3", now=NOW + 3))
    assert await other.expire(NOW + 4) == []


async def test_holds_of_a_gateway_that_lives_are_left_alone(opened: Open) -> None:
    first, second = await opened(), await opened()
    await first.reserve(hold("h"))
    assert await second.expire(NOW + 59_999) == []
    (expired,) = await second.expire(NOW + 60_000)
    assert expired.id == "h"


async def test_gateway_whose_clock_is_behind_does_not_bring_a_window_back(opened: Open) -> None:
    ahead, behind = await opened(), await opened()
    midnight = (NOW // DAY_MS + 1) * DAY_MS
    await ahead.reserve(hold("h1", now=midnight + 3_000))
    ahead.settle("h1", spent(80 * CENT), "b", midnight + 3_000)
    await ahead.flush()
    with pytest.raises(Exhausted) as exhausted:
        await behind.reserve(hold("h2", now=midnight - 3_000))
    assert exhausted.value.view.used == 80 * CENT
    with pytest.raises(Exhausted):
        await ahead.reserve(hold("h3", now=midnight + 4_000))


async def test_spend_of_a_closed_gateway_is_known_to_the_next(opened: Open, database: str) -> None:
    url = postgres_server().url(database)
    first = await open_postgres(StoreConfig(url), STRICT, Calendar(), NOW)
    await first.reserve(hold("settled"))
    await first.reserve(hold("left open"))
    first.settle("settled", spent(40 * CENT), "b", NOW)
    await first.close()
    second = await opened()
    assert [each.id for each in await second.expire(NOW + 1)] == ["left open"]
    assert await second.used([ORG], NOW) == [70 * CENT]


REPLICA = """
import asyncio, json, sys
from gateway.config import Store
from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.core.money.windows import Calendar
from gateway.stores.postgres import open_postgres

NOW, NAME = {now}, {name!r}
limits = Limits((LimitRow("org", 40_000, "daily", strict=True), LimitRow("org", 900, per="session", strict=True)))

async def client(store, n, counts):
    for round in range({rounds}):
        id = f"{{NAME}}-{{n}}-{{round}}"
        accounts = ("org", f"session:{{(n + round) % 50}}")
        try:
            await store.reserve(Hold(id, accounts, "m", ("b",), Amounts(30), Amounts(10), NOW, NOW + 60_000))
        except Exhausted:
            counts["refused"] += 1
            continue
        counts["held"] += 1
        if counts["held"] == 100:
            print("busy", flush=True)
        await asyncio.sleep(0)
        if (n + round) % 7 == 0:
            store.release(id)
        else:
            store.settle(id, Amounts(n % 30, active_requests=0), "b", NOW)
            counts["spent"] += n % 30

async def main():
    store = await open_postgres(Store({url!r}), limits, Calendar(), NOW)
    counts = {{"held": 0, "refused": 0, "spent": 0}}
    await asyncio.gather(*(client(store, n, counts) for n in range(200)))
    await store.close()
    print(json.dumps(counts), flush=True)

asyncio.run(main())
"""


async def _replica(url: str, name: str, rounds: int) -> asyncio.subprocess.Process:
    code = REPLICA.format(now=NOW, name=name, url=url, rounds=rounds)
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)


async def test_replicas_one_of_which_is_killed_stay_below_every_cap_and_their_sums_agree(
    opened: Open, database: str
) -> None:
    url = postgres_server().url(database)
    killed, *others = [await _replica(url, name, rounds) for name, rounds in (("k", 10_000), ("a", 6), ("b", 6))]
    assert killed.stdout is not None
    assert await killed.stdout.readline() == b"busy\n"
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    outputs = [await other.communicate() for other in others]
    counts: list[dict[str, int]] = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    judge = await opened(Limits())
    dead = f"UPDATE ringfence.owners SET heartbeat = 'epoch' WHERE number <> {judge.owner}"
    postgres_server().psql(database, dead)
    left = await judge.expire(NOW)
    assert all(each.id.startswith("k-") and each.charge.cost == 30 for each in left)
    await judge.flush()
    _assert_sums_agree(database, sum(each["spent"] for each in counts))


def _assert_sums_agree(database: str, settled: int) -> None:
    def ask(query: str) -> Any:
        return json.loads(postgres_server().psql(database, f"SELECT json_agg(r) FROM ({query}) r") or "[]")

    counters = ask("SELECT account, span, used, worst, expected, open_holds FROM ringfence.counters")
    used = {(row["account"], row["span"]): row["used"] for row in counters}
    usage = {
        row["account"]: row["cost"]
        for row in ask("SELECT account, sum(cost)::bigint AS cost FROM ringfence.usage GROUP BY 1")
    }
    assert all((row["worst"], row["expected"], row["open_holds"]) == (0, 0, 0) for row in counters)
    assert all(usage.get(account, 0) == amount for (account, _), amount in used.items())
    sessions = [amount for (account, span), amount in used.items() if account != "org"]
    assert used["org", "total"] == used["org", "daily"] == sum(sessions) >= settled > 0
    assert used["org", "total"] <= 40_000 and max(sessions) <= 900
    assert ask("SELECT id FROM ringfence.holds WHERE state = 'open'") == []
