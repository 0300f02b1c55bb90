"""Shared records, sessions and agents: what every store does the same. Several gateways: postgres/test_agents.py."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.config import Store as StoreConfig
from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.errors import Refused
from gateway.ports import SharedRecord
from gateway.stores.kept import UNSEEN_MS
from gateway.stores.memory import MemoryStore
from gateway.stores.postgres import PostgresStore, open_postgres
from gateway.stores.remembered import RememberedRows
from gateway.stores.sqlite import SqliteStore
from tests.support.agents import NOW, agent_record
from tests.support.postgres import postgres_server

Store = MemoryStore | SqliteStore | PostgresStore
Open = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite", "postgres"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Open]:
    """Opens a store in one place, after closing the one before."""
    url = postgres_server().url(postgres_server().fresh()) if request.param == "postgres" else ""
    last: list[Store] = []

    async def opens() -> Store:
        if last:
            await last.pop().close()
        if url:
            last.append(await open_postgres(StoreConfig(url), Limits(), Calendar(), NOW))
        else:
            last.append(SqliteStore(tmp_path / "l.db", Limits(), NOW))
        return last[0]

    yield opens
    await last[0].close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    if request.param == "memory":
        opened: Store = MemoryStore(Limits())
    elif request.param == "sqlite":
        opened = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    else:
        url = postgres_server().url(postgres_server().fresh())
        opened = await open_postgres(StoreConfig(url), Limits(), Calendar(), NOW)
    yield opened
    await opened.close()


async def test_session_belongs_to_the_credential_that_used_it_first(store: Store) -> None:
    await store.claim_agent(agent_record(user="bob"))
    refused = await store.claim_agent(agent_record("a", credential="ci", user="eve"))
    assert (refused.credential, refused.user, refused.agents, refused.seen) == ("laptop", "bob", 0, None)
    assert (await store.claim_agent(agent_record("a"))).agents == 1


async def test_agents_that_are_claimed_at_once_are_counted_one_by_one(store: Store) -> None:
    await store.claim_agent(agent_record())
    claims = await asyncio.gather(*(store.claim_agent(agent_record(f"a{n}")) for n in range(20)))
    assert sorted(claim.agents for claim in claims) == list(range(1, 21))
    again = await store.claim_agent(agent_record("a7"))
    other = await store.claim_agent(agent_record("a7", session="t"))
    assert (again.agents, other.agents) == (20, 1)


async def test_agent_is_seen_when_it_was_saved_and_not_when_it_was_only_claimed(store: Store) -> None:
    first = await store.claim_agent(agent_record("a"))
    again = await store.claim_agent(agent_record("a"))
    assert (first.seen, again.seen) == (None, None)
    saved = agent_record("a", requests=3, cost_nanousd=7, last_seen_ms=NOW + 5)
    store.save_agent(saved)
    assert (await store.claim_agent(agent_record("a"))).seen == saved
    await store.flush()
    assert (await store.claim_agent(agent_record("a"))).seen == saved
    assert (await store.claim_agent(agent_record("a", credential="ci"))).seen is None


@pytest.mark.parametrize("flushed", [True, False])
async def test_agent_that_is_released_counts_no_more(store: Store, flushed: bool) -> None:
    for agent in ("a", "b"):
        await store.claim_agent(agent_record(agent))
    store.save_agent(agent_record("a", requests=2))
    if flushed:
        await store.flush()
    store.release_agent("s", "a")
    store.release_agent("s", "nobody")
    assert (await store.claim_agent(agent_record("c"))).agents == 2
    back = await store.claim_agent(agent_record("a"))
    assert (back.agents, back.seen) == (3, None)


async def test_session_that_was_saved_and_never_claimed_is_bound_too(store: Store) -> None:
    store.save_agent(agent_record("a", requests=1))
    await store.flush()
    assert (await store.claim_agent(agent_record("b", credential="ci"))).credential == "laptop"


async def test_gateway_that_is_alone_has_nothing_used_elsewhere(store: Store) -> None:
    await store.claim_agent(agent_record("a"))
    store.save_agent(agent_record("a", requests=2))
    await store.flush()
    assert await store.used_elsewhere(["s"]) == []


async def test_agents_are_loaded_by_when_they_were_seen_last_and_claims_are_not(store: Store) -> None:
    for agent, seen in (("a", NOW), ("b", NOW + 5), ("a", NOW + 9), ("old", NOW - 1)):
        store.save_agent(agent_record(agent, last_seen_ms=seen, requests=1))
    await store.claim_agent(agent_record("claimed"))
    await store.flush()
    assert [(each.agent, each.last_seen_ms - NOW) for each in await store.load_agents(NOW)] == [("b", 5), ("a", 9)]


async def test_record_is_kept_in_its_last_state(store: Store) -> None:
    store.save_record("fuse", "f", b'"warned"')
    store.save_record("fuse", "f", b'"blown"')
    store.save_record("control", "f", b"1")
    await store.flush()
    store.save_record("fuse", "f", '"blown \N{BULLET} again"'.encode())
    await store.flush()
    kept = {(record.kind, record.id): record.text for record in await store.load_records()}
    assert kept == {("fuse", "f"): '"blown \N{BULLET} again"'.encode(), ("control", "f"): b"1"}


async def test_record_is_changed_from_what_it_is_and_removed(store: Store) -> None:
    seen: list[bytes | None] = []

    def append(before: bytes | None) -> bytes:
        seen.append(before)
        return (before or b"0") + b"1"

    assert await store.change_record("approval", "p", append) == b"01"
    store.save_record("approval", "p", b"7")
    assert await store.change_record("approval", "p", append) == b"71"
    assert await store.change_record("approval", "p", lambda before: None) is None
    assert await store.change_record("approval", "p", append) == b"01"
    assert seen == [None, b"7", None]
    await store.change_record("approval", "p", lambda before: None)
    await store.flush()
    assert await store.load_records() == []


async def test_change_that_raises_changes_nothing(store: Store) -> None:
    await store.change_record("control", "c", lambda before: b"1")

    def refuse(before: bytes | None) -> bytes:
        raise LookupError(before)

    with pytest.raises(LookupError, match="1"):
        await store.change_record("control", "c", refuse)
    assert await store.load_records() == [SharedRecord("control", "c", b"1")]


async def test_changes_at_once_come_one_after_the_other(store: Store) -> None:
    def add(before: bytes | None) -> bytes:
        return str(int(before or b"0") + 1).encode()

    results = await asyncio.gather(*(store.change_record("script", "n", add) for _ in range(15)))
    assert sorted(int(result or b"") for result in results) == list(range(1, 16))


async def test_own_changes_are_told_in_case_their_caller_has_left_and_own_saves_are_not(store: Store) -> None:
    store.save_record("fuse", "f", b"1")
    await store.change_record("control", "c", lambda before: b"2")
    await store.change_record("control", "d", lambda before: before)
    await store.flush()
    assert await store.changed_records() == [SharedRecord("control", "c", b"2")]
    assert await store.changed_records() == []


async def test_session_is_bound_and_its_agents_count_after_a_restart(opened: Open) -> None:
    store = await opened()
    assert isinstance(store, RememberedRows | PostgresStore)
    for agent in ("main", "a", "claimed", "denied"):
        await store.claim_agent(agent_record(agent))
    store.save_agent(agent_record("a", requests=2, cost_nanousd=5))
    store.release_agent("s", "denied")
    store = await opened()
    refused = await store.claim_agent(agent_record("b", credential="ci"))
    assert (refused.credential, refused.agents) == ("laptop", 2)
    again = await store.claim_agent(agent_record("a"))
    assert again.seen is not None and (again.agents, again.seen.requests, again.seen.cost_nanousd) == (2, 2, 5)
    assert (await store.claim_agent(agent_record("claimed"))).seen is None


async def test_counts_go_on_from_what_was_loaded_and_nothing_is_counted_twice(opened: Open) -> None:
    store = await opened()
    used = 0
    for round in range(1, 4):
        loaded = await store.load_agents(NOW)
        assert sum(each.requests for each in loaded) == used
        assert await store.used_elsewhere(["s"]) == []
        used += round
        store.save_agent(agent_record("a", requests=used, last_seen_ms=NOW + round))
        store = await opened()
    (agent,) = await store.load_agents(NOW)
    assert agent.requests == 6


async def test_records_are_there_after_a_restart(opened: Open) -> None:
    store = await opened()
    store.save_record("fuse", "f", b"1")
    await store.change_record("script", "s", lambda before: b"2")
    await store.change_record("script", "gone", lambda before: b"2")
    await store.change_record("script", "gone", lambda before: None)
    store = await opened()
    assert sorted(await store.load_records()) == [SharedRecord("fuse", "f", b"1"), SharedRecord("script", "s", b"2")]
    assert await store.changed_records() == []


async def test_change_that_cannot_be_written_is_refused_and_is_not_made_later(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    with closing(sqlite3.connect(tmp_path / "l.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.save_record("control", "c", b"saved")
        with pytest.raises(Refused):
            await store.change_record("control", "c", lambda before: b"changed")
        other.execute("ROLLBACK")
    await store.flush()
    assert await store.load_records() == [SharedRecord("control", "c", b"saved")]
    assert await store.changed_records() == []
    await store.close()


async def test_claim_that_finds_the_file_locked_waits_for_nothing_and_is_written_when_it_is_free(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    with closing(sqlite3.connect(tmp_path / "l.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await store.claim_agent(agent_record("a"))).agents == 1
        other.execute("ROLLBACK")
    await store.close()
    again = SqliteStore(tmp_path / "l.db", Limits(), NOW)
    assert (await again.claim_agent(agent_record("b"))).agents == 2
    await again.close()


@pytest.mark.parametrize("reopened", [True, False])
async def test_session_that_was_not_seen_for_a_month_is_forgotten(tmp_path: Path, reopened: bool) -> None:
    store, later = SqliteStore(tmp_path / "l.db", Limits(), NOW), NOW + UNSEEN_MS + 1
    store.save_agent(agent_record("a", requests=1))
    store.save_agent(agent_record("a", "t", requests=1, last_seen_ms=later))
    if reopened:
        await store.close()
        store = SqliteStore(tmp_path / "l.db", Limits(), later)
    else:
        await store.flush()
        await store.expire(later)
        await store.flush()
    assert [agent.session for agent in await store.load_agents(0)] == ["t"]
    assert (await store.claim_agent(agent_record("b", credential="ci"))).credential == "ci"
    assert (await store.claim_agent(agent_record("b", "t", credential="ci"))).credential == "laptop"
    await store.close()
