"""What every store does the same, and the choice by URL. The SQLite file itself: test_sqlite.py."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.fuse import FuseRecord
from gateway.core.ledger import Exhausted, Hold, LimitRow, Limits
from gateway.core.lineage import AgentRecord
from gateway.errors import GatewayError, Reason
from gateway.stores import MemoryStore, SqliteStore, database_path, open_store

NOW = 1_795_356_000_000
CENT = 10_000_000
LIMITS = Limits([LimitRow("org", "daily", 100 * CENT, True), LimitRow("session", "total", 500 * CENT, False)])

Store = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = MemoryStore(LIMITS) if request.param == "memory" else SqliteStore(tmp_path / "ledger.db", LIMITS, NOW)
    yield opened
    await opened.close()


def hold(id: str, *accounts: str, strict: int = 30 * CENT) -> Hold:
    return Hold(id, accounts or ("org",), strict, 10 * CENT, NOW, NOW + 60_000)


def agent_record(agent: str, last_seen_ms: int, credential: str = "laptop") -> AgentRecord:
    return AgentRecord(
        session="s",
        agent=agent,
        credential=credential,
        user="alice",
        client="claude-cli",
        parent=None,
        depth=0,
        agent_type=None,
        model=None,
        workspace=None,
        inferred=False,
        first_seen_ms=NOW,
        last_seen_ms=last_seen_ms,
        requests=1,
        tool_calls=2,
        denials=0,
        output_tokens=3,
        total_tokens=4,
        cost_nanousd=5,
    )


async def test_fifty_concurrent_holds_of_thirty_cents_under_a_strict_dollar_let_three_through(store: Store) -> None:
    outcomes = await asyncio.gather(*(store.reserve(hold(f"h{i}")) for i in range(50)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Exhausted] * 47
    assert store.held_total() == 90 * CENT
    for number in range(50):
        store.settle(f"h{number}", 30 * CENT, NOW)
    assert (store.spent("org"), store.held_total()) == (90 * CENT, 0)


async def test_settling_twice_counts_once(store: Store) -> None:
    await store.reserve(hold("h", "org", "user:bob"))
    store.settle("h", 7 * CENT, NOW)
    store.settle("h", 9 * CENT, NOW)
    store.release("h")
    assert store.spent("org") == store.spent("user:bob") == 7 * CENT


async def test_release_before_settlement_spends_nothing(store: Store) -> None:
    await store.reserve(hold("h"))
    store.release("h")
    store.settle("h", 9 * CENT, NOW)
    assert (store.spent("org"), store.held_total()) == (0, 0)


async def test_hold_past_its_deadline_is_spend_and_a_later_settlement_is_nothing(store: Store) -> None:
    await store.reserve(hold("h"))
    assert store.expire(NOW + 59_999) == []
    assert store.expire(NOW + 60_000) == ["h"]
    store.settle("h", CENT, NOW + 60_001)
    assert store.spent("org") == 30 * CENT


async def test_views_show_limit_spend_and_hold(store: Store) -> None:
    await store.reserve(hold("a"))
    store.settle("a", 7 * CENT, NOW)
    await store.reserve(hold("b"))
    (view,) = store.views(["org"], NOW)
    assert (view.limit_nanousd, view.spent_nanousd, view.held_nanousd) == (100 * CENT, 7 * CENT, 30 * CENT)
    assert store.views(None, NOW) == [view]
    assert store.is_strict(["org"]) and not store.is_strict(["session:s"])


async def test_saved_fuse_is_loaded_in_its_last_state(store: Store) -> None:
    record = FuseRecord("fuse_1", "agent", "s/a", "cost", "blown", 5, 6, NOW)
    store.save_fuse(FuseRecord("fuse_1", "agent", "s/a", "cost", "warned", 5, 4, NOW - 1))
    store.save_fuse(record)
    await store.flush()
    assert store.load_fuses() == [record]


async def test_saved_agents_are_loaded_by_when_they_were_seen(store: Store) -> None:
    for record in (agent_record("a", NOW), agent_record("b", NOW + 5), agent_record("a", NOW + 9)):
        store.save_agent(record)
    store.save_agent(agent_record("old", NOW - 1))
    store.save_agent(agent_record("b", NOW + 7, credential="other"))
    await store.flush()
    seen = [(record.credential, record.agent, record.last_seen_ms - NOW) for record in store.load_agents(NOW)]
    assert seen == [("laptop", "b", 5), ("other", "b", 7), ("laptop", "a", 9)]


async def test_url_with_three_slashes_is_relative_and_with_four_absolute(tmp_path: Path) -> None:
    assert database_path("sqlite:///ringfence.db") == Path("ringfence.db")
    assert database_path("sqlite:////var/lib/ringfence.db") == Path("/var/lib/ringfence.db")
    opened = open_store(f"sqlite:///{tmp_path}/x.db", Limits(), NOW)
    await opened.close()
    assert (tmp_path / "x.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "url",
    ["postgresql://u@h/db", "sqlite://x.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "x.db", ""],
)
def test_url_that_names_no_sqlite_file_is_refused(url: str) -> None:
    with pytest.raises(GatewayError, match="store.url") as caught:
        open_store(url, Limits(), NOW)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
