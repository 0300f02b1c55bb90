"""Fuses held against the tree's meters."""

import pytest

from gateway.core.fuse import FuseBox, FuseLimits
from gateway.core.limits import Limits
from gateway.core.lineage import AgentNode, SessionNode, Tree
from gateway.core.loops import Streaks
from gateway.errors import Reason, Refused
from gateway.fuseboard import FuseBoard
from gateway.stores.memory import MemoryStore
from tests.gateway.test_toolcalls import FakeRecords
from tests.support.clock import FakeClock

QUIET = Streaks(0, 0)


def board(**limits: dict[str, int]) -> tuple[FuseBoard, MemoryStore, FakeRecords]:
    """A board with fakes behind it."""
    store, records = MemoryStore(Limits()), FakeRecords()
    return FuseBoard(FuseBox(FuseLimits(**limits)), store, records, records, FakeClock(now_ms=10_000)), store, records


def agent() -> AgentNode:
    """A main agent."""
    return Tree().add(SessionNode("s", "laptop", "alice", "", inferred=False), "main", None, 0)


async def test_blown_fuse_is_remembered_recorded_and_refuses() -> None:
    fuses, store, records = board(agent={"requests": 1})
    node = agent()
    node.used.requests = 2
    with pytest.raises(Refused, match="fuses replace") as refused:
        fuses.require_intact(node, QUIET)
    assert refused.value.reason is Reason.FUSE_BLOWN
    assert (
        [record.state for record in await store.load_fuses()] == ["blown"] == [record.state for record in records.fuses]
    )


def test_error_streak_of_the_history_blows_the_agents_fuse() -> None:
    fuses, _, _ = board(agent={"consecutive_errors": 2})
    assert fuses.check(agent(), Streaks(0, 2)) is None
    blown = fuses.check(agent(), Streaks(0, 3))
    assert blown is not None and blown.meter == "consecutive_errors"


def test_session_fuse_stops_every_agent_of_the_session() -> None:
    fuses, _, _ = board(session={"agents": 1})
    tree = Tree()
    main = tree.add(agent().session, "main", None, 0)
    for name in ("a1", "a2"):
        tree.add(main.session, name, None, 0)
    blown = fuses.check(main)
    assert blown is not None and (blown.scope, blown.holder, blown.value) == ("session", "s", 2)


async def test_replaced_fuse_lets_requests_pass_again() -> None:
    fuses, store, _ = board(agent={"requests": 1})
    node = agent()
    node.used.requests = 2
    blown = fuses.check(node)
    assert blown is not None
    fuses.replace(blown.id, by="olga", reason="reviewed")
    fuses.require_intact(node, QUIET)
    assert (await store.load_fuses())[0].replaced_by == "olga"
