"""One gateway on Postgres: every meter, window and end of a hold, and the same answers as the book in memory gives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Exhausted, Hold
from gateway.core.money.ledger import CORRECTABLE_MS
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import DAY_MS, HOUR_MS, MINUTE_MS, Calendar
from gateway.ports import Store, Told
from gateway.stores.memory import MemoryStore
from gateway.stores.postgres import PostgresStore, open_postgres
from tests.support.postgres import postgres_server

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
CENT = 10_000_000
STRICT = Limits(
    (
        LimitRow("org", 100 * CENT, "daily", strict=True),
        LimitRow("org", 50 * CENT, per="session", strict=True),
    )
)

Open = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture
async def opened() -> AsyncGenerator[Open]:
    """Opens stores on one fresh database, and closes them."""
    server = postgres_server()
    url = server.url(server.fresh())
    stores: list[PostgresStore] = []

    async def opens(limits: Limits = STRICT, now_ms: int = NOW, **more: object) -> PostgresStore:
        stores.append(await open_postgres(StoreConfig(url), limits, Calendar(), now_ms, **more))  # type: ignore[arg-type]
        return stores[-1]

    yield opens
    for store in stores:
        await store.close()


def hold(id: str, *accounts: str, now: int = NOW, model: str = "m") -> Hold:
    return Hold(id, accounts or ("org",), model, ("b",), Amounts(30 * CENT), Amounts(10 * CENT), now, now + 60_000)


def spent(nanousd: int) -> Amounts:
    return Amounts(nanousd, active_requests=0)


async def test_store_is_one_behind_the_port(opened: Open) -> None:
    store: Store = await opened()
    assert (store.problem, store.journal_entries, list(store.expired_at_open)) == (None, 0, [])
    assert store.views(NOW)[0].used == store.spent("org") == store.held_total() == 0


async def test_parallel_holds_never_pass_a_strict_cap(opened: Open) -> None:
    store = await opened()
    results = await asyncio.gather(*(store.reserve(hold(f"h{n}")) for n in range(200)), return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 3
    refused = next(result for result in results if isinstance(result, Exhausted))
    assert (refused.view.used, refused.view.held, refused.needed) == (0, 90 * CENT, 30 * CENT)


async def test_reservation_answers_with_the_limits_as_they_stood_before(opened: Open) -> None:
    store = await opened()
    await store.reserve(hold("h1", "org", "session:s"))
    store.settle("h1", spent(5 * CENT), "b", NOW)
    await store.reserve(hold("h2", "org"))
    views = await store.reserve(hold("h3", "org", "session:s"))
    assert [(view.series.account, view.used, view.held) for view in views] == [
        ("org", 5 * CENT, 30 * CENT),
        ("session:s", 5 * CENT, 0),
    ]
    assert store.held_total() == 60 * CENT


async def test_hold_that_is_refused_for_one_account_holds_nothing_on_the_others(opened: Open) -> None:
    store = await opened()
    await store.reserve(hold("h1", "org", "session:s"))
    with pytest.raises(Exhausted, match="session:s"):
        await store.reserve(hold("h2", "org", "session:s"))
    (view, *_) = await store.standing(("org",), NOW)
    assert (view.used, view.held) == (0, 30 * CENT)


async def test_hold_ends_once(opened: Open) -> None:
    store = await opened()
    await store.reserve(hold("h"))
    store.settle("h", spent(CENT), "b", NOW)
    store.settle("h", spent(2 * CENT), "b", NOW)
    store.release("h")
    await store.flush()
    assert await store.used([Series("org"), Series("org", "requests")], NOW) == [CENT, 1]
    assert store.open_holds() == (0, None)


async def test_expired_hold_is_spend_at_its_worst_case_and_is_corrected_by_its_usage(opened: Open) -> None:
    store = await opened(Limits((*STRICT.rows, LimitRow("org", 10**12, "rolling 5h"))))
    await store.reserve(hold("h"))
    (expired,) = await store.expire(NOW + 60_000)
    assert (expired.id, expired.charge.cost, store.spent("org")) == ("h", 30 * CENT, 30 * CENT)
    await store.flush()
    store.settle("h", spent(12 * CENT), "b", NOW + 70_000)
    await store.flush()
    rolling = Series("org", window="rolling 5h")
    assert await store.used([Series("org"), rolling], NOW + 70_000) == [12 * CENT, 12 * CENT]
    assert await store.expire(NOW + 80_000) == []


async def test_correction_takes_nothing_from_the_next_window(opened: Open) -> None:
    store = await opened()
    await store.reserve(hold("old"))
    await store.expire(NOW + 60_000)
    tomorrow = NOW + DAY_MS
    await store.reserve(hold("new", now=tomorrow))
    store.settle("new", spent(20 * CENT), "b", tomorrow)
    store.settle("old", spent(0), "b", tomorrow)
    await store.flush()
    daily = Series("org", window="daily")
    assert await store.used([daily, Series("org")], tomorrow) == [20 * CENT, 20 * CENT]


async def test_extension_holds_more_or_leaves_everything_as_it_was(opened: Open) -> None:
    store = await opened()
    await store.reserve(hold("h1", "org", "session:s"))
    assert await store.extend("h1", Amounts(45 * CENT), Amounts(10 * CENT), NOW)
    with pytest.raises(Exhausted):
        await store.extend("h1", Amounts(51 * CENT), Amounts(10 * CENT), NOW)
    assert store.held_total() == 45 * CENT
    store.release("h1")
    assert not await store.extend("h1", Amounts(46 * CENT), Amounts(10 * CENT), NOW)


async def test_reservation_whose_waiter_leaves_is_released(opened: Open) -> None:
    store = await opened()
    waits = asyncio.ensure_future(store.reserve(hold("h")))
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await store.flush()
    (view, *_) = await store.standing(("org",), NOW)
    assert (view.held, store.held_total()) == (0, 0)


async def test_overshoot_of_an_expected_limit_is_told(opened: Open) -> None:
    told: list[tuple[str, int]] = []
    limits = Limits((LimitRow("org", 15 * CENT, id="small"),))
    store = await opened(limits, told=Told(overshot=lambda row, amount: told.append((row.id, amount))))
    await store.reserve(hold("h"))
    store.settle("h", spent(25 * CENT), "b", NOW)
    await store.flush()
    assert told == [("small", 10 * CENT)]


async def test_what_nobody_can_store_is_refused_alone(opened: Open) -> None:
    store = await opened()
    strange = (hold("h\0"), hold("h", "org", "session:\ud800"))
    waits = [store.reserve(each) for each in (hold("good"), *strange)]
    good, *bad = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(good, tuple)
    assert [type(each).__name__ for each in bad] == ["Refused", "Refused"]
    assert store.problem is None


MODELS = ("opus-5", "sonnet-5")
MIXED = Limits(
    (
        LimitRow("org", 400 * CENT, "daily", strict=True),
        LimitRow("org", 120 * CENT, "rolling 2h", models=("opus-*",)),
        LimitRow("org", 30, "rolling 10m", meter="requests"),
        LimitRow("org", 4, meter="active_requests"),
        LimitRow("org", 70 * CENT, "hourly", backends=("b2",), on_reach="warn"),
        LimitRow("org", 150 * CENT, per="session", strict=True),
        LimitRow("team:x", 9_000, "weekly", meter="output_tokens"),
    )
)


class Twins:
    """The same things done to Postgres, by one of two gateways, and to the book in memory."""

    def __init__(self, stores: list[PostgresStore], seed: int) -> None:
        self.random = Random(seed)
        self.stores = stores
        self.memory = MemoryStore(MIXED, NOW)
        self.owners: dict[str, PostgresStore] = {}
        self.expired: dict[str, int] = {}
        self.now = NOW

    async def step(self, number: int) -> None:
        choose = self.random.choices
        (action,) = choose(["reserve", "settle", "release", "extend", "wait", "expire"], [40, 20, 5, 8, 16, 9])
        await getattr(self, action)(f"h{number}")

    async def reserve(self, id: str) -> None:
        store = self.random.choice(self.stores)
        session, team = f"session:{int(id[1:]) // 25}", f"team:{self.random.choice('xy')}"
        backends = self.random.choice([("b1",), ("b2",), ("b1", "b2")])
        worst, expected = self.amounts(40), self.amounts(20)
        accounts, model = ("org", team, session), self.random.choice(MODELS)
        taken = Hold(id, accounts, model, backends, worst, expected, self.now, self.now + 5 * MINUTE_MS)
        if await self.same(store.reserve(taken), self.memory.reserve(taken)) is not None:
            self.owners[id] = store

    async def settle(self, _: str) -> None:
        if self.owners:
            id = self.random.choice(sorted(self.owners))
            usage = self.amounts(45)._replace(active_requests=0)
            backend = self.random.choice(["b1", "b2"])
            self.owners[id].settle(id, usage, backend, self.now)
            await self.owners.pop(id).flush()
            self.memory.settle(id, usage, backend, self.now)

    async def release(self, _: str) -> None:
        if self.owners:
            id = self.random.choice(sorted(self.owners))
            self.owners[id].release(id)
            await self.owners.pop(id).flush()
            self.memory.release(id)

    async def extend(self, _: str) -> None:
        if self.owners:
            id = self.random.choice(sorted(self.owners))
            worst, expected = self.amounts(60), self.amounts(30)
            wanted = (id, worst, expected, self.now)
            await self.same(self.owners[id].extend(*wanted), self.memory.extend(*wanted))

    async def wait(self, _: str) -> None:
        self.now += self.random.choice([1_000, MINUTE_MS, 7 * MINUTE_MS, HOUR_MS, 5 * HOUR_MS])

    async def expire(self, _: str) -> None:
        here = await self.random.choice(self.stores).expire(self.now)
        there = await self.memory.expire(self.now)
        assert sorted(here) == sorted(there)
        self.expired |= {each.id: self.now for each in here}
        for id in [id for id, at_ms in self.expired.items() if at_ms + CORRECTABLE_MS <= self.now]:
            self.owners.pop(id, None)  # the database would still correct it, the book does not

    async def same(self, here: Awaitable[object], there: Awaitable[object]) -> object:
        """Both answers, which must agree; None: both refuse, for the same limit as it stands."""
        found, expected = await asyncio.gather(here, there, return_exceptions=True)
        if isinstance(expected, Exhausted):
            assert isinstance(found, Exhausted)
            assert (found.view, found.needed) == (expected.view, expected.needed)
            return None
        assert found == expected
        return found

    def amounts(self, cents: int) -> Amounts:
        random = self.random
        return Amounts(random.randrange(cents) * CENT, 1, random.randrange(900), random.randrange(2_000))


@pytest.mark.parametrize("seed", range(6))
async def test_two_gateways_answer_as_one_book_does(opened: Open, seed: int) -> None:
    twins = Twins([await opened(MIXED), await opened(MIXED)], seed)
    for number in range(120):
        await twins.step(number)
    accounts = ("org", "team:x", "session:0")
    found = await twins.stores[0].standing(accounts, twins.now)
    assert found == await twins.memory.standing(accounts, twins.now)
    assert twins.expired
