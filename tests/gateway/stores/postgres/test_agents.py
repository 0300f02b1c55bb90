"""Sessions and agents that several gateways see: one order of claims, and sums that are those of all of them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.errors import Reason, Refused
from gateway.stores.postgres import PostgresStore, open_postgres
from gateway.stores.postgres.agents import QUEUED_MAX, SAVE_SECONDS, Agents
from gateway.stores.postgres.house import UNSEEN_MS, House
from gateway.stores.postgres.lines import Line
from tests.support.agents import NOW, agent_record
from tests.support.patience import within
from tests.support.postgres import postgres_server, until
from tests.support.proxy import Proxy, proxied

Open = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture
def database() -> str:
    return postgres_server().fresh()


@pytest.fixture
async def proxy() -> AsyncGenerator[Proxy]:
    async with proxied(postgres_server().port) as proxy:
        yield proxy


@pytest.fixture
async def opened(database: str, proxy: Proxy) -> AsyncGenerator[Open]:
    """Opens stores, and closes them while the proxy is still there."""
    stores: list[PostgresStore] = []

    async def opens(port: int | None = None, on_failure: str = "closed") -> PostgresStore:
        config = StoreConfig(postgres_server().url(database, port=port), on_failure)  # type: ignore[arg-type]
        stores.append(await open_postgres(config, Limits(), Calendar(), NOW))
        return stores[-1]

    yield opens
    for store in stores:
        await store.close()


async def test_agents_that_several_gateways_claim_at_once_get_one_order(opened: Open) -> None:
    stores = [await opened() for _ in range(3)]
    claims = [stores[n % 3].claim_agent(agent_record(f"a{n // 2}", f"s{n % 2}")) for n in range(90)]
    claimed = await asyncio.gather(*claims)
    for parity in (0, 1):
        assert sorted(claim.agents for claim in claimed[parity::2]) == list(range(1, 46))


async def test_session_that_two_credentials_claim_at_once_is_the_one_s_or_the_other_s(opened: Open) -> None:
    stores = [await opened() for _ in range(2)]
    claims = [stores[n % 2].claim_agent(agent_record(f"a{n}", f"s{n // 2}", credential=f"c{n % 2}")) for n in range(40)]
    claimed = await asyncio.gather(*claims)
    for one, other in zip(claimed[::2], claimed[1::2], strict=True):
        assert one.credential == other.credential
        assert one.agents + other.agents in (1, 2)
        assert max(one.agents, other.agents) == 1


async def test_agent_that_moves_to_another_gateway_is_seen_there_and_the_sums_agree(opened: Open) -> None:
    here, there = await opened(), await opened()
    await here.claim_agent(agent_record("a"))
    here.save_agent(agent_record("a", requests=3, agent_type="Explore", last_seen_ms=NOW + 1))
    await here.flush()
    claimed = await there.claim_agent(agent_record("a"))
    assert claimed.seen is not None and (claimed.agents, claimed.seen.requests) == (1, 3)
    there.save_agent(agent_record("a", requests=3 + 4, last_seen_ms=NOW + 2))
    await there.flush()
    assert await there.used_elsewhere(["s"]) == []
    (elsewhere,) = await here.used_elsewhere(["s", "t"])
    assert (elsewhere.requests, elsewhere.last_seen_ms) == (4, NOW + 2)
    here.save_agent(agent_record("a", requests=3 + 10, agent_type="Explore", last_seen_ms=NOW + 1))
    await here.flush()
    assert [each.requests for each in await there.used_elsewhere(["s"])] == [10]
    (loaded,) = await (await opened()).load_agents(NOW)
    assert (loaded.requests, loaded.agent_type, loaded.last_seen_ms) == (17, "Explore", NOW + 2)


async def test_agent_that_is_at_work_elsewhere_is_told_although_it_has_used_nothing_since(opened: Open) -> None:
    here, there = await opened(), await opened()
    here.save_agent(agent_record("a", requests=1, active=True))
    await here.flush()
    await there.claim_agent(agent_record("a"))
    (told,) = await there.used_elsewhere(["s"])
    assert (told.active, told.requests) == (True, 0)


async def test_agent_that_a_gateway_released_counts_as_long_as_another_has_it(opened: Open) -> None:
    here, there = await opened(), await opened()
    for store in (here, there):
        assert (await store.claim_agent(agent_record("a"))).seen is None
    here.release_agent("s", "a")
    assert (await here.claim_agent(agent_record("b"))).agents == 2
    there.release_agent("s", "a")
    await there.flush()
    assert (await here.claim_agent(agent_record("c"))).agents == 2


async def test_agent_that_was_released_stops_counting_at_once(opened: Open, database: str) -> None:
    here, there = await opened(), await opened()
    await here.claim_agent(agent_record("a"))
    here.release_agent("s", "a")
    async with within(SAVE_SECONDS / 2):
        while (await there.claim_agent(agent_record())).agents:
            pass
    assert (await there.claim_agent(agent_record("b"))).agents == 1


async def test_agents_are_loaded_with_what_was_counted_before_the_time_that_is_asked_for(opened: Open) -> None:
    here, there = await opened(), await opened()
    here.save_agent(agent_record("a", requests=1, last_seen_ms=NOW - 5))
    here.save_agent(agent_record("old", requests=1, last_seen_ms=NOW - 5))
    there.save_agent(agent_record("a", requests=2, last_seen_ms=NOW))
    for store in (here, there):
        await store.flush()
    assert [(each.agent, each.requests) for each in await (await opened()).load_agents(NOW)] == [("a", 3)]


async def test_claim_while_the_database_is_away_is_refused_or_taken_for_new(opened: Open, proxy: Proxy) -> None:
    closed, open_, near = await opened(proxy.port), await opened(proxy.port, "open"), await opened()
    proxy.cut()
    with pytest.raises(Refused) as refused:
        await closed.claim_agent(agent_record("a"))
    assert refused.value.reason is Reason.STORE_UNAVAILABLE
    claimed = await open_.claim_agent(agent_record("b"))
    assert (claimed.credential, claimed.agents, claimed.seen) == ("laptop", 1, None)
    assert await closed.used_elsewhere(["s"]) == []
    proxy.restore()
    await until(lambda: closed.problem is None and open_.problem is None)
    for store in (open_, closed):
        await store.flush()
    assert (await near.claim_agent(agent_record("c", credential="ci"))).credential == "laptop"
    assert (await closed.claim_agent(agent_record("a"))).agents == 2


async def test_session_that_was_taken_for_new_while_away_adds_nothing_to_its_owner_s(
    opened: Open, proxy: Proxy
) -> None:
    away, near = await opened(proxy.port, "open"), await opened()
    await near.claim_agent(agent_record())
    proxy.cut()
    stolen = agent_record("b", credential="ci", requests=9)
    assert (await away.claim_agent(stolen)).credential == "ci"
    away.save_agent(stolen)
    away.save_agent(agent_record("a", session="own", credential="ci", requests=1))
    proxy.restore()
    await until(lambda: away.problem is None)
    await away.flush()
    assert (await near.claim_agent(agent_record("a"))).agents == 1
    assert [each.session for each in await near.used_elsewhere(["s", "own"])] == ["own"]


async def test_claim_whose_answer_is_lost_is_made_again_and_counts_once(
    opened: Open, proxy: Proxy, database: str
) -> None:
    store, line = await opened(proxy.port), Line(postgres_server().url(database), "test")
    await store.claim_agent(agent_record("a"))
    async with line.use() as connection, connection.transaction():
        await connection.execute("SELECT FROM ringfence.sessions FOR UPDATE")
        claiming = asyncio.ensure_future(store.claim_agent(agent_record("b")))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await until(lambda: postgres_server().psql(database, waiting) == "1")
        proxy.cut()
        with pytest.raises(Refused):
            await claiming
    committed = "SELECT count(*) FROM ringfence.agents WHERE agent = 'b'"
    await until(lambda: postgres_server().psql(database, committed) == "1")
    proxy.restore()
    await until(lambda: store.problem is None)
    claimed = await store.claim_agent(agent_record("b"))
    assert (claimed.agents, claimed.seen) == (2, None)
    await line.close()


async def test_claimant_that_leaves_holds_nobody_up(opened: Open) -> None:
    store = await opened()
    leaving = [asyncio.ensure_future(store.claim_agent(agent_record(f"a{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    for each in leaving[1:4]:
        each.cancel()
    results = await asyncio.gather(*leaving, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in results] == [False, True, True, True, False]
    assert (await store.claim_agent(agent_record("b"))).agents in range(3, 7)


async def test_agent_that_the_database_does_not_take_is_refused_alone(opened: Open) -> None:
    store = await opened()
    names = ("a", "b\0", "c\ud800", "d")
    results = await asyncio.gather(*(store.claim_agent(agent_record(each)) for each in names), return_exceptions=True)
    assert [type(each).__name__ for each in results] == ["Claimed", "Refused", "Refused", "Claimed"]
    for name in names:
        store.save_agent(agent_record(name, requests=1))
    store.release_agent("s", "e\0")
    await store.flush()
    assert sorted(each.agent for each in await store.load_agents(0)) == ["a", "d"]


async def test_what_waits_for_the_database_is_bounded(database: str) -> None:
    agents = Agents(Line(postgres_server().url(database), "test"), "me", lambda: True, "open")
    for number in range(QUEUED_MAX + 2):
        agents.release_agent("s", str(number))
        agents.save_agent(agent_record(str(number)))
    assert len(agents) == 2 * QUEUED_MAX


async def test_agents_that_nobody_saw_for_a_month_are_forgotten_with_their_session(opened: Open, database: str) -> None:
    here, there = await opened(), await opened()
    later = NOW + UNSEEN_MS + 1
    for agent, session in (("a", "s"), ("a", "t"), ("b", "t")):
        here.save_agent(agent_record(agent, session, requests=1))
    there.save_agent(agent_record("a", "t", requests=2, last_seen_ms=later))
    await there.claim_agent(agent_record("denied", "u"))
    there.release_agent("u", "denied")
    for store in (here, there):
        await store.flush()
    line = Line(postgres_server().url(database), "test")
    await House(line, lambda: (0, 0), lambda: later).tidy()
    await line.close()
    assert [(each.session, each.agent, each.requests) for each in await here.load_agents(0)] == [("t", "a", 3)]
    sessions = postgres_server().psql(database, "SELECT id FROM ringfence.sessions")
    assert sessions == "t"
